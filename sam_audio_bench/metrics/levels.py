"""Levels relative to the mixture: leakage when the target is absent, and the error of target + residual."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sam_audio_bench.audio import to_mono
from sam_audio_bench.blocks import apply_blockwise
from sam_audio_bench.metrics import functional
from sam_audio_bench.metrics.base import Metric, Row, has_silent_reference
from sam_audio_bench.metrics.catalogue import FLOOR_DB, metric_ids_of
from sam_audio_bench.types import Audio, Item, Score, Separation, Status

__all__ = ["Leak", "Reconstruction"]


class Leak(Metric):
    """``10 log10(|target|² / |mixture|²)`` where the prompted sound is absent; lower is better, all channels summed.

    Applies only to items with a silent reference. A silent estimate is correct: -inf with status ``both_silent``. With
    a silent mixture the score is undefined.
    """

    columns = metric_ids_of("sam_audio_bench.metrics.levels:Leak")
    in_blocks = True

    def score(self, items: Sequence[Item], separations: Sequence[Separation]) -> list[Row]:
        """Returns one score per item, dB, at least `FLOOR_DB` if any sound is output; None if the target is present."""
        return [(self._leak(item, separation),) for item, separation in zip(items, separations, strict=True)]

    def _leak(self, item: Item, separation: Separation) -> Score | None:
        if not has_silent_reference(item):
            return None
        mixture, target = _mixture(item, separation), separation.target
        if (mixture.samples.shape, mixture.rate) != (target.samples.shape, target.rate):
            return Score(None, Status.LENGTH_MISMATCH)
        status = functional.classify(mixture.samples, target.samples)
        if status is Status.SILENT_ESTIMATE:
            return Score(-math.inf, Status.BOTH_SILENT)
        if status is not Status.OK:
            return Score(None, Status.SILENT_REFERENCE if status is Status.BOTH_SILENT else status)
        return Score(max(FLOOR_DB, _energy_db(target) - _energy_db(mixture)), Status.OK)


class Reconstruction(Metric):
    """``10 log10(|mixture|² / |mixture - target - residual|²)``, all channels summed; for every item.

    An exact reconstruction scores +inf with status ``perfect``. Target and residual that sum to silence score
    `FLOOR_DB` with status ``silent_estimate``; with a silent mixture the score is undefined.
    """

    columns = metric_ids_of("sam_audio_bench.metrics.levels:Reconstruction")
    in_blocks = True

    def score(self, items: Sequence[Item], separations: Sequence[Separation]) -> list[Row]:
        """Returns one ratio per item, dB: the `functional.snr` of target + residual with respect to the mixture."""
        return [(_reconstruction(item, separation),) for item, separation in zip(items, separations, strict=True)]


def _reconstruction(item: Item, separation: Separation) -> Score:
    parts = (_mixture(item, separation), separation.target, separation.residual)
    if len({part.rate for part in parts}) > 1 or len({part.samples.shape for part in parts}) > 1:
        return Score(None, Status.LENGTH_MISMATCH)
    mixture = parts[0].samples
    summed = apply_blockwise(lambda one, other: one.double() + other.double(), parts[1].samples, parts[2].samples)
    status = functional.classify(mixture, summed)
    if status not in (Status.OK, Status.SILENT_ESTIMATE):
        return Score(None, status)
    value = float(functional.snr(reference=mixture.flatten(), estimate=summed.flatten()))
    return Score(value, Status.PERFECT if value == math.inf else status)


def _mixture(item: Item, separation: Separation) -> Audio:
    """Returns the mixture; averaged over channels if the estimate is mono."""
    mixture = item.query.mixture
    return to_mono(mixture) if separation.target.channels == 1 else mixture


def _energy_db(audio: Audio) -> float:
    return 10 * math.log10(float(functional.energy(audio.samples).sum()))
