"""True peak, and loudness matching of the sounds of a trial."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from sam_audio_bench.metrics.functional.loudness import integrated_loudness, k_weighting

__all__ = ["GREATEST_BOOST", "HIGHEST_PEAK", "integrated_loudness", "k_weighting", "matching_gains", "true_peak"]

HIGHEST_PEAK = 10 ** (-1 / 20)
"""Full scale is 1: -1 dBTP, the limit of EBU R 128."""
GREATEST_BOOST = 30.0
"""dB by which the gain of an estimate may exceed that of its mixture, so that quiet residue stays quiet."""

_OVERSAMPLING = 4


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
    base = _gain_to_target(mixture, rate, target)
    limit = (base or 1.0) * 10 ** (GREATEST_BOOST / 20)
    everything = {"": mixture, **sounds}
    gains = {"": base or 1.0}
    for name, samples in sounds.items():
        gains[name] = min(_gain_to_target(samples, rate, target) or gains[""], limit)
    loudest = max(gains[name] * true_peak(samples) for name, samples in everything.items())
    cut = min(1.0, HIGHEST_PEAK / loudest) if loudest > 0 else 1.0
    return {name: gain * cut for name, gain in gains.items()}


def _gain_to_target(samples: NDArray[np.floating], rate: int, target: float) -> float | None:
    stereo = np.repeat(samples, 2, axis=0) if samples.shape[0] == 1 else samples
    found = integrated_loudness(stereo, rate)
    return None if found is None else float(10 ** ((target - found) / 20))
