"""Scores from 0 to 100 that are reported in music separation: bleedless, fullness and others."""

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
    """Compares the target estimate with the reference, item by item, at the signals' own level and rate.

    The formulas do not treat silence specially, and most reward it: `bleedless` would be 100 of 100, `k_sdr` 79. Here a
    silent estimate of a sound has the lowest value, 0, with status ``silent_estimate``, and with a silent reference the
    score is undefined. A score of 100 is ``perfect``, except for `k_sdr`, which reaches it at 10 dB.

    Args:
        stereo: one of `catalogue.STEREO`; "joint" is the definition. Under "mean", channels whose reference is silent
            are excluded, and channels in which only the estimate is silent count as 0.
    """

    in_blocks = True
    shortest: ClassVar[int] = 1  # minimum number of samples: the longest frame

    @abstractmethod
    def measure(self, reference: Tensor, estimate: Tensor) -> Sequence[float]:
        """Returns one value per column, of two signals ``[channels, time]`` that are not silent."""

    def score(self, items: Sequence[Item], separations: Sequence[Separation]) -> list[Row]:
        """Returns one row per item; of None for an item without a reference."""
        return [self._row(item, separation) for item, separation in zip(items, separations, strict=True)]

    def _row(self, item: Item, separation: Separation) -> Row:
        if item.reference is None:
            return self._uniform_row(None)
        signals = self._comparable_signals(item.reference, separation.target)
        if signals is None:
            return self._uniform_row(Status.LENGTH_MISMATCH)
        reference, estimate = (audio.samples for audio in signals)
        status = classify(reference, estimate)
        if status is not Status.OK:
            return self._uniform_row(status, _LOWEST if status is Status.SILENT_ESTIMATE else None)
        if reference.shape[1] < self.shortest:
            return self._uniform_row(Status.TOO_SHORT)
        values = zip(self.columns, self._measure_channels(reference, estimate), strict=True)
        return tuple(Score(value, _status(CARDS[column].best, value)) for column, value in values)

    def _measure_channels(self, reference: Tensor, estimate: Tensor) -> Sequence[float]:
        if self.stereo != "mean":
            return self.measure(reference, estimate)
        found = []
        for truth, given in zip(reference[:, None], estimate[:, None], strict=True):
            status = classify(truth, given)
            if status is Status.OK:
                found.append(self.measure(truth, given))
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
        """Returns ``bleedless`` and ``fullness``."""
        return music.bleedless_and_fullness(reference=reference, estimate=estimate)


class L1Freq(_MusicMetric):
    """`functional.music.l1_freq` of the target; it depends on the level of both signals."""

    columns = metric_ids_of("sam_audio_bench.metrics.music:L1Freq")
    shortest = 2048

    def measure(self, reference: Tensor, estimate: Tensor) -> Sequence[float]:
        """Returns the value ``[1]``."""
        return [music.l1_freq(reference=reference, estimate=estimate)]


class AuraSTFT(_MusicMetric):
    """`functional.music.aura_stft` of the target."""

    columns = metric_ids_of("sam_audio_bench.metrics.music:AuraSTFT")
    shortest = 1024

    def measure(self, reference: Tensor, estimate: Tensor) -> Sequence[float]:
        """Returns the value ``[1]``."""
        return [music.aura_stft(reference=reference, estimate=estimate)]


class AuraMRSTFT(_MusicMetric):
    """`functional.music.aura_mrstft` of the target; a long sound is held in memory as a whole for A-weighting."""

    columns = metric_ids_of("sam_audio_bench.metrics.music:AuraMRSTFT")
    shortest = 4096
    in_blocks = False

    def measure(self, reference: Tensor, estimate: Tensor) -> Sequence[float]:
        """Returns the value ``[1]``."""
        return [music.aura_mrstft(reference=reference, estimate=estimate)]


class KSDR(_MusicMetric):
    """`functional.music.k_sdr` of the target."""

    columns = metric_ids_of("sam_audio_bench.metrics.music:KSDR")

    def measure(self, reference: Tensor, estimate: Tensor) -> Sequence[float]:
        """Returns the value ``[1]``."""
        return [music.k_sdr(reference=reference, estimate=estimate)]
