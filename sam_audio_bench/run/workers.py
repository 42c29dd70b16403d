"""An executor that separates and scores in workers: processes of this machine, or Ray actors.

One thread per worker sends it one batch after the other and waits for the replies. Batches and number of threads are
those of a local run, so that estimates and scores are the same, bit for bit. A worker gets its next batch only after
its last estimates are written. A worker that dies is started again, and its item is retried after all others; items of
a batch are retried one by one.
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
from sam_audio_bench.run.contract import get_batch_size, needs_other_references
from sam_audio_bench.run.execution import EstimatedItem, FailedItem, Outcome, ScoredItem
from sam_audio_bench.run.interruption import allow_interruption
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
"""Consecutive deaths, each on an item that no other worker died on, after which a worker is not started again."""


class WorkerHandle(Protocol):
    """A running worker, to which requests can be sent."""

    def request(self, content: bytes, limit: float | None = None) -> bytes:
        """Returns the reply; raises WorkerLostError if the worker dies or takes more than ``limit`` seconds."""
        ...

    def end(self, patience: float = 0.0) -> None:
        """Ends the worker, after ``patience`` seconds to end by itself; may be called by any thread, and repeatedly."""
        ...


class WorkerExecutor:
    """An `Executor` that keeps its workers between jobs.

    Args:
        connect: starts the worker with a given number, from 0.
        count: number of workers.
    """

    def __init__(self, connect: Callable[[int], WorkerHandle], count: int) -> None:
        self._connect, self.count = connect, count
        self._handles: dict[int, WorkerHandle] = {}
        self._lock = threading.Lock()
        self._is_closed = False

    def outcomes(
        self, job: Job, items: Sequence[str], settings: Settings, scorer: Scorer
    ) -> Generator[Outcome, None, None]:
        """Yields outcomes as `Executor.outcomes`, in the order in which workers finish."""
        if items:
            yield from _JobWorkers(self, job, items, settings).outcomes(scorer.note)

    def handle(self, number: int) -> WorkerHandle:
        """Returns the worker with a number, and starts it if there is none."""
        with self._lock:
            if self._is_closed:
                raise QueueClosed
            if number not in self._handles:
                self._handles[number] = self._connect(number)
            return self._handles[number]

    def begin_worker(self, number: int, begin: bytes) -> tuple[WorkerHandle, Reply]:
        """Sends the first request to the worker with a number, and returns its handle and reply.

        Raises:
            WorkerLostError: the worker could not be started, or died.
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
        """Removes a worker that has died."""
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
    """A message for the user."""

    text: str


@dataclass(frozen=True)
class _Printed:
    """Output of a separator."""

    text: str


_Message = Outcome | _Note | _Printed | BaseException | None
"""What the thread of a worker sends to the main thread; None: the thread has ended."""


