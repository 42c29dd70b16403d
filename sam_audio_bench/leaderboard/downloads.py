"""The tables of the site as CSV and JSON: one row a line, best first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from sam_audio_bench.files import dump_json
from sam_audio_bench.leaderboard.sitetypes import OverallTable, Scored, SiteData, TableRow
from sam_audio_bench.leaderboard.template_helpers import task_rows
from sam_audio_bench.tabular import format_spreadsheet_csv

__all__ = ["downloads"]

_SCORE = ("value", "low", "high", "n_ok", "possible", "capped")
_PLACE = ("rank", "rank_low", "rank_high", "letters")
_COST = ("real_time_factor", "peak_memory_mib", "device_memory_mib", "parameters", "lag_ms", "machine")


def downloads(data: SiteData) -> Iterator[tuple[str, str]]:
    """Names and texts of ``tables/<table>.csv`` and ``.json``: overall tables by their id, tasks by their label."""
    for board in data["overall"]:
        yield from _both(board["id"], _overall(data, board))
    for label, task in data["tasks"].items():
        rows = []
        for row in task_rows(data, label):
            rows.append(_line(data, row))
            for metric in task["metrics"]:
                rows[-1] |= _score(metric, row["cells"][metric])
        yield from _both(task["page"].removesuffix(".html"), rows)


def _overall(data: SiteData, board: OverallTable) -> list[dict[str, object]]:
    cost = [{name: data["lines"][row["line"]].get(name) for name in _COST} for row in board["rows"]]
    return [
        _line(data, row) | _score(board["metric"], row) | {"tasks": row["tasks"], "of": row["of"]} | own
        for row, own in zip(board["rows"], cost, strict=True)
    ]


def _line(data: SiteData, row: TableRow) -> dict[str, object]:
    line = data["lines"][row["line"]]
    named = {"separator": line["name"], "revision": line["revision"], "kind": line["kind"], "not_ranked": row["why"]}
    return {name: row.get(name) for name in _PLACE} | named


def _score(metric: str, cell: Scored) -> dict[str, object]:
    return {f"{metric}.{name}": cell.get(name) for name in _SCORE}


def _both(name: str, rows: Sequence[Mapping[str, object]]) -> Iterator[tuple[str, str]]:
    import pandas as pd

    frame = pd.DataFrame(rows, dtype=object)
    yield f"tables/{name}.csv", format_spreadsheet_csv(frame)
    yield f"tables/{name}.json", dump_json(rows, indent=1) + "\n"
