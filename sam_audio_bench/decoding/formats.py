"""What both readers and `video` share: errors of decoders, the stream that counts, and the clock of a container.

The clock of a file with sound and pictures starts with whichever of the two starts earlier, as in a player; that of a
file with one of them starts with it.
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
    "Unopened",
    "audio_stream",
    "broken_off",
    "checked_rate",
    "clock_start",
    "media_errors",
    "opened_container",
    "video_stream",
]

_DEMUXERS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dts,eac3,flac,flv,h264,hevc,iff,ivf,m4v,matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,"
    "mp3,mpeg,mpegts,mpegvideo,mxf,nut,obu,ogg,rm,tta,voc,w64,wav,wv,dsf,dv,gif,apng,yuv4mpegpipe"
)
"""FFmpeg's formats of sound and video: none that plays a list of other files, or fetches them."""

_RATES = (100, 1_000_000)


class Unopened(Exception):  # noqa: N818 - another library may do
    """A library does not know a file's format."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """Samples float32 ``[channels, time]``, their rate in Hz, and sentences on what was not as it should be."""

    samples: NDArray[np.float32]
    rate: int
    remarks: tuple[str, ...] = ()

    def remarked(self, *remarks: str) -> Decoded:
        """The same with more remarks."""
        return replace(self, remarks=(*self.remarks, *remarks))


def checked_rate(path: Path, rate: int) -> int:
    """The rate that a file states, in Hz; one that no sound has raises MediaError, for lengths follow from it."""
    if not _RATES[0] <= rate <= _RATES[1]:
        raise MediaError(f"expected a rate between {_RATES[0]} and {_RATES[1]} Hz in {path}, found {rate} Hz")
    return rate


def broken_off(path: Path) -> MediaError:
    """The error for a file that ends before it should."""
    return MediaError(f"expected a whole file at {path}, found one that breaks off; get it again")


@contextmanager
def media_errors(path: Path, what: str = "a readable media file") -> Iterator[None]:
    """Whatever a decoder raises, for it raises nearly everything, becomes a MediaError that names the file."""
    try:
        yield
    except (BenchError, Unopened):
        raise
    except Exception as error:
        said = str(error) or type(error).__name__
        raise MediaError(f"expected {what} at {path}, found: {said}; get it again or convert it") from error


@contextmanager
def opened_container(place: Path | BinaryIO, **options: str) -> Iterator[Any]:
    """PyAV's container of a file, with options of its demuxer; raises Unopened where FFmpeg does not know it."""
    import av  # 0.2 s; only files that need it

    try:
        if isinstance(place, Path):
            file: Any = str(place.absolute())  # for FFmpeg takes what stands before a colon for a protocol
        else:
            place.seek(0)
            file = place
        container = av.open(file, options={"format_whitelist": _DEMUXERS, **options}, metadata_errors="replace")
    except (av.FFmpegError, ValueError) as error:
        raise Unopened(str(error)) from error
    with container:
        yield container


def audio_stream(container: Any) -> Any | None:
    """The sound that counts: the first stream that is marked default, else the first that can be decoded."""
    return _chosen(container.streams.audio)


def video_stream(container: Any) -> Any | None:
    """The pictures that count, chosen as sound is; covers do not count."""
    from av.stream import Disposition

    return _chosen(stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic)


def _chosen(streams: Iterable[Any]) -> Any | None:
    from av.stream import Disposition

    known = [stream for stream in streams if stream.codec_context is not None]
    marked = [stream for stream in known if stream.disposition & Disposition.default]
    return next(iter(marked or known), None)


def clock_start(container: Any) -> Fraction | None:
    """Seconds on the container's clock at which time 0 is; None: it does not say, and the first frame tells."""
    streams = [stream for stream in (audio_stream(container), video_stream(container)) if stream is not None]
    return min((s.start_time * s.time_base for s in streams if s.start_time is not None), default=None)
