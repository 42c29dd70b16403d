"""Figures in a plane: one score against another item by item, and quality against cost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd
from matplotlib.lines import Line2D

from sam_audio_bench.errors import UsageError
from sam_audio_bench.files import case_sensitive_name
from sam_audio_bench.plots.base import MOST_VECTORS, Plot, colour_of, ink, require, shape_of, styled
from sam_audio_bench.plots.lines import (
    RunData,
    SeparatorLine,
    TaskPanel,
    add_legend,
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
from sam_audio_bench.render.text import one_line
from sam_audio_bench.separators.catalogue import BASELINES
from sam_audio_bench.stats.cost import Cost
from sam_audio_bench.stats.summary import SummaryRow
from sam_audio_bench.stats.verdict import BASELINE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["pareto", "scatter"]

_PANEL = 2.5, 2.2  # inches
_LEGEND = 2.4
_ARROWS = {(-1, 0): "<", (1, 0): ">", (0, -1): "v", (0, 1): "^"}  # for points beyond an axis; beyond both: up or down
_FAR_OFF = " Arrows at the frame: beyond the axis."


class _Plane(NamedTuple):
    """Ends of both axes."""

    across: tuple[float, float]
    up: tuple[float, float]

    def place(self, x: float, y: float) -> tuple[float, float, str | None]:
        """Returns where a point is drawn, and the arrow that marks it if it lies beyond the axes."""
        (x, right), (y, over) = clip_to_axis(x, self.across), clip_to_axis(y, self.up)
        return x, y, _ARROWS.get((0, over) if over else (right, 0))


@styled
def scatter(data: RunData, one: str, other: str | None = None) -> Plot:
    """Plots item scores of two separators by one metric, or of all separators by two metrics.

    Args:
        data: with one metric, data of two separators, not counting oracles if there are more.
        one: metric of the horizontal axis.
        other: metric of the vertical axis; None: two separators are compared, with the better one, or the one that is
            not the mixture, on the vertical axis.

    Raises:
        UsageError: an unknown metric, not two separators, or no item with both scores.
    """
    rows = data.metric_rows(one)
    lines, label = rank_lines(rows), axis_label(rows[0])
    if other is None:
        up, across = _two_lines(lines)
        lines, ways, same = [across], [((across, one), (up, one))], True
        labels, title = [f"{line.shown}: {label}" for line in (across, up)], f"{one}: {up.name} against {across.name}"
    else:
        upper = data.metric_rows(other)[0]
        ways, same = [((line, one), (line, other)) for line in lines], rows[0].unit == upper.unit != ""
        labels, title = [label, axis_label(upper)], f"{other} against {one}"
    table = [pair for task in list_task_panels(rows) for x, y in ways for pair in _pairs(data, task, x, y)]
    drawn = pd.DataFrame(require(table, "items with both scores"))
    plane = _plane(drawn, same=same)
    tasks = [task for task in list_task_panels(rows) if task.id in set(drawn["task"])]
    figure, grid = create_task_panels(tasks, data.headline(title), _PANEL, _LEGEND if other else 0.3)
    for panel, task in zip(grid, tasks, strict=True):
        own = drawn[drawn["task"] == task.id]
        _frame(panel, plane, equal=same)
        for at, line in enumerate(lines):
            part = own[own["separator"] == line.name]
            _draw_dots(panel, plane, part, at, hollow=line.oracle)
        if other is None:
            _count_wins(panel, task, own, higher=rows[0].higher_is_better)
    figure.supxlabel(labels[0], fontsize=8)
    figure.supylabel(labels[1], fontsize=8)
    if other is not None:
        add_legend(figure, lines)
    caption = "A dot is an item that has both scores." + " Line: equal scores." * same
    caption += " Hollow: oracles." * any(line.oracle for line in lines) + _far_off(plane, drawn[["x", "y"]].to_numpy())
    name = "-".join(["scatter", case_sensitive_name(one), *([] if other is None else [case_sensitive_name(other)])])
    return Plot(name=name, title=title, caption=caption, figure=figure, data=drawn)


def _two_lines(lines: Sequence[SeparatorLine]) -> tuple[SeparatorLine, SeparatorLine]:
    """Returns the better and the worse separator; the mixture counts as the worse one."""
    chosen = lines if len(lines) == 2 else [line for line in lines if not line.oracle]
    if len(chosen) != 2:
        raise UsageError(
            f"expected two separators to draw against each other, found {len(chosen)}{': ' * bool(chosen)}"
            f"{', '.join(line.name for line in chosen[:8])}{' …' * (len(chosen) > 8)}; name two of them "
            "(--separator A,B), or two metrics (--metric A,B)"
        )
    first, second = sorted(chosen, key=lambda line: line.separator == BASELINE)
    return first, second


def _pairs(
    data: RunData, task: TaskPanel, x: tuple[SeparatorLine, str], y: tuple[SeparatorLine, str]
) -> list[dict[str, Any]]:
    """Returns the items of a task that have both scores."""
    (across, one), (up, other) = x, y
    found, others = (data.scores.get((task.id, line.separator, line.picked_by, metric), {}) for line, metric in (x, y))
    return [
        {"task": task.id, "item": item, "group": score.group, "separator": across.name, "metric": one, "x": score.value,
         "separator_up": up.name, "metric_up": other, "y": others[item].value, "oracle": across.oracle}
        for item, score in found.items()
        if score.value is not None and item in others and others[item].value is not None
    ]  # fmt: skip


def _plane(drawn: pd.DataFrame, *, same: bool) -> _Plane:
    if same:
        ends = [*axis_limits(drawn["x"]), *axis_limits(drawn["y"])]
        both = min(ends), max(ends)
        return _Plane(both, both)
    return _Plane(axis_limits(drawn["x"]), axis_limits(drawn["y"]))


def _frame(panel: Axes, plane: _Plane, *, equal: bool = False) -> None:
    panel.set_xlim(*plane.across)
    panel.set_ylim(*plane.up)
    panel.grid()
    if equal:
        panel.plot(plane.across, plane.across, color=ink(), linewidth=0.8, zorder=1.5)


def _draw_dots(panel: Axes, plane: _Plane, part: pd.DataFrame, at: int, *, hollow: bool) -> None:
    placed = [(*plane.place(x, y),) for x, y in zip(part["x"], part["y"], strict=True)]
    for shape in dict.fromkeys(arrow for _, _, arrow in placed):
        x, y = zip(*((x, y) for x, y, arrow in placed if arrow == shape), strict=True)
        panel.scatter(
            x, y, s=14, marker=shape or shape_of(at), facecolors="none" if hollow else colour_of(at), linewidths=0.7,
            edgecolors=colour_of(at), alpha=0.75, rasterized=len(part) > MOST_VECTORS, clip_on=shape is None,
            zorder=2.5,
        )  # fmt: skip


def _count_wins(panel: Axes, task: TaskPanel, own: pd.DataFrame, *, higher: bool | None) -> None:
    """Writes above the panel on how many items the separator of the vertical axis is better."""
    wins = (own["y"] > own["x"]) if higher is not False else (own["y"] < own["x"])
    relation = "higher" if higher is None else "better"
    set_title(panel, task.title, f"↑ {relation} on {int(wins.sum())} of {len(own)}")


@styled
def pareto(data: RunData, metric: str) -> Plot:
    """Plots the mean of every separator by one metric against its real-time factor, with the Pareto front.

    Raises:
        UsageError: an unknown metric, or no separator with a mean and a cost.
    """
    rows = data.metric_rows(metric)
    lines, costs = rank_lines(rows), {(cost.task, cost.separator): cost for cost in data.costs}
    known = [row for row in rows if row.value is not None and _factor(costs, row) is not None]
    left = sorted({row.separator for row in rows if row not in known})
    table = [_cost_row(row, costs[row.task, row.separator], lines) for row in known]
    drawn = pd.DataFrame(require(table, f"means by {metric} with a real-time factor"))
    cheapest, dearest = drawn["real_time_factor"].min(), drawn["real_time_factor"].max()
    plane = _Plane((cheapest / 1.7, dearest * 1.7), interval_limits(known))
    tasks = [task for task in list_task_panels(rows) if task.id in set(drawn["task"])]
    figure, grid = create_task_panels(tasks, data.headline(f"{metric} against cost"), _PANEL, _LEGEND)
    fronts = 0
    for panel, task in zip(grid, tasks, strict=True):
        panel.set_xscale("log")
        _frame(panel, plane)
        own = drawn[drawn["task"] == task.id]
        fronts += _draw_front(panel, own, higher=rows[0].higher_is_better)
        for at, line in enumerate(lines):
            for _, point in own[own["separator"] == line.name].iterrows():
                _draw_mean(panel, plane, point, at, line)
    figure.supxlabel("real-time factor ↓", fontsize=8)
    figure.supylabel(axis_label(rows[0]), fontsize=8)
    add_legend(figure, lines, [Line2D([], [], color=ink(), linewidth=0.8, label="front")] if fronts else [])
    caption = _pareto_caption(drawn, lines, left, has_front=fronts > 0)
    caption += _far_off(plane, drawn[["real_time_factor", "mean"]].to_numpy())
    title = f"{metric} against cost"
    return Plot(name=f"pareto-{case_sensitive_name(metric)}", title=title, caption=caption, figure=figure, data=drawn)


def _factor(costs: dict[tuple[str, str], Cost], row: SummaryRow) -> float | None:
    """Returns the real-time factor of a mean; None if unknown or 0, which a logarithmic axis cannot show."""
    cost = costs.get((row.task, row.separator))
    return (cost.real_time_factor or None) if cost is not None else None


def _cost_row(row: SummaryRow, cost: Cost, lines: Sequence[SeparatorLine]) -> dict[str, Any]:
    name = next(line.name for line in lines if (line.separator, line.picked_by) == (row.separator, row.picked_by))
    return {"task": row.task, "separator": name, "oracle": row.oracle, "metric": row.metric, "mean": row.value,
            "ci_low": row.ci_low, "ci_high": row.ci_high, "n_ok": row.n_ok, "n": row.n,
            "real_time_factor": cost.real_time_factor, "hardware": cost.hardware}  # fmt: skip


def _draw_front(panel: Axes, own: pd.DataFrame, *, higher: bool | None) -> bool:
    """Draws the Pareto front: separators that are better than all cheaper ones, if there are at least two.

    Oracles and baselines are left out.
    """
    sign = -1 if higher is False else 1
    front: list[tuple[float, float]] = []
    ordered = own[~own["oracle"] & ~own["separator"].isin(BASELINES)].assign(worth=lambda part: sign * part["mean"])
    for _, point in ordered.sort_values(
        ["real_time_factor", "worth"], ascending=[True, False], kind="stable"
    ).iterrows():
        if not front or point["worth"] > sign * front[-1][1]:
            front.append((point["real_time_factor"], point["mean"]))
    if len(front) > 1:
        panel.plot(*zip(*front, strict=True), color=ink(), linewidth=0.8, zorder=1.5, drawstyle="steps-post")
    return len(front) > 1


def _draw_mean(panel: Axes, plane: _Plane, point: pd.Series, at: int, line: SeparatorLine) -> None:
    x, y, arrow = plane.place(point["real_time_factor"], point["mean"])
    if arrow is None and pd.notna(point["ci_low"]) and pd.notna(point["ci_high"]):
        panel.plot([x, x], [point["ci_low"], point["ci_high"]], color=colour_of(at), linewidth=1)
    if line.separator == BASELINE and arrow is None:
        panel.axhline(y, color=ink(), linewidth=0.8, linestyle=(0, (4, 3)), zorder=1.5)
    panel.plot(
        [x], [y], arrow or shape_of(at), color=colour_of(at), markersize=5, zorder=2.5, clip_on=arrow is None,
        markerfacecolor="none" if line.oracle else colour_of(at),
    )  # fmt: skip


def _pareto_caption(
    drawn: pd.DataFrame, lines: Sequence[SeparatorLine], left: Sequence[str], *, has_front: bool
) -> str:
    machines = sorted({one_line(name) for name in drawn["hardware"] if name})
    text = "Mean over items with its 95 % interval over recordings, against seconds of computation per second of sound."
    if has_front:
        text += " Line: the front, which no separator beats in both; oracles and baselines are no part of it."
    text += caption_notes(lines, "Dashed: the mixture.", "Hollow: oracles.")
    if machines:
        text += f" On {machines[0]}." if len(machines) == 1 else f" On different machines: {', '.join(machines)}."
    return text + (f" Not drawn where there is no mean or no cost: {', '.join(left)}." if left else "")


def _far_off(plane: _Plane, points: Iterable[Sequence[float]]) -> str:
    return _FAR_OFF * any(plane.place(x, y)[2] is not None for x, y in points)
