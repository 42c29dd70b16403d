"""Generates musical patterns: melodies, chords, arpeggios, bass lines and grooves in many keys and tempi."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["PARTS", "Note", "groove", "tune"]

_SCALES = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "harmonic minor": (0, 2, 3, 5, 7, 8, 11),
    "pentatonic": (0, 2, 4, 7, 9),
}
_PROGRESSIONS = ((0, 3, 4, 0), (0, 5, 3, 4), (0, 4, 5, 3), (1, 4, 0, 5), (0, 6, 5, 4), (0, 0, 3, 4), (5, 3, 0, 4))
_RHYTHMS = (
    (1, 1, 1, 1),
    (0.5,) * 8,
    (1.5, 0.5, 1, 1),
    (0.75, 0.25, 1, 0.5, 0.5, 1),
    (2, 1, 1),
    (1, 0.5, 0.5, 2),
    (2, 2),
    (3, 1),
)


_Bar = list[tuple[float, float, list[int]]]  # (beat, length in beats, pitches)
_Writer = Callable[[int], _Bar]


@dataclass(frozen=True)
class Note:
    """Start and length in seconds, pitch and velocity as in MIDI."""

    start: float
    length: float
    pitch: int
    velocity: int


class _Key:
    """A scale within the range of an instrument, with a chord for every bar."""

    def __init__(self, low: int, high: int, rng: random.Random) -> None:
        steps = _SCALES[rng.choice(sorted(_SCALES))]
        tonic = rng.randrange(12)
        self.ladder = [pitch for pitch in range(low, high + 1) if (pitch - tonic) % 12 in steps]
        self.degrees = rng.choice(_PROGRESSIONS)
        self._steps, self._tonic, self._low, self._high = steps, tonic, low, high

    def chord(self, bar: int, voices: int = 3) -> list[int]:
        """Returns the pitches of the bar's chord in close position, low in the range."""
        degree = self.degrees[bar % len(self.degrees)]
        classes = [(self._tonic + self._steps[(degree + 2 * voice) % len(self._steps)]) % 12 for voice in range(voices)]
        inside = [pitch for pitch in range(self._low, self._high + 1) if pitch % 12 in classes]
        return inside[:voices]

    def nearest(self, rung: int, bar: int) -> int:
        """Returns the index of the pitch of the scale nearest to ``rung`` that belongs to the chord."""
        classes = {pitch % 12 for pitch in self.chord(bar)}
        rungs = [index for index, pitch in enumerate(self.ladder) if pitch % 12 in classes]
        return min(rungs or [rung], key=lambda index: abs(index - rung))


def tune(part: str, low: int, high: int, seconds: float, rng: random.Random) -> list[Note]:
    """Writes one part.

    Args:
        part: one of :data:`PARTS`.
        low: lowest MIDI pitch.
        high: highest MIDI pitch.
        seconds: minimum duration, without the decay of the last note.
        rng: random generator.
    """
    beat = 60 / rng.uniform(66, 160)
    key = _Key(low, high, rng)
    loud = rng.randint(70, 110)
    notes = []
    bar = 0
    writer: _Writer = PARTS[part](key, rng)
    while bar * 4 * beat < seconds:
        for start, length, pitches in writer(bar):
            late = rng.gauss(0, 0.006)
            velocity = max(30, min(127, loud + rng.randint(-14, 14) + (6 if start == 0 else 0)))
            at = max(0.0, (4 * bar + start) * beat + late)
            notes += [Note(at, length * beat, pitch, velocity) for pitch in pitches]
        bar += 1
    return [note for note in notes if note.start < seconds]


