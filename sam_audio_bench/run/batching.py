"""Batches that fit into memory: out of memory halves a batch, and those that follow, and costs no item."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

from sam_audio_bench.types import Item

__all__ = ["AdaptiveBatching", "is_out_of_memory"]

Found = TypeVar("Found")

_SAID = ("out of memory", "not enough memory", "can't allocate memory", "cannot allocate memory", "bad_alloc",
         "cublas_status_alloc_failed")  # fmt: skip


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error, or one that it was raised from, says that memory of the host or the device is used up."""
    if error is None:
        return False
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    said = isinstance(error, RuntimeError) and any(text in str(error).lower() for text in _SAID)
    return said or is_out_of_memory(error.__cause__)


@dataclass
class AdaptiveBatching:
    """Hands items over at once, but no more of them than fitted into memory before.

    Args:
        note: is told when a batch did not fit, and what is done from there on.
        size: items at once; None: as many as are given.
    """

    note: Callable[[str], None]
    size: int | None = None

    def run(self, items: Sequence[Item], call: Callable[[Sequence[Item]], list[Found]]) -> list[Found]:
        """What ``call`` finds for the items, in their order; it raises what is out of memory with more than one."""
        found: list[Found] = []
        while len(found) < len(items):
            batch = items[len(found) : len(found) + (self.size or len(items))]
            for one in self._fitting(batch, call):
                found += one
        return found

    def _fitting(self, batch: Sequence[Item], call: Callable[[Sequence[Item]], list[Found]]) -> Iterator[list[Found]]:
        """What is found for a batch; nothing where it did not fit, and smaller ones are to be tried."""
        try:
            yield call(batch)
            return
        except BaseException as error:
            if len(batch) == 1 or not is_out_of_memory(error):
                raise
        self.size = (len(batch) + 1) // 2  # outside the block: the error holds on to what the call had allocated
        gc.collect()
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            torch.cuda.empty_cache()
        self.note(f"out of memory with {len(batch)} items at once; {self.size} at once from here on")
