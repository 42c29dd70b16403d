"""``sabench data croissant``: a task as metadata that dataset tools and search engines read."""

from __future__ import annotations

from pathlib import Path

import click

from sam_audio_bench.cli.lazy import HomeText
from sam_audio_bench.cli.output import echo, note
from sam_audio_bench.errors import UsageError
from sam_audio_bench.files import write_json

__all__ = ["croissant"]

_EXPECTED_OPTIONS = {"url": "--url", "licence": "--licence", "cite": "--cite", "published": "--published"}


@click.command()
@click.argument("task", type=HomeText())
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The JSON file to write.")
@click.option("--description", default="", help="What the data are, in a sentence.")
@click.option("--url", default="", help="The page of the data.")
@click.option("--licence", default="", help="An address or an SPDX name.")
@click.option("--cite", default="", help="How to cite the data, as BibTeX say.")
@click.option("--published", default="", help="Date, as 2025-01-31.")
@click.option("--allow-outside", is_flag=True, help="Accept files outside the folder of the data.")
def croissant(task: str, out: Path, allow_outside: bool, **about: str) -> None:
    """Describe a task of the mini split, or anyone's data, in Croissant 1.0 (MLCommons).

    Every sound file is in it with its SHA-256, every question with its text, spans and files.
    """
    from sam_audio_bench.names import check_table, check_task
    from sam_audio_bench.tasks import TASKS
    from sam_audio_bench.tasks.load import is_path

    check_task(task)
    if not is_path(task) and task not in TASKS:
        raise UsageError(f"expected one task of the mini split, a table, a folder or LAYOUT:PATH, found {task!r}")
    from sam_audio_bench.tasks.croissant import DatasetInfo, mini_task_to_croissant, questions_to_croissant

    description_fields = DatasetInfo(**about)
    if is_path(task):
        check_table(task)
        from sam_audio_bench.tasks.manifest import read_questions

        found = questions_to_croissant(read_questions(task, allow_outside=allow_outside), description_fields)
    else:
        from sam_audio_bench.tasks.mini import load_mini

        found = mini_task_to_croissant(load_mini(task), description_fields)
    write_json(out, found)
    missing = [
        option
        for name, option in _EXPECTED_OPTIONS.items()
        if not about[name] and not (name == "licence" and "license" in found)
    ]
    if missing:
        note(f"sabench: not given, and so left out: {', '.join(missing)}; readers of Croissant expect them")
    echo(f"{len(found['recordSet'][0]['data'])} questions and {len(found['distribution'])} files in {out}")
