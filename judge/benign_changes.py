"""Benign changes, which listeners hardly notice although the waveform differs: delays, all-passes, vocoders, filters.

Every function takes float32 samples ``[time]`` at `RATE` and a random generator, and returns as many samples.
"""

from __future__ import annotations

import importlib
import warnings
from functools import cache, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft
from scipy.ndimage import gaussian_filter, gaussian_filter1d
from scipy.signal import butter, sosfilt

from judge.degrade import RATE, TRANSFORM
from sam_audio_bench.errors import Precondition
from sam_audio_bench.tasks.mixing import uniform_db

__all__ = ["all_pass", "delay", "griffin_lim", "mild_filter", "noisy_resynthesis", "vocode"]

Signal = NDArray[np.float32]
Random = np.random.Generator

_DELAY = 0.02  # seconds, at most
_GROUP_DELAY = 0.008  # seconds: maximum group delay, of either sign, of a smooth random phase
_INVERTED = 0.25  # share of the signals whose polarity is also inverted
_FRAME = 10.0  # milliseconds between frames of WORLD


def delay(signal: Signal, random: Random) -> Signal:
    """Shifts by up to ±20 ms, with subsample precision; inverts the polarity of some, or does only that."""
    samples = random.uniform(-_DELAY, _DELAY) * RATE * random.choice([0.1, 1.0, 1.0])
    sign = -1.0 if random.random() < _INVERTED else 1.0
    if sign < 0 and random.random() < 0.4:
        return -signal
    return _add_phase(signal, lambda turns: -2 * np.pi * turns * samples) * np.float32(sign)


def all_pass(signal: Signal, random: Random) -> Signal:
    """Changes only phases: by one to eight all-pass biquads, or by a smooth random phase response."""
    sign = np.float32(-1 if random.random() < _INVERTED else 1)
    if random.random() < 0.5:
        found: Signal = sosfilt([_biquad(random) for _ in range(random.integers(1, 9))], signal)
        return found.astype(np.float32) * sign
    knots = random.uniform(-_GROUP_DELAY, _GROUP_DELAY, int(random.integers(3, 20)))

    def phase(turns: NDArray[np.float64]) -> NDArray[np.float64]:
        late = np.interp(turns, np.linspace(0, 0.5, len(knots)), knots) * RATE
        angles: NDArray[np.float64] = -2 * np.pi * np.cumsum(late) * (turns[1] - turns[0])
        return angles

    return _add_phase(signal, phase) * sign


def _biquad(random: Random) -> NDArray[np.float64]:
    """Returns a second-order all-pass at 80-7000 Hz with poles at radius 0.5-0.98."""
    radius, angle = random.uniform(0.5, 0.98), 2 * np.pi * np.exp(random.uniform(np.log(80), np.log(7000))) / RATE
    poles = np.array([1.0, -2 * radius * np.cos(angle), radius**2])
    return np.concatenate([poles[::-1], poles])


def _add_phase(signal: Signal, phase: Any) -> Signal:
    """Adds phases to a signal, a function of frequency in cycles per sample; padding prevents circular wrap-around."""
    margin = round(2.5 * _DELAY * RATE)
    size = next_fast_len(len(signal) + 2 * margin, real=True)
    spectrum = rfft(np.pad(signal, (margin, size - len(signal) - margin)).astype(np.float64))
    turns = np.arange(len(spectrum)) / size
    found: Signal = irfft(spectrum * np.exp(1j * phase(turns)), size)[margin : margin + len(signal)]
    return found.astype(np.float32)


def griffin_lim(signal: Signal, random: Random) -> Signal:
    """Resynthesises from magnitudes, mostly of 40-100 mel bands, by a few iterations of Griffin-Lim."""
    magnitude = np.abs(TRANSFORM.forward(signal))
    if random.random() < 0.67:
        bands = _mel_bands(int(random.integers(40, 101)))
        magnitude = magnitude @ (bands / bands.sum(axis=1, keepdims=True).clip(1e-9)).T @ bands
    phase = np.exp(2j * np.pi * random.random(magnitude.shape)).astype(np.complex64)
    found = TRANSFORM.inverse(magnitude * phase, len(signal))
    for _ in range(int(random.integers(2, 9))):
        found = _project(found, magnitude)
    return found


