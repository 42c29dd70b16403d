"""Figures of the distribution of a column with its threshold, and of how many labels other thresholds would keep."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from sam_audio_bench.filtering.expression import Threshold
from sam_audio_bench.plots.base import Plot, colour_of, ink, styled
from sam_audio_bench.plots.lines import escape_math

__all__ = ["can_be_drawn", "draw_threshold"]

_BINS = 40
_LARGEST = 1e100  # largest value of an axis that can be drawn
Floats = NDArray[np.float64]


def can_be_drawn(values: Floats, threshold: Threshold) -> bool:
    """Returns whether a figure can show values and threshold: there are values, and none is beyond 1e100."""
    known = values[np.isfinite(values)]
    shown = [*known, threshold.value] if np.isfinite(threshold.value) else known
    return len(known) > 0 and float(np.abs(shown).max()) <= _LARGEST


def _edges(values: Floats) -> Floats:
    """Returns the edges of bins over all values; bins are wider if floats of that size are too sparse."""
    low, high = float(values.min()), float(values.max())
    width = 1.0 if low == high else high - low
    least = 2 * _BINS * float(np.spacing(max(abs(low), abs(high))))
    if low == high or width < least:
        middle, width = low + (high - low) / 2, max(width, least)
        low, high = middle - width / 2, middle + width / 2
    return np.linspace(low, high, _BINS + 1)


@styled
def draw_threshold(values: Floats, others: NDArray[np.bool_], threshold: Threshold, number: int) -> Plot:
    """Draws histograms of all labels and of those that no other condition rejects; below, labels kept per threshold.

    Args:
        values: the column's value of each label; NaN if undefined.
        others: whether no other condition rejects the label.
        threshold: the threshold of the column.
        number: number of the condition, for the name of the figure.
    """
    known = np.isfinite(values)
    edges = _edges(values[known])
    every, own = (np.histogram(values[chosen], bins=edges)[0] for chosen in (known, known & others))
    figure = Figure(figsize=(7.0, 3.6))
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    above.stairs(every, edges, fill=True, color=colour_of(-1), alpha=0.5, label="all labels")
    above.stairs(own, edges, fill=True, color=colour_of(0), label="those that no other condition rejects")
    kept = _count_kept(values[known & others], edges, threshold.sign)
    below.plot(edges, kept, color=colour_of(0))
    for panel in (above, below):
        panel.axvline(threshold.value, color=ink(), linestyle="--", linewidth=1)
        panel.set_ylim(bottom=0)
    above.set_ylabel("labels")
    above.legend(fontsize=8)
    below.set_ylabel("kept")
    below.set_xlabel(escape_math(threshold.column))
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


def _count_kept(values: Floats, thresholds: Floats, sign: str) -> NDArray[np.int64]:
    """Counts the values that a comparison with each threshold keeps."""
    ordered = np.sort(values)
    below = np.searchsorted(ordered, thresholds, side="right" if sign in (">", "<=") else "left").astype(np.int64)
    return below if sign in ("<", "<=") else len(ordered) - below
