"""Numbers copied from papers, ``results/reported/*.json``: shown with their source, never ranked with measured ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sam_audio_bench.errors import StoreError
from sam_audio_bench.leaderboard import safe_io
from sam_audio_bench.leaderboard.labels import REPORTED
from sam_audio_bench.tasks import TASKS

__all__ = ["read_reported", "reported_problems"]


def read_reported(results: Path) -> list[dict[str, Any]]:
    """Every source with its rows, by date; raises StoreError."""
    found: list[dict[str, Any]] = []
    for path in sorted((results / REPORTED).glob("*.json")):
        problems = list(_problems(path))
        if problems:
            raise StoreError(f"expected reported numbers that meet their schema in {path}, found {problems[0]}")
        found.append({"id": path.stem, **safe_io.load(path)})
    return sorted(found, key=lambda source: (source["date"], source["id"]))


def reported_problems(results: Path) -> Iterator[tuple[str, str]]:
    """Where and what is wrong with a file of reported numbers."""
    for path in sorted((results / REPORTED).glob("*.json")):
        for what in _problems(path):
            yield f"{REPORTED}/{path.name}", what


def _problems(path: Path) -> Iterator[str]:
    try:
        source = safe_io.load(path)
    except StoreError as error:
        yield str(error)
        return
    broken = safe_io.violations(source, "reported")
    yield from (f"{place}: {what}" for place, what in broken)
    if broken:
        return
    seen = set()
    for row in source["rows"]:
        key = row["task"], row["system"], row["quantity"]
        if key in seen:
            yield f"expected each number once, found {key} twice"
        seen.add(key)
        if row["mark"] not in source["marks"]:
            yield f"expected a mark that is explained, found {row['mark']} at {key}"
        if row["quantity"] not in source["quantities"]:
            yield f"expected a quantity that is explained, found {row['quantity']} at {key}"
        if source["about"] == "separators" and row["task"] not in TASKS:
            yield f"expected a task of the catalogue, found {row['task']} at {key}"