class _Melody:
    """A random walk over the scale that starts each bar on a note of the chord."""

    def __init__(self, key: _Key, rng: random.Random) -> None:
        self.key, self.rng = key, rng
        self.rung = rng.randrange(len(key.ladder) // 4, max(1, 3 * len(key.ladder) // 4) + 1)
        self.cells = rng.sample(_RHYTHMS, 2)
        self.staccato = rng.choice((0.45, 0.8, 0.95, 1.0))

    def __call__(self, bar: int) -> _Bar:
        """(beat, length in beats, pitches) of one bar."""
        made, beat = [], 0.0
        for length in self.rng.choice(self.cells):
            top = len(self.key.ladder) - 1
            self.rung = max(0, min(top, self.rung + self.rng.choice((-3, -2, -1, -1, 0, 1, 1, 2, 3))))
            if beat == 0:
                self.rung = self.key.nearest(self.rung, bar)
            if self.rng.random() > 0.1:
                made.append((beat, length * self.staccato, [self.key.ladder[self.rung]]))
            beat += length
        return made


class _Slow(_Melody):
    """Long notes."""

    def __init__(self, key: _Key, rng: random.Random) -> None:
        super().__init__(key, rng)
        self.cells, self.staccato = [(4.0,), (2.0, 2.0)], 1.0


class _Chords:
    """Block chords in a repeated rhythm."""

    def __init__(self, key: _Key, rng: random.Random) -> None:
        self.key = key
        self.cell = rng.choice(_RHYTHMS)
        self.voices = rng.choice((3, 3, 4))
        self.shift = rng.choice((0, 0, 12))
        self.high = key.ladder[-1]

    def __call__(self, bar: int) -> _Bar:
        """(beat, length in beats, pitches) of one bar."""
        chord = self.key.chord(bar, self.voices)
        if self.shift and chord and chord[-1] + self.shift <= self.high:
            chord = [pitch + self.shift for pitch in chord]
        beats = [sum(self.cell[:index]) for index in range(len(self.cell))]
        return [(beat, length * 0.9, chord) for beat, length in zip(beats, self.cell, strict=True)]


class _Power(_Chords):
    """Roots and fifths."""

    def __call__(self, bar: int) -> _Bar:
        """(beat, length in beats, pitches) of one bar."""
        return [(beat, length, [chord[0], chord[0] + 7]) for beat, length, chord in super().__call__(bar)]


class _Arpeggio:
    """Broken chords in even notes."""

    def __init__(self, key: _Key, rng: random.Random) -> None:
        self.key, self.rng = key, rng
        self.step = rng.choice((0.25, 0.5, 0.5, 1 / 3))
        self.voices = rng.choice((4, 5, 6))
        self.bounce = rng.random() < 0.5
        self.ring = rng.choice((1.0, 2.5))

    def __call__(self, bar: int) -> _Bar:
        """(beat, length in beats, pitches) of one bar."""
        chord = self.key.chord(bar, self.voices)
        order = chord + chord[-2:0:-1] if self.bounce else chord
        count = round(4 / self.step)
        return [(at * self.step, self.step * self.ring, [order[at % len(order)]]) for at in range(count)]


class _Bass:
    """Roots, fifths and steps between them."""

    def __init__(self, key: _Key, rng: random.Random) -> None:
        self.key, self.rng = key, rng
        self.cell = rng.choice(_RHYTHMS)

    def __call__(self, bar: int) -> _Bar:
        """(beat, length in beats, pitches) of one bar."""
        made, beat = [], 0.0
        chord = self.key.chord(bar)
        for length in self.cell:
            pitch = chord[0] if beat == 0 else self.rng.choice([*chord[:3], chord[0]])
            made.append((beat, length * 0.9, [pitch]))
            beat += length
        return made


class _Rhythm:
    """Strokes on one to three pitches."""

    def __init__(self, key: _Key, rng: random.Random) -> None:
        self.pitches = rng.sample(key.ladder, min(3, len(key.ladder)))
        self.rng = rng
        self.density = rng.uniform(0.35, 0.8)

    def __call__(self, bar: int) -> _Bar:
        """(beat, length in beats, pitches) of one bar."""
        struck = [at for at in range(16) if at == 0 or self.rng.random() < self.density * (0.5 if at % 2 else 1)]
        return [(at / 4, 0.5, [self.rng.choice(self.pitches)]) for at in struck]


PARTS: dict[str, Callable[[_Key, random.Random], _Writer]] = {
    "melody": _Melody,
    "slow": _Slow,
    "chords": _Chords,
    "power": _Power,
    "arpeggio": _Arpeggio,
    "bass": _Bass,
    "rhythm": _Rhythm,
}


def groove(seconds: float, rng: random.Random) -> list[tuple[float, str, int]]:
    """A drum pattern with a fill in every fourth bar: (seconds, drum, velocity)."""
    step = 60 / rng.uniform(76, 150) / 4
    swing = rng.choice((0.0, 0.0, 0.18))
    kicks = {0, *rng.sample((3, 6, 7, 8, 10, 11, 14), rng.randint(1, 3))}
    snares = {4, 12} | ({rng.choice((7, 9, 15))} if rng.random() < 0.4 else set())
    hats = range(0, 16, rng.choice((1, 2, 2, 4)))
    cymbal = rng.choice(("hat", "hat", "ride"))
    struck = []
    for bar in range(int(seconds / (16 * step)) + 1):
        for at in range(16):
            drums = [name for name, places in (("kick", kicks), ("snare", snares), (cymbal, hats)) if at in places]
            if bar % 4 == 3 and at >= 12:
                drums = ["tom"] if rng.random() < 0.8 else ["snare"]
            if at == 0 and bar % 4 == 0:
                drums.append("crash")
            if at == 14 and cymbal == "hat" and rng.random() < 0.3:
                drums.append("open")
            late = swing * step if at % 2 else 0
            when = (16 * bar + at) * step + late
            struck += [(when, drum, rng.randint(75, 118)) for drum in drums if when < seconds]
    return struck
