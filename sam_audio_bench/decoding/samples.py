"""Files of samples (WAV, FLAC, Ogg, MP3, AIFF and more), by libsndfile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
from numpy.typing import NDArray

from sam_audio_bench.blocks import BlockAccumulator
from sam_audio_bench.decoding.formats import Decoded, Unopened, broken_off, checked_rate
from sam_audio_bench.decoding.headers import Header

__all__ = ["claimed", "read"]

_BLOCK = 2**20  # values that are decoded at once
_PADDING = 2**13  # samples by which the last block of a codec may be longer than the sound


def read(path: Path, place: Path | BinaryIO, header: Header, start: float, end: float | None) -> Decoded:
    """A part as `sam_audio_bench.decoding.decode` gives it; raises Unopened where the format is another."""
    if not isinstance(place, Path):
        place.seek(0)
    try:
        opened = soundfile.SoundFile(place)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise Unopened(str(error)) from error
    with opened:
        if opened.format == "MP3" and not header.counts_frames:
            raise Unopened("an MP3 whose length it would guess")
        rate, frames = checked_rate(path, int(opened.samplerate)), int(opened.frames)
        if header.samples is not None and 0 < frames - header.samples < _PADDING:
            frames = header.samples
        first = round(start * rate)
        last = frames if end is None else round(end * rate)
        wanted = max(min(last, frames) - first, 0)
        found = BlockAccumulator(opened.channels)
        for block in _blocks(opened, first, wanted) if wanted else ():
            found.append(block)
    if found.length < wanted or (header.breaks_off and (end is None or last > frames)):
        raise broken_off(path)
    return Decoded(found.to_array(), rate)


def claimed(path: Path) -> int:
    """Values that a file's header tells of; raises Unopened where the format is another."""
    try:
        found = soundfile.info(path)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise Unopened(str(error)) from error
    return int(found.frames) * int(found.channels)


def _blocks(opened: soundfile.SoundFile, first: int, wanted: int) -> Iterator[NDArray[np.float32]]:
    """Blocks ``[channels, time]`` of up to ``wanted`` samples, fewer where the file has fewer."""
    if first:
        opened.seek(first)
    size = max(_BLOCK // opened.channels, 1)
    while wanted > 0:
        block = opened.read(min(size, wanted), dtype="float32", always_2d=True)
        if not len(block):
            return
        wanted -= len(block)
        yield np.ascontiguousarray(block.T)
