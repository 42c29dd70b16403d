"""Filters and functions of the HTML templates: formatted numbers, sorted and sectioned rows, and figures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any
from urllib.parse import quote

from sam_audio_bench.files import safe_name
from sam_audio_bench.leaderboard import figures
from sam_audio_bench.render.numbers import number

__all__ = ["FILTERS", "template_globals"]

Data = Mapping[str, Any]
"""The content of `data.json`."""

_ENDS = {"dB": (-30.0, 30.0)}  # outermost limits of the bars: a few scores can lie far outside the others


def template_globals(data: Data) -> dict[str, Any]:
    """Globals of the templates."""
    bound: tuple[Callable[..., Any], ...] = (
        ends, sections, task_rows, cost, strengths, box_lines, answers, counts, matrix,
    )  # fmt: skip
    own = {function.__name__: partial(function, data) for function in bound}
    return {
        "data": data,
        "figures": figures,
        "bar": bar,
        "reported": partial(reported, data["reported"]),
        "only": lambda source: reported([source]),
        **own,
    }


def interval(cell: Data, digits: int = 2) -> str:
    """The interval of a mean."""
    if cell["low"] is None:
        return "interval unknown: one recording" if cell["value"] is not None else ""
    return f"{number(cell['low'], digits)} to {number(cell['high'], digits)}"


def amount(value: float | None) -> str:
    """A count as 0, 950, 12 k, 3.2 M, 1.1 B."""
    if value is None:
        return "—"
    for size, letter in ((1e9, " B"), (1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:g}"


def plain(value: float | None) -> str:
    """Two significant digits, without an exponent.

    >>> plain(0.00009034), plain(0.339), plain(12.3), plain(412.0), plain(None)
    ('0.00009', '0.34', '12', '412', '—')
    """
    if value is None:
        return "—"
    if abs(value) >= 10:
        return f"{value:.0f}"
    return f"{float(f'{value:.2g}'):.10f}".rstrip("0").rstrip(".")


def quantity(value: float, unit: str) -> str:
    """A reported number with as many digits as its source gives: percentages as +36 or −5.5, ratings as 3.20."""
    return f"{value:+g}".replace("-", "−") if unit == "%" else number(value)


def names(values: Iterable[str]) -> str:
    """Values joined by commas."""
    return ", ".join(values) or "none stated"


def describe_spans(spans: Iterable[tuple[str, float, float]]) -> str:
    """The spans of a prompt as text.

    >>> describe_spans([("+", 1.0, 4.25), ("-", 5.0, 6.0)])
    'present 1.0 to 4.2 s, absent 5.0 to 6.0 s'
    """
    words = {"+": "present", "-": "absent"}
    return ", ".join(f"{words.get(sign, sign)} {number(start, 1)} to {number(end, 1)} s" for sign, start, end in spans)


def is_web_link(link: str) -> bool:
    """Whether a link is http(s); anything else, such as ``javascript:``, is shown as plain text."""
    return link.lower().startswith(("https://", "http://"))


FILTERS = {
    "number": number, "names": names, "interval": interval, "amount": amount, "plain": plain, "quantity": quantity,
    "describe_spans": describe_spans, "is_web_link": is_web_link, "safe_name": safe_name,
}  # fmt: skip


def bar(cell: Data, ends: tuple[float, float], kind: str) -> str:
    """A mean and its interval between the ends of its column."""
    return "" if cell["value"] is None else figures.bar(cell["value"], cell["low"], cell["high"], ends, kind)


def counts(data: Data) -> dict[str, int]:
    """How many separators, baselines and oracles there are, whatever their revisions and pickers."""
    found = {kind: {line["separator"] for line in data["lines"].values() if line["kind"] == kind}
             for kind in ("separator", "baseline", "oracle")}  # fmt: skip
    return {kind: len(own) for kind, own in found.items()}


def ends(data: Data, metric: str, rows: list[Mapping[str, Any]]) -> tuple[float, float]:
    """Axis limits of a column's bars: the extremes of all intervals except those of ``silence``, within `_ENDS`."""
    own = [row for row in rows if data["lines"][row["line"]]["separator"] != "silence"]
    known = [row[name] for row in own for name in ("value", "low", "high") if row[name] is not None]
    low, high = min(known, default=0.0), max(known, default=1.0)
    bounds = _ENDS.get(data["metrics"][metric]["unit"])
    return (low, high) if bounds is None else (max(low, bounds[0]), min(high, bounds[1]))


