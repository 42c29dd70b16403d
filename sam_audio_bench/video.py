"""Frames and masks of videos: the only place that opens either.

Frames are read as a stream, so that a video takes no more memory than the frames that are asked for.

Time 0 is the presentation time of a file's first frame, or that of its sound where this starts earlier, as it is for
`audio`. Frames without time stamps are taken to be evenly spaced. A time is answered by the frame whose presentation
time is nearest, ties by the earlier.

A mask with as many frames as its video is matched by number. One with another number is matched by relative time: of M
masks, number j is what holds at j/M of the duration, and the nearest holds for a frame, ties by the earlier. A mask of
another height or width is resized to the frame, nearest neighbour at pixel centres. What the released code does in
these two cases is not known.

Letters: N frames of the file, T frames asked for, M masks, H height, W width.
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
    "KEPT",
    "MASK_KEY",
    "Frame",
    "Frames",
    "check_packet",
    "frame_times",
    "mask_frames",
    "masked_clip",
    "masked_frames",
    "matching_mask",
    "opened_video",
    "read_frames",
    "read_mask",
    "stream_frames",
]

KEPT = ("object", "background")
"""What masking leaves visible."""

MASK_KEY = "video_masklet"
"""Name of the array in a mask's npz file."""

_LARGEST_MASK = 2**32  # bytes; ten seconds of 4K at 50 frames a second
_LARGEST_FRAME = 2**26  # pixels, twice those of 8K: a damaged header claims any size
_READABLE = "a video that can be decoded"
_TIE = 1e-9  # seconds below which two distances are equal: finer than any time base
_RATE = 25.0  # frames a second of a stream that knows neither times nor rate


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
    """Frames in order of presentation, decoded as they are taken.

    Args:
        path: a file with a video stream; the one that is marked default counts, or the first, cover pictures do not.
        times: ascending, in seconds; the nearest frame is yielded for each, the same object where one answers several.
            Times outside the video get its first or last frame. None: every frame.

    Raises:
        MediaError: the file is absent (status ``missing_media``), damaged, or has no video stream or no frame.
        UsageError: times that are not ascending or not finite.
    """
    wanted = None if times is None else np.asarray(times, np.float64)
    if wanted is not None and (not np.isfinite(wanted).all() or (np.diff(wanted) < 0).any()):
        raise UsageError(f"expected ascending times in seconds, found {list(times or ())[:8]}")
    with media_errors(Path(path), _READABLE):  # of converting a frame too
        decoded = _decode(Path(path))
        yield from (frame.shown() for frame in decoded) if wanted is None else _nearest(decoded, wanted)


@dataclass(frozen=True, slots=True)
class _Decoded:
    frame: Any  # PyAV's
    time: float
    index: int
    size: tuple[int, int]  # height and width of the first frame, which those of a stream that changes its own get too

    def shown(self) -> Frame:
        height, width = self.size
        pixels = self.frame.to_ndarray(format="rgb24", width=width, height=height)
        return Frame(torch.from_numpy(pixels).permute(2, 0, 1).contiguous(), self.time, self.index)


def _nearest(decoded: Iterator[_Decoded], wanted: NDArray[np.float64]) -> Iterator[Frame]:
    """One frame a time; only frames that are wanted are converted."""
    before = next(decoded)
    answered = 0
    for after in decoded:
        last = answered
        while last < len(wanted) and wanted[last] - before.time <= after.time - wanted[last] + _TIE:
            last += 1
        if last > answered:
            yield from repeat(before.shown(), last - answered)
        before, answered = after, last
        if answered == len(wanted):
            return
    yield from repeat(before.shown(), len(wanted) - answered)


def _decode(path: Path) -> Iterator[_Decoded]:
    """Every frame, at least one."""
    index, time, size = 0, 0.0, (0, 0)
    with opened_video(path) as (container, stream):
        stream.thread_type = "SLICE"  # threads of whole frames read ahead: how far, and into what damage, cores decide
        rate, begin = float(stream.average_rate or _RATE), clock_start(container)
        for packet in container.demux():  # of all streams, for a file may break off in the sound
            check_packet(path, packet)
            for frame in packet.decode() if packet.stream == stream else ():
                if index == 0:
                    size = (frame.height, frame.width)
                    begin = (frame.pts or 0) * stream.time_base if begin is None else begin
                stamp = index / rate if frame.pts is None else float(frame.pts * stream.time_base - begin)
                time = max(time, stamp)  # AVI's stamps, made up from the order of storage, go back and forth
                yield _Decoded(frame, time, index, size)
                index += 1
    if index == 0:
        raise _without_frames(path)
    check_complete(path)


@contextmanager
def opened_video(path: Path) -> Iterator[tuple[Any, Any]]:
    """PyAV's container and its video stream; its errors become MediaError."""
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
    """Raises MediaError for a packet that is not whole."""
    if packet.is_corrupt:
        raise truncated_file_error(path)


def _without_frames(path: Path) -> MediaError:
    return MediaError(f"expected frames in the video {path}, found none")


