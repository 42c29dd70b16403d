"""``sabench cite``: BibTeX of what runs used, without torch."""

from __future__ import annotations

from pathlib import Path

import click

from sam_audio_bench.cli.output import echo

__all__ = ["cite"]


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
def cite(runs: tuple[Path, ...]) -> None:
    """Print BibTeX of the data, metrics and separators of RUNS."""
    from sam_audio_bench.run.cite import cite as entries

    echo(entries(runs))