def sections(data: Data, rows: list[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Rows divided into sections: ranked, not ranked (by reason), baselines, oracles."""
    headings = {
        "ranked": "",
        "items missing": "Not ranked: items or tasks without a score",
        "tasks missing": "Not ranked: items or tasks without a score",
        "own judge": "Not ranked: chosen by the model that scores here",
        "superseded": "Earlier revisions",
        "withdrawn": "Withdrawn",
        "baseline": "Baselines, which do nothing",
        "oracle": "Oracles, which are shown the answer",
    }
    found: dict[str, list[dict[str, Any]]] = {text: [] for text in headings.values()}
    for row in rows:
        found[headings[row["why"] or "ranked"]].append(row)
    return [(text, own) for text, own in found.items() if own]


def task_rows(data: Data, label: str) -> list[dict[str, Any]]:
    """Lines of a task with one cell per metric, best by the main metric first."""
    task, cells = data["tasks"][label], data["cells"][label]
    sign = -1 if data["metrics"][task["main"]]["higher_is_better"] else 1
    names = [name for name in data["lines"] if any(name in column for column in cells.values())]
    numbers = {"value": None, "low": None, "high": None, "n_ok": 0, "n": 0, "possible": 0, "capped": 0}
    empty = {**numbers, "coverage": "", "why": "items missing"}
    rows = []
    for name in names:
        own = {metric: column.get(name, empty) for metric, column in cells.items()}
        rows.append({"line": name, "cells": own, **own[task["main"]]})
    return sorted(rows, key=lambda row: (row["value"] is None, sign * (row["value"] or 0.0), row["line"]))


def cost(data: Data, board: Data) -> list[tuple[str, Any]]:
    """Quality against real-time factor and against number of parameters, where at least two lines state them."""
    found = []
    metric = data["metrics"][board["metric"]]
    for name, label in (
        ("real_time_factor", "real-time factor (seconds of work for a second of sound)"),
        ("parameters", "parameters"),
    ):
        points = []
        for row in board["rows"]:
            line = data["lines"][row["line"]]
            known = line[name] is not None and (line[name] > 0 or name == "parameters")
            if row["value"] is not None and known and _interesting(data, row):
                points.append(
                    figures.Point(
                        name=line["name"], href=f"separators/{quote(line['page'])}", kind=line["kind"],
                        x=line[name], y=row["value"], low=row["low"], high=row["high"],
                    )
                )  # fmt: skip
        if len(points) > 1 and any(point.x > 0 for point in points):
            figure = figures.pareto(
                points, x_label=label, y_label=f"{board['metric']} {metric['unit']}".strip(),
                higher_is_better=metric["higher_is_better"], title=f"{board['title']} against {label}",
            )  # fmt: skip
            found.append((label, figure))
    return found


def _interesting(data: Data, row: Mapping[str, Any]) -> bool:
    """Leaves out silence and oracles, whose scores would compress the axis, and withdrawn or superseded lines."""
    silent = data["lines"][row["line"]]["separator"] == "silence"
    return not silent and row["why"] not in ("oracle", "withdrawn", "superseded")


def strengths(data: Data, name: str) -> list[dict[str, Any]]:
    """A line's main score on each of its tasks, and where it lies between the worst and the best one there."""
    found = []
    for label, task in data["tasks"].items():
        if label not in data["lines"][name]["tasks"]:
            continue
        column = data["cells"][label][task["main"]]
        if name not in column or column[name]["value"] is None:
            continue
        known = [
            cell["value"]
            for other, cell in column.items()
            if cell["value"] is not None and _interesting(data, {**cell, "line": other})
        ]
        value, low, high = column[name]["value"], min(known, default=0.0), max(known, default=0.0)
        share = (value - low) / (high - low) if high > low else 0.5
        share = share if data["metrics"][task["main"]]["higher_is_better"] else 1 - share
        found.append({"task": label, "metric": task["main"], "cell": column[name], "spoke": (task["id"], share)})
    return found


def box_lines(data: Data, metric: str, scores: Data) -> list[tuple[str, str, list[float]]]:
    """Lines for `figures.boxes`, best first, without silence: one point far away would compress the rest."""
    sign = -1 if data["metrics"][metric]["higher_is_better"] else 1
    found = []
    for name, values in scores["lines"].items():
        line, known = data["lines"][name], [value for value in values if value is not None]
        if known and line["separator"] != "silence":
            found.append((line["name"], line["kind"], known))
    return sorted(found, key=lambda one: sign * sum(one[2]) / len(one[2]))


def answers(data: Data, item: Data) -> list[tuple[str, Any]]:
    """Lines with an estimate of a previewed item, and its preview, in the order of all lists."""
    return [(name, item["answers"][name]) for name in data["lines"] if name in item["answers"]]


def reported(sources: Iterable[Data], *, task: str | None = None, system: str | None = None) -> dict[str, Any]:
    """Numbers of papers about separators, of one task or system: one row per task, system, place and mark."""
    rows: dict[tuple[str, ...], dict[str, Any]] = {}
    quantities: dict[str, Any] = {}
    for source in sources:
        for one in source["rows"] if source["about"] == "separators" else ():
            if task not in (None, one["task"]) or (system or one["system"]).lower() != one["system"].lower():
                continue
            quantities[one["quantity"]] = source["quantities"][one["quantity"]]
            key = source["id"], one["task"], one["system"], one["where"], one["mark"]
            row = rows.setdefault(key, {**one, "source": source, "cells": {}, "notes": []})
            row["cells"][one["quantity"]] = one["value"]
            row["notes"] += [one["note"]] if "note" in one else []
    return {"quantities": quantities, "rows": list(rows.values())}


def matrix(data: Data) -> tuple[list[str], dict[tuple[str, str], Mapping[str, Any]]]:
    """Metrics in order, and the agreement of each pair."""
    names = list(data["metrics"])
    cells = {}
    for record in data["agreement"]:
        first, second = record["metrics"]
        cells[first, second] = cells[second, first] = record
    return names, cells
