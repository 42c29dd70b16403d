"""Reads the audio of containers (mp4, mkv, webm, m4a, mov …) by FFmpeg, with samples placed by their time stamps.

A frame whose time stamp is at the end of the previous one, within the resolution of millisecond stamps, is appended to
it. Gaps are filled with silence; in overlaps the earlier audio is kept. Hence a part of a file equals the same seconds
of the whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from sam_audio_bench.blocks import BlockAccumulator
from sam_audio_bench.decoding.formats import (
    Decoded,
    audio_stream,
    check_rate,
    clock_start,
    open_container,
    truncated_file_error,
)
from sam_audio_bench.decoding.headers import Header
from sam_audio_bench.errors import MediaError

__all__ = ["declared_size", "read"]

_WARM_UP = 0.5  # seconds that are decoded before a part, since a codec's frames overlap
_SEAM = 0.01  # seconds: half the shortest frame in use, and ten times the rounding of time stamps
_LONGEST_GAP = 600  # seconds; larger gaps mean damaged time stamps
_LONGEST_STEP_BACK = 1  # seconds; larger steps back mean that time stamps restart
_MISSING = 0.25  # seconds by which audio may end before its stream does
_EDIT_TICK = Fraction(1, 500)  # seconds; QuickTime counts 1/600
_MP4 = "mov,mp4"
_SCALES = {"u8": 2.0**7, "s16": 2.0**15, "s32": 2.0**31, "flt": 1.0, "dbl": 1.0}  # full scale of a sample format

Samples = NDArray[np.float32]


def read(path: Path, place: Path | BinaryIO, header: Header, start: float, end: float | None) -> Decoded:
    """Reads a part, see `sam_audio_bench.decoding.decode`; raises UnknownFormatError if FFmpeg does not support it."""
    with open_container(place) as container:
        begin, shown = clock_start(container), _stream(path, container)
        first, until = _first_stamp(shown), _edit_list_end(container, shown)
        if until is None:
            return _PartReader(path, header, begin, None, start, end).read(container, shown)
    with open_container(place, advanced_editlist="0") as container:
        stream = _stream(path, container)
        stored = Fraction(_first_stamp(stream) + (stream.duration or 0)) * stream.time_base  # priming is before 0
        if _first_stamp(stream) == first and abs(stored - until) < _EDIT_TICK:
            return _PartReader(path, header, begin, stored, start, end).read(container, stream)
    with open_container(place) as container:
        return _PartReader(path, header, begin, until, start, end).read(container, _stream(path, container))


def declared_size(path: Path) -> int | None:
    """Returns the number of values that a container declares, if any; raises UnknownFormatError if unsupported."""
    with open_container(path) as container:
        stream = _stream(path, container)
        seconds = stream.duration * stream.time_base if stream.duration else Fraction(container.duration or 0, 10**6)
        return round(seconds * (stream.rate or 0) * stream.codec_context.channels) or None


def _stream(path: Path, container: Any) -> Any:
    stream = audio_stream(container)
    if stream is None:
        raise MediaError(f"expected an audio stream in {path}, found none")
    return stream


def _edit_list_end(container: Any, stream: Any) -> Fraction | None:
    """Returns the end of the audio of an mp4 by its edit list, on the container's clock; None for other containers.

    Edit lists usually have a resolution of milliseconds, and FFmpeg drops a packet that they cut by less. Hence, if
    everything stored is shown, the file is read without them, to the end by the packets' durations. Other containers
    declare a common end of all streams, or an estimate.
    """
    if not container.format.name.startswith(_MP4) or stream.duration is None:
        return None
    return Fraction(((stream.start_time or 0) + stream.duration) * stream.time_base)


def _first_stamp(stream: Any) -> int:
    return next((int(entry.timestamp) for entry in stream.index_entries), 0)


@dataclass(frozen=True, slots=True)
class _PartReader:
    """Reader of a part of a container."""

    path: Path
    header: Header
    begin: Fraction | None  # container's time stamp of time 0; None: that of the first frame
    until: Fraction | None  # end of the audio on the container's clock, by an mp4's edit list
    start: float
    end: float | None

    def read(self, container: Any, stream: Any) -> Decoded:
        """Decodes the part."""
        begin, timeline = self.begin, None
        sought = _seek(container, stream, self.start - _WARM_UP + float(begin or 0))
        for frame, at, length in self._frames(container, stream):
            if timeline is None:
                begin = (at or Fraction(0)) if begin is None else begin
                timeline = _Timeline.between(self.path, frame, self.start, self.end, sought=sought)
            timeline.put(frame, None if at is None or begin is None else at - begin, length)
            if timeline.full:
                return timeline.decoded()
        seconds = 0.0 if timeline is None else timeline.seconds
        missing = self.until is not None and seconds < self.until - (begin or 0) - _MISSING
        if self.header.is_truncated or missing:
            raise truncated_file_error(self.path)
        if timeline is None:
            return Decoded(np.zeros((1, 0), np.float32), int(stream.rate or 1))
        return timeline.decoded()

    def _frames(self, container: Any, stream: Any) -> Iterator[tuple[Any, Fraction | None, Fraction | None]]:
        """Yields frames, their times on the container's clock, and the seconds of audio in the last one."""
        waiting, last, whole = None, None, True
        for packet in container.demux():
            corrupt = packet.is_corrupt and self.header.length_known  # otherwise the last packet is always incomplete
            whole = not corrupt if packet.size else whole
            if packet.stream != stream:
                continue
            if corrupt:
                raise truncated_file_error(self.path)
            last = packet if packet.size else last
            for frame in packet.decode():
                if waiting is not None:
                    yield waiting, _time(waiting, stream), None
                waiting = frame
        if waiting is not None:
            yield waiting, _time(waiting, stream), self._length_of_last(stream, waiting, last)
        if not whole:  # the file is truncated in another stream
            raise truncated_file_error(self.path)

    def _length_of_last(self, stream: Any, frame: Any, packet: Any) -> Fraction | None:
        """Returns the seconds of audio in the padded last frame, by packet duration and end of the mp4; None: all."""
        unit, full = stream.time_base, Fraction(frame.samples, frame.sample_rate)
        lengths = []
        if packet is not None and packet.duration:
            if self.until is not None:
                lengths.append(packet.duration * unit)
            elif stream.codec_context.frame_size == frame.samples:
                lengths.append(packet.duration * unit + unit)  # rounded
        if self.until is not None and frame.pts is not None:
            lengths.append(self.until - frame.pts * unit)
        return min((length for length in lengths if 0 < length < full), default=None)