class _JobWorkers:
    """The workers of one job, and the threads that send them requests."""

    def __init__(self, executor: WorkerExecutor, job: Job, items: Sequence[str], settings: Settings) -> None:
        self._executor, self._job, self._settings = executor, job, settings
        size = settings.batch_size or get_batch_size(job.separator)
        self._begin = dump(make_begin_job(job, settings))
        self._queue = WorkQueue(job.data, items, size, with_others=needs_other_references(job.separator))
        self._size = min(executor.count, -(-len(items) // size))
        self._out: queue.Queue[_Message] = queue.Queue(2 * executor.count + 4)
        self._lock = threading.Lock()
        self._working, self._has_outcome = self._size, False

    def outcomes(self, note: Callable[[str], None]) -> Generator[Outcome, None, None]:
        """Yields the workers' outcomes; if the generator is closed early, all threads and workers are ended."""
        threads = [threading.Thread(target=self._serve, args=(number,)) for number in range(self._size)]
        is_done = False
        try:
            for thread in threads:
                thread.start()
            running = len(threads)
            while running:
                with allow_interruption():
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

    def _put(self, found: _Message) -> None:
        while not self._queue.is_closed:
            try:
                self._out.put(found, timeout=0.2)
            except queue.Full:
                continue
            return
        raise QueueClosed

    def _serve(self, number: int) -> None:
        """Runs the thread of a worker."""
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
        """Starts a worker that loads the separator."""
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
        """Separates a batch in a worker; the returned events are set when its estimates are written."""
        reranking, stored = self._job.reranking, []
        for identifier, failure in batch.failures.items():
            self._put(FailedItem(identifier, failure, reranked=reranking is not None))
        if not batch.items:
            return []
        reply = self._request(handle, Separate(batch.items), self._limit(len(batch.items)))
        self._has_outcome = True
        for item, found in zip(batch.items, reply.estimates, strict=True):
            if isinstance(found, CandidateSet):
                estimated = EstimatedItem(item, _with_errors(found), usage=reply.usage)
                stored.append(estimated.stored)
                self._put(estimated)
            else:
                self._fail(item, found.to_exception())
        return stored

    def _limit(self, items: int) -> float | None:
        """Returns the time limit of a batch in seconds."""
        each, reranking = self._settings.timeout, self._job.reranking
        if each is None or limits_itself(self._job):
            return None
        return each * items * (reranking.candidates if reranking else 1)

    def _score(self, handle: WorkerHandle, number: int, *, is_end: bool = False) -> WorkerHandle | None:
        """Has a worker score its waiting estimates; if it dies, they are scored at the end of the run."""
        if not self._job.metrics:
            return handle
        try:
            for identifier, scores in self._request(handle, ScoreWaiting(is_end)).scores:
                self._put(ScoredItem(identifier, scores))
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
        self._put(FailedItem(item.id, error, reranked=reranking is not None and reranking.applies_to(item)))

    def _lost(self, batch: QueuedBatch, lost: WorkerLostError) -> None:
        """Retries the items on which a worker died, or records their failure."""
        self._put(_Printed(lost.printed))
        deaths, retry = batch.deaths + 1, self._settings.retry
        if len(batch.items) > 1:
            for item in batch.items:
                self._queue.retry(item.id, 0)
            cause = f"took more than {self._limit(len(batch.items)):g} seconds" if lost.is_timeout else f"died ({lost})"
            self._put(_Note(f"a worker {cause} on {_item_names(batch)}, which are tried again one by one"))
            return
        self._has_outcome = True
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
        """Continues without a worker; without the last one, all remaining items fail."""
        with self._lock:
            self._working -= 1
            is_last = not self._working
        if is_last and not self._has_outcome:
            raise Precondition(
                cause if cause.startswith("expected ") else f"expected a worker that starts, found that {cause}"
            )
        self._put(_Note(f"worker {number + 1} was given up: {cause}"))
        if is_last:
            for identifier in self._queue.drain():
                error = BadSeparation(f"expected a worker for it, found that none is left: {cause}")
                self._put(FailedItem(identifier, error, reranked=self._job.reranking is not None))


def check_reply(handle: WorkerHandle, reply: Reply) -> Reply:
    """Returns the reply; a worker that failed itself is ended, and WorkerLostError is raised."""
    if reply.failure:
        handle.end()
        raise WorkerLostError(f"it could not handle a request: {reply.failure}", reply.printed)
    return reply


class _RefusedError(Exception):
    """A worker cannot begin a job."""


def limits_itself(job: Job) -> bool:
    """Returns whether the separator of a job has its own time limit, as those that run programs do."""
    return is_built_in(type(job.separator)) and hasattr(job.separator, "timeout")


def _item_names(batch: QueuedBatch) -> str:
    return ", ".join(item.id for item in batch.items)


def _with_errors(found: CandidateSet) -> CandidateSet:
    """Returns the estimates with exceptions instead of serialized errors."""
    candidates: list[Any] = [
        one.to_exception() if isinstance(one, SerializedError) else one for one in found.candidates
    ]
    return replace(found, candidates=tuple(candidates))
