"""Validation of a submission; checks across a whole leaderboard are in `consistency`.

A submission is read as data: size-limited, schema-checked, never executed, and nothing is written. Each problem states
the place, what was expected and what was found. The content is checked after the files themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sam_audio_bench.cards import MetricCard
from sam_audio_bench.errors import BenchError, Precondition, StoreError, UsageError
from sam_audio_bench.files import case_sensitive_name, safe_name
from sam_audio_bench.leaderboard import log, safe_io
from sam_audio_bench.leaderboard.attributes import ATTRIBUTES, check_attributes
from sam_audio_bench.leaderboard.consistency import leaderboard_problems
from sam_audio_bench.leaderboard.item_lists import load_item_list
from sam_audio_bench.leaderboard.name_checks import name_fault
from sam_audio_bench.leaderboard.records import Aggregate, SchemaError
from sam_audio_bench.leaderboard.score_checks import check_task, format_examples, items_without_estimate
from sam_audio_bench.leaderboard.submission import (
    HEADER,
    SCORES,
    Submission,
    compute_aggregates,
    find_submissions,
    separator_kind,
    submission_folder,
)
from sam_audio_bench.plugins import find_card
from sam_audio_bench.run.store import ESTIMATE_PARTS

if TYPE_CHECKING:
    from sam_audio_bench.leaderboard.rescoring import RescoringResult

__all__ = ["ValidationProblem", "ValidationReport", "check_submission", "validate"]

_CLOSE = 1e-9  # tolerance of means recomputed from the same rows


@dataclass(frozen=True, slots=True)
class ValidationProblem:
    """One violation of the rules for submissions."""

    where: str
    what: str


@dataclass(kw_only=True)
class ValidationReport:
    """The result of a validation."""

    problems: list[ValidationProblem] = field(default_factory=list)
    submissions: int = 0
    rescored: dict[str, dict[str, float]] = field(default_factory=dict)  # metric -> largest difference, tolerance, n
    skipped: dict[str, str] = field(default_factory=dict)  # metric or task -> why it was not rescored

    @property
    def ok(self) -> bool:
        """Whether there are no problems."""
        return not self.problems

    def to_json(self) -> dict[str, object]:
        """Returns the value that ``--json`` prints."""
        return {
            "ok": self.ok,
            "problems": [{"where": problem.where, "what": problem.what} for problem in self.problems],
            "submissions": self.submissions,
            "rescored": self.rescored,
            "skipped": self.skipped,
        }


def validate(
    path: Path, *, share: float | None = 0.05, seed: int = 0, audio: Path | None = None, since: Path | None = None,
    progress: Callable[[str, int, int], None] = lambda *_: None,
) -> ValidationReport:  # fmt: skip
    """Checks one submission, or a whole leaderboard.

    Args:
        path: a folder with submission.json, or one with ``results/``.
        share: share of each task's items whose available audio is rescored; None: no rescoring.
        seed: seed of that sample.
        audio: run folders with the audio of submissions that contain none.
        since: an earlier copy of the leaderboard, or of its log, whose entries this one must still have.
        progress: callback (label, done, total).

    Raises:
        Precondition: neither a submission nor a leaderboard at ``path``, or nothing at ``since``.
        UsageError: ``since`` with a single submission.
    """
    report = ValidationReport()
    if (path / HEADER).exists() or (path / HEADER).is_symlink():
        folders, root = [path], None
    elif (path / "results").is_dir():
        folders, root = find_submissions(path / "results"), path
    else:
        raise Precondition(
            f"expected a submission (with {HEADER}) or a leaderboard (with results/) in {path}, found none"
        )
    if since is not None and root is None:
        raise UsageError(f"expected a leaderboard with --since, found the submission {path}; its log lies higher up")
    before = [] if since is None else log.read_earlier(since)
    past = set() if root is None else log.retired_submissions(root)
    past_folders = set() if root is None else {submission_folder(root / "results", *key) for key in past}
    healthy = []
    for folder in folders:
        report.submissions += 1
        found, submission = check_submission(folder, past=folder in past_folders)
        report.problems += found
        if submission is not None and not found:
            healthy.append(submission)
            if share is not None and (submission.header.has_audio or audio is not None):
                _score_again(report, submission, share, seed, audio, progress)
    if root is not None:
        report.problems += [ValidationProblem(*found) for found in leaderboard_problems(root, healthy, past, before)]
    return report


def check_submission(
    folder: Path, *, moving: bool = False, past: bool = False
) -> tuple[list[ValidationProblem], Submission | None]:
    """Checks one submission without its audio; returns its problems, and the submission if it could be read.

    Args:
        folder: folder of the submission.
        moving: the submission is still in a staging folder, whose name is not checked.
        past: the submission is withdrawn or superseded, so that its metrics may have earlier versions.
    """
    where = folder.name if moving else f"{folder.parent.name}/{folder.name}"
    try:
        present = [path.relative_to(folder).as_posix() for path in safe_io.walk_files(folder)]
        submission = Submission.read(folder)
    except SchemaError as error:
        return [ValidationProblem(f"{where}/{HEADER} {place}", what) for place, what in error.violations], None
    except StoreError as error:
        return [ValidationProblem(where, str(error))], None
    found: list[tuple[str, str]] = []
    found += _place(submission, moving)
    try:
        found += _files(submission, present)
        if not found:
            for name in () if moving else {SCORES, ATTRIBUTES} & set(present):  # what `submit` wrote is trusted
                safe_io.check_decoding(folder / name)
            found += _content(submission, past)
    except StoreError as error:
        found.append(("files", str(error)))
    return [ValidationProblem(f"{where}: {place}", what) for place, what in found], submission


def _place(submission: Submission, moving: bool) -> Iterator[tuple[str, str]]:
    expected = submission_folder(Path(), submission.separator, submission.revision)
    if not moving and Path(submission.path.parent.name, submission.path.name) != expected:
        yield HEADER, f"expected the folder {expected}, by separator and revision, found another"
    pickers = [("picker", task.picker) for task in submission.header.tasks if task.picker]
    for what, name in (("name", submission.separator), ("revision", submission.revision), *pickers):
        if fault := name_fault(name):
            yield f"{HEADER} {what}", fault
    if len(submission.tasks) < len(submission.header.tasks):
        yield HEADER, "expected each task once, found one twice"
    if len(submission.metrics) < len(submission.header.metrics):
        yield HEADER, "expected each metric once, found one twice"
    oracle = submission.header.separator.oracle
    if (separator_kind(submission.separator, oracle) == "oracle") != oracle:
        yield HEADER, f"expected {submission.separator} to be marked as an oracle, found that it is not"


def _files(submission: Submission, present: list[str]) -> Iterator[tuple[str, str]]:
    """Checks the files and their digests against the header."""
    header = submission.header
    expected = {HEADER: "", SCORES: header.scores_sha256}
    if isinstance(header.attributes_sha256, str):
        expected[ATTRIBUTES] = header.attributes_sha256
    if header.has_audio:
        for label, answers in header.answers.items():
            expected |= {f"audio/{case_sensitive_name(label)}/{name}": digest for name, digest in answers.items()}
    for name in sorted(set(present) - set(expected)):
        yield name, "expected only files listed in submission.json, found this one"
    for name in sorted(set(expected) - set(present)):
        yield name, "expected this file, which submission.json lists, found none"
    for name in sorted(set(expected) & set(present) - {HEADER}):
        if safe_io.file_digest(submission.path / name) != expected[name]:
            yield name, "expected the SHA-256 that submission.json states, found another: the file was changed"
    strange = sorted(set(header.answers) - set(submission.tasks))
    if strange:
        yield HEADER, f"expected estimates of the tasks, found some of {', '.join(strange)}"


def _content(submission: Submission, past: bool) -> Iterator[tuple[str, str]]:
    cards, unknown = _cards(submission)
    yield from () if past else unknown
    yield from _metrics(submission, cards, past)
    scores = submission.scores
    names = sorted(set(scores["separator"]) - {submission.separator})
    if names:
        yield SCORES, f"expected rows of {submission.separator}, found some of {', '.join(names[:3])}"
    strange = sorted(set(scores["task"]) - set(submission.tasks))
    if strange:
        yield SCORES, f"expected rows of the tasks of {HEADER}, found some of {', '.join(strange[:3])}"
        return
    if strange := sorted(set(submission.attributes) - set(submission.tasks)):
        yield (
            ATTRIBUTES,
            f"expected attributes of items of the tasks of {HEADER}, found some of {format_examples(strange)}",
        )
    for label, task in submission.tasks.items():
        rows = scores[scores["task"] == label]
        items = None
        try:
            items = load_item_list(task)
        except BenchError as error:
            yield label, str(error)
        yield from check_task(label, task, rows, items, cards)
        known = set(rows["item"]) if items is None else set(items.groups)
        for what in check_attributes(submission.attributes.get(label, {}), known):
            yield f"{label}: {ATTRIBUTES}", what
        yield from _digests(label, submission.header.answers.get(label, {}), known - items_without_estimate(rows))
    yield from _aggregates(submission)


def _digests(label: str, stated: Mapping[str, str], answered: Set[str]) -> Iterator[tuple[str, str]]:
    """Checks that every estimate has digests; without them it could be replaced later."""
    parts = {name.rpartition(".")[0] for name in stated}
    names = {item: (case_sensitive_name(item), safe_name(item)) for item in answered}
    bare = sorted(
        item
        for item, own in names.items()
        if not any({f"{one}.{part}" for part in ESTIMATE_PARTS} <= parts for one in own)
    )
    if bare:
        yield (
            f"{label}: answers",
            f"expected the SHA-256 of target and residual of every estimate, found none for {format_examples(bare)}",
        )


def _cards(submission: Submission) -> tuple[dict[str, MetricCard], list[tuple[str, str]]]:
    """Finds the cards of the submission's metrics, and why some have none here."""
    found: dict[str, MetricCard] = {}
    unknown = []
    for name in submission.metrics:
        reason = (
            f"expected a metric of the catalogue or of an installed plugin, found {name}; install the package that "
            "provides it"
        )
        try:
            card = find_card("metrics", name)
        except Precondition as error:
            card, reason = None, str(error)
        if card is None:
            unknown.append((f"{HEADER}: {name}", reason))
        else:
            found[name] = card
    return found, unknown


