"""Results as figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sam_audio_bench.errors import UsageError
from sam_audio_bench.render.layout import main_metric
from sam_audio_bench.stats.summary import compute_line_scores

if TYPE_CHECKING:
    from sam_audio_bench.plots.base import Plot
    from sam_audio_bench.run.results import Results

__all__ = ["draw_results"]


def draw_results(results: Results, kind: str, metrics: Sequence[str], separators: Sequence[str]) -> Plot:
    """The figure behind `Results.plot`; without metrics, of the one that orders the table."""
    from sam_audio_bench.plots.lines import RunData
    from sam_audio_bench.plots.runs import draw

    rows = results.rows
    chosen = list(metrics) or [metric for metric in [main_metric(rows)] if metric is not None]
    if not chosen:
        raise UsageError("expected scores to draw, found none; name a metric that these runs have")
    units = {name: record.unit for name, record in results.metrics.items()}
    scores = compute_line_scores(results.compared(), units)
    data = RunData(rows=rows, scores=scores, costs=results.costs, partial=results.watermark)
    return draw(kind, data, chosen, separators)
