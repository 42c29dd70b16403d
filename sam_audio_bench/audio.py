"""Reading, writing and resampling: the only file that touches a decoder.

WAV, FLAC, OGG and MP3 go through libsndfile; containers (mp4, mkv, webm, m4a) through PyAV, which carries its own
FFmpeg. One resampler, soxr HQ, serves all evaluation audio.
"""

from __future__ import annotations

from pathlib import Path

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
    steps = samples * samples.dtype.type(_FULL_SCALE_24)  # a power of two: exact in float32 too
    np.rint(steps, out=steps)
    steps /= _FULL_SCALE_24
    return steps.astype(np.float32, copy=False)


def _leaves_full_scale(samples: NDArray[np.floating]) -> bool:
    return bool(samples.max() > 1 - 1 / _FULL_SCALE_24 or samples.min() < -1)


def as_stored(audio: Audio) -> Audio:
    """The samples that `read` gives back after `write`, bit for bit, without the way over the disk."""
    samples = audio.samples.numpy()
    stored = samples.astype(np.float32) if _leaves_full_scale(samples) else quantise(samples)
    return Audio(torch.from_numpy(stored), audio.rate)


def write(stem: Path, audio: Audio) -> Path:
    """Writes ``stem.flac`` (24 bit), or ``stem.wav`` (32-bit float) where a sample leaves ±1; returns the path.

    Atomic. A file of the other kind left by an earlier answer is removed.
    """
    samples = audio.samples.numpy()
    floating = _leaves_full_scale(samples)
    path, other = (stem.with_name(stem.name + end) for end in ((".wav", ".flac") if floating else (".flac", ".wav")))
    if floating:
        write_wav(path, audio)
    else:
        integers = np.rint(samples.astype(np.float64) * _FULL_SCALE_24).astype(np.int32).T << 8
        with replacing(path) as temporary:  # level 0: three times as fast as the default for 10 % more bytes
            soundfile.write(temporary, integers, audio.rate, format="FLAC", subtype="PCM_24", compression_level=0)
    other.unlink(missing_ok=True)
    return path


def write_wav(path: Path, audio: Audio) -> None:
    """Writes a 32-bit float WAV atomically, bit for bit."""
    with replacing(path) as temporary:
        soundfile.write(temporary, audio.samples.float().numpy().T, audio.rate, format="WAV", subtype="FLOAT")
