"""Conversion between a mixture and a model with a fixed rate, channel count, delay or input length.

Input: channels are averaged or duplicated, the rate is converted, the sound is cut into chunks, and silence of the
length of the model's delay is appended. Output: the delay is cut off, chunks are cross-faded, and rate, channels and
length are restored. Without need for a conversion, samples pass unchanged, bit for bit.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from sam_audio_bench import audio
from sam_audio_bench.errors import BadSeparation, UsageError
from sam_audio_bench.types import Audio

__all__ = ["OPTION_NAMES", "Adaptation", "ModelInput", "read_adaptation"]

_RATES = (1000, 768_000)  # Hz
_MOST_CHANNELS = 64
_EXPECTED = {
    "rate": f"a whole number of Hz from {_RATES[0]} to {_RATES[1]}",
    "channels": f"a whole number from 1 to {_MOST_CHANNELS}",
    "delay": "a whole number of samples at the model's rate, from 0",
    "chunk_seconds": "a finite number of seconds above 0",
    "chunk_overlap": "a fraction of a chunk from 0 to 0.5",
}


class ModelInput(NamedTuple):
    """One mixture as input of a model: overlapping chunks, each with ``delay`` further samples.

    They share memory with each other and possibly with the mixture, so a model must get copies.
    """

    mixture: Audio  # the original
    length: int  # samples of the mixture at the model's rate
    starts: tuple[int, ...]  # of the chunks, at the model's rate
    chunks: tuple[Audio, ...]

    @property
    def rate(self) -> int:
        """Rate of the model, in Hz."""
        return self.chunks[0].rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Adaptation:
    """Input format of a model; the module docstring describes the conversion.

    Args:
        rate: in Hz; None: that of the mixture. Converted by soxr HQ.
        channels: None: those of the mixture. A mono mixture is duplicated; one of several channels is averaged for a
            mono model; outputs are converted back. Other combinations are unsupported.
        delay: of the outputs, in samples at the model's rate.
        chunk_seconds: maximal length of an input; None: no limit. The last chunk ends with the mixture.
        chunk_overlap: of neighbouring chunks, as a fraction of a chunk. They are cross-faded by the rising and falling
            half of a Hann window, normalised to a sum of one.
    """

    rate: int | None = None
    channels: int | None = None
    delay: int = 0
    chunk_seconds: float | None = None
    chunk_overlap: float = 0.25

    def prepare(self, mixture: Audio, name: str) -> ModelInput:
        """Converts a mixture for the model ``name``; raises BadSeparation if its channel count is unsupported."""
        sound = audio.resample(Audio(self._channels_in(mixture, name), mixture.rate), self.rate or mixture.rate)
        padded = pad(sound.samples, (0, self.delay)) if self.delay else sound.samples
        starts, size = self._chunk_starts(sound)
        chunks = (padded[:, start : start + size + self.delay] for start in starts)
        return ModelInput(mixture, sound.length, starts, tuple(Audio(chunk, sound.rate) for chunk in chunks))

    def join(self, model_input: ModelInput, outputs: Sequence[Audio], name: str, what: str) -> Audio:
        """Joins the outputs of a model into one sound with the rate, channels and length of the mixture.

        Args:
            model_input: from `prepare`.
            outputs: one per chunk.
            name: of the model, for messages.
            what: the kind of output, for messages.

        Raises:
            BadSeparation: the rate, length or channel count of an output differs from that of the input.
        """
        parts = []
        for chunk, output in zip(model_input.chunks, outputs, strict=True):
            self._check(chunk, output, name, what)
            parts.append(output.samples.detach().cpu()[:, self.delay :])
        joined = parts[0] if len(parts) == 1 else self._cross_fade(model_input, parts)
        back = audio.resample(Audio(joined, model_input.rate), model_input.mixture.rate)
        return Audio(
            _fit_length(self._channels_out(back.samples, model_input.mixture), model_input.mixture.length), back.rate
        )

    def _chunk_starts(self, sound: Audio) -> tuple[tuple[int, ...], int]:
        """Returns the first samples of the chunks, and their length."""
        size = sound.length if self.chunk_seconds is None else max(1, round(self.chunk_seconds * sound.rate))
        if size >= sound.length:
            return (0,), sound.length
        hop = max(1, size - round(self.chunk_overlap * size))
        return (*range(0, sound.length - size, hop), sound.length - size), size

    def _cross_fade(self, model_input: ModelInput, parts: Sequence[Tensor]) -> Tensor:
        """Returns the weighted mean, in float64, so that equal parts give exactly their samples."""
        size = parts[0].shape[1]
        ramp = _fade_in(round(self.chunk_overlap * size))
        sums = parts[0].new_zeros(parts[0].shape[0], model_input.length, dtype=torch.float64)
        weights = torch.zeros(model_input.length, dtype=torch.float64)
        for start, part in zip(model_input.starts, parts, strict=True):
            window = torch.ones(size, dtype=torch.float64)
            if start > 0:
                window[: len(ramp)] = ramp
            if start + size < model_input.length:
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
            origin = "states a rate of" if self.rate else "was given a mixture of"
            raise BadSeparation(
                f"{name} {origin} {chunk.rate} Hz, and its {what} has {output.rate} Hz; state the rate that it has, "
                "or resample"
            )
        shape, expected = tuple(output.samples.shape), tuple(chunk.samples.shape)
        if shape == expected[::-1] != expected:
            raise BadSeparation(f"{name} gave its {what} as [time, channels], {list(shape)}; transpose it")
        if self.channels is not None and output.channels != self.channels:
            raise BadSeparation(
                f"{name} states that it works on {self.channels} channel(s), and its {what} has {output.channels}"
            )
        if output.length != chunk.length:
            raise BadSeparation(
                f"{name} was given {chunk.length} samples at {chunk.rate} Hz, and its {what} has {output.length}"
                f"{self._suggest_fix(output.length, chunk)}",
                status="length_mismatch",
            )

    def _suggest_fix(self, length: int, chunk: Audio) -> str:
        if self.delay and length == chunk.length - self.delay:
            return "; leave the delay in, which is cut here, or do not state it"
        for rate in (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 96000):
            if rate != chunk.rate and abs(length - chunk.length * rate / chunk.rate) <= max(1, 0.005 * length):
                return f", as many as there are at {rate} Hz; state rate={rate}, or resample"
        return "; pad or cut it to the length that it was given"


OPTION_NAMES = tuple(one.name for one in fields(Adaptation))
"""Names of the options of `Adaptation`."""


def read_adaptation(owner: str, *options: Mapping[str, Any]) -> Adaptation:
    """Merges options from mappings, the first of which has precedence; values of None are ignored.

    Raises:
        UsageError: an invalid value; ``owner`` is the separator that it was given for.
    """
    found: dict[str, Any] = {}
    for name in OPTION_NAMES:
        values: Iterable[Any] = (one[name] for one in options if one.get(name) is not None)
        value = next(iter(values), None)
        if value is not None:
            found[name] = _check_option(owner, name, value)
    return Adaptation(**found)


def _check_option(owner: str, name: str, value: Any) -> int | float:
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


def _fade_in(size: int) -> Tensor:
    """Returns the rising half of a Hann window, sampled at half-integer points, so that no weight is zero."""
    return torch.sin(torch.pi / 2 * (torch.arange(size, dtype=torch.float64) + 0.5) / max(size, 1)).square()


def _fit_length(samples: Tensor, length: int) -> Tensor:
    """Cuts or pads to ``length`` samples: conversion there and back may differ by one or two samples."""
    return pad(samples[:, :length], (0, max(0, length - samples.shape[1])))
