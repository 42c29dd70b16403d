"""Noises to be taken away: steady or slowly modulated, of a random spectrum, and as often as wanted anew."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from judge.degrade import RATE

__all__ = ["draw_noise", "faint_noise", "unit"]

Signal = NDArray[np.float32]
Random = np.random.Generator

_WHITE = 0.25  # of the noises
_TILT = (-6.0, 0.0)  # dB an octave of the others
_BUMP = 10.0  # dB that a part of their spectra lies above or below the rest, at most
_MODULATED = 0.5  # of the noises
_RATES = (0.5, 4.0)  # Hz
_DEPTHS = (2.0, 10.0)  # dB between the softest and the loudest moment
_LOWEST = 50.0  # Hz below which spectra are flat


def draw_noise(length: int, random: Random) -> Callable[[], Signal]:
    """Draws spectrum and modulation; each call gives other noise of that kind, at an RMS of 1."""
    shape = _shape(length, random)
    modulated = random.random() < _MODULATED
    rate, depth = random.uniform(*_RATES), random.uniform(*_DEPTHS)

    def realise() -> Signal:
        noise = np.fft.irfft(np.fft.rfft(random.standard_normal(length)) * shape, length)
        if modulated:
            knots = np.arange(0, length / RATE + 0.5 / rate, 0.5 / rate)  # two a period
            level = np.interp(np.arange(length) / RATE, knots, random.uniform(-depth / 2, depth / 2, len(knots)))
            noise *= 10 ** (level / 20)
        return unit(noise)

    return realise


def _shape(length: int, random: Random) -> NDArray[np.float64]:
    """Gains of the frequencies: all the same, or a tilt with one to three smooth bumps or dips."""
    octaves = np.log2(np.maximum(np.fft.rfftfreq(length, 1 / RATE), _LOWEST) / 1000)
    if random.random() < _WHITE:
        return np.ones_like(octaves)
    level = random.uniform(*_TILT) * octaves
    for _ in range(int(random.integers(1, 4))):
        place, width = random.uniform(-3, 3), random.uniform(0.3, 1)
        level += random.uniform(-_BUMP, _BUMP) * np.exp(-0.5 * ((octaves - place) / width) ** 2)
    gains: NDArray[np.float64] = 10 ** (level / 20)
    return gains


def faint_noise(length: int, random: Random) -> Signal:
    """White to pink, at an RMS of 1."""
    spectrum = np.fft.rfft(random.standard_normal(length))
    spectrum *= np.maximum(np.fft.rfftfreq(length, 1 / RATE), _LOWEST) ** -random.uniform(0, 0.5)
    noise = np.fft.irfft(spectrum, length)
    return (noise / np.std(noise)).astype(np.float32)


def unit(signal: NDArray[np.floating]) -> Signal:
    """At an RMS of 1; silence stays silent."""
    level = float(np.sqrt(np.mean(np.square(signal, dtype=np.float64))))
    return (signal / max(level, 1e-9)).astype(np.float32)
