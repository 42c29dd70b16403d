"""How late estimates are: measured for every item that is scored, and cut where ``--align lag`` asks for that.

The lag is that of the highest cross-correlation, within a second on both sides; of sound above a minute, in its loudest
minute. It means something where estimate and sound resemble each other there, by
`metrics.functional.lag.MIN_LAG_CORRELATION`.
"""

from __future__ import annotations

from torch import Tensor

from sam_audio_bench.audio import to_mono
from sam_audio_bench.blocks import parts
from sam_audio_bench.metrics.functional.energy import energy
from sam_audio_bench.metrics.functional.lag import MIN_LAG_CORRELATION, find_lag
from sam_audio_bench.types import Audio, Item

__all__ = ["lag_behind_mixture", "measure_lag"]

_STRETCH = 60  # seconds: the transforms of more take longer than most metrics


def measure_lag(item: Item, estimate: Audio) -> float | None:
    """Milliseconds by which an estimate lags behind its reference, or behind the mixture where that is like none.

    None: it resembles neither, as silence does.
    """
    for sound in (item.reference, item.query.mixture):
        lag = None if sound is None else _samples_late(estimate, sound)
        if lag is not None:
            return 1000 * lag / estimate.rate
    return None


def lag_behind_mixture(estimate: Audio, mixture: Audio) -> int:
    """Samples by which an estimate lags behind its mixture; 0 where they do not resemble each other at any lag."""
    return _samples_late(estimate, mixture) or 0


def _samples_late(estimate: Audio, sound: Audio) -> int | None:
    """Samples by which an estimate lags behind a sound, whose lengths and channels may differ.

    Channels are averaged, since a transform for each would cost more.
    """
    length, rate = min(estimate.length, sound.length), sound.rate
    part = _loudest(sound.samples[:, :length], _STRETCH * rate)
    reference, late = (to_mono(Audio(one.samples[:, :length][:, part], rate)).samples for one in (sound, estimate))
    found = find_lag(reference=reference, estimate=late, rate=rate)
    return None if found is None or found.correlation < MIN_LAG_CORRELATION else found.samples


def _loudest(samples: Tensor, stretch: int) -> slice:
    """Of the stretches one after another ``[channels, time]``, the one of the highest energy."""
    if samples.shape[1] <= stretch:
        return slice(None)
    energies = [float(energy(part).sum()) for (part,) in parts(samples, size=stretch * len(samples))]
    start = stretch * max(range(len(energies)), key=energies.__getitem__)
    return slice(start, start + stretch)
