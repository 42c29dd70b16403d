"""Loudness of ITU-R BS.1770-4, true peak, and loudness matching of the sounds of a trial."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from sam_audio_bench.errors import UsageError

__all__ = ["GREATEST_BOOST", "HIGHEST_PEAK", "integrated_loudness", "k_weighting", "matching_gains", "true_peak"]

Floats = NDArray[np.float64]

HIGHEST_PEAK = 10 ** (-1 / 20)
"""Full scale is 1: -1 dBTP, the limit of EBU R 128."""
GREATEST_BOOST = 30.0
"""dB by which the gain of an estimate may exceed that of its mixture, so that quiet residue stays quiet."""

_BLOCK, _STEP = 0.4, 0.1  # seconds: gating blocks overlap by 75 %
_ABSOLUTE_GATE, _RELATIVE_GATE = -70.0, -10.0
_OFFSET = -0.691  # LUFS: cancels what K weighting adds at 1 kHz
_CHANNEL_WEIGHTS = (1.0, 1.0, 1.0, 1.41, 1.41)  # left, right, centre, two surround
_OVERSAMPLING = 4


def k_weighting(rate: int) -> Floats:
    """K weighting as second-order sections [2, 6]: a shelf for the head, then a high pass.

    BS.1770-4 gives coefficients for 48 kHz only. The analogue filters behind them (De Man, Evaluation of
    Implementations of the EBU R128 Loudness Measurement, AES 145, 2018) give the same numbers there and serve any rate.

    Args:
        rate: Hz.
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
    """Gated loudness of a whole programme (BS.1770-4, Annex 1).

    Args:
        samples: [channels, time], full scale ±1; up to five channels in the order left, right, centre, surrounds.
        rate: Hz.

    Returns:
        LUFS, or None if no block is above the absolute gate of -70 LUFS. A sound shorter than a gating block of
        400 ms is one block.

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
    """Mean of each complete gating block, or of everything where there is none."""
    block = min(round(_BLOCK * rate), weighted.size)
    count = int((weighted.size - block) / (_STEP * rate) + 1e-9) + 1
    starts = np.rint(np.arange(count) * _STEP * rate).astype(np.int64)
    starts = starts[starts + block <= weighted.size]
    sums = np.concatenate([[0.0], np.cumsum(weighted)])
    return np.asarray((sums[starts + block] - sums[starts]) / block)


def _level(power: Floats | np.floating) -> Floats:
    with np.errstate(divide="ignore"):
        return np.asarray(_OFFSET + 10 * np.log10(np.maximum(power, 0)))


def true_peak(samples: NDArray[np.floating]) -> float:
    """True peak of [channels, time], by fourfold oversampling (BS.1770-4, Annex 2)."""
    between = signal.resample_poly(samples.astype(np.float64), _OVERSAMPLING, 1, axis=1)
    return float(max(np.abs(samples).max(initial=0), np.abs(between).max(initial=0)))


def matching_gains(
    mixture: NDArray[np.floating], sounds: Mapping[str, NDArray[np.floating]], rate: int, target: float
) -> dict[str, float]:
    """Gains that bring a mixture and its estimates to equal loudness.

    Each sound gets the gain to ``target``, an estimate at most `GREATEST_BOOST` more than its mixture; then all gains
    are reduced equally if a true peak would exceed `HIGHEST_PEAK`. So levels differ within the set only if an estimate
    is almost silent. A sound below the absolute gate gets the mixture's gain. Mono is measured as two equal channels.

    Args:
        mixture: [channels, time].
        sounds: [channels, time] each, by name.
        rate: Hz, of all of them.
        target: LUFS.

    Returns:
        Linear gains by name; that of the mixture under "".
    """
    base = _gain(mixture, rate, target)
    limit = (base or 1.0) * 10 ** (GREATEST_BOOST / 20)
    everything = {"": mixture, **sounds}
    gains = {"": base or 1.0}
    for name, samples in sounds.items():
        gains[name] = min(_gain(samples, rate, target) or gains[""], limit)
    loudest = max(gains[name] * true_peak(samples) for name, samples in everything.items())
    cut = min(1.0, HIGHEST_PEAK / loudest) if loudest > 0 else 1.0
    return {name: gain * cut for name, gain in gains.items()}


def _gain(samples: NDArray[np.floating], rate: int, target: float) -> float | None:
    stereo = np.repeat(samples, 2, axis=0) if samples.shape[0] == 1 else samples
    found = integrated_loudness(stereo, rate)
    return None if found is None else float(10 ** ((target - found) / 20))
