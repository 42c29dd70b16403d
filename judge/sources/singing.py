"""Singing: recorded voices made to sing, by WORLD analysis, a melody for the syllables, and synthesis.

A syllable is a voiced segment around a loudness peak. Its loud middle is stretched to the length of its note; pauses
between words are shortened; consonants and breath keep their noise. The pitch glides from note to note, scoops into
some, and has vibrato on long ones.
"""

from __future__ import annotations

import importlib
import random
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.signal import fftconvolve, find_peaks

from judge.sources.clips import RATE, Wave, trim
from judge.sources.job import Stem
from judge.sources.packages import Unpacked
from judge.sources.patterns import Note, tune
from judge.sources.speech import Turns, Voice, voice_jobs
from sam_audio_bench.errors import Precondition

__all__ = ["LABEL", "MANNERS", "PROMPTS", "Manner", "Sung", "melody", "sing", "song_jobs", "syllables"]

LABEL = "singing"
_ANY = ("vocals", "singing", "singing voice", "lead vocals", "a person singing")
PROMPTS = {
    "man": (*_ANY, "male vocals"),
    "woman": (*_ANY, "female vocals"),
    "child": (*_ANY, "child singing"),
}
_SONGS = 4  # per voice
_SHORTEST = 3.5  # seconds

Track = NDArray[np.float64]
_STEP = 0.005  # seconds per frame
_LOW, _HIGH = 70.0, 520.0  # Hz of a speaking voice
_PAUSE = 24  # frames to which pauses are shortened
_MOST = 8.0  # seconds of a clip


@dataclass(frozen=True)
class Manner:
    """A style of singing.

    Attributes:
        part: part of `patterns` that generates the melody.
        lift: semitones from the speaker's median pitch to the lowest note, drawn between the two.
        glide: seconds from one note to the next.
        vibrato: amplitude in semitones, on long notes.
        scoop: share of the notes that are approached from below.
        ring: gain of the singer's formant in dB.
        voices: number of voices; the second a third or more above, the others in unison or an octave below.
        wet: level of reverberation.
        vowels: whether few syllables are sung, each over several notes.
    """

    part: str
    lift: tuple[int, int]
    glide: float
    vibrato: float
    scoop: float
    ring: float
    voices: int = 1
    wet: float = 0.0
    vowels: bool = False


MANNERS = (
    Manner("melody", (-2, 3), 0.05, 0.35, 0.4, 3.0, wet=0.15),
    Manner("slow", (0, 5), 0.09, 0.65, 0.2, 9.0, wet=0.3),
    Manner("melody", (-1, 4), 0.03, 0.0, 0.2, 0.0),
    Manner("melody", (0, 4), 0.05, 0.3, 0.3, 4.0, voices=2, wet=0.2),
    Manner("slow", (1, 6), 0.12, 0.5, 0.5, 6.0, wet=0.25, vowels=True),
    Manner("melody", (2, 7), 0.06, 0.45, 0.5, 5.0, wet=0.1),
    Manner("slow", (-1, 4), 0.08, 0.4, 0.2, 4.0, voices=4, wet=0.35),
)


@cache
def _world() -> Any:
    try:
        return importlib.import_module("pyworld")
    except ImportError:
        raise Precondition(
            "voices are made to sing with pyworld, which imports pkg_resources: "
            "pip install pyworld==0.3.5 'setuptools<81'"
        ) from None


def sing(wave: Wave, manner: Manner, rng: random.Random) -> Wave | None:
    """Turns a spoken clip into singing; returns None if it has fewer than three syllables."""
    world = _world()
    spoken = wave.astype(np.float64)
    pitch, times = world.dio(spoken, RATE, f0_floor=_LOW, f0_ceil=_HIGH, frame_period=1000 * _STEP)
    pitch = world.stonemask(spoken, pitch, times, RATE)
    envelope = world.cheaptrick(spoken, pitch, times, RATE)
    noise = world.d4c(spoken, pitch, times, RATE)
    loud = 5 * np.log10(np.maximum(envelope.mean(axis=1), 1e-14))
    spans = syllables(loud, pitch > 0)
    if len(spans) < 3:
        return None
    median = float(np.median(pitch[pitch > 0]))
    notes = _notes(median, manner, rng)
    source, sung, which = _schedule(spans, notes, manner, rng)
    envelope, noise = _colour(_read(envelope, source), manner, rng), _read(noise, source)
    envelope *= _steady(envelope)[:, None]
    voiced = np.interp(source, np.arange(len(pitch)), (pitch > 0).astype(float)) > 0.5
    parts = []
    for singer in range(manner.voices):
        track = melody(sung, which, manner, rng) + (0, rng.choice((3, 4, 7)), -12, 0)[singer] + rng.gauss(0, 0.04)
        hertz = np.where(voiced, 440 * 2 ** ((track - 69) / 12), 0.0)
        part = world.synthesize(hertz, np.ascontiguousarray(envelope), np.ascontiguousarray(noise), RATE, 1000 * _STEP)
        late = round(rng.uniform(0, 0.03) * RATE) if singer else 0
        parts.append((1.0 if not singer else 0.7) * np.pad(part, (late, 0))[: len(part)])
    return _room(np.sum(parts, axis=0), manner.wet, rng).astype(np.float32)


