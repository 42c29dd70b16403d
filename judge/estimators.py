"""Simulated separators: functions that make an estimate of one kind for a scene, and factories of such functions."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, uniform_filter1d

from judge import degrade
from judge.codecs import CODECS, round_trip
from judge.degrade import RATE, TRANSFORM
from sam_audio_bench.metrics.functional.hearing import erb_number
from sam_audio_bench.separators.classical import HPSS, MaskSeparator
from sam_audio_bench.tasks.mixing import uniform_db
from sam_audio_bench.types import Audio, Prompt, Query

__all__ = [
    "Estimator",
    "Scene",
    "band_gains",
    "binary",
    "bleed",
    "blind",
    "by_network",
    "click",
    "coded",
    "combined",
    "damaged",
    "filtered",
    "gated",
    "impostor",
    "masked",
    "mixture",
    "other_noise",
    "partial",
    "perfect",
    "separated",
    "silence",
    "slightly_changed",
    "turned_down",
    "wrong",
]

Signal = NDArray[np.float32]
Random = np.random.Generator
Estimator = Callable[["Scene", Random], Signal]
Damage = Callable[[Signal, Random], Signal]


@dataclass(frozen=True, slots=True)
class Scene:
    """A mixture at `RATE` and its components, all ``[time]``; target + interference is the mixture."""

    target: Signal
    interference: Signal
    others: tuple[Signal, ...]  # the competing sources, without noise, which interference may also contain
    text: str
    kind: str = ""  # of the target: "speech", "singing", "music" or "effects"; "": unknown
    impostor: Signal | None = None  # another recording of the target's label, which is not in the mixture
    network: Path | None = None  # folder of a mask network, if there is one
    again: Signal | None = None  # another realisation of the noise, if interference is nothing but noise

    @property
    def mixture(self) -> Signal:
        """The input of a separator."""
        return self.target + self.interference


def perfect(scene: Scene, random: Random) -> Signal:
    """Returns the target at another level."""
    return scene.target * uniform_db(random, -3, 3)


def mixture(scene: Scene, random: Random) -> Signal:
    """Returns the mixture at another level."""
    return scene.mixture * uniform_db(random, -3, 3)


def turned_down(scene: Scene, random: Random) -> Signal:
    """Returns the mixture 3-40 dB softer."""
    return scene.mixture * uniform_db(random, -40, -3)


def gated(scene: Scene, random: Random) -> Signal:
    """Returns the mixture where it is loud, and silence elsewhere."""
    size = round(random.uniform(0.005, 0.03) * RATE)
    level = np.sqrt(uniform_filter1d(np.square(scene.mixture, dtype=np.float64), size, mode="constant").clip(0))
    opened = level > np.quantile(level, random.uniform(0.2, 0.85))
    kept: Signal = scene.mixture * uniform_filter1d(opened.astype(np.float32), size)
    return kept


def filtered(scene: Scene, random: Random) -> Signal:
    """Returns the band-limited mixture."""
    return degrade.band_limit(scene.mixture, random)


def impostor(scene: Scene, random: Random) -> Signal:
    """Returns another recording of the target's class, at the target's level; the mixture if there is none."""
    if scene.impostor is None:
        return scene.mixture
    powers = [float(np.mean(np.square(one, dtype=np.float64))) for one in (scene.target, scene.impostor)]
    return scene.impostor * np.float32(np.sqrt(powers[0] / max(powers[1], 1e-12)))


def click(scene: Scene, random: Random) -> Signal:
    """Returns silence with one to three clicks."""
    found = np.zeros_like(scene.target)
    places = random.integers(0, len(found), int(random.integers(1, 4)))
    found[places] = float(np.abs(scene.mixture).max(initial=0)) * random.uniform(0.1, 1, len(places))
    return found


def silence(scene: Scene, random: Random) -> Signal:
    """Returns digital silence or inaudible noise."""
    if random.random() < 0.5:
        return np.zeros_like(scene.target)
    noise = random.standard_normal(len(scene.target)).astype(np.float32)
    quiet: Signal = noise * (1e-4 * np.abs(scene.mixture).max(initial=0))
    return quiet


def wrong(scene: Scene, random: Random) -> Signal:
    """Returns another source or the interference; sometimes with traces of the target, or damaged."""
    other = scene.others[random.integers(len(scene.others))] if scene.others else scene.interference
    if len(scene.others) > 1 and random.random() < 0.3:
        other = scene.interference
    if random.random() < 0.4:
        other = other + scene.target * uniform_db(random, -30, -12)
    if random.random() < 0.25:
        other = _DAMAGE[random.integers(len(_DAMAGE))](other, random)
    return other


def bleed(low: float, high: float) -> Estimator:
    """Returns an estimator of the target with bleed at a level between two bounds in dB."""

    def make(scene: Scene, random: Random) -> Signal:
        """Returns the target with interference, or one source of it, at some level; filtered in half of the cases."""
        rest = scene.interference
        if scene.others and random.random() < 0.3:
            rest = scene.others[random.integers(len(scene.others))]
        rest = rest * uniform_db(random, low, high)
        return scene.target + (_tilted(rest, random) if random.random() < 0.5 else rest)

    return make


def _tilted(signal: Signal, random: Random) -> Signal:
    """Changes the level of each octave or so by up to ±6 dB."""
    count = int(random.integers(3, 9))
    spectrum = TRANSFORM.forward(signal)
    places = np.linspace(0, count - 1, spectrum.shape[1]) ** 0.5 * (count - 1) ** 0.5
    gain = 10 ** (np.interp(places, np.arange(count), random.uniform(-6, 6, count)) / 20)
    return TRANSFORM.inverse(spectrum * gain.astype(np.float32), len(signal))


def partial(scene: Scene, random: Random) -> Signal:
    """Returns target and interference at independent levels, which vary over time in half of the cases."""
    wanted, rest = uniform_db(random, -24, 0), uniform_db(random, -40, -3)
    if random.random() < 0.5:
        return scene.target * wanted + scene.interference * rest
    knots = np.linspace(0, len(scene.target), int(random.integers(3, 9)))
    time = np.arange(len(scene.target))
    one, other = (np.interp(time, knots, random.uniform(low, 0, len(knots))) for low in (-24, -36))
    return (scene.target * 10 ** (one / 20) + scene.interference * 10 ** (other / 20)).astype(np.float32)


def other_noise(scene: Scene, random: Random) -> Signal:
    """Returns the target with another realisation of the noise, 0-40 dB softer; damaged in half of the cases.

    This corresponds to reference conditions of tests after ITU-T P.835: speech, partly processed by the modulated noise
    reference unit of ITU-T P.810, with noise at known levels and an independent realisation per condition.
    """
    again = scene.interference if scene.again is None else scene.again
    wanted = degrade.modulated_noise(scene.target, random) if random.random() < 0.5 else scene.target
    return wanted + again * np.float32(uniform_db(random, -40, 0))


def masked(noise: tuple[float, float], power: tuple[float, float]) -> Estimator:
    """Returns an estimator by a ratio mask whose errors and power are drawn from two ranges."""

    def make(scene: Scene, random: Random) -> Signal:
        """Applies a ratio mask with smooth noise and a bias in its log odds; power 2 is the Wiener filter."""
        target, rest = TRANSFORM.forward(scene.target), TRANSFORM.forward(scene.interference)
        odds = np.log((np.abs(target) ** 2 + 1e-12) / (np.abs(rest) ** 2 + 1e-12))
        smooth = random.uniform(0, 3, 2)
        error = gaussian_filter(random.standard_normal(odds.shape).astype(np.float32), smooth)
        odds = odds * (random.uniform(*power) / 2) + error * (random.uniform(*noise) / max(float(error.std()), 1e-6))
        odds = gaussian_filter(odds, random.uniform(0, 1.5, 2)) + random.uniform(-0.5, 0.5) * noise[1]
        gain = 1 / (1 + np.exp(-np.clip(odds, -30, 30)))
        floor = uniform_db(random, -60, -15)
        return TRANSFORM.inverse((target + rest) * np.maximum(gain, floor), len(scene.target))

    return make


def binary(scene: Scene, random: Random) -> Signal:
    """Applies an ideal binary mask with a random threshold and wrong patches."""
    target, rest = TRANSFORM.forward(scene.target), TRANSFORM.forward(scene.interference)
    mask = np.abs(target) > np.abs(rest) * uniform_db(random, -9, 9)
    size = int(random.integers(1, 5))
    coarse = random.random((-(-mask.shape[0] // size), -(-mask.shape[1] // size))) < random.uniform(0, 0.25)
    flips = np.kron(coarse, np.ones((size, size), bool))[: mask.shape[0], : mask.shape[1]]
    return TRANSFORM.inverse((target + rest) * (mask ^ flips), len(scene.target))


def band_gains(scene: Scene, random: Random) -> Signal:
    """Applies Wiener gains of 8-22 bands, smoothed over 30-250 ms; of another source for a tenth of the scenes."""
    target, rest = scene.target, scene.interference
    if scene.others and random.random() < 0.12:
        target, rest = scene.others[0], scene.mixture - scene.others[0]
    spectra = [TRANSFORM.forward(signal) for signal in (target, rest)]
    members = _erb_bands()
    edges = np.linspace(0, members.shape[1], int(random.integers(8, 23)) + 1).astype(int)
    groups = np.stack([members[:, low:high].sum(axis=1) for low, high in itertools.pairwise(edges)], axis=1)
    width = max(1, round(random.uniform(0.03, 0.25) * RATE / TRANSFORM.hop))
    powers = (uniform_filter1d(np.abs(part) ** 2 @ groups, width, axis=0) for part in spectra)
    wanted, other = (np.maximum(power, 0) for power in powers)  # a running sum may be slightly negative
    gain = (wanted / np.maximum(wanted + other, 1e-12)) ** random.uniform(0.5, 1.5)
    return TRANSFORM.inverse((spectra[0] + spectra[1]) * (gain @ groups.T), len(scene.target))


@cache
def _erb_bands() -> NDArray[np.float32]:
    """Returns the membership of the frequencies of `TRANSFORM` in bands of one ERB, ``[F, B]``, 1 or 0."""
    number = erb_number(np.fft.rfftfreq(TRANSFORM.size, 1 / RATE))
    low, high = erb_number(50), erb_number(RATE / 2)
    count = int(high - low)
    index = np.minimum((number - low) / (high - low) * count, count - 1).astype(int)
    members = (index[:, None] == np.arange(count)) & (number >= low)[:, None]
    bands: NDArray[np.float32] = members[:, members.any(axis=0)].astype(np.float32)
    return bands  # without empty low bands, which are narrower than a bin


def separated(separator: Callable[[Random], MaskSeparator]) -> Estimator:
    """Returns an estimator that is a separator of this project with random settings."""

    def make(scene: Scene, random: Random) -> Signal:
        """Applies the separator to the mixture with the scene's prompt."""
        mixture = Audio(torch.from_numpy(scene.mixture[None]), RATE)
        with torch.inference_mode():
            (found,) = separator(random).separate([Query(mixture=mixture, prompt=Prompt(text=scene.text))], [0])
        samples: Signal = found.target.samples[0].numpy()
        return samples

    return make


