"""The append-only record of submissions and withdrawals.

A leaderboard that forgets attempts favours those who try often ("The Leaderboard Illusion", arXiv:2504.20879). Each
line of ``log.jsonl`` holds the digest of the previous line, so that nothing can be removed or changed unnoticed
unless all later lines are rewritten, which a comparison with an earlier log reveals.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from sam_audio_bench.errors import Precondition, StoreError, UsageError
from sam_audio_bench.files import atomic_write, dump_json, sha256
from sam_audio_bench.leaderboard import safe_io
from sam_audio_bench.leaderboard.records import LogEntry, SchemaError, parse_record, to_builtins
from sam_audio_bench.leaderboard.submission import HEADER, Submission

__all__ = [
    "ATTRIBUTES",
    "LOG",
    "active_submissions",
    "append",
    "append_only_problems",
    "count_attempts",
    "latest_revisions",
    "read",
    "read_earlier",
    "retired_submissions",
    "text_digest",
    "today",
    "withdraw",
    "write_lock",
]

LOG = "log.jsonl"
ATTRIBUTES = ".gitattributes"
_ATTRIBUTES_TEXT = """# Git gives every file back as it was written: the log holds digests of files.
* -text
"""


def today() -> str:
    """Returns the current date, UTC."""
    return datetime.now(UTC).date().isoformat()


def read(root: Path) -> list[LogEntry]:
    """Reads the entries in order, none before the first submission; raises StoreError if the chain is broken."""
    path = root / LOG
    if not path.exists():
        return []
    try:
        return _parse(safe_io.load_json_lines(path))
    except ValueError as error:
        raise StoreError(
            f"expected an unbroken log at {path}, found: {error}; restore it from version control"
        ) from error


def _parse(lines: Sequence[object]) -> list[LogEntry]:
    """Returns the entries of a log; raises ValueError for a line that violates the schema, a gap, a changed line, or an
    impossible event.
    """
    entries: list[LogEntry] = []
    counts, seen, gone = Counter[str](), set[tuple[str, str]](), set[tuple[str, str]]()
    for number, line in enumerate(lines, 1):
        try:
            entry = parse_record(line, LogEntry, "an entry")
        except SchemaError as error:
            raise ValueError(f"line {number}: {': '.join(error.violations[0])}") from error
        if (entry.number, entry.previous) != (number, _digest(entries[-1]) if entries else None):
            raise ValueError(f"line {number} does not follow the line before it: one was changed, moved or taken out")
        if (entry.event == "withdrawn") != (entry.key in seen) or entry.key in gone:
            raise ValueError(f"line {number}: {' '.join(entry.key)} was {entry.event} out of order")
        counts[entry.separator] += entry.event == "submitted"
        if entry.attempt != counts[entry.separator]:
            attempt = f"attempt {counts[entry.separator]} of {entry.separator}"
            raise ValueError(f"line {number}: {attempt} is called attempt {entry.attempt}")
        (seen if entry.event == "submitted" else gone).add(entry.key)
        entries.append(entry)
    return entries


def read_earlier(since: Path) -> list[object]:
    """Reads the entries of an earlier log, from a file or the folder of a leaderboard; none if that has no log yet.

    Raises:
        Precondition: nothing at this path. StoreError: the log cannot be read.
    """
    if not since.exists():
        raise Precondition(f"expected an earlier leaderboard or its {LOG} at {since}, found none")
    path = since / LOG if since.is_dir() else since
    return safe_io.load_json_lines(path) if path.exists() else []


def append_only_problems(entries: Sequence[LogEntry], before: Sequence[object]) -> list[str]:
    """Checks that a log begins with all entries of an earlier one; returns the first difference, if any.

    An entry holds the digest of its submission.json, which holds the digests of all other files. If the numbers of an
    old submission change, it differs from its entry, or its entry differs from the earlier log.
    """
    for number, entry in enumerate(before, 1):
        if [to_builtins(own) for own in entries[number - 1 : number]] != [entry]:
            return [
                f"line {number}: expected the entry of the earlier log, {entry}, found another or none: what was "
                "logged stays; take the earlier log and its submissions back, and submit what is new after them"
            ]
    return []


@contextmanager
def write_lock(root: Path) -> Iterator[None]:
    """Locks a leaderboard for this process, and creates it if needed; raises Precondition if another process holds it.

    A folder that was created but not used is removed again.
    """
    made = [path for path in (root, *root.parents) if not path.exists()]
    lock = FileLock(root / ".lock", timeout=0)
    root.mkdir(parents=True, exist_ok=True)
    try:
        with lock:
            yield
    except Timeout as error:
        raise Precondition(f"expected {root} for this process alone, found another one writing to it") from error
    finally:
        if made and {path.name for path in root.iterdir()} <= {".lock"}:
            (root / ".lock").unlink(missing_ok=True)
            for path in made:
                path.rmdir()


def append(
    root: Path, submissions: Sequence[Submission], *, event: Literal["submitted", "withdrawn"], reason: str = ""
) -> list[LogEntry]:
    """Appends an entry for each submission, all or none, and returns them; raises UsageError for an invalid entry.

    A leaderboard without a .gitattributes gets one that makes Git keep the bytes of all files.

    Call it inside `write_lock`.
    """
    path = root / LOG
    entries = read(root)
    first = len(entries)
    for submission in submissions:
        entries.append(
            LogEntry(
                number=len(entries) + 1,
                date=today(),
                event=event,
                separator=submission.separator,
                revision=submission.revision,
                attempt=count_attempts(entries).get(submission.separator, 0) + (event == "submitted"),
                submission_sha256=text_digest(submission.path / HEADER),
                reason=reason,
                previous=_digest(entries[-1]) if entries else None,
            )
        )
    kept = path.read_text(encoding="utf-8").removesuffix("\n") + "\n" if first else ""
    with atomic_write(path) as temporary:
        added = "".join(_line(entry) + "\n" for entry in entries[first:])
        temporary.write_text(kept + added, encoding="utf-8", newline="\n")
        try:
            _parse(safe_io.load_json_lines(temporary))
        except (StoreError, ValueError) as error:
            raise UsageError(
                f"expected an entry that the log may hold, found that it would break the log: {error}"
            ) from error
    if not (attributes := root / ATTRIBUTES).exists():
        attributes.write_text(_ATTRIBUTES_TEXT, encoding="utf-8", newline="\n")
    return entries[first:]


def text_digest(path: Path) -> str:
    """Returns the SHA-256 of a text file with LF line ends, even if Git has converted them."""
    return sha256(safe_io.read_text(path).replace("\r\n", "\n").encode())


def withdraw(root: Path, submission: Submission, reason: str) -> LogEntry:
    """Records that a submission is withdrawn; its row stays, marked as such, and still counts as an attempt."""
    if not reason.strip():
        raise UsageError("expected a reason for the withdrawal, found none")
    with write_lock(root):
        if (submission.separator, submission.revision) not in active_submissions(read(root)):
            raise UsageError(
                f"expected a submission that stands, found {submission.separator} {submission.revision}, which was "
                "withdrawn already or never logged"
            )
        (entry,) = append(root, [submission], event="withdrawn", reason=reason)
    return entry


def active_submissions(entries: Sequence[LogEntry]) -> set[tuple[str, str]]:
    """Returns separator and revision of everything that was submitted and not withdrawn."""
    found: set[tuple[str, str]] = set()
    for entry in entries:
        found = found | {entry.key} if entry.event == "submitted" else found - {entry.key}
    return found


def latest_revisions(entries: Sequence[LogEntry]) -> set[tuple[str, str]]:
    """Returns the last revision of each separator that is not withdrawn. Only these are ranked."""
    left = active_submissions(entries)
    found: dict[str, str] = {}
    for entry in entries:
        if entry.event == "submitted" and entry.key in left:
            found[entry.separator] = entry.revision
    return set(found.items())


def retired_submissions(root: Path) -> set[tuple[str, str]]:
    """Returns the withdrawn and superseded submissions, which are no longer ranked; none if the log is damaged."""
    try:
        entries = read(root)
    except StoreError:
        return set()
    return {entry.key for entry in entries} - latest_revisions(entries)


def count_attempts(entries: Sequence[LogEntry]) -> dict[str, int]:
    """Counts how often each separator was submitted, including submissions that were withdrawn."""
    found: dict[str, int] = {}
    for entry in entries:
        if entry.event == "submitted":
            found[entry.separator] = found.get(entry.separator, 0) + 1
    return found


def _line(entry: LogEntry) -> str:
    return dump_json(to_builtins(entry))


def _digest(entry: LogEntry) -> str:
    return sha256(_line(entry).encode())
