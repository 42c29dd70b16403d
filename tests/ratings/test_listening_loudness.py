"""Loudness against the tables of BS.1770, the signals of EBU Tech 3341, and analytic levels."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import signal

from sam_audio_bench.errors import UsageError
from sam_audio_bench.ratings.loudness import (
    GREATEST_BOOST,
    HIGHEST_PEAK,
    integrated_loudness,
    k_weighting,
    matching_gains,
    true_peak,
)


def tone(
    level: float, seconds: float, *, rate: int = 48000, frequency: float = 1000.0, channels: int = 2
) -> np.ndarray:
    """A sine of a peak level in dBFS in every channel."""
    time = np.arange(round(seconds * rate)) / rate
    return np.tile(10 ** (level / 20) * np.sin(2 * np.pi * frequency * time), (channels, 1))


def test_k_weighting_is_the_table_of_bs_1770() -> None:
    shelf, high_pass = k_weighting(48000)
    table = [1.53512485958697, -2.69169618940638, 1.19839281085285, 1.0, -1.69065929318241, 0.73248077421585]
    np.testing.assert_allclose(shelf, table, atol=1e-12)
    np.testing.assert_allclose(high_pass, [1.0, -2.0, 1.0, 1.0, -1.99004745483398, 0.99007225036621], atol=1e-12)


@pytest.mark.parametrize("rate", [16000, 22050, 44100, 96000, 192000])
def test_k_weighting_is_one_curve_at_every_rate(rate: int) -> None:
    frequencies = np.array([50.0, 200.0, 1000.0, 2000.0, 4000.0])
    _, expected = signal.freqz_sos(k_weighting(192000), frequencies, fs=192000)
    _, found = signal.freqz_sos(k_weighting(rate), frequencies, fs=rate)
    np.testing.assert_allclose(20 * np.log10(np.abs(found / expected)), 0, atol=0.35)


def test_a_full_scale_sine_of_997_hz_in_one_channel_is_minus_3_01() -> None:
    one = tone(0, 5, frequency=997)
    one[1] = 0
    assert integrated_loudness(one, 48000) == pytest.approx(-3.01, abs=0.005)
    assert integrated_loudness(one[:1], 48000) == pytest.approx(-3.01, abs=0.005)
    assert integrated_loudness(tone(0, 5, frequency=997), 48000) == pytest.approx(0.0, abs=0.005)


@pytest.mark.parametrize(
    ("levels", "seconds"),
    [
        ([-23], [20]),
        ([-36, -23, -36], [10, 60, 10]),
        ([-72, -36, -23, -36, -72], [10, 10, 60, 10, 10]),
        ([-26, -20, -26], [20, 20.1, 20]),
    ],
)
def test_signals_of_ebu_tech_3341(levels: list[float], seconds: list[float]) -> None:
    """Test cases 1, 3, 4 and 5: -23.0 LUFS within 0.1."""
    parts = [tone(level, length, rate=16000) for level, length in zip(levels, seconds, strict=True)]
    assert integrated_loudness(np.concatenate(parts, axis=1), 16000) == pytest.approx(-23.0, abs=0.1)


def test_surround_channels_weigh_more() -> None:
    five = np.zeros((5, 48000))
    five[4] = tone(-20, 1, channels=1)
    front = np.roll(five, 1, axis=0)
    difference = (integrated_loudness(five, 48000) or 0) - (integrated_loudness(front, 48000) or 0)
    assert difference == pytest.approx(10 * math.log10(1.41), abs=1e-9)
    with pytest.raises(UsageError, match="1 to 5 channels"):
        integrated_loudness(np.zeros((6, 10)), 48000)


def test_pyloudnorm_agrees() -> None:
    pyloudnorm = pytest.importorskip("pyloudnorm")
    noise = np.random.default_rng(0).normal(size=(2, 48000 * 3)) * np.linspace(0, 0.3, 48000 * 3)
    expected = pyloudnorm.Meter(48000, filter_class="DeMan").integrated_loudness(noise.T)
    assert integrated_loudness(noise, 48000) == pytest.approx(expected, abs=0.01)


def test_silence_and_very_short_sounds() -> None:
    assert integrated_loudness(np.zeros((1, 48000)), 48000) is None
    assert integrated_loudness(tone(-80, 1), 48000) is None
    short = tone(-23, 0.3)
    assert integrated_loudness(short, 48000) == pytest.approx(-23, abs=0.3)  # the filters settle within the sound


@given(st.floats(-40, 20))
def test_gain_moves_loudness_by_as_much(gain: float) -> None:
    noise = np.random.default_rng(1).normal(size=(2, 8000)) * 0.05
    before = integrated_loudness(noise, 8000)
    after = integrated_loudness(noise * 10 ** (gain / 20), 8000)
    assert before is not None
    assert after == pytest.approx(before + gain, abs=1e-6)


def test_true_peak_lies_between_samples() -> None:
    time = np.arange(4800)
    between = np.sin(np.pi / 2 * time + np.pi / 4)[None]  # a quarter of the rate: samples at 0.707 of the peak
    assert np.abs(between).max() == pytest.approx(math.sqrt(0.5), abs=1e-6)
    assert true_peak(between[:, 200:-200]) == pytest.approx(1.0, abs=0.02)


def test_everything_in_a_set_is_equally_loud() -> None:
    generator = np.random.default_rng(2)
    mixture = generator.normal(size=(2, 16000)) * 0.2
    sounds = {"a": mixture * 0.1, "b": generator.normal(size=(2, 16000)) * 0.01, "mono": mixture[:1]}
    gains = matching_gains(mixture, sounds, 16000, -30)
    for name, samples in {"": mixture, **sounds}.items():
        heard = np.repeat(samples, 2, axis=0) if samples.shape[0] == 1 else samples
        assert integrated_loudness(heard * gains[name], 16000) == pytest.approx(-30, abs=1e-6)


def test_almost_silent_answers_stay_so() -> None:
    mixture = tone(-20, 1)
    gains = matching_gains(
        mixture, {"silent": mixture * 0, "faint": mixture * 1e-2, "fainter": mixture * 1e-4}, 48000, -23
    )
    assert gains["silent"] == gains[""]
    assert gains["faint"] == pytest.approx(gains[""] * 10 ** (GREATEST_BOOST / 20), rel=1e-6)
    assert gains["fainter"] == gains[""]  # below the absolute gate


def test_one_cut_keeps_every_peak_below_the_limit() -> None:
    """A click cannot be as loud as noise without clipping: all of the set become quieter together."""
    generator = np.random.default_rng(3)
    mixture = generator.normal(size=(1, 48000)) * 0.1
    clicks = np.zeros((1, 48000))
    clicks[:, ::6000] = 0.5
    sounds = {"clicks": clicks, "noise": mixture * 0.3}
    gains = matching_gains(mixture, sounds, 48000, -12)
    assert true_peak(clicks * gains["clicks"]) == pytest.approx(HIGHEST_PEAK, rel=1e-9)
    loudness = [
        integrated_loudness(np.repeat(samples * gains[name], 2, axis=0), 48000)
        for name, samples in {"": mixture, **sounds}.items()
    ]
    assert loudness == pytest.approx([loudness[0]] * 3, abs=1e-6)
    assert loudness[0] is not None
    assert loudness[0] < -12
