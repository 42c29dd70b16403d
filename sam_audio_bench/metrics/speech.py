"""Perceptual scores of speech by the libraries of the extra ``[speech]``; only for tasks whose target is a voice.

Each item is scored separately, in mono: channels are averaged, whatever the run's stereo policy, so that anti-phase
channels count as silent. Signals are converted to the model's rate by `audio.resample`, for STOI by its own package. An
item that a library rejects keeps its row, with a status and without a value; neither exceptions nor the libraries'
placeholder values are passed on.

A silent estimate of a voice has the lowest value of the scale, with status ``silent_estimate``; the libraries reject
it, and excluding it would reward silence. With a silent reference every score is undefined.
"""

from __future__ import annotations

import importlib.util
import statistics
import warnings
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sam_audio_bench.audio import resample, to_mono
from sam_audio_bench.blocks import apply_blockwise
from sam_audio_bench.errors import Precondition
from sam_audio_bench.identity import Options
from sam_audio_bench.metrics.base import Metric, Row
from sam_audio_bench.metrics.catalogue import metric_ids_of
from sam_audio_bench.metrics.functional.energy import classify
from sam_audio_bench.types import Audio, Item, Score, Separation, Status

__all__ = ["DNSMOS", "PESQ", "STOI", "SpeechMetric"]

Signal = NDArray[np.float64]


class SpeechMetric(Metric):
    """Base class of speech metrics: converts to mono at one rate, and turns errors of libraries into statuses."""

    library: ClassVar[str]  # the distribution whose version the values depend on
    imports: ClassVar[tuple[str, ...]]  # modules that must be importable
    remedy: ClassVar[str] = "pip install 'sam-audio-bench[speech]'"  # command that installs them
    rate: ClassVar[int]  # Hz
    shortest: ClassVar[float] = 0.25  # s; PESQ's limit, by default
    lowest: ClassVar[float]  # of the scale
    intrusive: ClassVar[bool] = True  # whether the score compares with the reference

    def missing(self) -> str | None:
        """Returns the first missing module and the command that installs it; None if there is none."""
        absent = next((name for name in self.imports if importlib.util.find_spec(name) is None), None)
        return None if absent is None else f"{absent} is not installed: {self.remedy}"

    @property
    def options(self) -> Options:
        """Options that change the values, for ``run.json``: the library's version."""
        try:
            return {self.library: version(self.library)}
        except PackageNotFoundError:
            return {}

    def score(self, items: Sequence[Item], separations: Sequence[Separation]) -> list[Row]:
        """Returns one row per item; of None for an item without a reference, if the score needs one.

        Raises:
            Precondition: a library is not installed, see `missing`.
        """
        if reason := self.missing():
            raise Precondition(reason)
        return [self._row(item, separation) for item, separation in zip(items, separations, strict=True)]

    @abstractmethod
    def measure(self, reference: Signal, estimate: Signal) -> Sequence[Score | None]:
        """Returns one score per column for two signals ``[time]`` that are not silent; None if not requested.

        Any exception becomes the status ``error``.
        """

    def measure_item(self, item: Item, reference: Audio, estimate: Audio) -> Sequence[Score | None]:
        """Calls `measure` for mono sounds at any rate; overridden by metrics that need more of the item than audio."""
        return self.measure(self._signal(reference), self._signal(estimate))

    def _row(self, item: Item, separation: Separation) -> Row:
        estimate = to_mono(separation.target)
        reference = estimate if item.reference is None else to_mono(item.reference)
        if item.reference is None and self.intrusive:
            return self._uniform_row(None)
        if (reference.length, reference.rate) != (estimate.length, estimate.rate):
            return self._uniform_row(Status.LENGTH_MISMATCH)
        status = classify(reference.samples, estimate.samples)
        if item.reference is None and status is Status.BOTH_SILENT:  # the estimate stands in for the reference
            status = Status.SILENT_ESTIMATE
        if status is not Status.OK:
            return self._uniform_row(status, self.lowest if status is Status.SILENT_ESTIMATE else None)
        if reference.seconds < self.shortest:
            return self._uniform_row(Status.TOO_SHORT)
        try:
            with _no_warnings():
                return tuple(map(_check_finite, self.measure_item(item, reference, estimate)))
        except Exception:  # errors of a library in one item must not affect other items
            return self._uniform_row(Status.ERROR)

    def _signal(self, audio: Audio) -> Signal:
        samples: Signal = (
            resample(Audio(apply_blockwise(Tensor.double, audio.samples), audio.rate), self.rate).samples[0].numpy()
        )
        return samples


