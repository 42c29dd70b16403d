"""BSS-eval in closed form, its frames, and what silence does to it."""

from __future__ import annotations

import math

import pytest
import torch
from metric_signals import RATE, decibels, disjoint, noise

from sam_audio_bench.errors import UsageError
from sam_audio_bench.metrics.catalogue import FLOOR_DB
from sam_audio_bench.metrics.functional import bss_images, bss_sources, framewise_sdr, snr
from sam_audio_bench.metrics.functional.filters import Filters, LeastSquaresProjector, correlate, gram
from sam_audio_bench.metrics.functional.frames import frames


def naive_correlation(left: torch.Tensor, right: torch.Tensor, lag: int) -> float:
    """The definition, sample by sample."""
    pairs = ((n, n + lag) for n in range(len(left)) if n + lag < len(right))
    return float(sum(left[a] * right[b] for a, b in pairs))


def test_correlate_is_its_definition() -> None:
    left, right = noise(2, 60), noise(3, 60, seed=1)
    found = correlate(left, right, taps=7)
    for p in range(2):
        for q in range(3):
            expected = [naive_correlation(left[p], right[q], lag) for lag in range(7)]
            assert found[p, q].tolist() == pytest.approx(expected, abs=1e-12)


def test_filters_and_gram_are_their_definitions_across_blocks() -> None:
    signals, taps = noise(2, 200_000), noise(2, 3, 5, seed=1)
    expected = torch.zeros(3, 200_004, dtype=torch.float64)
    for p in range(2):
        for tap in range(5):
            expected[:, tap : tap + 200_000] += taps[p, :, tap, None] * signals[p]
    parts = list(Filters(taps)(signals))
    assert [part.start for part, _ in parts][1:] == [part.stop for part, _ in parts][:-1]
    torch.testing.assert_close(torch.cat([found for _, found in parts], dim=1), expected, rtol=0, atol=1e-12)
    delayed = torch.stack([torch.nn.functional.pad(signal, (a, 4 - a)) for signal in signals for a in range(5)])
    torch.testing.assert_close(gram(correlate(signals, signals, taps=5)), delayed @ delayed.T, rtol=1e-11, atol=1e-9)


def test_projection_leaves_a_residual_orthogonal_to_all_delays() -> None:
    references, estimates = noise(2, 900), noise(1, 900, seed=1)
    own, cross = correlate(references, references, estimates, taps=16).split_with_sizes([2, 1], dim=1)
    projection = LeastSquaresProjector(own, 900)
    parts = [part for _, part in Filters(projection.filters(cross))(references)]
    rest = torch.nn.functional.pad(estimates, (0, 15)) - torch.cat(parts, dim=1)
    assert float(correlate(references, rest, taps=16).abs().max()) < 1e-10
    matrix = gram(own / own[0, 0, 0])
    assert projection.condition == pytest.approx(float(torch.linalg.cond(matrix, 1)), rel=0.5)


@pytest.mark.parametrize(("interference", "artifact"), [(0.1, 0.01), (1.0, 0.1), (1e-3, 3.0)])
def test_closed_form_of_v3(interference: float, artifact: float) -> None:
    target, other, alien = disjoint(3)[:, 0]
    estimate = -2 * (target.roll(100) + interference * other.roll(30) + artifact * alien)
    scores = bss_sources(reference=torch.stack([target, other]), estimate=torch.stack([estimate, other]))
    assert float(scores.sdr[0]) == pytest.approx(decibels(1 / (interference**2 + artifact**2)), abs=1e-9)
    assert float(scores.sir[0]) == pytest.approx(decibels(1 / interference**2), abs=1e-9)
    assert float(scores.sar[0]) == pytest.approx(decibels((1 + interference**2) / artifact**2), abs=1e-9)
    assert scores.condition < 1000


@pytest.mark.parametrize("gain", [0.9, 1.2])
def test_closed_form_of_v4(gain: float) -> None:
    target, other, alien = disjoint(3, channels=2)
    estimate = gain * target + 0.2 * other + 0.1 * alien
    scores = bss_images(
        reference=torch.stack([target, other]), estimate=torch.stack([estimate, other]), rate=RATE, window=math.inf
    )
    assert scores.sdr.shape == (2, 1)
    assert float(scores.sdr[0]) == pytest.approx(decibels(1 / ((gain - 1) ** 2 + 0.05)), abs=1e-9)
    assert float(scores.isr[0]) == pytest.approx(decibels(1 / (gain - 1) ** 2), abs=1e-9)
    assert float(scores.sir[0]) == pytest.approx(decibels(gain**2 / 0.04), abs=1e-9)
    assert float(scores.sar[0]) == pytest.approx(decibels((gain**2 + 0.04) / 0.01), abs=1e-9)


