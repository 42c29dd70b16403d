"""Reading of video frames and masks.

Frames are streamed, so that a video needs no more memory than the requested frames.

Time 0 is the presentation time of a file's first frame, or that of its sound if this starts earlier, as in `audio`.
Frames without time stamps are assumed to be evenly spaced. For a requested time, the frame with the nearest
presentation time is returned; of two equally near frames, the earlier.

A mask sequence with as many frames as its video is matched by index. Otherwise it is matched by relative time: of M
masks, mask j belongs to j/M of the duration, and each frame gets the nearest mask, the earlier of two equally near. A
mask of another height or width is resized to the frame, by nearest neighbour at pixel centres. How the released code
handles these two cases is not known.

Shapes: N frames of the file, T requested frames, M masks, H height, W width.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from sam_audio_bench.decoding import check_complete
from sam_audio_bench.decoding.formats import (
    UnknownFormatError,
    clock_start,
    media_errors,
    open_container,
    truncated_file_error,
    video_stream,
)
from sam_audio_bench.errors import MediaError, UsageError

__all__ = [
    "KEEP_CHOICES",
    "MASK_KEY",
    "Frame",
    "Frames",
    "check_packet",
    "frame_times",
    "mask_frames",
    "masked_clip",
    "masked_frames",
    "matching_mask_index",
    "open_video",
    "read_frames",
    "read_mask",
    "stream_frames",
]

KEEP_CHOICES = ("object", "background")
"""Regions that masking can keep visible."""

MASK_KEY = "video_masklet"
"""Name of the array in a mask's npz file."""

_LARGEST_MASK = 2**32  # bytes; ten seconds of 4K at 50 frames a second
_LARGEST_FRAME = 2**26  # pixels, twice those of 8K: a damaged header claims any size
_READABLE = "a video that can be decoded"
_TIE = 1e-9  # seconds; smaller differences are ties: finer than any time base
_RATE = 25.0  # frames per second of a stream with neither time stamps nor rate


@dataclass(frozen=True, slots=True)
class Frame:
    """A decoded frame."""

    pixels: Tensor  # uint8 [3, H, W], red, green, blue
    time: float  # seconds since the file's time 0
    index: int  # in order of presentation


@dataclass(frozen=True, slots=True)
class Frames:
    """Decoded frames, all of one size."""

    pixels: Tensor  # uint8 [T, 3, H, W]
    times: NDArray[np.float64]  # [T], seconds since the file's time 0


def stream_frames(path: str | Path, times: Sequence[float] | None = None) -> Iterator[Frame]:
    """Yields frames in order of presentation, decoded on demand.

    Args:
        path: a file with a video stream; the default stream is used, or else the first, but no cover picture.
        times: ascending, in seconds; the nearest frame is yielded for each, as the same object if repeated. Times
            outside the video get its first or last frame. None: every frame.

    Raises:
        MediaError: the file is absent (status ``missing_media``), damaged, or has no video stream or no frame.
        UsageError: times that are not ascending or not finite.
    """
    requested = None if times is None else np.asarray(times, np.float64)
    if requested is not None and (not np.isfinite(requested).all() or (np.diff(requested) < 0).any()):
        raise UsageError(f"expected ascending times in seconds, found {list(times or ())[:8]}")
    with media_errors(Path(path), _READABLE):  # errors of converting a frame too
        decoded = _decode_frames(Path(path))
        yield from (
            (frame.converted() for frame in decoded) if requested is None else _nearest_frames(decoded, requested)
        )


@dataclass(frozen=True, slots=True)
class _Decoded:
    frame: Any  # PyAV's frame
    time: float
    index: int
    size: tuple[int, int]  # height and width of the first frame, to which all later ones are scaled

    def converted(self) -> Frame:
        height, width = self.size
        pixels = self.frame.to_ndarray(format="rgb24", width=width, height=height)
        return Frame(torch.from_numpy(pixels).permute(2, 0, 1).contiguous(), self.time, self.index)


def _nearest_frames(decoded: Iterator[_Decoded], times: NDArray[np.float64]) -> Iterator[Frame]:
    """Yields the nearest frame per time; other frames are not converted."""
    before = next(decoded)
    done = 0
    for after in decoded:
        last = done
        while last < len(times) and times[last] - before.time <= after.time - times[last] + _TIE:
            last += 1
        if last > done:
            yield from repeat(before.converted(), last - done)
        before, done = after, last
        if done == len(times):
            return
    yield from repeat(before.converted(), len(times) - done)


