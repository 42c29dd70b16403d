"""``sabench list``: the catalogues, without torch, and the cards of plugins, which are imported for it."""

from __future__ import annotations

from dataclasses import asdict

import click

from sam_audio_bench.cards import Card
from sam_audio_bench.cli.output import note, print_json, print_markdown, print_records

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
    layouts = ", ".join(f"{card.name}:PATH" for card in ADAPTERS.values() if not card.whole)
    return records, (
        f"Groups: {groups}. Items, licence and access are those of --split test; --split mini is part of the package, "
        "under CC0, CC BY and MIT. Anyone's data are tasks: a CSV, JSONL or parquet table with columns "
        f"mixture,text,target, a folder that holds one, a folder of stems, or a known layout: {layouts}; see "
        "`sabench list layouts`."
    )


def _layouts() -> tuple[list[dict[str, object]], str]:
    from sam_audio_bench.tasks.adapters import ADAPTERS, list_member_tasks
    from sam_audio_bench.tasks.adapters.texts import DEFAULT_TEXTS, TEXT_TABLES

    records: list[dict[str, object]] = [
        {
            "name": card.name,
            "summary": card.summary,
            "expects": card.layout,
            "example": card.command,
            "licence": card.licence,
            "options": list(card.options),
            "texts": dict(DEFAULT_TEXTS.get(card.name, {})),
            "tasks": [one.partition(":")[0] for one in list_member_tasks(f"{card.name}:PATH").values()],
        }
        for card in ADAPTERS.values()
        if not card.whole
    ]
    return records, (
        f"{' or '.join(TEXT_TABLES)} in the folder of the data changes the texts by which classes and stems are asked "
        "for. Licences as the data sets' authors state them; those of your copy count. name=LAYOUT:PATH names a task; "
        "'musdb:PATH?excerpt=30' asks about 30 s from the middle of each song, 'musdb:PATH?excerpt=30&at=60' about "
        "those from 60 s on."
    )


def _models() -> tuple[list[dict[str, object]], str]:
    from sam_audio_bench.separators.catalogue import CARDS

    return [_record(card) for card in CARDS.values()], (
        "Also: files:DIR (answers named by item id), cmd:'program {mixture} {text} {target}', "
        "serve:'program' (answers queries one after another), module:attribute."
    )


def _metrics() -> tuple[list[dict[str, object]], str]:
    from sam_audio_bench.metrics.catalogue import CARDS, DEFAULT, WITH_SOURCES, WITHOUT_REFERENCE
    from sam_audio_bench.metrics.distance_catalogue import DISTANCES

    distances = "; ".join(f"{card.id}, {card.summary}" for card in DISTANCES.values())
    records = [{**_record(card), "default": card.id in DEFAULT} for card in CARDS.values()]
    without = ", ".join(WITHOUT_REFERENCE)
    return records, (
        f"Default: {', '.join(DEFAULT)}; where there is no reference, as far as they can run: {without}; where every "
        f"source of a song is known: {', '.join(WITH_SOURCES)}. Of whole runs, by `sabench distance`: {distances}."
    )


def _record(card: Card) -> dict[str, object]:
    """Converts a card to a record: its id is called name, and sets are sorted."""
    known = {key: sorted(value) if isinstance(value, frozenset) else value for key, value in asdict(card).items()}
    return {"name": known.pop("id"), **known}


_KINDS = {
    "tasks": (_tasks, "tasks", ("name", "prompt", "items", "licence", "access", "summary")),
    "layouts": (_layouts, "", ("name", "expects", "example", "licence")),
    "models": (_models, "separators", ("name", "oracle", "summary", "source", "install")),
    "metrics": (_metrics, "metrics", ("name", "unit", "higher_is_better", "needs", "version", "summary")),
}


_ALIASES = {"separators": "models"}


@click.command()
@click.argument("kind", type=click.Choice([*_KINDS, *_ALIASES]))
@click.option("--format", "form", type=click.Choice(["text", "md", "json"]), default="text", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="As --format json: a list of records.")
def listing(kind: str, form: str, as_json: bool) -> None:
    """List tasks, layouts of data sets, models or metrics."""
    collect, group, columns = _KINDS[_ALIASES.get(kind, kind)]
    records, footer = collect()
    records += _plugin_records(group) if group else []
    if as_json or form == "json":
        print_json(records)
    elif form == "md":
        print_markdown(records, columns, footer)
    else:
        print_records(records, columns, footer)


def _plugin_records(group: str) -> list[dict[str, object]]:
    from sam_audio_bench.plugins import plugin_cards, plugins
    from sam_audio_bench.run.output_log import capture_text
    from sam_audio_bench.run.process_exit import prevent_exit

    with capture_text() as printed, prevent_exit():  # a plugin is imported for its card
        cards, failures = plugin_cards(group)
    if printed.text:
        note(printed.text.rstrip())
    broken: list[dict[str, object]] = [
        {"name": name, "target": plugins(group)[name].value, "summary": reason} for name, reason in failures.items()
    ]
    return [*map(_record, cards.values()), *broken]