def syllables(loud: Track, voiced: NDArray[np.bool_]) -> list[tuple[int, int, int, int]]:
    """Returns start and end of each syllable and of its loud middle, in frames, given the loudness in dB."""
    smooth = gaussian_filter1d(np.where(voiced, loud, loud.min(initial=0.0)), 3)
    peaks, _ = find_peaks(np.where(voiced, smooth, -200.0), distance=22, prominence=1.5)
    peaks = peaks[smooth[peaks] > smooth.max(initial=-200.0) - 25]
    found: list[tuple[int, int, int, int]] = []
    for index, peak in enumerate(peaks):
        left = int(peaks[index - 1]) if index else 0
        right = int(peaks[index + 1]) if index + 1 < len(peaks) else len(loud) - 1
        start = left + int(np.argmin(smooth[left : peak + 1]))
        end = int(peak) + int(np.argmin(smooth[peak : right + 1]))
        start, end = _run(voiced, int(peak), start, end)
        first, last = _run(smooth > smooth[peak] - 4, int(peak), start, end)
        if end - start >= 8 and last - first >= 4:
            found.append((start, end, first, last))
    return found


def _run(mask: NDArray[np.bool_], at: int, low: int, high: int) -> tuple[int, int]:
    """Returns the interval around ``at``, within the bounds, in which the mask is true."""
    start = end = at
    while start > low and mask[start - 1]:
        start -= 1
    while end < high and mask[end]:
        end += 1
    return start, end


def _notes(hertz: float, manner: Manner, rng: random.Random) -> list[tuple[int, float]]:
    """Returns (MIDI pitch, seconds) of the notes of a melody near the pitch of the speaker."""
    low = round(69 + 12 * np.log2(hertz / 440)) + rng.randint(*manner.lift)
    written: list[Note] = tune(manner.part, low, low + rng.randint(9, 13), 30.0, rng)
    shortest, longest = (0.4, 1.5) if manner.part == "slow" else (0.2, 1.2)
    return [
        (note.pitch, float(np.clip(after.start - note.start, shortest, longest))) for note, after in pairwise(written)
    ]


def _schedule(
    spans: list[tuple[int, int, int, int]], notes: list[tuple[int, float]], manner: Manner, rng: random.Random
) -> tuple[Track, Track, NDArray[np.int64]]:
    """Returns the frame of the speech, MIDI pitch and number of the note, for every frame of the song."""
    read: list[Track] = []
    pitches: list[Track] = []
    numbers: list[NDArray[np.int64]] = []
    before, sung = -1, 0
    for start, end, first, last in spans:
        near = before if 0 <= start - before <= 2 * _PAUSE and before >= 0 else max(0, start - _PAUSE)
        count = rng.randint(2, 4) if manner.vowels else rng.choice((1, 1, 1, 1, 1, 1, 2))
        chosen = [notes[(sung + index) % len(notes)] for index in range(count)]
        lengths = [round(seconds / _STEP) for _, seconds in chosen]
        spare = sum(lengths) - (first - near) - (end - last)
        middle = int(np.clip(spare, last - first, (20 if manner.vowels else 10) * (last - first)))
        held = np.linspace(first, last - 1, middle) + 1.5 * np.sin(np.linspace(0, rng.uniform(2, 9), middle))
        frames = np.concatenate([np.arange(near, first), np.clip(held, first, last - 1), np.arange(last, end)])
        own = np.searchsorted(np.cumsum(lengths)[:-1], np.arange(len(frames)), side="right")
        read.append(frames)
        pitches.append(np.array([pitch for pitch, _ in chosen], dtype=np.float64)[own])
        numbers.append(sung + own)
        before, sung = end, sung + count
        if sum(map(len, read)) > _MOST / _STEP:
            break
    source, track, which = np.concatenate(read), np.concatenate(pitches), np.concatenate(numbers)
    most = round(_MOST / _STEP)
    return source[:most], track[:most], which[:most]