def coded(*names: str, lowest: bool = False) -> Damage:
    """Returns a kind of damage: a round trip through one of the named codecs."""

    def round_tripped(signal: Signal, random: Random) -> Signal:
        """Encodes and decodes at one of the codec's low bit rates, or the lowest."""
        name = names[random.integers(len(names))]
        bits = CODECS[name].bits
        return round_trip(signal, name, RATE, int(bits[0] if lowest else random.choice(bits)))

    return round_tripped


_DAMAGE: tuple[Damage, ...] = (
    degrade.band_limit,
    degrade.clip,
    degrade.coarse,
    degrade.drop_out,
    degrade.hiss,
    degrade.musical_noise,
    coded("aac", "opus", "amr"),
)


def _draw_base(scene: Scene, random: Random) -> Signal:
    """Draws an estimate to be damaged: the target, the target with bleed, rarely a wrong source or the mixture."""
    draw = random.random()
    if draw < 0.5:
        return scene.target
    if draw < 0.8:
        return scene.target + scene.interference * uniform_db(random, -30, -5)
    return wrong(scene, random) if draw < 0.92 else scene.mixture


def damaged(damage: Damage) -> Estimator:
    """Returns an estimator that applies damage to an estimate, mostly a good one."""
    return lambda scene, random: damage(_draw_base(scene, random), random)


