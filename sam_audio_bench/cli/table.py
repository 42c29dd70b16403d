"""``sabench table``: tables of run folders, without torch."""

from __future__ import annotations

from pathlib import Path

import click

from sam_audio_bench.cli.output import echo, print_json
from sam_audio_bench.cli.words import RUN, attribute_and_points

__all__ = ["table"]


@click.command()
@click.argument("runs", nargs=-1, required=True, type=RUN)
@click.option("--format", "form", type=click.Choice(["terminal", "md", "csv", "tex", "html", "json"]),
              default="terminal", show_default=True)  # fmt: skip
@click.option("--by", metavar="NAME[:N,N…]",
              help="A table for each slice of the items by an attribute; cut as in snr:-10,0,10.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Same as --format json.")
def table(runs: tuple[Path | str, ...], form: str, by: str | None, as_json: bool) -> None:
    """Print the table of finished runs; RUNS are run folders or folders that hold them, here or at a URL."""
    from sam_audio_bench.run.results import Results

    results = Results.read(runs)
    if by is not None:
        results = results.by(*attribute_and_points(by))
    if as_json or form == "json":
        print_json(results.to_json())
    elif form == "terminal":
        results.print()
    else:
        echo(results.table(form))
