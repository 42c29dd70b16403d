"""The figures of `sabench slices`: a dot and an interval for each slice, in the style of `plots`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np

from sam_audio_bench.errors import UsageError, unknown_name
from sam_audio_bench.files import safe_name
from sam_audio_bench.plots.base import Plot, colour_of, ink, panels, shape_of, styled
from sam_audio_bench.stats.slices import FEWEST

if TYPE_CHECKING:
    import pandas as pd

    from sam_audio_bench.run.slices import SliceReport

__all__ = ["slice_figures", "slice_means"]

_APART = 0.7  # of a line, between the first separator's dot and the last one's
_GAP = 0.6  # lines, between attributes
_LONGEST = 40  # letters of a label


def slice_figures(found: SliceReport, separators: Sequence[str] = ()) -> list[Plot]:
    """A figure of each task that has a slice with enough recordings.

    Args:
        found: what `sabench slices` tells.
        separators: names of those to draw; none: all.

    Raises:
        UsageError: a name that these runs do not have, or nothing to draw.
    """
    import pandas as pd

    known = dict.fromkeys(row.separator for row in found.rows)
    for name in separators:
        if name not in known:
            raise unknown_name("separator", name, known)
    rows = [
        {**asdict(row), "surely_worse": row.is_surely_worse()}
        for row in found.rows
        if row.recordings >= FEWEST and row.mean is not None and row.separator in (separators or known)
    ]
    if not rows:
        raise UsageError(f"expected a slice with {FEWEST} recordings to draw, found none; `sabench slices` says why")
    axis = f"{found.metric} {f'({found.unit})' if found.unit else ''}".strip()
    return [
        slice_means(part, axis=axis, title=f"{found.labels[str(task)]} in slices",
                    name=safe_name(f"slices-{task}-{found.metric}"))
        for task, part in pd.DataFrame(rows).groupby("task", sort=False)
    ]  # fmt: skip


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
