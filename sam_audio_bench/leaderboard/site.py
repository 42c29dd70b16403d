"""The site: static pages from `data.json`, which open from a disk, ask for nothing from elsewhere and run no framework.

    index.html            overall tables, quality against cost, tasks
    tasks/<task>.html     every metric, item scores, how far metrics agree
    separators/<name>.html  its card, its strengths, all of its revisions
    items/<task>.html     every item; players, spectrograms, prompt and ratings over time of some
    compare.html          two lines, item by item
    metrics.html  reported.html  log.html  reading.html
    data.json             what the pages show
    data/                 item scores, one file a task and metric, which `compare.html` loads when asked
    listen/               previews, made by `previews`, kept as they are

The same leaderboard gives the same bytes.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2

from sam_audio_bench.errors import UsageError
from sam_audio_bench.files import dump_json, replacing, safe_name
from sam_audio_bench.leaderboard import figures, reading
from sam_audio_bench.leaderboard.board import Board, read_board
from sam_audio_bench.leaderboard.labels import number
from sam_audio_bench.leaderboard.listening import LISTEN
from sam_audio_bench.leaderboard.sitedata import item_scores, names_of, site_data
from sam_audio_bench.stats.bootstrap import multinomial_weights

__all__ = ["build", "differences"]

_ASSETS = ("site.css", "site.js")
_RESAMPLES = 2000
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_ENDS = {"dB": (-30.0, 30.0)}  # of the bars where scores can lie far outside of what interests


def build(root: Path, out: Path | None = None) -> list[Path]:
    """Writes the site of a leaderboard, and removes pages of an earlier one that it no longer has.

    Args:
        root: the leaderboard.
        out: the site's folder; None: ``site/`` in the leaderboard.

    Returns:
        Files written, sorted.

    Raises:
        StoreError: a submission that cannot be read; `validate` says more; or a link in the site's folder, through
            which this would write elsewhere. UsageError: a folder that holds something else.
    """
    goal = out or root / "site"
    _check_place(goal)
    pages = dict(_pages(root, read_board(root)))
    for name, text in pages.items():
        with replacing(goal / name) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="\n")
    listen = root / "site" / LISTEN
    if goal != root / "site" and listen.is_dir():
        shutil.copytree(listen, goal / LISTEN, dirs_exist_ok=True)
    for path in sorted(goal.rglob("*")):
        name = path.relative_to(goal).as_posix()
        if path.is_file() and name not in pages and not name.startswith(f"{LISTEN}/"):
            path.unlink()
    return sorted(goal / name for name in pages)


def _check_place(goal: Path) -> None:
    """What is in the site's folder and no page is removed: it must be a site."""
    if not goal.exists() and not goal.is_symlink():
        return
    names = {path.relative_to(goal).as_posix() for path in reading.files_below(goal)}
    if "data.json" not in names and not all(name.startswith(f"{LISTEN}/") for name in names):
        raise UsageError(f"expected an empty folder or an earlier site in {goal}, found other files; name another one")


def differences(root: Path) -> list[str]:
    """Files of the site that are not what `build` would write: changed, missing or left over."""
    with tempfile.TemporaryDirectory(prefix="sabench-site-") as folder:
        fresh = Path(folder) / "site"
        build(root, fresh)
        names = {path.relative_to(base).as_posix() for base in (fresh, root / "site") for path in base.rglob("*")}
        pairs = ((name, fresh / name, root / "site" / name) for name in sorted(names))
        return [name for name, new, old in pairs if (new.is_file() or old.is_file()) and _content(new) != _content(old)]


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _pages(root: Path, board: Board) -> Iterator[tuple[str, str]]:
    data = site_data(root, board)
    environment = _environment(data)
    yield "data.json", dump_json(data, indent=1) + "\n"
    for name in _ASSETS:
        yield name, (files("sam_audio_bench.leaderboard") / "pages" / name).read_text(encoding="utf-8")
    for name in ("index", "compare", "metrics", "reported", "log", "reading"):
        yield f"{name}.html", _render(environment, name, here=f"{name}.html")
    for label, task in data["tasks"].items():
        scores = item_scores(board, label, task["main"])
        yield f"tasks/{task['page']}", _render(environment, "task", label=label, task=task, scores=scores, up="../")
        yield f"items/{task['page']}", _render(environment, "items", label=label, task=task, scores=scores, up="../")
        for metric in task["metrics"]:
            place = f"data/{safe_name(label)}/{safe_name(metric)}"
            yield f"{place}.js", _script(place, item_scores(board, label, metric))
    for page in dict.fromkeys(line["page"] for line in data["lines"].values()):
        own = {name: line for name, line in data["lines"].items() if line["page"] == page}
        yield f"separators/{page}", _render(environment, "separator", own=own, up="../")
    for units in sorted(_recordings(board, data)):
        yield f"data/weights-{units}.js", _script(f"data/weights-{units}", _weights(units))


