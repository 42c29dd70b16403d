"""Reading, writing and resampling: the only file that touches a decoder.

WAV, FLAC, OGG and MP3 go through libsndfile; containers (mp4, mkv, webm, m4a) through PyAV, which carries its own
FFmpeg. One resampler, soxr HQ, serves all evaluation audio.
"""

from __future__ import annotations

import io
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
import soxr
import torch
from numpy.typing import NDArray

from sam_audio_bench.errors import MediaError
from sam_audio_bench.files import replacing
from sam_audio_bench.types import Audio

__all__ = ["CONTAINERS", "as_stored", "quantise", "read", "resample", "to_mono", "write", "write_wav"]

CONTAINERS = frozenset({".mp4", ".mkv", ".webm", ".m4a", ".mov"})
_FULL_SCALE_24 = 2.0**23


def read(path: str | Path) -> Audio:
    """Decodes a file to float32 ``[channels, time]`` at its own rate.

    Raises:
        MediaError: the file is absent (status ``missing_media``), empty, damaged, or holds NaN or infinite samples.
    """
    path = Path(path)
    if not path.is_file():
        raise MediaError(f"expected an audio file at {path}, found none", status="missing_media")
    samples, rate = _read_container(path) if path.suffix.lower() in CONTAINERS else _read_soundfile(path)
    if samples.shape[1] == 0:
        raise MediaError(f"expected audio in {path}, found zero samples")
    if not np.isfinite(samples).all():
        raise MediaError(f"expected finite samples in {path}, found NaN or infinity", status="non_finite")
    return Audio(torch.from_numpy(samples), rate)


def _read_soundfile(path: Path) -> tuple[NDArray[np.float32], int]:
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise MediaError(f"expected an audio file that libsndfile can read at {path}, found: {error}") from error
    return np.ascontiguousarray(samples.T), int(rate)


def _read_container(path: Path) -> tuple[NDArray[np.float32], int]:
    import av  # 0.2 s; only videos need it

    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise MediaError(f"expected an audio stream in {path}, found none")
            stream = container.streams.audio[0]
            to_float = av.AudioResampler(format="fltp", layout=stream.layout, rate=stream.rate)
            frames = [part for frame in container.decode(stream) for part in to_float.resample(frame)]
            blocks = [frame.to_ndarray() for frame in [*frames, *to_float.resample(None)]]
            rate = int(stream.rate)
    except (av.FFmpegError, ValueError) as error:
        raise MediaError(f"expected a readable media file at {path}, found: {error}") from error
    return np.concatenate(blocks, axis=1) if blocks else np.zeros((1, 0), np.float32), rate


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
    with replacing(flac) as temporary:
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
    with replacing(path) as temporary:
        soundfile.write(temporary, audio.samples.float().numpy().T, audio.rate, format="WAV", subtype="FLOAT")
