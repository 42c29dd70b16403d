"""Signals whose scores are known in closed form, and the items made of them."""

from __future__ import annotations

import torch
from torch import Tensor

from sam_audio_bench.types import Audio, Item, Prompt, Query, Separation

RATE = 8000


def noise(*shape: int, seed: int = 0) -> Tensor:
    """White noise in float64."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def orthonormal(count: int, length: int = 2000, seed: int = 0) -> Tensor:
    """Signals ``[count, length]`` of unit energy and zero mean, each orthogonal to the others."""
    columns = torch.cat([torch.ones(length, 1, dtype=torch.float64), noise(length, count, seed=seed)], dim=1)
    return torch.linalg.qr(columns).Q[:, 1:].T.contiguous()


def disjoint(count: int, channels: int = 1, part: int = 2000, seed: int = 0) -> Tensor:
    """Unit energy noise ``[count, channels, time]``, 1000 samples apart: orthogonal under any delay of 512 taps."""
    bursts = noise(count, channels, part, seed=seed)
    bursts /= bursts.flatten(1).norm(dim=1)[:, None, None]
    signals = torch.zeros(count, channels, count * (part + 1000), dtype=torch.float64)
    for number, burst in enumerate(bursts):
        start = number * (part + 1000)
        signals[number, :, start : start + part] = burst
    return signals


def decibels(ratio: float) -> float:
    """``10 log10``."""
    return float(10 * torch.tensor(ratio, dtype=torch.float64).log10())


def sound(samples: Tensor, rate: int = RATE) -> Audio:
    """Audio of ``[channels, time]`` or ``[time]``."""
    return Audio(samples if samples.ndim == 2 else samples[None], rate)


def item(reference: Tensor | None, residual: Tensor | None, mixture: Tensor | None = None, name: str = "a") -> Item:
    """An item whose mixture is the sum of its references unless given."""
    if mixture is None:
        assert reference is not None
        assert residual is not None
        mixture = reference + residual
    return Item(
        id=name,
        group=name,
        query=Query(mixture=sound(mixture), prompt=Prompt(text="dog")),
        reference=None if reference is None else sound(reference),
        residual_reference=None if residual is None else sound(residual),
    )


def answer(target: Tensor, residual: Tensor | None = None) -> Separation:
    """An answer; its residual is silent unless given."""
    return Separation(target=sound(target), residual=sound(torch.zeros_like(target) if residual is None else residual))
