"""Singing: clips of the recorded voices, sung; see `sing` for how."""

from __future__ import annotations

import random
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from judge.sources.clips import RATE, trim
from judge.sources.job import Stem
from judge.sources.packages import Unpacked
from judge.sources.sing import MANNERS, sing
from judge.sources.speech import Turns, Voice, voice_jobs

__all__ = ["LABEL", "PROMPTS", "Sung", "song_jobs"]

LABEL = "singing"
_ANY = ("vocals", "singing", "singing voice", "lead vocals", "a person singing")
PROMPTS = {
    "man": (*_ANY, "male vocals"),
    "woman": (*_ANY, "female vocals"),
    "child": (*_ANY, "child singing"),
}
_SONGS = 4  # of one voice
_SHORTEST = 3.5  # seconds


@dataclass(frozen=True)
class Sung:
    """A recorded voice that sings: some of its clips as songs, in its own groups, so that it sings where it speaks."""

    voice: Voice | Turns

    def stems(self) -> Iterator[Stem]:
        """Clips of 3.5 to 8 s; every one in another manner."""
        spoken: dict[str, list[Stem]] = defaultdict(list)
        for stem in self.voice.stems():
            spoken[stem.group].append(stem)
        for group, stems in spoken.items():
            for number in range(_SONGS):
                stem = stems[number * len(stems) // _SONGS]
                manner = MANNERS[(zlib.crc32(group.encode()) + number) % len(MANNERS)]
                wave = sing(stem.wave, manner, random.Random(f"{group}:{number}"))
                if wave is not None and len(trim(wave)) >= _SHORTEST * RATE:
                    done = replace(stem.provenance, origin=f"{stem.provenance.origin}, made to sing")
                    yield Stem(wave, "music", LABEL, PROMPTS[stem.label], group, done, stem.side)


def song_jobs(packages: Mapping[str, Unpacked]) -> list[Sung]:
    """One job a recorded voice (or language)."""
    return [Sung(voice) for voice in voice_jobs(packages)]
