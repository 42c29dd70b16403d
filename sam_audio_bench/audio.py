"""Reading, writing and resampling of audio.

`decoding` wraps the decoders; soxr HQ is the only resampler.

Time 0 is a file's first sample, or its first video frame if that is earlier: the audio is then padded with silence at
the start, so that its times agree with those of `video`. An excerpt of a file is cut at whole samples of the file's own
rate: from start x rate up to, but not including, end x rate, both rounded.
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

from sam_audio_bench.blocks import BlockAccumulator, all_finite, apply_blockwise, has_sound, is_long, iter_blocks
from sam_audio_bench.decoding import decode
from sam_audio_bench.decoding.formats import check_rate, media_errors
from sam_audio_bench.errors import MediaError, UsageError
from sam_audio_bench.files import atomic_write
from sam_audio_bench.types import Audio

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = [
    "SUFFIXES",
    "quantise_24_bit",
    "read",
    "read_duration",
    "read_format",
    "read_with_remarks",
    "resample",
    "resampled_blocks",
    "round_trip",
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
"""Suffixes of sound files, in order of preference; case is ignored."""

_FULL_SCALE_24 = 2.0**23
_LEAST_KBITS, _MOST_KBITS = 6.0, 256.0  # of Opus, per channel: libsndfile's compression levels 1 and 0


def read(path: str | Path, *, start: float = 0.0, end: float | None = None, stream: BinaryIO | None = None) -> Audio:
    """Decodes a file or an excerpt of it to float32 ``[channels, time]`` at the file's own rate.

    Args:
        path: the file; its format is detected from the content, not from the name.
        start: of the excerpt, in seconds.
        end: of the excerpt, in seconds; a shorter file is read to its end. None: the end of the file.
        stream: the content, if it is not stored at ``path``, which is then used in messages only.

    Raises:
        MediaError: the file is absent (status ``missing_media``), empty, damaged, truncated before ``end``, ends before
            ``start``, or holds NaN or infinite samples.
    """
    return read_with_remarks(path, start=start, end=end, stream=stream)[0]


def read_with_remarks(
    path: str | Path, *, start: float = 0.0, end: float | None = None, stream: BinaryIO | None = None
) -> tuple[Audio, tuple[str, ...]]:
    """Reads as `read` does, and also returns one sentence per defect of the file that could be worked around."""
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


def read_format(path: Path) -> tuple[int, int]:
    """Reads channels and rate from a file's header, without decoding; raises MediaError."""
    with media_errors(path, "an audio file that libsndfile can read"):
        found = soundfile.info(path)
        return int(found.channels), check_rate(path, int(found.samplerate))


def read_duration(path: Path) -> float:
    """Reads the duration in seconds from a file's header, without decoding; raises MediaError."""
    with media_errors(path, "an audio file that libsndfile can read"):
        found = soundfile.info(path)
        return float(found.frames / check_rate(path, int(found.samplerate)))


def resample(audio: Audio, rate: int) -> Audio:
    """Resamples to ``rate`` Hz with soxr HQ in float64; returns the same object if the rate is the same."""
    if audio.rate == rate:
        return audio
    if is_long(audio.samples):
        return _resample_in_blocks(audio, rate)
    converted = soxr.resample(audio.samples.double().numpy().T, audio.rate, rate, quality="HQ")
    return Audio(torch.from_numpy(np.ascontiguousarray(converted.T)).to(audio.samples.dtype), rate)


def _resample_in_blocks(audio: Audio, rate: int) -> Audio:
    """Resamples in blocks; the result equals that in one call, since the resampler keeps its state between blocks."""
    found = BlockAccumulator(audio.channels)
    for block in resampled_blocks(audio, rate, torch.float64):
        found.append(torch.from_numpy(block).to(audio.samples.dtype).numpy())
    return Audio(torch.from_numpy(found.to_array()), rate)


