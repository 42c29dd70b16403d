"""Numbers copied from papers, ``results/reported/*.json``: shown with their source, never ranked with measurements."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sam_audio_bench.errors import StoreError
from sam_audio_bench.leaderboard.records import ReportedNumbers, SchemaError, read_record
from sam_audio_bench.leaderboard.submission import REPORTED
from sam_audio_bench.tasks import TASKS

__all__ = ["read_reported", "reported_problems"]


def read_reported(results: Path) -> dict[str, ReportedNumbers]:
    """Reads file name -> source, ordered by date; raises StoreError."""
    found: dict[str, ReportedNumbers] = {}
    for path in sorted((results / REPORTED).glob("*.json")):
        found[path.stem] = _read(path)
        if problem := next(_problems(found[path.stem]), None):
            raise StoreError(f"expected reported numbers that agree with themselves in {path}, found {problem}")
    return dict(sorted(found.items(), key=lambda pair: (pair[1].date, pair[0])))


def reported_problems(results: Path) -> Iterator[tuple[str, str]]:
    """Yields place and description of every problem with files of reported numbers."""
    for path in sorted((results / REPORTED).glob("*.json")):
        where = f"{REPORTED}/{path.name}"
        try:
            source = _read(path)
        except SchemaError as error:
            yield from ((where, f"{place}: {what}") for place, what in error.violations)
        except StoreError as error:
            yield where, str(error)
        else:
            yield from ((where, what) for what in _problems(source))


def _read(path: Path) -> ReportedNumbers:
    return read_record(path, ReportedNumbers, "a source of reported numbers")


def _problems(source: ReportedNumbers) -> Iterator[str]:
    seen = set()
    for row in source.rows:
        key = row.task, row.system, row.quantity
        if key in seen:
            yield f"expected each number once, found {key} twice"
        seen.add(key)
        if row.mark not in source.marks:
            yield f"expected a mark that is explained, found {row.mark} at {key}"
        if row.quantity not in source.quantities:
            yield f"expected a quantity that is explained, found {row.quantity} at {key}"
        if source.about == "separators" and row.task not in TASKS:
            yield f"expected a task of the catalogue, found {row.task} at {key}"
