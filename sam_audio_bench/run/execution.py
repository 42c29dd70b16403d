"""Execution of one job: an executor yields outcomes of items in any order, and one recorder writes them to the store.

An `Executor` separates and scores, on this machine or elsewhere. Only `Recorder` writes files, journal lines and rows,
so that all executors give the same guarantees. Locally one thread loads items ahead, and another one writes outcomes; a
separator is called again only when its last estimates are written, so that a crash in it cannot lose them.
"""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from threading import Event
from typing import Protocol

from sam_audio_bench import audio
from sam_audio_bench.digests import flush_digests
from sam_audio_bench.errors import BenchError, StoreError, describe_error
from sam_audio_bench.files import safe_names
from sam_audio_bench.records import ESTIMATE_PARTS, ItemRecord, PartDigests, PartStats, StoredEstimate, read_records
from sam_audio_bench.run import interruption, output_log, stages, tracing
from sam_audio_bench.run.batching import AdaptiveBatching
from sam_audio_bench.run.contract import get_batch_size, needs_other_references
from sam_audio_bench.run.header import make_end_record, make_start_record
from sam_audio_bench.run.isolation import Isolation
from sam_audio_bench.run.job import Job
from sam_audio_bench.run.loading import Batch, prefetch
from sam_audio_bench.run.measuring import measure_item
from sam_audio_bench.run.plan import Plan
from sam_audio_bench.run.scoring import Scorer, Scores
from sam_audio_bench.run.separation import CandidateSet, separate_items
from sam_audio_bench.run.settings import Settings
from sam_audio_bench.run.store import LOCK, RunFolder, candidate_files, scored_estimates
from sam_audio_bench.run.usage import Usage, UsageMeter
from sam_audio_bench.types import Item, Separation, Status

__all__ = ["EstimatedItem", "Executor", "FailedItem", "LocalExecutor", "Outcome", "Recorder", "ScoredItem"]


@dataclass(frozen=True)
class EstimatedItem:
    """An item was separated; its estimate is stored at once, so that a crash does not lose it."""

    item: Item
    found: CandidateSet
    usage: Usage | None = None  # of the worker that separated it; None: this process did
    stored: Event = field(default_factory=Event, compare=False)  # set when the estimate is stored, or cannot be


@dataclass(frozen=True)
class ScoredItem:
    """The stored estimates of an item were scored."""

    identifier: str
    scores: Scores


@dataclass(frozen=True)
class FailedItem:
    """An item has no estimate."""

    identifier: str
    error: BaseException
    reranked: bool = False  # the estimate would have been picked from candidates


Outcome = EstimatedItem | ScoredItem | FailedItem


class Executor(Protocol):
    """Separates and scores the items of a job, here or elsewhere."""

    def outcomes(
        self, job: Job, items: Sequence[str], settings: Settings, scorer: Scorer
    ) -> Generator[Outcome, None, None]:
        """Yields a `FailedItem` per item, or an `EstimatedItem` and later a `ScoredItem`; the order is free."""
        ...


class LocalExecutor:
    """Works in this process, batch by batch; scores are computed as soon as a batch of the metrics is full."""

    def outcomes(
        self, job: Job, items: Sequence[str], settings: Settings, scorer: Scorer
    ) -> Generator[Outcome, None, None]:
        """Yields outcomes as `Executor.outcomes` does, in the order of the items."""
        size = settings.batch_size or get_batch_size(job.separator)
        batching = AdaptiveBatching(note=lambda text: _log_note(text, job, scorer))
        waiting: list[tuple[Item, list[Separation]]] = []
        unstored: list[Event] = []
        for batch in prefetch(job.data, items, size, with_others=needs_other_references(job.separator)):
            while unstored:
                unstored.pop().wait()
            for outcome in self._separate(job, batch, settings, batching):
                if isinstance(outcome, EstimatedItem):
                    waiting.append((outcome.item, outcome.found.scored))
                    unstored.append(outcome.stored)
                yield outcome
            if len(waiting) >= scorer.batch_size:
                yield from self._score(waiting, job, scorer)
                waiting = []
        yield from self._score(waiting, job, scorer)

    def _separate(self, job: Job, batch: Batch, settings: Settings, batching: AdaptiveBatching) -> Iterator[Outcome]:
        for identifier, failure in batch.failures.items():
            yield FailedItem(identifier, failure, reranked=job.reranking is not None)
        separate = partial(
            separate_items, job.separator, reranking=job.reranking, task=job.data.label,
            seed=settings.seed, align=settings.align, stereo=settings.stereo,
            isolation=Isolation(job.constructor_state, job.folder.path / output_log.LOG_NAME),
        )  # fmt: skip
        candidates = batching.run(batch.items, separate)
        for item, found in zip(batch.items, candidates, strict=True):
            if isinstance(found, CandidateSet):
                yield EstimatedItem(item, found)
            else:
                yield FailedItem(item.id, found, reranked=job.reranking is not None and job.reranking.applies_to(item))

    def _score(self, waiting: Sequence[tuple[Item, list[Separation]]], job: Job, scorer: Scorer) -> Iterator[Outcome]:
        for (item, _), scores in zip(waiting, scorer.score(waiting, job.metrics), strict=True):
            yield ScoredItem(item.id, scores)


