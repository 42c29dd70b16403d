"""The ratios in closed form, and what they say of silence, perfection and nonsense."""

from __future__ import annotations

import math

import pytest
import torch
from metric_signals import decibels, noise, orthonormal

from sam_audio_bench.errors import UsageError
from sam_audio_bench.metrics.catalogue import FLOOR_DB
from sam_audio_bench.metrics.functional import (
    centred,
    classify,
    is_silent,
    sa_sdr,
    sd_sdr,
    si_sar,
    si_sdr,
    si_sir,
    si_snr,
    snr,
)
from sam_audio_bench.types import Status

PLAIN = [snr, si_sdr, si_snr, sd_sdr]
IDS = [function.__name__ for function in PLAIN]


@pytest.mark.parametrize("level", [1e-4, 0.1, 1.0, 30.0])
@pytest.mark.parametrize("gain", [-1.0, 0.5, 1.0])
def test_closed_form(level: float, gain: float) -> None:
    target, other = orthonormal(2)
    estimate = gain * target + level * other
    error = (gain - 1) ** 2 + level**2
    expected = {
        snr: decibels(1 / error),
        si_sdr: decibels(gain**2 / level**2),
        si_snr: decibels(gain**2 / level**2),
        sd_sdr: decibels(gain**2 / error),
    }
    for function, value in expected.items():
        assert float(function(reference=target, estimate=estimate)) == pytest.approx(value, abs=1e-9)


def test_closed_form_of_sa_sdr() -> None:
    first, second, error = orthonormal(3)
    found = sa_sdr(reference=torch.stack([first, 3 * second]), estimate=torch.stack([first + 0.1 * error, 2 * second]))
    assert float(found) == pytest.approx(decibels(10 / 1.01), abs=1e-9)


def test_closed_form_of_si_sir_and_si_sar() -> None:
    target, other, artifact = orthonormal(3)
    references = torch.stack([target, 2 * other])
    estimates = torch.stack([-3 * target + 0.3 * other + 0.06 * artifact, other])
    sir = si_sir(reference=references, estimate=estimates)
    sar = si_sar(reference=references, estimate=estimates)
    assert sir.tolist() == pytest.approx([decibels(100), math.inf], abs=1e-9)
    assert sar.tolist() == pytest.approx([decibels(2500), math.inf], abs=1e-9)


def test_si_sdr_is_made_of_si_sir_and_si_sar() -> None:
    references = noise(3, 1500)
    estimates = references + 0.3 * references.roll(1, dims=0) + 0.2 * noise(3, 1500, seed=1)
    parts = [function(reference=references, estimate=estimates) for function in (si_sir, si_sar)]
    sum_of_parts = sum(10 ** (-part / 10) for part in parts)
    whole = 10 ** (-si_sdr(reference=references, estimate=estimates) / 10)
    torch.testing.assert_close(whole, sum_of_parts, rtol=1e-12, atol=0)


def test_only_si_snr_forgives_an_offset() -> None:
    target, other = orthonormal(2)
    estimate = target + 0.1 * other + 0.01
    assert float(si_snr(reference=target, estimate=estimate)) == pytest.approx(20, abs=1e-9)
    for function in (snr, si_sdr, sd_sdr):
        assert float(function(reference=target, estimate=estimate)) < 10


@pytest.mark.parametrize("function", PLAIN, ids=IDS)
def test_edge_cases(function: object) -> None:
    assert callable(function)
    sounding, silent = noise(100), torch.zeros(100)
    assert float(function(reference=sounding, estimate=silent)) == FLOOR_DB
    assert math.isnan(function(reference=silent, estimate=sounding))
    assert math.isnan(function(reference=silent, estimate=silent))
    assert math.isnan(function(reference=torch.zeros(0), estimate=torch.zeros(0)))
    assert float(function(reference=sounding, estimate=sounding)) == math.inf
    for bad in (math.nan, math.inf, -math.inf):
        broken = sounding.clone()
        broken[3] = bad
        assert math.isnan(function(reference=sounding, estimate=broken))
        assert math.isnan(function(reference=broken, estimate=sounding))
    first, second = orthonormal(2)
    assert float(function(reference=first, estimate=1e-30 * second)) >= FLOOR_DB
    assert float(si_sdr(reference=first, estimate=second)) == FLOOR_DB


@pytest.mark.parametrize("function", [*PLAIN, sa_sdr, si_sir, si_sar])
def test_shapes_that_differ_are_refused(function: object) -> None:
    assert callable(function)
    with pytest.raises(UsageError, match=r"found \[2, 100\] and \[2, 99\]"):
        function(reference=noise(2, 100), estimate=noise(2, 99))
    with pytest.raises(UsageError, match="expected"):
        function(reference=torch.ones(()), estimate=torch.ones(1))


def test_a_constant_is_silence_without_its_mean() -> None:
    constant = torch.full((48000,), 0.1, dtype=torch.float64) / 3
    assert bool(is_silent(centred(constant)))
    quiet = 1e-9 * noise(48000)
    assert not bool(is_silent(centred(constant + quiet)))
    assert float(si_snr(reference=quiet, estimate=constant)) == FLOOR_DB
    assert math.isnan(si_snr(reference=constant, estimate=quiet))
    assert float(si_snr(reference=quiet, estimate=constant + quiet)) > 100


@pytest.mark.parametrize(
    ("reference", "estimate", "status"),
    [
        (1.0, 1.0, Status.OK),
        (0.0, 1.0, Status.SILENT_REFERENCE),
        (1.0, 0.0, Status.SILENT_ESTIMATE),
        (0.0, 0.0, Status.BOTH_SILENT),
        (1.0, math.nan, Status.NON_FINITE),
        (math.inf, 0.0, Status.NON_FINITE),
    ],
)
def test_statuses(reference: float, estimate: float, status: Status) -> None:
    assert classify(torch.full((2, 5), reference), torch.full((2, 5), estimate)) is status


@pytest.mark.parametrize("function", PLAIN, ids=IDS)
def test_float32_at_minus_100_dbfs_gives_the_float64_answer(function: object) -> None:
    assert callable(function)
    reference, estimate = 1e-5 * noise(2, 16000)
    exact = function(reference=reference, estimate=reference + 0.1 * estimate)
    found = function(reference=reference.float(), estimate=(reference + 0.1 * estimate).float())
    assert found.dtype == torch.float64
    assert float(found) == pytest.approx(float(exact), abs=1e-3)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("function", PLAIN, ids=IDS)
def test_cuda_gives_the_cpu_answer(function: object) -> None:
    assert callable(function)
    reference, estimate = noise(3, 16000), noise(3, 16000, seed=1)
    there = function(reference=reference.cuda(), estimate=estimate.cuda())
    torch.testing.assert_close(there.cpu(), function(reference=reference, estimate=estimate), rtol=0, atol=1e-9)
