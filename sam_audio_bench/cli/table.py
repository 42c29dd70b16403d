"""``sabench table``: tables of run folders, without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from sam_audio_bench.cli.arguments import RUN_OR_URL, parse_names, parse_slicing
from sam_audio_bench.cli.output import echo, note, print_json

__all__ = ["table"]


@click.command()
@click.argument("runs", nargs=-1, required=True, type=RUN_OR_URL)
@click.option("--format", "form", type=click.Choice(["terminal", "md", "csv", "tex", "latex", "html", "json"]),
              default="terminal", show_default=True)  # fmt: skip
@click.option("--by", metavar="NAME[:N,N…]",
              help="A table for each slice of the items by an attribute; cut as in snr:-10,0,10.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Same as --format json.")
@click.option("--metrics", default="", help="Columns, comma-separated, in this order; default: all.")
@click.option("--sort", metavar="METRIC", help="Sort lines by this column, which comes first; default: si_sdr_i, or "
              "else the first improvement.")  # fmt: skip
@click.option("--pivot", type=click.Choice(["task", "metric", "separator"]), default="task", show_default=True,
              help="Content of each block: a task with one column per metric, a metric with one column per task, or a "
              "separator with one line per task.")  # fmt: skip
@click.option("--digits", type=click.IntRange(0, 8), default=2, show_default=True, help="Decimals of every number.")
@click.option("--no-interval", is_flag=True, help="Show no intervals.")
def table(
    runs: tuple[Path | str, ...], form: str, by: str | None, as_json: bool, metrics: str, no_interval: bool,
    **options: Any,
) -> None:  # fmt: skip
    """Print the table of finished runs; RUNS are run folders or folders that hold them, here or at a URL.

    The text above it states the best separator, and whether that is significant. The best and those that do not differ
    significantly from it are bold; a separator that is not surely better than the mixture is marked. With --by each
    slice is evaluated separately, without an overall result. The width is that of the terminal; for pipes COLUMNS or
    100.
    """
    from sam_audio_bench.run.results import Results

    chosen = parse_names(metrics, "--metrics") if metrics else ()
    results = Results.read(runs)
    if by is not None:
        results = results.by(*parse_slicing(by))
    if as_json or form == "json":
        print_json(results.to_json(metrics=chosen, sort=options["sort"]))
    elif form == "terminal":
        results.print(metrics=chosen, interval=not no_interval, **options)
    else:
        echo(results.table(form, metrics=chosen, interval=not no_interval, **options))
    if as_json or form in ("json", "csv"):  # other formats mention it in a note
        for name in dict.fromkeys(chosen):
            if name not in set(results.frame["metric"]):
                note(f"note: no row of {name}: for no item of these runs")
