"""Shared by both readers and `video`: errors of decoders, selection of streams, and the time origin of a container.

Time 0 of a file with audio and video is the earlier of their starts, as in a player; of a file with only one of them,
the start of that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from sam_audio_bench.errors import BenchError, MediaError

__all__ = [
    "Decoded",
    "UnknownFormatError",
    "audio_stream",
    "check_rate",
    "clock_start",
    "media_errors",
    "open_container",
    "truncated_file_error",
    "video_stream",
]

_DEMUXERS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dts,eac3,flac,flv,h264,hevc,iff,ivf,m4v,matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,"
    "mp3,mpeg,mpegts,mpegvideo,mxf,nut,obu,ogg,rm,tta,voc,w64,wav,wv,dsf,dv,gif,apng,yuv4mpegpipe"
)
"""FFmpeg's audio and video formats, without playlists and those that fetch other files."""

_RATES = (100, 1_000_000)


class UnknownFormatError(Exception):
    """A library does not support a file's format; another library may."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """Samples float32 ``[channels, time]``, their rate in Hz, and remarks on irregularities of the file."""

    samples: NDArray[np.float32]
    rate: int
    remarks: tuple[str, ...] = ()

    def with_remarks(self, *remarks: str) -> Decoded:
        """Returns a copy with additional remarks."""
        return replace(self, remarks=(*self.remarks, *remarks))


def check_rate(path: Path, rate: int) -> int:
    """Returns the rate of a file in Hz; raises MediaError if it is implausible, since durations depend on it."""
    if not _RATES[0] <= rate <= _RATES[1]:
        raise MediaError(f"expected a rate between {_RATES[0]} and {_RATES[1]} Hz in {path}, found {rate} Hz")
    return rate


def truncated_file_error(path: Path) -> MediaError:
    """Returns the error for a truncated file."""
    return MediaError(f"expected a whole file at {path}, found one that breaks off; get it again")


@contextmanager
def media_errors(path: Path, what: str = "a readable media file") -> Iterator[None]:
    """Turns any exception of a decoder inside the context into a MediaError that names the file."""
    try:
        yield
    except (BenchError, UnknownFormatError):
        raise
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise MediaError(f"expected {what} at {path}, found: {reason}; get it again or convert it") from error


@contextmanager
def open_container(place: Path | BinaryIO, **options: str) -> Iterator[Any]:
    """Opens a container by PyAV, with options of its demuxer; raises UnknownFormatError if it is unsupported."""
    import av  # takes 0.2 s, so only if needed

    try:
        if isinstance(place, Path):
            file: Any = str(place.absolute())  # since FFmpeg interprets text before a colon as a protocol
        else:
            place.seek(0)
            file = place
        container = av.open(file, options={"format_whitelist": _DEMUXERS, **options}, metadata_errors="replace")
    except (av.FFmpegError, ValueError) as error:
        raise UnknownFormatError(str(error)) from error
    with container:
        yield container


def audio_stream(container: Any) -> Any | None:
    """Returns the audio stream to decode: the first that is marked default, else the first that can be decoded."""
    return _choose_stream(container.streams.audio)


def video_stream(container: Any) -> Any | None:
    """Returns the video stream to decode, chosen as for audio; cover images are ignored."""
    from av.stream import Disposition

    return _choose_stream(
        stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic
    )


def _choose_stream(streams: Iterable[Any]) -> Any | None:
    from av.stream import Disposition

    known = [stream for stream in streams if stream.codec_context is not None]
    marked = [stream for stream in known if stream.disposition & Disposition.default]
    return next(iter(marked or known), None)


def clock_start(container: Any) -> Fraction | None:
    """Returns the container's time stamp of time 0 in seconds; None if undeclared: that of the first frame applies."""
    streams = [stream for stream in (audio_stream(container), video_stream(container)) if stream is not None]
    return min((s.start_time * s.time_base for s in streams if s.start_time is not None), default=None)
