"""A loaded task: names known at once, audio loaded one item at a time."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, SupportsIndex

from sam_audio_bench.digests import combined_digest
from sam_audio_bench.errors import MediaError, UsageError, unknown_name
from sam_audio_bench.files import sha256
from sam_audio_bench.notebook import table_html
from sam_audio_bench.records import TaskRecord
from sam_audio_bench.tasks.attributes import Attribute, Attributes
from sam_audio_bench.types import Item

__all__ = ["PROMPTS", "TaskData", "asked_item", "digest_of_ids"]

PROMPTS = ("given", "paraphrase", "absent")
"""What the items of a task are asked by, see `sam_audio_bench.tasks.prompts`."""

_SHOWN_ITEMS = 10  # in a notebook
_ENDING = re.compile(r"~(p\d+|absent)$")


def asked_item(identifier: str) -> str:
    """The item that a question with other words is about.

    >>> asked_item("sfx-01~p2"), asked_item("sfx-01~absent"), asked_item("sfx-01")
    ('sfx-01', 'sfx-01', 'sfx-01')
    """
    return _ENDING.sub("", identifier)


def digest_of_ids(identifiers: Iterable[str]) -> str:
    """Digest of item ids, whatever their order."""
    return sha256("\n".join(sorted(identifiers)).encode())


def _content(item: Item) -> str:
    """Digest of what an item holds."""
    from sam_audio_bench.code_digests import value_digest

    prompt, sounds = item.query.prompt, (item.query.mixture, item.reference, item.residual_reference)
    files = [None if name is None else Path(name) for name in (prompt.video, prompt.mask)]
    sources = [(one.samples, one.rate) for one in item.residual_sources]
    known = [(one.samples, one.rate) for one in sounds if one is not None]
    return value_digest([prompt.text, prompt.spans, files, *known, [one is None for one in sounds], *sources])


@dataclass(frozen=True, kw_only=True)
class TaskData:
    """The items of one task and split, in their order; iterating loads them lazily.

    ``provides`` says what its items offer to metrics, of "reference", "residual_reference", "residual_sources" where
    every source of the mixture is known, "text", "spans", "video", and "speech" where the target is a voice.
    """

    task: str  # "sfx"
    version: str  # "1"
    split: str  # "test", "mini", or "file" for anyone's data
    revision: str  # of the data: a commit, or a hash of the content
    groups: Mapping[str, str]  # item id -> the recording it was cut from, in item order
    provides: frozenset[str]
    load: Callable[[str], Item]  # raises MediaError
    content: Callable[[str], str] | None = None  # item id -> digest of its sound, prompt and group; None: of `revision`
    size: Callable[[str], int | None] | None = None  # item id -> values of its mixture as files claim; None: not long
    place: str | None = None  # absolute path of anyone's data
    code_sha256: str | None = None  # of a third party's task; "": unknown, so that nothing is kept
    source: str | None = None  # the name or path that it was asked for by, if that is not ``task``
    subset: str = "paper"
    prompts: str = "given"  # of `PROMPTS`
    texts: Mapping[str, str] = field(default_factory=dict)  # item id -> its text, known without loading it
    paraphrases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # item id -> other words for its text
    heard: Mapping[str, frozenset[str]] = field(default_factory=dict)  # item id -> texts that fit its mixture
    attributes: Attributes = field(default_factory=dict)  # item id -> what else is known of it; in no identity
    missing: frozenset[str] = frozenset()  # items known to have no recording; loading them fails
    notes: tuple[str, ...] = ()  # what a reader of the plan must know
    allow_outside: bool = False  # whether a manifest may name files outside its folder

    @property
    def ids(self) -> tuple[str, ...]:
        """Item ids in order."""
        return tuple(self.groups)

    @property
    def label(self) -> str:
        """Name of the task with version and split, as run folders use it: ``sfx@1-mini``, ``sfx@1-test-full``."""
        return self.record.label

    @property
    def record(self) -> TaskRecord:
        """What identifies the selection of items."""
        return TaskRecord(
            id=self.task,
            version=self.version,
            split=self.split,
            subset=self.subset,
            source=self.source or self.task,
            data_revision=self.revision,
            items=len(self.groups),
            ids_sha256=self.ids_sha256,
            prompts=self.prompts,  # type: ignore[arg-type]  # checked by with_prompts
            allow_outside=self.allow_outside,
            place=self.place,
            code_sha256=self.code_sha256,
        )

    @property
    def ids_sha256(self) -> str:
        """Digest of the sorted item ids."""
        return digest_of_ids(self.groups)

    def attributes_of(self, identifier: str) -> Mapping[str, Attribute]:
        """What is known of an item, or of the one that a question with other words is about."""
        item = identifier if self.prompts == "given" else asked_item(identifier)
        return self.attributes.get(item, {})

    def content_sha256(self, identifier: str) -> str:
        """Digest of all that an item is made of: its sound, its prompt and its group.

        Of a task that does not tell it, the item is loaded; its revision and code count as well.
        """
        if self.content is not None:
            try:
                return self.content(identifier)
            except MediaError:  # loading it will say so
                return combined_digest("unreadable", identifier)
        try:
            item = self.load(identifier)
        except MediaError:
            return combined_digest("unreadable", identifier)
        version = (self.task, self.version, self.revision, str(self.code_sha256))
        return combined_digest(*version, identifier, self.groups[identifier], _content(item))

    def __repr__(self) -> str:
        return f"TaskData({self._summary})"

    @property
    def _summary(self) -> str:
        offered = ", ".join(sorted(self.provides))
        return f"{self.label}: {len(self)} items of {len(set(self.groups.values()))} recordings, with {offered}"

    def _repr_html_(self) -> str:
        shown = self.ids[:_SHOWN_ITEMS]
        rows = [
            (name, self.groups[name], self.texts.get(name, ""), "no recording" * (name in self.missing))
            for name in shown
        ]
        more = [f"{len(self) - len(shown)} more items"] if len(shown) < len(self) else []
        told = [*more, *self.notes, "task[0] or task[ID] shows an item and lets it be heard."]
        return table_html(self._summary, ("item", "group", "text", ""), rows, told)

    def __len__(self) -> int:
        return len(self.groups)

    def __iter__(self) -> Iterator[Item]:
        return map(self.load, self.groups)

    def __getitem__(self, identifier: str | SupportsIndex | slice[Any, Any, Any]) -> Item:
        """The item of an id, or at a place, from the end where negative; raises UsageError where there is none."""
        if isinstance(identifier, slice):
            raise UsageError(f"expected an item's id or its place, found {identifier}; write select(limit=…, ids=…)")
        if isinstance(identifier, SupportsIndex):
            place = operator.index(identifier)
            if not -len(self) <= place < len(self):
                raise UsageError(f"expected the place of one of the {len(self)} items of {self.label}, found {place}")
            return self.load(self.ids[place])
        if identifier not in self.groups:
            raise unknown_name("item", identifier, self.groups)
        return self.load(identifier)

    def select(
        self, *, limit: int | None = None, ids: Sequence[str] = (), shard: tuple[int, int] | None = None
    ) -> TaskData:
        """The part of the task that a run is asked for: named items, then shard I of N, then the first ``limit``.

        A shard takes every N-th item from the I-th, counting from 1, so that N shards are a partition. The paraphrases
        of an item stay together and count as one; its plain id names all of them.
        """
        if limit is not None and limit < 1:
            raise UsageError(f"expected --limit to be at least 1, found {limit}")
        item = str if self.prompts == "given" else asked_item
        known = {name for identifier in self.groups for name in (identifier, item(identifier))}
        for identifier in ids:
            if identifier not in known:
                raise unknown_name("item", identifier, self.groups)
        wanted = set(ids)
        named = [name for name in self.groups if not wanted or not wanted.isdisjoint((name, item(name)))]
        chosen = list(dict.fromkeys(map(item, named)))
        if shard is not None:
            index, count = shard
            if not 1 <= index <= count:
                raise UsageError(f"expected --shard I/N with 1 <= I <= N, found {index}/{count}")
            chosen = chosen[index - 1 :: count]
        left = set(chosen[:limit])
        return replace(self, groups={name: self.groups[name] for name in named if item(name) in left})
