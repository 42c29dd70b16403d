"""Scores of the spectrum: the multi-resolution STFT distance, and the hearing-weighted error logWMSE."""

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
from sam_audio_bench.metrics.functional.spectral import LEVELS, SHORTEST, mrstft
from sam_audio_bench.types import Audio, Item, Score, Separation, Status

__all__ = ["MRSTFT", "LogWMSE"]


class _SpectralMetric(StereoMetric):
    """One column that compares the answer's target with the reference, every item alone.

    Args:
        stereo: "joint" as the subclass says; "mean": mean of the channels' values; "mono": channels averaged first.
    """

    def score(self, items: Sequence[Item], separations: Sequence[Separation]) -> list[Row]:
        """One value an item; an item without a reference is not asked."""
        if reason := self.missing():
            raise Precondition(reason)
        return [(self._one(item, answer),) for item, answer in zip(items, separations, strict=True)]

    def _one(self, item: Item, answer: Separation) -> Score | None:
        if item.reference is None:
            return None
        signals = self._comparable(item.reference, answer.target, item.query.mixture)
        return Score(None, Status.LENGTH_MISMATCH) if signals is None else self._rate(*signals)

    @abstractmethod
    def _rate(self, reference: Audio, estimate: Audio, mixture: Audio) -> Score:
        """The score of signals of one shape and rate."""


class MRSTFT(_SpectralMetric):
    """`functional.spectral.mrstft` of the target at the item's own rate; lower is better, 0 is ``perfect``.

    A silent reference leaves it undefined. A silent answer, status ``silent_estimate``, has the formula's value, which
    the floor makes finite, or the mixture's where that is larger: silence never beats doing nothing. By the formula it
    would wherever the sound is rare, because it matches the silence around it; an almost silent answer still does.
    Under "joint" the sums go over all channels; under "mean", channels whose reference is silent are left out.

    Args:
        stereo: one of `catalogue.STEREO`.
        level: one of `functional.spectral.LEVELS`; "full_scale" gives auraloss's values.
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
        """What changes the values, for ``run.json``."""
        return {**super().options, "level": self.level}

    def _rate(self, reference: Audio, estimate: Audio, mixture: Audio) -> Score:
        status = classify(reference.samples, estimate.samples)
        if status not in (Status.OK, Status.SILENT_ESTIMATE):
            return Score(None, status)
        if reference.length < SHORTEST:
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
    """logWMSE: ``-4 ln(mse + 1e-8)`` of the hearing-weighted error at 44.1 kHz, over the mixture's weighted level.

    Computed by the library log-wmse-audio-quality 0.2 (Jordal, Nomono 2023); higher is better, at most 73.68, which is
    ``perfect``: errors more than 68 dB below the mixture do not count as any.

    Absent targets are in: a silent reference is scored like any other, and a silent answer to it is 73.68 with status
    ``both_silent``. A silent answer to a real sound, ``silent_estimate``, has its value or the mixture's where that is
    smaller: silence never beats doing nothing, as it would where the sound is the weaker part of the mixture. Where
    the mixture is silent nothing can be asked: undefined, ``silent_reference``. Under "joint" and "mean" channels are
    scored alone and averaged, as the library does, without those in which the mixture is silent.

    Args:
        stereo: one of `catalogue.STEREO`.
    """

    columns = metric_ids_of("sam_audio_bench.metrics.spectral:LogWMSE")

    def missing(self) -> str | None:
        """Whether the library is absent; it is no extra because it pins soxr below 1, which it then does not need."""
        if importlib.util.find_spec("log_wmse_audio_quality"):
            return None
        return "log-wmse-audio-quality is not installed: pip install --no-deps log-wmse-audio-quality"

    def _rate(self, reference: Audio, estimate: Audio, mixture: Audio) -> Score:
        status = classify(reference.samples, estimate.samples)
        if status is Status.NON_FINITE:
            return Score(None, status)
        if bool(is_silent(mixture.samples.flatten())):
            return Score(None, Status.SILENT_REFERENCE)
        sounds, found, wanted = (self._prepared(audio, mixture) for audio in (mixture, estimate, reference))
        heard = ~is_silent(sounds)
        if not bool(heard.any()):  # nothing is left of a clip of a few samples
            return Score(None, Status.TOO_SHORT)
        value = _log_wmse(sounds[heard], found[heard], wanted[heard])
        if status is Status.SILENT_ESTIMATE:
            value = min(value, _log_wmse(sounds[heard], sounds[heard], wanted[heard]))
        elif status is not Status.BOTH_SILENT:
            status = Status.PERFECT if value > _CEILING - 1e-6 else Status.OK
        return Score(value, status)

    @staticmethod
    def _prepared(audio: Audio, mixture: Audio) -> Tensor:
        """At the library's rate, and at a level at which its float32 loses nothing."""
        level = mixture.samples.double().abs().max()
        return resample(Audio(audio.samples.double() / level, audio.rate), _LOG_WMSE_RATE).samples


_LOG_WMSE_RATE = 44_100
_CEILING = -4 * math.log(1e-8)


def _log_wmse(mixture: Tensor, estimate: Tensor, reference: Tensor) -> float:
    """Mean of the library's values for the channels of ``[channels, time]`` each."""
    from log_wmse_audio_quality import calculate_log_wmse

    signals = [signal.float().numpy() for signal in (mixture, estimate, reference)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # reading its filter is deprecated in numpy
        channels = zip(*signals, strict=True)
        return fmean(float(calculate_log_wmse(*channel, sample_rate=_LOG_WMSE_RATE)) for channel in channels)
