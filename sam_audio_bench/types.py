"""Shared types: audio, prompts, queries, items, estimates, scores and the protocols of separators.

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
    """Status of a score or an estimate. The value of a score is None unless it is defined."""

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
    """What to extract. Raises UsageError (a ValueError) if it is empty or a span is invalid."""

    text: str | None = None
    spans: tuple[Span, ...] = ()
    video: str | None = None  # path of a video
    mask: str | None = None  # path of its mask, npz with `video_masklet` [frames, height, width]; None: already masked

    def __post_init__(self) -> None:
        if self.text is not None and not self.text.strip():
            raise UsageError("expected a text prompt that is not empty, found only white space")
        if not (self.text or self.spans or self.video):
            raise UsageError("expected a prompt with a text, a span or a video, found none of them")
        if self.mask and not self.video:
            raise UsageError(f"expected the video that the mask {self.mask} belongs to, found none")
        for sign, start, end in self.spans:
            if sign not in ("+", "-") or not (math.isfinite(start) and math.isfinite(end) and 0 <= start < end):
                raise UsageError(f"expected a span (+ or -, start < end in seconds), found {(sign, start, end)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """The input of a separator, which includes neither the references nor the item's id."""

    mixture: Audio
    prompt: Prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One query of a task, with the references needed to score its estimate."""

    id: str  # never reused within a task version
    group: str  # the recording it was cut from: the resampling unit of the statistics
    query: Query
    reference: Audio | None = None  # None: no clean recording exists; silent: the prompted sound is absent
    residual_reference: Audio | None = None  # all other sources of the mixture
    residual_sources: tuple[Audio, ...] = ()  # the residual's single sources, if all are known
    remarks: tuple[str, ...] = ()  # changes made to the data; written to the journal
    others: Mapping[str, Audio] = field(default_factory=dict)
    """References of the task's other items of the same mixture by id, for separators with ``wants_others``."""

    def _repr_html_(self) -> str:
        return item_html(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Separation:
    """An estimate: target and residual, at the rate and length of the mixture."""

    target: Audio
    residual: Audio
    seconds: float = 0.0  # wall clock
    picked_by: str | None = None  # the picker that selected it among candidates
    moved_ms: float = 0.0  # by which ``--align lag`` advanced it; not set by separators
    outputs: Mapping[str, int] = field(default_factory=dict)  # of unordered outputs: item -> number of its output


@runtime_checkable
class Separator(Protocol):
    """A model that separates queries. An exception is recorded as the error of the item that caused it.

    Optional attributes: ``batch_size``, number of queries per call; ``deterministic = True`` if the seed has no effect,
    so that all candidates would be equal; ``revision``, ``weights_sha256`` and ``settings``, which identify estimates.
    On its class: ``rate``, ``channels``, ``delay`` and ``chunk_seconds``, the input that its model expects (`Adapted`).
    """

    name: str  # "sam-audio-base@1a2b3c4": the weights' revision is part of the name

    def separate(self, queries: Sequence[Query], seeds: Sequence[int]) -> list[Separation]:
        """Returns one estimate per query, in order; each has its own seed, so that batching does not change it."""
        ...


@runtime_checkable
class CandidateSeparator(Separator, Protocol):
    """A separator that computes several candidates per query in one call, and shared parts only once."""

    def separate_candidates(self, queries: Sequence[Query], seeds: Sequence[Sequence[int]]) -> list[list[Separation]]:
        """Returns one estimate per seed for each query; the first equals that of `separate` with the first seed."""
        ...


@runtime_checkable
class OracleSeparator(Protocol):
    """An upper bound that is given the references. Marked ``oracle`` in every table.

    With ``wants_others = True``, its items have `Item.others`, even for items that are not evaluated.
    """

    name: str

    def separate_oracle(self, items: Sequence[Item], seeds: Sequence[int]) -> list[Separation]:
        """Returns estimates, with access to ``item.reference`` and ``item.residual_reference``."""
        ...


@runtime_checkable
class NamedSeparator(Protocol):
    """Existing estimates, such as a folder of files, which are looked up by item id."""

    name: str

    def separate_named(self, ids: Sequence[str], queries: Sequence[Query]) -> list[Separation]:
        """Returns the stored estimates of the items ``ids``; the queries define the expected rate and length."""
        ...

    def fingerprint(self, identifier: str) -> str:
        """Returns the digest of the stored estimate of one item, so that a changed file is noticed."""
        ...


AnySeparator = Separator | OracleSeparator | NamedSeparator


class Score(NamedTuple):
    """The value of a score and its status; ``value`` is None if it is undefined."""

    value: float | None
    status: Status
