"""The queue of an executor's worker threads: batches of items, each loaded when a thread takes it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from sam_audio_bench.run import loading
from sam_audio_bench.run.loading import prefetch
from sam_audio_bench.tasks import TaskData

__all__ = ["QueueClosed", "QueuedBatch", "WorkQueue"]


class QueueClosed(Exception):  # noqa: N818
    """The queue was closed, since the run has ended."""


@dataclass
class QueuedBatch(loading.Batch):
    """Items that are separated together."""

    deaths: int = 0  # how many workers died on this item


class WorkQueue:
    """A thread-safe queue of batches; items that are retried come last.

    Args:
        data: the whole task.
        items: ids of its items.
        size: items per batch.
        with_others: as in `prefetch`.
    """

    def __init__(self, data: TaskData, items: Sequence[str], size: int, *, with_others: bool = False) -> None:
        self._load = partial(prefetch, data, with_others=with_others)
        self._batches, self._not_loaded = self._load(items, size), deque(items)
        self._retries: deque[tuple[str, int]] = deque()
        self._changed = threading.Condition()
        self._unfinished = 0
        self.is_closed = False

    def has_more(self) -> bool:
        """Waits until there is a batch (True), or until there can be none any more (False)."""
        with self._changed:
            while not self.is_closed and not (self._not_loaded or self._retries):
                if not self._unfinished:
                    return False
                self._changed.wait(1.0)
            return not self.is_closed

    def take(self) -> QueuedBatch | None:
        """Returns the next batch, to be followed by `task_done`; None: nothing is left, and nothing can be retried."""
        with self._changed:
            while not self.is_closed:
                found = self._next()
                if found is not None:
                    self._unfinished += 1
                    return found
                if not self._unfinished:
                    return None
                self._changed.wait(1.0)
        raise QueueClosed

    def _next(self) -> QueuedBatch | None:
        for batch in self._batches:
            for _ in range(len(batch.items) + len(batch.failures)):
                self._not_loaded.popleft()
            return QueuedBatch(batch.items, batch.failures)
        if self._retries:
            identifier, deaths = self._retries.popleft()
            (batch,) = self._load([identifier], 1)
            return QueuedBatch(batch.items, batch.failures, deaths)
        return None

    def retry(self, identifier: str, deaths: int) -> None:
        """Adds an item at the end, to be tried alone."""
        with self._changed:
            self._retries.append((identifier, deaths))

    def task_done(self) -> None:
        """Marks a taken batch as done; items of it that are retried must have been added before."""
        with self._changed:
            self._unfinished -= 1
            self._changed.notify_all()

    def drain(self) -> list[str]:
        """Removes and returns the ids of all remaining items."""
        with self._changed:
            found = [*self._not_loaded, *(identifier for identifier, _ in self._retries)]
            self._not_loaded.clear()
            self._retries.clear()
            return found

    def close(self) -> None:
        """Closes the queue and wakes all waiting threads."""
        self.is_closed = True
        with self._changed:
            self._changed.notify_all()
