"""Simulated ratings of real recordings: what must hold whatever the constants of `perceptual_*` are."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy.signal import butter, sosfilt

from judge.codecs import CODECS, round_trip
from judge.degrade import RATE, TRANSFORM
from judge.labels import Truth, audible
from judge.queries import SourceChoice, StemIndex, draw_query
from judge.stems import load_samples, mini_pool
from sam_audio_bench.errors import UsageError
from sam_audio_bench.judge.scores import AXES
from sam_audio_bench.metrics.functional.perceptual import WORST, Ratings

SEEDS = range(6)  # two scenes a domain


@pytest.fixture(scope="module")
def scenes():
    """Target and interference of mixtures of two or more sources, from real recordings."""
    roles = StemIndex(stem for stem in mini_pool() if stem.split == "train")
    found, seed = [], 0
    while len(found) < len(SEEDS):
        domain = ("speech", "music", "effects")[len(found) % 3]
        drawn = draw_query(SourceChoice(roles, roles, augment=False), domain, np.random.default_rng(seed))
        seed += 1
        if len(drawn.stems) > 1:
            found.append((drawn.scene.target, drawn.scene.interference))
    return found


@pytest.fixture(scope="module")
def truths(scenes):
    """Beside these, estimates are rated."""
    return [Truth(*scene) for scene in scenes]


def rate(target: np.ndarray, rest: np.ndarray, estimate: np.ndarray, hertz: int = RATE) -> Ratings:
    return Truth(target, rest, hertz).rate(estimate)


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
    """Estimates whose rating is beyond doubt."""

    def test_perfect_is_five(self, scenes, truths, seed):
        assert min(truths[seed].rate(scenes[seed][0])) > 4.999

    def test_silence_is_one(self, scenes, truths, seed):
        """Digital silence, and noise that nobody hears."""
        target, rest = scenes[seed]
        truth, noise = truths[seed], np.random.default_rng(0).uniform(-1, 1, len(target))
        quiet, loud = (level * np.abs(target + rest).max() * noise for level in (0.003, 0.004))
        assert truth.rate(np.zeros_like(target)) == truth.rate(quiet) == WORST
        assert audible(loud, target + rest)
        assert not audible(quiet, target + rest)

    def test_wrong_source_is_nothing_that_was_asked_for(self, scenes, truths, seed):
        assert max(truths[seed].rate(scenes[seed][1])) < 1.1

    def test_mixture(self, scenes, seed):
        """Its precision is compared with itself: it falls early, and is near 1 from 20 dB on."""
        target, rest = scenes[seed]
        found = {
            snr: rate(target, at(rest, target, snr), target + at(rest, target, snr))
            for snr in (40, 30, 20, 10, 5, 0, -5, -10)
        }
        assert all(one.recall > 4.8 and one.faithfulness > 4.75 for one in found.values())
        assert falls([one.precision for one in found.values()])
        assert falls([one.overall for one in found.values()])
        assert found[0].overall < 3  # at 0 dB: not even "fair"
        assert found[0].precision < 1.5
        assert found[-10].precision < 1.25

    def test_level_of_the_estimate_does_not_matter(self, scenes, truths, seed):
        target, rest = scenes[seed]
        estimate = target + 0.2 * rest
        truth = truths[seed]
        for gain in (0.3, -3, 0.03):
            assert truth.rate(gain * estimate) == pytest.approx(truth.rate(estimate), abs=0.001)

    def test_joint_gain_does_not_matter(self, scenes, truths, seed):
        target, rest = scenes[seed]
        estimate = (0.7 * target + 0.1 * rest + at(target[::-1], target, 20)).astype(np.float32)
        expected = truths[seed].rate(estimate)
        for gain in (1e-6, 1e4):
            found = rate(*(np.float32(gain) * signal for signal in (target, rest, estimate)))
            assert found == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("seed", SEEDS)
class TestMonotone:
    """Every axis falls with its own damage."""

    def test_precision_with_bleed(self, scenes, seed):
        target, rest = scenes[seed][0], at(scenes[seed][1], scenes[seed][0], 0)
        truth = Truth(target, rest)
        found = [truth.rate(target + at(rest, target, down)) for down in (40, 30, 20, 10, 5, 0)]
        assert falls([one.precision for one in found])
        assert falls([one.overall for one in found])
        assert min(one.recall for one in found) > 4.88

    def test_recall_with_gaps(self, scenes, truths, seed):
        truth, target = truths[seed], scenes[seed][0]
        place = np.arange(len(target)) % (RATE // 4) / (RATE // 4)
        found = [truth.rate(target * (place >= share)) for share in (0, 0.2, 0.4, 0.6, 0.8, 0.95)]
        assert falls([one.recall for one in found])
        assert falls([one.overall for one in found])

    def test_recall_with_attenuation_below_the_interference(self, scenes, truths, seed):
        """Beyond 20 dB little of the target is left to be heard, and recall stays where it is, to within 0.1."""
        target, rest = scenes[seed]
        truth = truths[seed]
        found = [truth.rate(target * 10 ** (-down / 20) + rest).recall for down in (0, 6, 12, 20, 30, 40)]
        assert falls(found[:4])
        assert max(found[4:]) < found[3] + 0.11

    @pytest.mark.parametrize("damage", ["noise", "low-pass", "clipping", "mask errors"])
    def test_faithfulness_with(self, scenes, truths, seed, damage):
        truth, target = truths[seed], scenes[seed][0]
        found = [truth.rate(estimate) for estimate in damaged(target, damage, np.random.default_rng(seed))]
        assert falls([one.faithfulness for one in found], slack=0.05)
        assert falls([one.overall for one in found], slack=0.05)

    def test_phases_cost_little(self, scenes, truths, seed):
        """What a resynthesis does: off by 2 rad is worse than by 0.3 rad, and still good."""
        truth, target = truths[seed], scenes[seed][0]
        found = [truth.rate(estimate) for estimate in damaged(target, "phases", np.random.default_rng(seed))]
        assert all(later.overall < earlier.overall for earlier, later in pairwise(found))
        assert 4 < found[-1].overall < 4.9
        assert found[-1].faithfulness < found[0].faithfulness - 0.2


def damaged(target: np.ndarray, kind: str, random: np.random.Generator) -> list[np.ndarray]:
    """Estimates from undamaged to badly damaged."""
    if kind == "noise":
        noise = random.standard_normal(len(target)).astype(np.float32)
        return [target, *(target + at(noise, target, down) for down in (40, 30, 20, 10, 0))]
    if kind == "low-pass":
        filters = [butter(6, edge, fs=RATE, output="sos") for edge in (4000, 2000, 1000, 500)]
        return [target, *(sosfilt(one, target).astype(np.float32) for one in filters)]
    if kind == "clipping":
        heard = np.abs(target)[np.abs(target) > 1e-3 * np.abs(target).max()]
        return [target, *(np.clip(target, -top, top) for top in np.quantile(heard, (0.98, 0.9, 0.7, 0.4)))]
    spectrogram = TRANSFORM.forward(target)
    field = random.standard_normal(spectrogram.shape)
    if kind == "mask errors":
        return [
            TRANSFORM.inverse(spectrogram * 10 ** (-np.abs(field) * depth / 20), len(target))
            for depth in (0, 6, 12, 24, 48)
        ]
    return [TRANSFORM.inverse(spectrogram * np.exp(1j * turn * field), len(target)) for turn in (0, 0.3, 0.6, 1, 2)]


def test_low_bit_rates_cost_faithfulness(scenes, truths):
    """What ratios of energy overlook: 8 kbit/s is rated below 32."""
    for (target, _), truth in zip(scenes[:3], truths, strict=False):
        low, high = (truth.rate(round_trip(target, "aac", RATE, bits)) for bits in (8_000, 32_000))
        assert low.faithfulness < 4
        assert high.faithfulness > low.faithfulness + 0.5
        assert low.precision > 4.4


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
    assert rate(rest, target, target).overall < 1.1


def test_a_silent_target_is_one(scenes):
    target, rest = scenes[0]
    assert rate(np.zeros_like(target), rest, target) == WORST
    assert rate(np.zeros_like(target), rest, np.zeros_like(target)) == WORST
    assert rate(0.001 * target, rest, 0.001 * target) == WORST  # 60 dB below the rest


@pytest.mark.filterwarnings("error")
def test_always_finite_and_on_the_scale():
    """Hostile signals: single samples, constants, silence in parts, extremes of level."""
    random = np.random.default_rng(0)
    length = 4000
    click, burst = np.zeros(length, np.float32), np.zeros(length, np.float32)
    click[2000], burst[:1000] = 1, random.standard_normal(1000)
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
            for estimate in signals:
                found = np.array(truth.rate(estimate))
                assert ((found >= 1) & (found <= 5)).all()  # NaN is neither


@pytest.mark.parametrize("hertz", [8_000, 16_000, 44_100, 48_000])
def test_other_rates(hertz):
    time = np.arange(hertz) / hertz
    target = (110 * time % 1 - 0.5) * (time % 0.25 < 0.15)
    rest = 0.1 * np.random.default_rng(0).standard_normal(hertz)
    truth = Truth(target, rest, hertz)
    assert min(truth.rate(target)) > 4.99
    assert truth.rate(target + rest).precision < 2
    assert truth.rate(rest).overall < 1.1


def test_short_signals_and_wrong_lengths():
    random = np.random.default_rng(0)
    target, rest = random.standard_normal((2, RATE // 5)).astype(np.float32)
    truth = Truth(target, rest)
    assert min(truth.rate(target)) > 4.99
    with pytest.raises(UsageError, match="3200 samples"):
        truth.rate(target[:-1])
    with pytest.raises(UsageError, match=r"at least 0\.2 s, found 3199 samples at 16000 Hz"):
        Truth(target[:-1], rest[:-1])


def test_ratings_have_four_digits_and_the_judges_axes(scenes):
    target, rest = scenes[0]
    found = rate(target, rest, target + 0.1 * rest)
    assert all(value == round(value, 4) and isinstance(value, float) for value in found)
    assert AXES == Ratings._fields == ("overall", "recall", "precision", "faithfulness")


def test_stems_are_read_at_the_rate_of_the_simulation():
    stem = next(stem for stem in mini_pool() if stem.id == "sfx_dog-train")
    assert len(load_samples(stem.path)) == pytest.approx(5.99 * RATE, abs=200)
    assert not load_samples(stem.path).flags.writeable
