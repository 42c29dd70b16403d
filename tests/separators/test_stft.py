from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from separator_signals import noise

from sam_audio_bench.separators.stft import STFT, ratio_mask


@given(
    length=st.integers(1, 5000),
    channels=st.integers(1, 3),
    rate=st.sampled_from([8000, 16_000, 44_100, 48_000]),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_reconstruction_is_exact_at_any_length(length: int, channels: int, rate: int, seed: int) -> None:
    samples = noise(1, length, channels=channels, seed=seed)
    transform = STFT.of(seconds=0.085, rate=rate)
    spectrum = transform.forward(samples)
    assert spectrum.shape == (channels, transform.size // 2 + 1, 1 + length // transform.hop)
    torch.testing.assert_close(transform.inverse(spectrum, length), samples, rtol=0, atol=1e-6)


def test_precision_is_that_of_the_samples() -> None:
    samples = noise().double()
    transform = STFT.of(seconds=0.085, rate=16_000)
    back = transform.inverse(transform.forward(samples), samples.shape[1])
    assert back.dtype == torch.float64
    torch.testing.assert_close(back, samples, rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("rate", "size"), [(48_000, 4096), (44_100, 4096), (16_000, 1024), (8000, 512), (192_000, 16_384), (1, 16)]
)
def test_window_follows_the_rate(rate: int, size: int) -> None:
    assert STFT.of(seconds=0.085, rate=rate).size == size


@pytest.mark.parametrize("scale", [1e-30, 1e-9, 1.0, 1e3, 1e30])
def test_ratio_mask_knows_no_scale(scale: float) -> None:
    wanted, other = torch.tensor([3.0, 1.0, 0.0, 0.0, 2.0]), torch.tensor([4.0, 1.0, 5.0, 0.0, 0.0])
    mask = ratio_mask(scale * wanted, scale * other, power=2)
    torch.testing.assert_close(mask, torch.tensor([9 / 25, 0.5, 0.0, 0.0, 1.0]))
