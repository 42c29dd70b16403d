"""Figures with one line per separator or slice: means with intervals, and distributions of item scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from sam_audio_bench.errors import UsageError
from sam_audio_bench.files import case_sensitive_name
from sam_audio_bench.plots.base import MOST_VECTORS, Plot, colour_of, ink, panels, require, shape_of, styled
from sam_audio_bench.plots.lines import (
    RunData,
    SeparatorLine,
    TaskPanel,
    axis_label,
    axis_limits,
    caption_notes,
    clip_to_axis,
    create_task_panels,
    interval_limits,
    list_task_panels,
    rank_lines,
    set_title,
)
from sam_audio_bench.render.numbers import UNDEFINED, number
from sam_audio_bench.render.text import pluralize
from sam_audio_bench.stats.summary import SummaryRow
from sam_audio_bench.stats.verdict import BASELINE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

__all__ = ["bars", "box", "slice_means"]

_ROW = 0.19  # inches per line of a name
_FEWEST_IN_BOX = 5  # items; fewer are shown as dots only
_SEPARATOR_SPREAD = 0.7  # of a line, between the first separator's dot and the last one's
_ATTRIBUTE_GAP = 0.6  # lines, between attributes
_LONGEST_LABEL = 40  # characters of a label
_GOLDEN = 0.618034  # turns that spread dots evenly


@styled
def bars(data: RunData, metric: str) -> Plot:
    """Draws the mean of every separator by one metric, with its interval, and a line at the mixture's mean.

    Raises:
        UsageError: an unknown metric, or no mean.
    """
    rows = data.metric_rows(metric)
    lines, tasks, label = rank_lines(rows), list_task_panels(rows), axis_label(rows[0])
    require([row for row in rows if row.value is not None], f"means by {metric}")
    ends = [end for row in rows if row.value is not None for end in (row.value, row.ci_low, row.ci_high)]
    limits = interval_limits(rows, keep=[0.0])
    figure, grid = _rows_of(lines, tasks, data.headline(label + ": mean and 95 % interval"), limits)
    for panel, task in zip(grid, tasks, strict=True):
        own = {(row.separator, row.picked_by): row for row in rows if row.task == task.id}
        _mark_mixture(panel, own.get((BASELINE, None)), limits)
        counts = {}
        for at, line in enumerate(lines):
            row = own.get((line.separator, line.picked_by))
            if row is not None:
                _draw_bar(panel, at, line, row, limits)
                counts[at] = f"{row.n_ok}/{row.n}"
        _count(panel, task, counts)
    figure.supxlabel(label, fontsize=8)
    table = [
        {"task": row.task, "label": row.label, "separator": line.name, "oracle": line.oracle, "metric": metric,
         "mean": row.value, "ci_low": row.ci_low, "ci_high": row.ci_high, "n_ok": row.n_ok, "n": row.n}
        for line in lines for row in rows if (row.separator, row.picked_by) == (line.separator, line.picked_by)
    ]  # fmt: skip
    caption = (
        "Mean over items with its 95 % interval over recordings, and how many items have a value."
        + caption_notes(lines, "Dashed: the mixture.", "Hatched: oracles, which were shown the reference.")
        + " The best mean over tasks is on top."
        + _beyond(ends, limits)
    )
    return Plot(
        name=f"bars-{case_sensitive_name(metric)}", title=f"{metric}: means", caption=caption, figure=figure,
        data=pd.DataFrame(table),
    )  # fmt: skip


@styled
def box(data: RunData, metric: str) -> Plot:
    """Draws item scores by one metric: one dot per item, and a box from the first to the third quartile.

    Raises:
        UsageError: an unknown metric, or no score.
    """
    rows = [row for row in data.metric_rows(metric) if (row.task, row.separator, row.picked_by, metric) in data.scores]
    lines, tasks, label = rank_lines(rows), list_task_panels(rows), axis_label(data.metric_rows(metric)[0])
    table = _item_table(data, metric, lines, tasks)
    known = require([row for row in table if row["value"] is not None], f"scores by {metric}")
    limits = axis_limits(row["value"] for row in known)
    figure, grid = _rows_of(lines, tasks, data.headline(label + ": items"), limits)
    for panel, task in zip(grid, tasks, strict=True):
        _mark_mixture(panel, next((r for r in rows if (r.task, r.separator) == (task.id, BASELINE)), None), limits)
        counts = {}
        for at, line in enumerate(lines):
            own = [row["value"] for row in table if (row["task"], row["separator"]) == (task.id, line.name)]
            if own:
                values = [value for value in own if value is not None]
                _draw_box(panel, at, line, values, limits)
                counts[at] = f"{len(values)}/{len(own)}"
        _count(panel, task, counts)
    figure.supxlabel(label, fontsize=8)
    caption = (
        f"A dot is an item. Boxes, of {_FEWEST_IN_BOX} items and more: quartiles and median; whiskers: the last item "
        "within 1.5 interquartile ranges."
        + caption_notes(lines, "Dashed: mean of the mixture.", "Hollow: oracles.")
        + " n: items with a value."
        + _beyond([row["value"] for row in known], limits)
    )
    return Plot(
        name=f"box-{case_sensitive_name(metric)}", title=f"{metric}: items", caption=caption, figure=figure,
        data=pd.DataFrame(table),
    )  # fmt: skip


@styled
def slice_means(rows: pd.DataFrame, *, axis: str, title: str, name: str) -> Plot:
    """Draws mean and interval of each slice, one line per slice, grouped by attribute, separators overlaid.

    A filled dot marks that the separator is surely worse in this slice than elsewhere.

    Args:
        rows: columns ``attribute, slice, place, separator, mean, low, high, surely_worse``; NaN without an interval.
        axis: the metric with its unit.
        title: title of the figure.
        name: name of the files.

    Raises:
        UsageError: no row.
    """
    if not len(rows):
        raise UsageError("expected slices to draw, found none")
    heights: dict[tuple[str, str], float] = {}
    for attribute, part in rows.groupby("attribute", sort=False):
        for label in part.sort_values("place")["slice"].unique():
            gap = _ATTRIBUTE_GAP if heights and next(reversed(heights))[0] != attribute else 0.0
            heights[str(attribute), label] = min(heights.values(), default=1.0) - 1.0 - gap
    separators = list(dict.fromkeys(rows["separator"]))
    tall = -min(heights.values()) * (0.16 + 0.08 * len(separators))
    figure, (panel,) = panels(1, 1, (6.8, 1.3 + tall))
    for at, separator in enumerate(separators):
        own = rows[rows["separator"] == separator]
        shift = _SEPARATOR_SPREAD * (0.5 - (at + 0.5) / len(separators)) if len(separators) > 1 else 0.0
        y = np.array([heights[key] for key in zip(own["attribute"], own["slice"], strict=True)]) + shift
        colour, shape, sure = colour_of(at), shape_of(at), own["surely_worse"].to_numpy(bool)
        means = own["mean"].to_numpy(float)
        panel.hlines(y, own["low"].to_numpy(float), own["high"].to_numpy(float), color=colour, linewidth=1.2)
        panel.plot(means, y, shape, color=colour, markersize=5, markerfacecolor="none", label=separator)
        panel.plot(means[sure], y[sure], shape, color=colour, markersize=5)
    panel.set_yticks(list(heights.values()), [_shortened_label(label) for _, label in heights])
    panel.set_ylim(min(heights.values()) - 0.7, 0.7)
    panel.grid(axis="x")
    low, high = panel.get_xlim()
    if low < 0 < high:
        panel.axvline(0, color=ink(), linewidth=0.8)
    panel.set_xlabel(axis)
    figure.legend(loc="outside upper center", ncols=min(3, len(separators)))
    caption = "Bars: 95 % intervals over recordings. Full dots: surely worse than elsewhere (Holm)."
    return Plot(name=name, title=title, caption=caption, figure=figure, data=rows)


def _shortened_label(label: str) -> str:
    """Shortens a label to leave room for the dots; the CSV has it in full."""
    return label if len(label) <= _LONGEST_LABEL else f"{label[: _LONGEST_LABEL - 1]}…"


def _rows_of(
    lines: Sequence[SeparatorLine], tasks: Sequence[TaskPanel], title: str, limits: tuple[float, float]
) -> tuple[Figure, list[Axes]]:
    """Creates one panel per task, with one line per separator, as high as the highest name."""
    height = max(line.shown.count("\n") for line in lines) + 1
    beside = 0.065 * max(len(part) for line in lines for part in line.shown.split("\n"))
    figure, grid = create_task_panels(tasks, title, (2.5, _ROW * (0.35 + 0.65 * height) * len(lines) + 0.3), beside)
    for panel in grid:
        panel.set_yticks(range(len(lines)), [line.shown for line in lines], fontsize=7)
        panel.set_ylim(len(lines) - 0.4, -0.6)
        panel.set_xlim(*limits)
        panel.grid(axis="x")
        panel.tick_params(axis="y", length=0)
    return figure, grid


def _mark_mixture(panel: Axes, row: SummaryRow | None, limits: tuple[float, float]) -> None:
    if row is not None and row.value is not None and clip_to_axis(row.value, limits)[1] == 0:
        panel.axvline(row.value, color=ink(), linewidth=0.8, linestyle=(0, (4, 3)), zorder=1.5)


def _draw_bar(panel: Axes, at: int, line: SeparatorLine, row: SummaryRow, limits: tuple[float, float]) -> None:
    if row.value is None:
        panel.text(limits[0], at, f" {UNDEFINED}", va="center", fontsize=7)
        return
    end, side = clip_to_axis(row.value, limits)
    if side:
        _point_beyond(panel, at, row.value, limits)
        return
    start = clip_to_axis(0.0, limits)[0]
    panel.barh(
        at, end - start, left=start, height=0.62, linewidth=0.8, edgecolor=line.colour,
        facecolor="none" if line.oracle else line.colour, hatch="////" if line.oracle else None,
    )  # fmt: skip
    if row.ci_low is not None and row.ci_high is not None:
        panel.plot([row.ci_low, row.ci_high], [at, at], color=ink(), linewidth=1.2, solid_capstyle="butt")


def _point_beyond(panel: Axes, at: float, value: float, limits: tuple[float, float], what: str = "") -> None:
    """Draws an arrow at the end of the axis with the value beside it."""
    left = value < limits[0]
    text = f"◂ {what}{number(value)}" if left else f"{what}{number(value)} ▸"
    panel.annotate(
        text, (limits[0 if left else 1], at), fontsize=7, va="center", ha="left" if left else "right",
        xytext=(2 if left else -2, 0), textcoords="offset points",
    )  # fmt: skip


def _draw_box(panel: Axes, at: int, line: SeparatorLine, values: Sequence[float], limits: tuple[float, float]) -> None:
    if len(values) >= _FEWEST_IN_BOX:
        _draw_quartiles(panel, at, np.asarray(values))
    heights = at + 0.44 * (np.arange(len(values)) * _GOLDEN % 1 - 0.5)
    near = [index for index, value in enumerate(values) if clip_to_axis(value, limits)[1] == 0]
    panel.scatter(
        [values[index] for index in near], heights[near], s=9, linewidths=0.6, edgecolors=line.colour, alpha=0.7,
        facecolors="none" if line.oracle else line.colour, rasterized=len(values) > MOST_VECTORS, zorder=2.5,
    )  # fmt: skip
    for side, furthest in ((-1, min), (1, max)):
        far = [value for value in values if clip_to_axis(value, limits)[1] == side]
        if far:
            _point_beyond(panel, at, furthest(far), limits, f"{pluralize(len(far), 'item')} to ")


def _draw_quartiles(panel: Axes, at: int, values: NDArray[np.floating]) -> None:
    """Draws Tukey's box plot."""
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
    reach = 1.5 * (high - low)
    ends = float(values[values >= low - reach].min()), float(values[values <= high + reach].max())
    box, whiskers = ([low, high, high, low, low], [-0.3, -0.3, 0.3, 0.3, -0.3]), ((ends[0], low), (high, ends[1]))
    panel.plot(box[0], [at + height for height in box[1]], color=ink(), linewidth=0.8)
    for whisker in whiskers:
        panel.plot(whisker, (at, at), color=ink(), linewidth=0.8)
    for place, half, width in ((ends[0], 0.15, 0.8), (ends[1], 0.15, 0.8), (middle, 0.3, 1.6)):
        panel.plot((place, place), (at - half, at + half), color=ink(), linewidth=width)