def _decode_frames(path: Path) -> Iterator[_Decoded]:
    """Yields every frame; raises MediaError if there is none."""
    index, time, size = 0, 0.0, (0, 0)
    with open_video(path) as (container, stream):
        stream.thread_type = (
            "SLICE"  # frame threads would read ahead, into damage too, depending on the number of cores
        )
        rate, begin = float(stream.average_rate or _RATE), clock_start(container)
        for packet in container.demux():  # of all streams, since a file may be truncated in its sound
            check_packet(path, packet)
            for frame in packet.decode() if packet.stream == stream else ():
                if index == 0:
                    size = (frame.height, frame.width)
                    begin = (frame.pts or 0) * stream.time_base if begin is None else begin
                stamp = index / rate if frame.pts is None else float(frame.pts * stream.time_base - begin)
                time = max(time, stamp)  # AVI's stamps, derived from storage order, are not monotonic
                yield _Decoded(frame, time, index, size)
                index += 1
    if index == 0:
        raise _no_frames_error(path)
    check_complete(path)


@contextmanager
def open_video(path: Path) -> Iterator[tuple[Any, Any]]:
    """Opens a file with PyAV and yields the container and its video stream; raises MediaError."""
    if not path.is_file():
        raise MediaError(f"expected a video at {path}, found none", status="missing_media")
    try:
        with media_errors(path, _READABLE), open_container(path) as container:
            stream = video_stream(container)
            if stream is None:
                raise MediaError(f"expected a video stream in {path}, found none")
            if stream.width * stream.height > _LARGEST_FRAME:
                size = f"{stream.width} x {stream.height}"
                raise MediaError(f"expected frames of at most {_LARGEST_FRAME} pixels in {path}, found {size}")
            yield container, stream
    except UnknownFormatError as error:
        check_complete(path)
        raise MediaError(f"expected {_READABLE} at {path}, found: {error}; convert it to mp4") from error


def check_packet(path: Path, packet: Any) -> None:
    """Raises MediaError for a corrupt packet."""
    if packet.is_corrupt:
        raise truncated_file_error(path)


def _no_frames_error(path: Path) -> MediaError:
    return MediaError(f"expected frames in the video {path}, found none")


def frame_times(path: str | Path) -> NDArray[np.float64]:
    """Returns the presentation times ``[N]`` of all frames in seconds since the file's time 0, without decoding.

    Raises:
        MediaError: as in `stream_frames`, if detectable without decoding.
    """
    path = Path(path)
    with open_video(path) as (container, stream):
        stamps = [packet.pts for packet in container.demux(stream) if packet.size and not packet.is_discard]
        unit, rate, begin = stream.time_base, float(stream.average_rate or _RATE), clock_start(container)
    if not stamps:
        raise _no_frames_error(path)
    if any(stamp is None for stamp in stamps):
        return np.arange(len(stamps)) / rate
    check_complete(path)
    ordered = np.sort(np.asarray(stamps, np.int64))
    first = ordered[0] if begin is None else float(begin / unit)
    return np.maximum((ordered - first) * float(unit), 0.0)


def read_frames(path: str | Path, times: Sequence[float] | None = None) -> Frames:
    """Reads frames into memory; arguments and errors as in `stream_frames`."""
    found = list(stream_frames(path, times))
    if not found:
        raise UsageError("expected at least one time, found none")
    return Frames(torch.stack([frame.pixels for frame in found]), np.asarray([frame.time for frame in found]))


def read_mask(path: str | Path) -> Tensor:
    """Reads the masks of an npz file, bool ``[M, H, W]``: true where the array ``video_masklet`` is not zero.

    The array's header is checked first, so that neither pickles nor oversized arrays are ever loaded.

    Raises:
        MediaError: the file is absent (status ``missing_media``), damaged, not an npz file, or without that array; or
            the array is empty, not three-dimensional, not numeric or larger than 4 GiB.
    """
    path = Path(path)
    if not path.is_file():
        raise MediaError(f"expected a mask at {path}, found none", status="missing_media")
    with media_errors(path, "an npz file with a mask"):
        with zipfile.ZipFile(path) as archive:
            if f"{MASK_KEY}.npy" not in archive.namelist():
                raise MediaError(f"expected an array {MASK_KEY} in {path}, found {archive.namelist()[:8]}")
            with archive.open(f"{MASK_KEY}.npy") as file:
                _check_header(path, *_read_array_header(file))
        with np.load(path, allow_pickle=False) as arrays:
            return torch.from_numpy(arrays[MASK_KEY].astype(bool, copy=False))


def _read_array_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, kind = read(file)
    return shape, kind


