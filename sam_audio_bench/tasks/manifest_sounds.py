"""The sounds of a row: files below one folder, or bytes in a table."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from sam_audio_bench import audio
from sam_audio_bench.errors import MediaError
from sam_audio_bench.files import find_file
from sam_audio_bench.types import Audio

__all__ = ["Embedded", "Sound", "SoundReader", "like", "named"]


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
    remarks: list[str] = field(default_factory=list)

    def __call__(self, sound: Sound) -> Audio:
        """The sound of a file or of the bytes in a table; raises MediaError as `audio.read` does."""
        if isinstance(sound, str):
            found, remarks = audio.read_remarked(find_file(self.root / sound))
        else:
            found, remarks = audio.read_remarked(sound.name, stream=io.BytesIO(sound.read()))
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
