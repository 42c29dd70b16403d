"""Carrying out one job: items go in, outcomes come out in any order, and one recorder writes the store.

An `Executor` separates and scores; it may do so anywhere. What it finds becomes files, journal lines and rows in
`Recorder` alone, so that every executor keeps the same promises. Locally a thread loads ahead, and another one writes
behind; a separator is called again only when its last estimates are written, so that it cannot take them with it.
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
from sam_audio_bench.run.batching import Batching
from sam_audio_bench.run.contract import batch_size, wants_others
from sam_audio_bench.run.header import end_record, start_record
from sam_audio_bench.run.isolation import Isolation
from sam_audio_bench.run.job import Job
from sam_audio_bench.run.loading import Batch, prefetch
from sam_audio_bench.run.measuring import measure
from sam_audio_bench.run.plan import Plan
from sam_audio_bench.run.scoring import Scorer, Scores
from sam_audio_bench.run.separation import CandidateSet, separate_items
from sam_audio_bench.run.settings import Settings
from sam_audio_bench.run.store import LOCK, RunFolder, candidate_files, scored_estimates
from sam_audio_bench.run.usage import Meter, Usage
from sam_audio_bench.types import Item, Separation, Status

__all__ = ["Estimated", "Executor", "Failed", "LocalExecutor", "Outcome", "Recorder", "Scored"]


@dataclass(frozen=True)
class Estimated:
    """An item was separated; to be stored at once, so that a crash costs no separation."""

    item: Item
    found: CandidateSet
    usage: Usage | None = None  # of the worker that separated it; None: it was this process
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
        for batch in prefetch(job.data, items, size, with_others=wants_others(job.separator)):
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
        self._place: tuple[int, int] | None = None  # of the folder, while it is held
        self._names = safe_names(self.job.data.ids)
        self._scorer = Scorer(self.job.folder, self.job.data, self.job.metrics, self.advance, self.note)

    def run(self) -> None:
        """Leaves a sealed run folder, or after an interruption one that a rerun takes up."""
        folder = self.job.folder
        try:
            with interruption.deferred(), folder.writing(), closing(self._metered()) as self._meter:
                self._place = _place_of(folder)
                self._run_held()
        except OSError as error:
            self._check_place()
            raise StoreError(
                f"expected files that can be written in {folder.path}, found: {error}; what is finished is kept: make "
                "room there, or mend that, and the same command continues"
            ) from error

    def _metered(self) -> Meter:
        earlier = self.job.folder.header.timing if self.job.folder.exists else None
        return Meter(self.job.separator, earlier)

    def _run_held(self) -> None:
        folder, begun = self.job.folder, time.perf_counter()
        stages.take()  # of the run before
        tracing.arm(self.plan.settings.profile)
        job = self.job = replace(self.job)  # what was found out before the folder was held may be outdated
        folder.set_aside(job.aside)
        self._scorer.forget_other_scores()
        folder.forget(job.chosen.ids if self.plan.settings.overwrite == "always" else job.stale)
        folder.write_header(start_record(self.plan, job))
        try:
            self._separate_missing()
            self._scorer.complete(job.chosen.ids)
            self._record_removed()
            self._seal()
        except BaseException as error:
            with suppress(OSError, StoreError):  # what failed may be the disk
                self._end("cancelled" if isinstance(error, KeyboardInterrupt) else "error", begun)
            raise
        self._end("success" if all(map(self._scorer.has_estimate, job.data.ids)) else "partial", begun)

    def _end(self, status: str, begun: float) -> None:
        folder, seconds = self.job.folder, time.perf_counter() - begun
        flush_digests()
        self._check_place()
        folder.write_header(end_record(folder, status, seconds, self._meter.usage()))
        if self.plan.settings.profile:
            table = stages.as_text(stages.take(), seconds)
            (folder.path / stages.NAME).write_text(f"{table}\n", encoding="utf-8")
            self.note(f"{self.job.model.name} on {self.job.data.label}:\n{table}{tracing.write(folder.path)}")

    def _check_place(self) -> None:
        """Raises StoreError where the run folder is no longer the one that was begun: its parts would lie apart."""
        folder = self.job.folder
        if self._place and _place_of(folder) != self._place:
            raise StoreError(
                f"expected the run folder {folder.path} to stay while it is written to, found it moved or removed; "
                "move it back, and the same command continues"
            )

    def _record_removed(self) -> None:
        """Estimates whose files somebody has removed meanwhile are failures: no run ends well without its files.

        Those of items that this run was not asked for are too.
        """
        folder = self.job.folder
        columns = [metric.id for metric in folder.metrics]
        there = set(os.listdir(folder.path / "audio"))  # noqa: PTH208 - names, not paths
        for record in [record for record in folder.items.values() if not record.failed]:
            names = [str(getattr(view.files, part)) for view in scored_estimates(record) for part in ESTIMATE_PARTS]
            if removed := sorted({*names, *candidate_files(record)} - there):
                path = folder.path / "audio" / removed[0]
                lost = f"expected the estimate {path}, found it removed meanwhile; the same command makes it again"
                folder.forget_scores({record.item: columns})
                folder.add_item(
                    ItemRecord(
                        item=record.item, group=record.group, fingerprint=record.fingerprint, seed=record.seed,
                        data_sha256=record.data_sha256, status=Status.ERROR, message=lost,
                        candidates=record.candidates, picked_by=record.picked_by,
                    )
                )  # fmt: skip
                self._scorer.record_failure(record.item)
                self.note(f"{record.item}: {lost}")

    def _seal(self) -> None:
        """Seals the scores, and writes the journal anew if somebody has removed it meanwhile."""
        folder, data = self.job.folder, self.job.data
        folder.seal(data.ids, data.attributes_of)
        written = {record.item for record in read_records(folder.path / "items.jsonl", ItemRecord)}
        if not written >= set(folder.items):
            folder.unseal()
            folder.seal(data.ids, data.attributes_of)

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
                while behind and (len(behind) > _BEHIND or behind[0].done()):  # a full disk shows at once
                    behind.popleft().result()
                interruption.check()
            for waiting in behind:
                waiting.result()
        if log.exists() and log.stat().st_size > before:
            self.note(f"what {self.job.model.name} printed is in {log}")

    def _record(self, outcome: Outcome) -> None:
        try:
            self._check_place()
            if isinstance(outcome, Estimated):
                with stages.stage("write"):
                    self._store(outcome)
            elif isinstance(outcome, Failed):
                self._record_failure(outcome)
            elif self._scorer.has_estimate(outcome.identifier):
                self._scorer.persist(outcome.identifier, outcome.scores)
                self.advance(None)
        except IsADirectoryError as error:  # where its sound belongs
            if not isinstance(outcome, Estimated):
                raise
            there = StoreError(f"expected no folder at {error.filename2}, found one; remove it, and run this again")
            self._record_failure(Failed(outcome.item.id, there))
        finally:
            if isinstance(outcome, Estimated):
                outcome.stored.set()

    def _store(self, estimated: Estimated) -> None:
        """Writes the audio, then the item's line of the journal: from there on a crash costs no separation."""
        item, found = estimated.item, estimated.found
        self._meter.add(estimated.usage)
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
            rate=item.query.mixture.rate,
            moved_ms=chosen.moved_ms or None,
            outputs=dict(chosen.outputs),
            remarks=list(item.remarks),
            measured=measure(item),
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
        names, found = {}, {}
        for part in ESTIMATE_PARTS:
            path = audio.write(
                self.job.folder.audio_stem(self._names[identifier], part, candidate), getattr(separation, part)
            )
            names[part], found[part] = path.name, _identified(path)
        return StoredEstimate(
            picked_by=separation.picked_by,
            **names,
            sha256=PartDigests(**{part: digest for part, (digest, _) in found.items()}),
            stat=PartStats(**{part: known for part, (_, known) in found.items()}),
        )

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


def _place_of(folder: RunFolder) -> tuple[int, int]:
    """What tells a folder that is held from another one under its name, whose lock is another file."""
    try:
        found = (folder.path / LOCK).stat()
    except OSError:  # there is none
        return 0, 0
    return found.st_dev, found.st_ino


_BEHIND = 8
"""Outcomes that may wait for the recorder: enough to keep it busy, few enough to hold their audio in memory."""


def _identified(path: Path) -> tuple[str, tuple[int, int]]:
    """Digest of a file that was just written, its size and time."""
    found = path.stat()
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return digest, (found.st_size, found.st_mtime_ns)


def _failed_status(error: BaseException) -> Status:
    """What rows of a failed item say: the error's own status, if it is one for items without an estimate."""
    own = getattr(error, "status", None) if isinstance(error, BenchError) else None
    return next((status for status in _FAILURES if status == own), Status.ERROR)


_FAILURES = (
    Status.ERROR, Status.LENGTH_MISMATCH, Status.NON_FINITE, Status.MISSING_MEDIA, Status.TOO_SHORT,
    Status.NOT_UNDERSTOOD, Status.UNSUPPORTED,
)  # fmt: skip
