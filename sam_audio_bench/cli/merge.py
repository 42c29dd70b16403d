"""``sabench merge``: merges shards into one run."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from sam_audio_bench.cli.arguments import RUN_OR_URL
from sam_audio_bench.cli.output import echo, note
from sam_audio_bench.errors import UsageError

__all__ = ["merge"]


@click.command()
@click.argument("runs", nargs=-1, required=True, type=RUN_OR_URL)
@click.option("--into", type=click.Path(path_type=Path), help="The new run folder, of one separator on one task.")
@click.option("--output", type=click.Path(path_type=Path), help="Folder of new runs, one per separator and task.")
@click.option("--copy-to", help="URL to which merged runs are copied.")
def merge(runs: tuple[Path | str, ...], into: Path | None, output: Path | None, copy_to: str | None) -> None:
    """Merge the shards of runs; RUNS are run folders or folders that hold them, here or at a URL.

    Exits with 3 if shards or estimates are missing.
    """
    if (into is None) == (output is None):
        raise UsageError("expected either --into, for one run, or --output, for any number of them")
    from sam_audio_bench.run.remote import find_runs

    find_runs(runs)
    from sam_audio_bench.run.merge import merge as merge_runs
    from sam_audio_bench.run.merge import merge_all
    from sam_audio_bench.run.upload import RunUploader

    gaps: list[str] = []
    place = into or output or Path()
    copier = RunUploader(copy_to, place, note)
    if into is not None:
        merged = [merge_runs(runs, into, note=gaps.append)]
    elif output is not None:
        merged = merge_all(runs, output, note=gaps.append)
    for run in merged:
        echo(f"{len(run.items)} items in {run.path}")
        copier.copy(run.path.absolute())
    echo(f"See `sabench table {place}`.")
    for text in gaps:
        note(text)
    copier.check()
    if gaps:
        sys.exit(3)
