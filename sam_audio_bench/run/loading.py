"""Batches of items, each loaded while the one before it is worked on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from sam_audio_bench import audio
from sam_audio_bench.errors import BenchError
from sam_audio_bench.run.interruption import interruptible
from sam_audio_bench.run.stages import stage
from sam_audio_bench.tasks import TaskData
from sam_audio_bench.types import Item

__all__ = ["Batch", "prefetch"]


@dataclass
class Batch:
    """Items that could be loaded, and why others could not."""

    items: list[Item] = field(default_factory=list)
    failures: dict[str, BenchError] = field(default_factory=dict)


def prefetch(data: TaskData, identifiers: Sequence[str], size: int) -> Iterator[Batch]:
    """Batches of items in order, the next one being loaded while one is worked on."""
    under_way: Future[Batch] | None = None
    with ThreadPoolExecutor(1) as loader:
        for start in range(0, len(identifiers), size):
            following = loader.submit(_load, data, identifiers[start : start + size])
            if under_way is not None:
                yield _awaited(under_way)
            under_way = following
        if under_way is not None:
            yield _awaited(under_way)


def _awaited(under_way: Future[Batch]) -> Batch:
    with interruptible():
        return under_way.result()


def _load(data: TaskData, identifiers: Sequence[str]) -> Batch:
    batch = Batch()
    for identifier in identifiers:
        try:
            with stage("load"):
                batch.items.append(_on_grid(data[identifier]))
        except BenchError as error:
            batch.failures[identifier] = error
    return batch


def _on_grid(item: Item) -> Item:
    """The item with its mixture as the disk would give it back, so that the mixture as an estimate improves by 0 dB."""
    return replace(item, query=replace(item.query, mixture=audio.as_stored(item.query.mixture, copy=False)))
