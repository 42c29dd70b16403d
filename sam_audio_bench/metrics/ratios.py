"""The SDR family as metrics: the score of the estimate, and its improvement over the mixture.

The functions are in `functional`; this module adds the statuses, stereo policies and improvements that they share.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from sam_audio_bench.blocks import apply_blockwise, is_long, stack_signals
from sam_audio_bench.metrics import functional
from sam_audio_bench.metrics.base import Row, StereoMetric
from sam_audio_bench.metrics.catalogue import CAP_DB, FLOOR_DB, metric_ids_of
from sam_audio_bench.types import Audio, Item, Score, Separation, Status

__all__ = ["SASDR", "SDSDR", "SISDR", "SISNR", "SNR", "ReferenceMetric", "improvement", "mean_db"]


class ReferenceMetric(StereoMetric):
    """Compares estimates with references; ``columns`` are pairs of a quantity and its improvement.

    Every item is scored separately, so that no value depends on other items.

    Args:
        stereo: one of `catalogue.STEREO`. Under "mean", channels whose reference is silent are excluded, and a perfect
            channel among others counts as `catalogue.CAP_DB`.
    """

    in_blocks = True
    sources: ClassVar[int] = 1  # number of compared sources: 1, the target; 2, target and residual
    required_sources: ClassVar[int] = 1  # of these sources; if all of them are silent, the score is undefined

    @abstractmethod
    def measure(self, references: Tensor, estimates: Tensor, rate: int) -> Tensor:
        """Computes the scores of all channels together.

        Args:
            references: ``[sources, channels, time]``, the target first.
            estimates: ``[systems, sources, channels, time]``, of one or more systems on the same item.
            rate: sampling rate in Hz.

        Returns:
            ``[systems, quantities]``, dB; NaN if the residual reference is silent and the quantity needs it.
        """

    def prepare(self, signals: Tensor) -> Tensor:
        """Preprocesses signals ``[sources, channels, time]``; conversion to float64 is left to the functions."""
        return signals

    def shortest(self, channels: int) -> int:
        """Returns the minimum number of samples for the score to be defined."""
        return 1

    def score(self, items: Sequence[Item], separations: Sequence[Separation]) -> list[Row]:
        """Returns rows in the order of the items; of None for an item without the required references."""
        return [self._row(item, separation) for item, separation in zip(items, separations, strict=True)]

    def _row(self, item: Item, separation: Separation) -> Row:
        references = [audio for audio in (item.reference, item.residual_reference)[: self.sources] if audio is not None]
        if len(references) < self.sources:
            return self._uniform_row(None)
        systems = [[separation.target, separation.residual][: self.sources]]
        improving = not set(self.requested).isdisjoint(self.columns[1::2])
        if improving:
            systems.append([item.query.mixture] * self.sources)
        scores = self._rate(references, systems)
        gains = list(map(improvement, *scores)) if improving else [None] * len(scores[0])
        return tuple(score for pair in zip(scores[0], gains, strict=True) for score in pair)

    def _rate(self, references: Sequence[Audio], systems: Sequence[Sequence[Audio]]) -> list[list[Score]]:
        """Returns the scores of every quantity of every system, measured if the status of its signals is ok."""
        truth = self._stack(references)
        given = [self._stack(estimates) for estimates in systems]
        rates = [{audio.rate for audio in (*references, *estimates)} for estimates in systems]
        statuses = [self._status(truth, found, rate) for found, rate in zip(given, rates, strict=True)]
        sounding = [e for e, status in zip(given, statuses, strict=True) if e is not None and status is Status.OK]
        rate = references[0].rate
        measured = iter(self._measured(truth, sounding, rate) if truth is not None and sounding else [])
        quantities = len(self.columns) // 2
        return [
            [_score(value) for value in next(measured)]
            if status is Status.OK
            else [Score(FLOOR_DB if status is Status.SILENT_ESTIMATE else None, status)] * quantities
            for status in statuses
        ]

    def _stack(self, signals: Sequence[Audio]) -> Tensor | None:
        """Stacks signals to ``[sources, channels, time]``; None if the shapes differ."""
        tensors = [audio.samples for audio in signals]
        if self.stereo == "mono":
            tensors = [apply_blockwise(_mean_channel, samples) for samples in tensors]
        return self.prepare(stack_signals(tensors)) if len({samples.shape for samples in tensors}) == 1 else None

    def _status(self, truth: Tensor | None, given: Tensor | None, rates: set[int]) -> Status:
        if truth is None or given is None or truth.shape != given.shape or len(rates) > 1:
            return Status.LENGTH_MISMATCH
        status = functional.classify(truth[: self.required_sources], given[: self.required_sources])
        others = functional.classify(truth[self.required_sources :], given[self.required_sources :])
        if others is Status.NON_FINITE:
            return others
        return Status.TOO_SHORT if status is Status.OK and truth.shape[2] < self.shortest(truth.shape[1]) else status

    def _measured(self, references: Tensor, systems: Sequence[Tensor], rate: int) -> list[list[float]]:
        """Returns the scores of systems ``[sources, channels, time]``; long signals are scored one system at a time."""
        if not is_long(*systems):
            return self._measure(references, torch.stack(list(systems)), rate)
        return [row for system in systems for row in self._measure(references, system[None], rate)]

    def _measure(self, references: Tensor, estimates: Tensor, rate: int) -> list[list[float]]:
        if self.stereo != "mean":
            values: list[list[float]] = self.measure(references, estimates, rate).tolist()
            return values
        channels = zip(references.unbind(1), estimates.unbind(2), strict=True)
        scores = torch.stack([self.measure(r[:, None], e[:, :, None], rate) for r, e in channels], dim=-1)
        return [[mean_db(quantity) for quantity in system] for system in scores]


def _mean_channel(samples: Tensor) -> Tensor:
    return samples.double().mean(dim=0, keepdim=True)


def improvement(score: Score, baseline: Score) -> Score:
    """Returns the score of the estimate minus that of the mixture, at least `FLOOR_DB`; exactly 0 if they are equal.

    The score of a silent or undefined estimate is returned unchanged, however bad the mixture. If the mixture is
    perfect, as it is for artefacts, any other estimate is infinitely worse: undefined with status ``perfect``, since
    -100 dB would be arbitrary.
    """
    if score.value is None or score.status is Status.SILENT_ESTIMATE:
        return score
    if baseline.value is None:
        return baseline
    if score.value == baseline.value:  # also where both are infinite
        return Score(0.0, Status.OK)
    if baseline.value == math.inf:
        return Score(None, Status.PERFECT)
    return _score(max(score.value - baseline.value, FLOOR_DB))


def _score(value: float) -> Score:
    """Returns the score of a value; NaN of signals that are not silent means that the residual reference is silent."""
    if math.isnan(value):
        return Score(None, Status.SILENT_REFERENCE)
    return Score(value, Status.PERFECT if value == math.inf else Status.OK)


def mean_db(values: Tensor) -> float:
    """Returns the mean of the defined values: inf if all are, else +inf counts as `CAP_DB`; NaN if there are none."""
    defined = values[~values.isnan()]
    if len(defined) == 0 or bool(defined.isposinf().all()):
        return float(defined.sum()) if len(defined) else math.nan
    return float(defined.masked_fill(defined.isposinf(), CAP_DB).mean())


def _target_pair(references: Tensor, estimates: Tensor) -> dict[str, Tensor]:
    """Returns the target and every system's estimate of it, channels concatenated: ``[systems, time]`` each."""
    estimate = estimates[:, 0].flatten(1)
    return {"reference": references[0].flatten().expand_as(estimate), "estimate": estimate}


