"""Everything that can be wrong with a submission, or with a leaderboard as a whole.

A submission is read as data: bounded, schema-checked, never executed, and nothing is written. Each problem names the
place and says what was expected and what was found. Checks that need a healthy file come after those of its health.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam_audio_bench import registry
from sam_audio_bench.errors import BenchError, Precondition, StoreError
from sam_audio_bench.files import dump_json, safe_name
from sam_audio_bench.leaderboard import log, reading
from sam_audio_bench.leaderboard.labels import folder_of, kind_of
from sam_audio_bench.leaderboard.pinned import item_list
from sam_audio_bench.leaderboard.reported import reported_problems
from sam_audio_bench.leaderboard.rows import check_task, improvements
from sam_audio_bench.leaderboard.submission import HEADER, SCORES, Submission, aggregates, find_submissions
from sam_audio_bench.metrics.catalogue import CARDS, MetricCard

if TYPE_CHECKING:
    from sam_audio_bench.leaderboard.rescoring import Rescored

__all__ = ["Problem", "Report", "check_leaderboard", "check_submission", "validate"]

_CLOSE = 1e-9  # of means that are formed anew from the same rows
_CLOSE_DB = 1e-6  # of scores of one mixture, formed on two machines


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that a submission may not be."""

    where: str
    what: str


@dataclass(kw_only=True)
class Report:
    """What a validation found."""

    problems: list[Problem] = field(default_factory=list)
    submissions: int = 0
    rescored: dict[str, dict[str, float]] = field(default_factory=dict)  # metric -> largest difference, tolerance, n
    skipped: dict[str, str] = field(default_factory=dict)  # metric -> why it was not scored again

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        """What ``--json`` prints."""
        return {
            "ok": self.ok,
            "problems": [{"where": problem.where, "what": problem.what} for problem in self.problems],
            "submissions": self.submissions,
            "rescored": self.rescored,
            "skipped": self.skipped,
        }


def validate(
    path: Path, *, share: float | None = 0.05, seed: int = 0, audio: Path | None = None
) -> Report:  # fmt: skip
    """Checks one submission, or a leaderboard with everything in it.

    Args:
        path: a folder with submission.json, or one with ``results/``.
        share: of the items of each task whose audio is scored again where there is audio; None: none.
        seed: of that sample.
        audio: run folders that hold the audio of submissions without their own.

    Raises:
        Precondition: neither a submission nor a leaderboard is there.
    """
    report = Report()
    if (path / HEADER).exists() or (path / HEADER).is_symlink():
        folders, root = [path], None
    elif (path / "results").is_dir():
        folders, root = find_submissions(path / "results"), path
    else:
        raise Precondition(
            f"expected a submission (with {HEADER}) or a leaderboard (with results/) in {path}, found none"
        )
    healthy = []
    for folder in folders:
        report.submissions += 1
        found, submission = check_submission(folder)
        report.problems += found
        if submission is not None and not found:
            healthy.append(submission)
            if share is not None and (submission.header["has_audio"] or audio is not None):
                _score_again(report, submission, share, seed, audio)
    if root is not None:
        report.problems += check_leaderboard(root, healthy)
    return report


def check_submission(folder: Path, *, moving: bool = False) -> tuple[list[Problem], Submission | None]:
    """Problems of one submission without its audio, and the submission where it could be read.

    Args:
        folder: of the submission.
        moving: it is not in its place yet, so its folder's names do not count.
    """
    where = folder.name if moving else f"{folder.parent.name}/{folder.name}"
    try:
        present = [path.relative_to(folder).as_posix() for path in reading.files_below(folder)]
        submission = Submission.read(folder)
    except StoreError as error:
        return [Problem(where, str(error))], None
    broken = reading.violations(submission.header, "submission")
    if broken:
        return [Problem(f"{where}/{HEADER} {place}", what) for place, what in broken], None
    found: list[tuple[str, str]] = []
    found += _place(submission, moving)
    found += _files(submission, present)
    if not found:
        try:
            found += _content(submission)
        except StoreError as error:
            found.append((SCORES, str(error)))
    return [Problem(f"{where}: {place}", what) for place, what in found], submission


