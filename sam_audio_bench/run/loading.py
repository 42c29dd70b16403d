"""Loading of items in batches; each batch is loaded while the previous one is processed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from sam_audio_bench import audio
from sam_audio_bench.errors import BenchError, describe_error
from sam_audio_bench.run.interruption import allow_interruption
from sam_audio_bench.run.stages import stage
from sam_audio_bench.separators.stems import mixture_key
from sam_audio_bench.tasks import TaskData
from sam_audio_bench.types import Audio, Item

__all__ = ["Batch", "prefetch"]


@dataclass
class Batch:
    """Items that could be loaded, and the errors of those that could not."""

    items: list[Item] = field(default_factory=list)
    failures: dict[str, BenchError] = field(default_factory=dict)


def prefetch(data: TaskData, identifiers: Sequence[str], size: int, *, with_others: bool = False) -> Iterator[Batch]:
    """Yields batches of items in order, and loads the next batch while one is processed.

    Args:
        data: the whole task.
        identifiers: ids of the items.
        size: items per batch.
        with_others: fill `Item.others` with the references of all other items of the same mixture in the task, whether
            or not these are among ``identifiers``.
    """
    load = _LoaderWithOthers(data).load if with_others else data.__getitem__
    under_way: Future[Batch] | None = None
    with ThreadPoolExecutor(1) as loader:
        for start in range(0, len(identifiers), size):
            following = loader.submit(_load, load, identifiers[start : start + size])
            if under_way is not None:
                yield _awaited(under_way)
            under_way = following
        if under_way is not None:
            yield _awaited(under_way)


def _awaited(under_way: Future[Batch]) -> Batch:
    with allow_interruption():
        return under_way.result()


def _load(load: Callable[[str], Item], identifiers: Sequence[str]) -> Batch:
    batch = Batch()
    for identifier in identifiers:
        try:
            with stage("load"):
                batch.items.append(_on_grid(load(identifier)))
        except BenchError as error:
            batch.failures[identifier] = error
    return batch


def _on_grid(item: Item) -> Item:
    """Returns the item with its mixture quantized as in a file, so that the mixture's own improvement is 0 dB."""
    return replace(item, query=replace(item.query, mixture=audio.round_trip(item.query.mixture, copy=False)))


class _LoaderWithOthers:
    """Loads items with the references of the other items of their mixture, which are searched in their group.

    References of only one mixture are in memory at a time; for other items only the key of their mixture is stored.
    """

    def __init__(self, data: TaskData) -> None:
        self._data = data
        self._members: defaultdict[str, list[str]] = defaultdict(list)
        for identifier, group in data.groups.items():
            self._members[group].append(identifier)
        self._mixtures: dict[str, str] = {}  # item -> key of its mixture
        self._unread: dict[str, str] = {}  # item -> error message
        self._key, self._references = "", dict[str, Audio]()

    def load(self, identifier: str) -> Item:
        """Loads an item with `Item.others`; its own errors are raised, and those of other items become remarks."""
        item = self._data[identifier]
        members = self._members[self._data.groups[identifier]]
        key = self._mixtures[identifier] = mixture_key(item.query.mixture)
        if key != self._key:
            self._key, self._references = key, {}
            for member in members:
                if self._mixtures.get(member, key) == key and (found := self._reference(member)) is not None:
                    self._references[member] = found
        others = {member: sound for member, sound in self._references.items() if member != identifier}
        unread = tuple(
            f"{member} is of the same recording, and counts for no choice among outputs: {self._unread[member]}"
            for member in members if member in self._unread
        )  # fmt: skip
        return replace(item, others=others, remarks=(*item.remarks, *unread))

    def _reference(self, identifier: str) -> Audio | None:
        """Returns the reference of an item if it belongs to the current mixture."""
        try:
            item = self._data[identifier]
        except BenchError as error:
            self._unread[identifier] = describe_error(error)
            return None
        self._mixtures[identifier] = mixture_key(item.query.mixture)
        return item.reference if self._mixtures[identifier] == self._key else None
