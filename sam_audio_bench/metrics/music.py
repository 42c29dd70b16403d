"""Scores from 0 to 100 that music separation quotes: bleedless, fullness and their relatives."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from statistics import fmean
from typing import ClassVar

from torch import Tensor

from sam_audio_bench.metrics.base import Row, StereoMetric
from sam_audio_bench.metrics.catalogue import CARDS, metric_ids_of
from sam_audio_bench.metrics.functional import music
from sam_audio_bench.metrics.functional.energy import classify
from sam_audio_bench.types import Item, Score, Separation, Status

__all__ = ["KSDR", "AuraMRSTFT", "AuraSTFT", "BleedlessFullness", "L1Freq"]

_LOWEST = 0.0
_ROUNDING = 1e-9


class _MusicMetric(StereoMetric):
    """Compares the target with the reference, every item alone, at its own level and rate.

    The formulas know no silence, and most of them like it: `bleedless` would give it 100 of 100, `k_sdr` 79. Here a
    silent answer to a real sound has the lowest value, 0, with status ``silent_estimate``, and a silent reference
    leaves a score undefined. What reaches 100 is ``perfect``, but of `k_sdr`, where 10 dB do.

    Args:
        stereo: one of `catalogue.STEREO`; "joint" is the definition. Under "mean", channels whose reference is silent
            are left out, and channels where only the answer is silent count as 0.
    """

    in_blocks = True
    shortest: ClassVar[int] = 1  # samples below which not even the longest frame is filled

    @abstractmethod
    def measure(self, reference: Tensor, estimate: Tensor) -> Sequence[float]:
        """One value a column, of two signals ``[channels, time]`` that sound."""

    def score(self, items: Sequence[Item], separations: Sequence[Separation]) -> list[Row]:
        """One row an item; an item without a reference is not asked."""
        return [self._row(item, answer) for item, answer in zip(items, separations, strict=True)]

    def _row(self, item: Item, answer: Separation) -> Row:
        if item.reference is None:
            return self._all(None)
        signals = self._comparable(item.reference, answer.target)
        if signals is None:
            return self._all(Status.LENGTH_MISMATCH)
        reference, estimate = (audio.samples for audio in signals)
        status = classify(reference, estimate)
        if status is not Status.OK:
            return self._all(status, _LOWEST if status is Status.SILENT_ESTIMATE else None)
        if reference.shape[1] < self.shortest:
            return self._all(Status.TOO_SHORT)
        values = zip(self.columns, self._measured(reference, estimate), strict=True)
        return tuple(Score(value, _status(CARDS[column].best, value)) for column, value in values)

    def _measured(self, reference: Tensor, estimate: Tensor) -> Sequence[float]:
        if self.stereo != "mean":
            return self.measure(reference, estimate)
        found = []
        for wanted, given in zip(reference[:, None], estimate[:, None], strict=True):
            status = classify(wanted, given)
            if status is Status.OK:
                found.append(self.measure(wanted, given))
            elif status is Status.SILENT_ESTIMATE:
                found.append([_LOWEST] * len(self.columns))
        return [fmean(column) for column in zip(*found, strict=True)]


def _status(best: float | None, value: float) -> Status:
    return Status.PERFECT if best is not None and value > best - _ROUNDING else Status.OK


class BleedlessFullness(_MusicMetric):
    """`functional.music.bleedless_and_fullness` of the target."""

    columns = metric_ids_of("sam_audio_bench.metrics.music:BleedlessFullness")
    shortest = 4096

    def measure(self, reference: Tensor, estimate: Tensor) -> Sequence[float]:
        """``bleedless`` and ``fullness``."""
        return music.bleedless_and_fullness(reference=reference, estimate=estimate)


class L1Freq(_MusicMetric):
    """`functional.music.l1_freq` of the target; it depends on the level of both signals."""

    columns = metric_ids_of("sam_audio_bench.metrics.music:L1Freq")
    shortest = 2048

    def measure(self, reference: Tensor, estimate: Tensor) -> Sequence[float]:
        """The value ``[1]``."""
        return [music.l1_freq(reference=reference, estimate=estimate)]


class AuraSTFT(_MusicMetric):
    """`functional.music.aura_stft` of the target."""

    columns = metric_ids_of("sam_audio_bench.metrics.music:AuraSTFT")
    shortest = 1024

    def measure(self, reference: Tensor, estimate: Tensor) -> Sequence[float]:
        """The value ``[1]``."""
        return [music.aura_stft(reference=reference, estimate=estimate)]


class AuraMRSTFT(_MusicMetric):
    """`functional.music.aura_mrstft` of the target; a long sound is held as a whole while it is weighted."""

    columns = metric_ids_of("sam_audio_bench.metrics.music:AuraMRSTFT")
    shortest = 4096
    in_blocks = False

    def measure(self, reference: Tensor, estimate: Tensor) -> Sequence[float]:
        """The value ``[1]``."""
        return [music.aura_mrstft(reference=reference, estimate=estimate)]


class KSDR(_MusicMetric):
    """`functional.music.k_sdr` of the target."""

    columns = metric_ids_of("sam_audio_bench.metrics.music:KSDR")

    def measure(self, reference: Tensor, estimate: Tensor) -> Sequence[float]:
        """The value ``[1]``."""
        return [music.k_sdr(reference=reference, estimate=estimate)]
