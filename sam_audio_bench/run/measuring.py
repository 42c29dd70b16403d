"""Attributes measured from an item's audio and prompt while the item is loaded; every data set has them."""

from __future__ import annotations

import math
from contextlib import suppress

from sam_audio_bench.errors import BenchError
from sam_audio_bench.metrics.functional.activity import active_spans, merge_spans
from sam_audio_bench.metrics.functional.energy import energy
from sam_audio_bench.records import Measured
from sam_audio_bench.types import Audio, Item

__all__ = ["measure_item"]

_DECIBELS, _SHARE = 2, 4  # digits kept: few enough that the order of summation does not change them


def measure_item(item: Item) -> Measured:
    """Measures the prompt's word count, the mixture's level, the target's share of time and the SNR of an item.

    A value that is not defined is None. The level is the RMS over all channels and samples in dBFS (a full-scale sine
    has -3.01). The target is active where `active_spans` of the reference says so; without a reference, in the + spans
    of the prompt. The SNR is the ratio of the energies of target and residual.
    """
    prompt, mixture = item.query.prompt, item.query.mixture
    target, rest = (None if one is None else _energy(one) for one in (item.reference, item.residual_reference))
    mean = _energy(mixture) / max(1, mixture.samples.numel())
    share = _target_share(item)
    return Measured(
        words=len(prompt.text.split()) if prompt.text else None,
        target_share=None if share is None else round(min(1.0, share), _SHARE),
        mixture_dbfs=_decibels(mean, 1.0),
        snr=None if target is None or rest is None else _decibels(target, rest),
    )


def _energy(sound: Audio) -> float:
    return float(energy(sound.samples).sum())


def _decibels(power: float, other: float) -> float | None:
    """Converts a ratio of powers to dB; None if one of them is zero or not finite."""
    if not (0 < power < math.inf and 0 < other < math.inf):
        return None
    return round(10 * (math.log10(power) - math.log10(other)), _DECIBELS) + 0.0  # no negative zero


def _target_share(item: Item) -> float | None:
    """Returns the share of the mixture's duration in which the target is active; 0 if its reference is silent."""
    seconds = item.query.mixture.seconds
    spans = [(start, end) for sign, start, end in item.query.prompt.spans if sign == "+"]
    if item.reference is not None:
        with suppress(BenchError):  # raised for samples that are not finite
            return _covered(active_spans(item.reference.samples, item.reference.rate)) / seconds
    return _covered(spans) / seconds if spans else None


def _covered(spans: list[tuple[float, float]]) -> float:
    return sum(end - start for start, end in merge_spans(spans))
