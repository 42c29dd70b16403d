"""``sabench list``: the catalogues, without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import click

from sam_audio_bench.cli.output import print_json, print_records

__all__ = ["listing"]


def _tasks() -> tuple[list[dict[str, Any]], str]:
    from sam_audio_bench.tasks.adapters import ADAPTERS
    from sam_audio_bench.tasks.catalogue import GROUPS, TASKS

    records = [
        {**asdict(task), "groups": [g for g, names in GROUPS.items() if name in names]} for name, task in TASKS.items()
    ]
    groups = "; ".join(
        f"{name} = {', '.join(names) if len(names) < 4 else f'{len(names)} tasks'}" for name, names in GROUPS.items()
    )
    layouts = ", ".join(f"{name}:PATH" for name in ADAPTERS)
    return records, (
        f"Groups: {groups}. Anyone's data are tasks: a CSV, JSONL or parquet table with columns mixture,text,target, "
        f"a folder that holds one, a folder of stems, or a known layout: {layouts}."
    )


def _models() -> tuple[list[dict[str, Any]], str]:
    from sam_audio_bench.separators.catalogue import CARDS

    return [asdict(card) for card in CARDS.values()], (
        "Also: files:DIR (answers named by item id), cmd:'program {mixture} {text} {target}', module:attribute."
    )


def _metrics() -> tuple[list[dict[str, Any]], str]:
    from sam_audio_bench.metrics.catalogue import CARDS, DEFAULT, WITHOUT_REFERENCE

    records = [
        {**_plain(asdict(card)), "name": card.id, "default": card.id in DEFAULT, "needs": sorted(card.needs)}
        for card in CARDS.values()
    ]
    without = ", ".join(WITHOUT_REFERENCE)
    return records, f"Default: {', '.join(DEFAULT)}; where there is no reference, as far as they can run: {without}."


def _plain(card: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in card.items() if key != "id"}


_KINDS = {
    "tasks": (_tasks, "tasks", ("name", "prompt", "items", "description")),
    "models": (_models, "separators", ("name", "oracle", "summary", "source")),
    "metrics": (_metrics, "metrics", ("name", "unit", "higher_is_better", "needs", "version", "summary")),
}


@click.command()
@click.argument("kind", type=click.Choice(list(_KINDS)))
@click.option("--json", "as_json", is_flag=True, help="Print a list of records.")
def listing(kind: str, as_json: bool) -> None:
    """List tasks, models or metrics."""
    collect, entry_points, columns = _KINDS[kind]
    records, note = collect()
    records += _third_parties(entry_points)
    if as_json:
        print_json(records)
    else:
        print_records(records, columns, note)


def _third_parties(kind: str) -> list[dict[str, Any]]:
    from sam_audio_bench.registry import plugins

    found = sorted(plugins(kind).items())
    return [{"name": name, "target": point.value, "summary": f"plugin {point.value}"} for name, point in found]