def _script(place: str, value: Any) -> str:
    """A page from a disk may run scripts but not read other files, so data come as calls of one function."""
    text = dump_json(value).replace("</", "<\\/")
    return f"sabench.give({dump_json(place)}, {text});\n"


def _recordings(board: Board, data: Mapping[str, Any]) -> set[int]:
    """Numbers of recordings that any two lines can have in common in a task and metric."""
    found = set()
    for label, task in data["tasks"].items():
        groups = board.groups(label)
        for metric in task["metrics"]:
            sets = {frozenset(line.values(label, metric)) for line in board.lines} - {frozenset()}
            found |= {len({groups[item] for item in one & other}) for one in sets for other in sets}
    return {units for units in found if units > 1}


def _weights(units: int) -> list[str]:
    """How often each resample draws each recording, a digit each: those of `sam_audio_bench.stats.bootstrap`."""
    drawn = multinomial_weights(units, _RESAMPLES, (0,)).astype(int)
    return ["".join(_DIGITS[count] for count in row) for row in drawn]


def _environment(data: Mapping[str, Any]) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("sam_audio_bench.leaderboard", "pages"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": number,
        "names": names_of,
        "interval": _interval,
        "amount": _amount,
        "safe_name": safe_name,
    }
    environment.globals |= {
        "data": data,
        "bar": _bar,
        "ends": lambda metric, rows: _ends(data, metric, rows),
        "figures": figures,
        "cost": lambda board: _cost(data, board),
        "strengths": lambda line: _strengths(data, line),
        "axes": lambda found: [(data["tasks"][one["task"]]["id"], one["share"]) for one in found],
        "box_lines": lambda scores: _box_lines(data, scores),
        "sections": lambda rows: _sections(data, rows),
        "task_rows": lambda label: _task_rows(data, label),
        "stated": _stated,
        "matrix": lambda: _matrix(data),
    }
    return environment


def _render(environment: jinja2.Environment, name: str, *, up: str = "", here: str = "", **values: Any) -> str:
    page = environment.get_template(f"{name}.html").render(up=up, here=here, **values)
    return page.rstrip() + "\n"


def _interval(cell: Mapping[str, Any], digits: int = 2) -> str:
    if cell["low"] is None:
        return "interval unknown: one recording" if cell["value"] is not None else ""
    return f"{number(cell['low'], digits)} to {number(cell['high'], digits)}"


