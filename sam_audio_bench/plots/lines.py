"""Data of figures of runs, and shared parts of figures with one line or series per separator."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.lines import Line2D

from sam_audio_bench.errors import UsageError, unknown_name
from sam_audio_bench.metrics.catalogue import CAP_DB
from sam_audio_bench.plots.base import colour_of, ink, panels, remove_empty, shape_of
from sam_audio_bench.render.text import line_name, one_line, unit_and_direction
from sam_audio_bench.stats.cost import Cost
from sam_audio_bench.stats.summary import ItemScore, SummaryRow
from sam_audio_bench.stats.verdict import BASELINE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

__all__ = [
    "RunData",
    "SeparatorLine",
    "TaskPanel",
    "add_legend",
    "axis_label",
    "axis_limits",
    "caption_notes",
    "clip_to_axis",
    "create_task_panels",
    "escape_math",
    "interval_limits",
    "list_task_panels",
    "rank_lines",
    "set_title",
]

_FEWEST_VALUES = 5  # number of values from which some can be outliers
_WIDEST_NAME = 30  # characters of a name per line
_LONGEST_NAME = 3 * _WIDEST_NAME
_TITLE_WIDTH = 38  # characters above a panel


@dataclass(frozen=True, kw_only=True)
class RunData:
    """Data of `sam_audio_bench.run.results.Results`: means, item scores, and costs."""

    rows: Sequence[SummaryRow]
    scores: Mapping[tuple[str, str, str | None, str], Mapping[str, ItemScore]]  # task, separator, picker, metric
    costs: Sequence[Cost] = ()
    partial: str | None = None  # the watermark of incomplete runs

    def metric_rows(self, metric: str) -> list[SummaryRow]:
        """Returns the means by one metric; raises UsageError for one that these runs do not have."""
        found = [row for row in self.rows if row.metric == metric]
        if not found:
            raise unknown_name("metric of these runs", metric, dict.fromkeys(row.metric for row in self.rows))
        return found

    def only(self, separators: Sequence[str]) -> RunData:
        """Returns the data of some separators by name, or all if none is given; raises UsageError for unknown names."""
        known = dict.fromkeys(row.separator for row in self.rows)
        for name in separators:
            if name not in known:
                raise unknown_name("separator of these runs", name, known)
        kept = set(separators or known)
        return RunData(
            rows=[row for row in self.rows if row.separator in kept],
            scores={key: items for key, items in self.scores.items() if key[1] in kept},
            costs=[cost for cost in self.costs if cost.separator in kept],
            partial=self.partial,
        )

    def of_task(self, task: str) -> RunData:
        """Returns the data of one task, with its paraphrases and medians."""

        def is_own(name: str) -> bool:
            return name == task or name.startswith(f"{task}:")

        return replace(
            self, rows=[row for row in self.rows if is_own(row.task)],
            scores={key: items for key, items in self.scores.items() if is_own(key[0])},
            costs=[cost for cost in self.costs if is_own(cost.task)],
        )  # fmt: skip

    def headline(self, text: str) -> str:
        """Returns a title, with the watermark of incomplete runs."""
        return f"{text}   {self.partial}" if self.partial else text


@dataclass(frozen=True, slots=True)
class TaskPanel:
    """A panel with one task."""

    id: str
    title: str


@dataclass(frozen=True, slots=True)
class SeparatorLine:
    """A separator, or the best of its candidates by one picker."""

    separator: str
    picked_by: str | None
    name: str  # in full
    shown: str  # shortened, on several lines
    oracle: bool

    @property
    def colour(self) -> str:
        """Colour of the bar, grey for the mixture."""
        return colour_of(-1 if self.separator == BASELINE else 0)


def list_task_panels(rows: Iterable[SummaryRow]) -> list[TaskPanel]:
    """Lists the tasks of some means in order, with their coverage."""
    found = {row.task: row.heading or row.label or row.task for row in rows}
    return [TaskPanel(name, one_line(title)) for name, title in found.items()]


def rank_lines(rows: Sequence[SummaryRow]) -> list[SeparatorLine]:
    """Sorts the separators of some means by one metric: best mean over tasks first, oracles last."""
    own: dict[tuple[str, str | None], list[SummaryRow]] = {}
    for row in rows:
        own.setdefault((row.separator, row.picked_by), []).append(row)

    def key(members: Sequence[SummaryRow]) -> tuple[bool, bool, float]:
        values = [row.value for row in members if row.value is not None]
        sign = 1 if members[0].higher_is_better is False else -1
        return members[0].oracle, not values, sign * float(np.mean(values)) if values else 0.0

    ranked = sorted(own.values(), key=key)
    names = [one_line(line_name(line[0].separator, line[0].picked_by, line[0].candidates)) for line in ranked]
    names = [name + " (oracle)" * line[0].oracle for name, line in zip(names, ranked, strict=True)]
    return [
        SeparatorLine(line[0].separator, line[0].picked_by, name, shown, line[0].oracle)
        for line, name, shown in zip(ranked, names, _shortened(names), strict=True)
    ]


def _shortened(names: Sequence[str]) -> list[str]:
    r"""Wraps names at `_WIDEST_NAME` characters; the middle of long names is left out, and equal names are numbered.

    >>> [name.count("\n") for name in _shortened(["hpss", "a" * 100, "a" * 50 + "b" + "a" * 50])]
    [0, 2, 3]
    """
    half = _LONGEST_NAME // 2 - 1
    cut = [name if len(name) <= _LONGEST_NAME else f"{name[:half]} … {name[-half + 2 :]}" for name in names]
    again = {at for at, name in enumerate(cut) if name in cut[:at]}
    cut = [f"{name} #{at + 1}" if at in again else name for at, name in enumerate(cut)]
    return [escape_math("\n".join(textwrap.wrap(name, _WIDEST_NAME, break_on_hyphens=False))) for name in cut]


def escape_math(text: str) -> str:
    """Escapes a text so that matplotlib does not read it as a formula."""
    return text.replace("$", r"\$")


def caption_notes(lines: Sequence[SeparatorLine], mixture: str, oracles: str) -> str:
    """Returns the sentences of a caption about the mixture and oracles, if these are drawn."""
    sentences = {
        mixture: any(line.separator == BASELINE for line in lines),
        oracles: any(line.oracle for line in lines),
    }
    return "".join(f" {text}" for text, is_drawn in sentences.items() if is_drawn)


def axis_label(row: SummaryRow) -> str:
    """Returns a metric with its unit and direction."""
    return escape_math(one_line(f"{row.metric} {unit_and_direction(row.unit, row.higher_is_better)}".strip()))


def axis_limits(values: Iterable[float | None], *, keep: Iterable[float] = ()) -> tuple[float, float]:
    """Returns the ends of an axis for all values except outliers, which would compress the others.

    Outliers lie, at either end, beyond a gap three times as wide as the range of the remaining values, which are at
    least two thirds of all and not all equal. For ±100 dB, which mark a silent or perfect estimate rather than measure
    it, a gap as wide as that range suffices. The values may be in any order.

    Args:
        values: what is drawn; of fewer than five, none is an outlier.
        keep: values that must be on the axis.

    >>> axis_limits([1.0, 2.0, 3.0, 4.0, -100.0]), axis_limits([1.0, 2.0, 3.0, 5.0, -2.0], keep=[0.0])
    ((0.85, 4.15), (-2.35, 5.35))
    """
    known = np.sort([value for value in values if value is not None])
    if len(known) >= _FEWEST_VALUES:
        known = _near(known)
    near = [*known, *keep] or [0.0, 1.0]
    first, last = float(min(near)), float(max(near))
    margin = 0.05 * (last - first) or 0.5
    return first - margin, last + margin


def _near(known: NDArray[np.floating]) -> NDArray[np.floating]:
    """Returns sorted values without outliers."""
    gaps, half = np.diff(known), len(known) // 2
    low = int(np.argmax(gaps[:half]))  # the widest gap of the lower half follows this value
    high = half + int(np.argmax(gaps[half:]))
    below, above = (
        float(gaps[at]) / (1 if abs(known[last]) >= CAP_DB else 3) for at, last in ((low, low), (high, high + 1))
    )
    for first, last, gap in ((low + 1, len(known) - 1, below), (0, high, above), (low + 1, high, min(below, above))):
        if 3 * (last - first + 1) >= 2 * len(known) and gap > known[last] - known[first] > 0:
            return known[first : last + 1]
    return known


def interval_limits(rows: Iterable[SummaryRow], *, keep: Iterable[float] = ()) -> tuple[float, float]:
    """Computes `axis_limits` of means, including the intervals of those that are on the axis."""
    known = [row for row in rows if row.value is not None]
    first, last = axis_limits([row.value for row in known])
    near = [row for row in known if row.value is not None and first <= row.value <= last]
    ends = [end for row in near for end in (row.value, row.ci_low, row.ci_high) if end is not None]
    return axis_limits([min(ends), max(ends)] if ends else [], keep=keep)


def set_title(panel: Axes, *lines: str) -> None:
    """Sets the title of a panel, from untrusted texts."""
    wrapped = [part for line in lines for part in textwrap.wrap(line, _TITLE_WIDTH)]
    panel.set_title(escape_math("\n".join(wrapped)), fontsize=8)


def clip_to_axis(value: float, limits: tuple[float, float]) -> tuple[float, int]:
    """Clips a value to the axis, and returns the side on which it lies beyond: -1, 0 (on the axis) or 1.

    >>> clip_to_axis(-100.0, (0.0, 4.0)), clip_to_axis(3.0, (0.0, 4.0))
    ((0.0, -1), (3.0, 0))
    """
    clipped = min(max(value, limits[0]), limits[1])
    return clipped, int(value > limits[1]) - int(value < limits[0])


def create_task_panels(
    tasks: Sequence[TaskPanel], title: str, panel: tuple[float, float], beside: float
) -> tuple[Figure, list[Axes]]:
    """Creates one panel per task, at most four per row.

    Args:
        tasks: tasks in order.
        title: title of the figure.
        panel: width and height of a panel, in inches.
        beside: width of names or of the legend, in inches.

    Raises:
        UsageError: no task.
    """
    if not tasks:
        raise UsageError("expected scores to draw, found none")
    columns = len(tasks) if len(tasks) < 4 else 2 if len(tasks) == 4 else 4
    lines = -(-len(tasks) // columns)
    width = max(columns * panel[0] + beside, 5.0)
    over = max(len(textwrap.wrap(task.title, _TITLE_WIDTH)) for task in tasks) + 1
    figure, grid = panels(lines, columns, (width, lines * (panel[1] + 0.16 * over) + 0.75))
    figure.suptitle(escape_math(title), x=0.01, ha="left", fontsize=11)
    remove_empty(grid, len(tasks))
    for one, task in zip(grid, tasks, strict=False):
        set_title(one, task.title)
        one.tick_params(which="both", labelsize=7)
    return figure, grid[: len(tasks)]


def add_legend(figure: Figure, lines: Sequence[SeparatorLine], more: Sequence[Line2D] = ()) -> None:
    """Adds a legend with colour and shape of every separator; oracles are hollow."""
    handles = [
        Line2D([], [], color=colour_of(at), marker=shape_of(at), linestyle="", label=line.shown, markersize=5,
               markerfacecolor="none" if line.oracle else colour_of(at))
        for at, line in enumerate(lines)
    ]  # fmt: skip
    figure.legend(handles=[*handles, *more], loc="outside right upper", fontsize=7, labelcolor=ink())
