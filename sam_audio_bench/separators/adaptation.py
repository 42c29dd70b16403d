"""What lies between a mixture and a model that has a rate, channels, a delay or a length of its own.

There and back: channels are folded or duplicated, the rate is converted, the sound is cut into chunks, and as many
samples of silence follow as the model is late; of each output the delay is cut, chunks are cross-faded, and rate,
channels and length become the mixture's. Where nothing is to do, samples pass unchanged, bit for bit.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from sam_audio_bench import audio
from sam_audio_bench.errors import BadSeparation, UsageError
from sam_audio_bench.types import Audio

__all__ = ["NAMES", "Adaptation", "Feed", "read_adaptation"]

_RATES = (1000, 768_000)  # Hz
_MOST_CHANNELS = 64
_EXPECTED = {
    "rate": f"a whole number of Hz from {_RATES[0]} to {_RATES[1]}",
    "channels": f"a whole number from 1 to {_MOST_CHANNELS}",
    "delay": "a whole number of samples at the model's rate, from 0",
    "chunk_seconds": "a finite number of seconds above 0",
    "chunk_overlap": "a fraction of a chunk from 0 to 0.5",
}


class Feed(NamedTuple):
    """What a model is given of one mixture: overlapping chunks, each followed by ``delay`` samples more.

    They share memory with each other and perhaps with the mixture: a model gets copies.
    """

    mixture: Audio  # as it was
    length: int  # samples of the mixture at the model's rate
    starts: tuple[int, ...]  # of the chunks, at the model's rate
    chunks: tuple[Audio, ...]

    @property
    def rate(self) -> int:
        """The model's, in Hz."""
        return self.chunks[0].rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Adaptation:
    """What a model expects that a mixture need not have; see the module for what is done about it.

    Args:
        rate: in Hz; None: the mixture's. Converted by soxr HQ.
        channels: None: the mixture's. A mixture of one channel is duplicated, one of several is averaged for a model of
            one; outputs the other way round. Other numbers do not fit each other.
        delay: by how many samples, at the model's rate, outputs are late.
        chunk_seconds: the longest sound that the model is given; None: no limit. The last chunk ends with the mixture.
        chunk_overlap: of neighbouring chunks, as a fraction of one. They are cross-faded by the rising and falling half
            of a Hann window, whose weights are made to add up to one.
    """

    rate: int | None = None
    channels: int | None = None
    delay: int = 0
    chunk_seconds: float | None = None
    chunk_overlap: float = 0.25

    def stated(self) -> dict[str, int | float]:
        """What differs from the defaults."""
        return {name: value for name, value in asdict(self).items() if value != _DEFAULTS[name]}

    def feed(self, mixture: Audio, name: str) -> Feed:
        """The chunks of a mixture for the model ``name``; raises BadSeparation where its channels do not fit."""
        sound = audio.resample(Audio(self._channels_in(mixture, name), mixture.rate), self.rate or mixture.rate)
        padded = pad(sound.samples, (0, self.delay)) if self.delay else sound.samples
        starts, size = self._starts(sound)
        chunks = (padded[:, start : start + size + self.delay] for start in starts)
        return Feed(mixture, sound.length, starts, tuple(Audio(chunk, sound.rate) for chunk in chunks))

    def join(self, feed: Feed, outputs: Sequence[Audio], name: str, what: str) -> Audio:
        """What a model made of the chunks, as one sound of the mixture's rate, channels and length.

        Args:
            feed: as `feed` gave it.
            outputs: one for each chunk.
            name: of the model, for messages.
            what: it is, for messages.

        Raises:
            BadSeparation: an output of another rate, length or number of channels than the model was given.
        """
        parts = []
        for chunk, output in zip(feed.chunks, outputs, strict=True):
            self._check(chunk, output, name, what)
            parts.append(output.samples.detach().cpu()[:, self.delay :])
        joined = parts[0] if len(parts) == 1 else self._cross_faded(feed, parts)
        back = audio.resample(Audio(joined, feed.rate), feed.mixture.rate)
        return Audio(_resized(self._channels_out(back.samples, feed.mixture), feed.mixture.length), back.rate)

    def _starts(self, sound: Audio) -> tuple[tuple[int, ...], int]:
        """Where chunks start, and how long they are."""
        size = sound.length if self.chunk_seconds is None else max(1, round(self.chunk_seconds * sound.rate))
        if size >= sound.length:
            return (0,), sound.length
        hop = max(1, size - round(self.chunk_overlap * size))
        return (*range(0, sound.length - size, hop), sound.length - size), size

    def _cross_faded(self, feed: Feed, parts: Sequence[Tensor]) -> Tensor:
        """Weighted mean in float64: where all parts agree, their samples are the result, bit for bit."""
        size = parts[0].shape[1]
        ramp = _rising(round(self.chunk_overlap * size))
        sums = parts[0].new_zeros(parts[0].shape[0], feed.length, dtype=torch.float64)
        weights = torch.zeros(feed.length, dtype=torch.float64)
        for start, part in zip(feed.starts, parts, strict=True):
            window = torch.ones(size, dtype=torch.float64)
            if start > 0:
                window[: len(ramp)] = ramp
            if start + size < feed.length:
                window[size - len(ramp) :] = ramp.flip(0)
            sums[:, start : start + size] += part * window
            weights[start : start + size] += window
        return (sums / weights).to(parts[0].dtype)

    def _channels_in(self, mixture: Audio, name: str) -> Tensor:
        if self.channels is None or self.channels == mixture.channels:
            return mixture.samples
        if self.channels == 1:
            return mixture.samples.mean(dim=0, keepdim=True)
        if mixture.channels == 1:
            return mixture.samples.expand(self.channels, -1)
        raise BadSeparation(
            f"{name} works on {self.channels} channels, and a mixture of {mixture.channels} is neither that nor mono",
            status="unsupported",
        )

    def _channels_out(self, samples: Tensor, mixture: Audio) -> Tensor:
        if self.channels is None or self.channels == mixture.channels:
            return samples
        return samples.expand(mixture.channels, -1) if self.channels == 1 else samples.mean(dim=0, keepdim=True)

    def _check(self, chunk: Audio, output: Audio, name: str, what: str) -> None:
        if output.rate != chunk.rate:
            said = "says that its rate is" if self.rate else "was given a mixture of"
            raise BadSeparation(
                f"{name} {said} {chunk.rate} Hz, and its {what} has {output.rate} Hz; state the rate that it has, "
                "or resample"
            )
        shape, expected = tuple(output.samples.shape), tuple(chunk.samples.shape)
        if shape == expected[::-1] != expected:
            raise BadSeparation(f"{name} gave its {what} as [time, channels], {list(shape)}; transpose it")
        if self.channels is not None and output.channels != self.channels:
            raise BadSeparation(
                f"{name} says that it works on {self.channels} channel(s), and its {what} has {output.channels}"
            )
        if output.length != chunk.length:
            raise BadSeparation(
                f"{name} was given {chunk.length} samples at {chunk.rate} Hz, and its {what} has {output.length}"
                f"{self._advice(output.length, chunk)}",
                status="length_mismatch",
            )

    def _advice(self, length: int, chunk: Audio) -> str:
        if self.delay and length == chunk.length - self.delay:
            return "; leave the delay in, which is cut here, or do not state it"
        for rate in (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 96000):
            if rate != chunk.rate and abs(length - chunk.length * rate / chunk.rate) <= max(1, 0.005 * length):
                return f", as many as there are at {rate} Hz; state rate={rate}, or resample"
        return "; pad or cut it to the length that it was given"


