from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from separator_signals import RATE, TEXT, answer, clicks, noise, query, si_sdr, sine

from sam_audio_bench.errors import UsageError
from sam_audio_bench.separators.classical import HPSS, MaskSeparator, RepetSim, SpectralGate, running_median
from sam_audio_bench.types import Prompt, Separator

KINDS = [HPSS, RepetSim, SpectralGate]
SPANS = (("+", 0.5, 1.0), ("-", 1.5, 1.75))
PROMPTS = {
    "text": Prompt(text="drums"),
    "text+span": Prompt(text="violin", spans=SPANS),
    "span": Prompt(spans=SPANS),
    "absent": Prompt(spans=(("-", 0.5, 1.0),)),
    "visual": Prompt(video="clip.mp4", mask="clip.npz"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("prompt", PROMPTS.values(), ids=PROMPTS)
@pytest.mark.parametrize("channels", [1, 2])
def test_every_prompt_is_answered_in_the_mixtures_shape(
    kind: type[MaskSeparator], prompt: Prompt, channels: int
) -> None:
    mixture = noise(channels=channels) + sine(440)
    before = mixture.clone()
    found = answer(kind(), mixture, prompt)
    for part in (found.target, found.residual):
        assert part.rate == RATE
        assert part.samples.shape == mixture.shape
        assert part.samples.dtype == mixture.dtype
    assert torch.equal(mixture, before)
    assert torch.equal(found.residual.samples, mixture - found.target.samples)
    assert found.seconds > 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", [1, 2, 17, 500, 20_000])
@pytest.mark.parametrize("prompt", PROMPTS.values(), ids=PROMPTS)
def test_short_and_silent_clips(kind: type[MaskSeparator], length: int, prompt: Prompt) -> None:
    for samples in (torch.zeros(2, length), noise(1, length, channels=2)):
        found = answer(kind(), samples, prompt)
        assert found.target.samples.shape == (2, length)
        assert found.target.samples.isfinite().all()
    assert not answer(kind(), torch.zeros(1, length), prompt).target.samples.any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rate", [1, 8000, 192_000])
def test_odd_rates(kind: type[MaskSeparator], rate: int) -> None:
    samples = noise(1, 9000)
    assert answer(kind(), samples, PROMPTS["text+span"], rate).target.samples.shape == samples.shape


@pytest.mark.bits
@pytest.mark.parametrize("kind", KINDS)
def test_batches_do_not_matter(kind: type[MaskSeparator]) -> None:
    queries = [
        query(noise(0.5 + n / 3, seed=n) + sine(300, 0.5 + n / 3)[:, : round((0.5 + n / 3) * RATE)]) for n in range(4)
    ]
    together = kind().separate(queries, range(4))
    backwards = kind().separate(queries[::-1], range(4))[::-1]
    for one, found, again in zip(queries, together, backwards, strict=True):
        alone = kind().separate([one], [7])[0]
        assert torch.equal(found.target.samples, alone.target.samples)
        assert torch.equal(found.target.samples, again.target.samples)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("factor", [2.0**-40, 2.0**10])
def test_scale_of_the_mixture_is_the_scale_of_the_answer(kind: type[MaskSeparator], factor: float) -> None:
    mixture = noise() + clicks() + sine(440)
    found, scaled = answer(kind(), mixture), answer(kind(), factor * mixture)
    torch.testing.assert_close(scaled.target.samples / factor, found.target.samples, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_spans_gate_the_target(kind: type[MaskSeparator]) -> None:
    mixture = noise() + sine(440)
    target = answer(kind(), mixture, Prompt(text="singing", spans=(("+", 0.5, 1.0),))).target.samples
    assert not target[:, : int(0.49 * RATE)].any()
    assert not target[:, int(1.01 * RATE) + 1 :].any()
    assert target[:, int(0.6 * RATE) : int(0.9 * RATE)].any()


def test_harmonic_and_percussive_come_apart() -> None:
    tone, beats = sine(440), clicks()
    mixture = tone + beats
    violin, drums = answer(HPSS(), mixture, Prompt(text="violin")), answer(HPSS(), mixture, Prompt(text="drum beat"))
    for part, found, gain in ((tone, violin, 5), (beats, drums, 30)):
        before = si_sdr(reference=part, estimate=mixture)
        assert si_sdr(reference=part, estimate=found.target.samples) > before + gain
    torch.testing.assert_close(violin.residual.samples, drums.target.samples, rtol=0, atol=1e-6)
    spans_only = answer(HPSS(), mixture, Prompt(spans=(("+", 0.0, 2.0),)))
    assert torch.equal(spans_only.target.samples, violin.target.samples)


def test_margin_leaves_what_is_neither_to_the_residual() -> None:
    mixture = sine(440) + clicks() + noise()
    energy = [answer(HPSS(margin=m), mixture, Prompt(text="violin")).target.samples.square().sum() for m in (1.0, 4.0)]
    assert energy[1] < energy[0]


@given(st.integers(1, 40), st.integers(1, 60), st.integers(0, 99))
def test_running_median_against_the_obvious_one(size: int, length: int, seed: int) -> None:
    values = np.random.default_rng(seed).random((2, 3, length))
    half = size // 2
    padded = np.pad(values, [(0, 0), (0, 0), (half, half)], mode="symmetric")
    slow = np.stack([np.median(padded[..., t : t + 2 * half + 1], axis=-1) for t in range(length)], axis=-1)
    np.testing.assert_array_equal(running_median(values, size), slow)


def repeating_pattern() -> torch.Tensor:
    """Half a second of notes, eight times over."""
    notes = [sine(hertz, 0.125) for hertz in (330, 440, 550, 660)]
    return torch.cat(notes * 8, dim=1)


def passing_voice() -> torch.Tensor:
    """A glide that never comes back, in the middle of the clip."""
    time = torch.arange(4 * RATE) / RATE
    glide = 0.3 * torch.sin(2 * torch.pi * (900 * time + 250 * time**2))
    return torch.where((time > 1.2) & (time < 2.2), glide, 0)[None]


def test_what_repeats_stays_in_the_background() -> None:
    pattern, voice = repeating_pattern(), passing_voice()
    music = answer(RepetSim(), pattern + voice, Prompt(text="background music"))
    vocals = answer(RepetSim(), pattern + voice, Prompt(text="a singer"))
    before = si_sdr(reference=pattern, estimate=pattern + voice)
    assert si_sdr(reference=pattern, estimate=music.target.samples) > before + 8
    assert si_sdr(reference=voice, estimate=vocals.target.samples) > 8
    torch.testing.assert_close(music.residual.samples, vocals.target.samples, rtol=0, atol=1e-6)
    unknown = answer(RepetSim(), pattern + voice, Prompt(video="clip.mp4"))
    assert torch.equal(unknown.target.samples, vocals.target.samples)


def test_everything_below_the_cutoff_is_background() -> None:
    hum = sine(40)
    assert si_sdr(reference=hum, estimate=answer(RepetSim(), hum, Prompt(text="music")).target.samples) > 40


def test_long_clips_are_compared_block_by_block() -> None:
    """More frames than a block holds, and the same answer for the part that is alike."""
    pattern = torch.cat([repeating_pattern()] * 3, dim=1)
    music = answer(RepetSim(), pattern, Prompt(text="music"))
    assert si_sdr(reference=pattern, estimate=music.target.samples) > 25


def burst() -> torch.Tensor:
    samples = torch.zeros(1, 2 * RATE)
    samples[:, RATE : RATE + RATE // 2] = sine(1000, 0.5)
    return samples


@pytest.mark.parametrize("prompt", [TEXT, Prompt(spans=(("+", 1.0, 1.5),)), Prompt(spans=(("-", 0.0, 1.0),))])
def test_stationary_noise_is_removed(prompt: Prompt) -> None:
    mixture = burst() + noise(amplitude=0.03)
    found = answer(SpectralGate(), mixture, prompt).target.samples
    assert si_sdr(reference=burst(), estimate=found) > si_sdr(reference=burst(), estimate=mixture) + 8


def test_digital_silence_does_not_hide_the_noise() -> None:
    """Half of the clip is empty: the low quantile is of the other half."""
    noisy = burst() + noise(amplitude=0.03)
    found = answer(SpectralGate(), torch.cat([noisy, torch.zeros_like(noisy)], dim=1)).target.samples
    before = si_sdr(reference=burst(), estimate=noisy)
    assert si_sdr(reference=burst(), estimate=found[:, : noisy.shape[1]]) > before + 8


def test_what_sounds_outside_the_spans_is_the_noise() -> None:
    """A tone that goes on all the time is noise to the prompt, though no quantile could tell it from the target."""
    hum = sine(400)
    mixture = burst() + hum
    found = answer(SpectralGate(), mixture, Prompt(spans=(("+", 1.0, 1.5),))).target.samples
    assert si_sdr(reference=burst(), estimate=found) > si_sdr(reference=burst(), estimate=mixture) + 15


def test_spans_over_the_whole_clip_fall_back_to_the_quantile() -> None:
    mixture = burst() + noise(amplitude=0.03)
    whole = answer(SpectralGate(), mixture, Prompt(spans=(("+", 0.0, 2.0),)))
    assert torch.equal(whole.target.samples, answer(SpectralGate(), mixture).target.samples)


@pytest.mark.parametrize("kind", KINDS)
def test_settings_hold_the_options_only(kind: type[MaskSeparator]) -> None:
    separator = kind(window=0.05)
    separator.name = "renamed"
    assert isinstance(separator, Separator)
    assert separator.settings["window"] == 0.05
    assert "name" not in separator.settings


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (HPSS, {"margin": -1.0}, "expected margin of hpss to be a finite number that is not negative, found -1.0"),
        (HPSS, {"steady": float("inf")}, "expected steady of hpss to be a finite number"),
        (HPSS, {"power": "two"}, "expected power of hpss to be a number, found 'two'"),
        (HPSS, {"power": True}, "expected power of hpss to be a number, found True"),
        (HPSS, {"window": 11.0}, "expected window of hpss to be a window of more than 0 and at most 10 seconds"),
        (RepetSim, {"similar": 0}, "expected similar of repet-sim to be at least 1 frame, found 0"),
        (RepetSim, {"similar": 2.5}, "expected similar of repet-sim to be a whole number, found 2.5"),
        (SpectralGate, {"quantile": 1.0}, "expected quantile of spectral-gate to be between 0 and 1"),
    ],
)
def test_refused_options(kind: type[MaskSeparator], options: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        kind(**options)
