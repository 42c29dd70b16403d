"""Filters and functions for the HTML templates: formatted numbers, sorted and grouped rows, and figures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar
from urllib.parse import quote

from markupsafe import Markup

from sam_audio_bench.files import case_sensitive_name
from sam_audio_bench.leaderboard import figures
from sam_audio_bench.leaderboard.records import PreviewEstimate, Quantity, ReportedNumbers
from sam_audio_bench.leaderboard.sitetypes import (
    Agreement,
    Cell,
    ItemScores,
    LineData,
    MetricData,
    OverallTable,
    PreviewData,
    ScoreFields,
    SiteData,
    TableRow,
    TaskRow,
)
from sam_audio_bench.render.numbers import amount, mebibytes, number, p_value, plain
from sam_audio_bench.stats.slices import MIN_RECORDINGS

__all__ = ["FILTERS", "sound_anchors", "template_globals"]

_Row = TypeVar("_Row", bound=TableRow)
_MOST_SPOKES, _LEAST_MEASURED = 8, 3  # tasks; separators
_ENDS = {"dB": (-30.0, 30.0)}  # widest axis of the bars, since a few scores can lie far outside the others


def template_globals(data: SiteData, sources: Mapping[str, ReportedNumbers]) -> dict[str, object]:
    """Returns the globals of the templates: `data.json`, figures, and functions of them."""
    bound: tuple[Callable[..., object], ...] = (
        bar_limits, sections, task_rows, cost_figures, strengths, shows_radar, box_lines, previewed_estimates,
        sound_anchors, first_sound, labels_of, counts, agreement_matrix, mixture_score, slice_figure,
    )  # fmt: skip
    own = {function.__name__: partial(function, data) for function in bound}
    return {
        "data": data,
        "figures": figures,
        "bar": bar,
        "fewest": MIN_RECORDINGS,
        "reported": partial(reported, sources.values()),
        "only": lambda source: reported([sources[source]]),
        **own,
    }


def interval(cell: ScoreFields, digits: int = 2) -> str:
    """Formats the interval of a mean."""
    if cell["low"] is None:
        return "interval unknown: one recording" if cell["value"] is not None else ""
    return f"{number(cell['low'], digits)} to {number(cell['high'], digits)}"


def quantity(value: float, unit: str) -> str:
    """Formats a reported number with the digits of its source: percentages as +36 or −5.5, ratings as 3.20."""
    return f"{value:+g}".replace("-", "−") if unit == "%" else number(value)


def listeners(metric: MetricData) -> str:
    """Formats the lowest and the highest agreement of a metric with listeners; "" without evidence."""
    found = sorted(one.pcc for one in metric["listeners"])
    return " to ".join(number(value) for value in dict.fromkeys((*found[:1], *found[-1:])))


def names(values: Iterable[str]) -> str:
    """Joins values by commas."""
    return ", ".join(values) or "none stated"


def describe_spans(spans: Iterable[tuple[str, float, float]]) -> str:
    """Describes the spans of a prompt.

    >>> describe_spans([("+", 1.0, 4.25), ("-", 5.0, 6.0)])
    'present 1.0 to 4.2 s, absent 5.0 to 6.0 s'
    """
    words = {"+": "present", "-": "absent"}
    return ", ".join(f"{words.get(sign, sign)} {number(start, 1)} to {number(end, 1)} s" for sign, start, end in spans)


def is_web_link(link: str) -> bool:
    """Whether a link is http(s); any other, such as ``javascript:``, is shown as plain text."""
    return link.lower().startswith(("https://", "http://"))


FILTERS = {
    "number": number, "names": names, "interval": interval, "amount": amount, "plain": plain, "mebibytes": mebibytes,
    "quantity": quantity, "describe_spans": describe_spans, "is_web_link": is_web_link,
    "safe_name": case_sensitive_name, "listeners": listeners, "p_value": p_value,
}  # fmt: skip


def bar(cell: ScoreFields, ends: tuple[float, float], kind: str, nothing: float | None = None) -> str:
    """Draws a mean and its interval between the ends of its column, with a line at the score of the mixture."""
    return "" if cell["value"] is None else figures.bar(cell["value"], cell["low"], cell["high"], ends, kind, nothing)


def mixture_score(data: SiteData, rows: Iterable[TableRow]) -> float | None:
    """Returns the score of the mixture, which does nothing, in a table."""
    own = (row for row in rows if row["why"] == "baseline" and data["lines"][row["line"]]["separator"] == "mixture")
    return next((row["value"] for row in own), None)


def counts(data: SiteData) -> dict[str, int]:
    """Counts separators, baselines and oracles, regardless of their revisions and pickers."""
    found = {kind: {line["separator"] for line in data["lines"].values() if line["kind"] == kind}
             for kind in ("separator", "baseline", "oracle")}  # fmt: skip
    return {kind: len(own) for kind, own in found.items()}


def bar_limits(data: SiteData, metric: str, rows: Sequence[TableRow]) -> tuple[float, float]:
    """Returns the axis limits of a column's bars: the extremes of all intervals except ``silence``, within `_ENDS`."""
    own = [row for row in rows if data["lines"][row["line"]]["separator"] != "silence"]
    known = [bound for row in own for bound in (row["value"], row["low"], row["high"]) if bound is not None]
    low, high = min(known, default=0.0), max(known, default=1.0)
    bounds = _ENDS.get(data["metrics"][metric]["unit"])
    return (low, high) if bounds is None else (max(low, bounds[0]), min(high, bounds[1]))


