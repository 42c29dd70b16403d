"""Sound effects: classifies recordings by their file names with a table, and makes clips of them."""

from __future__ import annotations

import random
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from judge.sources.archives import read_cat
from judge.sources.clips import RATE, Wave, cut, decode, joined, trim
from judge.sources.job import Stem
from judge.sources.packages import Provenance, Unpacked
from sam_audio_bench.errors import MediaError
from sam_audio_bench.files import sha256

__all__ = ["CLASSES", "EffectClass", "Family", "effect_jobs", "family", "load_classes"]

CLASSES = Path(__file__).parents[1] / "effects.toml"
_AUDIO = re.compile(r"\.(ogg|oga|wav|flac|cat)$")
_NOT_EFFECTS = re.compile(r"/music/|_desc[_.]|PROVENANCE")
_SHORT = 1.5  # seconds; shorter recordings of a family are concatenated
_PIECE, _PIECES = 10.0, 6  # seconds and number of pieces that longer ones are cut to


@dataclass(frozen=True)
class EffectClass:
    """A class of effects, with rules for file names of the class: (package, pattern, example)."""

    label: str
    prompts: tuple[str, ...]
    rules: tuple[tuple[str, str, str], ...]
    unseen: bool = False


@cache
def load_classes(path: Path = CLASSES) -> tuple[EffectClass, ...]:
    """Reads the table of classes, in its order."""
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    return tuple(
        EffectClass(label, tuple(row["prompts"]), tuple((p, r, e) for p, r, e in row["rules"]), bool(row.get("unseen")))
        for label, row in table.items()
    )


def classify(package: str, origin: str) -> EffectClass | None:
    """Returns the first class with a rule of this package that matches the path; None if there is none."""
    for kind in load_classes():
        if any(name == package and re.search(pattern, origin) for name, pattern, _ in kind.rules):
            return kind
    return None


def family(origin: str) -> str:
    """Returns the file name without its number: ``cattle_01`` and ``cattle_02`` are of one recording session.

    >>> family("audio/animal/cattle_01.ogg"), family("sounds/default_dirt_footstep.2.ogg"), family("swordhit_10a.ogg")
    ('cattle', 'default_dirt_footstep', 'swordhit')
    """
    stem = re.sub(r"\.[A-Za-z0-9]+$", "", origin.rsplit("/", 1)[-1])
    return re.sub(r"[-_. ]*\d+[a-h]?$", "", stem) or stem


@dataclass(frozen=True)
class Family:
    """Job for the recordings of one family; a recording is a file, or a number in a sound set."""

    label: str
    prompts: tuple[str, ...]
    unseen: bool
    group: str
    parts: tuple[tuple[Path, int, Provenance], ...]

    def stems(self) -> Iterator[Stem]:
        """Cuts long recordings and concatenates short ones."""
        rng = random.Random(self.group)
        short: list[Wave] = []
        for path, number, provenance in self.parts:
            try:
                wave = trim(decode(read_cat(path)[number].data if path.suffix == ".cat" else path))
            except MediaError:
                continue  # skip a single damaged file of a game
            if len(wave) < _SHORT * RATE:
                short.append(wave)
                continue
            for piece in cut(wave, _PIECE, _PIECES):
                yield self._stem(piece, provenance)
        made = joined([wave for wave in short if len(wave) > 0.02 * RATE], rng, (0.15, 0.6), 3.0)
        for clip in made[:_PIECES]:
            yield self._stem(clip, self.parts[0][2])

    def _stem(self, wave: Wave, provenance: Provenance) -> Stem:
        side = "unseen" if self.unseen else ""
        return Stem(wave, "effects", self.label, self.prompts, self.group, provenance, side)


def effect_jobs(packages: Mapping[str, Unpacked]) -> list[Family]:
    """Returns one job per family; duplicate files are left out (games copy sounds from unit to unit)."""
    met: set[str] = set()
    found: dict[tuple[str, str], list[tuple[Path, int, Provenance]]] = defaultdict(list)
    kinds: dict[tuple[str, str], EffectClass] = {}
    for name in sorted({rule[0] for kind in load_classes() for rule in kind.rules}):
        if name not in packages:
            continue
        for path, number, origin, data in _recordings(packages[name]):
            kind = classify(name, origin)
            if kind is None or (digest := sha256(data)) in met:
                continue
            met.add(digest)
            key = (kind.label, f"{name}:{family(origin) if number < 0 else number}")
            kinds[key] = kind
            found[key].append((path, number, packages[name].provenance(origin)))
    return [
        Family(label, kinds[label, group].prompts, kinds[label, group].unseen, f"{group}:{label}", tuple(parts))
        for (label, group), parts in found.items()
    ]


def _recordings(unpacked: Unpacked) -> Iterator[tuple[Path, int, str, bytes]]:
    """Yields (file, number in a sound set or -1, path or title, bytes) of possible effects."""
    for path in unpacked.files(_AUDIO.pattern):
        if path.suffix == ".cat":
            for sound in read_cat(path):
                if len(sound.data) > 1000 and unpacked.takes(sound.title, ""):
                    yield path, sound.number, sound.title, sound.data
        elif not _NOT_EFFECTS.search(origin := unpacked.origin(path)):
            yield path, -1, origin, path.read_bytes()