@lru_cache(maxsize=64)
def _mel_bands(count: int) -> NDArray[np.float32]:
    """Returns triangular filters ``[B, F]`` on the mel scale that overlap by half and sum to 1 at every frequency."""
    centres = 700 * (np.exp(np.linspace(0, np.log(1 + RATE / 2 / 700), count)) - 1)
    places = np.linspace(0, RATE / 2, TRANSFORM.size // 2 + 1)
    return np.stack([np.interp(places, centres, unit) for unit in np.eye(count)]).astype(np.float32)


def _project(signal: Signal, magnitude: NDArray[np.float32]) -> Signal:
    """Makes one iteration of Griffin and Lim (1984): combines the signal's phases with the given magnitudes."""
    spectrum = TRANSFORM.forward(signal)
    return TRANSFORM.inverse(spectrum * (magnitude / np.maximum(np.abs(spectrum), 1e-9)), len(signal))


def noisy_resynthesis(signal: Signal, random: Random) -> Signal:
    """Resynthesises as by diffusion: from noise with the signal's envelope, in 2-4 steps, to inexact magnitudes."""
    spectrum = TRANSFORM.forward(signal)
    errors = random.standard_normal(spectrum.shape).astype(np.float32)
    errors = gaussian_filter(errors, (random.uniform(1, 8), random.uniform(1, 6)))
    errors *= random.uniform(0.5, 4) / max(float(errors.std()), 1e-9)
    magnitude = np.abs(spectrum) * 10 ** (errors / 20)
    envelope = gaussian_filter1d(np.abs(spectrum), 2.0, axis=1)
    amount, found = random.uniform(0.2, 2.0), signal
    for step in range(steps := int(random.integers(2, 5))):
        share = np.float32(amount * (1 - step / steps))
        turns = np.exp(2j * np.pi * random.random(spectrum.shape)).astype(np.complex64)
        noised = TRANSFORM.forward(found) + share * envelope * turns
        found = TRANSFORM.inverse(noised * (magnitude / np.maximum(np.abs(noised), 1e-9)), len(signal))
    return found


def mild_filter(signal: Signal, random: Random) -> Signal:
    """Applies one or two of: high-pass at 50-150 Hz, low-pass at 5-7.5 kHz, tilt of up to 4 dB, DC offset."""
    found = signal
    for kind in random.choice(["high", "low", "tilt", "constant"], int(random.integers(1, 3)), replace=False):
        if kind == "tilt":
            spectrum = TRANSFORM.forward(found)
            gain = np.linspace(-1, 1, spectrum.shape[1]) * random.uniform(-4, 4)
            found = TRANSFORM.inverse(spectrum * (10 ** (gain / 20)).astype(np.float32), len(signal))
        elif kind == "constant":
            level = np.sqrt(np.mean(np.square(signal, dtype=np.float64)))
            found = found + np.float32(level * uniform_db(random, -20, 20) * random.choice([-1, 1]))
        else:
            edge = random.uniform(50, 150) if kind == "high" else random.uniform(5000, 7500)
            sections = butter(int(random.integers(1, 5)), edge, f"{kind}pass", fs=RATE, output="sos")
            found = sosfilt(sections, found).astype(np.float32)
    return found


def vocode(signal: Signal, random: Random) -> Signal:
    """Analyses and resynthesises by WORLD, with slightly changed pitch and envelope; for voices."""
    world, given = _world(), signal.astype(np.float64)
    if not np.any(np.abs(signal) > 1e-6):
        return signal
    pitch, times = world.dio(given, RATE, frame_period=_FRAME)
    pitch = world.stonemask(given, pitch, times, RATE)
    envelope = world.cheaptrick(given, pitch, times, RATE)
    noise = world.d4c(given, pitch, times, RATE)
    if random.random() < 0.5:
        envelope = np.exp(gaussian_filter1d(np.log(envelope), random.uniform(1, 12), axis=1))
    pitch = pitch * 2 ** (random.normal(0, 0.1) / 12)
    found = world.synthesize(pitch, envelope, noise, RATE, _FRAME)[: len(signal)].astype(np.float32)
    level = np.sqrt(np.mean(given**2) / max(float(np.mean(found.astype(np.float64) ** 2)), 1e-12))
    fitted: Signal = found * np.float32(min(level, 10.0))
    return np.pad(fitted, (0, len(signal) - len(fitted)))


@cache
def _world() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it imports pkg_resources, for which setuptools warns
            return importlib.import_module("pyworld")
    except ImportError:
        raise Precondition('the family "vocoder" needs WORLD: pip install pyworld==0.3.5 "setuptools<81"') from None
