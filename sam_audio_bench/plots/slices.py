"""Means in slices of the items: a dot and an interval a slice, separators overlaid."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sam_audio_bench.errors import UsageError
from sam_audio_bench.plots.base import Plot, colour_of, ink, panels, shape_of, styled

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["slice_means"]

_APART = 0.7  # of a line, between the first separator's dot and the last one's
_GAP = 0.6  # lines, between attributes
_LONGEST = 40  # letters of a label


@styled
def slice_means(rows: pd.DataFrame, *, axis: str, title: str, name: str) -> Plot:
    """Mean and interval of each slice, a line a slice in groups by attribute, separators overlaid.

    A full dot says that the separator is surely worse in this slice than elsewhere.

    Args:
        rows: columns ``attribute, slice, place, separator, mean, low, high, surely_worse``; NaN where there is no
            interval.
        axis: the metric with its unit.
        title: of the figure.
        name: of the files.

    Raises:
        UsageError: no row.
    """
    if not len(rows):
        raise UsageError("expected slices to draw, found none")
    heights: dict[tuple[str, str], float] = {}
    for attribute, part in rows.groupby("attribute", sort=False):
        for label in part.sort_values("place")["slice"].unique():
            gap = _GAP if heights and next(reversed(heights))[0] != attribute else 0.0
            heights[str(attribute), label] = min(heights.values(), default=1.0) - 1.0 - gap
    separators = list(dict.fromkeys(rows["separator"]))
    tall = -min(heights.values()) * (0.16 + 0.08 * len(separators))
    figure, (panel,) = panels(1, 1, (6.8, 1.3 + tall))
    for at, separator in enumerate(separators):
        own = rows[rows["separator"] == separator]
        shift = _APART * (0.5 - (at + 0.5) / len(separators)) if len(separators) > 1 else 0.0
        y = np.array([heights[key] for key in zip(own["attribute"], own["slice"], strict=True)]) + shift
        colour, shape, sure = colour_of(at), shape_of(at), own["surely_worse"].to_numpy(bool)
        means = own["mean"].to_numpy(float)
        panel.hlines(y, own["low"].to_numpy(float), own["high"].to_numpy(float), color=colour, linewidth=1.2)
        panel.plot(means, y, shape, color=colour, markersize=5, markerfacecolor="none", label=separator)
        panel.plot(means[sure], y[sure], shape, color=colour, markersize=5)
    panel.set_yticks(list(heights.values()), [_shortened(label) for _, label in heights])
    panel.set_ylim(min(heights.values()) - 0.7, 0.7)
    panel.grid(axis="x")
    low, high = panel.get_xlim()
    if low < 0 < high:
        panel.axvline(0, color=ink(), linewidth=0.8)
    panel.set_xlabel(axis)
    figure.legend(loc="outside upper center", ncols=min(3, len(separators)))
    caption = "Bars: 95 % intervals over recordings. Full dots: surely worse than elsewhere (Holm)."
    return Plot(name=name, title=title, caption=caption, figure=figure, data=rows)


def _shortened(label: str) -> str:
    """A label that leaves room for the dots; the CSV has all of it."""
    return label if len(label) <= _LONGEST else f"{label[: _LONGEST - 1]}…"