def _check_header(path: Path, shape: tuple[int, ...], kind: np.dtype[Any]) -> None:
    if kind.kind not in "buif":
        raise MediaError(f"expected a mask of numbers in {path}, found {kind}; arrays of objects are never unpickled")
    if len(shape) != 3 or 0 in shape:
        raise MediaError(f"expected a mask [frames, height, width] in {path}, found the shape {shape}")
    if math.prod(shape) * kind.itemsize > _LARGEST_MASK:
        raise MediaError(f"expected a mask of at most {_LARGEST_MASK >> 30} GiB in {path}, found {kind} {shape}")


def mask_frames(pixels: Tensor, mask: Tensor, *, keep: str = "object") -> Tensor:
    """Sets all pixels outside the kept region to black.

    Args:
        pixels: ``[..., 3, H, W]``.
        mask: bool ``[..., h, w]`` with the same leading axes, true on the object; resized if its size differs.
        keep: "object", as in the paper's evaluation, or "background".

    Returns:
        ``[..., 3, H, W]`` of the dtype of ``pixels``.

    Raises:
        UsageError: another ``keep``, or leading axes that differ.
    """
    if keep not in KEEP_CHOICES:
        raise UsageError(f"expected keep to be one of {', '.join(KEEP_CHOICES)}, found {keep!r}")
    if mask.shape[:-2] != pixels.shape[:-3]:
        raise UsageError(f"expected a mask for each frame, found {tuple(mask.shape)} for {tuple(pixels.shape)}")
    size = pixels.shape[-2:]
    if mask.shape[-2:] != size:
        planes = mask.reshape(-1, 1, *mask.shape[-2:]).to(torch.uint8)
        mask = interpolate(planes, size=tuple(size), mode="nearest-exact").bool().reshape(*mask.shape[:-2], *size)
    hidden = ~mask if keep == "object" else mask
    return pixels.masked_fill(hidden.unsqueeze(-3), 0)


def matching_mask_index(index: int, time: float, *, masks: int, clock: NDArray[np.float64]) -> int:
    """Returns the index of the mask that belongs to a frame.

    Args:
        index: of the frame.
        time: of the frame, in seconds.
        masks: number of masks.
        clock: times of all frames, see `frame_times`.

    >>> clock = np.arange(4) / 10
    >>> [matching_mask_index(i, clock[i], masks=2, clock=clock) for i in range(4)]
    [0, 0, 1, 1]
    """
    frames, first = len(clock), float(clock[0])
    if masks == frames or frames == 1 or clock[-1] <= first:
        return min(index, masks - 1)
    duration = (float(clock[-1]) - first) * frames / (frames - 1)
    return min(max(math.ceil((time - first) / duration * masks - 0.5 - _TIE), 0), masks - 1)


def masked_frames(
    video: str | Path, mask: str | Path | None, times: Sequence[float] | None = None, *, keep: str = "object"
) -> Iterator[Tensor]:
    """Yields frames uint8 ``[3, H, W]`` that are black outside the kept region, decoded on demand.

    Args:
        video: see `stream_frames`.
        mask: see `read_mask`; None: the video is already masked.
        times: see `stream_frames`.
        keep: see `mask_frames`.

    Raises:
        MediaError, UsageError: as the functions named above.
    """
    if mask is None:
        yield from (frame.pixels for frame in stream_frames(video, times))
        return
    clock = frame_times(video)
    masks = read_mask(mask)
    last, shown = -1, torch.empty(0)
    for frame in stream_frames(video, times):
        if frame.index != last:
            number = matching_mask_index(frame.index, frame.time, masks=len(masks), clock=clock)
            last, shown = frame.index, mask_frames(frame.pixels, masks[number], keep=keep)
        yield shown


def masked_clip(
    video_path: str | Path, mask_path: str | Path | None, *, frames: int, hop: int, rate: int, keep: str = "object"
) -> Tensor:
    """Returns SAM Audio's video input: uint8 ``[frames, 3, H, W]``, frame i at ``i * hop / rate`` seconds.

    If the video ends earlier, its last frame is repeated.

    Args:
        video_path: see `stream_frames`.
        mask_path: see `read_mask`; None: the video is already masked.
        frames: number of latent frames of the audio.
        hop: samples per latent frame.
        rate: of the audio, in Hz.
        keep: see `mask_frames`.

    Raises:
        MediaError: the video or mask is absent (status ``missing_media``) or cannot be read.
        UsageError: fewer than one frame, or another ``keep``.
    """
    if frames < 1:
        raise UsageError(f"expected at least one frame, found {frames}")
    clip = torch.empty(0, dtype=torch.uint8)
    times = [index * hop / rate for index in range(frames)]
    for index, pixels in enumerate(masked_frames(video_path, mask_path, times, keep=keep)):
        if index == 0:
            clip = pixels.new_empty(frames, *pixels.shape)
        clip[index] = pixels
    return clip
