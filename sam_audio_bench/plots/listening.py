"""Figures of listening tests: metrics against opinions, correlations, systems, raters, reliability."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.optimize import isotonic_regression
from scipy.stats import rankdata

from sam_audio_bench.plots.base import (
    COLOURS,
    MOST_VECTORS,
    Plot,
    colour_of,
    ink,
    panels,
    remove_empty,
    require,
    shape_of,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["forest", "rater_heat_map", "reliability_curves", "scatter", "system_means"]


@styled
def scatter(data: pd.DataFrame, *, metric: str, axis: str, name: str, noise: Mapping[str, float | None]) -> Plot:
    """Plots a metric against mean opinions, one panel per domain, with the best monotonic fit and noise-ceiling band.

    Args:
        data: columns ``domain, system, metric, opinion``; one row per stimulus, finite.
        metric: its name.
        axis: name of the opinion.
        name: of the files.
        noise: by domain, standard error of a mean opinion; the band is 1.96 of it to both sides of the line: where 95 %
            of the stimuli would lie for a metric that knew each one's true value. None: no band.

    Raises:
        UsageError: no data.
    """
    domains = require(list(dict.fromkeys(data["domain"])), "domains")
    columns = min(len(domains), 3)
    rows = -(-len(domains) // columns)
    figure, grid = panels(rows, columns, (3.4 * columns + 1.4, 3.1 * rows))
    systems = sorted(data["system"].unique())
    for panel, domain in zip(grid, domains, strict=False):
        part = data[data["domain"] == domain]
        for at, system in enumerate(systems):
            own = part[part["system"] == system]
            panel.scatter(
                own["metric"], own["opinion"], s=14, color=colour_of(at), marker=shape_of(at), alpha=0.75,
                linewidths=0, label=system, rasterized=len(part) > MOST_VECTORS,
            )  # fmt: skip
        _add_line(panel, part, noise.get(domain))
        panel.set_title("" if domains == ["all"] else domain)
        panel.set_xlabel(metric)
    for panel in grid[::columns]:
        panel.set_ylabel(axis)
    remove_empty(grid, len(domains))
    if len(systems) > 1:
        figure.legend(*grid[0].get_legend_handles_labels(), loc="outside right upper", title="system")
    caption = (
        f"Each point is a stimulus. Line: best monotonic fit. Band: where 95 % of the stimuli would lie for a metric "
        f"that knew the true {axis}, given the raters' noise."
    )
    return Plot(name=name, title=f"{metric} against {axis}", caption=caption, figure=figure, data=data)


@styled
def forest(rows: pd.DataFrame, *, title: str, name: str, ceiling: tuple[float, float] | None = None) -> Plot:
    """Plots correlations with their intervals, one line per metric, the strongest of the first series on top.

    Args:
        rows: columns ``metric, by, value, ci_low, ci_high``; a value of ``by`` has a colour; undefined values are NaN.
        title: of the figure.
        name: of the files.
        ceiling: interval of the noise ceiling, drawn on each side of zero that has values.

    Raises:
        UsageError: no defined value.
    """
    known = rows[rows["value"].notna()]
    series = require(list(dict.fromkeys(known["by"])), "defined correlations")
    ranked = known.assign(strength=known["value"].abs(), last=known["by"] != series[0])
    ranked = ranked.sort_values(["last", "strength"], ascending=[True, False], kind="stable")
    metrics = list(dict.fromkeys(ranked["metric"]))[::-1]
    figure, (panel,) = panels(1, 1, (6.8, 1.3 + (0.12 + 0.09 * len(series)) * len(metrics)))
    if ceiling is not None:
        for sign in {float(np.sign(value)) for value in known["value"]} - {0.0}:
            panel.axvspan(*sorted((sign * ceiling[0], sign * ceiling[1])), color="#b0b0b0", alpha=0.45, linewidth=0)
    for at, by in enumerate(series):
        part = known[known["by"] == by].set_index("metric")
        heights = np.array([metrics.index(metric) for metric in part.index]) + (len(series) / 2 - at - 0.5) * 0.22
        spread = np.abs(part[["ci_low", "ci_high"]].to_numpy(float).T - part["value"].to_numpy(float))
        panel.errorbar(
            part["value"], heights, xerr=np.nan_to_num(spread), fmt=shape_of(at), color=colour_of(at),
            markersize=4, elinewidth=1.2, label=by,
        )  # fmt: skip
    panel.axvline(0, color=ink(), linewidth=0.8)
    panel.set_yticks(range(len(metrics)), metrics)
    panel.set_ylim(-0.7, len(metrics) - 0.3)
    panel.set_xlim(-1.02, 1.02)
    panel.grid(axis="x")
    panel.set_xlabel("correlation")
    if len(series) > 1:
        figure.legend(loc="outside upper center", ncols=len(series))
    caption = "Bars: 95 % intervals." + (" Grey band: noise ceiling √ICC(k), 95 %." if ceiling else "")
    return Plot(name=name, title=title, caption=caption, figure=figure, data=rows)


@styled
def system_means(
    rows: pd.DataFrame, *, axis: str, name: str, caption: str, scale: tuple[float, float] | None = None
) -> Plot:
    """Plots mean opinion or strength of each system, the largest on top.

    Args:
        rows: columns ``system, method, value, ci_low, ci_high``.
        axis: name of the opinion.
        name: of the files.
        caption: what the values and intervals are.
        scale: ends of the scale, for the axis of the figure.

    Raises:
        UsageError: no system with a value.
    """
    known = rows[rows["value"].notna()]
    systems = require(list(known.groupby("system")["value"].mean().sort_values(kind="stable").index), "systems")
    methods = list(dict.fromkeys(known["method"]))
    figure, (panel,) = panels(1, 1, (6.8, 1.3 + (0.14 + 0.1 * len(methods)) * len(systems)))
    for at, method in enumerate(methods):
        part = known[known["method"] == method]
        heights = np.array([systems.index(s) for s in part["system"]]) + (len(methods) / 2 - at - 0.5) * 0.22
        spread = np.abs(part[["ci_low", "ci_high"]].to_numpy(float).T - part["value"].to_numpy(float))
        panel.errorbar(
            part["value"], heights, xerr=np.nan_to_num(spread), fmt=shape_of(at), color=colour_of(at),
            markersize=4, elinewidth=1.2, label=method.replace("_", "-"),
        )  # fmt: skip
    panel.set_yticks(range(len(systems)), systems)
    panel.set_ylim(-0.7, len(systems) - 0.3)
    panel.grid(axis="x")
    panel.set_xlabel(axis if scale is None else f"{axis}, {scale[0]:g} to {scale[1]:g}")
    if len(methods) > 1:
        figure.legend(loc="outside upper center", ncols=len(methods))
    return Plot(name=name, title=f"{axis} of systems", caption=caption, figure=figure, data=rows)


@styled
def rater_heat_map(deviations: pd.DataFrame, agreement: Mapping[str, float | None], *, axis: str, name: str) -> Plot:
    """Plots the deviation of each rater from the others on each system, and the correlation with them.

    Args:
        deviations: [raters, systems], mean of score minus mean opinion, NaN where nothing was rated.
        agreement: correlation with the other raters, by rater.
        axis: name of the opinion.
        name: of the files.

    Raises:
        UsageError: no rater or system.
    """
    raters, systems = require(list(map(str, deviations.index)), "raters"), require(list(deviations.columns), "systems")
    height = 1.8 + 0.17 * len(raters)
    figure, (left, right) = panels(1, 2, (3.6 + 0.42 * len(systems), height), widths=(0.42 * len(systems), 1.5))
    values = deviations.to_numpy(float)
    bound = max(float(np.nanmax(np.abs(values), initial=0.0)), 1e-9)
    image = left.imshow(values, cmap="PuOr_r", vmin=-bound, vmax=bound, aspect="auto", interpolation="nearest")
    left.set_yticks(range(len(raters)), raters)
    left.set_xticks(range(len(systems)), systems, rotation=60, ha="right", rotation_mode="anchor")
    figure.colorbar(image, ax=[left, right], location="top", label=f"{axis} minus mean of all raters", shrink=0.9)
    known = [agreement.get(rater) for rater in raters]
    right.barh(range(len(raters)), [0.0 if r is None else r for r in known], color=COLOURS[0], height=0.7)
    right.set_ylim(len(raters) - 0.5, -0.5)
    right.set_yticks([])
    right.set_xlim(min(0.0, *(r or 0.0 for r in known)), 1)
    right.grid(axis="x")
    right.set_xlabel("r with others")
    data = deviations.rename_axis("rater").reset_index().assign(r_with_others=pd.array(known, dtype="Float64"))
    caption = (
        "Left: orange rates a system higher than all raters together, purple lower. Right: correlation with the mean "
        "of the others."
    )
    return Plot(name=name, title=f"Raters of {axis}", caption=caption, figure=figure, data=data)


@styled
def reliability_curves(rows: pd.DataFrame, *, name: str) -> Plot:
    """Plots ICC(1,k) against the number of raters k, one panel per axis, with a marker at the test's own k.

    Args:
        rows: columns ``axis, by, raters, reliability, here``; a value of ``by`` is a curve, ``here`` marks the row
            nearest the test's own number of raters.
        name: of the files.

    Raises:
        UsageError: no defined reliability.
    """
    known = rows[rows["reliability"].notna()]
    axes = require(list(dict.fromkeys(known["axis"])), "defined reliabilities")
    series = list(dict.fromkeys(known["by"]))
    columns = min(len(axes), 2)
    lines = -(-len(axes) // columns)
    figure, grid = panels(lines, columns, (3.6 * columns + 1.6, 2.9 * lines))
    for panel, axis in zip(grid, axes, strict=False):
        for at, by in enumerate(series):
            part = known[(known["axis"] == axis) & (known["by"] == by)]
            colour, here = colour_of(at), part[part["here"]]
            panel.plot(
                part["raters"], part["reliability"], "-" if at < len(COLOURS) else "--", color=colour, linewidth=1.2
            )
            panel.plot(here["raters"], here["reliability"], shape_of(at), color=colour, markersize=5, label=by)
        panel.set_title("" if len(axes) == 1 else axis)
        panel.set_ylim(0, 1.02)
        panel.set_xlim(0, None)
        panel.grid()
        panel.set_xlabel("raters per stimulus")
    for panel in grid[::columns]:
        panel.set_ylabel("reliability of the mean, ICC(1,k)")
    remove_empty(grid, len(axes))
    if len(series) > 1:
        figure.legend(*grid[0].get_legend_handles_labels(), loc="outside right upper")
    caption = (
        "Marks: this test. No metric is expected to correlate with the mean opinion better than the square root of its "
        "reliability."
    )
    return Plot(name=name, title="Reliability against the number of raters", caption=caption, figure=figure, data=rows)


def _add_line(panel: Axes, part: pd.DataFrame, noise: float | None) -> None:
    x, y = part["metric"].to_numpy(float), part["opinion"].to_numpy(float)
    if len(x) < 3 or np.ptp(x) == 0:
        return
    places, counts = np.unique(x, return_counts=True)
    means = pd.Series(y).groupby(x).mean().to_numpy()
    increasing = np.corrcoef(rankdata(x), rankdata(y))[0, 1] >= 0 if np.ptp(y) > 0 else True
    line = isotonic_regression(means, weights=counts, increasing=bool(increasing)).x
    panel.plot(places, line, color=ink(), linewidth=1)
    if noise is not None:
        panel.fill_between(places, line - 1.96 * noise, line + 1.96 * noise, color="#b0b0b0", alpha=0.4, linewidth=0)