def _metrics(submission: Submission, cards: Mapping[str, MetricCard], past: bool) -> Iterator[tuple[str, str]]:
    """Checks versions against this installation: a score of another version is another quantity."""
    for name, card in cards.items():
        record = submission.metrics[name]
        if past and record.version < card.version:
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
    for label, task in submission.tasks.items():
        if len(set(task.metrics)) < len(task.metrics):
            yield f"{HEADER}: {label}", "expected each metric once, found one twice"
    used = {name for task in submission.tasks.values() for name in task.metrics}
    if used != set(submission.metrics):
        yield (
            HEADER,
            f"expected the metrics of its tasks, found {', '.join(sorted(used ^ set(submission.metrics)))} apart",
        )


def _aggregates(submission: Submission) -> Iterator[tuple[str, str]]:
    stated = {record.key: record for record in submission.header.aggregates}
    computed = {record.key: record for record in compute_aggregates(submission.scores, submission.metrics)}
    if len(stated) < len(submission.header.aggregates) or set(stated) != set(computed):
        yield HEADER, "expected one aggregate per task, picker and metric that has rows, found others"
    for name in sorted(set(stated) & set(computed)):
        for part in Aggregate.__struct_fields__:
            found, expected = getattr(stated[name], part), getattr(computed[name], part)
            if not _same(found, expected):
                yield (
                    f"aggregate of {' '.join(filter(None, name))}",
                    f"expected {part} {expected}, computed from the rows, found {found}",
                )


def _same(stated: object, expected: object) -> bool:
    if isinstance(stated, float | int) and isinstance(expected, float | int):
        return abs(stated - expected) <= _CLOSE * max(1.0, abs(expected))
    return stated == expected


def _score_again(
    report: ValidationReport, submission: Submission, share: float, seed: int, audio: Path | None,
    progress: Callable[[str, int, int], None],
) -> None:  # fmt: skip
    from sam_audio_bench.leaderboard.rescoring import rescore

    found: RescoringResult = rescore(submission, share, seed, audio, progress)
    where = f"{submission.path.parent.name}/{submission.path.name}: "
    report.problems += [ValidationProblem(where + place, what) for place, what in found.problems]
    report.skipped |= found.skipped
    for name, difference in found.metrics.items():
        known = report.rescored.setdefault(name, {"largest": 0.0, "tolerance": difference.tolerance, "scores": 0})
        known["largest"] = max(known["largest"], difference.largest)
        known["scores"] += difference.scores