class SNR(ReferenceMetric):
    """`functional.snr` of the target, over all channels."""

    columns = metric_ids_of("sam_audio_bench.metrics.ratios:SNR")

    def measure(self, references: Tensor, estimates: Tensor, rate: int) -> Tensor:
        """Returns the ratio ``[systems, 1]``."""
        return functional.snr(**_target_pair(references, estimates))[:, None]


class SISDR(ReferenceMetric):
    """`functional.si_sdr` of the target, one gain for all channels."""

    columns = metric_ids_of("sam_audio_bench.metrics.ratios:SISDR")

    def measure(self, references: Tensor, estimates: Tensor, rate: int) -> Tensor:
        """Returns the ratio ``[systems, 1]``."""
        return functional.si_sdr(**_target_pair(references, estimates))[:, None]


class SISNR(SISDR):
    """`functional.si_snr` of the target: the mean of each channel is removed, then `SISDR`."""

    columns = metric_ids_of("sam_audio_bench.metrics.ratios:SISNR")

    def prepare(self, signals: Tensor) -> Tensor:
        """Removes the mean of each channel."""
        return functional.centred(signals)


class SDSDR(ReferenceMetric):
    """`functional.sd_sdr` of the target, one gain for all channels."""

    columns = metric_ids_of("sam_audio_bench.metrics.ratios:SDSDR")

    def measure(self, references: Tensor, estimates: Tensor, rate: int) -> Tensor:
        """Returns the ratio ``[systems, 1]``."""
        return functional.sd_sdr(**_target_pair(references, estimates))[:, None]


class SASDR(ReferenceMetric):
    """`functional.sa_sdr` of target and residual, over all channels: defined unless both references are silent."""

    columns = metric_ids_of("sam_audio_bench.metrics.ratios:SASDR")
    sources = 2
    required_sources = 2

    def measure(self, references: Tensor, estimates: Tensor, rate: int) -> Tensor:
        """Returns the ratio ``[systems, 1]``."""
        estimate = estimates.flatten(2)
        return functional.sa_sdr(reference=references.flatten(1).expand_as(estimate), estimate=estimate)[:, None]
