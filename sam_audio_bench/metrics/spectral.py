"""Spectral metrics: the multi-resolution STFT distance, and logWMSE, the frequency-weighted error."""

from __future__ import annotations

import importlib.util
import math
import warnings
from abc import abstractmethod
from collections.abc import Sequence
from statistics import fmean

from torch import Tensor

from sam_audio_bench.audio import resample
from sam_audio_bench.errors import Precondition, UsageError
from sam_audio_bench.identity import Options
from sam_audio_bench.metrics.base import Row, StereoMetric
from sam_audio_bench.metrics.catalogue import metric_ids_of
from sam_audio_bench.metrics.functional.energy import classify, is_silent
from sam_audio_bench.metrics.functional.spectral import LEVELS, MIN_SAMPLES, mrstft
from sam_audio_bench.types import Audio, Item, Score, Separation, Status

__all__ = ["MRSTFT", "LogWMSE"]


class _SpectralMetric(StereoMetric):
    """Base class of one-column metrics that compare the target estimate with the reference, item by item.

    Args:
        stereo: "joint": see the subclass; "mean": mean of the channels' values; "mono": channels averaged first.
    """

    def score(self, items: Sequence[Item], separations: Sequence[Separation]) -> list[Row]:
        """Returns one value per item; None for an item without a reference."""
        if reason := self.missing():
            raise Precondition(reason)
        return [(self._one(item, separation),) for item, separation in zip(items, separations, strict=True)]

    def _one(self, item: Item, separation: Separation) -> Score | None:
        if item.reference is None:
            return None
        signals = self._comparable_signals(item.reference, separation.target, item.query.mixture)
        return Score(None, Status.LENGTH_MISMATCH) if signals is None else self._rate(*signals)

    @abstractmethod
    def _rate(self, reference: Audio, estimate: Audio, mixture: Audio) -> Score:
        """Returns the score of signals of one shape and rate."""


class MRSTFT(_SpectralMetric):
    """`functional.spectral.mrstft` of the target at the item's own rate; lower is better, 0 is ``perfect``.

    With a silent reference it is undefined. A silent estimate, status ``silent_estimate``, has the formula's value,
    which the floor makes finite, or the mixture's if that is larger: silence never scores better than the unprocessed
    mixture. By the formula it would if the sound is rare, because it matches the silence around it; an almost silent
    estimate still does. Under "joint" sums are over all channels; under "mean", channels whose reference is silent are
    excluded.

    Args:
        stereo: one of `catalogue.STEREO`.
        level: one of `functional.spectral.LEVELS`; "full_scale" reproduces auraloss's values.
    """

    columns = metric_ids_of("sam_audio_bench.metrics.spectral:MRSTFT")
    in_blocks = True

    def __init__(self, stereo: str = "joint", level: str = "reference") -> None:
        super().__init__(stereo)
        if level not in LEVELS:
            raise UsageError(f"expected level to be one of {', '.join(LEVELS)}, found {level!r}")
        self.level = level

    @property
    def options(self) -> Options:
        """Options that change the values, for ``run.json``."""
        return {**super().options, "level": self.level}

    def _rate(self, reference: Audio, estimate: Audio, mixture: Audio) -> Score:
        status = classify(reference.samples, estimate.samples)
        if status not in (Status.OK, Status.SILENT_ESTIMATE):
            return Score(None, status)
        if reference.length < MIN_SAMPLES:
            return Score(None, Status.TOO_SHORT)
        value = self._distance(reference, estimate)
        if status is Status.SILENT_ESTIMATE:
            value = max(value, self._distance(reference, mixture))
        return Score(value, Status.PERFECT if value == 0 else status)

    def _distance(self, reference: Audio, estimate: Audio) -> float:
        truth, given = reference.samples, estimate.samples
        if self.stereo == "mean":
            truth, given = truth[:, None], given[:, None]
        return float(mrstft(reference=truth, estimate=given, level=self.level).nanmean())


class LogWMSE(_SpectralMetric):
    """logWMSE: ``-4 ln(mse + 1e-8)`` of the frequency-weighted error at 44.1 kHz, over the mixture's weighted level.

    Computed by the library log-wmse-audio-quality 0.2 (Jordal, Nomono 2023); higher is better, at most 73.68, which is
    ``perfect``: errors more than 68 dB below the mixture do not count.

    Absent targets are included: a silent reference is scored like any other, and a silent estimate of it is 73.68 with
    status ``both_silent``. A silent estimate of a sound, ``silent_estimate``, has its value or the mixture's if that is
    smaller: silence never scores better than the unprocessed mixture, as it would if the sound is the weaker part of
    it. With a silent mixture the score is undefined, ``silent_reference``. Under "joint" and "mean" channels are scored
    separately and averaged, as the library does, without those in which the mixture is silent.

    Args:
        stereo: one of `catalogue.STEREO`.
    """

    columns = metric_ids_of("sam_audio_bench.metrics.spectral:LogWMSE")

    def missing(self) -> str | None:
        """Returns how to install the library, if it is missing; not an extra, since it needlessly pins soxr below 1."""
        if importlib.util.find_spec("log_wmse_audio_quality"):
            return None
        return "log-wmse-audio-quality is not installed: pip install --no-deps log-wmse-audio-quality"

    def _rate(self, reference: Audio, estimate: Audio, mixture: Audio) -> Score:
        status = classify(reference.samples, estimate.samples)
        if status is Status.NON_FINITE:
            return Score(None, status)
        if bool(is_silent(mixture.samples.flatten())):
            return Score(None, Status.SILENT_REFERENCE)
        mixed, given, truth = (self._normalized(audio, mixture) for audio in (mixture, estimate, reference))
        sounding = ~is_silent(mixed)
        if not bool(sounding.any()):  # resampling leaves nothing of a clip of a few samples
            return Score(None, Status.TOO_SHORT)
        value = _log_wmse(mixed[sounding], given[sounding], truth[sounding])
        if status is Status.SILENT_ESTIMATE:
            value = min(value, _log_wmse(mixed[sounding], mixed[sounding], truth[sounding]))
        elif status is not Status.BOTH_SILENT:
            status = Status.PERFECT if value > _CEILING - 1e-6 else Status.OK
        return Score(value, status)

    @staticmethod
    def _normalized(audio: Audio, mixture: Audio) -> Tensor:
        """Converts to the library's rate, and to a level at which its float32 loses no precision."""
        level = mixture.samples.double().abs().max()
        return resample(Audio(audio.samples.double() / level, audio.rate), _LOG_WMSE_RATE).samples


_LOG_WMSE_RATE = 44_100
_CEILING = -4 * math.log(1e-8)


def _log_wmse(mixture: Tensor, estimate: Tensor, reference: Tensor) -> float:
    """Returns the mean of the library's values over the channels of ``[channels, time]``."""
    from log_wmse_audio_quality import calculate_log_wmse

    signals = [signal.float().numpy() for signal in (mixture, estimate, reference)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy deprecates how the library reads its filter
        channels = zip(*signals, strict=True)
        return fmean(float(calculate_log_wmse(*channel, sample_rate=_LOG_WMSE_RATE)) for channel in channels)
