"""``sabench list``: the catalogues, without torch, and the cards of plugins, which are imported for it."""

from __future__ import annotations

from dataclasses import asdict

import click

from sam_audio_bench.cards import Card
from sam_audio_bench.cli.output import note, print_json, print_records

__all__ = ["listing"]


def _tasks() -> tuple[list[dict[str, object]], str]:
    from sam_audio_bench.tasks.adapters import ADAPTERS
    from sam_audio_bench.tasks.catalogue import GROUPS, TASKS

    records = [
        {**_record(task), "groups": [g for g, names in GROUPS.items() if name in names]} for name, task in TASKS.items()
    ]
    groups = "; ".join(
        f"{name} = {', '.join(names) if len(names) < 4 else f'{len(names)} tasks'}" for name, names in GROUPS.items()
    )
    layouts = ", ".join(f"{name}:PATH" for name in ADAPTERS)
    return records, (
        f"Groups: {groups}. Anyone's data are tasks: a CSV, JSONL or parquet table with columns mixture,text,target, "
        f"a folder that holds one, a folder of stems, or a known layout: {layouts}."
    )


def _models() -> tuple[list[dict[str, object]], str]:
    from sam_audio_bench.separators.catalogue import CARDS

    return [_record(card) for card in CARDS.values()], (
        "Also: files:DIR (answers named by item id), cmd:'program {mixture} {text} {target}', "
        "serve:'program' (answers queries one after another), module:attribute."
    )


def _metrics() -> tuple[list[dict[str, object]], str]:
    from sam_audio_bench.metrics.catalogue import CARDS, DEFAULT, WITHOUT_REFERENCE

    records = [{**_record(card), "default": card.id in DEFAULT} for card in CARDS.values()]
    without = ", ".join(WITHOUT_REFERENCE)
    return records, f"Default: {', '.join(DEFAULT)}; where there is no reference, as far as they can run: {without}."


def _record(card: Card) -> dict[str, object]:
    """A card for readers: its id is its name, sets are in order."""
    known = {key: sorted(value) if isinstance(value, frozenset) else value for key, value in asdict(card).items()}
    return {"name": known.pop("id"), **known}


_KINDS = {
    "tasks": (_tasks, "tasks", ("name", "prompt", "items", "summary")),
    "models": (_models, "separators", ("name", "oracle", "summary", "source", "install")),
    "metrics": (_metrics, "metrics", ("name", "unit", "higher_is_better", "needs", "version", "summary")),
}


_ALSO = {"separators": "models"}


@click.command()
@click.argument("kind", type=click.Choice([*_KINDS, *_ALSO]))
@click.option("--json", "as_json", is_flag=True, help="Print a list of records.")
def listing(kind: str, as_json: bool) -> None:
    """List tasks, models or metrics."""
    collect, group, columns = _KINDS[_ALSO.get(kind, kind)]
    records, footer = collect()
    records += _third_parties(group)
    if as_json:
        print_json(records)
    else:
        print_records(records, columns, footer)


def _third_parties(group: str) -> list[dict[str, object]]:
    from sam_audio_bench.plugins import plugin_cards, plugins
    from sam_audio_bench.run.exits import no_exit
    from sam_audio_bench.run.output_log import captured_text

    with captured_text() as printed, no_exit():  # a plugin is imported for its card
        cards, failures = plugin_cards(group)
    if printed.text:
        note(printed.text.rstrip())
    broken: list[dict[str, object]] = [
        {"name": name, "target": plugins(group)[name].value, "summary": reason} for name, reason in failures.items()
    ]
    return [*map(_record, cards.values()), *broken]
