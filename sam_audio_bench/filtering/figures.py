"""The distribution of a column with its threshold, and how many labels other thresholds would keep."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from sam_audio_bench.filtering.expression import Threshold
from sam_audio_bench.plots.base import Plot, colour_of, ink, styled

__all__ = ["draw_threshold"]

_BINS = 40
Floats = NDArray[np.float64]


@styled
def draw_threshold(values: Floats, others: NDArray[np.bool_], threshold: Threshold, number: int) -> Plot:
    """Histograms of all labels and of those that no other condition rejects; below, the number kept by any threshold.

    Args:
        values: of the column, a label; NaN where undefined.
        others: whether no other condition rejects a label.
        threshold: of the column.
        number: of the condition, for the name of the figure.
    """
    known = np.isfinite(values)
    edges = np.histogram_bin_edges(values[known], bins=_BINS)
    every, own = (np.histogram(values[chosen], bins=edges)[0] for chosen in (known, known & others))
    figure = Figure(figsize=(7.0, 3.6))
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    above.stairs(every, edges, fill=True, color=colour_of(-1), alpha=0.5, label="all labels")
    above.stairs(own, edges, fill=True, color=colour_of(0), label="those that no other condition rejects")
    kept = _kept(values[known & others], edges, threshold.sign)
    below.plot(edges, kept, color=colour_of(0))
    for panel in (above, below):
        panel.axvline(threshold.value, color=ink(), linestyle="--", linewidth=1)
        panel.set_ylim(bottom=0)
    above.set_ylabel("labels")
    above.legend(fontsize=8)
    below.set_ylabel("kept")
    below.set_xlabel(threshold.column)
    data = pd.DataFrame(
        {"from": edges[:-1], "to": edges[1:], "labels": every, "others_met": own, "kept_from": kept[:-1]}
    )
    title = f"{threshold.column}: distribution and yield"
    caption = (
        f"{int(known.sum())} of {len(values)} labels have {threshold.column}, {int((known & others).sum())} of which "
        f"no other condition rejects, as far as is known. Above: how it is distributed, with the line at "
        f"{threshold.value:g}. Below: how many labels a line elsewhere would keep, before duplicates and quotas."
    )
    return Plot(name=f"condition-{number}", title=title, caption=caption, figure=figure, data=data)


def _kept(values: Floats, thresholds: Floats, sign: str) -> NDArray[np.int64]:
    """How many values a comparison with each threshold keeps."""
    ordered = np.sort(values)
    below = np.searchsorted(ordered, thresholds, side="right" if sign in (">", "<=") else "left").astype(np.int64)
    return below if sign in ("<", "<=") else len(ordered) - below
