"""The nouns that every part shares: what is asked, what is answered, and how an answer is scored.

Importing this module does not import torch; tensors appear in annotations only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

from sam_audio_bench.errors import UsageError
from sam_audio_bench.notebook import audio_html, item_html

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "AnySeparator",
    "Audio",
    "CandidateSeparator",
    "Item",
    "NamedSeparator",
    "OracleSeparator",
    "Prompt",
    "Query",
    "Score",
    "Separation",
    "Separator",
    "Span",
    "Status",
]

Span = tuple[str, float, float]
"""``("+", start, end)``: the sound is present; ``("-", start, end)``: it is absent. Seconds."""


class Status(StrEnum):
    """What a score is worth. Only ``scored`` statuses carry a value."""

    OK = "ok"
    SILENT_REFERENCE = "silent_reference"
    SILENT_ESTIMATE = "silent_estimate"
    BOTH_SILENT = "both_silent"
    PERFECT = "perfect"
    TOO_SHORT = "too_short"
    NOT_UNDERSTOOD = "not_understood"
    UNSUPPORTED = "unsupported"
    LENGTH_MISMATCH = "length_mismatch"
    NON_FINITE = "non_finite"
    MISSING_MEDIA = "missing_media"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Audio:
    """Float samples ``[channels, time]``, full scale ±1, and their rate in Hz."""

    samples: Tensor
    rate: int

    def __post_init__(self) -> None:
        if self.samples.ndim != 2 or not self.samples.is_floating_point():
            found = f"{self.samples.dtype} {tuple(self.samples.shape)}"
            raise UsageError(f"expected float samples [channels, time], found {found}")
        if self.rate < 1:
            raise UsageError(f"expected a rate in Hz, found {self.rate}")

    @property
    def channels(self) -> int:
        """Number of channels."""
        return int(self.samples.shape[0])

    @property
    def length(self) -> int:
        """Number of samples in each channel."""
        return int(self.samples.shape[1])

    @property
    def seconds(self) -> float:
        """Duration in seconds."""
        return self.length / self.rate

    def __repr__(self) -> str:
        return f"Audio({self.channels} × {self.length} samples at {self.rate} Hz)"

    def _repr_html_(self) -> str:
        return audio_html(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What to extract. Raises UsageError (a ValueError) when it says nothing or a span is impossible."""

    text: str | None = None
    spans: tuple[Span, ...] = ()
    video: str | None = None  # path of a video
    mask: str | None = None  # path of its mask, npz with `video_masklet` [frames, height, width]; None: already masked

    def __post_init__(self) -> None:
        if self.text is not None and not self.text.strip():
            raise UsageError("expected a prompt that says something, found an empty text")
        if not (self.text or self.spans or self.video):
            raise UsageError("expected a prompt with a text, a span or a video, found none of them")
        if self.mask and not self.video:
            raise UsageError(f"expected the video that the mask {self.mask} belongs to, found none")
        for sign, start, end in self.spans:
            if sign not in ("+", "-") or not (math.isfinite(start) and math.isfinite(end) and 0 <= start < end):
                raise UsageError(f"expected a span (+ or -, start < end in seconds), found {(sign, start, end)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """All that a separator may see: neither the reference nor the item's name."""

    mixture: Audio
    prompt: Prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One question of a task, with what is needed to mark the answer."""

    id: str  # never reused within a task version
    group: str  # the recording it was cut from: the unit that statistics resample
    query: Query
    reference: Audio | None = None  # None: no clean recording exists; silent: the prompted sound is absent
    residual_reference: Audio | None = None  # everything else in the mixture
    residual_sources: tuple[Audio, ...] = ()  # its sources one by one, where all of them are known
    remarks: tuple[str, ...] = ()  # what had to be changed in the data; goes into the journal
    others: Mapping[str, Audio] = field(default_factory=dict)
    """References of the task's other items of the same mixture, by their ids, where the separator wants them."""

    def _repr_html_(self) -> str:
        return item_html(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Separation:
    """An answer, at the rate and length of the mixture."""

    target: Audio
    residual: Audio
    seconds: float = 0.0  # wall clock
    picked_by: str | None = None  # the reranker that chose it among candidates
    moved_ms: float = 0.0  # by which ``--align lag`` moved it forward; not a separator's to say
    outputs: Mapping[str, int] = field(default_factory=dict)  # of outputs without an order, which one each item has got


@runtime_checkable
class Separator(Protocol):
    """Anything that answers queries. Raise per query only what the harness should record as that item's error.

    Optional attributes: ``batch_size``, queries at once; ``deterministic = True`` where the seed changes nothing, so
    that candidates would all be the same; ``revision``, ``weights_sha256`` and ``settings``, which identify answers. On
    its class: ``rate``, ``channels``, ``delay`` and ``chunk_seconds``, what its model expects (`Adapted`).
    """

    name: str  # "sam-audio-base@1a2b3c4": the weights' revision is part of the name

    def separate(self, queries: Sequence[Query], seeds: Sequence[int]) -> list[Separation]:
        """Answers in the order of the queries; one seed a query, so that an answer does not depend on its batch."""
        ...


@runtime_checkable
class CandidateSeparator(Separator, Protocol):
    """A separator that makes several answers to a query at once, and computes only once what they share."""

    def separate_candidates(self, queries: Sequence[Query], seeds: Sequence[Sequence[int]]) -> list[list[Separation]]:
        """For each query one answer a seed, in their order; the first is what `separate` gives with the first seed."""
        ...


@runtime_checkable
class OracleSeparator(Protocol):
    """The declared exception: an upper bound that is shown the references. Marked ``oracle`` in every table.

    With ``wants_others = True`` its items come with `Item.others`, whichever of them are asked for.
    """

    name: str

    def separate_oracle(self, items: Sequence[Item], seeds: Sequence[int]) -> list[Separation]:
        """Answers with knowledge of ``item.reference`` and ``item.residual_reference``."""
        ...


@runtime_checkable
class NamedSeparator(Protocol):
    """Answers that exist already, a folder of files say: looked up by the item's id, never by order."""

    name: str

    def separate_named(self, ids: Sequence[str], queries: Sequence[Query]) -> list[Separation]:
        """The stored answers to the items ``ids``; the queries tell the rate and length that are expected."""
        ...

    def fingerprint(self, identifier: str) -> str:
        """Digest of the stored answer to one item, so that a changed file is noticed."""
        ...


AnySeparator = Separator | OracleSeparator | NamedSeparator


class Score(NamedTuple):
    """One value and what it is worth; ``value`` is None where it is undefined."""

    value: float | None
    status: Status
