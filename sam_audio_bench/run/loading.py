"""Batches of items, each loaded while the one before it is worked on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from sam_audio_bench import audio
from sam_audio_bench.errors import BenchError, describe_error
from sam_audio_bench.run.interruption import interruptible
from sam_audio_bench.run.stages import stage
from sam_audio_bench.separators.stems import mixture_key
from sam_audio_bench.tasks import TaskData
from sam_audio_bench.types import Audio, Item

__all__ = ["Batch", "prefetch"]


@dataclass
class Batch:
    """Items that could be loaded, and why others could not."""

    items: list[Item] = field(default_factory=list)
    failures: dict[str, BenchError] = field(default_factory=dict)


def prefetch(data: TaskData, identifiers: Sequence[str], size: int, *, with_others: bool = False) -> Iterator[Batch]:
    """Batches of items in order, the next one being loaded while one is worked on.

    Args:
        data: the whole task.
        identifiers: of the items.
        size: of a batch.
        with_others: with the references of all other items of the same mixture in the task, whichever are asked for.
    """
    load = _Company(data).load if with_others else data.__getitem__
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
    with interruptible():
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
    """The item with its mixture as the disk would give it back, so that the mixture as an estimate improves by 0 dB."""
    return replace(item, query=replace(item.query, mixture=audio.round_trip(item.query.mixture, copy=False)))


class _Company:
    """Loads items with the references of their mixture's other items, which are looked for in their group.

    References of one mixture are held at a time; of the others it is known which mixture they belong to.
    """

    def __init__(self, data: TaskData) -> None:
        self._data = data
        self._members: defaultdict[str, list[str]] = defaultdict(list)
        for identifier, group in data.groups.items():
            self._members[group].append(identifier)
        self._mixtures: dict[str, str] = {}  # item -> key of its mixture
        self._unread: dict[str, str] = {}  # item -> why it cannot be read
        self._key, self._references = "", dict[str, Audio]()

    def load(self, identifier: str) -> Item:
        """An item with `Item.others`; raises what loading it raises, and remarks what others raise."""
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
        """The reference of an item of the mixture that is at hand."""
        try:
            item = self._data[identifier]
        except BenchError as error:
            self._unread[identifier] = describe_error(error)
            return None
        self._mixtures[identifier] = mixture_key(item.query.mixture)
        return item.reference if self._mixtures[identifier] == self._key else None