_DEFAULTS = {one.name: one.default for one in fields(Adaptation)}
NAMES = tuple(_DEFAULTS)
"""Of what can be stated."""


def read_adaptation(owner: str, *stated: Mapping[str, Any]) -> Adaptation:
    """The adaptation that mappings state, the first that names something deciding; None states nothing.

    Raises:
        UsageError: a value that cannot be meant; ``owner`` is who stated it.
    """
    found: dict[str, Any] = {}
    for name in NAMES:
        values: Iterable[Any] = (one[name] for one in stated if one.get(name) is not None)
        value = next(iter(values), None)
        if value is not None:
            found[name] = _number(owner, name, value)
    return Adaptation(**found)


def _number(owner: str, name: str, value: Any) -> int | float:
    expected = f"expected {name} of {owner} to be {_EXPECTED[name]}, found {value!r}"
    if isinstance(value, bool):
        raise UsageError(expected)
    try:
        number = float(value) if name.startswith("chunk") and not isinstance(value, str) else operator.index(value)
    except (TypeError, ValueError) as error:
        raise UsageError(expected) from error
    allowed = {
        "rate": _RATES[0] <= number <= _RATES[1],
        "channels": 1 <= number <= _MOST_CHANNELS,
        "delay": number >= 0,
        "chunk_seconds": 0 < number < math.inf,
        "chunk_overlap": 0 <= number <= 0.5,
    }
    if not allowed[name]:
        raise UsageError(expected)
    return number


def _rising(size: int) -> Tensor:
    """The rising half of a Hann window, sampled between its points, so that no weight is zero."""
    return torch.sin(torch.pi / 2 * (torch.arange(size, dtype=torch.float64) + 0.5) / max(size, 1)).square()


def _resized(samples: Tensor, length: int) -> Tensor:
    """Exactly ``length`` samples: converting there and back may round to one or two more or less."""
    return pad(samples[:, :length], (0, max(0, length - samples.shape[1])))
