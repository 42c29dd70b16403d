"""How late estimates are: measured for every item that is scored, and cut where ``--align lag`` asks for that.

The lag is that of the highest cross-correlation, within a second on both sides. It means something where estimate and
sound resemble each other there, by `metrics.functional.lag.RESEMBLES`.
"""

from __future__ import annotations

from sam_audio_bench.audio import to_mono
from sam_audio_bench.metrics.functional.lag import RESEMBLES, find_lag
from sam_audio_bench.types import Audio, Item

__all__ = ["lag_behind_mixture", "measure_lag"]


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
    length = min(estimate.length, sound.length)
    reference, late = (to_mono(Audio(one.samples[:, :length], one.rate)).samples for one in (sound, estimate))
    found = find_lag(reference=reference, estimate=late, rate=estimate.rate)
    return None if found is None or found.there < RESEMBLES else found.samples