def _place(submission: Submission, moving: bool) -> Iterator[tuple[str, str]]:
    wanted = folder_of(Path(), submission.separator, submission.revision)
    if not moving and Path(submission.path.parent.name, submission.path.name) != wanted:
        yield HEADER, f"expected the folder {wanted}, as separator and revision say, found another"
    if len(submission.tasks) < len(submission.header["tasks"]):
        yield HEADER, "expected each task once, found one twice"
    if len(submission.metrics) < len(submission.header["metrics"]):
        yield HEADER, "expected each metric once, found one twice"
    oracle = bool(submission.header["separator"]["oracle"])
    if (kind_of(submission.separator, oracle) == "oracle") != oracle:
        yield HEADER, f"expected {submission.separator} to be called an oracle, found that it is not"


def _files(submission: Submission, present: list[str]) -> Iterator[tuple[str, str]]:
    """The files are those that the header names, and their digests are its digests."""
    header = submission.header
    wanted = {HEADER: "", SCORES: header["scores_sha256"]}
    if header["has_audio"]:
        for label, answers in header["answers"].items():
            wanted |= {f"audio/{safe_name(label)}/{name}": digest for name, digest in answers.items()}
    for name in sorted(set(present) - set(wanted)):
        yield name, "expected only files that submission.json names, found this one"
    for name in sorted(set(wanted) - set(present)):
        yield name, "expected this file, which submission.json names, found none"
    for name in sorted(set(wanted) & set(present) - {HEADER}):
        if reading.digest(submission.path / name) != wanted[name]:
            yield name, "expected the SHA-256 that submission.json states, found another: the file was changed"
    strange = sorted(set(header["answers"]) - set(submission.tasks))
    if strange:
        yield HEADER, f"expected answers to the tasks, found some to {', '.join(strange)}"


def _content(submission: Submission) -> Iterator[tuple[str, str]]:
    yield from _metrics(submission)
    scores = submission.scores
    names = sorted(set(scores["separator"]) - {submission.separator})
    if names:
        yield SCORES, f"expected rows of {submission.separator}, found some of {', '.join(names[:3])}"
    strange = sorted(set(scores["task"]) - set(submission.tasks))
    if strange:
        yield SCORES, f"expected rows of the tasks of {HEADER}, found some of {', '.join(strange[:3])}"
    for label, task in submission.tasks.items():
        try:
            items = item_list(task)
        except BenchError as error:
            yield label, str(error)
            continue
        yield from check_task(label, task, scores[scores["task"] == label], items, submission.metrics)
    yield from _aggregates(submission)


def _metrics(submission: Submission) -> Iterator[tuple[str, str]]:
    """Versions are those of this installation: a score of another version is another quantity."""
    plugins = registry.plugins("metrics")
    for name, record in submission.metrics.items():
        card: MetricCard | None = CARDS.get(name)
        if card is None:
            if name not in plugins:
                yield HEADER, f"expected metrics that exist, found {name}"
            continue
        for key in ("version", "unit", "higher_is_better"):
            if getattr(record, key) != getattr(card, key):
                yield (
                    f"{HEADER}: {name}",
                    (
                        f"expected {key} {getattr(card, key)}, found {getattr(record, key)}: score the kept audio "
                        f"again with `sabench score RUN --changed` and submit that"
                    ),
                )
    used = {name for task in submission.tasks.values() for name in task["metrics"]}
    if used != set(submission.metrics):
        yield (
            HEADER,
            f"expected the metrics of its tasks, found {', '.join(sorted(used ^ set(submission.metrics)))} apart",
        )


def _aggregates(submission: Submission) -> Iterator[tuple[str, str]]:
    def key(record: Mapping[str, Any]) -> tuple[str, str, str]:
        return record["task"], record["picked_by"] or "", record["metric"]

    stated = {key(record): record for record in submission.header["aggregates"]}
    computed = {key(record): record for record in aggregates(submission.scores, submission.metrics)}
    if len(stated) < len(submission.header["aggregates"]) or set(stated) != set(computed):
        yield HEADER, "expected one aggregate a task, picker and metric that has rows, found others"
    for name in sorted(set(stated) & set(computed)):
        for part, wanted in computed[name].items():
            if not _same(stated[name][part], wanted):
                yield (
                    f"aggregate of {' '.join(filter(None, name))}",
                    (f"expected {part} {wanted}, computed from the rows, found {stated[name][part]}"),
                )


