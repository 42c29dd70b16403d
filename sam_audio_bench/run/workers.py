"""An executor that separates and scores in workers, whatever runs them: processes of this machine, or Ray's actors.

A thread for each worker hands it one batch after the other and waits for what it says. Batches are those of the local
run, and workers have its number of threads, so that estimates and scores are the same, bit for bit. A worker is asked
again only when its last estimates are written. One that dies is started anew, and its item is tried again when all
others are done; items of a batch are then tried one by one.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from sam_audio_bench.errors import BadSeparation, Precondition
from sam_audio_bench.identity import is_built_in
from sam_audio_bench.run import output_log, stages, tracing
from sam_audio_bench.run.contract import batch_size, wants_others
from sam_audio_bench.run.execution import Estimated, Failed, Outcome, Scored
from sam_audio_bench.run.interruption import interruptible
from sam_audio_bench.run.job import Job
from sam_audio_bench.run.scoring import Scorer
from sam_audio_bench.run.separation import CandidateSet
from sam_audio_bench.run.serialization import SerializedError, dump, load
from sam_audio_bench.run.settings import Settings
from sam_audio_bench.run.work_queue import QueueClosed, QueuedBatch, WorkQueue
from sam_audio_bench.run.worker import Reply, Request, ScoreWaiting, Separate
from sam_audio_bench.run.worker_job import make_begin_job
from sam_audio_bench.run.worker_process import WorkerLostError
from sam_audio_bench.types import Item

__all__ = ["GIVEN_UP_AFTER", "WorkerExecutor", "WorkerHandle", "check_reply", "limits_itself"]

GIVEN_UP_AFTER = 5
"""Deaths in a row, each on an item that no other worker died on, after which a worker is not started anew."""


class WorkerHandle(Protocol):
    """A worker, wherever it is."""

    def request(self, content: bytes, limit: float | None = None) -> bytes:
        """The reply to a request; raises Lost where the worker dies, or takes more seconds than ``limit``."""
        ...

    def end(self, patience: float = 0.0) -> None:
        """Ends it, at once or when it has had some seconds to end by itself; any thread may call this, and again."""
        ...


class WorkerExecutor:
    """An `Executor` that keeps its workers from one job to the next.

    Args:
        connect: starts the worker of a number, from 0.
        count: workers.
    """

    def __init__(self, connect: Callable[[int], WorkerHandle], count: int) -> None:
        self._connect, self.count = connect, count
        self._handles: dict[int, WorkerHandle] = {}
        self._lock = threading.Lock()
        self._is_closed = False

    def outcomes(
        self, job: Job, items: Sequence[str], settings: Settings, scorer: Scorer
    ) -> Generator[Outcome, None, None]:
        """As `Executor.outcomes`, in the order in which workers finish."""
        if items:
            yield from _Crew(self, job, items, settings).outcomes(scorer.note)

    def handle(self, number: int) -> WorkerHandle:
        """The worker of a number, which is started if there is none."""
        with self._lock:
            if self._is_closed:
                raise QueueClosed
            if number not in self._handles:
                self._handles[number] = self._connect(number)
            return self._handles[number]

    def begin_worker(self, number: int, begin: bytes) -> tuple[WorkerHandle, Reply]:
        """The worker of a number, and its reply to a first request.

        Raises:
            Lost: it could not be started, or died; it is forgotten.
        """
        try:
            handle = self.handle(number)
        except OSError as error:
            raise WorkerLostError(f"it could not be started: {error}") from error
        try:
            return handle, check_reply(handle, load(handle.request(begin)))
        except WorkerLostError:
            self.forget(number)
            raise

    def forget(self, number: int) -> None:
        """Says that a worker is gone."""
        with self._lock:
            self._handles.pop(number, None)

    def close(self, patience: float = 0.0) -> None:
        """Ends all workers."""
        with self._lock:
            self._is_closed = True
            handles = [*self._handles.values()]
            self._handles.clear()
        enders = [threading.Thread(target=handle.end, args=(patience,)) for handle in handles]
        for ender in enders:
            ender.start()
        for ender in enders:
            ender.join()


@dataclass(frozen=True)
class _Note:
    """A line for the user."""

    text: str


@dataclass(frozen=True)
class _Printed:
    """What a separator printed."""

    text: str


class _Crew:
    """The workers of one job, and the threads that ask them."""

    def __init__(self, executor: WorkerExecutor, job: Job, items: Sequence[str], settings: Settings) -> None:
        self._executor, self._job, self._settings = executor, job, settings
        size = settings.batch_size or batch_size(job.separator)
        self._begin = dump(make_begin_job(job, settings))
        self._queue = WorkQueue(job.data, items, size, with_others=wants_others(job.separator))
        self._size = min(executor.count, -(-len(items) // size))
        self._out: queue.Queue[Any] = queue.Queue(2 * executor.count + 4)
        self._lock = threading.Lock()
        self._working, self._has_answered = self._size, False

    def outcomes(self, note: Callable[[str], None]) -> Generator[Outcome, None, None]:
        """What the workers find; ended at any point, this leaves no thread, and then no worker either."""
        threads = [threading.Thread(target=self._serve, args=(number,)) for number in range(self._size)]
        is_done = False
        try:
            for thread in threads:
                thread.start()
            running = len(threads)
            while running:
                with interruptible():
                    found = self._out.get()
                if found is None:
                    running -= 1
                elif isinstance(found, BaseException):
                    raise found
                elif isinstance(found, _Note):
                    note(found.text)
                    output_log.append_text(self._log, f"--- {found.text}\n")
                elif isinstance(found, _Printed):
                    output_log.append_text(self._log, found.text)
                else:
                    yield found
            is_done = True
        finally:
            self._queue.close()
            if not is_done:
                self._executor.close()
            for thread in threads:
                if thread.ident is not None:
                    thread.join()

    @property
    def _log(self) -> Path:
        return self._job.folder.path / output_log.LOG_NAME

    def _put(self, found: Any) -> None:
        while not self._queue.is_closed:
            try:
                self._out.put(found, timeout=0.2)
            except queue.Full:
                continue
            return
        raise QueueClosed

    def _serve(self, number: int) -> None:
        """The thread of a worker."""
        try:
            try:
                self._work(number)
            except QueueClosed:
                return
            except BaseException as error:
                self._put(error)
            self._put(None)
        except QueueClosed:
            return

    def _work(self, number: int) -> None:
        handle: WorkerHandle | None = None
        losses, last, unstored = 0, "", list[threading.Event]()
        while self._queue.has_more():
            try:
                handle = handle or self._start(number)
            except WorkerLostError as lost:
                losses += 1
                self._put(_Printed(lost.printed))
                if losses >= GIVEN_UP_AFTER:
                    return self._give_up(number, f"it died {losses} times in a row, at last as it started: {lost}")
                continue
            except _RefusedError as refused:
                return self._give_up(number, str(refused))
            self._wait_for(unstored)
            batch = self._queue.take()
            if batch is None:
                break
            try:
                unstored = self._separate(handle, batch)
                losses = 0
            except WorkerLostError as lost:
                self._executor.forget(number)
                handle = None
                losses += not lost.is_timeout and not batch.deaths
                last = str(lost)
                self._lost(batch, lost)
            finally:
                self._queue.task_done()
            if losses >= GIVEN_UP_AFTER:
                return self._give_up(
                    number, f"it died {losses} times in a row, at last on {_item_names(batch)}: {last}"
                )
            if handle is not None:
                handle = self._score(handle, number)
        if handle is not None:
            self._score(handle, number, is_end=True)
        return None

    def _start(self, number: int) -> WorkerHandle:
        """A worker that holds the separator."""
        handle, reply = self._executor.begin_worker(number, self._begin)
        if reply.interrupted:
            self._put(KeyboardInterrupt())
        if reply.refusal is not None:
            raise _RefusedError(reply.refusal)
        return handle

    def _request(self, handle: WorkerHandle, request: Request, limit: float | None = None) -> Reply:
        reply = check_reply(handle, load(handle.request(dump(request), limit)))
        stages.add_stage_times(reply.stages)
        tracing.add_trace(reply.trace)
        if reply.printed:
            self._put(_Printed(reply.printed))
        for text in reply.notes:
            self._put(_Note(f"{self._job.model.name}: {text}"))
        if reply.interrupted:
            self._put(KeyboardInterrupt())
        if reply.refusal is not None:
            self._put(Precondition(reply.refusal))
        if reply.interrupted or reply.refusal is not None:
            raise QueueClosed
        return reply

    def _separate(self, handle: WorkerHandle, batch: QueuedBatch) -> list[threading.Event]:
        """Hands a batch over; the events tell when its estimates are written."""
        reranking, stored = self._job.reranking, []
        for identifier, failure in batch.failures.items():
            self._put(Failed(identifier, failure, reranked=reranking is not None))
        if not batch.items:
            return []
        reply = self._request(handle, Separate(batch.items), self._limit(len(batch.items)))
        self._has_answered = True
        for item, found in zip(batch.items, reply.estimates, strict=True):
            if isinstance(found, CandidateSet):
                estimated = Estimated(item, _with_errors(found), usage=reply.usage)
                stored.append(estimated.stored)
                self._put(estimated)
            else:
                self._fail(item, found.to_exception())
        return stored

    def _limit(self, items: int) -> float | None:
        """Seconds for a batch."""
        each, reranking = self._settings.timeout, self._job.reranking
        if each is None or limits_itself(self._job):
            return None
        return each * items * (reranking.candidates if reranking else 1)

    def _score(self, handle: WorkerHandle, number: int, *, is_end: bool = False) -> WorkerHandle | None:
        """Lets a worker score what waits there; where it dies, that is left to the end of the run."""
        if not self._job.metrics:
            return handle
        try:
            for identifier, scores in self._request(handle, ScoreWaiting(is_end)).scores:
                self._put(Scored(identifier, scores))
        except WorkerLostError as lost:
            self._executor.forget(number)
            self._put(_Printed(lost.printed))
            self._put(_Note(f"worker {number + 1} died while it scored ({lost}); scores follow at the end"))
            return None
        return handle

    def _wait_for(self, stored: Sequence[threading.Event]) -> None:
        for one in stored:
            while not one.wait(0.2):
                if self._queue.is_closed:
                    raise QueueClosed

    def _fail(self, item: Item, error: Exception) -> None:
        reranking = self._job.reranking
        self._put(Failed(item.id, error, reranked=reranking is not None and reranking.applies_to(item)))

    def _lost(self, batch: QueuedBatch, lost: WorkerLostError) -> None:
        """What becomes of the items on which a worker died."""
        self._put(_Printed(lost.printed))
        deaths, retry = batch.deaths + 1, self._settings.retry
        if len(batch.items) > 1:
            for item in batch.items:
                self._queue.retry(item.id, 0)
            cause = f"took more than {self._limit(len(batch.items)):g} seconds" if lost.is_timeout else f"died ({lost})"
            self._put(_Note(f"a worker {cause} on {_item_names(batch)}, which are tried again one by one"))
            return
        self._has_answered = True
        (item,) = batch.items
        if lost.is_timeout:
            limit = f"{self._limit(1):g} seconds"
            self._fail(item, BadSeparation(f"expected an estimate within {limit}, found none: its worker was killed "
                                           "(see --timeout)"))  # fmt: skip
        elif deaths <= retry:
            self._queue.retry(item.id, deaths)
            self._put(_Note(f"{item.id}: its worker died ({lost}); it is tried again at the end"))
        else:
            times = f"{deaths} times" if deaths > 1 else "once"
            self._fail(item, BadSeparation(f"expected an estimate, found that the worker died {times}: {lost} (see "
                                           "--retry)"))  # fmt: skip

    def _give_up(self, number: int, cause: str) -> None:
        """Goes on without a worker; without the last one what is left has failed."""
        with self._lock:
            self._working -= 1
            is_last = not self._working
        if is_last and not self._has_answered:
            raise Precondition(
                cause if cause.startswith("expected ") else f"expected a worker that starts, found that {cause}"
            )
        self._put(_Note(f"worker {number + 1} was given up: {cause}"))
        if is_last:
            for identifier in self._queue.drain():
                error = BadSeparation(f"expected a worker for it, found that none is left: {cause}")
                self._put(Failed(identifier, error, reranked=self._job.reranking is not None))


def check_reply(handle: WorkerHandle, reply: Reply) -> Reply:
    """The reply; a worker that could not give one is as good as dead, and ended."""
    if reply.failure:
        handle.end()
        raise WorkerLostError(f"it could not answer: {reply.failure}", reply.printed)
    return reply


class _RefusedError(Exception):
    """A worker says why it cannot begin."""


def limits_itself(job: Job) -> bool:
    """Whether the separator of a job ends itself what takes too long, as those that run programs do."""
    return is_built_in(type(job.separator)) and hasattr(job.separator, "timeout")


def _item_names(batch: QueuedBatch) -> str:
    return ", ".join(item.id for item in batch.items)


def _with_errors(found: CandidateSet) -> CandidateSet:
    """The estimates with errors in the place of what is told of them."""
    candidates: list[Any] = [
        one.to_exception() if isinstance(one, SerializedError) else one for one in found.candidates
    ]
    return replace(found, candidates=tuple(candidates))
