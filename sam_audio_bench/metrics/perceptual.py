"""Predicted listener ratings given the clean reference, as a metric."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from torch import Tensor

from sam_audio_bench.blocks import all_finite
from sam_audio_bench.metrics.base import Row, StereoMetric
from sam_audio_bench.metrics.catalogue import metric_ids_of
from sam_audio_bench.metrics.functional.energy import classify, is_silent
from sam_audio_bench.metrics.functional.hearing import MIN_SECONDS
from sam_audio_bench.metrics.functional.perceptual import PerceptualReference
from sam_audio_bench.types import Audio, Item, Score, Separation, Status

__all__ = ["Perceptual"]

_BEST, _ROUNDING = 5.0, 1e-5


class Perceptual(StereoMetric):
    """`functional.perceptual` of the target at any rate, four ratings from 1 to 5.

    A silent estimate is rated 1 on every axis, status ``silent_estimate``; 5 is ``perfect``. Without a residual
    reference the interference is the mixture minus the reference.

    Args:
        stereo: "joint": channels are combined; "mean": mean of the channels' ratings, without those whose reference is
            silent; "mono": channels averaged first.
    """

    columns = metric_ids_of("sam_audio_bench.metrics.perceptual:Perceptual")
    in_blocks = True

    def score(self, items: Sequence[Item], separations: Sequence[Separation]) -> list[Row]:
        """Returns four ratings per item; None for an item without a reference."""
        return [self._row(item, separation) for item, separation in zip(items, separations, strict=True)]

    def _row(self, item: Item, separation: Separation) -> Row:
        if item.reference is None:
            return self._uniform_row(None)
        residual = [] if item.residual_reference is None else [item.residual_reference]
        given = self._comparable_signals(item.reference, separation.target, item.query.mixture, *residual)
        if given is None:
            return self._uniform_row(Status.LENGTH_MISMATCH)
        status = classify(given[0].samples, given[1].samples)
        if status is Status.OK and not all(all_finite(audio.samples) for audio in given[2:]):
            status = Status.NON_FINITE
        if status not in (Status.OK, Status.SILENT_ESTIMATE):
            return self._uniform_row(status)
        if given[0].seconds < MIN_SECONDS:
            return self._uniform_row(Status.TOO_SHORT)
        return tuple(_score(value, status) for value in self._rate(given))

    def _rate(self, given: Sequence[Audio]) -> list[float]:
        rate = given[0].rate
        if self.stereo != "mean":
            return _ratings([audio.samples for audio in given], rate)
        channels = zip(*(audio.samples[:, None] for audio in given), strict=True)
        rated = [_ratings(parts, rate) for parts in channels if not is_silent(parts[0].flatten())]
        return [fmean(axis) for axis in zip(*rated, strict=True)]


def _ratings(parts: Sequence[Tensor], rate: int) -> list[float]:
    """Rates overall, recall, precision, faithfulness, given reference, estimate, mixture and optionally residual."""
    reference, estimate, mixture, *residual = parts
    found = PerceptualReference(reference, mixture, rate, *residual).rate(estimate)
    return [float(value) for value in found]


def _score(value: float, status: Status) -> Score:
    """Returns the score of a rating; a value within float32 rounding of 5 is 5."""
    return Score(_BEST, Status.PERFECT) if value > _BEST - _ROUNDING else Score(value, status)