def sections(data: SiteData, rows: list[_Row]) -> list[tuple[str, list[_Row]]]:
    """Groups rows into sections: ranked, not ranked (by reason), baselines, oracles."""
    headings = {
        "ranked": "",
        "items missing": "Not ranked: items or tasks without a score",
        "tasks missing": "Not ranked: items or tasks without a score",
        "own judge": "Not ranked: picked by the judge that scores them",
        "superseded": "Earlier revisions",
        "withdrawn": "Withdrawn",
        "baseline": "Baselines, which do nothing",
        "oracle": "Oracles, which are given the reference",
    }
    found: dict[str, list[_Row]] = {text: [] for text in headings.values()}
    for row in rows:
        found[headings[row["why"] or "ranked"]].append(row)
    return [(text, own) for text, own in found.items() if own]


def task_rows(data: SiteData, label: str) -> list[TaskRow]:
    """Returns the lines of a task with one cell per metric, best by the main metric first."""
    task, cells = data["tasks"][label], data["cells"][label]
    sign = -1 if data["metrics"][task["main"]]["higher_is_better"] else 1
    names = [name for name in data["lines"] if any(name in column for column in cells.values())]
    empty: Cell = {
        "value": None, "low": None, "high": None, "n_ok": 0, "n": 0, "possible": 0, "capped": 0, "coverage": "",
        "why": "items missing",
    }  # fmt: skip
    rows: list[TaskRow] = []
    for name in names:
        own = {metric: column.get(name, empty) for metric, column in cells.items()}
        rows.append({"line": name, "cells": own, **own[task["main"]]})
    return sorted(rows, key=lambda row: (row["value"] is None, sign * (row["value"] or 0.0), row["line"]))


def cost_figures(data: SiteData, board: OverallTable) -> list[tuple[str, Markup]]:
    """Plots quality against real-time factor and against number of parameters, if at least two lines state them."""
    found = []
    metric = data["metrics"][board["metric"]]
    costs: dict[str, Callable[[LineData], float | None]] = {
        "real-time factor": _time_factor,
        "parameters": lambda line: line["parameters"],
    }
    for label, cost_of in costs.items():
        points = []
        for row in board["rows"]:
            line = data["lines"][row["line"]]
            x, y = cost_of(line), row["value"]
            if x is not None and y is not None and _interesting(data, row["line"], row["why"]):
                points.append(
                    figures.Point(
                        name=line["name"], href=f"separators/{quote(line['page'])}", kind=line["kind"],
                        x=x, y=y, low=row["low"], high=row["high"],
                    )
                )  # fmt: skip
        if len(points) > 1 and any(point.x > 0 for point in points):
            figure = figures.pareto(
                points, x_label=label, y_label=f"{board['metric']} {metric['unit']}".strip(),
                higher_is_better=metric["higher_is_better"], title=f"{board['title']} against {label}",
                nothing=mixture_score(data, board["rows"]),
            )  # fmt: skip
            found.append((label, figure))
    return found