def _same(stated: Any, wanted: Any) -> bool:
    if isinstance(stated, float | int) and isinstance(wanted, float | int):
        return abs(stated - wanted) <= _CLOSE * max(1.0, abs(wanted))
    return bool(stated == wanted)


def check_leaderboard(root: Path, submissions: list[Submission]) -> list[Problem]:
    """Problems that show only when submissions are seen together: the log, columns that differ, other mixtures."""
    return [
        *(Problem(where, what) for where, what in _columns(submissions)),
        *(Problem(where, what) for where, what in _mixtures(submissions)),
        *(Problem(where, what) for where, what in reported_problems(root / "results")),
        *(Problem(log.LOG, what) for what in _logged(root, submissions)),
    ]


def _columns(submissions: list[Submission]) -> Iterator[tuple[str, str]]:
    first: dict[str, Submission] = {}
    for submission in submissions:
        for name, record in submission.metrics.items():
            known = first.setdefault(name, submission).metrics[name]
            if dump_json(known) != dump_json(record):
                different = [key for key in record._fields if getattr(record, key) != getattr(known, key)]
                yield (
                    f"{submission.separator}/{submission.revision}: {name}",
                    (
                        f"expected the {', '.join(different)} of {first[name].separator}, found others: "
                        "score both in the same way"
                    ),
                )


def _mixtures(submissions: list[Submission]) -> Iterator[tuple[str, str]]:
    """A score less its improvement is the mixture's score, the same for all."""
    known: dict[tuple[str, str, str], tuple[str, float]] = {}
    for submission in submissions:
        own = improvements(submission.scores)
        bad = [key for key, value in own.items() if abs(known.get(key, ("", value))[1] - value) > _CLOSE_DB]
        if bad:
            task, metric, item = bad[0]
            yield (
                f"{submission.separator}/{submission.revision}: {task}",
                (
                    f"expected the mixtures that {known[bad[0]][0]} was given, found that {metric} less {metric}_i "
                    f"differs for {len(bad)} items, such as {item}"
                ),
            )
        known = {**{key: (submission.separator, value) for key, value in own.items()}, **known}


def _logged(root: Path, submissions: list[Submission]) -> Iterator[str]:
    try:
        entries = log.read(root)
    except StoreError as error:
        yield str(error)
        return
    digests = {
        (entry["separator"], entry["revision"]): entry["submission_sha256"]
        for entry in entries
        if entry["event"] == "submitted"
    }
    for submission in submissions:
        key = submission.separator, submission.revision
        if key not in digests:
            yield f"expected an entry for {key[0]} {key[1]}, found none: use `sabench leaderboard submit`"
        elif reading.digest(submission.path / HEADER) != digests[key]:
            yield f"expected {key[0]} {key[1]} as it was submitted, found another {HEADER}: submit a new revision"
    there = {path.relative_to(root / "results") for path in find_submissions(root / "results")}
    for separator, revision in digests:
        if folder_of(Path(), separator, revision) not in there:
            yield f"expected the folder of {separator} {revision}, found none: withdrawing keeps the row"


def _score_again(
    report: Report, submission: Submission, share: float, seed: int, audio: Path | None
) -> None:  # fmt: skip
    from sam_audio_bench.leaderboard.rescoring import rescore

    found: Rescored = rescore(submission, share, seed, audio)
    where = f"{submission.path.parent.name}/{submission.path.name}: "
    report.problems += [Problem(where + place, what) for place, what in found.problems]
    report.skipped |= found.skipped
    for name, difference in found.metrics.items():
        known = report.rescored.setdefault(name, {"largest": 0.0, "tolerance": difference.tolerance, "scores": 0})
        known["largest"] = max(known["largest"], difference.largest)
        known["scores"] += difference.scores
