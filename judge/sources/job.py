"""What the makers of stems hand over: clips with their description, made by jobs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from judge.sources.clips import Wave
from judge.sources.packages import Provenance

__all__ = ["Job", "Stem"]


@dataclass(frozen=True)
class Stem:
    """One clip and what the table says about it.

    Attributes:
        wave: 16 kHz mono, not yet trimmed or levelled.
        domain: "speech", "music" or "effects".
        label: class, such as "dog".
        prompts: how a user would ask for it.
        group: the independent recording: a voice, a tune with its soundfont, a family of effect files.
        side: "train", "test" or "unseen" where that is decided by design, "" where the hash of the group decides.
    """

    wave: Wave
    domain: str
    label: str
    prompts: tuple[str, ...]
    group: str
    provenance: Provenance
    side: str = ""


class Job(Protocol):
    """A unit of work: a dataclass that can be pickled and whose ``repr`` tells all that its clips depend on."""

    def stems(self) -> Iterator[Stem]:
        """Makes the clips."""
