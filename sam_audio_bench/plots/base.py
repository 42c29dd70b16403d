"""Base of all figures: files, data, palette, and a light or dark style."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ParamSpec

import matplotlib
import matplotlib.style
import pandas as pd
from cycler import cycler
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sam_audio_bench.errors import UsageError, unknown_name
from sam_audio_bench.files import atomic_write
from sam_audio_bench.tabular import format_spreadsheet_csv

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "COLOURS",
    "INK",
    "MOST_VECTORS",
    "THEMES",
    "Plot",
    "colour_of",
    "ink",
    "panels",
    "remove_empty",
    "require",
    "shape_of",
    "styled",
]

INK = "#1a1a1a"
"""Colour of text and lines in the light theme, which a web page may replace."""

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f")
"""Colours of series in the light theme, in order."""

_ON_DARK = ("#3f9fdc", "#f0803c", "#2bbd92", "#e09cc4", "#f0b840", "#9ad4f5", "#a0a0a0")  # the same hues, brighter

MOST_VECTORS = 2000
"""Number of points above which a scatter plot is embedded in the SVG as an image."""

_SHAPES = "osD^vPX"
_THEMES = MappingProxyType(
    {"light": (INK, "#ffffff", COLOURS), "dark": ("#e8e8e8", "#16191d", _ON_DARK)}
)  # ink, paper of PNG files, colours of series
THEMES = tuple(_THEMES)
"""Names of the themes."""

_STYLE = {
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "axes.formatter.limits": (-3, 4),
    "axes.formatter.use_mathtext": True,
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
}
_OF_INK = ("axes.edgecolor", "axes.labelcolor", "text.color", "xtick.color", "ytick.color")
_DOTS = 200  # dots per inch of PNG files
_P = ParamSpec("_P")


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A figure with its data."""

    name: str  # of its files
    title: str
    caption: str  # description, also for readers who cannot see the figure
    figure: Figure
    data: pd.DataFrame
    theme: str = "light"  # of `THEMES`
    redraw: Callable[[str], Plot] | None = None  # the same in another theme

    def __repr__(self) -> str:
        return f"Plot({self.name!r}: {self.title}, {len(self.data)} rows of data)"

    def svg(self) -> str:
        """Returns the figure as SVG without a date; ids depend on ``name`` alone."""
        stream = io.StringIO()
        with _style(self.theme, {"svg.hashsalt": self.name}):
            self.figure.savefig(stream, format="svg", metadata={"Date": None, "Title": self.title})
        return stream.getvalue()

    def save(self, folder: Path | str, *, themes: Sequence[str] = ("light",)) -> list[Path]:
        """Writes ``name.svg``, ``name.png`` and ``name.csv``, each atomically, and returns their paths.

        Args:
            folder: created if needed.
            themes: names of `THEMES`; files of the dark theme are ``name-dark.svg`` and ``name-dark.png``.

        Raises:
            UsageError: an unknown theme.
        """
        folder, saved = Path(folder), []
        for theme in dict.fromkeys(themes):
            shown = self.themed(theme)
            stem = self.name if theme == "light" else f"{self.name}-{theme}"
            saved += [folder / f"{stem}.svg", folder / f"{stem}.png"]
            with atomic_write(saved[-2]) as temporary:
                temporary.write_text(shown.svg(), encoding="utf-8")
            with atomic_write(saved[-1]) as temporary, _style(theme):
                shown.figure.savefig(
                    temporary, format="png", dpi=_DOTS, facecolor=_THEMES[theme][1], transparent=False,
                    metadata={"Software": None, "Title": self.title},
                )  # fmt: skip
        saved.append(folder / f"{self.name}.csv")
        with atomic_write(saved[-1]) as temporary:
            temporary.write_text(format_spreadsheet_csv(self.data), encoding="utf-8", newline="\n")
        return saved

    def themed(self, theme: str) -> Plot:
        """Returns the same figure in a theme of `THEMES`; raises UsageError for an unknown one."""
        if theme not in _THEMES:
            raise unknown_name("theme", theme, THEMES)
        if theme == self.theme:
            return self
        if self.redraw is None:
            raise UsageError(f"expected a figure by a function that is `styled` for the theme {theme}, found {self}")
        return self.redraw(theme)

    def _repr_html_(self) -> str:
        """Returns the SVG for notebooks, in the colour of the page's text."""
        svg = self.themed("light").svg()
        return svg[svg.index("<svg") :].replace(INK, "currentColor")


@contextmanager
def _style(theme: str, more: dict[str, Any] | None = None) -> Iterator[None]:
    text, _, colours = _THEMES[theme]
    own = {**_STYLE, **dict.fromkeys(_OF_INK, text), "axes.prop_cycle": cycler(color=colours), **(more or {})}
    with matplotlib.style.context(["default", own]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # a name in any script
        yield


def styled(draw: Callable[_P, Plot]) -> Callable[_P, Plot]:
    """Makes a function draw in this package's style, regardless of the user's settings, and redraw in other themes."""

    @wraps(draw)
    def drawn(*arguments: _P.args, **options: _P.kwargs) -> Plot:
        def redraw(theme: str) -> Plot:
            with _style(theme):
                return replace(draw(*arguments, **options), theme=theme, redraw=redraw)

        return redraw("light")

    return drawn


def ink() -> str:
    """Returns the colour of text and lines in the current theme."""
    return str(matplotlib.rcParams["text.color"])


def colour_of(at: int) -> str:
    """Returns the colour of the series at an index in the current theme; negative indices count from the end."""
    colours = matplotlib.rcParams["axes.prop_cycle"].by_key()["color"]
    return str(colours[at % len(colours)])


def shape_of(at: int) -> str:
    """Returns the marker of the series at an index; with the colour, 49 series are distinguishable."""
    return _SHAPES[(at + at // len(COLOURS)) % len(_SHAPES)]


def panels(
    rows: int, columns: int, size: tuple[float, float], widths: Sequence[float] | None = None
) -> tuple[Figure, list[Axes]]:
    """Creates panels that share their vertical axis, without pyplot's global state."""
    figure = Figure(figsize=size)
    FigureCanvasAgg(figure)
    grid: Any = figure.subplots(rows, columns, squeeze=False, sharey=widths is None, width_ratios=widths)
    return figure, [panel for line in grid for panel in line]


def remove_empty(grid: Sequence[Axes], used: int) -> None:
    """Removes the panels after the first ``used``."""
    for panel in grid[used:]:
        panel.remove()


def require(values: list[Any], what: str) -> list[Any]:
    """Returns the values; raises UsageError if there are none."""
    if not values:
        raise UsageError(f"expected {what} to draw, found none")
    return values
