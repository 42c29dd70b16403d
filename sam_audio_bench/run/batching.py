"""Batches that fit into memory: when memory runs out, the batch and all later ones are halved, and no item is lost."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

from sam_audio_bench.types import Item

__all__ = ["AdaptiveBatching", "is_out_of_memory"]

Result = TypeVar("Result")

_MESSAGES = ("out of memory", "not enough memory", "can't allocate memory", "cannot allocate memory", "bad_alloc",
         "cublas_status_alloc_failed")  # fmt: skip


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error, or a cause of it, reports that host or device memory is exhausted."""
    if error is None:
        return False
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    is_reported = isinstance(error, RuntimeError) and any(text in str(error).lower() for text in _MESSAGES)
    return is_reported or is_out_of_memory(error.__cause__)


@dataclass
class AdaptiveBatching:
    """Processes items in batches no larger than the largest that fitted into memory.

    Args:
        note: called with a message when a batch did not fit.
        size: items per batch; None: all that are given.
    """

    note: Callable[[str], None]
    size: int | None = None

    def run(self, items: Sequence[Item], call: Callable[[Sequence[Item]], list[Result]]) -> list[Result]:
        """Returns the results of ``call``, in the order of the items.

        ``call`` must raise when it runs out of memory with more than one item.
        """
        found: list[Result] = []
        while len(found) < len(items):
            batch = items[len(found) : len(found) + (self.size or len(items))]
            for one in self._try_batch(batch, call):
                found += one
        return found

    def _try_batch(
        self, batch: Sequence[Item], call: Callable[[Sequence[Item]], list[Result]]
    ) -> Iterator[list[Result]]:
        """Yields the results of a batch; nothing if it did not fit, after which the caller tries a smaller one."""
        try:
            yield call(batch)
            return
        except BaseException as error:
            if len(batch) == 1 or not is_out_of_memory(error):
                raise
        self.size = (len(batch) + 1) // 2  # outside the block: the error keeps the memory of the call alive
        gc.collect()
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            torch.cuda.empty_cache()
        self.note(f"out of memory with {len(batch)} items at once; {self.size} at once from here on")
