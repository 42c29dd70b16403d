"""The sounds of a row: files in one folder, or bytes in a table."""

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

__all__ = [
    "SUM_TOLERANCE_DB",
    "EmbeddedSound",
    "Sound",
    "SoundReader",
    "describe_resampling",
    "describe_sum_error",
    "match_to_mixture",
    "sound_name",
    "sum_sounds",
]

SUM_TOLERANCE_DB = -40.0
"""The level of mixture minus sources, in dB relative to the mixture, above which it is reported.

Rounding to 16 bits stays below it.
"""


@dataclass(frozen=True, slots=True)
class EmbeddedSound:
    """A sound file whose bytes are in a table; the decoder takes the format from ``name``."""

    name: str
    read: Callable[[], bytes]


Sound = str | EmbeddedSound
"""A sound file: its path relative to the folder of its questions, or its bytes."""


def sound_name(sound: Sound) -> str:
    """Returns the path or name of a sound."""
    return sound if isinstance(sound, str) else sound.name


@dataclass(slots=True)
class SoundReader:
    """Decodes the files of a row, and collects the decoder's remarks."""

    root: Path
    part: tuple[float, float] | None = None  # start and end in seconds; None: whole files
    remarks: list[str] = field(default_factory=list)

    def __call__(self, sound: Sound) -> Audio:
        """Decodes a file, or bytes in a table; raises MediaError as `audio.read` does."""
        start, end = self.part or (0.0, None)
        if isinstance(sound, str):
            found, remarks = audio.read_with_remarks(find_file(self.root / sound), start=start, end=end)
        else:
            found, remarks = audio.read_with_remarks(sound.name, start=start, end=end, stream=io.BytesIO(sound.read()))
        self.remarks.extend(remark for remark in remarks if remark not in self.remarks)
        return found


def match_to_mixture(mixture: Audio, mixture_name: Sound, found: Audio, name: Sound) -> Audio:
    """Resamples a reference to the rate of its mixture; raises MediaError unless length and channels match."""
    found = audio.resample(found, mixture.rate)
    if found.samples.shape != mixture.samples.shape:
        raise MediaError(
            f"expected {sound_name(name)} to be as long as {sound_name(mixture_name)} and to have its channels, "
            f"{mixture.channels} x {mixture.length} samples at {mixture.rate} Hz, "
            f"found {found.channels} x {found.length}",
            status="length_mismatch" if found.channels == mixture.channels else "error",
        )
    return found


def sum_sounds(parts: Sequence[Audio]) -> Audio:
    """Returns the sum of sounds of one shape and rate."""
    samples = [part.samples for part in parts]
    return Audio(samples[0] if len(samples) == 1 else torch.stack(samples).sum(dim=0), parts[0].rate)


def describe_resampling(mixture: Audio, found: Audio, name: Sound) -> str | None:
    """Returns the remark that `match_to_mixture` resamples a reference; None if its rate is the mixture's."""
    if found.rate == mixture.rate:
        return None
    return f"expected {sound_name(name)} at {mixture.rate} Hz as its mixture, found {found.rate} Hz: resampled"


def describe_sum_error(mixture: Audio, target: Audio, residual: Audio) -> str | None:
    """Returns a remark if target and residual differ from the mixture by more than `SUM_TOLERANCE_DB`, else None."""
    total = error = 0.0
    for mixed, signal, other in iter_blocks_if_long(mixture.samples, target.samples, residual.samples):
        total += float(mixed.double().square().sum())
        error += float((mixed.double() - signal.double() - other.double()).square().sum())
    level = 10 * math.log10(error / total) if error and total else math.inf if error else -math.inf
    if level <= SUM_TOLERANCE_DB:
        return None
    return f"expected target and residual that add up to the mixture, found a difference of {level:.1f} dB of it"