def _amount(value: float | None) -> str:
    """A count as 0, 950, 12 k, 3.2 M, 1.1 B."""
    if value is None:
        return "—"
    for size, letter in ((1e9, " B"), (1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:g}"


def _bar(cell: Mapping[str, Any], ends: tuple[float, float]) -> Any:
    return "" if cell["value"] is None else figures.bar(cell["value"], cell["low"], cell["high"], ends)


def _ends(data: Mapping[str, Any], metric: str, rows: list[Mapping[str, Any]]) -> tuple[float, float]:
    """The ends of a column's bars: of all its intervals but silence's, within what interests."""
    own = [row for row in rows if data["lines"][row["line"]]["separator"] != "silence"]
    known = [row[name] for row in own for name in ("value", "low", "high") if row[name] is not None]
    low, high = min(known, default=0.0), max(known, default=1.0)
    bounds = _ENDS.get(data["metrics"][metric]["unit"])
    return (low, high) if bounds is None else (max(low, bounds[0]), min(high, bounds[1]))


def _sections(data: Mapping[str, Any], rows: list[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Rows apart: ranked ones, those that are not and why, baselines, oracles."""
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


def _task_rows(data: Mapping[str, Any], label: str) -> list[dict[str, Any]]:
    """Lines of a task with a cell a metric, best by its main metric first."""
    task, cells = data["tasks"][label], data["cells"][label]
    sign = -1 if data["metrics"][task["main"]]["higher_is_better"] else 1
    names = [name for name in data["lines"] if any(name in column for column in cells.values())]
    empty = {
        "value": None,
        "low": None,
        "high": None,
        "n_ok": 0,
        "n": 0,
        "possible": 0,
        "capped": 0,
        "why": "items missing",
    }
    rows = []
    for name in names:
        own = {metric: column.get(name, empty) for metric, column in cells.items()}
        rows.append({"line": name, "cells": own, **own[task["main"]]})
    return sorted(rows, key=lambda row: (row["value"] is None, sign * (row["value"] or 0.0), row["line"]))


def _cost(data: Mapping[str, Any], board: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Quality against real-time factor and against parameters, where at least two lines have them."""
    found = []
    metric = data["metrics"][board["metric"]]
    for name, label in (
        ("real_time_factor", "real-time factor: seconds of work for a second of sound"),
        ("parameters", "parameters"),
    ):
        points = [
            figures.Point(
                name=data["lines"][row["line"]]["name"], href=f"separators/{quote(data['lines'][row['line']]['page'])}",
                kind=data["lines"][row["line"]]["kind"], x=data["lines"][row["line"]][name], y=row["value"],
                low=row["low"], high=row["high"],
            )
            for row in board["rows"]
            if row["value"] is not None and data["lines"][row["line"]][name] and _interesting(row, data)
        ]  # fmt: skip
        if len(points) > 1:
            figure = figures.pareto(
                points, x_label=label, y_label=f"{board['metric']} {metric['unit']}".strip(),
                higher_is_better=metric["higher_is_better"], title=f"{board['title']} against {label}",
            )  # fmt: skip
            found.append((label, figure))
    return found


def _interesting(row: Mapping[str, Any], data: Mapping[str, Any]) -> bool:
    """Neither silence nor oracles, whose scores would squeeze all others together, nor what counts no longer."""
    silent = data["lines"][row["line"]]["separator"] == "silence"
    return not silent and row["why"] not in ("oracle", "withdrawn", "superseded")


def _strengths(data: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """A line's main score on each of its tasks, and where it lies between the worst and the best line there."""
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
            if cell["value"] is not None and data["lines"][other]["separator"] != "silence"
        ]
        value, low, high = column[name]["value"], min(known, default=0.0), max(known, default=0.0)
        share = (value - low) / (high - low) if high > low else 0.5
        share = share if data["metrics"][task["main"]]["higher_is_better"] else 1 - share
        found.append({"task": label, "metric": task["main"], "cell": column[name], "share": share})
    return found


def _box_lines(data: Mapping[str, Any], scores: Mapping[str, Any]) -> list[tuple[str, str, list[float]]]:
    """Lines for `figures.boxes`, silence left out: one point far away would hide the rest."""
    found = []
    for name, values in scores["lines"].items():
        line, known = data["lines"][name], [value for value in values if value is not None]
        if known and line["separator"] != "silence":
            found.append((line["name"], line["kind"], known))
    return sorted(found, key=lambda one: -sum(one[2]) / len(one[2]))


def _stated(source: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Reported numbers with one row a task, system, place and mark, and a cell a quantity."""
    rows: dict[tuple[str, str, str, str], dict[str, Any]] = {}
    for one in source["rows"]:
        key = one["task"], one["system"], one["where"], one["mark"]
        row = rows.setdefault(key, {**one, "cells": {}, "notes": []})
        row["cells"][one["quantity"]] = one["value"]
        row["notes"] += [one["note"]] if "note" in one else []
    return list(rows.values())


def _matrix(data: Mapping[str, Any]) -> tuple[list[str], dict[tuple[str, str], Mapping[str, Any]]]:
    """Metrics in order, and the agreement of each two."""
    names = list(data["metrics"])
    cells = {}
    for record in data["agreement"]:
        first, second = record["metrics"]
        cells[first, second] = cells[second, first] = record
    return names, cells
