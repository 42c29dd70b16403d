"""What listeners would say beside a clean reference, as a Metric."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from torch import Tensor

from sam_audio_bench.blocks import all_finite
from sam_audio_bench.metrics.base import Row, StereoMetric
from sam_audio_bench.metrics.catalogue import metric_ids_of
from sam_audio_bench.metrics.functional.energy import classify, is_silent
from sam_audio_bench.metrics.functional.hearing import SHORTEST
from sam_audio_bench.metrics.functional.perceptual import Original
from sam_audio_bench.types import Audio, Item, Score, Separation, Status

__all__ = ["Perceptual"]

_BEST, _ROUNDING = 5.0, 1e-5


class Perceptual(StereoMetric):
    """`functional.perceptual` of the target at any rate, four ratings from 1 to 5.

    A silent answer is 1 on every axis, status ``silent_estimate``; 5 is ``perfect``. Without a residual reference
    everything else is the mixture less the reference.

    Args:
        stereo: "joint": both channels are heard together; "mean": mean of the channels' ratings, without those whose
            reference is silent; "mono": channels averaged first.
    """

    columns = metric_ids_of("sam_audio_bench.metrics.perceptual:Perceptual")
    in_blocks = True

    def score(self, items: Sequence[Item], separations: Sequence[Separation]) -> list[Row]:
        """Four ratings an item; an item without a reference is not asked."""
        return [self._one(item, answer) for item, answer in zip(items, separations, strict=True)]

    def _one(self, item: Item, answer: Separation) -> Row:
        if item.reference is None:
            return self._all(None)
        rest = [] if item.residual_reference is None else [item.residual_reference]
        given = self._comparable(item.reference, answer.target, item.query.mixture, *rest)
        if given is None:
            return self._all(Status.LENGTH_MISMATCH)
        status = classify(given[0].samples, given[1].samples)
        if status is Status.OK and not all(all_finite(audio.samples) for audio in given[2:]):
            status = Status.NON_FINITE
        if status not in (Status.OK, Status.SILENT_ESTIMATE):
            return self._all(status)
        if given[0].seconds < SHORTEST:
            return self._all(Status.TOO_SHORT)
        return tuple(_score(value, status) for value in self._rate(given))

    def _rate(self, given: Sequence[Audio]) -> list[float]:
        rate = given[0].rate
        if self.stereo != "mean":
            return _ratings([audio.samples for audio in given], rate)
        channels = zip(*(audio.samples[:, None] for audio in given), strict=True)
        rated = [_ratings(parts, rate) for parts in channels if not is_silent(parts[0].flatten())]
        return [fmean(axis) for axis in zip(*rated, strict=True)]


def _ratings(parts: Sequence[Tensor], rate: int) -> list[float]:
    """Overall, recall, precision and faithfulness of reference, answer, mixture and perhaps residual, in this order."""
    reference, estimate, mixture, *residual = parts
    found = Original(reference, mixture, rate, *residual).rate(estimate)
    return [float(value) for value in found]


def _score(value: float, status: Status) -> Score:
    """What rounding in float32 leaves of 5 is 5."""
    return Score(_BEST, Status.PERFECT) if value > _BEST - _ROUNDING else Score(value, status)