def melody(pitches: Track, which: NDArray[np.int64], manner: Manner, rng: random.Random) -> Track:
    """Returns the sung pitch (fractional MIDI) of every frame: glides, scoops, vibrato on long notes, and drift."""
    drawn = np.random.default_rng(rng.getrandbits(32))
    starts = np.flatnonzero(np.diff(which, prepend=-1))
    ends = np.append(starts[1:], len(which))
    track, trembling = pitches.copy(), np.zeros(len(pitches))
    for start, end in zip(starts, ends, strict=True):
        at = np.arange(end - start) * _STEP
        if rng.random() < manner.scoop:
            track[start:end] -= rng.uniform(0.6, 2.0) * np.exp(-at / rng.uniform(0.03, 0.08))
        if at[-1] > 0.35:
            depth = manner.vibrato * rng.uniform(0.6, 1.3) * np.clip((at - 0.18) / 0.25, 0, 1)
            rate = rng.uniform(4.9, 6.3) * (1 + 0.05 * np.sin(2 * np.pi * rng.uniform(0.3, 1) * at))
            trembling[start:end] = depth * np.sin(2 * np.pi * np.cumsum(rate) * _STEP)
    glided = gaussian_filter1d(track, manner.glide / _STEP / 2.5)
    drift = gaussian_filter1d(drawn.standard_normal(len(track)), 24) * 0.5
    return np.asarray(glided + trembling + drift + 0.02 * drawn.standard_normal(len(track)))


def _read(frames: Track, source: Track) -> Track:
    """Interpolates frames at fractional positions."""
    low = np.clip(np.floor(source).astype(int), 0, len(frames) - 2)
    part = (source - low)[:, None]
    return np.asarray((1 - part) * frames[low] + part * frames[low + 1])


def _colour(envelope: Track, manner: Manner, rng: random.Random) -> Track:
    """Changes the length of the vocal tract by up to 6 %, and adds the singer's formant near 3 kHz."""
    bins = envelope.shape[1]
    place = np.clip(np.arange(bins) * rng.uniform(0.94, 1.06), 0, bins - 1.001)
    low = np.floor(place).astype(int)
    part = place - low
    moved = (1 - part) * envelope[:, low] + part * envelope[:, low + 1]
    hertz = np.linspace(0, RATE / 2, bins)
    gain = manner.ring * np.exp(-0.5 * ((hertz - rng.uniform(2700, 3300)) / 500) ** 2)
    return np.asarray(moved * 10 ** (gain / 10))


def _steady(envelope: Track) -> Track:
    """Returns power gains that halve the loudness differences between syllables."""
    loud = gaussian_filter1d(10 * np.log10(np.maximum(envelope.mean(axis=1), 1e-14)), 6)
    top = np.percentile(loud, 90)
    lift = np.where(loud > top - 25, np.clip(0.5 * (top - loud), 0, 8), 0.0)
    return np.asarray(10 ** (gaussian_filter1d(lift, 6) / 10))


def _room(dry: Track, wet: float, rng: random.Random) -> Track:
    """Adds reverberation: decaying noise."""
    if not wet:
        return dry
    at = np.arange(round(1.2 * RATE)) / RATE
    drawn = np.random.default_rng(rng.getrandbits(32)).standard_normal(len(at))
    tail = gaussian_filter1d(drawn, 1.0) * np.exp(-at * 6.9 / rng.uniform(0.5, 1.5))
    tail[: round(0.015 * RATE)] = 0
    reverb = fftconvolve(dry, tail / np.sqrt((tail**2).sum()))[: len(dry)]
    return np.asarray(dry + wet * 2 * reverb)


@dataclass(frozen=True)
class Sung:
    """Job for a recorded voice that sings: songs from its clips, in the same groups and thus in the same splits."""

    voice: Voice | Turns

    def stems(self) -> Iterator[Stem]:
        """Makes clips of 3.5 to 8 s, each in another style."""
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
    """Returns one job per recorded voice (or language)."""
    return [Sung(voice) for voice in voice_jobs(packages)]
