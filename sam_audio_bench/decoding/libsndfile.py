"""Reads audio files (WAV, FLAC, Ogg, MP3, AIFF and more) by libsndfile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
from numpy.typing import NDArray

from sam_audio_bench.blocks import BlockAccumulator
from sam_audio_bench.decoding.formats import Decoded, UnknownFormatError, check_rate, truncated_file_error
from sam_audio_bench.decoding.headers import Header

__all__ = ["declared_size", "read"]

_BLOCK = 2**20  # values that are decoded at once
_PADDING = 2**13  # maximum padding of the last block of a codec in samples


def read(path: Path, place: Path | BinaryIO, header: Header, start: float, end: float | None) -> Decoded:
    """Reads a part, see `sam_audio_bench.decoding.decode`; raises UnknownFormatError for other formats."""
    if not isinstance(place, Path):
        place.seek(0)
    try:
        opened = soundfile.SoundFile(place)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise UnknownFormatError(str(error)) from error
    with opened:
        if opened.format == "MP3" and not header.has_frame_count:
            raise UnknownFormatError("an MP3 whose length it would guess")
        rate, frames = check_rate(path, int(opened.samplerate)), int(opened.frames)
        if header.samples is not None and 0 < frames - header.samples < _PADDING:
            frames = header.samples
        first = round(start * rate)
        last = frames if end is None else round(end * rate)
        count = max(min(last, frames) - first, 0)
        found = BlockAccumulator(opened.channels)
        for block in _blocks(opened, first, count) if count else ():
            found.append(block)
    if found.length < count or (header.is_truncated and (end is None or last > frames)):
        raise truncated_file_error(path)
    return Decoded(found.to_array(), rate)


def declared_size(path: Path) -> int:
    """Returns the number of values that a file's header declares; raises UnknownFormatError for other formats."""
    try:
        found = soundfile.info(path)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise UnknownFormatError(str(error)) from error
    return int(found.frames) * int(found.channels)


def _blocks(opened: soundfile.SoundFile, first: int, count: int) -> Iterator[NDArray[np.float32]]:
    """Yields blocks ``[channels, time]`` of ``count`` samples in all, or fewer if the file has fewer."""
    if first:
        opened.seek(first)
    size = max(_BLOCK // opened.channels, 1)
    while count > 0:
        block = opened.read(min(size, count), dtype="float32", always_2d=True)
        if not len(block):
            return
        count -= len(block)
        yield np.ascontiguousarray(block.T)
