"""``sabench plot``: figures of run folders, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sam_audio_bench.cli.arguments import RUN_OR_URL, parse_names
from sam_audio_bench.cli.output import echo, note, print_json
from sam_audio_bench.errors import UsageError
from sam_audio_bench.options import split_specifications

if TYPE_CHECKING:
    from sam_audio_bench.plots.base import Plot
    from sam_audio_bench.run.results import Results

__all__ = ["plot"]

_SLICES = "slices"
_KINDS = ("bars", "box", "scatter", "pareto", _SLICES)  # plots.runs.KINDS, which imports matplotlib, and slices
_ALL = "all"


@click.command()
@click.argument("runs", nargs=-1, required=True, type=RUN_OR_URL)
@click.option("--kind", "kinds", multiple=True, type=click.Choice(_KINDS), default=["bars"], show_default=True,
              help="bars: means and intervals; box: scores of items; scatter: two separators, or two metrics, item by "
              "item; pareto: quality against cost; slices: means in slices of the items, as `sabench slices` finds "
              "them. May be repeated.")  # fmt: skip
@click.option("--metric", "metrics", default="",
              help="Ids, comma-separated, or all: a figure each; two for a scatter are one figure. Default: the metric "
              "that orders the table.")  # fmt: skip
@click.option("--separator", "separators", default="", help="Names of those to draw, comma-separated; default: all.")
@click.option("--theme", type=click.Choice(["light", "dark", "both"]), default="light", show_default=True)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("figures"), show_default=True,
              help="Folder of the files: SVG, PNG, and the numbers as CSV.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def plot(
    runs: tuple[Path | str, ...],
    kinds: tuple[str, ...],
    metrics: str,
    separators: str,
    theme: str,
    out: Path,
    as_json: bool,
) -> None:
    """Draw figures of finished runs; RUNS are run folders or folders that hold them, here or at a URL."""
    from sam_audio_bench.plots.base import THEMES
    from sam_audio_bench.run.results import Results

    results = Results.read(runs)
    named = _named(results, metrics) if metrics else []
    chosen = parse_names(separators, "--separator") if separators else []
    found: list[Plot] = []
    for kind in dict.fromkeys(kinds):
        if kind == _SLICES:
            found += _slice_figures(results, named, chosen)
        else:
            found += _figures(results, kind, named, chosen, pair=metrics != _ALL)
    saved = []
    for figure in found:
        files = [str(path) for path in figure.save(out, themes=THEMES if theme == "both" else (theme,))]
        saved.append({"name": figure.name, "title": figure.title, "caption": figure.caption, "files": files})
    if as_json:
        print_json({"figures": saved})
        return
    for one in saved:
        echo("\n".join([str(one["title"]), *(f"  {file}" for file in one["files"]), f"  {one['caption']}"]))


def _named(results: Results, metrics: str) -> list[str]:
    """Returns the requested metrics; for "all" those with a value."""
    found = list(dict.fromkeys(split_specifications(metrics)))
    if not found:
        raise UsageError(f"expected comma-separated ids for --metric, found {metrics!r}")
    if found != [_ALL]:
        return found
    known = {row.metric for row in results.rows if row.value is not None}
    for metric in results.metrics:
        if metric not in known:
            note(f"note: no figure by {metric}, which has no value")
    return [metric for metric in results.metrics if metric in known]


def _figures(results: Results, kind: str, metrics: list[str], separators: list[str], *, pair: bool) -> list[Plot]:
    """Draws all figures of a kind, before any file is written; ``pair``: two metrics may be one scatter."""
    if pair and kind == "scatter" and len(metrics) == 2:
        return [results.plot(kind, metrics, separators=separators)]
    each: list[Sequence[str]] = [[metric] for metric in metrics] or [()]
    return [results.plot(kind, metric, separators=separators) for metric in each]


def _slice_figures(results: Results, metrics: Sequence[str], separators: Sequence[str]) -> list[Plot]:
    """Draws one figure per task and metric; by default of the metric of `sabench slices`."""
    from sam_audio_bench.run.display import draw_slice_figures
    from sam_audio_bench.run.slices import make_slice_report

    reports = [make_slice_report(results, metric=metric) for metric in metrics or (None,)]
    for text in dict.fromkeys(text for report in reports for text in report.notes):
        note(f"note: {text}")
    return [figure for report in reports for figure in draw_slice_figures(report, separators).values()]
