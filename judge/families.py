"""Families of answers: what a simulated separator gives for one mixture, and which families training never sees."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, uniform_filter1d

from judge import degrade
from judge.codecs import CODECS, round_trip
from judge.degrade import RATE, TRANSFORM, uniform_db
from sam_audio_bench.metrics.functional.hearing import erb_number
from sam_audio_bench.separators.classical import HPSS, MaskSeparator, RepetSim, SpectralGate
from sam_audio_bench.types import Audio, Prompt, Query

__all__ = ["FAMILIES", "Family", "Scene", "answer"]

Signal = NDArray[np.float32]
Random = np.random.Generator
Maker = Callable[["Scene", Random], Signal]
Damage = Callable[[Signal, Random], Signal]


@dataclass(frozen=True, slots=True)
class Scene:
    """A mixture at `RATE` and what it is made of, all ``[time]``; target + interference is the mixture."""

    target: Signal
    interference: Signal
    others: tuple[Signal, ...]  # the competing sources, without the noise that interference may hold as well
    text: str

    @property
    def mixture(self) -> Signal:
        """What a separator hears."""
        return self.target + self.interference


@dataclass(frozen=True, slots=True)
class Family:
    """One way to answer."""

    make: Maker
    share: float  # how often it is drawn, relative to the others of its side
    held_out: bool = False  # only in evaluation sets that say so


def answer(name: str, scene: Scene, random: Random) -> Signal:
    """An answer of the family, as long as the mixture; one that cannot be made for a scene is the next best thing."""
    made = FAMILIES[name].make(scene, random)
    return np.nan_to_num(np.asarray(made, np.float32))


def _perfect(scene: Scene, random: Random) -> Signal:
    return scene.target * uniform_db(random, -3, 3)


def _mixture(scene: Scene, random: Random) -> Signal:
    return scene.mixture * uniform_db(random, -3, 3)


def _silence(scene: Scene, random: Random) -> Signal:
    """Digital silence, or so little noise that nobody hears it."""
    if random.random() < 0.5:
        return np.zeros_like(scene.target)
    noise = random.standard_normal(len(scene.target)).astype(np.float32)
    quiet: Signal = noise * (1e-4 * np.abs(scene.mixture).max(initial=0))
    return quiet


def _wrong(scene: Scene, random: Random) -> Signal:
    """Another source, or everything but the target; sometimes with traces of the target or damage."""
    other = scene.others[random.integers(len(scene.others))] if scene.others else scene.interference
    if len(scene.others) > 1 and random.random() < 0.3:
        other = scene.interference
    if random.random() < 0.4:
        other = other + scene.target * uniform_db(random, -30, -12)
    if random.random() < 0.25:
        other = _DAMAGE[random.integers(len(_DAMAGE))](other, random)
    return other


def _bleed(low: float, high: float) -> Maker:
    def make(scene: Scene, random: Random) -> Signal:
        """The target with the interference, or one source of it, at a known level; in half of them filtered."""
        rest = scene.interference
        if scene.others and random.random() < 0.3:
            rest = scene.others[random.integers(len(scene.others))]
        rest = rest * uniform_db(random, low, high)
        return scene.target + (_tilted(rest, random) if random.random() < 0.5 else rest)

    return make


def _tilted(signal: Signal, random: Random) -> Signal:
    """Each octave or so at another level, ±6 dB."""
    count = int(random.integers(3, 9))
    spectrum = TRANSFORM.forward(signal)
    places = np.linspace(0, count - 1, spectrum.shape[1]) ** 0.5 * (count - 1) ** 0.5
    gain = 10 ** (np.interp(places, np.arange(count), random.uniform(-6, 6, count)) / 20)
    return TRANSFORM.inverse(spectrum * gain.astype(np.float32), len(signal))


def _partial(scene: Scene, random: Random) -> Signal:
    """Target and interference each at a level of its own, in half of them changing over time."""
    wanted, rest = uniform_db(random, -24, 0), uniform_db(random, -40, -3)
    if random.random() < 0.5:
        return scene.target * wanted + scene.interference * rest
    knots = np.linspace(0, len(scene.target), int(random.integers(3, 9)))
    time = np.arange(len(scene.target))
    one, other = (np.interp(time, knots, random.uniform(low, 0, len(knots))) for low in (-24, -36))
    return (scene.target * 10 ** (one / 20) + scene.interference * 10 ** (other / 20)).astype(np.float32)


def _masked(noise: tuple[float, float], power: tuple[float, float]) -> Maker:
    def make(scene: Scene, random: Random) -> Signal:
        """An ideal ratio mask whose log odds are wrong by smooth noise and a bias; power 2 is the Wiener filter."""
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


def _binary(scene: Scene, random: Random) -> Signal:
    """An ideal binary mask with a threshold of its own and patches that are wrong."""
    target, rest = TRANSFORM.forward(scene.target), TRANSFORM.forward(scene.interference)
    mask = np.abs(target) > np.abs(rest) * uniform_db(random, -9, 9)
    size = int(random.integers(1, 5))
    coarse = random.random((-(-mask.shape[0] // size), -(-mask.shape[1] // size))) < random.uniform(0, 0.25)
    flips = np.kron(coarse, np.ones((size, size), bool))[: mask.shape[0], : mask.shape[1]]
    return TRANSFORM.inverse((target + rest) * (mask ^ flips), len(scene.target))


def _band_gains(scene: Scene, random: Random) -> Signal:
    """The Wiener gains of 8-22 bands, smoothed over 30-250 ms; for a tenth of the scenes those of another source."""
    target, rest = scene.target, scene.interference
    if scene.others and random.random() < 0.12:
        target, rest = scene.others[0], scene.mixture - scene.others[0]
    spectra = [TRANSFORM.forward(signal) for signal in (target, rest)]
    members = _erb_bands()
    edges = np.linspace(0, members.shape[1], int(random.integers(8, 23)) + 1).astype(int)
    groups = np.stack([members[:, low:high].sum(axis=1) for low, high in itertools.pairwise(edges)], axis=1)
    width = max(1, round(random.uniform(0.03, 0.25) * RATE / TRANSFORM.hop))
    powers = (uniform_filter1d(np.abs(part) ** 2 @ groups, width, axis=0) for part in spectra)
    wanted, other = (np.maximum(power, 0) for power in powers)  # a running sum may end a little below 0
    gain = (wanted / np.maximum(wanted + other, 1e-12)) ** random.uniform(0.5, 1.5)
    return TRANSFORM.inverse((spectra[0] + spectra[1]) * (gain @ groups.T), len(scene.target))


@cache
def _erb_bands() -> NDArray[np.float32]:
    """Which frequency of `TRANSFORM` lies in which band of one ERB, ``[F, B]``, 1 or 0."""
    number = erb_number(np.fft.rfftfreq(TRANSFORM.size, 1 / RATE))
    low, high = erb_number(50), erb_number(RATE / 2)
    count = int(high - low)
    index = np.minimum((number - low) / (high - low) * count, count - 1).astype(int)
    members = (index[:, None] == np.arange(count)) & (number >= low)[:, None]
    return members[:, members.any(axis=0)].astype(np.float32)  # low bands may be narrower than a bin


def _separated(separator: Callable[[Random], MaskSeparator]) -> Maker:
    def make(scene: Scene, random: Random) -> Signal:
        """A classical separator of this project with the scene's prompt."""
        mixture = Audio(torch.from_numpy(scene.mixture[None]), RATE)
        with torch.inference_mode():
            (found,) = separator(random).separate([Query(mixture=mixture, prompt=Prompt(text=scene.text))], [0])
        samples: Signal = found.target.samples[0].numpy()
        return samples

    return make