def resampled_blocks(audio: Audio, rate: int, dtype: torch.dtype) -> Iterator[NDArray[np.floating]]:
    """Yields blocks ``[channels, time]`` of a sound resampled to ``rate`` Hz, computed in float32 or float64."""
    kind = "float64" if dtype == torch.float64 else "float32"
    stream = soxr.ResampleStream(audio.rate, rate, audio.channels, dtype=kind, quality="HQ")
    for (part,) in iter_blocks(audio.samples):
        block = np.ascontiguousarray(part.to(dtype).numpy().T)
        yield np.ascontiguousarray(stream.resample_chunk(block).T)
    rest = stream.resample_chunk(np.zeros((0, audio.channels), kind), last=True)
    yield np.ascontiguousarray(rest.T)


def to_mono(audio: Audio) -> Audio:
    """Averages the channels to one."""
    if audio.channels == 1:
        return audio
    return Audio(apply_blockwise(lambda samples: samples.mean(dim=0, keepdim=True), audio.samples), audio.rate)


def quantise_24_bit(samples: NDArray[np.floating]) -> NDArray[np.float32]:
    """Rounds to the 24-bit grid on which FLAC is lossless; below ±1, sums on it are exact in float32."""
    steps = _quantisation_steps(samples)
    steps /= _FULL_SCALE_24
    return steps.astype(np.float32, copy=False)


def _quantisation_steps(samples: NDArray[np.floating]) -> NDArray[np.floating]:
    """Returns samples as rounded multiples of the 24-bit step; the scale is a power of two, so exact in float32."""
    steps = samples * samples.dtype.type(_FULL_SCALE_24)
    return np.rint(steps, out=steps)


def _fit_24_bit(steps: NDArray[np.floating]) -> bool:
    """Whether every multiple fits into 24 bits."""
    return bool(steps.max() < _FULL_SCALE_24 and steps.min() >= -_FULL_SCALE_24)


def round_trip(audio: Audio, *, copy: bool = True) -> Audio:
    """Returns the samples that `read` would return after `write`, bit for bit, without a file.

    Args:
        audio: any sound.
        copy: if False, a long sound that is quantised already is returned itself.
    """
    samples = audio.samples
    if is_long(samples):
        if not copy and all(
            torch.equal(part, _quantise_tensor(part).to(part.dtype)) for (part,) in iter_blocks(samples)
        ):
            return audio
        fitting = all(_fit_24_bit(_quantisation_steps(part.numpy())) for (part,) in iter_blocks(samples))
        return Audio(apply_blockwise(_quantise_tensor if fitting else _copy_float32, samples), audio.rate)
    if not has_sound(samples):  # as from baselines: nothing to compute
        return Audio(torch.zeros_like(samples, dtype=torch.float32), audio.rate)
    steps = _quantisation_steps(samples.numpy())
    if not _fit_24_bit(steps):
        return Audio(_copy_float32(samples), audio.rate)
    steps /= _FULL_SCALE_24
    return Audio(torch.from_numpy(steps.astype(np.float32, copy=False)), audio.rate)


def _quantise_tensor(samples: Tensor) -> Tensor:
    return torch.from_numpy(quantise_24_bit(samples.numpy()))


def _copy_float32(samples: Tensor) -> Tensor:
    return samples.to(torch.float32, copy=True)


def write(stem: Path, audio: Audio) -> Path:
    """Writes ``stem.flac`` (24 bit), or ``stem.wav`` (32-bit float) if a sample exceeds ±1; returns the path.

    The write is atomic. A file of the other kind from an earlier estimate is removed.
    """
    samples = audio.samples
    flac, wav = (stem.with_name(stem.name + suffix) for suffix in (".flac", ".wav"))
    silent = not has_sound(samples)
    if not silent and not all(_fit_24_bit(_quantisation_steps(part.numpy())) for (part,) in iter_blocks(samples)):
        write_wav(wav, audio)
        flac.unlink(missing_ok=True)
        return wav
    with atomic_write(flac) as temporary:
        if silent and not is_long(samples):
            temporary.write_bytes(_silent_flac(*samples.shape, audio.rate))
        else:
            with _open_for_writing(temporary) as file:
                _encode(file, samples, audio.rate)
    wav.unlink(missing_ok=True)
    return flac


