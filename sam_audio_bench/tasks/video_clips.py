"""Cuts parts of videos into separate files, for items that are shorter than their recording.

A part begins with the frame that is displayed at its start, or with the first frame if none is displayed yet; later
frames keep their time offsets, and the last one precedes the part's end. So a part is in sync with the audio that is
cut at the same seconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sam_audio_bench.decoding import check_complete
from sam_audio_bench.decoding.formats import clock_start, media_errors
from sam_audio_bench.errors import MediaError
from sam_audio_bench.files import atomic_write
from sam_audio_bench.video import check_packet, open_video

__all__ = ["count_frames", "cut_frames", "has_frames"]

_TIE = 1e-9  # seconds below which two times are equal
_INDEXED = ("mov,", "matroska,")  # formats in which FFmpeg can seek to the key frame before a time
_EIGHT_BITS = ("yuv420p", "yuvj420p", "yuv422p", "yuv444p")
_COLOURS = ("color_range", "colorspace", "color_primaries", "color_trc")


def cut_frames(path: Path, start: float, end: float, clip: Path) -> None:
    """Writes a part of a video without audio, atomically: H.264 in mp4, lossless for 8-bit videos.

    Args:
        path: a file with a video stream.
        start: start of the part, in seconds from the file's time 0, see `sam_audio_bench.video`.
        end: end of the part; it may be after the end of the video.
        clip: the file to write.

    Raises:
        MediaError: the file is missing (status ``missing_media``), damaged, or has no video stream or no frame.
    """
    import av

    with atomic_write(clip) as temporary, av.open(str(temporary), "w", format="mp4") as written:
        output: Any = None
        for time, frame, stream in _part(path, start, end):
            output = output or _add_stream_like(written, stream)
            with media_errors(path, "a video that can be cut"):
                image = frame.reformat(format=output.pix_fmt)
                image.pts, image.pict_type = round(time / stream.time_base), 0
                packets = output.encode(image)
            written.mux(packets)
        written.mux(output.encode(None))


def count_frames(path: Path, start: float = 0.0, end: float = math.inf) -> int:
    """Counts the frames of a part of a video by decoding them; arguments and errors as in `cut_frames`."""
    return sum(1 for _ in _part(path, start, end))


def has_frames(path: Path) -> bool:
    """Returns whether a file can be opened and has a video stream."""
    try:
        with open_video(path):
            return True
    except MediaError:
        return False


def _part(path: Path, start: float, end: float) -> Iterator[tuple[float, Any, Any]]:
    """Yields the frames of a part, at least one, in order of presentation: seconds since ``start``, frame, stream."""
    shown, count = None, 0
    with open_video(path) as (container, stream):
        stream.thread_type = "SLICE"  # frame threads would decode ahead, possibly into damage after the part
        unit, begin = stream.time_base, clock_start(container) or 0
        if start > 0 and container.format.name.startswith(_INDEXED):
            container.seek(math.floor((start + begin) / unit), stream=stream)
        for packet in container.demux(stream):
            check_packet(path, packet)
            for frame in packet.decode():
                if frame.pts is None:
                    raise MediaError(f"expected a video with time stamps at {path}, found none; convert it to mp4")
                time = float(frame.pts * unit - begin)
                if time <= start + _TIE:
                    shown = frame
                    continue
                if shown is None and count == 0:
                    shown = frame
                    continue
                if shown is not None:
                    yield 0.0, shown, stream
                    shown, count = None, 1
                if time >= end:
                    return
                yield time - start, frame, stream
        if shown is None and count == 0:
            raise MediaError(f"expected frames in the video {path}, found none")
        if shown is not None:
            yield 0.0, shown, stream
    check_complete(path)


def _add_stream_like(container: Any, source: Any) -> Any:
    """Adds a stream with the format of another one."""
    options = {"qp": "0", "preset": "veryfast", "threads": "1"}  # lossless; one thread: the same bytes on every run
    stream = container.add_stream("libx264", rate=source.average_rate or 25, options=options)
    stream.width, stream.height = source.width, source.height
    even = source.width % 2 == source.height % 2 == 0  # H.264 subsamples colours only of frames with even sizes
    stream.pix_fmt = "yuv444p" if not even else source.pix_fmt if source.pix_fmt in _EIGHT_BITS else "yuv420p"
    stream.codec_context.time_base = source.time_base
    for name in _COLOURS:
        setattr(stream.codec_context, name, getattr(source.codec_context, name))
    return stream