@pytest.mark.parametrize("scale", [1e-9, 1e3])
def test_images_do_not_depend_on_level_or_order(scale: float) -> None:
    reference = noise(2, 2, 5000)
    estimate = reference + 0.3 * reference.flip(0) + 0.1 * noise(2, 2, 5000, seed=1)
    before = torch.stack(bss_images(reference=reference, estimate=estimate, rate=2000, taps=32)[:4])
    scaled = bss_images(reference=scale * reference, estimate=scale * estimate, rate=2000, taps=32)
    flipped = bss_images(reference=reference.flip(0), estimate=estimate.flip(0), rate=2000, taps=32)
    swapped = bss_images(reference=reference.flip(1), estimate=estimate.flip(1), rate=2000, taps=32)
    for again in (torch.stack(scaled[:4]), torch.stack(flipped[:4]).flip(1), torch.stack(swapped[:4])):
        torch.testing.assert_close(again, before, rtol=0, atol=1e-9)


def test_opposite_or_equal_channels_are_no_special_case() -> None:
    mono = noise(2, 4000)
    estimate = mono + 0.3 * mono.flip(0) + 0.1 * noise(2, 4000, seed=1)
    expected = bss_images(reference=mono[:, None], estimate=estimate[:, None], rate=2000)
    for sign in (-1, 1):
        pair = [torch.stack([signals, sign * signals], dim=1) for signals in (mono, estimate)]
        found = bss_images(reference=pair[0], estimate=pair[1], rate=2000)
        assert found.condition == math.inf
        for one, other in zip(found[:4], expected[:4], strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-3)


def test_a_source_given_twice_is_solvable() -> None:
    reference = noise(1, 3000).expand(2, -1)
    scores = bss_sources(reference=reference, estimate=reference + 0.1 * noise(2, 3000, seed=1))
    assert scores.condition == math.inf
    assert scores.sdr.tolist() == pytest.approx([20, 20], abs=1.5)


def test_silence_in_a_frame_concerns_its_own_source() -> None:
    reference, estimate = noise(3, 2, 4000), noise(3, 2, 4000, seed=1)
    estimate = reference + 0.3 * estimate
    reference[1, :, 1000:2000] = 0
    estimate[2, :, 2000:3000] = 0
    scores = bss_images(reference=reference, estimate=estimate, rate=1000, taps=32)
    for ratio in scores[:4]:
        undefined = torch.zeros(3, 4, dtype=torch.bool)
        undefined[1, 1] = True
        assert torch.equal(ratio.isnan(), undefined)
        assert float(ratio[2, 2]) == FLOOR_DB
    alone = snr(reference=reference[0].reshape(2, 4, 1000).movedim(1, 0).flatten(1), estimate=_cut(estimate[0]))
    torch.testing.assert_close(scores.sdr[0], alone, rtol=0, atol=1e-9)


def _cut(signals: torch.Tensor) -> torch.Tensor:
    return signals.reshape(2, 4, 1000).movedim(1, 0).flatten(1)


def test_zeroing_bad_frames_does_not_pay() -> None:
    reference = noise(2, 1, 4000)
    estimate = reference + torch.tensor([0.1, 0.1, 3.0, 3.0]).repeat_interleave(1000) * noise(2, 1, 4000, seed=1)
    zeroed = estimate.clone()
    zeroed[..., 2000:] = 0
    medians = [
        bss_images(reference=reference, estimate=given, rate=1000, taps=32).sdr.median(dim=1).values
        for given in (zeroed, estimate)
    ]
    assert bool((medians[0] < medians[1]).all())


def test_a_silent_source_is_undefined_and_leaves_the_others_alone() -> None:
    reference, estimate = noise(3, 2000), noise(3, 2000, seed=1)
    estimate = reference + 0.3 * estimate
    reference[2] = 0
    whole = bss_sources(reference=reference, estimate=estimate)
    part = bss_sources(reference=reference[:2], estimate=estimate[:2])
    for one, other in zip(whole[:3], part[:3], strict=True):
        torch.testing.assert_close(one[:2], other, rtol=0, atol=1e-9)
        assert math.isnan(one[2])


