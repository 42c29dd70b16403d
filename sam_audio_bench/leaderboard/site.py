"""The site: static pages from `data.json`, which open from disk, load nothing from other hosts and use no framework.

    index.html            verdicts, overall tables, tasks
    tasks/<task>.html     every metric, numbers reported in papers, item scores
    separators/<name>.html  card, strengths, all revisions
    items/<task>.html     every item; players, spectrograms, prompt and ratings over time of some
    compare.html          two lines, item by item
    cost.html             costs of separators, and quality against cost
    metrics.html          what each metric measures, and its agreement with listeners
    agreement.html        agreement of metrics with each other
    slices.html           scores by slices of the items
    reported.html  log.html  reading.html
    data.json             the data that the pages show
    tables/               the tables as CSV and JSON
    data/                 item scores, one file per task and metric, loaded on demand
    listen/               previews, written by `preview_rendering`, left unchanged

The same leaderboard gives the same bytes.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path

import jinja2
import msgspec

from sam_audio_bench.errors import Precondition, UsageError
from sam_audio_bench.files import atomic_write, case_sensitive_name, dump_json, temporary_files
from sam_audio_bench.leaderboard import safe_io
from sam_audio_bench.leaderboard.board import Board, read_board
from sam_audio_bench.leaderboard.item_lists import load_item_list
from sam_audio_bench.leaderboard.previews import LISTEN
from sam_audio_bench.leaderboard.records import ReportedNumbers
from sam_audio_bench.leaderboard.sitedata import build_site_data, collect_item_scores
from sam_audio_bench.leaderboard.sitetypes import OverallTable, ScoreFields, SiteData, TableRow
from sam_audio_bench.leaderboard.template_helpers import FILTERS, sound_anchors, task_rows, template_globals
from sam_audio_bench.stats.paired import swap_patterns
from sam_audio_bench.tabular import format_spreadsheet_csv

__all__ = ["build_site", "outdated_files"]

_ASSETS = ("site.css", "site.js", "compare.js", "listen.js", "icon.svg")
_MARKS = frozenset({"data.json", "site.css", "site.js"})  # files of a site of any version
_TEXTS = (".html", ".css", ".js", ".json", ".csv", ".svg")
_SCORE_FIELDS = ("value", "low", "high", "n_ok", "possible", "capped")
_RANK_FIELDS = ("rank", "rank_low", "rank_high", "letters")
_COST_FIELDS = ("real_time_factor", "peak_memory_mib", "device_memory_mib", "parameters", "lag_ms", "machine")
_KEPT = frozenset({".git", ".gitattributes", "README.md"})  # of a repository of pages: left unchanged


def build_site(root: Path, out: Path | None = None) -> list[Path]:
    """Writes the site of a leaderboard, and removes pages of an earlier build that no longer exist.

    Git's files and a README in the folder are left unchanged.

    Args:
        root: the leaderboard.
        out: folder of the site; None: ``site/`` in the leaderboard.

    Returns:
        Files written, sorted.

    Raises:
        Precondition: no submission. StoreError: a submission that cannot be read, see `validate`, or a link in the
            site's folder, through which this would write elsewhere. UsageError: the folder contains other files.
    """
    goal = out or root / "site"
    _check_place(goal)
    board = read_board(root)
    if not board.lines:
        raise Precondition(
            f"expected a leaderboard with submissions in {root}, found none; `sabench leaderboard submit` adds them"
        )
    pages = dict(_pages(root, board))
    for name, text in pages.items():
        with atomic_write(goal / name) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="\n")
    listen = root / "site" / LISTEN
    if goal != root / "site" and listen.is_dir():
        shutil.copytree(listen, goal / LISTEN, dirs_exist_ok=True)
    for path in list(safe_io.walk_files(goal, without=_KEPT)):
        name = path.relative_to(goal).as_posix()
        if name not in pages and not name.startswith(f"{LISTEN}/"):
            path.unlink()
    return sorted(goal / name for name in pages)


def _check_place(goal: Path) -> None:
    """Raises UsageError unless the folder is empty or holds a site: `build_site` removes other files."""
    if not goal.exists() and not goal.is_symlink():
        return
    unfinished = set(temporary_files(goal)) if goal.is_dir() else set()
    found = safe_io.walk_files(goal, without=_KEPT)
    names = {path.relative_to(goal).as_posix() for path in found if path not in unfinished}
    begun = {name for name in names & {*_ASSETS} if _content(goal / name) == _asset(name).encode()}
    others = {name for name in names - begun if not name.startswith(f"{LISTEN}/")}
    if others and not names >= _MARKS:
        raise UsageError(f"expected an empty folder or an earlier site in {goal}, found other files; name another one")


def outdated_files(root: Path) -> list[str]:
    """Lists the files of the site that differ from what `build_site` would write: changed, missing or left over."""
    with tempfile.TemporaryDirectory(prefix="sabench-site-") as folder:
        fresh = Path(folder) / "site"
        build_site(root, fresh)
        names = {path.relative_to(base).as_posix() for base in (fresh, root / "site") for path in base.rglob("*")}
        pairs = ((name, fresh / name, root / "site" / name) for name in sorted(names))
        return [name for name, new, old in pairs if (new.is_file() or old.is_file()) and _content(new) != _content(old)]


def _content(path: Path) -> bytes | None:
    """Reads a file, of texts with LF line ends, which Git may have converted; None if there is none."""
    if not path.is_file():
        return None
    content = path.read_bytes()
    return content.replace(b"\r\n", b"\n") if path.suffix in _TEXTS else content


def _pages(root: Path, board: Board) -> Iterator[tuple[str, str]]:
    data = build_site_data(root, board)
    environment = _environment(data, board.reported)
    yield from ((name, _asset(name)) for name in _ASSETS)  # first: they identify the folder of a site
    yield "data.json", dump_json(msgspec.to_builtins(data), indent=1) + "\n"
    yield from _downloads(data)
    for name in ("index", "compare", "cost", "metrics", "agreement", "slices", "reported", "log", "reading"):
        yield f"{name}.html", _render(environment, name, {"here": f"{name}.html"})
    for label, task in data["tasks"].items():
        columns = {metric: collect_item_scores(board, label, metric) for metric in task["metrics"]}
        own = {
            "label": label,
            "task": task,
            "columns": columns,
            "list": load_item_list(board.tasks[label]),
            "up": "../",
        }
        yield f"tasks/{task['page']}", _render(environment, "task", own)
        yield f"items/{task['page']}", _render(environment, "items", own)
        path = f"data/{case_sensitive_name(label)}/listen"
        yield f"{path}.js", _script(path, sound_anchors(data, label))
        for metric, scores in columns.items():
            path = f"data/{case_sensitive_name(label)}/{case_sensitive_name(metric)}"
            yield f"{path}.js", _script(path, scores)
    for page in dict.fromkeys(line["page"] for line in data["lines"].values()):
        lines = {name: line for name, line in data["lines"].items() if line["page"] == page}
        yield f"separators/{page}", _render(environment, "separator", {"own": lines, "up": "../"})
    for units in sorted(_recordings(board, data)):
        yield f"data/swaps-{units}.js", _script(f"data/swaps-{units}", _swaps(units))


def _downloads(data: SiteData) -> Iterator[tuple[str, str]]:
    """Yields name and text of ``tables/<table>.csv`` and ``.json``: overall tables by id, tasks by label."""
    for board in data["overall"]:
        yield from _csv_and_json(board["id"], _overall_rows(data, board))
    for label, task in data["tasks"].items():
        rows = []
        for row in task_rows(data, label):
            rows.append(_line_columns(data, row))
            for metric in task["metrics"]:
                rows[-1] |= _score_columns(metric, row["cells"][metric])
        yield from _csv_and_json(task["page"].removesuffix(".html"), rows)


def _overall_rows(data: SiteData, board: OverallTable) -> list[dict[str, object]]:
    cost = [{name: data["lines"][row["line"]].get(name) for name in _COST_FIELDS} for row in board["rows"]]
    return [
        _line_columns(data, row) | _score_columns(board["metric"], row) | {"tasks": row["tasks"], "of": row["of"]} | own
        for row, own in zip(board["rows"], cost, strict=True)
    ]


def _line_columns(data: SiteData, row: TableRow) -> dict[str, object]:
    line = data["lines"][row["line"]]
    named = {"separator": line["name"], "revision": line["revision"], "kind": line["kind"], "not_ranked": row["why"]}
    return {name: row.get(name) for name in _RANK_FIELDS} | named


def _score_columns(metric: str, cell: ScoreFields) -> dict[str, object]:
    return {f"{metric}.{name}": cell.get(name) for name in _SCORE_FIELDS}


def _csv_and_json(name: str, rows: Sequence[Mapping[str, object]]) -> Iterator[tuple[str, str]]:
    import pandas as pd

    frame = pd.DataFrame(rows, dtype=object)
    yield f"tables/{name}.csv", format_spreadsheet_csv(frame)
    yield f"tables/{name}.json", dump_json(rows, indent=1) + "\n"


def _asset(name: str) -> str:
    return (files("sam_audio_bench.leaderboard") / "pages" / name).read_text(encoding="utf-8")


def _script(path: str, value: object) -> str:
    """Wraps data in a function call, since a page opened from disk may load scripts but not read other files."""
    text = dump_json(value).replace("</", "<\\/")
    return f"sabench.give({dump_json(path)}, {text});\n"


def _recordings(board: Board, data: SiteData) -> set[int]:
    """Returns all numbers of recordings that two lines have in common for some task and metric."""
    found = set()
    for label, task in data["tasks"].items():
        groups = board.groups(label)
        for metric in task["metrics"]:
            sets = {frozenset(line.values(label, metric)) for line in board.lines} - {frozenset()}
            found |= {len({groups[item] for item in one & other}) for one in sets for other in sets}
    return {units for units in found if units > 1}


def _swaps(units: int) -> list[str]:
    """Returns the recordings that each pattern swaps, one digit each, as in `sam_audio_bench.stats.paired`."""
    return ["".join("01"[swapped] for swapped in pattern) for pattern in swap_patterns(units).astype(int).tolist()]


def _environment(data: SiteData, reported: Mapping[str, ReportedNumbers]) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("sam_audio_bench.leaderboard", "pages"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= FILTERS
    environment.globals |= template_globals(data, reported)
    return environment


def _render(environment: jinja2.Environment, name: str, values: Mapping[str, object]) -> str:
    page = environment.get_template(f"{name}.html").render({"up": "", "here": "", **values})
    return "\n".join(line for line in page.split("\n") if line.strip()) + "\n"  # macros leave empty lines
