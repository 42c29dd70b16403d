"""What an estimate sounds like: patterns beside the mixture, noise inside bands, and pitch."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sam_audio_bench.judge.audio_encoder import RATE
from sam_audio_bench.judge.front_end import compare_spectra, frame_pitches
from sam_audio_bench.judge.prompt_features import SignalTriplet, voice_features
from sam_audio_bench.judge.spectral_features import NUM_PITCH_FEATURES, NUM_SPECTRAL_FEATURES

ROWS_PER_FRAME, SECONDS = 16, 3.2
NUM_GROUPS = 16
EVERYWHERE, HEARD, SHARE, FAST, FLAT, _, ROUGH, TOGETHER = (
    slice(start, start + NUM_GROUPS) for start in range(0, 8 * NUM_GROUPS, NUM_GROUPS)
)


def voice(hertz: float, seed: int = 0) -> Tensor:
    """Pulses through a few resonances that come and go, ``[1, T]``; louder than its noise by 40 dB."""
    generator = torch.Generator().manual_seed(seed)
    time = torch.arange(round(SECONDS * RATE)) / RATE
    pitch = hertz * (1 + 0.03 * torch.sin(2 * math.pi * 3 * time))
    phase = 2 * math.pi * pitch.cumsum(0) / RATE
    found = sum(
        torch.sin(k * phase) / k**0.7 * (0.6 + 0.4 * torch.sin(2 * math.pi * (1.3 + 0.2 * k) * time + k))
        for k in range(1, int(6000 / hertz))
    )
    return (0.05 * found + 5e-4 * torch.randn(len(time), generator=generator))[None]


def noise(level: float = 0.05, seed: int = 1) -> Tensor:
    return level * torch.randn(1, round(SECONDS * RATE), generator=torch.Generator().manual_seed(seed))


def followed(signal: Tensor, level: float) -> Tensor:
    """With noise that follows the signal, as the modulated noise reference unit of ITU-T P.810 adds it."""
    return signal * (1 + level * noise(1.0, 3))


def rephased(signal: Tensor) -> Tensor:
    """The same magnitudes with smoothly wrong phases, which nobody hears."""
    hertz = torch.fft.rfftfreq(signal.shape[-1], 1 / RATE)
    return torch.fft.irfft(torch.fft.rfft(signal) * torch.exp(2j * torch.sin(hertz / 200)), signal.shape[-1])


def heard(mixture: Tensor, estimate: Tensor) -> Tensor:
    """Impressions, mean over frames."""
    return compare_spectra(mixture, estimate, ROWS_PER_FRAME).comparisons[0, :, :NUM_SPECTRAL_FEATURES].mean(dim=0)


def test_an_estimate_that_is_the_mixture_is_like_it() -> None:
    found = heard(voice(120), 0.3 * voice(120))
    assert torch.allclose(found[EVERYWHERE], torch.ones(NUM_GROUPS), atol=1e-3)
    assert torch.allclose(found[HEARD], torch.ones(NUM_GROUPS), atol=1e-3)
    assert torch.allclose(found[FAST], torch.ones(NUM_GROUPS), atol=1e-3)


def test_noise_that_follows_the_voice_is_heard_and_new_phases_are_not() -> None:
    """Both are incoherent with the mixture; likeness of patterns tells them apart."""
    plain = voice(120)
    levels = [float(heard(plain, followed(plain, 10 ** (db / 20)))[FAST].mean()) for db in (-30, -10, 0)]
    assert levels[0] > levels[1] > levels[2]
    assert float(heard(plain, rephased(plain))[FAST].mean()) > levels[1] + 0.02


def test_patterns_are_judged_where_the_estimate_is_heard() -> None:
    """Noise hides most of the mixture; what the estimate keeps of it is like it all the same."""
    mixture = voice(120) + noise(0.3)
    found = heard(mixture, voice(120))
    low = slice(0, 8)
    assert float((found[HEARD] - found[EVERYWHERE])[low].mean()) > 0.05
    assert float(found[SHARE].mean()) < 0.8


def test_noise_is_flat_and_voices_are_not() -> None:
    flat, pitched = heard(noise(), noise())[FLAT], heard(voice(220), voice(220))[FLAT]
    assert float(flat.mean()) > float(pitched.mean()) + 0.2
    assert bool((flat <= 1e-4).all())  # the mean of logarithms is never above the logarithm of the mean


def test_noise_is_rough_and_does_not_move_together() -> None:
    tone = 0.1 * torch.sin(2 * math.pi * 440 * torch.arange(round(SECONDS * RATE)) / RATE)[None]
    assert float(heard(noise(), noise())[ROUGH].mean()) > 2 * float(heard(tone, tone)[ROUGH].mean())
    beating = noise() * (torch.arange(round(SECONDS * RATE)) % 1600 < 800)
    assert float(heard(beating, beating)[TOGETHER].mean()) > 0.8
    assert float(heard(noise(), noise())[TOGETHER].mean()) < 0.5


@pytest.mark.parametrize("hertz", [100, 130, 165, 220, 330])
def test_pitch_is_found_in_octaves(hertz: float) -> None:
    _, estimate, residual = frame_pitches(
        compare_spectra(voice(hertz) + noise(0.01), voice(hertz), ROWS_PER_FRAME).comparisons
    )
    assert abs(float(estimate.median()) - math.log2(hertz / 165)) < 0.1
    assert abs(float(residual.mean())) < 0.3


def test_noise_has_no_pitch() -> None:
    found = heard(noise(), noise())[-NUM_PITCH_FEATURES:]
    assert abs(float(found[5])) < 0.05
    assert float(found[3]) < 0.5 < float(heard(voice(120), voice(120))[-NUM_PITCH_FEATURES:][3])


def test_the_estimates_pitch_is_held_against_whom_the_prompt_names() -> None:
    man, woman, child = torch.eye(4)[:3]
    thing = torch.eye(4)[3]
    low, high = torch.full((4, 2), -0.5), torch.full((4, 2), 0.4)
    features = voice_features(torch.stack([man, woman, child, thing]), torch.eye(4)[:3], SignalTriplet(high, low, high))
    agreed, of_mixture = features[:, 0, 2], features[:, 0, 3]
    assert float(agreed[0]) > 0 > float(agreed[1])  # a low estimate suits a man
    assert float(of_mixture[0]) < 0 < float(of_mixture[1])
    assert not features[3].any()  # a thing has no voice
    assert float(features[2, 0, 1]) == 1  # a child is meant