def _count(panel: Axes, task: TaskPanel, counts: Mapping[int, str]) -> None:
    """Writes how many items have a value, above the panel if it is the same for all lines, or else after each line."""
    if len(set(counts.values())) == 1:
        set_title(panel, f"{task.title}; n\u00a0=\u00a0{next(iter(counts.values()))}")  # on one line
        return
    for at, count in counts.items():
        panel.annotate(count, (1, at), xycoords=("axes fraction", "data"), fontsize=6, va="center", ha="left",
                       xytext=(2, 0), textcoords="offset points")  # fmt: skip


def _item_table(
    data: RunData, metric: str, lines: Sequence[SeparatorLine], tasks: Sequence[TaskPanel]
) -> list[dict[str, Any]]:
    return [
        {"task": task.id, "separator": line.name, "oracle": line.oracle, "metric": metric, "item": item,
         "group": score.group, "value": score.value}
        for task in tasks for line in lines
        for item, score in data.scores.get((task.id, line.separator, line.picked_by, metric), {}).items()
    ]  # fmt: skip


def _beyond(values: Sequence[float | None], limits: tuple[float, float]) -> str:
    """Returns the sentence of a caption about values beyond the axis, if there are any."""
    far = any(value is not None and clip_to_axis(value, limits)[1] for value in values)
    return " Arrows at the ends of the axis: values, and intervals, that go on beyond it." if far else ""
