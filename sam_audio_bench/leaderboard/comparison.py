"""Comparison of new submissions with earlier ones by paired differences, as a comment for a review.

A new revision is compared with the previous one, and a new separator with the baseline ``mixture``. The statistics are
those of `sabench compare`, computed from submitted scores instead of runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sam_audio_bench.cards import MAIN_METRIC
from sam_audio_bench.errors import StoreError
from sam_audio_bench.leaderboard import log
from sam_audio_bench.leaderboard.records import LogEntry
from sam_audio_bench.leaderboard.submission import Submission, submission_folder
from sam_audio_bench.render.numbers import number, p_value, with_interval
from sam_audio_bench.render.text import markdown_text, one_line, unit_and_direction
from sam_audio_bench.run.compare import ComparisonRow, compare_scores
from sam_audio_bench.stats.paired import holm
from sam_audio_bench.stats.summary import ItemScore, compute_item_scores

__all__ = ["SubmissionComparison", "compare_new", "compare_submissions", "format_comment"]

_BASELINE = "mixture"
_LONGEST = 60_000  # letters; GitHub takes 65,536
_SHOWN = 20  # notes in a short comment
_HEADS = ("task", "metric", "before", "now", "difference", "p (Holm)", "is", "wins-ties-losses", "items")


@dataclass(frozen=True, kw_only=True)
class SubmissionComparison:
    """A new submission compared with an older one."""

    new: Submission
    old: Submission | None  # None: there is nothing to compare with
    rows: tuple[ComparisonRow, ...]  # differences are new minus old
    notes: tuple[str, ...]  # what cannot be compared, and why


def compare_new(board: Path, before: Path) -> list[SubmissionComparison]:
    """Compares every submission that is missing from an earlier copy of the leaderboard, or of its log.

    Raises:
        StoreError: the log does not continue the earlier one. Precondition: nothing at ``before``.
    """
    entries, earlier = log.read(board), log.read_earlier(before)
    if problems := log.append_only_problems(entries, earlier):
        raise StoreError(f"expected a log that goes on from {before}, found: {problems[0]}")
    known = log.latest_revisions(entries[: len(earlier)])
    added = [entry.key for entry in entries[len(earlier) :] if entry.event == "submitted"]
    standing = log.active_submissions(entries)
    return [_compared(board, key, dict(known) | _baseline(entries)) for key in added if key in standing]


def _baseline(entries: Sequence[LogEntry]) -> dict[str, str]:
    return {name: revision for name, revision in log.latest_revisions(entries) if name == _BASELINE}


def _compared(board: Path, key: tuple[str, str], known: Mapping[str, str]) -> SubmissionComparison:
    name, _ = key
    against = name if name in known and (name, known[name]) != key else _BASELINE
    new = Submission.read(submission_folder(board / "results", *key))
    if against not in known or (against, known[against]) == key:
        return SubmissionComparison(new=new, old=None, rows=(), notes=())
    return compare_submissions(Submission.read(submission_folder(board / "results", against, known[against])), new)


def compare_submissions(old: Submission, new: Submission) -> SubmissionComparison:
    """Compares two submissions on the tasks and metrics that both have in the same version."""
    notes: list[str] = []
    means = []
    for one in (old, new):
        units = {metric: record.unit for metric, record in one.metrics.items()}
        found = compute_item_scores(one.scores, units)
        means.append({(task, metric): items for (task, _, metric), items in found.items()})
    rows = []
    for (task, metric), items in means[1].items():
        record = new.metrics[metric]
        if why := _unavailable_reason(old, new, task, metric, means[0]):
            notes.append(f"{metric} on {task}: {why}")
            continue
        rows.append(compare_scores(task, record, means[0][task, metric], items))
    adjusted = holm([row.p for row in rows])
    corrected = tuple(replace(row, p_holm=p) for row, p in zip(rows, adjusted, strict=True))
    return SubmissionComparison(new=new, old=old, rows=corrected, notes=tuple(notes))


def _unavailable_reason(
    old: Submission, new: Submission, task: str, metric: str, means: Mapping[tuple[str, str], Mapping[str, ItemScore]]
) -> str:
    """Returns why a metric on a task cannot be compared between two submissions; "" if it can."""
    if (task, metric) not in means:
        return f"not of {old.separator} {old.revision}"
    changes = old.metrics[metric].differences(new.metrics[metric])
    if changes:
        return str(changes[0])
    if (old.tasks[task].ids_sha256, old.tasks[task].data_revision) != (
        new.tasks[task].ids_sha256, new.tasks[task].data_revision
    ):  # fmt: skip
        return "of other items or data"
    return ""


def format_comment(found: Sequence[SubmissionComparison]) -> str:
    """Formats comparisons as Markdown for a pull request; untrusted texts are escaped.

    A text that is too long for a comment on GitHub is reduced to the main metric, and says so.
    """
    if not found:
        return "No new submission.\n"
    text = "\n".join(_section(one) for one in found)
    if len(text) <= _LONGEST:
        return text
    return "\n".join([*(_section(one, short=True) for one in found), "Other metrics are left out: too long.\n"])


def _section(one: SubmissionComparison, *, short: bool = False) -> str:
    title = f"### {_name(one.new)}\n"
    if one.old is None:
        return f"{title}\nNothing to compare with: no earlier revision, and no submission of {_BASELINE}.\n"
    lines = [title, f"Beside {_name(one.old)}; differences are new minus old, on items that both have.\n"]
    main = [row for row in one.rows if row.metric == MAIN_METRIC]
    if main:
        lines += [*_table(main), ""]
    if others := [row for row in one.rows if row.metric != MAIN_METRIC and not short]:
        lines += ["<details><summary>Other metrics</summary>\n", *_table(others), "\n</details>\n"]
    return "\n".join([*lines, *(f"* {_code(note)}" for note in one.notes[: _SHOWN if short else None]), ""])


def _table(rows: list[ComparisonRow]) -> list[str]:
    lines = [f"| {' | '.join(_HEADS)} |", "| --- " * len(_HEADS) + "|"]
    for row in rows:
        metric = f"{row.metric} {unit_and_direction(row.unit, row.higher_is_better)}"
        cells = (
            metric, number(row.a), number(row.b), with_interval(row.difference, row.ci_low, row.ci_high),
            p_value(row.p_holm), row.verdict() or "not tested", f"{row.wins}-{row.ties}-{row.losses}",
            f"{row.n_ok}/{row.n}",
        )  # fmt: skip
        task = _code(row.task).replace("|", "\\|")  # an untrusted name: it must not mention people or become a link
        lines.append(f"| {' | '.join([task, *map(markdown_text, cells)])} |")
    return lines


def _name(one: Submission) -> str:
    return _code(f"{one.separator} {one.revision}")


def _code(text: str) -> str:
    """Formats a text as code, in which nothing is a link or mentions anybody."""
    return f"`{one_line(text).replace('`', chr(39))}`"
