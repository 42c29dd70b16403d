"""Loudness by ITU-R BS.1770-4."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from sam_audio_bench.errors import UsageError

__all__ = ["integrated_loudness", "k_weighting"]

Floats = NDArray[np.float64]

_BLOCK, _STEP = 0.4, 0.1  # seconds: gating blocks overlap by 75 %
_ABSOLUTE_GATE, _RELATIVE_GATE = -70.0, -10.0
_OFFSET = -0.691  # LUFS: cancels what K weighting adds at 1 kHz
_CHANNEL_WEIGHTS = (1.0, 1.0, 1.0, 1.41, 1.41)  # left, right, centre, two surround


def k_weighting(rate: int) -> Floats:
    """Returns the K-weighting filter as second-order sections [2, 6]: a shelf for the head, then a high-pass.

    BS.1770-4 gives coefficients for 48 kHz only. The underlying analogue filters (De Man, Evaluation of Implementations
    of the EBU R128 Loudness Measurement, AES 145, 2018) give the same coefficients there and apply to any rate.

    Args:
        rate: sampling rate in Hz.
    """
    gain = 10 ** (3.999843853973347 / 20)
    k = math.tan(math.pi * 1681.974450955533 / rate)
    damping = k / 0.7071752369554196
    middle = gain**0.4996667741545416
    norm = 1 + damping + k * k
    zeros = [
        (gain + middle * damping + k * k) / norm,
        2 * (k * k - gain) / norm,
        (gain - middle * damping + k * k) / norm,
    ]
    shelf = [*zeros, 1.0, 2 * (k * k - 1) / norm, (1 - damping + k * k) / norm]
    k = math.tan(math.pi * 38.13547087602444 / rate)
    damping = k / 0.5003270373238773
    norm = 1 + damping + k * k
    high_pass = [1.0, -2.0, 1.0, 1.0, 2 * (k * k - 1) / norm, (1 - damping + k * k) / norm]
    return np.array([shelf, high_pass])


def integrated_loudness(samples: NDArray[np.floating], rate: int) -> float | None:
    """Computes the gated loudness of a whole programme (BS.1770-4, Annex 1).

    Args:
        samples: [channels, time], full scale ±1; up to five channels in the order left, right, centre, surrounds.
        rate: sampling rate in Hz.

    Returns:
        LUFS; None if no block is above the absolute gate of -70 LUFS. A sound shorter than a gating block of 400 ms is
        one block.

    Raises:
        UsageError: more than five channels, or no samples.
    """
    channels, length = samples.shape
    if not 1 <= channels <= len(_CHANNEL_WEIGHTS) or length == 0:
        raise UsageError(f"expected 1 to {len(_CHANNEL_WEIGHTS)} channels of samples, found {samples.shape}")
    filtered = signal.sosfilt(k_weighting(rate), samples.astype(np.float64), axis=1)
    weighted = np.asarray(_CHANNEL_WEIGHTS[:channels]) @ np.square(filtered)
    powers = _block_powers(weighted, rate)
    for gate in (_ABSOLUTE_GATE, None):
        above = _level(powers.mean()) + _RELATIVE_GATE if gate is None else gate
        powers = powers[_level(powers) > above]
        if powers.size == 0:
            return None
    return float(_level(powers.mean()))


def _block_powers(weighted: Floats, rate: int) -> Floats:
    """Returns the mean of each complete gating block, or of the whole signal if there is none."""
    block = min(round(_BLOCK * rate), weighted.size)
    count = int((weighted.size - block) / (_STEP * rate) + 1e-9) + 1
    starts = np.rint(np.arange(count) * _STEP * rate).astype(np.int64)
    starts = starts[starts + block <= weighted.size]
    sums = np.concatenate([[0.0], np.cumsum(weighted)])
    return np.asarray((sums[starts + block] - sums[starts]) / block)


def _level(power: Floats | np.floating) -> Floats:
    with np.errstate(divide="ignore"):
        return np.asarray(_OFFSET + 10 * np.log10(np.maximum(power, 0)))
