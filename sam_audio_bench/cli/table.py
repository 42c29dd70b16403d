"""``sabench table``: tables of run folders, without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from sam_audio_bench.cli.output import echo, note, print_json
from sam_audio_bench.cli.words import RUN, attribute_and_points, words

__all__ = ["table"]


@click.command()
@click.argument("runs", nargs=-1, required=True, type=RUN)
@click.option("--format", "form", type=click.Choice(["terminal", "md", "csv", "tex", "latex", "html", "json"]),
              default="terminal", show_default=True)  # fmt: skip
@click.option("--by", metavar="NAME[:N,N…]",
              help="A table for each slice of the items by an attribute; cut as in snr:-10,0,10.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Same as --format json.")
@click.option("--metrics", default="", help="Columns, comma-separated, in this order; default: all.")
@click.option("--sort", metavar="METRIC", help="Sort lines by this column, which comes first; default: si_sdr_i, or "
              "else the first improvement.")  # fmt: skip
@click.option("--pivot", type=click.Choice(["task", "metric", "separator"]), default="task", show_default=True,
              help="What each block is of: a task with a column a metric, a metric with a column a task, or a "
              "separator with a line a task.")  # fmt: skip
@click.option("--digits", type=click.IntRange(0, 8), default=2, show_default=True, help="Decimals of every number.")
@click.option("--no-interval", is_flag=True, help="Show no intervals.")
def table(
    runs: tuple[Path | str, ...], form: str, by: str | None, as_json: bool, metrics: str, no_interval: bool,
    **options: Any,
) -> None:  # fmt: skip
    """Print the table of finished runs; RUNS are run folders or folders that hold them, here or at a URL.

    Above it stands who is best, and whether that is sure. Bold is the best and whatever cannot be told from it; a line
    that is not surely better than the mixture is marked. With --by each slice is answered by itself, and nothing over
    all. Terminals get their own width, pipes COLUMNS or 100.
    """
    from sam_audio_bench.run.results import Results

    wanted = words(metrics, "--metrics") if metrics else ()
    results = Results.read(runs)
    if by is not None:
        results = results.by(*attribute_and_points(by))
    if as_json or form == "json":
        print_json(results.to_json(metrics=wanted, sort=options["sort"]))
    elif form == "terminal":
        results.print(metrics=wanted, interval=not no_interval, **options)
    else:
        echo(results.table(form, metrics=wanted, interval=not no_interval, **options))
    if as_json or form in ("json", "csv"):  # the others name it in a note
        for name in dict.fromkeys(wanted):
            if name not in set(results.frame["metric"]):
                note(f"note: no row of {name}: for no item of these runs")