def _log_note(text: str, job: Job, scorer: Scorer) -> None:
    """Shows a message to the user, and appends it to the log of the run."""
    message = f"{job.model.name}: {text}"
    output_log.append_text(job.folder.path / output_log.LOG_NAME, f"--- {message}\n")
    scorer.note(message)


@dataclass
class Recorder:
    """Completes a job and writes its run folder.

    ``advance`` is called after each item, with its error if there is one.
    """

    plan: Plan
    job: Job
    advance: Callable[[str | None], None]
    note: Callable[[str], None]
    executor: Executor

    def __post_init__(self) -> None:
        self._folder_id: tuple[int, int] | None = None  # of the locked run folder
        self._names = safe_names(self.job.data.ids)
        self._scorer = Scorer(self.job.folder, self.job.data, self.job.metrics, self.advance, self.note)

    def run(self) -> None:
        """Writes a sealed run folder, or after an interruption one that a rerun continues."""
        folder = self.job.folder
        try:
            with interruption.defer_signals(), folder.writing(), closing(self._make_meter()) as self._meter:
                self._folder_id = _lock_id(folder)
                self._run_locked()
        except OSError as error:
            self._check_folder()
            raise StoreError(
                f"expected files that can be written in {folder.path}, found: {error}; what is finished is kept: make "
                "room there, or mend that, and the same command continues"
            ) from error

    def _make_meter(self) -> UsageMeter:
        earlier = self.job.folder.header.timing if self.job.folder.exists else None
        return UsageMeter(self.job.separator, earlier)

    def _run_locked(self) -> None:
        folder, begun = self.job.folder, time.perf_counter()
        stages.pop_stage_times()  # discards those of the previous run
        tracing.trace_first_calls(self.plan.settings.profile)
        job = self.job = replace(self.job)  # drops cached properties, computed before the folder was locked
        folder.set_aside(job.set_aside_reasons)
        self._scorer.forget_other_scores()
        folder.forget(job.chosen.ids if self.plan.settings.overwrite == "always" else job.stale_reasons)
        folder.write_header(make_start_record(self.plan, job))
        try:
            self._separate_missing()
            self._scorer.score_missing(job.chosen.ids)
            self._record_removed()
            self._seal()
        except BaseException as error:
            with suppress(OSError, StoreError):  # the disk itself may have failed
                self._end("cancelled" if isinstance(error, KeyboardInterrupt) else "error", begun)
            raise
        self._end("success" if all(map(self._scorer.has_estimate, job.data.ids)) else "partial", begun)

    def _end(self, status: str, begun: float) -> None:
        folder, seconds = self.job.folder, time.perf_counter() - begun
        flush_digests()
        self._check_folder()
        folder.write_header(make_end_record(folder, status, seconds, self._meter.usage()))
        if self.plan.settings.profile:
            table = stages.format_stage_times(stages.pop_stage_times(), seconds)
            (folder.path / stages.NAME).write_text(f"{table}\n", encoding="utf-8")
            self.note(f"{self.job.model.name} on {self.job.data.label}:\n{table}{tracing.write_trace(folder.path)}")

    def _check_folder(self) -> None:
        """Raises StoreError if the run folder was replaced since the start: the run would be split over two folders."""
        folder = self.job.folder
        if self._folder_id and _lock_id(folder) != self._folder_id:
            raise StoreError(
                f"expected the run folder {folder.path} to stay while it is written to, found it moved or removed; "
                "move it back, and the same command continues"
            )

    def _record_removed(self) -> None:
        """Records estimates whose files were removed meanwhile as failures: a run is complete only with all files.

        Items that are not chosen for this run are included.
        """
        folder = self.job.folder
        columns = [metric.id for metric in folder.metrics]
        there = set(os.listdir(folder.path / "audio"))  # noqa: PTH208 - names, not paths
        for record in [record for record in folder.items.values() if not record.failed]:
            names = [str(getattr(view.files, part)) for view in scored_estimates(record) for part in ESTIMATE_PARTS]
            if removed := sorted({*names, *candidate_files(record)} - there):
                path = folder.path / "audio" / removed[0]
                message = f"expected the estimate {path}, found it removed meanwhile; the same command makes it again"
                folder.forget_scores({record.item: columns})
                folder.add_item(
                    ItemRecord(
                        item=record.item, group=record.group, fingerprint=record.fingerprint, seed=record.seed,
                        data_sha256=record.data_sha256, status=Status.ERROR, message=message,
                        candidates=record.candidates, picked_by=record.picked_by,
                    )
                )  # fmt: skip
                self._scorer.record_failure(record.item)
                self.note(f"{record.item}: {message}")

    def _seal(self) -> None:
        """Seals the scores, and writes the journal again if it was removed meanwhile."""
        folder, data = self.job.folder, self.job.data
        folder.seal(data.ids, data.attributes_of)
        written = {record.item for record in read_records(folder.path / "items.jsonl", ItemRecord)}
        if not written >= set(folder.items):
            folder.unseal()
            folder.seal(data.ids, data.attributes_of)

    def _separate_missing(self) -> None:
        items = self.job.items_to_separate()
        log = self.job.folder.path / output_log.LOG_NAME
        if items:
            output_log.append_text(log, self.job.construction_output)
        before = log.stat().st_size if log.exists() else 0
        queued: deque[Future[None]] = deque()
        outcomes = self.executor.outcomes(self.job, items, self.plan.settings, self._scorer)
        with ThreadPoolExecutor(1) as writer, closing(outcomes):
            for outcome in outcomes:
                queued.append(writer.submit(self._record, outcome))
                while queued and (len(queued) > _MAX_QUEUED or queued[0].done()):  # notices a full disk at once
                    queued.popleft().result()
                interruption.raise_if_interrupted()
            for waiting in queued:
                waiting.result()
        if log.exists() and log.stat().st_size > before:
            self.note(f"what {self.job.model.name} printed is in {log}")

    def _record(self, outcome: Outcome) -> None:
        try:
            self._check_folder()
            if isinstance(outcome, EstimatedItem):
                with stages.stage("write"):
                    self._store(outcome)
            elif isinstance(outcome, FailedItem):
                self._record_failure(outcome)
            elif self._scorer.has_estimate(outcome.identifier):
                self._scorer.persist(outcome.identifier, outcome.scores)
                self.advance(None)
        except IsADirectoryError as error:  # at the path of its audio file
            if not isinstance(outcome, EstimatedItem):
                raise
            there = StoreError(f"expected no folder at {error.filename2}, found one; remove it, and run this again")
            self._record_failure(FailedItem(outcome.item.id, there))
        finally:
            if isinstance(outcome, EstimatedItem):
                outcome.stored.set()

    def _store(self, estimated: EstimatedItem) -> None:
        """Writes the audio, then the item's line of the journal; from then on a crash does not lose the estimate."""
        item, found = estimated.item, estimated.found
        self._meter.add(estimated.usage)
        chosen = found.separation(found.picked)
        stored = self._write(item.id, chosen)
        record = ItemRecord(
            item=item.id,
            group=self.job.data.groups[item.id],
            fingerprint=self.job.fingerprints[item.id],
            data_sha256=self.job.content_digests[item.id],
            seed=self.plan.settings.seed,
            status=Status.OK,
            seconds=found.seconds,
            audio_seconds=item.query.mixture.seconds,
            rate=item.query.mixture.rate,
            moved_ms=chosen.moved_ms or None,
            outputs=dict(chosen.outputs),
            remarks=list(item.remarks),
            measured=measure_item(item),
            picked_by=found.picker or chosen.picked_by,
            target=stored.target,
            residual=stored.residual,
            sha256=stored.sha256,
            stat=stored.stat,
        )
        if found.picker:
            self._add_candidates(record, found)
        self.job.folder.add_item(record)

    def _add_candidates(self, record: ItemRecord, found: CandidateSet) -> None:
        """Writes the candidates to be kept, the first or all, and completes the journal record."""
        keep = self.job.reranking is not None and self.job.reranking.keep
        errors = {index: error for index, error in enumerate(found.candidates) if isinstance(error, BaseException)}
        record.candidates = len(found.candidates)
        record.picked = found.picked
        record.picker_scores = [None if math.isnan(score) else score for score in found.scores]
        kept = found.valid if keep else [0]
        record.kept = {str(index): self._write(record.item, found.separation(index), index) for index in kept}
        record.candidate_errors = {str(index): describe_error(error) for index, error in errors.items()}

    def _write(self, identifier: str, separation: Separation, candidate: int | None = None) -> StoredEstimate:
        """Writes target and residual, and returns their names, digests, sizes and times."""
        names, found = {}, {}
        for part in ESTIMATE_PARTS:
            path = audio.write(
                self.job.folder.audio_stem(self._names[identifier], part, candidate), getattr(separation, part)
            )
            names[part], found[part] = path.name, _identify_file(path)
        return StoredEstimate(
            picked_by=separation.picked_by,
            **names,
            sha256=PartDigests(**{part: digest for part, (digest, _) in found.items()}),
            stat=PartStats(**{part: known for part, (_, known) in found.items()}),
        )

    def _record_failure(self, failed: FailedItem) -> None:
        """Records an item without an estimate: its message in the journal, and its status in every row.

        With candidates, it is missing from both lines of its separator: the first candidate and the picked one.
        """
        error, identifier = failed.error, failed.identifier
        status = _failed_status(error)
        reranking = self.job.reranking if failed.reranked else None
        self.job.folder.add_item(
            ItemRecord(
                item=identifier,
                group=self.job.data.groups[identifier],
                fingerprint=self.job.fingerprints[identifier],
                data_sha256=self.job.content_digests[identifier],
                seed=self.plan.settings.seed,
                status=status,
                message=describe_error(error),
                candidates=0 if reranking is None else reranking.candidates,
                picked_by=None if reranking is None else reranking.picker.name,
            )
        )
        self._scorer.record_failure(identifier)
        is_reported = identifier in self.job.data.missing and status == Status.MISSING_MEDIA  # in the plan
        self.advance(None if is_reported else f"{identifier}: {describe_error(error)}")


def _lock_id(folder: RunFolder) -> tuple[int, int]:
    """Returns device and inode of the lock file, which differ if another folder has taken the name."""
    try:
        found = (folder.path / LOCK).stat()
    except OSError:  # there is no lock file
        return 0, 0
    return found.st_dev, found.st_ino


_MAX_QUEUED = 8
"""Outcomes that may wait for the recorder: enough to keep it busy, few enough for their audio to fit into memory."""


def _identify_file(path: Path) -> tuple[str, tuple[int, int]]:
    """Returns the digest of a file that was just written, its size and modification time."""
    found = path.stat()
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return digest, (found.st_size, found.st_mtime_ns)


def _failed_status(error: BaseException) -> Status:
    """Returns the status of a failed item: that of the error if it is valid for items without an estimate."""
    stated = getattr(error, "status", None) if isinstance(error, BenchError) else None
    return next((status for status in _FAILURES if status == stated), Status.ERROR)


_FAILURES = (
    Status.ERROR, Status.LENGTH_MISMATCH, Status.NON_FINITE, Status.MISSING_MEDIA, Status.TOO_SHORT,
    Status.NOT_UNDERSTOOD, Status.UNSUPPORTED,
)  # fmt: skip