class _CheckedFile(io.FileIO):
    """A file for libsndfile, which loses or rewords write errors: this keeps the first one."""

    error: OSError | None = None

    def write(self, data: Buffer, /) -> int:
        """Writes all data unless there was an error before, and reports all of it as written in either case."""
        left = memoryview(data)
        size = len(left)
        try:
            while left and self.error is None:
                left = left[super().write(left) :]
        except OSError as error:
            self.error = error
        return size


@contextmanager
def _open_for_writing(path: Path) -> Iterator[BinaryIO]:
    """Opens a new file for libsndfile; raises OSError if writing failed, as on a full disk."""
    with _CheckedFile(path, "w") as file:
        yield file
        if file.error is not None:
            raise OSError(file.error.errno, file.error.strerror, str(path))


def _encode(file: BinaryIO, samples: Tensor, rate: int) -> None:
    """Encodes 24-bit FLAC at level 0, which is three times as fast as the default for 10 % more bytes."""
    with soundfile.SoundFile(
        file, "w", rate, len(samples), format="FLAC", subtype="PCM_24", compression_level=0
    ) as opened:
        for (part,) in iter_blocks(samples):
            steps = _quantisation_steps(part.numpy())
            steps *= 256  # libsndfile takes the upper 24 bits of 32
            opened.write(steps.T.astype(np.int32))


@lru_cache(maxsize=8)
def _silent_flac(channels: int, length: int, rate: int) -> bytes:
    """Encodes digital silence as FLAC, cached: absent targets and baselines yield the same file every time."""
    encoded = io.BytesIO()
    _encode(encoded, torch.zeros(channels, length), rate)
    return encoded.getvalue()


def write_wav(path: Path, audio: Audio) -> None:
    """Writes a 32-bit float WAV atomically, without loss."""
    with (
        atomic_write(path) as temporary,
        _open_for_writing(temporary) as file,
        soundfile.SoundFile(file, "w", audio.rate, audio.channels, format="WAV", subtype="FLOAT") as opened,
    ):
        for (part,) in iter_blocks(audio.samples):
            opened.write(part.float().numpy().T)


def write_ogg(path: Path, audio: Audio, kbits: float = 48.0) -> None:
    """Writes Ogg Opus atomically: for playback on a page, never for scoring.

    An existing file with the same samples is kept, since every encoding contains a random serial number.

    Args:
        path: the file.
        audio: at 8, 12, 16, 24 or 48 kHz.
        kbits: average bit rate per channel in kbit/s, from 6 to 256.
    """
    if not _LEAST_KBITS <= kbits <= _MOST_KBITS:
        raise UsageError(f"expected {_LEAST_KBITS:g} to {_MOST_KBITS:g} kbit/s, found {kbits:g}")
    level = 1 - (kbits - _LEAST_KBITS) / (_MOST_KBITS - _LEAST_KBITS)
    with atomic_write(path) as temporary:
        samples = audio.samples.clamp(-1, 1).numpy().T
        with _open_for_writing(temporary) as file:
            soundfile.write(file, samples, audio.rate, format="OGG", subtype="OPUS", compression_level=level)
        if path.exists() and _have_equal_samples(path, temporary):
            shutil.copyfile(path, temporary)


def _have_equal_samples(one: Path, other: Path) -> bool:
    try:
        (samples, rate), (others, other_rate) = (soundfile.read(path) for path in (one, other))
    except soundfile.LibsndfileError:
        return False
    return rate == other_rate and np.array_equal(samples, others)
