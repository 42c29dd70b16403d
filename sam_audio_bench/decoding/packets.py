"""The sound of containers (mp4, mkv, webm, m4a, mov …), by FFmpeg, whose samples are put where their time stamps say.

A frame whose stamp is where the one before it ended, give or take what stamps of milliseconds cannot say, follows it
without a seam. A gap is filled with silence; of an overlap the earlier sound stays. So a part of a file is what the
whole has at these seconds.
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
    broken_off,
    checked_rate,
    clock_start,
    opened_container,
)
from sam_audio_bench.decoding.headers import Header
from sam_audio_bench.errors import MediaError

__all__ = ["claimed", "read"]

_WARM_UP = 0.5  # seconds that are decoded before a part, for a codec's frames overlap
_SEAM = 0.01  # seconds: half the shortest frame in use, and ten times what stamps are rounded to
_LONGEST_GAP = 600  # seconds; stamps that claim more are damaged
_LONGEST_STEP_BACK = 1  # seconds; stamps that claim more begin anew
_MISSING = 0.25  # seconds by which sound may end before its stream does
_EDIT_TICK = Fraction(1, 500)  # seconds; QuickTime counts 1/600
_MP4 = "mov,mp4"
_SCALES = {"u8": 2.0**7, "s16": 2.0**15, "s32": 2.0**31, "flt": 1.0, "dbl": 1.0}  # full scale of a sample format

Samples = NDArray[np.float32]


def read(path: Path, place: Path | BinaryIO, header: Header, start: float, end: float | None) -> Decoded:
    """A part as `sam_audio_bench.decoding.decode` gives it; raises Unopened where FFmpeg does not know the format."""
    with opened_container(place) as container:
        begin, shown = clock_start(container), _stream(path, container)
        first, until = _first_stamp(shown), _shown_until(container, shown)
        if until is None:
            return _Part(path, header, begin, None, start, end).read(container, shown)
    with opened_container(place, advanced_editlist="0") as container:
        stream = _stream(path, container)
        stored = Fraction(_first_stamp(stream) + (stream.duration or 0)) * stream.time_base  # priming comes before 0
        if _first_stamp(stream) == first and abs(stored - until) < _EDIT_TICK:
            return _Part(path, header, begin, stored, start, end).read(container, stream)
    with opened_container(place) as container:
        return _Part(path, header, begin, until, start, end).read(container, _stream(path, container))


def claimed(path: Path) -> int | None:
    """Values that a container tells of; None: it does not. Raises Unopened where FFmpeg does not know the format."""
    with opened_container(path) as container:
        stream = _stream(path, container)
        seconds = stream.duration * stream.time_base if stream.duration else Fraction(container.duration or 0, 10**6)
        return round(seconds * (stream.rate or 0) * stream.codec_context.channels) or None


def _stream(path: Path, container: Any) -> Any:
    stream = audio_stream(container)
    if stream is None:
        raise MediaError(f"expected an audio stream in {path}, found none")
    return stream


def _shown_until(container: Any, stream: Any) -> Fraction | None:
    """Where the sound of an mp4 ends by its edit list, on the container's clock.

    Edit lists count milliseconds as a rule, and FFmpeg leaves out a packet that they miss by less: so where all that is
    stored is shown, it is read without them, to where it ends by the packets' durations. Other containers tell one end
    of all streams together, or a guess.
    """
    if not container.format.name.startswith(_MP4) or stream.duration is None:
        return None
    return Fraction(((stream.start_time or 0) + stream.duration) * stream.time_base)


def _first_stamp(stream: Any) -> int:
    return next((int(entry.timestamp) for entry in stream.index_entries), 0)


@dataclass(frozen=True, slots=True)
class _Part:
    """What is asked of a container, and what is known of it."""

    path: Path
    header: Header
    begin: Fraction | None  # of the clock; None: the first frame tells
    until: Fraction | None  # where the sound ends on the container's clock, as an mp4 says
    start: float
    end: float | None

    def read(self, container: Any, stream: Any) -> Decoded:
        """Decodes the part."""
        begin, canvas = self.begin, None
        sought = _seek(container, stream, self.start - _WARM_UP + float(begin or 0))
        for frame, at, length in self._frames(container, stream):
            if canvas is None:
                begin = (at or Fraction(0)) if begin is None else begin
                canvas = _Canvas.between(self.path, frame, self.start, self.end, sought=sought)
            canvas.put(frame, None if at is None or begin is None else at - begin, length)
            if canvas.full:
                return canvas.decoded()
        seconds = 0.0 if canvas is None else canvas.seconds
        missing = self.until is not None and seconds < self.until - (begin or 0) - _MISSING
        if self.header.breaks_off or missing:
            raise broken_off(self.path)
        if canvas is None:
            return Decoded(np.zeros((1, 0), np.float32), int(stream.rate or 1))
        return canvas.decoded()

    def _frames(self, container: Any, stream: Any) -> Iterator[tuple[Any, Fraction | None, Fraction | None]]:
        """Decoded frames, their time on the container's clock, and how many seconds of the last one are sound."""
        waiting, last, whole = None, None, True
        for packet in container.demux():
            corrupt = packet.is_corrupt and self.header.length_known  # else the last packet is never full
            whole = not corrupt if packet.size else whole
            if packet.stream != stream:
                continue
            if corrupt:
                raise broken_off(self.path)
            last = packet if packet.size else last
            for frame in packet.decode():
                if waiting is not None:
                    yield waiting, _time(waiting, stream), None
                waiting = frame
        if waiting is not None:
            yield waiting, _time(waiting, stream), self._length_of_last(stream, waiting, last)
        if not whole:  # the file breaks off in another stream
            raise broken_off(self.path)

    def _length_of_last(self, stream: Any, frame: Any, packet: Any) -> Fraction | None:
        """Encoders fill their last frame; its packet's duration, and the end of an mp4, say where the sound ends."""
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
    """Goes to a time of the container's clock, if every frame follows the one before it without a gap.

    Only stamps that count samples, as an mp4 has in its index, tell exactly where a frame belongs.
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
class _Canvas:
    """The samples between two numbers of the clock, which begins with 0."""

    path: Path
    rate: int
    channels: int
    first: int
    last: int | None
    position: int | None  # number of the next sample; None: the first stamp tells
    blocks: BlockAccumulator
    begun: bool = False
    filled: int = 0  # samples of gaps
    dropped: int = 0  # samples of overlaps

    @classmethod
    def between(cls, path: Path, frame: Any, start: float, end: float | None, *, sought: bool) -> _Canvas:
        """For frames like the first one."""
        rate = checked_rate(path, int(frame.sample_rate))
        last = None if end is None else round(end * rate)
        channels, position = int(frame.layout.nb_channels), None if sought else 0
        return cls(path, rate, channels, round(start * rate), last, position, BlockAccumulator(channels))

    @property
    def full(self) -> bool:
        """Whether nothing more is needed."""
        return self.last is not None and self.position is not None and self.position >= self.last

    @property
    def seconds(self) -> float:
        """Where the sound ends."""
        return (self.position or 0) / self.rate

    def put(self, frame: Any, at: Fraction | None, length: Fraction | None) -> None:
        """Adds a frame at its time, or behind the last one where it has none; of the last frame ``length`` seconds."""
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
            samples = self._fitted(samples, round(at * self.rate))
        self._append(samples.shape[1], samples)
        self.begun = self.begun or samples.shape[1] > 0

    def _fitted(self, samples: Samples, at: int) -> Samples:
        """Goes to the sample ``at``, or leaves out what lies before the next one that is needed."""
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
        """Adds samples, or so much silence, as far as they are between the borders."""
        position = self.position or 0
        low = max(self.first - position, 0)
        high = count if self.last is None else min(count, self.last - position)
        self.position = position + count
        if high > low:
            block = np.zeros((self.channels, high - low), np.float32) if samples is None else samples[:, low:high]
            self.blocks.append(block)

    def decoded(self) -> Decoded:
        """What was put in, with what had to be changed."""
        what = {
            "time stamps leave out {:.3f} s, which were filled with silence": self.filled,
            "time stamps overlap by {:.3f} s, of which the earlier sound was kept": self.dropped,
        }
        remarks = [f"{self.path.name}: {text.format(n / self.rate)}" for text, n in what.items() if n]
        return Decoded(self.blocks.to_array(), self.rate, tuple(remarks))


def _samples(frame: Any) -> Samples:
    """A frame as float32 ``[channels, time]``, full scale ±1."""
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