class PESQ(SpeechMetric):
    """PESQ, wideband (ITU-T P.862.2), MOS-LQO above 0.999 and up to 4.64, at 16 kHz, by the package pesq.

    The algorithm aligns the levels of both signals: gain and joint level do not matter. A reference in which it finds
    no utterance, for example one of 0.1 s, is ``silent_reference``; such an estimate is ``silent_estimate``. The
    package overflows its tables from the 51st utterance on, which kills the process: signals longer than 20 s, for
    which that becomes possible, are split into equal segments, and the score is the mean of those with a voice.
    """

    columns = metric_ids_of("sam_audio_bench.metrics.speech:PESQ")
    library = "pesq"
    imports = ("pesq",)
    rate = 16_000
    lowest = 0.999  # the limit of the mapping of P.862.2; noise scores 1.02

    def measure(self, reference: Signal, estimate: Signal) -> Sequence[Score | None]:
        """Returns the score ``[1]``."""
        count = -(-len(reference) // (20 * self.rate))
        segments = zip(np.array_split(reference, count), np.array_split(estimate, count), strict=True)
        scores = [self._score_segment(*segment) for segment in segments]
        values = [score.value for score in scores if score.value is not None]
        if not values:
            return scores[:1]
        voiced = any(score.status is Status.OK for score in scores)
        return [Score(statistics.fmean(values), Status.OK if voiced else Status.SILENT_ESTIMATE)]

    def _score_segment(self, reference: Signal, estimate: Signal) -> Score:
        import pesq

        def rate(given: Signal) -> float | None:
            try:
                return float(pesq.pesq(self.rate, reference, given, "wb")) if reference.any() else None
            except pesq.NoUtterancesError:
                return None

        if estimate.any() and (value := rate(estimate)) is not None:
            return Score(value, Status.OK)
        voiced = rate(reference) is not None
        return Score(self.lowest, Status.SILENT_ESTIMATE) if voiced else Score(None, Status.SILENT_REFERENCE)


class STOI(SpeechMetric):
    """Short-time objective intelligibility and its extended form, at 10 kHz, by the package pystoi; 1 is the best.

    Frames 40 dB below the reference's loudest are excluded; fewer than 30 remaining frames, 0.4 s, are ``too_short``.
    Both signals are divided by the reference's peak first, because the package adds a constant. `estoi` in the package
    adds noise from NumPy's global generator, which is seeded for every item and restored afterwards. Other rates are
    converted by the package's own resampler: soxr's filter is steeper, which at 8 kHz changes the scores by a few 1e-4.
    """

    columns = metric_ids_of("sam_audio_bench.metrics.speech:STOI")
    library = "pystoi"
    imports = ("pystoi",)
    rate = 10_000
    lowest = -1.0  # a mean of correlations; noise scores about 0

    def measure(self, reference: Signal, estimate: Signal) -> Sequence[Score | None]:
        """Returns ``stoi`` and ``estoi``, each only if requested."""
        peak = np.abs(reference).max()
        return [
            self._stoi(reference / peak, estimate / peak, extended=column == "estoi")
            if column in self.requested
            else None
            for column in self.columns
        ]

    def _stoi(self, reference: Signal, estimate: Signal, *, extended: bool) -> Score:
        from pystoi import stoi

        warnings.filterwarnings("error", "Not enough STFT frames", RuntimeWarning)  # pystoi warns and returns 1e-5
        try:
            with _seeded():
                return Score(float(stoi(reference, estimate, self.rate, extended=extended)), Status.OK)
        except RuntimeWarning:
            return Score(None, Status.TOO_SHORT)

    def _signal(self, audio: Audio) -> Signal:
        from pystoi.utils import resample_oct

        samples: Signal = audio.samples[0].double().numpy()
        return samples if audio.rate == self.rate else resample_oct(samples, self.rate, audio.rate)


class DNSMOS(SpeechMetric):
    """DNSMOS P.835: predicted ratings of overall quality, speech and background, 1 to 5, by the package speechmos.

    Reference-free: a reference only shows whether a voice is present. At 16 kHz, in windows of 9.01 s every second,
    averaged; a shorter estimate is repeated to that length. The level matters. Samples beyond full scale are clipped,
    as in the integer files that the model was trained on.

    Source: Reddy, Gopal and Cutler, "DNSMOS P.835", ICASSP 2022.
    """

    columns = metric_ids_of("sam_audio_bench.metrics.speech:DNSMOS")
    library = "speechmos"
    imports = ("speechmos", "onnxruntime", "librosa", "requests")  # speechmos does not declare them as requirements
    rate = 16_000
    lowest = 1.0
    intrusive = False

    def measure(self, reference: Signal, estimate: Signal) -> Sequence[Score | None]:
        """Returns the ratings in the order of the columns."""
        from speechmos import dnsmos

        ratings = dnsmos.run(np.clip(estimate, -1, 1), self.rate)
        return [Score(float(ratings[f"{column.removeprefix('dnsmos_')}_mos"]), Status.OK) for column in self.columns]


def _check_finite(score: Score | None) -> Score | None:
    """Replaces a value that is not finite by the status ``error``."""
    broken = score is not None and score.value is not None and not np.isfinite(score.value)
    return Score(None, Status.ERROR) if broken else score


@contextmanager
def _no_warnings() -> Iterator[None]:
    """Suppresses warnings of the libraries, which concern their own code."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _seeded() -> Iterator[None]:
    state = np.random.get_state()  # the one that pystoi draws from
    np.random.seed(0)
    try:
        yield
    finally:
        np.random.set_state(state)
