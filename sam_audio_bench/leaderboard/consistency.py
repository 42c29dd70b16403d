"""Checks across a whole leaderboard: its log, unexpected files, and metrics or mixtures that differ."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence, Set
from pathlib import Path

from sam_audio_bench.errors import StoreError
from sam_audio_bench.leaderboard import log, safe_io
from sam_audio_bench.leaderboard.board import BOARDS, read_boards
from sam_audio_bench.leaderboard.name_checks import look_alikes
from sam_audio_bench.leaderboard.previews import PREVIEWS, preview_problems
from sam_audio_bench.leaderboard.reported import reported_problems
from sam_audio_bench.leaderboard.score_checks import implied_mixture_scores
from sam_audio_bench.leaderboard.submission import HEADER, REPORTED, Submission, find_submissions, submission_folder

__all__ = ["leaderboard_problems"]

_CLOSE_DB = 1e-6  # tolerance between scores of one mixture computed on two machines


def leaderboard_problems(
    root: Path, submissions: Sequence[Submission], past: Set[tuple[str, str]], before: Sequence[object] = ()
) -> Iterator[tuple[str, str]]:
    """Yields place and description of every problem.

    Args:
        root: the leaderboard.
        submissions: its submissions that are valid on their own.
        past: separator and revision of withdrawn or superseded submissions, whose metrics may have other versions.
        before: entries of an earlier log, with which this one must begin.
    """
    yield from _unexpected_files(root)
    current = [one for one in submissions if (one.separator, one.revision) not in past]
    yield from _columns(current)
    yield from _mixtures(current)
    for name, other in look_alikes(sorted({one.separator for one in submissions})):
        yield name, f"expected a name that looks like no other, found one that looks like {other!r}"
    yield from reported_problems(root / "results")
    yield from preview_problems(root)
    try:
        read_boards(root)
    except StoreError as error:
        yield BOARDS, str(error)
    yield from ((log.LOG, what) for what in _logged(root, submissions, before))


def _unexpected_files(root: Path) -> Iterator[tuple[str, str]]:
    """Finds files in ``results`` that are neither submissions nor reported numbers, and symbolic links."""
    for name in ("results", "site", BOARDS, PREVIEWS, log.LOG):
        if (root / name).is_symlink():
            yield name, "expected a plain file or folder, found a link"
    for folder in _entries(root / "results"):
        if folder.name == REPORTED and folder.is_dir(follow_symlinks=False):
            files = _entries(Path(folder.path))
            strange = [one for one in files if not (one.name.endswith(".json") and one.is_file(follow_symlinks=False))]
        elif folder.is_dir(follow_symlinks=False):
            revisions = _entries(Path(folder.path))
            strange = [one for one in revisions if not (one.is_dir(follow_symlinks=False) and _has_header(one))]
        else:
            strange = [folder]
        for one in strange:
            yield (
                Path(one.path).relative_to(root).as_posix(),
                f"expected folders of submissions, with {HEADER}, and numbers of papers, found neither",
            )


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    if folder.is_symlink() or not folder.is_dir():
        return []
    with os.scandir(folder) as found:
        return sorted(found, key=lambda entry: entry.name)


def _has_header(entry: os.DirEntry[str]) -> bool:
    return os.path.lexists(Path(entry.path) / HEADER)


def _columns(submissions: Sequence[Submission]) -> Iterator[tuple[str, str]]:
    first: dict[str, Submission] = {}
    for submission in submissions:
        for name, record in submission.metrics.items():
            known = first.setdefault(name, submission).metrics[name]
            if different := [change.field for change in record.differences(known)]:
                yield (
                    f"{submission.separator}/{submission.revision}: {name}",
                    f"expected the {', '.join(different)} of {first[name].separator}, found others: "
                    "score both in the same way",
                )


def _mixtures(submissions: Sequence[Submission]) -> Iterator[tuple[str, str]]:
    """Checks that score minus improvement, which is the score of the mixture, is the same for all submissions."""
    known: dict[tuple[str, str, str], tuple[str, float]] = {}
    for submission in submissions:
        own = implied_mixture_scores(submission.scores)
        bad = [key for key, value in own.items() if abs(known.get(key, ("", value))[1] - value) > _CLOSE_DB]
        if bad:
            task, metric, item = bad[0]
            yield (
                f"{submission.separator}/{submission.revision}: {task}",
                f"expected the mixtures that {known[bad[0]][0]} was given, found that {metric} less {metric}_i "
                f"differs for {len(bad)} items, such as {item}",
            )
        known = {**{key: (submission.separator, value) for key, value in own.items()}, **known}


def _logged(root: Path, submissions: Sequence[Submission], before: Sequence[object]) -> Iterator[str]:
    try:
        entries = log.read(root)
    except StoreError as error:
        yield str(error)
        return
    yield from log.append_only_problems(entries, before)
    digests = {entry.key: entry.submission_sha256 for entry in entries if entry.event == "submitted"}
    for submission in submissions:
        key = submission.separator, submission.revision
        if key not in digests:
            yield (
                f"expected an entry for {key[0]} {key[1]}, found none: an interrupted submit leaves that; remove the "
                "folder and use `sabench leaderboard submit`"
            )
        elif digests[key] not in (
            safe_io.file_digest(submission.path / HEADER),
            log.text_digest(submission.path / HEADER),
        ):
            yield f"expected {key[0]} {key[1]} as it was submitted, found another {HEADER}: submit a new revision"
    there = {path.relative_to(root / "results") for path in find_submissions(root / "results")}
    for separator, revision in digests:
        if submission_folder(Path(), separator, revision) not in there:
            yield f"expected the folder of {separator} {revision}, found none: withdrawing keeps the row"