def _draw_good(scene: Scene, random: Random) -> Signal:
    """Draws a good estimate: the target, the target with little bleed, or by a nearly ideal mask."""
    draw = random.random()
    if draw < 0.65:
        return scene.target
    return (bleed(-40, -20) if draw < 0.85 else masked((0, 0.8), (1.8, 2.2)))(scene, random)


def slightly_changed(change: Damage) -> Estimator:
    """Returns an estimator that applies a benign change to a good estimate."""
    return lambda scene, random: change(_draw_good(scene, random), random)


def blind(separator: Callable[[Signal], Signal]) -> Estimator:
    """Returns an estimator that is a separator without prompts, whose result may depend on the input level."""

    def make(scene: Scene, random: Random) -> Signal:
        signal = scene.mixture
        gain = uniform_db(random, -25, -6) / max(float(np.abs(signal).max(initial=0)), 1e-9)
        wet = separator(signal * np.float32(gain)) / np.float32(gain)
        dry = random.choice([0.0, 0.0, uniform_db(random, -30, -10)])  # some retain a little of the mixture
        return wet + signal * np.float32(dry)

    return make


def by_network(separator: Callable[[Path, Signal, str], Signal]) -> Estimator:
    """Returns an estimator by a network; a ratio mask if there is none, or the kind of target is unknown."""

    def make(scene: Scene, random: Random) -> Signal:
        if scene.network is None or not scene.kind:
            return masked((0.5, 5), (0.8, 2.5))(scene, random)
        return separator(scene.network, scene.mixture, scene.kind)

    return make


_SEPARATED: tuple[Estimator, ...] = (
    masked((0.5, 5), (0.8, 2.5)),
    binary,
    bleed(-22, 3),
    partial,
    separated(lambda random: HPSS(margin=float(random.uniform(1, 1.5)))),
)


def combined(scene: Scene, random: Random) -> Signal:
    """Returns an estimate by a mask, bleed or HPSS, with one or two kinds of damage."""
    signal = _SEPARATED[random.integers(len(_SEPARATED))](scene, random)
    for index in random.permutation(len(_DAMAGE))[: random.integers(1, 3)]:
        signal = _DAMAGE[index](signal, random)
    return signal
