"""Adds finished runs to a leaderboard as submissions, atomically."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pyarrow
from msgspec import UNSET, structs
from pyarrow import parquet

from sam_audio_bench.errors import Precondition, StoreError, UsageError
from sam_audio_bench.files import case_sensitive_name, dump_json, sha256, write_json
from sam_audio_bench.leaderboard import attributes, log, safe_io
from sam_audio_bench.leaderboard.card import Card, build_card
from sam_audio_bench.leaderboard.name_checks import look_alikes, name_fault
from sam_audio_bench.leaderboard.records import (
    SeparatorRecord,
    SubmissionRecord,
    SubmittedMetric,
    SubmittedTask,
)
from sam_audio_bench.leaderboard.submission import (
    HEADER,
    REPORTED,
    SCORES,
    Submission,
    compute_aggregates,
    metric_records,
    submission_folder,
)
from sam_audio_bench.leaderboard.validate import ValidationProblem, check_submission
from sam_audio_bench.plugins import find_card
from sam_audio_bench.records import ESTIMATE_PARTS, MetricRecord, StoredEstimate, to_builtins
from sam_audio_bench.render.text import pluralize
from sam_audio_bench.run.remote import find_runs
from sam_audio_bench.run.store import SCORE_COLUMNS, SCORE_TYPES, RunFolder
from sam_audio_bench.separators.catalogue import BASELINES
from sam_audio_bench.stats.cost import cost_of
from sam_audio_bench.types import Status

__all__ = ["SubmitResult", "submit"]

_SHOWN = 5  # problems in a message
_DIGITS = 12  # of a digest used as a revision


@dataclass(frozen=True, kw_only=True)
class SubmitResult:
    """A submission that was, or would be, added to a leaderboard."""

    folder: Path
    header: SubmissionRecord
    size: int  # bytes
    written: bool
    note: str = ""  # why it was not written


def submit(
    runs: Sequence[Path | str], to: Path, *, card: Path | None = None, revision: str | None = None,
    with_audio: bool = False, dry_run: bool = False, tell: Callable[[str], None] | None = None,
) -> list[SubmitResult]:  # fmt: skip
    """Adds the separators of finished runs to a leaderboard, each as one submission; other runs are skipped.

    A baseline that the leaderboard already has with these tasks and metrics is skipped too, since `sabench eval` always
    runs ``mixture``.

    Args:
        runs: run folders, or folders that contain them.
        to: the leaderboard, with ``results/`` and ``log.jsonl``; created if needed.
        card: TOML or JSON that describes the separator; not needed for built-in ones.
        revision: revision of the separator; None: that of its model, or else the digest of its weights or estimates.
        with_audio: include the audio, so that anyone can recompute the scores.
        dry_run: check everything, write nothing.
        tell: called with a sentence about each run that is skipped because it is unfinished, covers part of a task, or
            has a task without a card; and about attributes that are left out.

    Raises:
        UsageError: no run that can be submitted, or runs that cannot be combined. Precondition: no run, or a submission
            that already exists. StoreError: a run whose files are damaged or do not pass the validation.
    """
    say = tell or (lambda _: None)
    folders = _whole([RunFolder.open(path) for path in find_runs(runs)], say)
    separators: dict[str, list[RunFolder]] = {}
    for folder in sorted(folders, key=_label):
        separators.setdefault(folder.header.model.name, []).append(folder)
    names = [name for name in separators if name not in BASELINES]
    if (card or revision) and len(names) > 1:
        raise UsageError(f"expected runs of one separator with --card or --revision, found {', '.join(names)}")
    with (
        nullcontext() if dry_run else log.write_lock(to),
        tempfile.TemporaryDirectory(prefix=".submitting-", dir=None if dry_run else to) as temporary,
    ):
        staged = []
        for name, own in separators.items():
            goal, file = Path(temporary) / case_sensitive_name(name), None if name in BASELINES else card
            staged.append((_stage(goal, name, own, to, file, revision, say, with_audio=with_audio), goal))
        if dry_run:
            return [replace(one, written=False, note=one.note or "dry run") for one, _ in staged]
        _publish(to, [(one, goal) for one, goal in staged if one.written])
    return [one for one, _ in staged]


def _stage(
    goal: Path, name: str, folders: Sequence[RunFolder], to: Path, card: Path | None, revision: str | None,
    say: Callable[[str], None], *, with_audio: bool,
) -> SubmitResult:  # fmt: skip
    """Writes a submission to a staging folder and checks it."""
    _check_name(name, to)
    answers = {_label(folder): _estimate_digests(folder) for folder in folders}
    header = _header(name, folders, build_card(name, card), answers, revision, with_audio=with_audio)
    known = attributes.to_parquet({_label(folder): attributes.run_attributes(folder, say) for folder in folders})
    if known:
        header = structs.replace(header, attributes_sha256=sha256(known))
    if fault := name_fault(header.separator.revision):
        raise UsageError(f"revision of {name}: {fault}; state another one with --revision")
    place = submission_folder(to / "results", name, header.separator.revision)
    earlier = sorted(place.parent.glob(f"*/{HEADER}"))
    if name in BASELINES and any(_covers(Submission.read(path.parent).header, header) for path in earlier):
        note = f"{name} is on the leaderboard already"
        return SubmitResult(folder=earlier[-1].parent, header=header, size=0, written=False, note=note)
    if place.exists():
        header = _next_revision(place, header, chosen=revision is not None)
        place = submission_folder(to / "results", name, header.separator.revision)
    _write(goal, header, folders, known)
    problems, submission = check_submission(goal, moving=True)
    if problems or submission is None:
        raise StoreError(_explain(name, problems))
    size = sum(path.stat().st_size for path in safe_io.walk_files(goal))
    return SubmitResult(folder=place, header=submission.header, size=size, written=True)


def _check_name(name: str, to: Path) -> None:
    """Raises UsageError for a name that readers could mistake for another one."""
    if case_sensitive_name(name) == REPORTED:
        raise UsageError(f"expected another name than {name!r}, which is the folder of reported numbers")
    if fault := name_fault(name):
        raise UsageError(f"{fault}; the attribute `name` of a separator sets its name")
    known = sorted({entry.separator for entry in log.read(to)} - {name})
    if other := dict(look_alikes([*known, name])).get(name):
        raise UsageError(f"expected a name that looks like no other, found {name!r} where {other!r} is known")


def _publish(to: Path, staged: Sequence[tuple[SubmitResult, Path]]) -> None:
    """Moves everything to its final folder, then logs it in one step; an earlier failure undoes everything."""
    before = _content(to / log.LOG)
    try:
        for one, folder in staged:
            one.folder.parent.mkdir(parents=True, exist_ok=True)
            folder.rename(one.folder)
        if staged:
            log.append(to, [Submission.read(one.folder) for one, _ in staged], event="submitted")
    except BaseException:
        if _content(to / log.LOG) == before:
            for one, folder in staged:
                _undo(one.folder, folder, to)
        raise


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def _undo(place: Path, staged: Path, to: Path) -> None:
    """Removes a submission that was moved, and the parent folders that are then empty."""
    if not staged.exists():
        shutil.rmtree(place, ignore_errors=True)
    for folder in (place.parent, to / "results"):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _covers(known: SubmissionRecord, header: SubmissionRecord) -> bool:
    """Whether a submission has all tasks and metrics of another one, computed in the same way."""
    columns = [{(one.task, one.metric) for one in each.aggregates} for each in (known, header)]
    same = metric_records(known.metrics).items() >= metric_records(header.metrics).items()
    return same and columns[0] >= columns[1] and not _adds_attributes(known, header)


def _adds_attributes(known: SubmissionRecord, header: SubmissionRecord) -> bool:
    """Whether a submission has attributes of its items and an earlier one has none."""
    return known.attributes_sha256 is UNSET and header.attributes_sha256 is not UNSET


def _next_revision(place: Path, header: SubmissionRecord, *, chosen: bool) -> SubmissionRecord:
    """Names the same revision with other scores, as after `sabench score`, or with new attributes ``<revision>+2`` etc.

    Raises:
        Precondition: the same scores were already submitted, or the user stated the revision.
    """
    base, number, revision = header.separator.revision, 1, header.separator.revision
    while place.exists():
        known = Submission.read(place).header
        same = (known.aggregates, known.metrics) == (header.aggregates, header.metrics)
        if chosen or (same and not _adds_attributes(known, header)):
            raise Precondition(
                f"expected a new revision of {header.separator.name}, found {place}, which was submitted already; "
                "state it with --revision"
            )
        number += 1
        revision = f"{base}+{number}"
        place = place.with_name(case_sensitive_name(revision))
    return structs.replace(header, separator=structs.replace(header.separator, revision=revision))


def _whole(folders: Sequence[RunFolder], tell: Callable[[str], None]) -> list[RunFolder]:
    """Returns the runs that can be submitted; raises UsageError if there is none."""
    found, reasons = [], []
    for folder in folders:
        try:
            _check_run(folder)
            found.append(folder)
        except UsageError as reason:
            reasons.append(str(reason))
    if not found:
        others = f"; nor can {pluralize(len(reasons) - 1, 'other run')} be submitted" if len(reasons) > 1 else ""
        raise UsageError(f"{reasons[0]}{others}")
    for sentence in reasons:
        tell(f"not submitted: {sentence}")
    return found


def _check_run(folder: RunFolder) -> None:
    """Raises UsageError if a run cannot be submitted, with the reason in one sentence."""
    header, task = folder.header, folder.header.task
    if header.status not in ("success", "partial"):
        raise UsageError(f"expected a finished run, found status {header.status} in {folder.path}; run it again")
    if folder.lost:
        raise StoreError(f"expected all scores in {folder.path}, found {len(folder.lost)} items without; run it again")
    if header.shard is not None:
        raise UsageError(
            f"expected a whole run, found a shard in {folder.path}; combine the shards with `sabench merge`"
        )
    if find_card("tasks", task.id) is None or task.prompts != "given":
        raise UsageError(
            f"expected a task of the catalogue or of an installed plugin, with its own prompts, found {task.id} "
            f"in {folder.path}; `sabench list tasks` names them"
        )
    if len(folder.items) < task.items:
        raise UsageError(
            f"expected all {task.items} items of {task.id}, found {len(folder.items)} in {folder.path}; "
            "run it without --limit, --sample-id and --shard"
        )


def _label(folder: RunFolder) -> str:
    return folder.header.task.label


def _estimate_digests(folder: RunFolder) -> dict[str, str]:
    """Returns file name -> digest of every scored estimate, computed from the files themselves."""
    found: dict[str, str] = {}
    for record in folder.items.values():
        if record.failed:
            continue
        estimates: list[StoredEstimate] = [record, *(kept for number, kept in record.kept.items() if number == "0")]
        for estimate in estimates:
            for part in ESTIMATE_PARTS:
                name = str(getattr(estimate, part))
                found[name] = safe_io.file_digest(folder.path / "audio" / name)
                if found[name] != getattr(estimate.sha256, part):
                    raise StoreError(
                        f"expected the estimate that was scored at {folder.path / 'audio' / name}, found another; "
                        "run the evaluation again, which recreates it"
                    )
    return dict(sorted(found.items()))


def _header(
    name: str, folders: Sequence[RunFolder], card: Card, answers: dict[str, dict[str, str]], revision: str | None,
    *, with_audio: bool,
) -> SubmissionRecord:  # fmt: skip
    models = {dump_json(to_builtins(folder.header.model)) for folder in folders}
    if len(models) > 1:
        raise UsageError(f"expected runs of one {name}, found {len(models)} that differ in weights or settings")
    for one, other in pairwise(folders):
        if _label(one) == _label(other):
            raise UsageError(
                f"expected one run of {_label(one)} by {name}, found {one.path} and {other.path}; choose one"
            )
    first, model = folders[0].header, folders[0].header.model
    weights = model.weights_sha256 if isinstance(model.weights_sha256, str) else None
    known = revision or model.revision or (weights and weights[:_DIGITS])
    metrics = _metrics(folders)
    counted = [folder.header.timing.parameters for folder in folders if folder.header.timing is not None]
    if card["parameters"] is None:
        card = {**card, "parameters": max((one for one in counted if one is not None), default=None)}
    separator = SeparatorRecord(
        name=name,
        revision=known or f"answers-{sha256(dump_json(answers).encode())[:_DIGITS]}",
        target=model.target,
        weights_sha256=weights,
        settings=model.settings if model.version else {**model.options, **model.settings},
        oracle=model.oracle,
        **card,
    )
    return SubmissionRecord(
        schema_version=1,
        date=log.today(),
        separator=separator,
        hardware=first.hardware,
        packages=first.packages,
        commit=first.git.commit if first.git else None,
        tasks=[_task(folder) for folder in folders],
        metrics=[_metric(record) for record in metrics.values()],
        aggregates=compute_aggregates(_scores(folders), metrics),
        scores_sha256="",  # known once the scores are written
        has_audio=with_audio,
        answers=answers,
    )


def _task(folder: RunFolder) -> SubmittedTask:
    header, scores = folder.header, folder.frame()
    scored = set(scores["metric"])
    pickers = [name for name in scores["picked_by"].unique() if isinstance(name, str)]  # or the separator itself
    task, timing = header.task, header.timing
    cost = cost_of([header], list(folder.items.values()))
    return SubmittedTask(
        id=task.id,
        version=task.version,
        split=task.split,
        subset=task.subset,
        data_revision=task.data_revision,
        items=task.items,
        ids_sha256=task.ids_sha256,
        answered=sum(not record.failed for record in folder.items.values()),
        metrics=[record.id for record in header.metrics if record.id in scored],
        seed=header.seed,
        candidates=header.candidates,
        picker=header.picker.name if header.picker else next(iter(pickers), None),
        align=header.align,
        stereo=header.stereo,
        real_time_factor=timing.real_time_factor if timing else None,
        peak_memory_mib=timing.peak_memory_mib if timing else None,
        command=[_without_place(word) for word in header.command],
        device_memory_mib=UNSET if cost.device_memory_mib is None else cost.device_memory_mib,
        lag_ms=UNSET if cost.lag_ms is None else cost.lag_ms,
    )


def _metric(record: MetricRecord) -> SubmittedMetric:
    """Converts a metric record to that of submissions."""
    return SubmittedMetric(**{name: getattr(record, name) for name in SubmittedMetric.__struct_fields__})


def _without_place(word: str) -> str:
    """Reduces an absolute path, which could reveal a user and a machine, to its last part."""
    return Path(word).name if Path(word).is_absolute() else word


def _metrics(folders: Iterable[RunFolder]) -> dict[str, MetricRecord]:
    found: dict[str, MetricRecord] = {}
    for folder in folders:
        scored = set(folder.frame()["metric"])
        for record in folder.header.metrics:
            known = found.setdefault(record.id, record) if record.id in scored else record
            if known.differences(record):
                raise UsageError(
                    f"expected {record.id} computed in one way, found two in the runs; score {folder.path} again"
                )
    return found


def _scores(folders: Sequence[RunFolder]) -> pd.DataFrame:
    frames = [folder.frame().assign(task=_label(folder)) for folder in folders]
    frame = pd.concat(frames, ignore_index=True)[list(SCORE_COLUMNS)]
    return frame.assign(status=[str(Status(status)) for status in frame["status"]])


def _write(folder: Path, header: SubmissionRecord, folders: Sequence[RunFolder], known: bytes) -> None:
    folder.mkdir(parents=True)
    table = pyarrow.Table.from_pandas(_scores(folders), schema=SCORE_TYPES, preserve_index=False)
    parquet.write_table(table, folder / SCORES, compression="zstd")
    if known:
        (folder / attributes.ATTRIBUTES).write_bytes(known)
    if header.has_audio:
        for run in folders:
            goal = folder / "audio" / case_sensitive_name(_label(run))
            goal.mkdir(parents=True)
            for name in header.answers[_label(run)]:
                shutil.copyfile(run.path / "audio" / name, goal / name)
    header = structs.replace(header, scores_sha256=safe_io.file_digest(folder / SCORES))
    write_json(folder / HEADER, to_builtins(header))


def _explain(name: str, problems: Sequence[ValidationProblem]) -> str:
    shown = "; ".join(f"{problem.where}: {problem.what}" for problem in problems[:_SHOWN])
    return f"expected runs of {name} that pass the validation, found {len(problems)} problems, none written: {shown}"
