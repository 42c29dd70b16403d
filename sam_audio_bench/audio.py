"""Reading, writing and resampling: the only file that touches a decoder.

WAV, FLAC, OGG and MP3 go through libsndfile; containers (mp4, mkv, webm, m4a) through PyAV, which carries its own
FFmpeg. One resampler, soxr HQ, serves all evaluation audio.

Time 0 is a file's first sample. A part of a file is cut at whole samples of its own rate: from start x rate up to, but
not including, end x rate, both rounded.
"""

from __future__ import annotations

import io
import math
import shutil
from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import soundfile
import soxr
import torch
from numpy.typing import NDArray

from sam_audio_bench.errors import MediaError
from sam_audio_bench.files import atomic_write
from sam_audio_bench.types import Audio

__all__ = [
    "CONTAINERS",
    "as_stored",
    "outline",
    "quantise",
    "read",
    "resample",
    "to_mono",
    "write",
    "write_ogg",
    "write_wav",
]

CONTAINERS = frozenset({".mp4", ".mkv", ".webm", ".m4a", ".mov"})
_FULL_SCALE_24 = 2.0**23
_LOSSY = 0.85  # of 1, libsndfile's smallest files


def read(path: str | Path, *, start: float = 0.0, end: float | None = None, stream: BinaryIO | None = None) -> Audio:
    """Decodes a file, or a part of it, to float32 ``[channels, time]`` at its own rate.

    Args:
        path: the file.
        start: of the part, in seconds.
        end: of the part; what a shorter file lacks is left out. None: the end of the file.
        stream: the content, where it does not lie at ``path``, which then only names it; not for containers.

    Raises:
        MediaError: the file is absent (status ``missing_media``), empty, damaged, ends before ``start``, or holds NaN
            or infinite samples.
    """
    path = Path(path)
    if stream is None and not path.is_file():
        raise MediaError(f"expected an audio file at {path}, found none", status="missing_media")
    container = stream is None and path.suffix.lower() in CONTAINERS
    samples, rate = _read_container(path, start, end) if container else _read_soundfile(path, stream, start, end)
    if samples.shape[1] == 0:
        behind = f" from {start:g} s on" if start else ""
        status = "length_mismatch" if start else "error"
        raise MediaError(f"expected audio in {path}{behind}, found zero samples", status=status)
    if not np.isfinite(samples).all():
        raise MediaError(f"expected finite samples in {path}, found NaN or infinity", status="non_finite")
    return Audio(torch.from_numpy(samples), rate)


def outline(path: Path) -> tuple[int, int]:
    """Channels and rate that a file of samples states, before any is decoded; raises MediaError."""
    try:
        found = soundfile.info(path)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise MediaError(f"expected an audio file that libsndfile can read at {path}, found: {error}") from error
    return int(found.channels), int(found.samplerate)


def _borders(start: float, end: float | None, rate: int) -> tuple[int, int | None]:
    return round(start * rate), None if end is None else round(end * rate)


