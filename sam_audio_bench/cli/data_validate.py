"""``sabench data validate``: anyone's data, checked in full before a run meets them."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from sam_audio_bench.cli.output import print_json, print_records

if TYPE_CHECKING:
    from sam_audio_bench.tasks.manifest_rows import ManifestProblem

__all__ = ["validate"]


@click.command()
@click.argument("path")
@click.option("--allow-outside", is_flag=True, help="Accept files outside the folder of the data.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def validate(path: str, allow_outside: bool, as_json: bool) -> None:
    """Check a table of questions, a folder or ADAPTER:PATH: every row, and every file that it names.

    Exits with 1 where there are errors; warnings alone are fine.
    """
    from sam_audio_bench.run.progress import Progress
    from sam_audio_bench.tasks.manifest import questions
    from sam_audio_bench.tasks.manifest_check import check

    found = questions(path, allow_outside=allow_outside)
    with Progress(len(found.rows), show=False if as_json else None) as bar:
        count = bar.counting(found.task)
        problems = list(check(found, advance=lambda: count(None)))
    errors = sum(problem.severity == "error" for problem in problems)
    if as_json:
        records = [_record(problem) for problem in problems]
        print_json({"ok": not errors, "task": found.task, "items": len(found.rows), "problems": records})
    else:
        _show([asdict(problem) | {"row": problem.where} for problem in problems])
        items = "1 item" if len(found.rows) == 1 else f"{len(found.rows)} items"
        click.echo(f"{found.task}: {items}, {_count(errors, 'error')}, {_count(len(problems) - errors, 'warning')}")
    sys.exit(1 if errors else 0)


def _record(problem: ManifestProblem) -> dict[str, Any]:
    """A problem for programs: ``row`` is a number in a table, a name in a layout."""
    return {
        "row": problem.where,
        "item": problem.item or None,
        "column": problem.column or None,
        "severity": problem.severity,
        "what": problem.what,
    }


def _show(records: list[dict[str, Any]]) -> None:
    if records:
        print_records(records, ("row", "item", "column", "severity", "what"))
        click.echo()


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
