"""Levels against the mixture: what is given out when nothing should be, and what is lost when all is summed."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sam_audio_bench.audio import to_mono
from sam_audio_bench.blocks import apply_blockwise
from sam_audio_bench.metrics import functional
from sam_audio_bench.metrics.base import Metric, Row, known_absent
from sam_audio_bench.metrics.catalogue import FLOOR_DB, metric_ids_of
from sam_audio_bench.types import Audio, Item, Score, Separation, Status

__all__ = ["Leak", "Reconstruction"]


class Leak(Metric):
    """``10 log10(|target|² / |mixture|²)`` where the prompted sound is absent; lower is better, all channels summed.

    Asked only of items with a silent reference. A silent answer is the correct one: -inf with status ``both_silent``.
    A silent mixture leaves it undefined.
    """

    columns = metric_ids_of("sam_audio_bench.metrics.levels:Leak")
    in_blocks = True

    def score(self, items: Sequence[Item], separations: Sequence[Separation]) -> list[Row]:
        """One leak an item, dB, at least `FLOOR_DB` when any sound is given out; None where the target is present."""
        return [(self._leak(item, answer),) for item, answer in zip(items, separations, strict=True)]

    def _leak(self, item: Item, answer: Separation) -> Score | None:
        if not known_absent(item):
            return None
        mixture, target = _mixture(item, answer), answer.target
        if (mixture.samples.shape, mixture.rate) != (target.samples.shape, target.rate):
            return Score(None, Status.LENGTH_MISMATCH)
        status = functional.classify(mixture.samples, target.samples)
        if status is Status.SILENT_ESTIMATE:
            return Score(-math.inf, Status.BOTH_SILENT)
        if status is not Status.OK:
            return Score(None, Status.SILENT_REFERENCE if status is Status.BOTH_SILENT else status)
        return Score(max(FLOOR_DB, _energy_db(target) - _energy_db(mixture)), Status.OK)


class Reconstruction(Metric):
    """``10 log10(|mixture|² / |mixture - target - residual|²)``, all channels summed; asked of every item.

    Nothing lost is +inf with status ``perfect``. Target and residual that sum to silence get `FLOOR_DB` with status
    ``silent_estimate``; a silent mixture leaves it undefined.
    """

    columns = metric_ids_of("sam_audio_bench.metrics.levels:Reconstruction")
    in_blocks = True

    def score(self, items: Sequence[Item], separations: Sequence[Separation]) -> list[Row]:
        """One ratio an item, dB, the `functional.snr` of target + residual against the mixture."""
        return [(_reconstruction(item, answer),) for item, answer in zip(items, separations, strict=True)]


def _reconstruction(item: Item, answer: Separation) -> Score:
    parts = (_mixture(item, answer), answer.target, answer.residual)
    if len({part.rate for part in parts}) > 1 or len({part.samples.shape for part in parts}) > 1:
        return Score(None, Status.LENGTH_MISMATCH)
    mixture = parts[0].samples
    summed = apply_blockwise(lambda one, other: one.double() + other.double(), parts[1].samples, parts[2].samples)
    status = functional.classify(mixture, summed)
    if status not in (Status.OK, Status.SILENT_ESTIMATE):
        return Score(None, status)
    value = float(functional.snr(reference=mixture.flatten(), estimate=summed.flatten()))
    return Score(value, Status.PERFECT if value == math.inf else status)


def _mixture(item: Item, answer: Separation) -> Audio:
    """The mixture; averaged over channels for an answer in mono."""
    mixture = item.query.mixture
    return to_mono(mixture) if answer.target.channels == 1 else mixture


def _energy_db(audio: Audio) -> float:
    return 10 * math.log10(float(functional.energy(audio.samples).sum()))