def _read_soundfile(
    path: Path, stream: BinaryIO | None, start: float, end: float | None
) -> tuple[NDArray[np.float32], int]:
    try:
        with soundfile.SoundFile(stream or path) as file:
            rate = int(file.samplerate)
            first, last = _borders(start, end, rate)
            if first >= file.frames:
                return np.zeros((file.channels, 0), np.float32), rate
            file.seek(first)
            samples = file.read(-1 if last is None else last - first, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise MediaError(f"expected an audio file that libsndfile can read at {path}, found: {error}") from error
    return np.ascontiguousarray(samples.T), rate


def _read_container(path: Path, start: float, end: float | None) -> tuple[NDArray[np.float32], int]:
    import av  # 0.2 s; only videos need it

    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise MediaError(f"expected an audio stream in {path}, found none")
            rate = int(container.streams.audio[0].rate)
            first, last = _borders(start, end, rate)
            blocks = [
                block[:, max(first - position, 0) : None if last is None else last - position]
                for position, block in _blocks(path, container, start, last)
                if position + block.shape[1] > first and (last is None or position < last)
            ]
    except (av.FFmpegError, ValueError) as error:
        raise MediaError(f"expected a readable media file at {path}, found: {error}") from error
    return np.concatenate(blocks, axis=1) if blocks else np.zeros((1, 0), np.float32), rate


_WARM_UP = 0.5  # seconds that are decoded before a part, for a codec's frames overlap


def _blocks(path: Path, container: Any, start: float, last: int | None) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Decoded blocks ``[C, T]`` with the number of their first sample, up to the sample ``last``.

    Only stamps that count samples (mp4) tell exactly where a block belongs, so that decoding can begin shortly before
    the part; in Matroska, whose stamps are milliseconds, it begins with the file and the samples are counted.
    """
    import av

    stream = container.streams.audio[0]
    counted = stream.time_base == Fraction(1, stream.rate)
    position = 0
    if counted and start > _WARM_UP:
        container.seek(math.floor((start - _WARM_UP) * stream.rate), stream=stream)
        position = -1  # the first stamp tells
    to_float = av.AudioResampler(format="fltp", layout=stream.layout, rate=stream.rate)
    for packet in container.demux(stream):
        if packet.is_corrupt:
            raise MediaError(f"expected a whole file at {path}, found one that breaks off; get it again")
        for frame in packet.decode():
            position = int(frame.pts - (stream.start_time or 0)) if position < 0 else position
            for part in to_float.resample(frame):
                yield position, part.to_ndarray().astype(np.float32, copy=False)
                position += part.samples
            if last is not None and position >= last:
                return
    for part in to_float.resample(None):
        yield position, part.to_ndarray().astype(np.float32, copy=False)


def resample(audio: Audio, rate: int) -> Audio:
    """Converts to ``rate`` Hz with soxr HQ, in float64; returns the same object when nothing is to do."""
    if audio.rate == rate:
        return audio
    converted = soxr.resample(audio.samples.double().numpy().T, audio.rate, rate, quality="HQ")
    return Audio(torch.from_numpy(np.ascontiguousarray(converted.T)).to(audio.samples.dtype), rate)


def to_mono(audio: Audio) -> Audio:
    """Averages the channels."""
    return audio if audio.channels == 1 else Audio(audio.samples.mean(dim=0, keepdim=True), audio.rate)


def quantise(samples: NDArray[np.floating]) -> NDArray[np.float32]:
    """Rounds to the 24-bit grid on which FLAC is lossless; below ±1, sums on it are exact in float32."""
    steps = _steps(samples)
    steps /= _FULL_SCALE_24
    return steps.astype(np.float32, copy=False)


def _steps(samples: NDArray[np.floating]) -> NDArray[np.floating]:
    """Samples in steps of the grid, rounded; the scale is a power of two, so float32 is exact too."""
    steps = samples * samples.dtype.type(_FULL_SCALE_24)
    return np.rint(steps, out=steps)


def _fits(steps: NDArray[np.floating]) -> bool:
    """Whether 24 bits hold every step."""
    return bool(steps.max() < _FULL_SCALE_24 and steps.min() >= -_FULL_SCALE_24)


def as_stored(audio: Audio) -> Audio:
    """The samples that `read` gives back after `write`, bit for bit, without the way over the disk."""
    samples = audio.samples.numpy()
    if not samples.any():  # what baselines leave: nothing to compute
        return Audio(torch.from_numpy(np.zeros(samples.shape, np.float32)), audio.rate)
    steps = _steps(samples)
    if not _fits(steps):
        return Audio(audio.samples.float().clone(), audio.rate)
    steps /= _FULL_SCALE_24
    return Audio(torch.from_numpy(steps.astype(np.float32, copy=False)), audio.rate)


def write(stem: Path, audio: Audio) -> Path:
    """Writes ``stem.flac`` (24 bit), or ``stem.wav`` (32-bit float) where a sample leaves ±1; returns the path.

    Atomic. A file of the other kind left by an earlier answer is removed.
    """
    samples = audio.samples.numpy()
    flac, wav = (stem.with_name(stem.name + suffix) for suffix in (".flac", ".wav"))
    steps = _steps(samples) if samples.any() else None
    if steps is not None and not _fits(steps):
        write_wav(wav, audio)
        flac.unlink(missing_ok=True)
        return wav
    with atomic_write(flac) as temporary:
        if steps is None:
            temporary.write_bytes(_silence(*samples.shape, audio.rate))
        else:
            _encode(temporary, steps, audio.rate)
    wav.unlink(missing_ok=True)
    return flac


def _encode(file: Path | BinaryIO, steps: NDArray[np.floating], rate: int) -> None:
    """FLAC of 24 bit; at level 0, three times as fast as at the default for 10 % more bytes."""
    steps *= 256  # libsndfile takes the upper 24 bits of 32
    soundfile.write(file, steps.T.astype(np.int32), rate, format="FLAC", subtype="PCM_24", compression_level=0)


@lru_cache(maxsize=8)
def _silence(channels: int, length: int, rate: int) -> bytes:
    """A FLAC file of digital silence: what absent targets and baselines leave is the same file every time."""
    encoded = io.BytesIO()
    _encode(encoded, np.zeros((channels, length)), rate)
    return encoded.getvalue()


def write_wav(path: Path, audio: Audio) -> None:
    """Writes a 32-bit float WAV atomically, bit for bit."""
    with atomic_write(path) as temporary:
        soundfile.write(temporary, audio.samples.float().numpy().T, audio.rate, format="WAV", subtype="FLOAT")


def write_ogg(path: Path, audio: Audio) -> None:
    """Writes Ogg Vorbis at about 3 kB a second a channel, atomically: for listening on a page, never for scoring.

    A file that sounds the same already is left alone, since every encoding bears a random number of its own.
    """
    with atomic_write(path) as temporary:
        samples = audio.samples.clamp(-1, 1).numpy().T
        soundfile.write(temporary, samples, audio.rate, format="OGG", subtype="VORBIS", compression_level=_LOSSY)
        if path.exists() and _sound_alike(path, temporary):
            shutil.copyfile(path, temporary)


def _sound_alike(one: Path, other: Path) -> bool:
    try:
        (samples, rate), (others, other_rate) = (soundfile.read(path) for path in (one, other))
    except soundfile.LibsndfileError:
        return False
    return rate == other_rate and np.array_equal(samples, others)
