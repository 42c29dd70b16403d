"""Scoring of stored estimates in workers: one process reads and writes, and others compute with one network each.

The metrics without weights share one pass over the estimates, and each other metric has its own, so that a worker has
one network in memory at a time. Batches are those of one process, and so are the scores, bit for bit. If a worker dies,
its items are scored again one by one, by each metric alone: a metric that kills its worker again loses only its own
score of that item.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from sam_audio_bench.columns import LoadedMetric
from sam_audio_bench.errors import Precondition
from sam_audio_bench.identity import Options
from sam_audio_bench.run import output_log
from sam_audio_bench.run.global_state import capture_settings
from sam_audio_bench.run.interruption import allow_interruption
from sam_audio_bench.run.scoring import EstimatedItems, Scores, ScoringWork
from sam_audio_bench.run.serialization import dump, load
from sam_audio_bench.run.worker import BeginScoring, MetricsToLoad, Reply, ScoreStored
from sam_audio_bench.run.worker_process import WorkerLostError
from sam_audio_bench.run.workers import GIVEN_UP_AFTER, WorkerExecutor, WorkerHandle, check_reply
from sam_audio_bench.types import Item, Score, Separation, Status

__all__ = ["WorkerPass", "worker_passes"]

_TRIES = 2  # of one item by one metric alone: another item or metric may have caused the first death


def worker_passes(
    executor: WorkerExecutor, metrics: Sequence[tuple[LoadedMetric, Options]], log: Path, note: Callable[[str], None]
) -> list[WorkerPass]:
    """Makes the passes over a run's estimates.

    Args:
        executor: the workers.
        metrics: each with the options of its constructor.
        log: file for the output of metrics.
        note: called with messages for the user.
    """
    light = [pair for pair in metrics if not _has_weights(pair[0])]
    groups = [light, *([pair] for pair in metrics if _has_weights(pair[0]))]
    return [WorkerPass(executor, group, log, note) for group in groups if group]


def _has_weights(one: LoadedMetric) -> bool:
    return any(record.weights_sha256 is not None for record in one.records.values())


@dataclass
class WorkerPass:
    """A `ScoringPass` in workers."""

    executor: WorkerExecutor
    loaded: Sequence[tuple[LoadedMetric, Options]]
    log: Path
    note: Callable[[str], None]
    _begun: dict[int, WorkerHandle] = field(default_factory=dict)  # workers that have loaded the metrics
    _free: queue.Queue[int] = field(default_factory=queue.Queue)
    _deaths: dict[str, int] = field(default_factory=dict)  # metric -> consecutive items on which its worker died
    _given_up: dict[str, str] = field(default_factory=dict)  # metric -> reason
    _messages: queue.Queue[tuple[str, str]] = field(default_factory=queue.Queue)  # for the user, for the log
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def metrics(self) -> Sequence[LoadedMetric]:
        """The metrics of this pass."""
        return [one for one, _ in self.loaded]

    def scores(self, work: Iterator[ScoringWork]) -> Generator[tuple[EstimatedItems, Sequence[Scores]], None, None]:
        """As `ScoringPass.scores`; if the generator is closed early, all workers are ended."""
        begin = dump(BeginScoring(metrics=[MetricsToLoad.of([one], options) for one, options in self.loaded],
                                  state=capture_settings()))  # fmt: skip
        count = self.executor.count
        for number in range(count):
            self._free.put(number)
        waiting: deque[tuple[EstimatedItems, Future[list[Scores]]]] = deque()
        is_done = False
        pool = ThreadPoolExecutor(count)
        try:
            for pairs, metrics, lag in work:
                waiting.append((pairs, pool.submit(self._score, begin, pairs, metrics, lag)))
                while waiting and (len(waiting) > 2 * count or waiting[0][1].done()):
                    yield self._first(waiting)
            while waiting:
                yield self._first(waiting)
            is_done = True
        finally:
            if not is_done:
                self.executor.close()
            pool.shutdown(cancel_futures=True)
            self._flush_messages()

    def _first(
        self, waiting: deque[tuple[EstimatedItems, Future[list[Scores]]]]
    ) -> tuple[EstimatedItems, list[Scores]]:
        pairs, future = waiting.popleft()
        with allow_interruption():
            found = future.result()
        self._flush_messages()
        return pairs, found

    def _flush_messages(self) -> None:
        """Prints and logs the messages of threads, which do neither themselves."""
        while not self._messages.empty():
            text, printed = self._messages.get()
            output_log.append_text(self.log, printed + (f"--- {text}\n" if text else ""))
            if text:
                self.note(text)

    def _score(self, begin: bytes, pairs: EstimatedItems, metrics: Sequence[LoadedMetric], lag: bool) -> list[Scores]:
        """Scores items, in a thread."""
        alive = [one for one in metrics if _name(one) not in self._given_up]
        try:
            found = self._request(begin, pairs, alive, lag) if alive else [Scores() for _ in pairs]
        except WorkerLostError:
            return [_joined([self._score_alone(begin, pair, one, lag) for one in metrics]) for pair in pairs]
        dead = [one for one in metrics if one not in alive]
        return [
            _joined([scores, *(self._failure(pair, one, self._given_up[_name(one)]) for one in dead)])
            for pair, scores in zip(pairs, found, strict=True)
        ]

    def _score_alone(
        self, begin: bytes, pair: tuple[Item, Sequence[Separation]], one: LoadedMetric, lag: bool
    ) -> Scores:
        """Scores one item by one metric, which may kill its worker."""
        name, cause = _name(one), ""
        for _ in range(_TRIES):
            if name in self._given_up:
                return self._failure(pair, one, self._given_up[name])
            try:
                return self._request(begin, [pair], [one], lag)[0]
            except WorkerLostError as lost:
                cause = f"its worker died: {lost}"
        with self._lock:
            self._deaths[name] = self._deaths.get(name, 0) + 1
            if self._deaths[name] >= GIVEN_UP_AFTER and name not in self._given_up:
                self._given_up[name] = (
                    f"not computed, since workers died on {self._deaths[name]} items in a row: {cause}"
                )
                self._messages.put((f"{name} was given up: workers died on {self._deaths[name]} items in a row", ""))
        return self._failure(pair, one, cause)

    def _request(self, begin: bytes, pairs: EstimatedItems, metrics: Sequence[LoadedMetric], lag: bool) -> list[Scores]:
        """Sends estimates to a worker and returns the scores; raises WorkerLostError if it dies."""
        number = self._free.get()
        try:
            handle = self._begun.get(number) or self._start(number, begin)
            columns = frozenset(name for one in metrics for name in one.columns)
            reply = check_reply(handle, load(handle.request(dump(ScoreStored(pairs, columns, lag)))))
        except WorkerLostError as lost:
            self._begun.pop(number, None)
            self.executor.forget(number)
            self._messages.put(("", lost.printed))
            raise
        finally:
            self._free.put(number)
        self._check(reply)
        with self._lock:
            for one in metrics:
                self._deaths.pop(_name(one), None)
        return [scores for _, scores in reply.scores]

    def _start(self, number: int, begin: bytes) -> WorkerHandle:
        """Starts a worker that loads the metrics."""
        for attempt in range(GIVEN_UP_AFTER):
            try:
                handle, reply = self.executor.begin_worker(number, begin)
            except WorkerLostError as lost:
                self._messages.put(("", lost.printed))
                if attempt + 1 == GIVEN_UP_AFTER:
                    raise Precondition(
                        f"expected a worker that starts, found that it died {GIVEN_UP_AFTER} times in a row: {lost}"
                    ) from lost
                continue
            self._check(reply)
            self._begun[number] = handle
            break
        return self._begun[number]

    def _check(self, reply: Reply) -> None:
        if reply.printed:
            self._messages.put(("", reply.printed))
        if reply.interrupted:
            raise KeyboardInterrupt
        if reply.refusal is not None:
            raise Precondition(reply.refusal)

    @staticmethod
    def _failure(pair: tuple[Item, Sequence[Separation]], one: LoadedMetric, cause: str) -> Scores:
        rows = [dict.fromkeys(one.columns, Score(None, Status.ERROR)) for _ in pair[1]]
        return Scores(rows=rows, errors=dict.fromkeys(one.columns, cause))


def _name(one: LoadedMetric) -> str:
    return ", ".join(one.columns)


def _joined(parts: Sequence[Scores]) -> Scores:
    """Merges the scores of one item by several metrics."""
    found = Scores(rows=[{} for _ in max((part.rows for part in parts), key=len)])
    for part in parts:
        for row, more in zip(found.rows, part.rows, strict=False):
            row.update(more)
        found.complete |= part.complete
        found.not_asked |= part.not_asked
        found.errors |= part.errors
        found.lag_ms = part.lag_ms if found.lag_ms is None else found.lag_ms
    return found