def _time(frame: Any, stream: Any) -> Fraction | None:
    return None if frame.pts is None else frame.pts * Fraction(frame.time_base or stream.time_base)


def _seek(container: Any, stream: Any, seconds: float) -> bool:
    """Seeks to a time on the container's clock, if there are no gaps between frames; returns whether it did.

    Only time stamps in samples, as in the index of an mp4, give the exact positions of frames.
    """
    size = stream.codec_context.frame_size
    if not stream.rate or not size or stream.time_base != Fraction(1, stream.rate):
        return False
    stamps = [entry.timestamp for entry in stream.index_entries]
    target = math.floor(seconds * stream.rate)
    if (
        not stamps
        or not stamps[0] < target < stamps[-1]
        or any(later - earlier != size for earlier, later in pairwise(stamps))
    ):
        return False
    container.seek(target, stream=stream)
    return True


@dataclass(slots=True)
class _Timeline:
    """Collects the samples between two sample numbers, counted from time 0."""

    path: Path
    rate: int
    channels: int
    first: int
    last: int | None
    position: int | None  # number of the next sample; None: given by the first time stamp
    blocks: BlockAccumulator
    begun: bool = False
    filled: int = 0  # samples in gaps
    dropped: int = 0  # samples in overlaps

    @classmethod
    def between(cls, path: Path, frame: Any, start: float, end: float | None, *, sought: bool) -> _Timeline:
        """Creates a timeline for frames with the rate and channels of the first one."""
        rate = check_rate(path, int(frame.sample_rate))
        last = None if end is None else round(end * rate)
        channels, position = int(frame.layout.nb_channels), None if sought else 0
        return cls(path, rate, channels, round(start * rate), last, position, BlockAccumulator(channels))

    @property
    def full(self) -> bool:
        """Whether all requested samples are there."""
        return self.last is not None and self.position is not None and self.position >= self.last

    @property
    def seconds(self) -> float:
        """End of the audio in seconds."""
        return (self.position or 0) / self.rate

    def put(self, frame: Any, at: Fraction | None, length: Fraction | None) -> None:
        """Adds a frame at its time, or after the previous one; of the last one only ``length`` seconds."""
        if (int(frame.sample_rate), frame.layout.nb_channels) != (self.rate, self.channels):
            raise MediaError(
                f"expected {self.channels} channel(s) at {self.rate} Hz throughout {self.path}, found "
                f"{frame.layout.nb_channels} at {frame.sample_rate} Hz later on; convert it"
            )
        if at is None and self.position is None:
            return
        samples = _samples(frame)
        if length is not None:
            samples = samples[:, : round(length * self.rate)]
        if at is not None:
            samples = self._aligned(samples, round(at * self.rate))
        self._append(samples.shape[1], samples)
        self.begun = self.begun or samples.shape[1] > 0

    def _aligned(self, samples: Samples, at: int) -> Samples:
        """Pads up to the sample ``at``, or drops samples before the next needed one."""
        if self.position is None:
            self.position = at
        step = at - self.position
        if self.begun and abs(step) < _SEAM * self.rate:
            return samples
        if step > 0:
            self.filled += step if self.begun else 0
            if step > _LONGEST_GAP * self.rate or self.filled > _LONGEST_GAP * self.rate:
                raise MediaError(
                    f"expected sound in {self.path}, found time stamps that leave out {step / self.rate:g} s"
                )
            self._append(step, None)
            return samples
        if step < -_LONGEST_STEP_BACK * self.rate and self.begun:
            raise MediaError(
                f"expected time stamps in {self.path} that ascend, found some that go back by {-step / self.rate:g} s; "
                "convert it"
            )
        self.dropped += min(-step, samples.shape[1]) if self.begun else 0
        return samples[:, -step:]

    def _append(self, count: int, samples: Samples | None) -> None:
        """Appends samples, or silence, as far as they are in the requested range."""
        position = self.position or 0
        low = max(self.first - position, 0)
        high = count if self.last is None else min(count, self.last - position)
        self.position = position + count
        if high > low:
            block = np.zeros((self.channels, high - low), np.float32) if samples is None else samples[:, low:high]
            self.blocks.append(block)

    def decoded(self) -> Decoded:
        """Returns the samples, with remarks on changes."""
        what = {
            "time stamps leave out {:.3f} s, which were filled with silence": self.filled,
            "time stamps overlap by {:.3f} s, of which the earlier sound was kept": self.dropped,
        }
        remarks = [f"{self.path.name}: {text.format(n / self.rate)}" for text, n in what.items() if n]
        return Decoded(self.blocks.to_array(), self.rate, tuple(remarks))


def _samples(frame: Any) -> Samples:
    """Converts a frame to float32 ``[channels, time]``, full scale ±1."""
    kind = frame.format.name.removesuffix("p")
    if kind not in _SCALES:
        raise MediaError(
            f"expected samples of 8, 16 or 32 bits or floats, found {frame.format.name}; convert it to flac"
        )
    values: NDArray[Any] = frame.to_ndarray()
    if not frame.format.is_planar:
        values = values.reshape(-1, frame.layout.nb_channels).T
    if kind in ("flt", "dbl"):
        return values.astype(np.float32)
    centred: NDArray[np.float64] = values.astype(np.float64) - (_SCALES[kind] if kind == "u8" else 0.0)
    return (centred / _SCALES[kind]).astype(np.float32)
