"""Interface of the jobs that make stems: clips with their description."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from judge.sources.clips import Wave
from judge.sources.packages import Provenance

__all__ = ["Job", "Stem"]


@dataclass(frozen=True)
class Stem:
    """One clip with its description in the table.

    Attributes:
        wave: 16 kHz mono, not yet trimmed or levelled.
        domain: "speech", "music" or "effects".
        label: class, such as "dog".
        prompts: texts by which a user may request it.
        group: the independent recording: a voice, a tune with its soundfont, a family of effect files.
        side: "train", "test" or "unseen" if the split is fixed by design; "" if it follows from the hash of the group.
    """

    wave: Wave
    domain: str
    label: str
    prompts: tuple[str, ...]
    group: str
    provenance: Provenance
    side: str = ""


class Job(Protocol):
    """A unit of work: a picklable dataclass whose ``repr`` contains everything that its clips depend on."""

    def stems(self) -> Iterator[Stem]:
        """Makes the clips."""
