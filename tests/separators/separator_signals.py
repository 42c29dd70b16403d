"""Synthetic sounds whose right separation is known, and the score that the tests read."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sam_audio_bench.types import Audio, Item, Prompt, Query, Separation, Separator

RATE = 16_000
TEXT = Prompt(text="a sound")


def sine(hertz: float, seconds: float = 2.0, rate: int = RATE, amplitude: float = 0.3) -> Tensor:
    return amplitude * torch.sin(2 * math.pi * hertz * torch.arange(round(seconds * rate)) / rate)[None]


def noise(seconds: float = 2.0, rate: int = RATE, amplitude: float = 0.1, channels: int = 1, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return amplitude * torch.randn(channels, round(seconds * rate), generator=generator)


def clicks(every: float = 0.25, seconds: float = 2.0, rate: int = RATE) -> Tensor:
    samples = torch.zeros(1, round(seconds * rate))
    samples[:, round(every * rate / 2) :: round(every * rate)] = 0.9
    return samples


def query(samples: Tensor, prompt: Prompt = TEXT, rate: int = RATE) -> Query:
    return Query(mixture=Audio(samples, rate), prompt=prompt)


def item(target: Tensor, rest: Tensor, rate: int = RATE) -> Item:
    return Item(
        id="one",
        group="one",
        query=query(target + rest, rate=rate),
        reference=Audio(target, rate),
        residual_reference=Audio(rest, rate),
    )


def answer(separator: Separator, samples: Tensor, prompt: Prompt = TEXT, rate: int = RATE) -> Separation:
    return separator.separate([query(samples, prompt, rate)], [0])[0]


def si_sdr(*, reference: Tensor, estimate: Tensor) -> float:
    """The definition of Le Roux et al., 2019, in dB, over all channels."""
    reference, estimate = reference.double().flatten(), estimate.double().flatten()
    scaled = (reference @ estimate) / (reference @ reference) * reference
    return float(10 * torch.log10(scaled.square().sum() / (scaled - estimate).square().sum()))