def frame_times(path: str | Path) -> NDArray[np.float64]:
    """Presentation times ``[N]`` of all frames, in seconds since the file's time 0; nothing is decoded.

    Raises:
        MediaError: as `stream_frames`, as far as it shows without decoding.
    """
    path = Path(path)
    with opened_video(path) as (container, stream):
        stamps = [packet.pts for packet in container.demux(stream) if packet.size and not packet.is_discard]
        unit, rate, begin = stream.time_base, float(stream.average_rate or _RATE), clock_start(container)
    if not stamps:
        raise _without_frames(path)
    if any(stamp is None for stamp in stamps):
        return np.arange(len(stamps)) / rate
    check_complete(path)
    ordered = np.sort(np.asarray(stamps, np.int64))
    first = ordered[0] if begin is None else float(begin / unit)
    return np.maximum((ordered - first) * float(unit), 0.0)


def read_frames(path: str | Path, times: Sequence[float] | None = None) -> Frames:
    """Frames in memory; arguments and errors as in `stream_frames`."""
    found = list(stream_frames(path, times))
    if not found:
        raise UsageError("expected at least one time, found none")
    return Frames(torch.stack([frame.pixels for frame in found]), np.asarray([frame.time for frame in found]))


def read_mask(path: str | Path) -> Tensor:
    """The mask in an npz file, bool ``[M, H, W]``: true where the array ``video_masklet`` is not zero.

    The array's header is read first, so that neither a pickle nor an absurd size is ever loaded.

    Raises:
        MediaError: the file is absent (status ``missing_media``), damaged, no npz, without that array, or the array is
            empty, not of three dimensions, not of numbers or larger than 4 GiB.
    """
    path = Path(path)
    if not path.is_file():
        raise MediaError(f"expected a mask at {path}, found none", status="missing_media")
    with media_errors(path, "an npz file with a mask"):
        with zipfile.ZipFile(path) as archive:
            if f"{MASK_KEY}.npy" not in archive.namelist():
                raise MediaError(f"expected an array {MASK_KEY} in {path}, found {archive.namelist()[:8]}")
            with archive.open(f"{MASK_KEY}.npy") as file:
                _check_header(path, *_header(file))
        with np.load(path, allow_pickle=False) as arrays:
            return torch.from_numpy(arrays[MASK_KEY].astype(bool, copy=False))


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
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
    """Blackens what a mask shuts out.

    Args:
        pixels: ``[..., 3, H, W]``.
        mask: bool ``[..., h, w]`` with the same leading axes, true on the object; resized where it has another size.
        keep: "object" blackens all but the object, as the paper's evaluation does; "background" the object.

    Returns:
        ``[..., 3, H, W]``, of the type of ``pixels``.

    Raises:
        UsageError: another ``keep``, or leading axes that differ.
    """
    if keep not in KEPT:
        raise UsageError(f"expected keep to be one of {', '.join(KEPT)}, found {keep!r}")
    if mask.shape[:-2] != pixels.shape[:-3]:
        raise UsageError(f"expected a mask for each frame, found {tuple(mask.shape)} for {tuple(pixels.shape)}")
    size = pixels.shape[-2:]
    if mask.shape[-2:] != size:
        planes = mask.reshape(-1, 1, *mask.shape[-2:]).to(torch.uint8)
        mask = interpolate(planes, size=tuple(size), mode="nearest-exact").bool().reshape(*mask.shape[:-2], *size)
    hidden = ~mask if keep == "object" else mask
    return pixels.masked_fill(hidden.unsqueeze(-3), 0)


def matching_mask(index: int, time: float, *, masks: int, clock: NDArray[np.float64]) -> int:
    """Which of ``masks`` masks belongs to a frame.

    Args:
        index: of the frame.
        time: of the frame, in seconds.
        masks: how many there are.
        clock: the times of all frames, see `frame_times`.

    >>> clock = np.arange(4) / 10
    >>> [matching_mask(i, clock[i], masks=2, clock=clock) for i in range(4)]
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
    """Frames uint8 ``[3, H, W]`` with everything outside the mask black, decoded as they are taken.

    Args:
        video: see `stream_frames`.
        mask: see `read_mask`; None: the video is masked already.
        times: see `stream_frames`.
        keep: see `mask_frames`.

    Raises:
        MediaError, UsageError: as the functions that are named above.
    """
    if mask is None:
        yield from (frame.pixels for frame in stream_frames(video, times))
        return
    clock = frame_times(video)
    masks = read_mask(mask)
    last, shown = -1, torch.empty(0)
    for frame in stream_frames(video, times):
        if frame.index != last:
            number = matching_mask(frame.index, frame.time, masks=len(masks), clock=clock)
            last, shown = frame.index, mask_frames(frame.pixels, masks[number], keep=keep)
        yield shown


def masked_clip(
    video_path: str | Path, mask_path: str | Path | None, *, frames: int, hop: int, rate: int, keep: str = "object"
) -> Tensor:
    """What SAM Audio sees of a video: uint8 ``[frames, 3, H, W]``, frame i as it is at ``i * hop / rate`` seconds.

    A video that ends earlier stays on its last frame.

    Args:
        video_path: see `stream_frames`.
        mask_path: see `read_mask`; None: the video is masked already.
        frames: latent frames of the audio.
        hop: samples a latent frame.
        rate: of the audio in Hz.
        keep: see `mask_frames`.

    Raises:
        MediaError: a video or mask that is absent (status ``missing_media``) or cannot be read.
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
