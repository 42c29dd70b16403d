"""TaskData: a loaded task, whose item ids are known at once and whose audio is loaded one item at a time."""

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

__all__ = ["PROMPTS", "TaskData", "base_item_id", "digest_of_ids"]

PROMPTS = ("given", "paraphrase", "absent")
"""Kinds of prompts of the items of a task, see `sam_audio_bench.tasks.prompts`."""

_SHOWN_ITEMS = 10  # in a notebook
_VARIANT = re.compile(r"~(p\d+|absent)$")


def base_item_id(identifier: str) -> str:
    """Returns the id of the item of which an id names a variant with another prompt.

    >>> base_item_id("sfx-01~p2"), base_item_id("sfx-01~absent"), base_item_id("sfx-01")
    ('sfx-01', 'sfx-01', 'sfx-01')
    """
    return _VARIANT.sub("", identifier)


def digest_of_ids(identifiers: Iterable[str]) -> str:
    """Returns a digest of item ids that does not depend on their order."""
    return sha256("\n".join(sorted(identifiers)).encode())


def _content(item: Item) -> str:
    """Returns a digest of an item's prompt and sounds."""
    from sam_audio_bench.code_digests import value_digest

    prompt, sounds = item.query.prompt, (item.query.mixture, item.reference, item.residual_reference)
    files = [None if name is None else Path(name) for name in (prompt.video, prompt.mask)]
    sources = [(one.samples, one.rate) for one in item.residual_sources]
    known = [(one.samples, one.rate) for one in sounds if one is not None]
    return value_digest([prompt.text, prompt.spans, files, *known, [one is None for one in sounds], *sources])


@dataclass(frozen=True, kw_only=True)
class TaskData:
    """The items of one task and split, in order; iterating loads them lazily.

    ``provides`` lists what its items offer to metrics: "reference", "residual_reference", "residual_sources" if every
    source of the mixture is known, "text", "spans", "video", and "speech" if the target is a voice.
    """

    task: str  # "sfx"
    version: str  # "1"
    split: str  # "test", "mini", or "file" for the user's own data
    revision: str  # of the data: a commit, or a hash of the content
    groups: Mapping[str, str]  # item id -> the recording that it was cut from, in item order
    provides: frozenset[str]
    load: Callable[[str], Item]  # raises MediaError
    content: Callable[[str], str] | None = None  # item id -> digest of sound, prompt and group; see `content_sha256`
    size: Callable[[str], int | None] | None = None  # item id -> samples x channels that its file states; None: short
    place: str | None = None  # absolute path of the user's own data
    code_sha256: str | None = None  # of a third party's task; "": unknown, so that no earlier result is reused
    source: str | None = None  # the name or path by which it was loaded, unless that is ``task``
    subset: str = "paper"
    prompts: str = "given"  # of `PROMPTS`
    texts: Mapping[str, str] = field(default_factory=dict)  # item id -> its text, known without loading it
    paraphrases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # item id -> paraphrases of its text
    heard: Mapping[str, frozenset[str]] = field(default_factory=dict)  # item id -> texts that may describe its mixture
    attributes: Attributes = field(default_factory=dict)  # item id -> name -> value; part of no identity
    missing: frozenset[str] = frozenset()  # items known to have no recording; loading them fails
    notes: tuple[str, ...] = ()  # shown with the plan of a run
    allow_outside: bool = False  # whether a manifest may name files outside its folder

    @property
    def ids(self) -> tuple[str, ...]:
        """Item ids in order."""
        return tuple(self.groups)

    @property
    def label(self) -> str:
        """The task with version and split, as in names of run folders: ``sfx@1-mini``, ``sfx@1-test-full``."""
        return self.record.label

    @property
    def record(self) -> TaskRecord:
        """The record that identifies the task, its data and the selected items."""
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
        """Returns the attributes of an item, or of the item that a variant with another prompt is based on."""
        item = identifier if self.prompts == "given" else base_item_id(identifier)
        return self.attributes.get(item, {})

    def content_sha256(self, identifier: str) -> str:
        """Returns a digest of all that an item consists of: its sound, its prompt and its group.

        If the task has no ``content``, the item is loaded, and the digest includes the task's revision and code.
        """
        if self.content is not None:
            try:
                return self.content(identifier)
            except MediaError:  # loading the item raises it again, with its message
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
        remarks = [*more, *self.notes, "task[0] or task[ID] shows an item and lets it be heard."]
        return table_html(self._summary, ("item", "group", "text", ""), rows, remarks)

    def __len__(self) -> int:
        return len(self.groups)

    def __iter__(self) -> Iterator[Item]:
        return map(self.load, self.groups)

    def __getitem__(self, identifier: str | SupportsIndex | slice[Any, Any, Any]) -> Item:
        """Loads the item with an id or at an index, which may be negative; raises UsageError if there is none."""
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
        """Selects the items of a run: first by id, then shard I of N, then the first ``limit`` items.

        A shard takes every N-th item from the I-th, counting from 1, so that the N shards partition the items. The
        paraphrases of an item stay together and count as one item; the item's id selects all of them.
        """
        if limit is not None and limit < 1:
            raise UsageError(f"expected --limit to be at least 1, found {limit}")
        item = str if self.prompts == "given" else base_item_id
        known = {name for identifier in self.groups for name in (identifier, item(identifier))}
        for identifier in ids:
            if identifier not in known:
                raise unknown_name("item", identifier, self.groups)
        requested = set(ids)
        named = [name for name in self.groups if not requested or not requested.isdisjoint((name, item(name)))]
        chosen = list(dict.fromkeys(map(item, named)))
        if shard is not None:
            index, count = shard
            if not 1 <= index <= count:
                raise UsageError(f"expected --shard I/N with 1 <= I <= N, found {index}/{count}")
            chosen = chosen[index - 1 :: count]
        selected = set(chosen[:limit])
        return replace(self, groups={name: self.groups[name] for name in named if item(name) in selected})
