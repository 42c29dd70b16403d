"""``sabench data``: inspects data before a run.

    official    the official data on this machine
    spans       spans from the activity of references
    mix         mixtures with exact stems from labelled clips
    croissant   metadata that dataset tools read

The short commands ``show`` and ``validate`` are here.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sam_audio_bench.cli.config import data_dir_option
from sam_audio_bench.cli.lazy import HomeText, LazyGroup
from sam_audio_bench.cli.output import echo, print_json, print_records
from sam_audio_bench.render.text import pluralize

if TYPE_CHECKING:
    from sam_audio_bench.tasks.manifest_rows import ManifestProblem

__all__ = ["data", "show", "validate"]

_COMMANDS = {
    "status": (f"{__name__}.official:status", "Show which official data are present."),
    "verify": (f"{__name__}.official:verify", "Decode all official data and record checksums."),
    "where": (f"{__name__}.official:where", "Print which file serves an item."),
    "missing": (f"{__name__}.official:missing", "List the recordings to get."),
    "show": (f"{__name__}:show", "Draw an item: frames, mask, waveform, spans."),
    "validate": (f"{__name__}:validate", "Check anyone's data before a run."),
    "spans": (f"{__name__}.spans:spans", "Find where references sound, for questions by spans."),
    "mix": (f"{__name__}.mix:mix", "Mix labelled clips: exact stems, texts, spans."),
    "croissant": (f"{__name__}.croissant:croissant", "Describe data as Croissant metadata."),
}

_HELP = """Inspect data before a run.

\b
sabench data status
sabench data missing sfx --format csv
sabench data show sfx-visual sfx-visual-00 --split mini --out item.png
sabench data validate my/questions.csv
sabench data spans my/questions.csv --out my/by-spans.csv
sabench data mix my/clips --recipe recipe.toml --out my/mixtures
sabench data croissant my/questions.csv --out my/croissant.json
"""  # \b keeps click from rewrapping the lines


@click.group(cls=LazyGroup, lazy=_COMMANDS, help=_HELP)
def data() -> None:
    """The commands above; the help text is `_HELP`."""


@click.command()
@click.argument("task")
@click.argument("item")
@click.option("--split", type=click.Choice(["test", "mini"]), default="test", show_default=True)
@click.option("--subset", type=click.Choice(["paper", "full"]), default="paper", show_default=True)
@data_dir_option()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The PNG file to write.")
@click.option("--frames", type=int, default=8, show_default=True, help="Frames of a video.")
def show(task: str, item: str, split: str, subset: str, out: Path, frames: int) -> None:
    """Draw an item of any task, or of anyone's data, on one sheet.

    Frames, masks and masked frames of a video; the waveform with its spans and, if there is one, the reference.
    """
    from sam_audio_bench.names import check_task

    check_task(task)
    if split == "test":
        from sam_audio_bench.tasks.load import check_recordings

        check_recordings([task], instead=f"sabench data show {task} ITEM --out {out} --split mini")
    from sam_audio_bench.registry import load_task
    from sam_audio_bench.tasks.contact_sheet import write_contact_sheet

    data = load_task(task, split=split, subset=subset)
    write_contact_sheet(data[item], out, title=data.label, frames=frames)
    echo(out)


@click.command()
@click.argument("path", type=HomeText())
@click.option("--allow-outside", is_flag=True, help="Accept files outside the folder of the data.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def validate(path: str, allow_outside: bool, as_json: bool) -> None:
    """Check a table of questions, a folder or ADAPTER:PATH: every row, and every file that it names.

    Exits with 1 if there are errors; warnings alone are fine.
    """
    from sam_audio_bench.names import check_table

    check_table(path)
    from sam_audio_bench.run.progress import Progress
    from sam_audio_bench.tasks.manifest import read_questions
    from sam_audio_bench.tasks.manifest_check import check_questions

    found = read_questions(path, allow_outside=allow_outside)
    with Progress(len(found.rows), show=False if as_json else None) as bar:
        count = bar.item_callback(found.task)
        problems = list(check_questions(found, advance=lambda: count(None)))
    errors = sum(problem.severity == "error" for problem in problems)
    if as_json:
        records = [_record(problem) for problem in problems]
        print_json({"ok": not errors, "task": found.task, "items": len(found.rows), "problems": records})
    else:
        _show([asdict(problem) | {"row": problem.where} for problem in problems])
        counts = {"item": len(found.rows), "error": errors, "warning": len(problems) - errors}
        echo(f"{found.task}: {', '.join(pluralize(count, noun) for noun, count in counts.items())}")
    sys.exit(1 if errors else 0)


def _record(problem: ManifestProblem) -> dict[str, object]:
    """Converts a problem to JSON values: ``row`` is a number in a table, a name in a layout."""
    return {
        "row": problem.where,
        "item": problem.item or None,
        "column": problem.column or None,
        "severity": problem.severity,
        "what": problem.what,
    }


def _show(records: list[dict[str, object]]) -> None:
    if records:
        print_records(records, ("row", "item", "column", "severity", "what"))
        echo()
