"""Every submission and withdrawal, in order, for good.

A leaderboard that forgets attempts flatters those who try often ("The Leaderboard Illusion", arXiv:2504.20879). Each
line of ``log.jsonl`` holds the digest of the line before it, so that nothing can be taken out or changed unnoticed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sam_audio_bench.errors import StoreError, UsageError
from sam_audio_bench.files import append_lines, dump_json, sha256
from sam_audio_bench.leaderboard import reading
from sam_audio_bench.leaderboard.submission import HEADER, Submission

__all__ = ["LOG", "append", "attempts", "chain_problems", "read", "standing", "today", "withdraw"]

LOG = "log.jsonl"


def today() -> str:
    """The date, UTC."""
    return datetime.now(UTC).date().isoformat()


def read(root: Path) -> list[dict[str, Any]]:
    """Entries in order, none where nothing was submitted yet; raises StoreError where the chain is broken."""
    path = root / LOG
    if not path.exists():
        return []
    entries: list[dict[str, Any]] = reading.load_lines(path)
    problems = chain_problems(entries)
    if problems:
        raise StoreError(f"expected an unbroken log at {path}, found: {problems[0]}; restore it from version control")
    return entries


def chain_problems(entries: Sequence[Any]) -> list[str]:
    """What is wrong with a log: a line that breaks the schema, a gap, a change, an event that makes no sense."""
    found: list[str] = []
    previous, counts, seen, gone = None, dict[str, int](), set[tuple[str, str]](), set[tuple[str, str]]()
    for number, entry in enumerate(entries, 1):
        broken = reading.violations(entry, "log")
        if broken:
            return [*found, f"line {number}: {broken[0][0]}: {broken[0][1]}"]
        key = entry["separator"], entry["revision"]
        if (entry["number"], entry["previous"]) != (number, previous):
            found.append(f"line {number} does not follow the line before it: one was changed, moved or taken out")
        if (entry["event"] == "withdrawn") != (key in seen) or key in gone:
            found.append(f"line {number}: {key[0]} {key[1]} was {entry['event']} out of order")
        counts[key[0]] = counts.get(key[0], 0) + (entry["event"] == "submitted")
        if entry["attempt"] != counts[key[0]]:
            found.append(f"line {number}: attempt {counts[key[0]]} of {key[0]} is called attempt {entry['attempt']}")
        (seen if entry["event"] == "submitted" else gone).add(key)
        previous = _digest(entry)
    return found


def append(root: Path, submission: Submission, *, event: str, reason: str = "") -> dict[str, Any]:
    """Adds a line and returns it."""
    entries = read(root)
    before = sum(
        entry["event"] == "submitted" and entry["separator"] == submission.separator for entry in entries
    )  # fmt: skip
    entry = {
        "number": len(entries) + 1,
        "date": today(),
        "event": event,
        "separator": submission.separator,
        "revision": submission.revision,
        "attempt": before + (event == "submitted"),
        "submission_sha256": reading.digest(submission.path / HEADER),
        "reason": reason,
        "previous": _digest(entries[-1]) if entries else None,
    }
    append_lines(root / LOG, [entry])
    return entry


def withdraw(root: Path, submission: Submission, reason: str) -> dict[str, Any]:
    """Records that a submission counts no longer; its row stays, marked, and its attempt stays counted."""
    if not reason.strip():
        raise UsageError("expected a reason for the withdrawal, found none")
    if (submission.separator, submission.revision) not in standing(read(root)):
        raise UsageError(f"expected a submission that stands, found none of {submission.separator} in {root / LOG}")
    return append(root, submission, event="withdrawn", reason=reason)


def standing(entries: Sequence[Mapping[str, Any]]) -> set[tuple[str, str]]:
    """Separator and revision of everything that was submitted and not withdrawn."""
    found: set[tuple[str, str]] = set()
    for entry in entries:
        key = entry["separator"], entry["revision"]
        found = found | {key} if entry["event"] == "submitted" else found - {key}
    return found


def attempts(entries: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """How often each separator was submitted, withdrawals included."""
    found: dict[str, int] = {}
    for entry in entries:
        if entry["event"] == "submitted":
            found[entry["separator"]] = found.get(entry["separator"], 0) + 1
    return found


def _digest(entry: Mapping[str, Any]) -> str:
    return sha256(dump_json(entry).encode())
