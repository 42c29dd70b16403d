"""Carrying out one job: items go in, outcomes come out in any order, and one recorder writes the store.

An `Executor` separates and scores; it may do so anywhere. What it finds becomes files, journal lines and rows in
`Recorder` alone, so that every executor keeps the same promises. Locally a thread loads ahead, and another one writes
behind; a separator is called again only when its last estimates are written, so that it cannot take them with it.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from threading import Event
from typing import Protocol

from sam_audio_bench import audio
from sam_audio_bench.digests import flush_digests
from sam_audio_bench.errors import BenchError, StoreError, describe_error
from sam_audio_bench.files import sha256
from sam_audio_bench.records import PARTS, ItemRecord, StoredEstimate
from sam_audio_bench.run import interruption, output_log
from sam_audio_bench.run.batching import Batching
from sam_audio_bench.run.contract import batch_size
from sam_audio_bench.run.header import end_record, start_record
from sam_audio_bench.run.isolation import Isolation
from sam_audio_bench.run.plan import Job, Plan
from sam_audio_bench.run.provenance import peak_memory_mib
from sam_audio_bench.run.scoring import Batch, Scorer, Scores, prefetch
from sam_audio_bench.run.separation import CandidateSet, separate_items
from sam_audio_bench.run.settings import Settings
from sam_audio_bench.types import Item, Separation, Status

__all__ = ["Estimated", "Executor", "Failed", "LocalExecutor", "Outcome", "Recorder", "Scored"]


@dataclass(frozen=True)
class Estimated:
    """An item was separated; to be stored at once, so that a crash costs no separation."""

    item: Item
    found: CandidateSet
    stored: Event = field(default_factory=Event, compare=False)  # set when it is, or cannot be


@dataclass(frozen=True)
class Scored:
    """The stored estimates of an item were scored."""

    identifier: str
    scores: Scores


@dataclass(frozen=True)
class Failed:
    """An item has no estimate."""

    identifier: str
    error: BaseException
    reranked: bool = False  # it would have been picked from candidates


Outcome = Estimated | Scored | Failed


class Executor(Protocol):
    """Separates and scores the items of a job, wherever that may be."""

    def outcomes(
        self, job: Job, items: Sequence[str], settings: Settings, scorer: Scorer
    ) -> Generator[Outcome, None, None]:
        """For each item `Failed`, or `Estimated` and later `Scored`; the order of the items does not matter."""
        ...


class LocalExecutor:
    """In this process, batch by batch; scores are computed as soon as the metrics' batch is full."""

    def outcomes(
        self, job: Job, items: Sequence[str], settings: Settings, scorer: Scorer
    ) -> Generator[Outcome, None, None]:
        """As `Executor.outcomes`, in the order of the items."""
        size = settings.batch_size or batch_size(job.separator)
        batching = Batching(note=lambda text: _remember(text, job, scorer))
        waiting: list[tuple[Item, list[Separation]]] = []
        unstored: list[Event] = []
        for batch in prefetch(job.data, items, size):
            while unstored:
                unstored.pop().wait()
            for outcome in self._separated(job, batch, settings, batching):
                if isinstance(outcome, Estimated):
                    waiting.append((outcome.item, outcome.found.scored))
                    unstored.append(outcome.stored)
                yield outcome
            if len(waiting) >= scorer.batch_size:
                yield from self._scored(waiting, job, scorer)
                waiting = []
        yield from self._scored(waiting, job, scorer)

    def _separated(self, job: Job, batch: Batch, settings: Settings, batching: Batching) -> Iterator[Outcome]:
        for identifier, failure in batch.failures.items():
            yield Failed(identifier, failure, reranked=job.reranking is not None)
        separate = partial(
            separate_items, job.separator, reranking=job.reranking, task=job.data.label,
            seed=settings.seed, align=settings.align, stereo=settings.stereo,
            isolation=Isolation(job.own_state, job.folder.path / output_log.NAME),
        )  # fmt: skip
        candidates = batching.separate(batch.items, separate)
        for item, found in zip(batch.items, candidates, strict=True):
            if isinstance(found, CandidateSet):
                yield Estimated(item, found)
            else:
                yield Failed(item.id, found, reranked=job.reranking is not None and job.reranking.asks(item))

    def _scored(self, waiting: Sequence[tuple[Item, list[Separation]]], job: Job, scorer: Scorer) -> Iterator[Scored]:
        for (item, _), scores in zip(waiting, scorer.score(waiting, job.metrics), strict=True):
            yield Scored(item.id, scores)


def _remember(text: str, job: Job, scorer: Scorer) -> None:
    """Tells the user, and the log of the run."""
    said = f"{job.model.name}: {text}"
    output_log.append_text(job.folder.path / output_log.NAME, f"--- {said}\n")
    scorer.note(said)


