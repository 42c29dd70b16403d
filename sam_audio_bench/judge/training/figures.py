"""Figures of the report: judge against listeners, calibration of scale and spread, learning curve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from sam_audio_bench.errors import UsageError
from sam_audio_bench.judge.scores import AXES
from sam_audio_bench.judge.training.measures import coverage_rows
from sam_audio_bench.judge.training.rating import RatedExamples
from sam_audio_bench.plots.base import COLOURS, MOST_VECTORS, Plot, ink, panels, styled

__all__ = ["learning_curve", "reliability_diagram", "scatter_plots", "spread_calibration"]

_BINS = 10
_LIMITS = (0.8, 5.2)


@styled
def scatter_plots(rated: RatedExamples, *, source: str) -> Plot:
    """Draws scatter plots of judge against listeners: one row per axis, one column per domain.

    Args:
        rated: estimates with their ratings.
        source: name of the source of scores: "listeners" or "simulated ratings".
    """
    table = _long(rated)
    domains = sorted(table["domain"].unique())
    axes = [axis for axis in AXES if axis in set(table["axis"])]
    figure, grid = panels(len(axes), len(domains), (2.6 * len(domains) + 0.6, 2.4 * len(axes) + 0.3))
    for place, panel in enumerate(grid):
        axis, domain = axes[place // len(domains)], domains[place % len(domains)]
        part = table[(table["axis"] == axis) & (table["domain"] == domain)]
        panel.plot(_LIMITS, _LIMITS, color=ink(), linewidth=0.7)
        panel.scatter(
            part["judge"], part["score"], s=7, color=COLOURS[AXES.index(axis)], alpha=0.35, linewidths=0,
            rasterized=len(part) > MOST_VECTORS,
        )  # fmt: skip
        panel.set_xlim(min(_LIMITS[0], table["judge"].min() - 0.1), max(_LIMITS[1], table["judge"].max() + 0.1))
        panel.set_ylim(*_LIMITS)
        panel.set_title(f"{domain}: r = {_pearson(part)}, n = {len(part)}" if len(part) else domain)
        if place % len(domains) == 0:
            panel.set_ylabel(f"{axis}, {source}")
        if place // len(domains) == len(axes) - 1:
            panel.set_xlabel("judge")
    caption = f"Each point is an estimate: rating by the judge against that by {source}. Line: equal ratings."
    return Plot(name="scatter", title="Judge against ratings", caption=caption, figure=figure, data=table)


@styled
def reliability_diagram(rated: RatedExamples, *, source: str) -> Plot:
    """Draws reliability diagrams: mean score per bin of ratings, one panel per axis; arguments as `scatter_plots`."""
    table = _long(rated)
    axes = [axis for axis in AXES if axis in set(table["axis"])]
    figure, grid = panels(1, len(axes), (2.5 * len(axes) + 0.5, 2.9))
    rows = []
    for panel, axis in zip(grid, axes, strict=True):
        part = table[table["axis"] == axis]
        bins = np.minimum(part["judge"].rank(method="first") * _BINS // (len(part) + 1), _BINS - 1)
        found = part[["judge", "score"]].groupby(bins).agg(["mean", "std", "count"])
        x, y = found["judge"]["mean"], found["score"]["mean"]
        error = 1.96 * found["score"]["std"] / np.sqrt(found["score"]["count"])
        panel.plot(_LIMITS, _LIMITS, color=ink(), linewidth=0.7)
        panel.errorbar(x, y, yerr=error.fillna(0), fmt="o-", color=COLOURS[AXES.index(axis)], markersize=4, linewidth=1)
        panel.set_xlim(*_LIMITS)
        panel.set_ylim(*_LIMITS)
        panel.set_title(axis)
        panel.set_xlabel("judge")
        counts = found["score"]["count"]
        rows.append(pd.DataFrame({"axis": axis, "judge": x, "score": y, "half_width": error, "n": counts}))
    grid[0].set_ylabel(f"mean, {source}")
    caption = "Deciles of the estimates by the judge's rating; bars: 95 % intervals, assuming independent estimates."
    data = pd.concat(rows, ignore_index=True)
    return Plot(name="mean_calibration", title="Calibration of the scale", caption=caption, figure=figure, data=data)


@styled
def spread_calibration(rated: RatedExamples) -> Plot:
    """Draws empirical against nominal coverage of the predicted intervals; raises UsageError without spreads."""
    table = pd.DataFrame(coverage_rows(rated))
    if table.empty:
        raise UsageError("expected a judge that predicts a spread, found none")
    table = table[table["covered"].notna()]
    figure, (panel,) = panels(1, 1, (4.4, 3.4))
    panel.plot((0, 1), (0, 1), color=ink(), linewidth=0.7)
    for at, axis in enumerate(AXES):
        part = table[table["axis"] == axis]
        panel.plot(part["nominal"], part["covered"].astype(float), "osD^"[at] + "-", color=COLOURS[at], markersize=4,
                   linewidth=1, label=axis)  # fmt: skip
    panel.set_xlim(0, 1)
    panel.set_ylim(0, 1)
    panel.set_xlabel("nominal coverage")
    panel.set_ylabel("empirical coverage")
    panel.legend(loc="upper left")
    caption = "Intervals are ratings ± a multiple of the spread, which is that of a normal distribution."
    return Plot(
        name="spread_calibration", title="Calibration of the spread", caption=caption, figure=figure, data=table
    )


@styled
def learning_curve(looks: Sequence[Mapping[str, float]], best: int) -> Plot:
    """Draws SRCC and RMSE on held-out data against steps.

    Args:
        looks: results of evaluations, see `State.looks`.
        best: step of the evaluation whose weights were kept.
    """
    table = pd.DataFrame(list(looks))
    if table.empty:
        raise UsageError("expected a run with evaluations on held-out data, found none")
    figure, grid = panels(1, 2, (7.4, 3.0), widths=(1, 1))
    for panel, kind in zip(grid, ("srcc", "rmse"), strict=True):
        for at, axis in enumerate(AXES):
            if f"{kind}_{axis}" in table:
                panel.plot(table["step"], table[f"{kind}_{axis}"], "osD^"[at] + "-", color=COLOURS[at], markersize=3,
                           linewidth=1, label=axis)  # fmt: skip
        panel.axvline(best, color=ink(), linewidth=0.7, linestyle=":")
        panel.set_xlabel("steps")
        panel.set_ylabel("SRCC, held out" if kind == "srcc" else "RMSE before calibration, held out")
        panel.grid(axis="y")
    grid[0].legend()
    caption = "Averaged weights on held-out estimates. Dotted: the weights that were kept."
    return Plot(name="learning_curve", title="Learning curve", caption=caption, figure=figure, data=table)


def _long(rated: RatedExamples) -> pd.DataFrame:
    """Returns one row per estimate and axis."""
    rows = rated.examples.rows
    parts = [
        pd.DataFrame(
            {
                "query": rows["query"], "system": rows["system"], "domain": rows["domain"].astype(str), "axis": axis,
                "judge": rated.values[:, at], "score": rated.scores[:, at],
            }
        )
        for at, axis in enumerate(AXES)
    ]  # fmt: skip
    table = pd.concat(parts, ignore_index=True)
    return table[table["score"].notna()].reset_index(drop=True)


def _pearson(part: pd.DataFrame) -> str:
    x, y = part["judge"].to_numpy(float), part["score"].to_numpy(float)
    return "–" if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0 else f"{np.corrcoef(x, y)[0, 1]:.2f}"
