"""``sabench cite``: BibTeX of data, metrics and separators of runs, without torch."""

from __future__ import annotations

from pathlib import Path

import click

from sam_audio_bench.cli.arguments import RUN_OR_URL
from sam_audio_bench.cli.output import echo

__all__ = ["cite"]


@click.command()
@click.argument("runs", nargs=-1, required=True, type=RUN_OR_URL)
def cite(runs: tuple[Path | str, ...]) -> None:
    """Print BibTeX of the data, metrics and separators of RUNS."""
    from sam_audio_bench.run.cite import cite as entries

    echo(entries(runs))
