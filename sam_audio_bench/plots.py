"""Figures of listening tests, as bit-identical SVG and PNG for the same data, and the data as CSV.

Colours are Okabe and Ito's, which most colour-blind readers tell apart; shapes repeat what colours say.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

import matplotlib
import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy.optimize import isotonic_regression
from scipy.stats import rankdata

from sam_audio_bench.errors import UsageError
from sam_audio_bench.files import atomic_write
from sam_audio_bench.tabular import spreadsheet_csv

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "COLOURS",
    "INK",
    "Plot",
    "forest",
    "panels",
    "rater_heat_map",
    "reliability_curves",
    "scatter",
    "styled",
    "system_means",
]

INK = "#1a1a1a"
"""Colour of text and lines, which a page may replace."""

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f")
"""Colours of series, in order."""

_SHAPES = "osD^vPX"
_STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": INK,
    "axes.formatter.limits": (-3, 4),
    "axes.formatter.use_mathtext": True,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "figure.constrained_layout.use": True,
    "font.size": 9,
    "grid.alpha": 0.5,  # readable on a dark page too
    "grid.color": "#b0b0b0",
    "grid.linewidth": 0.5,
    "legend.frameon": False,
    "savefig.transparent": True,
    "svg.fonttype": "path",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}
_DOTS = 200  # a PNG's dots an inch
_MOST_VECTORS = 2000  # points beyond which a scatter is drawn as an image inside the SVG
_P = ParamSpec("_P")


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A figure with its data."""

    name: str  # of its files
    title: str
    caption: str  # what is drawn, for readers and for those who cannot see it
    figure: Figure
    data: pd.DataFrame

    def svg(self) -> str:
        """The figure as SVG without a date; ids derive from ``name`` alone."""
        stream = io.StringIO()
        with matplotlib.style.context(["default", {**_STYLE, "svg.hashsalt": self.name}]):
            self.figure.savefig(stream, format="svg", metadata={"Date": None})
        return stream.getvalue()

    def save(self, folder: Path) -> list[Path]:
        """Writes ``name.svg``, ``name.png`` and ``name.csv``, each atomically, and returns their paths."""
        paths = [folder / f"{self.name}.{suffix}" for suffix in ("svg", "png", "csv")]
        with atomic_write(paths[0]) as temporary:
            temporary.write_text(self.svg(), encoding="utf-8")
        with atomic_write(paths[1]) as temporary, matplotlib.style.context(["default", _STYLE]):
            self.figure.savefig(
                temporary, format="png", dpi=_DOTS, facecolor="white", transparent=False, metadata={"Software": None}
            )
        with atomic_write(paths[2]) as temporary:
            temporary.write_text(spreadsheet_csv(self.data), encoding="utf-8", newline="\n")
        return paths


def styled(draw: Callable[_P, Plot]) -> Callable[_P, Plot]:
    """Draws in the style of this package, regardless of the user's settings."""

    @wraps(draw)
    def drawn(*arguments: _P.args, **options: _P.kwargs) -> Plot:
        with matplotlib.style.context(["default", _STYLE]):
            return draw(*arguments, **options)

    return drawn