@dataclass
class Recorder:
    """Does what a job has left to do and writes its run folder.

    ``advance`` is called after every item, with its error if it has one.
    """

    plan: Plan
    job: Job
    advance: Callable[[str | None], None]
    note: Callable[[str], None]
    executor: Executor

    def __post_init__(self) -> None:
        self._scorer = Scorer(self.job.folder, self.job.data, self.job.metrics, self.advance, self.note)

    def run(self) -> None:
        """Leaves a sealed run folder, or after an interruption one that a rerun takes up."""
        folder = self.job.folder
        begun, status = time.perf_counter(), "error"
        with interruption.deferred(), folder.writing():
            job = self.job = replace(self.job)  # what was found out before the folder was held may be outdated
            folder.set_aside(job.aside)
            self._scorer.forget_other_scores()
            folder.forget(job.chosen.ids if self.plan.settings.overwrite == "always" else job.stale)
            folder.write_header(start_record(self.plan, job))
            try:
                self._separate_missing()
                self._scorer.complete(job.chosen.ids)
                folder.seal(job.data.ids)
                status = "success" if all(map(self._scorer.has_estimate, job.data.ids)) else "partial"
            except KeyboardInterrupt:
                status = "cancelled"
                raise
            finally:
                flush_digests()
                folder.write_header(end_record(folder, status, time.perf_counter() - begun, peak_memory_mib()))

    def _separate_missing(self) -> None:
        items = self.job.to_separate()
        log = self.job.folder.path / output_log.NAME
        if items:
            output_log.append_text(log, self.job.printed)
        before = log.stat().st_size if log.exists() else 0
        behind: deque[Future[None]] = deque()
        outcomes = self.executor.outcomes(self.job, items, self.plan.settings, self._scorer)
        with ThreadPoolExecutor(1) as writer, closing(outcomes):
            for outcome in outcomes:
                behind.append(writer.submit(self._record, outcome))
                while len(behind) > _BEHIND:
                    behind.popleft().result()
                interruption.check()
            for waiting in behind:
                waiting.result()
        if log.exists() and log.stat().st_size > before:
            self.note(f"what {self.job.model.name} printed is in {log}")

    def _record(self, outcome: Outcome) -> None:
        if isinstance(outcome, Estimated):
            try:
                self._store(outcome.item, outcome.found)
            except IsADirectoryError as error:  # where its sound belongs
                there = StoreError(f"expected no folder at {error.filename2}, found one; remove it, and run this again")
                self._record_failure(Failed(outcome.item.id, there))
            finally:
                outcome.stored.set()
        elif isinstance(outcome, Scored):
            if self._scorer.has_estimate(outcome.identifier):
                self._scorer.persist(outcome.identifier, outcome.scores)
                self.advance(None)
        else:
            self._record_failure(outcome)

    def _store(self, item: Item, found: CandidateSet) -> None:
        """Writes the audio, then the item's line of the journal: from there on a crash costs no separation."""
        chosen = found.separation(found.picked)
        stored = self._write(item.id, chosen)
        record = ItemRecord(
            item=item.id,
            group=self.job.data.groups[item.id],
            fingerprint=self.job.fingerprints[item.id],
            data_sha256=self.job.contents[item.id],
            seed=self.plan.settings.seed,
            status=Status.OK,
            seconds=found.seconds,
            audio_seconds=item.query.mixture.seconds,
            remarks=list(item.remarks),
            picked_by=found.picker or chosen.picked_by,
            target=stored.target,
            residual=stored.residual,
            sha256=stored.sha256,
            stat=stored.stat,
        )
        if found.picker:
            self._add_candidates(record, found)
        self.job.folder.add_item(record, durable=False)  # the line with the scores follows

    def _add_candidates(self, record: ItemRecord, found: CandidateSet) -> None:
        """What the journal says about candidates, after writing those that stay: the first one, or all."""
        keep = self.job.reranking is not None and self.job.reranking.keep
        errors = {index: error for index, error in enumerate(found.candidates) if isinstance(error, BaseException)}
        record.candidates = len(found.candidates)
        record.picked = found.picked
        record.picker_scores = [None if math.isnan(score) else score for score in found.scores]
        staying = found.sound if keep else [0]
        record.kept = {str(index): self._write(record.item, found.separation(index), index) for index in staying}
        record.candidate_errors = {str(index): describe_error(error) for index, error in errors.items()}

    def _write(self, identifier: str, separation: Separation, candidate: int | None = None) -> StoredEstimate:
        """Writes both parts and says where they are."""
        stored = StoredEstimate(picked_by=separation.picked_by, sha256={}, stat={})
        for part in PARTS:
            path = audio.write(self.job.folder.audio_stem(identifier, part, candidate), getattr(separation, part))
            setattr(stored, part, path.name)
            stored.sha256[part], stored.stat[part] = _identified(path)
        return stored

    def _record_failure(self, failed: Failed) -> None:
        """An item without an estimate: its message in the journal, its status in every row, and the run goes on.

        An item that would have been picked from candidates is missing from both of its separator's lines.
        """
        error, identifier = failed.error, failed.identifier
        status = _failed_status(error)
        reranking = self.job.reranking if failed.reranked else None
        self.job.folder.add_item(
            ItemRecord(
                item=identifier,
                group=self.job.data.groups[identifier],
                fingerprint=self.job.fingerprints[identifier],
                data_sha256=self.job.contents[identifier],
                seed=self.plan.settings.seed,
                status=status,
                message=describe_error(error),
                candidates=0 if reranking is None else reranking.candidates,
                picked_by=None if reranking is None else reranking.picker.name,
            )
        )
        self._scorer.record_failure(identifier)
        told = identifier in self.job.data.missing and status == Status.MISSING_MEDIA  # by the plan already
        self.advance(None if told else f"{identifier}: {describe_error(error)}")


_BEHIND = 8
"""Outcomes that may wait for the recorder: enough to keep it busy, few enough to hold their audio in memory."""


def _identified(path: Path) -> tuple[str, tuple[int, int]]:
    """Digest of a file that was just written, its size and time."""
    found = path.stat()
    return sha256(path.read_bytes()), (found.st_size, found.st_mtime_ns)


def _failed_status(error: BaseException) -> Status:
    """What rows of a failed item say: the error's own status, if it is one for items without an estimate."""
    own = getattr(error, "status", None) if isinstance(error, BenchError) else None
    return next((status for status in _FAILURES if status == own), Status.ERROR)


_FAILURES = (
    Status.ERROR, Status.LENGTH_MISMATCH, Status.NON_FINITE, Status.MISSING_MEDIA, Status.TOO_SHORT,
    Status.NOT_UNDERSTOOD,
)  # fmt: skip
