"""The checks that hold `si_sdr` up: it passes all, and every deliberately broken variant fails some."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from metric_signals import noise, orthonormal
from torch import Tensor

from sam_audio_bench.metrics.catalogue import FLOOR_DB
from sam_audio_bench.metrics.functional import si_sdr

Ratio = Callable[..., Tensor]


def closed_form(function: Ratio) -> bool:
    target, other = orthonormal(2)
    return abs(float(function(reference=target, estimate=target + 0.1 * other)) - 20) < 1e-9


def gain_forgiven(function: Ratio) -> bool:
    target, other = orthonormal(2)
    return abs(float(function(reference=target, estimate=-3 * target + 0.3 * other)) - 20) < 1e-9


def level_forgiven(function: Ratio) -> bool:
    target, other = orthonormal(2)
    return abs(float(function(reference=1e-6 * target, estimate=1e-6 * (target + 0.1 * other))) - 20) < 1e-9


def offset_counted(function: Ratio) -> bool:
    target = orthonormal(1)[0]
    return abs(float(function(reference=target, estimate=target + 0.1 / len(target) ** 0.5)) - 20) < 1e-9


def silence_at_the_floor(function: Ratio) -> bool:
    return float(function(reference=noise(50), estimate=torch.zeros(50))) == FLOOR_DB


CHECKS = [closed_form, gain_forgiven, level_forgiven, offset_counted, silence_at_the_floor]


def without_projection(*, reference: Tensor, estimate: Tensor) -> Tensor:
    """Forgets the gain: it is `snr`."""
    error = estimate - reference
    return 10 * (reference.square().sum(-1) / error.square().sum(-1)).log10().clamp(min=FLOOR_DB / 10)


def with_mean_removed(*, reference: Tensor, estimate: Tensor) -> Tensor:
    """Takes the mean off: it is `si_snr`."""
    return si_sdr(reference=reference - reference.mean(), estimate=estimate - estimate.mean())


def with_epsilon(*, reference: Tensor, estimate: Tensor) -> Tensor:
    """Adds a constant to both energies, as many libraries do."""
    scale = ((reference * estimate).sum(-1) + 1e-8) / (reference.square().sum(-1) + 1e-8)
    target = scale * reference
    error = target - estimate
    return 10 * ((target.square().sum(-1) + 1e-8) / (error.square().sum(-1) + 1e-8)).log10()


def with_amplitudes(*, reference: Tensor, estimate: Tensor) -> Tensor:
    """Takes 20 log10 of energies."""
    return 2 * si_sdr(reference=reference, estimate=estimate)


@pytest.mark.parametrize("check", CHECKS)
def test_si_sdr_passes(check: Callable[[Ratio], bool]) -> None:
    assert check(si_sdr)


@pytest.mark.parametrize("mutant", [without_projection, with_mean_removed, with_epsilon, with_amplitudes])
def test_every_mutant_is_caught(mutant: Ratio) -> None:
    assert not all(check(mutant) for check in CHECKS)