def test_one_source_has_no_interference() -> None:
    reference = noise(1, 2000)
    scores = bss_sources(reference=reference, estimate=reference + 0.1 * noise(1, 2000, seed=1))
    assert math.isnan(scores.sir[0])
    assert float(scores.sar[0]) == pytest.approx(float(scores.sdr[0]), abs=1e-9)


def test_edge_cases_of_v3() -> None:
    reference = noise(2, 2000)
    estimate = reference + 0.3 * noise(2, 2000, seed=1)
    expected = bss_sources(reference=reference, estimate=estimate)
    estimate[1] = 0
    silent = bss_sources(reference=reference, estimate=estimate)
    estimate[1, 7] = math.nan
    broken = bss_sources(reference=reference, estimate=estimate)
    for ratio, zero, bad in zip(expected[:3], silent[:3], broken[:3], strict=True):
        assert float(zero[1]) == FLOOR_DB
        assert math.isnan(bad[1])
        assert float(zero[0]) == pytest.approx(float(ratio[0]), abs=1e-9)
        assert float(bad[0]) == pytest.approx(float(ratio[0]), abs=1e-9)
    nothing = bss_sources(reference=torch.zeros(2, 2000), estimate=reference)
    assert bool(torch.stack(nothing[:3]).isnan().all())
    perfect = bss_sources(reference=reference, estimate=reference)
    assert bool(torch.stack(perfect[:3]).isposinf().all())


def test_more_unknowns_than_samples_is_undefined() -> None:
    reference, estimate = noise(2, 300), noise(2, 300, seed=1)
    scores = bss_sources(reference=reference, estimate=estimate)
    assert bool(scores.sir.isnan().all())
    assert bool(scores.sar.isnan().all())
    assert math.isnan(scores.condition)
    assert bool(bss_sources(reference=reference, estimate=estimate, taps=32).sar.isfinite().all())


def test_frames() -> None:
    assert frames(10, 4) == [slice(0, 4), slice(4, 8)]
    assert frames(10, 4, tail="keep")[-1] == slice(8, 10)
    assert frames(8, 4, tail="keep") == frames(8, 4)
    assert frames(10, 4, hop=0.5) == [slice(0, 4), slice(2, 6), slice(4, 8), slice(6, 10)]
    assert frames(3, 4) == [slice(0, 3)]
    assert frames(10, 4, window=math.inf, hop=math.inf) == [slice(0, 10)]
    with pytest.raises(UsageError, match="expected tail"):
        frames(10, 4, tail="pad")
    with pytest.raises(UsageError, match="at least one sample"):
        frames(10, 4, hop=0)


def test_framewise_sdr_is_the_sdr_of_v4() -> None:
    reference, estimate = noise(2, 2, 4500), noise(2, 2, 4500, seed=1)
    for tail in ("drop", "keep"):
        quick = framewise_sdr(reference=reference, estimate=estimate, rate=1000, tail=tail)
        full = bss_images(reference=reference, estimate=estimate, rate=1000, tail=tail, taps=8)
        torch.testing.assert_close(quick, full.sdr, rtol=0, atol=1e-9)
        assert quick.shape == (2, 4 if tail == "drop" else 5)


def test_shapes_that_cannot_be_meant_are_refused() -> None:
    with pytest.raises(UsageError, match=r"\[sources, time\], found \[2, 10\] and \[2, 11\]"):
        bss_sources(reference=noise(2, 10), estimate=noise(2, 11))
    with pytest.raises(UsageError, match=r"\[sources, channels, time\], found \[2, 10\]"):
        bss_images(reference=noise(2, 10), estimate=noise(2, 10), rate=5)
    with pytest.raises(UsageError, match=r"\[..., channels, time\]"):
        framewise_sdr(reference=noise(10), estimate=noise(10), rate=5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_gives_the_cpu_answer() -> None:
    reference, estimate = noise(2, 2, 4000), noise(2, 2, 4000, seed=1)
    there = bss_images(reference=reference.cuda(), estimate=estimate.cuda(), rate=1000)
    here = bss_images(reference=reference, estimate=estimate, rate=1000)
    for one, other in zip(there[:4], here[:4], strict=True):
        torch.testing.assert_close(one.cpu(), other, rtol=0, atol=1e-9)
