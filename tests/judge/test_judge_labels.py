"""Simulated ratings: what must hold whatever the constants are."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy.signal import butter, sosfilt

from judge.codecs import CODECS, round_trip
from judge.degrade import RATE, TRANSFORM
from judge.hearing import MASKING, bands_of, loudness, spectrum
from judge.labels import Ratings, Truth, rate
from judge.queries import Casting, Roles, draw_query
from judge.stems import mini_pool, samples
from sam_audio_bench.judge.scores import AXES

SEEDS = range(6)  # two scenes a domain


@pytest.fixture(scope="module")
def scenes():
    """Target and interference of mixtures of two or more sources, from real recordings."""
    roles = Roles(stem for stem in mini_pool() if stem.split == "train")
    found, seed = [], 0
    while len(found) < len(SEEDS):
        domain = ("speech", "music", "effects")[len(found) % 3]
        drawn = draw_query(Casting(roles, roles, augment=False), domain, np.random.default_rng(seed))
        seed += 1
        if len(drawn.stems) > 1:
            found.append((drawn.scene.target, drawn.scene.interference))
    return found


def level(signal: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(signal, dtype=float))))


def at(signal: np.ndarray, reference: np.ndarray, decibels: float) -> np.ndarray:
    """A signal at a level below that of another."""
    return (signal * (level(reference) / level(signal) * 10 ** (-decibels / 20))).astype(np.float32)


def falls(values: list[float], slack: float = 0.02) -> bool:
    """Whether values never rise by more than a little, and fall from first to last."""
    steady = all(later <= earlier + slack for earlier, later in pairwise(values))
    return steady and values[-1] < values[0] - 0.3


@pytest.mark.parametrize("seed", SEEDS)
class TestWhatIsKnown:
    """Answers whose rating is beyond doubt."""

    def test_perfect_is_five(self, scenes, seed):
        target, rest = scenes[seed]
        assert min(rate(target, rest, target)) > 4.999

    def test_silence_is_one(self, scenes, seed):
        target, rest = scenes[seed]
        assert rate(target, rest, np.zeros_like(target)) == pytest.approx((1, 1, 1, 1), abs=1e-3)

    def test_wrong_target_is_one(self, scenes, seed):
        target, rest = scenes[seed]
        assert max(rate(target, rest, rest)) < 1.1

    def test_mixture(self, scenes, seed):
        target, rest = scenes[seed]
        found = [rate(target, at(rest, target, snr), target + at(rest, target, snr)) for snr in (20, 10, 5, 0, -5, -10)]
        assert all(one.recall > 4.99 and one.faithfulness > 4.9 for one in found)
        assert falls([one.precision for one in found])
        assert falls([one.overall for one in found])
        assert found[3].overall < 3  # at 0 dB: not "good", 4
        assert found[5].precision < 2

    def test_level_of_the_answer_does_not_matter(self, scenes, seed):
        target, rest = scenes[seed]
        answer = target + 0.2 * rest
        assert rate(target, rest, 0.3 * answer) == pytest.approx(rate(target, rest, answer), abs=0.02)

    def test_joint_gain_does_not_matter(self, scenes, seed):
        target, rest = scenes[seed]
        answer = (0.7 * target + 0.1 * rest + at(target[::-1], target, 20)).astype(np.float32)
        expected = rate(target, rest, answer)
        for gain in (1e-6, 1e4):
            found = rate(*(np.float32(gain) * signal for signal in (target, rest, answer)))
            assert found == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("seed", SEEDS)
class TestMonotone:
    """Every axis falls with its own damage."""

    def test_precision_with_bleed(self, scenes, seed):
        target, rest = scenes[seed][0], at(scenes[seed][1], scenes[seed][0], 0)
        found = [rate(target, rest, target + at(rest, target, down)) for down in (40, 30, 20, 10, 5, 0)]
        assert falls([one.precision for one in found])
        assert falls([one.overall for one in found])
        assert min(one.recall for one in found) > 4.95

    def test_recall_with_gaps(self, scenes, seed):
        target, rest = scenes[seed]
        place = np.arange(len(target)) % (RATE // 4) / (RATE // 4)
        found = [rate(target, rest, target * (place >= share)) for share in (0, 0.2, 0.4, 0.6, 0.8, 0.95)]
        assert falls([one.recall for one in found])
        assert falls([one.overall for one in found])

    def test_recall_with_attenuation_below_the_interference(self, scenes, seed):
        target, rest = scenes[seed]
        found = [rate(target, rest, target * 10 ** (-down / 20) + rest) for down in (0, 6, 12, 20, 30, 40)]
        assert falls([one.recall for one in found])

    @pytest.mark.parametrize("damage", ["noise", "low-pass", "quantised phases", "mask errors"])
    def test_faithfulness_with(self, scenes, seed, damage):
        target, rest = scenes[seed]
        found = [rate(target, rest, answer) for answer in damaged(target, damage, np.random.default_rng(seed))]
        assert falls([one.faithfulness for one in found], slack=0.05)
        assert falls([one.overall for one in found], slack=0.05)


def damaged(target: np.ndarray, kind: str, random: np.random.Generator) -> list[np.ndarray]:
    """Answers from undamaged to badly damaged."""
    if kind == "noise":
        noise = random.standard_normal(len(target)).astype(np.float32)
        return [target, *(target + at(noise, target, down) for down in (40, 30, 20, 10, 0))]
    if kind == "low-pass":
        filters = [butter(6, edge, fs=RATE, output="sos") for edge in (4000, 2000, 1000, 500)]
        return [target, *(sosfilt(one, target).astype(np.float32) for one in filters)]
    spectrogram = TRANSFORM.forward(target)
    field = random.standard_normal(spectrogram.shape)
    if kind == "mask errors":
        return [
            TRANSFORM.inverse(spectrogram * 10 ** (-np.abs(field) * depth / 20), len(target))
            for depth in (0, 6, 12, 24, 48)
        ]
    return [TRANSFORM.inverse(spectrogram * np.exp(1j * turn * field), len(target)) for turn in (0, 0.3, 0.6, 1, 2)]


def test_low_bit_rates_cost_faithfulness(scenes):
    """What ratios of energy overlook: 8 kbit/s is rated below 32."""
    for target, rest in scenes[:3]:
        low, high = (rate(target, rest, round_trip(target, "aac", RATE, bits)) for bits in (8_000, 32_000))
        assert low.faithfulness < 3.5
        assert high.faithfulness > low.faithfulness + 0.5
        assert low.precision > 4.5


@pytest.mark.parametrize("name", CODECS)
def test_codecs_are_aligned(name):
    """A click stays where it was to within a millisecond, whatever the codec delays by."""
    time = np.arange(RATE)
    sound = (
        0.5 * np.sin(2 * np.pi * 440 * time / RATE) * np.exp(-np.maximum(time - 6000, 0) / 800) * (time >= 6000)
    ).astype(np.float32)
    coded = round_trip(sound, name, RATE, max(CODECS[name].bits))
    lags = np.arange(-64, 65)
    assert abs(lags[np.argmax([np.dot(np.roll(sound, lag), coded) for lag in lags])]) <= 16
    assert coded.shape == sound.shape
    assert round_trip(np.zeros(800, np.float32), name, RATE, max(CODECS[name].bits)).max() == 0


def test_a_source_alone_with_noise(scenes):
    """Noise behind a lone source is interference like any other: quiet, it costs little."""
    target, _ = scenes[0]
    noise = np.random.default_rng(0).standard_normal(len(target)).astype(np.float32)
    quiet, loud = (rate(target, at(noise, target, down), target + at(noise, target, down)) for down in (50, 10))
    assert quiet.overall > 4
    assert loud.precision < quiet.precision - 1
    alone = np.zeros_like(target)
    assert min(rate(target, alone, target)) > 4.999


def test_the_other_source_can_be_asked_for(scenes):
    """Swapping what is wanted swaps what is right."""
    target, rest = scenes[1]
    assert min(rate(rest, target, rest)) > 4.999
    assert max(rate(rest, target, target)) < 1.1


def test_a_silent_target_is_one(scenes):
    target, rest = scenes[0]
    assert rate(np.zeros_like(target), rest, target) == (1, 1, 1, 1)


def test_known_artefacts_are_taken_as_such(scenes):
    """Interference that is said to be an artefact costs faithfulness instead of precision."""
    target, rest = scenes[0]
    bleed = at(rest, target, 10)
    found, told = rate(target, rest, target + bleed), rate(target, rest, target + bleed, artefact=bleed)
    assert found.faithfulness > 4.9
    assert told.precision > 4.9
    assert told.faithfulness < found.faithfulness - 0.5


@pytest.mark.filterwarnings("error")
def test_always_finite_and_on_the_scale():
    """Hostile signals: single samples, constants, silence in parts, extremes of level."""
    random = np.random.default_rng(0)
    length = 8000
    click, burst = np.zeros(length, np.float32), np.zeros(length, np.float32)
    click[4000], burst[:2000] = 1, random.standard_normal(2000)
    signals = [
        click,
        burst,
        burst[::-1].copy(),
        np.zeros(length, np.float32),
        np.ones(length, np.float32),
        random.standard_normal(length).astype(np.float32),
        np.float32(1e-7) * burst,
        np.float32(1e6) * burst,
    ]
    for target in signals:
        for rest in signals:
            truth = Truth(target, rest)
            for answer in signals:
                found = np.array(truth.rate(answer))
                assert np.isfinite(found).all()
                assert ((found >= 1) & (found <= 5)).all()


@pytest.mark.parametrize("hertz", [8_000, 16_000, 44_100, 48_000])
def test_other_rates(hertz):
    random = np.random.default_rng(0)
    target, rest = random.standard_normal((2, hertz)).astype(np.float32)
    assert min(rate(target, rest, target, hertz)) > 4.99
    assert rate(target, rest, target + rest, hertz).precision < 4


def test_short_signals_and_wrong_lengths():
    random = np.random.default_rng(0)
    target, rest = random.standard_normal((2, 300)).astype(np.float32)
    assert min(rate(target, rest, target)) > 4.9
    with pytest.raises(ValueError, match="300 samples"):
        rate(target, rest, target[:-1])
    assert AXES == Ratings._fields == ("overall", "recall", "precision", "faithfulness")


def test_energies_of_the_bands():
    """A tone's energy lies in the band of its frequency: its share of the spectrum is 1 there."""
    bands = bands_of(RATE)
    tone = np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE).astype(np.float32)
    energy = (np.abs(spectrum(tone, bands)) ** 2 @ bands.members).sum(axis=0)
    assert energy.max() / energy.sum() > 0.95
    frequencies = np.fft.rfftfreq(bands.size, 1 / RATE)
    inside = frequencies[bands.members[:, energy.argmax()] > 0]
    assert inside.min() - 40 <= 1000 <= inside.max() + 40
    assert (bands.members.sum(axis=1) <= 1).all()
    assert len(bands.bins) >= 28


def test_partial_loudness():
    """Masked sounds add little, unmasked ones their own loudness; louder is louder; 10 dB about double it."""
    quiet, loud = np.float32(0.01), np.float32(0.1)
    assert loudness(loud) / loudness(quiet) == pytest.approx(10**0.3, rel=0.1)
    assert loudness(quiet, 1.0) < 0.2 * loudness(quiet)
    assert loudness(quiet, quiet * MASKING) == pytest.approx(float(loudness(quiet)), rel=0.5)
    assert loudness(np.float32(0), 1.0) == 0


def test_stems_are_read_at_the_rate_of_the_simulation():
    stem = next(stem for stem in mini_pool() if stem.id == "sfx_dog-train")
    assert len(samples(stem.path)) == pytest.approx(5.99 * RATE, abs=200)
    assert not samples(stem.path).flags.writeable