@styled
def scatter(data: pd.DataFrame, *, metric: str, axis: str, name: str, noise: Mapping[str, float | None]) -> Plot:
    """A metric against mean opinions, one panel per domain, with the best monotonic fit and the noise-ceiling band.

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
    domains = _some(list(dict.fromkeys(data["domain"])), "domains")
    columns = min(len(domains), 3)
    rows = -(-len(domains) // columns)
    figure, grid = panels(rows, columns, (3.4 * columns + 1.4, 3.1 * rows))
    systems = sorted(data["system"].unique())
    for panel, domain in zip(grid, domains, strict=False):
        part = data[data["domain"] == domain]
        for at, system in enumerate(systems):
            own = part[part["system"] == system]
            panel.scatter(
                own["metric"], own["opinion"], s=14, color=_colour(at), marker=_shape(at), alpha=0.75,
                linewidths=0, label=system, rasterized=len(part) > _MOST_VECTORS,
            )  # fmt: skip
        _add_line(panel, part, noise.get(domain))
        panel.set_title("" if domains == ["all"] else domain)
        panel.set_xlabel(metric)
    for panel in grid[::columns]:
        panel.set_ylabel(axis)
    for panel in grid[len(domains) :]:
        panel.remove()
    if len(systems) > 1:
        figure.legend(*grid[0].get_legend_handles_labels(), loc="outside right upper", title="system")
    caption = (
        f"Each point is a stimulus. Line: best monotonic fit. Band: where 95 % of the stimuli would lie for a metric "
        f"that knew the true {axis}, given the raters' noise."
    )
    return Plot(name=name, title=f"{metric} against {axis}", caption=caption, figure=figure, data=data)


@styled
def forest(rows: pd.DataFrame, *, title: str, name: str, ceiling: tuple[float, float] | None = None) -> Plot:
    """Correlations with their intervals, one line per metric, the strongest of the first series on top.

    Args:
        rows: columns ``metric, by, value, ci_low, ci_high``; a value of ``by`` has a colour; undefined values are NaN.
        title: of the figure.
        name: of the files.
        ceiling: interval of the noise ceiling, drawn on both sides of zero where values are.

    Raises:
        UsageError: no defined value.
    """
    known = rows[rows["value"].notna()]
    series = _some(list(dict.fromkeys(known["by"])), "defined correlations")
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
            part["value"], heights, xerr=np.nan_to_num(spread), fmt=_shape(at), color=_colour(at),
            markersize=4, elinewidth=1.2, label=by,
        )  # fmt: skip
    panel.axvline(0, color=INK, linewidth=0.8)
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
    """Mean opinion or strength of each system, the largest on top.

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
    systems = _some(list(known.groupby("system")["value"].mean().sort_values(kind="stable").index), "systems")
    methods = list(dict.fromkeys(known["method"]))
    figure, (panel,) = panels(1, 1, (6.8, 1.3 + (0.14 + 0.1 * len(methods)) * len(systems)))
    for at, method in enumerate(methods):
        part = known[known["method"] == method]
        heights = np.array([systems.index(s) for s in part["system"]]) + (len(methods) / 2 - at - 0.5) * 0.22
        spread = np.abs(part[["ci_low", "ci_high"]].to_numpy(float).T - part["value"].to_numpy(float))
        panel.errorbar(
            part["value"], heights, xerr=np.nan_to_num(spread), fmt=_shape(at), color=_colour(at),
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
    """Deviation of each rater from the others on each system, and correlation with them.

    Args:
        deviations: [raters, systems], mean of score minus mean opinion, NaN where nothing was rated.
        agreement: correlation with the other raters, by rater.
        axis: name of the opinion.
        name: of the files.

    Raises:
        UsageError: no rater or system.
    """
    raters, systems = _some(list(map(str, deviations.index)), "raters"), _some(list(deviations.columns), "systems")
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
    """ICC(1,k) against the number of raters k, one panel per axis, with a marker at the test's own k.

    Args:
        rows: columns ``axis, by, raters, reliability, here``; a value of ``by`` is a curve, ``here`` marks the row
            nearest the test's own number of raters.
        name: of the files.

    Raises:
        UsageError: no defined reliability.
    """
    known = rows[rows["reliability"].notna()]
    axes = _some(list(dict.fromkeys(known["axis"])), "defined reliabilities")
    series = list(dict.fromkeys(known["by"]))
    columns = min(len(axes), 2)
    lines = -(-len(axes) // columns)
    figure, grid = panels(lines, columns, (3.6 * columns + 1.6, 2.9 * lines))
    for panel, axis in zip(grid, axes, strict=False):
        for at, by in enumerate(series):
            part = known[(known["axis"] == axis) & (known["by"] == by)]
            colour, here = _colour(at), part[part["here"]]
            panel.plot(
                part["raters"], part["reliability"], "-" if at < len(COLOURS) else "--", color=colour, linewidth=1.2
            )
            panel.plot(here["raters"], here["reliability"], _shape(at), color=colour, markersize=5, label=by)
        panel.set_title("" if len(axes) == 1 else axis)
        panel.set_ylim(0, 1.02)
        panel.set_xlim(0, None)
        panel.grid()
        panel.set_xlabel("raters per stimulus")
    for panel in grid[::columns]:
        panel.set_ylabel("reliability of the mean, ICC(1,k)")
    for panel in grid[len(axes) :]:
        panel.remove()
    if len(series) > 1:
        figure.legend(*grid[0].get_legend_handles_labels(), loc="outside right upper")
    caption = (
        "Marks: this test. No metric is expected to correlate with the mean opinion better than the square root of its "
        "reliability."
    )
    return Plot(name=name, title="Reliability against the number of raters", caption=caption, figure=figure, data=rows)


def _colour(at: int) -> str:
    return COLOURS[at % len(COLOURS)]


def _shape(at: int) -> str:
    """Marker of the series at an index; with the colour, 49 series are distinguishable."""
    return _SHAPES[(at + at // len(COLOURS)) % len(_SHAPES)]


def panels(
    rows: int, columns: int, size: tuple[float, float], widths: Sequence[float] | None = None
) -> tuple[Figure, list[Axes]]:
    """Panels that share their vertical axis, without pyplot's global state."""
    figure = Figure(figsize=size)
    FigureCanvasAgg(figure)
    grid: Any = figure.subplots(rows, columns, squeeze=False, sharey=widths is None, width_ratios=widths)
    return figure, [panel for line in grid for panel in line]


def _add_line(panel: Axes, part: pd.DataFrame, noise: float | None) -> None:
    x, y = part["metric"].to_numpy(float), part["opinion"].to_numpy(float)
    if len(x) < 3 or np.ptp(x) == 0:
        return
    places, counts = np.unique(x, return_counts=True)
    means = pd.Series(y).groupby(x).mean().to_numpy()
    increasing = np.corrcoef(rankdata(x), rankdata(y))[0, 1] >= 0 if np.ptp(y) > 0 else True
    line = isotonic_regression(means, weights=counts, increasing=bool(increasing)).x
    panel.plot(places, line, color=INK, linewidth=1)
    if noise is not None:
        panel.fill_between(places, line - 1.96 * noise, line + 1.96 * noise, color="#b0b0b0", alpha=0.4, linewidth=0)


def _some(values: list[Any], what: str) -> list[Any]:
    if not values:
        raise UsageError(f"expected {what} to draw, found none")
    return values
