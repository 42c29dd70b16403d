"""``sabench merge``: shards become one run."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["merge"]


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--into", required=True, type=click.Path(path_type=Path), help="The new run folder.")
def merge(runs: tuple[Path, ...], into: Path) -> None:
    """Put the shards of a run together; RUNS are run folders or folders that hold them."""
    from sam_audio_bench.run.merge import merge as merge_runs

    merged = merge_runs(runs, into)
    click.echo(f"{len(merged.items)} items in {into}; see `sabench table {into}`")
