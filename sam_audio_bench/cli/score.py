"""``sabench score``: scores stored estimates, by other metrics or by newer versions of the same."""

from __future__ import annotations

from pathlib import Path

import click

from sam_audio_bench.cli.arguments import RUN_OR_URL
from sam_audio_bench.cli.output import claim_stdout, print_json
from sam_audio_bench.run.settings import EXECUTORS, Settings

__all__ = ["score"]


@click.command()
@click.argument("runs", nargs=-1, required=True, type=RUN_OR_URL)
@click.option("--metrics", default="", help="Ids to add or to compute again; default: those of the runs.")
@click.option("--changed", is_flag=True, help="Only what was scored in another version or with other weights.")
@click.option("--metric-args", default="", help="Options of the metrics, k=v,k=v; default: those of the runs.")
@click.option("--executor", type=click.Choice(EXECUTORS), default="local", show_default=True, help="Where metrics run.")
@click.option("--workers", type=int, help="Processes or actors; default: one for each GPU, or for its threads.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the table.")
def score(
    runs: tuple[Path | str, ...], metrics: str, changed: bool, metric_args: str, executor: str, workers: int | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Score the estimates in RUNS; nothing is separated.

    RUNS are run folders or folders that hold them, here or at a URL, to which the scores are then copied.
    """
    from sam_audio_bench.columns import check_metrics
    from sam_audio_bench.options import parse_arguments, split_specifications

    names, arguments = split_specifications(metrics), parse_arguments(metric_args)
    check_metrics(names, arguments if names else ())
    Settings(executor=executor, workers=workers)  # before anything is read
    from sam_audio_bench.run.remote import find_runs

    find_runs(runs)
    from sam_audio_bench.run.rescore import rescore

    stdout = claim_stdout() if as_json else None
    results = rescore(runs, metrics=names, changed=changed, metric_args=arguments, executor=executor, workers=workers)
    if stdout is not None:
        print_json(results.to_json(), stdout)
    else:
        results.print()
