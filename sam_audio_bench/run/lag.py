"""Lag of estimates: measured for every scored item, and removed with ``--align lag``.

The lag is the position of the highest cross-correlation, within one second in either direction; for sound longer than a
minute it is computed in the loudest minute. It is meaningful only where the two sounds are similar at that lag, by
`metrics.functional.lag.MIN_LAG_CORRELATION`.
"""

from __future__ import annotations

from torch import Tensor

from sam_audio_bench.audio import to_mono
from sam_audio_bench.blocks import iter_blocks
from sam_audio_bench.metrics.functional.energy import energy
from sam_audio_bench.metrics.functional.lag import MIN_LAG_CORRELATION, find_lag
from sam_audio_bench.types import Audio, Item

__all__ = ["lag_behind_mixture", "measure_lag"]

_SEGMENT = 60  # seconds; Fourier transforms of longer sound take more time than most metrics


def measure_lag(item: Item, estimate: Audio) -> float | None:
    """Returns the lag of an estimate behind its reference in ms, or behind the mixture if they are dissimilar.

    None: the estimate is similar to neither, as silence is.
    """
    for sound in (item.reference, item.query.mixture):
        lag = None if sound is None else _lag_in_samples(estimate, sound)
        if lag is not None:
            return 1000 * lag / estimate.rate
    return None


def lag_behind_mixture(estimate: Audio, mixture: Audio) -> int:
    """Returns the lag of an estimate behind its mixture in samples; 0 if they are not similar at any lag."""
    return _lag_in_samples(estimate, mixture) or 0


def _lag_in_samples(estimate: Audio, sound: Audio) -> int | None:
    """Returns the lag of an estimate behind a sound in samples; their lengths and channels may differ.

    Channels are averaged, since one transform per channel would cost more.
    """
    length, rate = min(estimate.length, sound.length), sound.rate
    part = _loudest_segment(sound.samples[:, :length], _SEGMENT * rate)
    reference, late = (to_mono(Audio(one.samples[:, :length][:, part], rate)).samples for one in (sound, estimate))
    found = find_lag(reference=reference, estimate=late, rate=rate)
    return None if found is None or found.correlation < MIN_LAG_CORRELATION else found.samples


def _loudest_segment(samples: Tensor, size: int) -> slice:
    """Returns the consecutive segment of ``[channels, time]`` with the highest energy."""
    if samples.shape[1] <= size:
        return slice(None)
    energies = [float(energy(part).sum()) for (part,) in iter_blocks(samples, size=size * len(samples))]
    start = size * max(range(len(energies)), key=energies.__getitem__)
    return slice(start, start + size)
