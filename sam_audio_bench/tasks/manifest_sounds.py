"""The sounds of a row: files below one folder, or bytes in a table."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from sam_audio_bench import audio
from sam_audio_bench.blocks import iter_blocks_if_long
from sam_audio_bench.errors import MediaError
from sam_audio_bench.files import find_file
from sam_audio_bench.types import Audio

__all__ = ["SUM_DB", "Embedded", "Sound", "SoundReader", "added", "like", "named", "resampled", "sum_remark"]

SUM_DB = -40.0
"""A mixture less its sources, relative to it, is told above this: rounding to 16 bits stays below."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """A sound file whose bytes lie in a table; ``name`` tells its format to the decoder."""

    name: str
    read: Callable[[], bytes]


Sound = str | Embedded
"""A sound file: its path relative to the folder of its questions, or its bytes."""


def named(sound: Sound) -> str:
    """The path or name of a sound."""
    return sound if isinstance(sound, str) else sound.name


@dataclass(slots=True)
class SoundReader:
    """Decodes the files of a row, and keeps what is to be said of them."""

    root: Path
    part: tuple[float, float] | None = None  # start and end in seconds; None: whole files
    remarks: list[str] = field(default_factory=list)

    def __call__(self, sound: Sound) -> Audio:
        """The sound of a file or of the bytes in a table; raises MediaError as `audio.read` does."""
        start, end = self.part or (0.0, None)
        if isinstance(sound, str):
            found, remarks = audio.read_with_remarks(find_file(self.root / sound), start=start, end=end)
        else:
            found, remarks = audio.read_with_remarks(sound.name, start=start, end=end, stream=io.BytesIO(sound.read()))
        self.remarks.extend(remark for remark in remarks if remark not in self.remarks)
        return found


def like(mixture: Audio, mixture_name: Sound, found: Audio, name: Sound) -> Audio:
    """A reference at the rate of its mixture; another length or number of channels raises MediaError."""
    found = audio.resample(found, mixture.rate)
    if found.samples.shape != mixture.samples.shape:
        raise MediaError(
            f"expected {named(name)} to be as long as {named(mixture_name)} and to have its channels, "
            f"{mixture.channels} x {mixture.length} samples at {mixture.rate} Hz, "
            f"found {found.channels} x {found.length}",
            status="length_mismatch" if found.channels == mixture.channels else "error",
        )
    return found


def added(parts: Sequence[Audio]) -> Audio:
    """The sum of sounds of one shape and rate."""
    samples = [part.samples for part in parts]
    return Audio(samples[0] if len(samples) == 1 else torch.stack(samples).sum(dim=0), parts[0].rate)


def resampled(mixture: Audio, found: Audio, name: Sound) -> str | None:
    """What is to be said of a reference of another rate than its mixture, which `like` resamples."""
    if found.rate == mixture.rate:
        return None
    return f"expected {named(name)} at {mixture.rate} Hz as its mixture, found {found.rate} Hz: resampled"


def sum_remark(mixture: Audio, target: Audio, residual: Audio) -> str | None:
    """How far the sum of target and residual is from the mixture, where that is more than `SUM_DB` of it."""
    whole = error = 0.0
    for mixed, wanted, rest in iter_blocks_if_long(mixture.samples, target.samples, residual.samples):
        whole += float(mixed.double().square().sum())
        error += float((mixed.double() - wanted.double() - rest.double()).square().sum())
    level = 10 * math.log10(error / whole) if error and whole else math.inf if error else -math.inf
    if level <= SUM_DB:
        return None
    return f"expected target and residual that add up to the mixture, found a difference of {level:.1f} dB of it"
