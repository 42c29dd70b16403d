"""`si_sdr_pit` and `pit_swapped`: permutation-invariant SI-SDR of target and residual, and the permutation."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from sam_audio_bench.blocks import stack_signals
from sam_audio_bench.metrics import functional
from sam_audio_bench.metrics.base import Metric, Row
from sam_audio_bench.metrics.catalogue import FLOOR_DB, metric_ids_of
from sam_audio_bench.metrics.ratios import mean_db
from sam_audio_bench.types import Audio, Item, Score, Separation, Status

__all__ = ["PermutedSISDR"]


class PermutedSISDR(Metric):
    """Mean `functional.si_sdr` of target and residual in the better order, and whether that order swaps them.

    For speakers: the first column measures how well the voices were separated, the second is 1 if the target estimate
    is the other voice, so that the order is recorded with the score (Yu et al., ICASSP 2017). All channels share one
    gain.
    """

    columns = metric_ids_of("sam_audio_bench.metrics.permutation:PermutedSISDR")
    in_blocks = True

    def score(self, items: Sequence[Item], separations: Sequence[Separation]) -> list[Row]:
        """Returns rows in the order of the items; of None for an item without both references."""
        return [self._row(item, separation) for item, separation in zip(items, separations, strict=True)]

    def _row(self, item: Item, separation: Separation) -> Row:
        if item.reference is None or item.residual_reference is None:
            return self._uniform_row(None)
        references, estimates = (item.reference, item.residual_reference), (separation.target, separation.residual)
        if len({(audio.rate, audio.samples.shape) for audio in (*references, *estimates)}) > 1:
            return self._uniform_row(Status.LENGTH_MISMATCH)
        truth, given = _flat(references), _flat(estimates)
        statuses = {functional.classify(reference, given) for reference in truth}
        if statuses != {Status.OK}:
            (worst, *_) = sorted(statuses - {Status.OK}, key=list(Status).index)
            silent = statuses == {Status.SILENT_ESTIMATE}
            return Score(FLOOR_DB if silent else None, worst), Score(None, worst)
        best = functional.permuted(functional.si_sdr, reference=truth, estimate=given)
        value = mean_db(best.scores)
        order = Score(float(best.assignment[0]), Status.OK)
        return Score(value, Status.PERFECT if value == math.inf else Status.OK), order


def _flat(signals: Sequence[Audio]) -> Tensor:
    """Returns the signals as ``[signals, channels * time]``."""
    return stack_signals([audio.samples for audio in signals]).flatten(1)