def _codec(*names: str) -> Damage:
    def coded(signal: Signal, random: Random) -> Signal:
        """A round trip at one of the codec's low bit rates."""
        name = names[random.integers(len(names))]
        return round_trip(signal, name, RATE, int(random.choice(CODECS[name].bits)))

    return coded


_DAMAGE: tuple[Damage, ...] = (
    degrade.band_limit,
    degrade.clip,
    degrade.coarse,
    degrade.drop_out,
    degrade.hiss,
    degrade.musical_noise,
    _codec("aac", "opus", "amr"),
)


def _base(scene: Scene, random: Random) -> Signal:
    """What is damaged: the target, the target with bleed, now and then the wrong source or the mixture."""
    draw = random.random()
    if draw < 0.5:
        return scene.target
    if draw < 0.8:
        return scene.target + scene.interference * uniform_db(random, -30, -5)
    return _wrong(scene, random) if draw < 0.92 else scene.mixture


def _damaged(damage: Damage) -> Maker:
    return lambda scene, random: damage(_base(scene, random), random)


def _combined(scene: Scene, random: Random) -> Signal:
    """A mask, bleed or HPSS, and then one or two kinds of damage."""
    first = ("irm", "ibm", "bleed", "partial", "hpss")[random.integers(5)]
    signal = FAMILIES[first].make(scene, random)
    for index in random.permutation(len(_DAMAGE))[: random.integers(1, 3)]:
        signal = _DAMAGE[index](signal, random)
    return signal


FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "perfect": Family(_perfect, 0.6),
        "near-perfect": Family(_bleed(-38, -18), 1.0),
        "mild-mask": Family(_masked((0, 0.8), (1.8, 2.2)), 1.0),
        "mixture": Family(_mixture, 0.7),
        "silence": Family(_silence, 0.35),
        "wrong-source": Family(_wrong, 1.0),
        "bleed": Family(_bleed(-22, 3), 1.3),
        "partial": Family(_partial, 1.2),
        "irm": Family(_masked((0.5, 5), (0.8, 2.5)), 1.5),
        "ibm": Family(_binary, 1.0),
        "hpss": Family(_separated(lambda random: HPSS(margin=float(random.uniform(1, 1.5)))), 1.2),
        "drop-out": Family(_damaged(degrade.drop_out), 0.8),
        "band-limit": Family(_damaged(degrade.band_limit), 0.8),
        "musical-noise": Family(_damaged(degrade.musical_noise), 1.0),
        "swap": Family(_damaged(degrade.swap), 0.5),
        "clip": Family(_damaged(degrade.clip), 0.6),
        "coarse": Family(_damaged(degrade.coarse), 0.4),
        "hiss": Family(_damaged(degrade.hiss), 0.8),
        "pitch": Family(_damaged(degrade.pitch), 0.35),
        "resynthesis": Family(_damaged(degrade.resynthesise), 0.8),
        "codec": Family(_damaged(_codec("aac", "opus", "amr")), 1.2),
        "combined": Family(_combined, 2.5),
        "spectral-gate": Family(
            _separated(lambda random: SpectralGate(reduction=float(random.uniform(1.5, 4)))), 1.0, held_out=True
        ),
        "repet-sim": Family(_separated(lambda random: RepetSim()), 1.0, held_out=True),
        "band-gains": Family(_band_gains, 1.0, held_out=True),
        "phase-noise": Family(_damaged(degrade.phase_noise), 1.0, held_out=True),
        "reverb": Family(_damaged(degrade.reverberate), 1.0, held_out=True),
        "codec-mp3": Family(_damaged(_codec("mp3")), 0.7, held_out=True),
        "codec-ogg": Family(_damaged(_codec("vorbis")), 0.7, held_out=True),
    }
)
"""By name; docs/judge-labels.md has their ratings."""
