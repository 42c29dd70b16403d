"""The same numbers as the libraries that others use, where these are right."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from metric_signals import noise
from oracles import museval_metrics
from torch import Tensor

from sam_audio_bench.metrics.functional import bss_images, bss_sources, framewise_sdr, si_sdr, si_sir, si_snr, snr

CLOSE = 1e-6  # dB

pytestmark = pytest.mark.usefixtures("one_thread")  # some oracles factorize batches of matrices


def coloured(*shape: int, seed: int = 0) -> Tensor:
    """Noise with a gentle low-pass, as music has."""
    white = noise(*shape, seed=seed)
    return white + 0.6 * white.roll(1, dims=-1) + 0.3 * white.roll(2, dims=-1)


def mixed(*shape: int) -> tuple[Tensor, Tensor]:
    """Sources, and estimates with interference, a filter and noise."""
    sources = coloured(*shape)
    return sources, 0.8 * sources.roll(3, dims=-1) + 0.2 * sources.roll(1, dims=0) + 0.1 * noise(*shape, seed=9)


def assert_close(found: Tensor, expected: object) -> None:
    torch.testing.assert_close(found, torch.as_tensor(expected, dtype=torch.float64), rtol=0, atol=CLOSE)


def test_ratios_equal_torchmetrics() -> None:
    audio = pytest.importorskip("torchmetrics.functional.audio")
    reference, estimate = mixed(3, 8000)
    assert_close(
        si_sdr(reference=reference, estimate=estimate),
        audio.scale_invariant_signal_distortion_ratio(estimate, reference),
    )
    assert_close(
        si_snr(reference=reference, estimate=estimate), audio.scale_invariant_signal_noise_ratio(estimate, reference)
    )
    assert_close(snr(reference=reference, estimate=estimate), audio.signal_noise_ratio(estimate, reference))


def test_scale_invariant_family_equals_fast_bss_eval() -> None:
    fast = pytest.importorskip("fast_bss_eval")
    reference, estimate = mixed(3, 8000)
    sdr, sir, _ = fast.si_bss_eval_sources(reference, estimate, compute_permutation=False)
    assert_close(si_sdr(reference=reference, estimate=estimate), sdr)
    assert_close(si_sir(reference=reference, estimate=estimate), sir)


@pytest.mark.parametrize("sources", [1, 2, 3])
def test_v3_equals_mir_eval(sources: int) -> None:
    mir_eval = pytest.importorskip("mir_eval")
    reference, estimate = mixed(sources, 12000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sdr, sir, sar, _ = mir_eval.separation.bss_eval_sources(reference.numpy(), estimate.numpy(), False)
    found = bss_sources(reference=reference, estimate=estimate)
    assert_close(found.sdr, sdr)
    assert_close(found.sar, sar)
    if sources > 1:
        assert_close(found.sir, sir)


def test_v3_equals_fast_bss_eval_and_torchmetrics() -> None:
    reference, estimate = mixed(2, 12000)
    found = bss_sources(reference=reference, estimate=estimate)
    audio = pytest.importorskip("torchmetrics.functional.audio")
    assert_close(found.sdr, audio.signal_distortion_ratio(estimate, reference))
    fast = pytest.importorskip("fast_bss_eval")
    for one, other in zip(
        found[:3], fast.bss_eval_sources(reference, estimate, compute_permutation=False), strict=True
    ):
        assert_close(one, other)


@pytest.mark.parametrize(("window", "hop"), [(1.0, 1.0), (1.0, 0.5), (np.inf, np.inf)])
def test_v4_equals_museval_on_stereo(window: float, hop: float) -> None:
    museval = museval_metrics()
    reference, estimate = mixed(3, 2, 9000)
    expected = museval.bss_eval(
        reference.transpose(1, 2).numpy(), estimate.transpose(1, 2).numpy(), window=4000 * window, hop=4000 * hop
    )
    found = bss_images(reference=reference, estimate=estimate, rate=4000, window=window, hop=hop)
    for one, other in zip(found[:4], expected[:4], strict=True):
        assert_close(one, other)
    quick = framewise_sdr(reference=reference, estimate=estimate, rate=4000, window=window, hop=hop)
    assert_close(quick, expected[0])


@pytest.mark.parametrize("length", [300, 512, 520, 700])
def test_v4_of_stereo_below_the_length_of_its_filters(length: int) -> None:
    """The ISR, whose filters are those of one source, is undefined too, and museval's numbers are those of rounding."""
    reference, estimate = mixed(2, 2, length)
    found = bss_images(reference=reference, estimate=estimate, rate=4000)
    assert bool(found.sdr.isfinite().all())
    assert bool(found.isr.isnan().all()) == (length + 511 < 2 * 512)
    assert bool(found.sir.isnan().all())
    assert bool(found.sar.isnan().all())


def test_v4_equals_museval_where_frames_are_shorter_than_filters() -> None:
    museval = museval_metrics()
    reference, estimate = mixed(2, 2, 6000)
    images = (reference.transpose(1, 2).numpy(), estimate.transpose(1, 2).numpy())
    expected = museval.bss_eval(*images, window=400, hop=400)
    found = bss_images(reference=reference, estimate=estimate, rate=4000, window=0.1, hop=0.1)
    for one, other in zip(found[:4], expected[:4], strict=True):
        assert_close(one, other)
