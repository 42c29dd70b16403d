"""Reading, writing and resampling sound; `decoding` touches the decoders. One resampler, soxr HQ, serves all of it.

Time 0 is a file's first sample, or its first frame where pictures start earlier: silence stands before the sound then,
so that a second of the sound is the same second of `video`. A part of a file is cut at whole samples of its own rate:
from start x rate up to, but not including, end x rate, both rounded.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import soundfile
import soxr
import torch
from numpy.typing import NDArray
from torch import Tensor

from sam_audio_bench.blocks import Growing, all_finite, any_sound, blockwise, is_long, parts
from sam_audio_bench.decoding import decode
from sam_audio_bench.decoding.formats import check_rate, media_errors
from sam_audio_bench.errors import MediaError, UsageError
from sam_audio_bench.files import atomic_write
from sam_audio_bench.types import Audio

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = [
    "SUFFIXES",
    "as_stored",
    "outline",
    "quantise",
    "read",
    "read_remarked",
    "resample",
    "resampled_blocks",
    "stated_seconds",
    "to_mono",
    "write",
    "write_ogg",
    "write_wav",
]

SUFFIXES = (
    ".wav", ".flac", ".ogg", ".mp3", ".m4a", ".mp4", ".opus", ".oga", ".aac", ".aif", ".aiff", ".aifc", ".caf", ".w64",
    ".rf64", ".bwf", ".au", ".snd", ".wma", ".wv", ".ape", ".tta", ".ac3", ".amr", ".mp2", ".mka", ".m4b", ".weba",
    ".mkv", ".webm", ".mov", ".m4v", ".avi", ".flv", ".ts", ".m2ts", ".mpg", ".mpeg", ".wmv", ".ogv", ".3gp",
)  # fmt: skip
"""By which sound files are found in folders, the preferred ones first; upper case is the same."""

_FULL_SCALE_24 = 2.0**23
_LEAST_KBITS, _MOST_KBITS = 6.0, 256.0  # of Opus a channel: libsndfile's compression levels 1 and 0


def read(path: str | Path, *, start: float = 0.0, end: float | None = None, stream: BinaryIO | None = None) -> Audio:
    """Decodes a file, or a part of it, to float32 ``[channels, time]`` at its own rate.

    Args:
        path: the file; its content tells the format, its name does not.
        start: of the part, in seconds.
        end: of the part; what a shorter file lacks is left out. None: the end of the file.
        stream: the content, where it does not lie at ``path``, which then only names it.

    Raises:
        MediaError: the file is absent (status ``missing_media``), empty, damaged, breaks off before the part ends, ends
            before ``start``, or holds NaN or infinite samples.
    """
    return read_remarked(path, start=start, end=end, stream=stream)[0]


def read_remarked(
    path: str | Path, *, start: float = 0.0, end: float | None = None, stream: BinaryIO | None = None
) -> tuple[Audio, tuple[str, ...]]:
    """As `read`, with a sentence on everything in the file that was not as it should be and could be worked around."""
    path = Path(path)
    if stream is None and not path.is_file():
        raise MediaError(f"expected an audio file at {path}, found none", status="missing_media")
    found = decode(path, start=start, end=end, stream=stream)
    if found.samples.shape[1] == 0:
        behind = f" from {start:g} s on" if start else ""
        status = "length_mismatch" if start else "error"
        raise MediaError(f"expected audio in {path}{behind}, found zero samples", status=status)
    samples = torch.from_numpy(found.samples)
    if not all_finite(samples):
        raise MediaError(f"expected finite samples in {path}, found NaN or infinity", status="non_finite")
    return Audio(samples, found.rate), found.remarks


def outline(path: Path) -> tuple[int, int]:
    """Channels and rate that a file of samples states, before any is decoded; raises MediaError."""
    with media_errors(path, "an audio file that libsndfile can read"):
        found = soundfile.info(path)
        return int(found.channels), check_rate(path, int(found.samplerate))


def stated_seconds(path: Path) -> float:
    """Length that a file of samples states, before any is decoded; raises MediaError."""
    with media_errors(path, "an audio file that libsndfile can read"):
        found = soundfile.info(path)
        return float(found.frames / check_rate(path, int(found.samplerate)))


def resample(audio: Audio, rate: int) -> Audio:
    """Converts to ``rate`` Hz with soxr HQ, in float64; returns the same object when nothing is to do."""
    if audio.rate == rate:
        return audio
    if is_long(audio.samples):
        return _resampled_in_blocks(audio, rate)
    converted = soxr.resample(audio.samples.double().numpy().T, audio.rate, rate, quality="HQ")
    return Audio(torch.from_numpy(np.ascontiguousarray(converted.T)).to(audio.samples.dtype), rate)


def _resampled_in_blocks(audio: Audio, rate: int) -> Audio:
    """What the resampler makes of a sound as a whole, for its state goes from block to block."""
    found = Growing(audio.channels)
    for block in resampled_blocks(audio, rate, torch.float64):
        found.append(torch.from_numpy(block).to(audio.samples.dtype).numpy())
    return Audio(torch.from_numpy(found.finished()), rate)


def resampled_blocks(audio: Audio, rate: int, dtype: torch.dtype) -> Iterator[NDArray[np.floating]]:
    """Blocks ``[channels, time]`` of a sound at ``rate`` Hz, converted in float32 or float64 as ``dtype`` says."""
    kind = "float64" if dtype == torch.float64 else "float32"
    stream = soxr.ResampleStream(audio.rate, rate, audio.channels, dtype=kind, quality="HQ")
    for (part,) in parts(audio.samples):
        block = np.ascontiguousarray(part.to(dtype).numpy().T)
        yield np.ascontiguousarray(stream.resample_chunk(block).T)
    rest = stream.resample_chunk(np.zeros((0, audio.channels), kind), last=True)
    yield np.ascontiguousarray(rest.T)


def to_mono(audio: Audio) -> Audio:
    """Averages the channels."""
    if audio.channels == 1:
        return audio
    return Audio(blockwise(lambda samples: samples.mean(dim=0, keepdim=True), audio.samples), audio.rate)


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


def as_stored(audio: Audio, *, copy: bool = True) -> Audio:
    """The samples that `read` gives back after `write`, bit for bit, without the way over the disk.

    Args:
        audio: any sound.
        copy: False: a long sound that is on the grid comes back itself.
    """
    samples = audio.samples
    if is_long(samples):
        if not copy and all(torch.equal(part, _on_grid(part).to(part.dtype)) for (part,) in parts(samples)):
            return audio
        fitting = all(_fits(_steps(part.numpy())) for (part,) in parts(samples))
        return Audio(blockwise(_on_grid if fitting else _copy, samples), audio.rate)
    if not any_sound(samples):  # what baselines leave: nothing to compute
        return Audio(torch.zeros_like(samples, dtype=torch.float32), audio.rate)
    steps = _steps(samples.numpy())
    if not _fits(steps):
        return Audio(_copy(samples), audio.rate)
    steps /= _FULL_SCALE_24
    return Audio(torch.from_numpy(steps.astype(np.float32, copy=False)), audio.rate)


def _on_grid(samples: Tensor) -> Tensor:
    return torch.from_numpy(quantise(samples.numpy()))


def _copy(samples: Tensor) -> Tensor:
    return samples.to(torch.float32, copy=True)


def write(stem: Path, audio: Audio) -> Path:
    """Writes ``stem.flac`` (24 bit), or ``stem.wav`` (32-bit float) where a sample leaves ±1; returns the path.

    Atomic. A file of the other kind left by an earlier answer is removed.
    """
    samples = audio.samples
    flac, wav = (stem.with_name(stem.name + suffix) for suffix in (".flac", ".wav"))
    silent = not any_sound(samples)
    if not silent and not all(_fits(_steps(part.numpy())) for (part,) in parts(samples)):
        write_wav(wav, audio)
        flac.unlink(missing_ok=True)
        return wav
    with atomic_write(flac) as temporary:
        if silent and not is_long(samples):
            temporary.write_bytes(_silence(*samples.shape, audio.rate))
        else:
            with _opened(temporary) as file:
                _encode(file, samples, audio.rate)
    wav.unlink(missing_ok=True)
    return flac


class _CheckedFile(io.FileIO):
    """A file for libsndfile, which loses errors of writing or calls them its own: the first one is kept."""

    error: OSError | None = None

    def write(self, data: Buffer, /) -> int:
        """Writes all of it, unless there was an error; says so in any case."""
        left = memoryview(data)
        size = len(left)
        try:
            while left and self.error is None:
                left = left[super().write(left) :]
        except OSError as error:
            self.error = error
        return size


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """A new file to be written to by libsndfile; raises OSError where that failed, as on a full disk."""
    with _CheckedFile(path, "w") as file:
        yield file
        if file.error is not None:
            raise OSError(file.error.errno, file.error.strerror, str(path))


def _encode(file: BinaryIO, samples: Tensor, rate: int) -> None:
    """FLAC of 24 bit; at level 0, three times as fast as at the default for 10 % more bytes."""
    with soundfile.SoundFile(
        file, "w", rate, len(samples), format="FLAC", subtype="PCM_24", compression_level=0
    ) as opened:
        for (part,) in parts(samples):
            steps = _steps(part.numpy())
            steps *= 256  # libsndfile takes the upper 24 bits of 32
            opened.write(steps.T.astype(np.int32))


@lru_cache(maxsize=8)
def _silence(channels: int, length: int, rate: int) -> bytes:
    """A FLAC file of digital silence: what absent targets and baselines leave is the same file every time."""
    encoded = io.BytesIO()
    _encode(encoded, torch.zeros(channels, length), rate)
    return encoded.getvalue()


def write_wav(path: Path, audio: Audio) -> None:
    """Writes a 32-bit float WAV atomically, bit for bit."""
    with (
        atomic_write(path) as temporary,
        _opened(temporary) as file,
        soundfile.SoundFile(file, "w", audio.rate, audio.channels, format="WAV", subtype="FLOAT") as opened,
    ):
        for (part,) in parts(audio.samples):
            opened.write(part.float().numpy().T)


def write_ogg(path: Path, audio: Audio, kbits: float = 48.0) -> None:
    """Writes Ogg Opus atomically: for listening on a page, never for scoring.

    A file that sounds the same already is left alone, since every encoding bears a random number of its own.

    Args:
        path: the file.
        audio: at 8, 12, 16, 24 or 48 kHz.
        kbits: a second and channel, on average, from 6 to 256.
    """
    if not _LEAST_KBITS <= kbits <= _MOST_KBITS:
        raise UsageError(f"expected {_LEAST_KBITS:g} to {_MOST_KBITS:g} kbit/s, found {kbits:g}")
    level = 1 - (kbits - _LEAST_KBITS) / (_MOST_KBITS - _LEAST_KBITS)
    with atomic_write(path) as temporary:
        samples = audio.samples.clamp(-1, 1).numpy().T
        with _opened(temporary) as file:
            soundfile.write(file, samples, audio.rate, format="OGG", subtype="OPUS", compression_level=level)
        if path.exists() and _sound_alike(path, temporary):
            shutil.copyfile(path, temporary)


def _sound_alike(one: Path, other: Path) -> bool:
    try:
        (samples, rate), (others, other_rate) = (soundfile.read(path) for path in (one, other))
    except soundfile.LibsndfileError:
        return False
    return rate == other_rate and np.array_equal(samples, others)