def _time_factor(line: LineData) -> float | None:
    """Returns the real-time factor of a line; None if it is unknown or 0, which means that it was not measured."""
    factor = line["real_time_factor"]
    return factor if factor is not None and factor > 0 else None


def _interesting(data: SiteData, name: str, why: str) -> bool:
    """Whether a line is plotted: not silence or oracles, whose scores would compress the axis, nor retired lines."""
    silent = data["lines"][name]["separator"] == "silence"
    return not silent and why not in ("oracle", "withdrawn", "superseded")


@dataclass(frozen=True)
class Strength:
    """A line's main score on a task, compared with the other lines."""

    task: str
    metric: str
    cell: Cell
    spoke: tuple[str, float]  # of the radar: a name, and the position from the worst score, 0, to the best one, 1
    ends: tuple[float, float]  # the worst and the best score
    nothing: float | None  # score of the mixture


def strengths(data: SiteData, name: str) -> list[Strength]:
    """Returns a line's main score on each of its tasks, and its position between the worst and the best score."""
    found = []
    for label, task in data["tasks"].items():
        if label not in data["lines"][name]["tasks"]:
            continue
        column = data["cells"][label][task["main"]]
        value = column[name]["value"] if name in column else None
        if value is None:
            continue
        known = [
            cell["value"]
            for other, cell in column.items()
            if cell["value"] is not None and _interesting(data, other, cell["why"])
        ]
        low, high = min(known, default=0.0), max(known, default=0.0)
        share = (value - low) / (high - low) if high > low else 0.5
        share = share if data["metrics"][task["main"]]["higher_is_better"] else 1 - share
        doing_nothing = (column[other]["value"] for other in column if data["lines"][other]["separator"] == "mixture")
        spoke, bounds = (task["id"], share), (min(low, value), max(high, value))
        found.append(Strength(label, task["main"], column[name], spoke, bounds, next(doing_nothing, None)))
    return found


def shows_radar(data: SiteData, found: Sequence[Strength]) -> bool:
    """Whether a radar chart is readable: few tasks, and enough separators for a best and a worst one."""
    return 3 <= len(found) <= _MOST_SPOKES and counts(data)["separator"] >= _LEAST_MEASURED


def box_lines(data: SiteData, metric: str, scores: ItemScores) -> list[tuple[str, str, list[float]]]:
    """Returns lines for `figures.boxes`, best first, without silence, whose outlying score would compress the axis."""
    sign = -1 if data["metrics"][metric]["higher_is_better"] else 1
    found = []
    for name, values in scores["lines"].items():
        line, known = data["lines"][name], [value for value in values if value is not None]
        if known and line["separator"] != "silence":
            found.append((line["name"], line["kind"], known))
    return sorted(found, key=lambda one: sign * sum(one[2]) / len(one[2]))


def previewed_estimates(data: SiteData, item: PreviewData) -> list[tuple[str, PreviewEstimate]]:
    """Returns the lines with an estimate of a previewed item, and its preview, in display order, without duplicates."""
    found = {item["answers"][name].stem: name for name in reversed(data["lines"]) if name in item["answers"]}
    return [(name, item["answers"][name]) for name in data["lines"] if name in found.values()]


def sound_anchors(data: SiteData, label: str) -> dict[str, dict[str, str]]:
    """Returns item -> line -> anchor of its estimate on the page of items."""
    return {
        item["item"]: {name: f"{item['item']}/{answer.stem}" for name, answer in item["answers"].items()}
        for item in data["listen"].get(label, [])
    }


