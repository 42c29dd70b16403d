"""What a small judge compares: blind to level, polarity, delay and phase, and not to anything else."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sam_audio_bench.judge.audio_encoder import RATE, log_mel
from sam_audio_bench.judge.front_end import NUM_COMPARISON_FEATURES, compare_spectra, frame_energies

ROWS_PER_FRAME = 16
LENGTH = 10 * ROWS_PER_FRAME * 160


def buzz(hertz: float = 180.0) -> Tensor:
    """A tone of 20 harmonics that comes and goes, ``[1, LENGTH]``."""
    time = torch.arange(LENGTH) / RATE
    harmonics = sum(torch.sin(2 * math.pi * hertz * k * time + k * k) / k for k in range(1, 21))
    return (0.1 * harmonics * (0.5 + 0.5 * torch.sin(2 * math.pi * 2.5 * time)))[None]


def hiss(seed: int = 0, level: float = 0.03) -> Tensor:
    return level * torch.randn(1, LENGTH, generator=torch.Generator().manual_seed(seed))


def delayed(signal: Tensor, seconds: float) -> Tensor:
    """By any fraction of a sample, around the end."""
    hertz = torch.fft.rfftfreq(LENGTH, 1 / RATE)
    return torch.fft.irfft(torch.fft.rfft(signal) * torch.exp(-2j * math.pi * hertz * seconds), LENGTH)


def all_passed(signal: Tensor) -> Tensor:
    """A smooth phase of up to ±2 rad, groups of frequencies up to 1.5 ms apart."""
    hertz = torch.fft.rfftfreq(LENGTH, 1 / RATE)
    return torch.fft.irfft(torch.fft.rfft(signal) * torch.exp(2j * torch.sin(hertz / 200)), LENGTH)


def whole(estimate: Tensor, mixture: Tensor | None = None) -> Tensor:
    """Comparisons, mean over frames."""
    return compare_spectra(buzz() + hiss() if mixture is None else mixture, estimate, ROWS_PER_FRAME).comparisons.mean(
        dim=1
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda estimate: 1e-3 * estimate,
        lambda estimate: 30 * estimate,
        lambda estimate: -estimate,
        lambda estimate: estimate + 0.5,
        lambda estimate: delayed(estimate, 0.005),
        lambda estimate: delayed(estimate, -0.0151),
    ],
    ids=["softer", "louder", "upside down", "offset", "late", "early"],
)
def test_what_nobody_hears_changes_nothing(change) -> None:
    plain, found = whole(buzz()), whole(change(buzz()))
    assert float((found - plain).abs().mean()) < 0.03
    assert float((found - plain).abs().max()) < 0.25


def test_an_all_pass_filter_is_no_damage() -> None:
    plain, passed, damaged = whole(buzz()), whole(all_passed(buzz())), whole(buzz() + hiss(1, 0.06))
    assert float((passed - plain).abs().mean()) < 0.3 * float((damaged - plain).abs().mean())


def test_the_mixture_leaves_nothing_over() -> None:
    mixture = buzz() + hiss()
    found = compare_spectra(mixture, 0.2 * mixture, ROWS_PER_FRAME)
    assert torch.allclose(found.mixture, found.estimate, atol=1e-3)
    assert float(found.residual.max()) < math.log(2e-3)  # the floor
    assert float(found.comparisons[..., -3].min()) > 0.999  # coherent


@pytest.mark.parametrize("decibels", [-40.0, -30.0, -6.0, -3.0, 7.0, 20.0])
def test_rounding_is_no_part_of_an_estimate_that_is_the_mixture(decibels: float) -> None:
    """A gain that is no power of two rounds every sample anew, 140 dB below it."""
    mixture = 3 * buzz() + hiss()
    exact, rounded = (
        compare_spectra(mixture, gain * mixture, ROWS_PER_FRAME).comparisons for gain in (1.0, 10 ** (decibels / 20))
    )
    assert float((exact - rounded).abs().max()) < 0.02


def test_a_perfect_estimate_leaves_the_rest() -> None:
    mixture = buzz() + hiss()
    found = compare_spectra(mixture, buzz(), ROWS_PER_FRAME)
    scale = (found.mixture - log_mel(mixture)).median()
    assert float((found.residual - log_mel(hiss()) - scale).abs().median()) < 0.35  # natural logarithms: 3 dB
    assert float((found.estimate - log_mel(buzz()) - scale).abs().median()) < 0.1


def test_another_sound_explains_nothing() -> None:
    mixture = buzz() + hiss()
    found = compare_spectra(mixture, hiss(7), ROWS_PER_FRAME)
    assert float(found.comparisons[..., -3].mean()) < 0.25
    assert float((found.residual - found.mixture).abs().median()) < 0.35  # powers are subtracted, nothing else


def test_energies_of_frames() -> None:
    mixture = buzz() + hiss()
    found = compare_spectra(mixture, buzz(), ROWS_PER_FRAME)
    own, estimate, _ = frame_energies(found.comparisons)
    assert own.shape == (1, 10, 1)
    expected = (2 * found.mixture).exp().unflatten(1, (-1, ROWS_PER_FRAME)).mean(dim=(2, 3))
    assert torch.allclose(own[..., 0], expected, rtol=1e-4)
    assert bool((estimate < own).all())


def test_one_mixture_serves_many_estimates_and_nothing_is_changed() -> None:
    mixture, estimates = buzz() + hiss(), torch.cat([buzz(), hiss(), 0 * buzz()])
    kept = mixture.clone(), estimates.clone()
    together = compare_spectra(mixture, estimates, ROWS_PER_FRAME)
    assert together.mixture.shape == (1, 160, 64)
    for row in range(3):
        alone = compare_spectra(mixture, estimates[row : row + 1], ROWS_PER_FRAME)
        assert torch.allclose(alone.comparisons[0], together.comparisons[row], atol=1e-5)
    assert torch.equal(mixture, kept[0])
    assert torch.equal(estimates, kept[1])


def test_silence_and_shortest_clips_are_finite() -> None:
    short = buzz()[:, : ROWS_PER_FRAME * 160]
    for mixture, estimate in ((0 * short, short), (short, 0 * short), (0 * short, 0 * short), (short, short)):
        found = compare_spectra(mixture, estimate, ROWS_PER_FRAME)
        assert found.comparisons.shape == (1, 1, NUM_COMPARISON_FEATURES)
        assert all(bool(torch.isfinite(one).all()) for one in (found.estimate, found.residual, found.comparisons))


def test_a_long_clip_is_compared_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Level, delay and what is loud are the clip's; everything else reaches two frames at most."""
    mixture, estimate = buzz(), 0.3 * (buzz() + 0.2 * hiss(3)).roll(40, dims=-1)
    whole = compare_spectra(mixture, estimate, ROWS_PER_FRAME)
    monkeypatch.setattr("sam_audio_bench.judge.front_end._BLOCK_ROWS", 2 * ROWS_PER_FRAME)
    found = compare_spectra(mixture, estimate, ROWS_PER_FRAME)
    for name in ("mixture", "estimate", "residual", "comparisons"):
        assert torch.allclose(getattr(found, name), getattr(whole, name), atol=1e-4), name
    assert found.comparisons.shape == whole.comparisons.shape
