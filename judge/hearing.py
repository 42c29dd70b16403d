"""A small model of hearing: energies in ERB bands, ear weighting, spread of excitation and partial loudness.

Letters: T frames, F frequencies, B bands.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.fft import next_fast_len, rfft

__all__ = ["EXPONENT", "FLOOR", "MASKING", "Bands", "bands_of", "loudness", "spectrum"]

EXPONENT = 0.3
"""Specific loudness grows with this power of the excitation (Zwicker and Fastl: 0.23; Moore et al. 1997: 0.2-0.3)."""

FLOOR = 1e-6
"""Excitation at the threshold, relative to the loud frames of the mixture: 60 dB below them."""

MASKING = 10 ** (-12 / 10)
"""Share of a sound that masks others: 12 dB below it, between some 20 dB for tones and 5 dB for noise."""

_WINDOW = 0.032  # seconds; half of it is the hop
_LOWEST, _HIGHEST = 50.0, 16_000.0  # Hz
_UPWARD, _DOWNWARD = 10.0, 27.0  # dB a band that excitation falls off by


@dataclass(frozen=True, slots=True)
class Bands:
    """Bands of one ERB, as matrices for a transform of ``size`` samples."""

    size: int
    members: NDArray[np.float32]  # [F, B]: 1 where a frequency belongs to a band
    excite: NDArray[np.float32]  # [B, B]: weighting of the outer and middle ear, and spread to other bands

    @property
    def hop(self) -> int:
        """Samples from frame to frame."""
        return self.size // 2

    @property
    def bins(self) -> NDArray[np.float32]:
        """Number of frequencies in each band, ``[B]``."""
        bins: NDArray[np.float32] = self.members.sum(axis=0)
        return bins


@lru_cache(maxsize=4)
def bands_of(rate: int) -> Bands:
    """The bands at ``rate`` Hz, from 50 Hz to 16 kHz or half the rate.

    The ERB-number scale is Glasberg and Moore's (1990); the ear weighting that of ITU-R BS.1387 (PEAQ).
    """
    size = next_fast_len(round(_WINDOW * rate) // 2, real=True) * 2
    hertz = np.fft.rfftfreq(size, 1 / rate)
    number = _erb_number(hertz)
    low, high = _erb_number(np.array([_LOWEST, min(_HIGHEST, rate / 2)]))
    count = max(1, int(high - low))
    index = np.clip((number - low) / (high - low) * count, 0, count - 1).astype(int)
    index[number < low] = -1
    index[number > high + 1e-9] = -1
    members = (index[:, None] == np.arange(count)).astype(np.float32)
    members = members[:, members.any(axis=0)]  # at the lowest frequencies a band may be narrower than a bin
    kilohertz = np.maximum(members.T @ hertz / members.sum(axis=0), 1.0) / 1000
    weight = -0.6 * 3.64 * kilohertz**-0.8 + 6.5 * np.exp(-0.6 * (kilohertz - 3.3) ** 2) - 1e-3 * kilohertz**3.6
    step = np.subtract.outer(
        np.arange(len(kilohertz)), np.arange(len(kilohertz))
    )  # from the row's band to the column's
    spread = np.where(step > 0, -_DOWNWARD * step, _UPWARD * step)
    excite = 10 ** ((weight[:, None] + spread) / 10)
    return Bands(size, members, excite.astype(np.float32))


def _erb_number(hertz: NDArray[np.floating]) -> NDArray[np.floating]:
    number: NDArray[np.floating] = 21.4 * np.log10(1 + 0.00437 * hertz)
    return number


def spectrum(signal: NDArray[np.float32], bands: Bands) -> NDArray[np.complex64]:
    """Short-time spectrum ``[T, F]`` with a Hann window; what lies beyond the signal counts as zero."""
    size, hop = bands.size, bands.hop
    frames = -(-len(signal) // hop) + 1
    padded = np.zeros((frames + 1) * hop, np.float32)
    padded[hop : hop + len(signal)] = signal
    windows = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop]
    taper = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)).astype(np.float32)
    found: NDArray[np.complex64] = rfft(windows * taper, axis=1)
    return found


def loudness(excitation: NDArray[np.float32], masker: NDArray[np.float32] | float = 0.0) -> NDArray[np.float32]:
    """Partial specific loudness of an excitation beside a masker, both relative to the loud frames of the mixture.

    ``(E + m M + E0)^0.3 - (m M + E0)^0.3``: what the sound adds to the loudness of what masks it and of the threshold
    (the form of Moore, Glasberg and Baer 1997, without their absolute levels).
    """
    threshold = MASKING * masker + FLOOR
    heard: NDArray[np.float32] = (excitation + threshold) ** EXPONENT - threshold**EXPONENT
    return np.maximum(heard, 0)