def first_sound(data: SiteData, labels: Iterable[str], name: str) -> tuple[str, str] | None:
    """Finds the first task with a previewed estimate of a line, and its anchor on the page of items; else None."""
    for label in labels:
        for item in data["listen"].get(label, []):
            if name in item["answers"]:
                return label, f"{item['item']}/{item['answers'][name].stem}"
    return None


def labels_of(data: SiteData, board: OverallTable) -> list[str]:
    """Returns the tasks of an overall table, in its order."""
    selections = [(task, board["split"], board["subset"]) for part in board["parts"].values() for task in part]
    known = {label: (task["id"], task["split"], task["subset"]) for label, task in data["tasks"].items()}
    return [label for one in selections for label, own in known.items() if own == one]


@dataclass(frozen=True)
class SliceFigure:
    """A figure, and its lines with the number of their colour and shape."""

    figure: Markup
    key: dict[str, int]


def slice_figure(data: SiteData, label: str) -> SliceFigure:
    """Plots the slices of a task, attribute by attribute."""
    rows = [row for row in data["slices"][label]["rows"] if row["mean"] is not None]
    key = _series(data, label)
    dots: dict[tuple[str, int], tuple[str, list[figures.Dot]]] = {}
    for row in sorted(rows, key=lambda row: (row["attribute"], row["place"])):
        _, own = dots.setdefault((row["attribute"], row["place"]), (row["slice"], []))
        if row["mean"] is not None:
            own.append(figures.Dot(key[row["line"]], row["mean"], row["low"], row["high"], row["surely_worse"]))
    main = data["tasks"][label]["main"]
    unit = f"{main} {data['metrics'][main]['unit']}".strip()
    count = max(key.values(), default=0) + 1
    return SliceFigure(figures.slices(list(dots.values()), count, unit=unit, title=f"Slices of {label}"), key)


def _series(data: SiteData, label: str) -> dict[str, int]:
    """Returns the lines with a mean in a slice of a task, and the number of their series.

    The number is the same in all tasks if there are enough colours.
    """
    present = {
        task: {row["line"] for row in own["rows"] if row["mean"] is not None} for task, own in data["slices"].items()
    }
    everyone = [name for name in data["lines"] if any(name in own for own in present.values())]
    if len(everyone) > figures.MOST_SERIES:
        everyone = [row["line"] for row in task_rows(data, label) if row["line"] in present[label]]
    return {name: at for at, name in enumerate(everyone) if name in present[label]}


@dataclass
class ReportedRow:
    """The reported numbers of one task, system, place and mark of a source."""

    task: str
    system: str
    where: str
    mark: str
    source: ReportedNumbers
    cells: dict[str, int | float] = field(default_factory=dict)  # by quantity
    notes: list[str] = field(default_factory=list)


@dataclass
class ReportedTable:
    """Rows, and the quantities of their cells."""

    quantities: dict[str, Quantity]
    rows: list[ReportedRow]


def reported(
    sources: Iterable[ReportedNumbers], *, task: str | None = None, system: str | None = None
) -> ReportedTable:
    """Collects reported numbers of separators, of one task or system: one row per task, system, place and mark."""
    rows: dict[tuple[object, ...], ReportedRow] = {}
    quantities: dict[str, Quantity] = {}
    for index, source in enumerate(sources):
        for one in source.rows if source.about == "separators" else ():
            if task not in (None, one.task) or (system or one.system).lower() != one.system.lower():
                continue
            quantities[one.quantity] = source.quantities[one.quantity]
            place = one.task, one.system, one.where, one.mark
            row = rows.setdefault((index, *place), ReportedRow(*place, source))
            row.cells[one.quantity] = one.value
            row.notes += [one.note] if isinstance(one.note, str) else []
    return ReportedTable(quantities, list(rows.values()))


def agreement_matrix(data: SiteData) -> tuple[list[str], dict[tuple[str, str], Agreement]]:
    """Returns the metrics in order, and the agreement of each pair."""
    names = list(data["metrics"])
    cells = {}
    for record in data["agreement"]:
        first, second = record["metrics"]
        cells[first, second] = cells[second, first] = record
    return names, cells
