"""What may change without changing a score, for every ratio, as documented."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from metric_signals import noise
from torch import Tensor

from sam_audio_bench.metrics.functional import bss_sources, framewise_sdr, sa_sdr, sd_sdr, si_sdr, si_snr, snr

Ratio = Callable[..., Tensor]

PLAIN: list[Ratio] = [snr, si_sdr, si_snr, sd_sdr]
SCALE_INVARIANT: list[Ratio] = [si_sdr, si_snr]
seeds = st.integers(0, 2**31 - 1)
scales = st.floats(-9, 3).map(lambda exponent: 10**exponent)
quick = settings(max_examples=25, deadline=None)


def v3(*, reference: Tensor, estimate: Tensor) -> Tensor:
    """All scores of BSS-eval v3 as one tensor; 32 taps for speed."""
    return torch.cat(bss_sources(reference=reference, estimate=estimate, taps=32)[:3])


def pair(seed: int, *shape: int) -> tuple[Tensor, Tensor]:
    """A reference and an estimate about 10 dB from it."""
    reference = noise(*shape, seed=seed)
    return reference, reference + 0.3 * noise(*shape, seed=seed + 1)


def same(found: Tensor, expected: Tensor, tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)


@quick
@given(seeds, scales)
def test_scaling_both_changes_nothing(seed: int, scale: float) -> None:
    reference, estimate = pair(seed, 2, 700)
    for function in (*PLAIN, sa_sdr, v3):
        before = function(reference=reference, estimate=estimate)
        same(function(reference=scale * reference, estimate=scale * estimate), before)


@quick
@given(seeds, scales, st.sampled_from([-1, 1]))
def test_gain_and_polarity_of_the_estimate(seed: int, scale: float, sign: int) -> None:
    reference, estimate = pair(seed, 2, 700)
    for function in (*SCALE_INVARIANT, v3):
        before = function(reference=reference, estimate=estimate)
        same(function(reference=reference, estimate=sign * scale * estimate), before)


@quick
@given(seeds, st.floats(-10, 10), st.floats(-10, 10))
def test_offsets_do_not_move_si_snr(seed: int, first: float, second: float) -> None:
    reference, estimate = pair(seed, 300)
    before = si_snr(reference=reference, estimate=estimate)
    same(si_snr(reference=reference + first, estimate=estimate + second), before)


@quick
@given(seeds, st.integers(0, 31), st.floats(-0.9, 0.9))
def test_delays_and_filters_are_forgiven_by_v3_only(seed: int, delay: int, echo: float) -> None:
    reference = torch.nn.functional.pad(noise(1, 900, seed=seed), (0, 64))
    estimate = reference.roll(delay) + echo * reference.roll(31)
    assert float(bss_sources(reference=reference, estimate=estimate, taps=32).sdr) > 200
    assert delay == 0 or float(si_sdr(reference=reference, estimate=estimate)) < 20


def test_512_taps_forgive_a_delay_of_511_samples_and_no_more() -> None:
    reference = torch.nn.functional.pad(noise(1, 4000), (0, 512))
    for delay, forgiven in ((511, True), (512, False)):
        score = float(bss_sources(reference=reference, estimate=reference.roll(delay)).sdr)
        assert (score > 200) is forgiven


@quick
@given(seeds, st.permutations(range(4)))
def test_batch_and_order(seed: int, order: list[int]) -> None:
    reference, estimate = pair(seed, 4, 300)
    for function in PLAIN:
        together = function(reference=reference, estimate=estimate)
        alone = [function(reference=r, estimate=e) for r, e in zip(reference, estimate, strict=True)]
        same(together, torch.stack(alone))
        same(function(reference=reference[order], estimate=estimate[order]), together[order])
        same(function(reference=reference.reshape(2, 2, -1), estimate=estimate.reshape(2, 2, -1)).flatten(), together)


@quick
@given(seeds)
def test_arguments_are_not_modified(seed: int) -> None:
    reference, estimate = pair(seed, 2, 600)
    copies = reference.clone(), estimate.clone()
    for function in (*PLAIN, sa_sdr, v3):
        function(reference=reference, estimate=estimate)
    framewise_sdr(reference=reference, estimate=estimate, rate=100)
    assert torch.equal(reference, copies[0])
    assert torch.equal(estimate, copies[1])


@pytest.mark.parametrize("function", PLAIN)
def test_worse_is_lower(function: Ratio) -> None:
    reference, error = noise(2, 4000)
    scores = [float(function(reference=reference, estimate=reference + level * error)) for level in (0.01, 0.1, 1, 10)]
    assert scores == sorted(scores, reverse=True)
