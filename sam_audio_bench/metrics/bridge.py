"""Adapters for torchmetrics in both directions: its metrics in this harness, and our functions as torchmetrics.

`adapt` wraps any ``torchmetrics.Metric`` whose ``update`` takes ``preds`` and ``target`` as a `Metric`. The other
classes are ``torchmetrics.Metric``s for training loops, which average a score of `functional` over all updates.

No other module imports torchmetrics, which costs seconds and memory.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
import torchmetrics
from torch import Tensor
from torchmetrics.functional import text

from sam_audio_bench.errors import Precondition, UsageError
from sam_audio_bench.identity import Options
from sam_audio_bench.metrics import functional
from sam_audio_bench.metrics.base import Metric, Row
from sam_audio_bench.metrics.catalogue import CAP_DB, MetricCard
from sam_audio_bench.metrics.functional.energy import check_same_shape, status_codes
from sam_audio_bench.types import Audio, Item, Score, Separation, Status

__all__ = [
    "SASDR",
    "SDSDR",
    "SISDR",
    "SISNR",
    "SNR",
    "BSSSourcesSDR",
    "MeanScore",
    "TorchmetricsMetric",
    "adapt",
    "word_error_rate",
]

_STATUSES = tuple(Status)


class MeanScore(torchmetrics.Metric):
    """Mean of a score over all signals of all updates and all processes, dB; NaN where none is defined.

    The last dimension is time, every index of the leading ones is a separate signal; flatten channels to score them
    together. The mean follows the rules of the result tables: values are clipped to ±`CAP_DB`, a silent estimate of a
    sound has the floor value, and signals with a silent reference, NaN or infinity are excluded. `counts` gives the
    number of signals of each kind.

    ``update`` raises UsageError if the shapes differ. Keyword arguments are those of ``torchmetrics.Metric``.
    """

    measure: ClassVar[Callable[..., Tensor]]  # of `functional`: reference and estimate [..., time] -> [...]
    higher_is_better = True
    is_differentiable = False
    full_state_update = False
    found: Tensor  # number of signals per status

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # A MetricCollection shares states between metrics whose states have equal names and values after the first
        # batch, and all scores of silence are equal: the class's name in the state's prevents that.
        self._total = f"{type(self).__name__}_total"
        self.add_state(self._total, default=torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("found", default=torch.zeros(len(_STATUSES), dtype=torch.int64), dist_reduce_fx="sum")

    @staticmethod
    def prepare(signal: Tensor) -> Tensor:
        """Returns the signal ``[..., time]`` of ``preds`` or ``target`` by which silence is detected."""
        return signal

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Adds the scores of estimates ``preds`` of references ``target``, ``[..., time]`` both."""
        values = self.measure(reference=target, estimate=preds)
        codes = status_codes(self.prepare(target), self.prepare(preds))
        codes = codes.masked_fill(values.isposinf(), _STATUSES.index(Status.PERFECT))
        total = values.clamp(-CAP_DB, CAP_DB).nansum()
        setattr(self, self._total, getattr(self, self._total) + total)
        self.found = self.found + codes.flatten().bincount(minlength=len(_STATUSES))

    def compute(self) -> Tensor:
        """Returns the mean of the defined values, float64 ``[]``."""
        defined = [_STATUSES.index(status) for status in (Status.OK, Status.PERFECT, Status.SILENT_ESTIMATE)]
        total: Tensor = getattr(self, self._total)
        return total / self.found[defined].sum()

    def counts(self) -> dict[Status, int]:
        """Returns the number of signals per status that occurred, over all processes, each of which must call this."""
        with self.sync_context(dist_sync_fn=self.dist_sync_fn, distributed_available=self.distributed_available_fn):
            numbers = self.found.tolist()
        return {status: number for status, number in zip(_STATUSES, numbers, strict=True) if number}


class SNR(MeanScore):
    """Mean of `functional.snr`."""

    measure = staticmethod(functional.snr)


class SISDR(MeanScore):
    """Mean of `functional.si_sdr`."""

    measure = staticmethod(functional.si_sdr)


class SISNR(MeanScore):
    """Mean of `functional.si_snr`; a constant signal counts as silent."""

    measure = staticmethod(functional.si_snr)
    prepare = staticmethod(functional.centred)


class SDSDR(MeanScore):
    """Mean of `functional.sd_sdr`."""

    measure = staticmethod(functional.sd_sdr)


class SASDR(MeanScore):
    """Mean of `functional.sa_sdr` over ``[..., sources, time]``: the sources of a mixture count as one signal."""

    measure = staticmethod(functional.sa_sdr)

    @staticmethod
    def prepare(signal: Tensor) -> Tensor:
        """Concatenates the sources."""
        return signal.flatten(-2)


class BSSSourcesSDR(MeanScore):
    """Mean of the SDR of `functional.bss_sources`, each signal as the only source."""

    @staticmethod
    def measure(*, reference: Tensor, estimate: Tensor) -> Tensor:
        """Returns the SDR: ``[..., time] -> [...]``."""
        check_same_shape(reference, estimate)
        length = reference.shape[-1]
        pairs = zip(reference.reshape(-1, 1, length), estimate.reshape(-1, 1, length), strict=True)
        scores = [functional.bss_sources(reference=truth, estimate=given).sdr for truth, given in pairs]
        return torch.cat(scores).reshape(reference.shape[:-1])


class TorchmetricsMetric(Metric):
    """Wraps a ``torchmetrics.Metric`` of target estimate and reference; `adapt` creates one subclass per metric.

    Each item is scored separately: the metric is reset, updated with ``preds``, the target estimate, and ``target``,
    the reference, both ``[channels, time]``, and computed. The wrapped metric decides how to treat channels and rates.

    Statuses are those of the reference metrics and are determined first: where reference or estimate is silent or not
    finite, or their shapes or rates differ, the wrapped metric is not called, since libraries score silence by some
    epsilon. A silent estimate has no value, because the scale's lowest value is unknown; read ``n_ok/n`` with it. NaN,
    and infinity in the worse direction, are ``non_finite``; infinity in the better direction is ``perfect``. An
    exception of the metric is recorded as the item's error.
    """

    path: ClassVar[str]  # module.Class
    kind: ClassVar[type[torchmetrics.Metric]]

    def __init__(self, **options: Any) -> None:
        self._options = options
        try:
            self._metric = self.kind(**options)
        except ImportError as error:
            raise Precondition(f"expected the libraries that {self.path} needs, found: {error}") from error
        except (TypeError, ValueError) as error:
            raise UsageError(f"expected options that {self.path} takes, found: {error}") from error

    @classmethod
    def cards(cls) -> tuple[MetricCard, ...]:
        """Returns one card, without a unit."""
        return (
            MetricCard(
                id=cls.columns[0],
                target=f"{__name__}:TorchmetricsMetric",
                summary=f"{cls.path} of the target against its reference",
                unit="",
                higher_is_better=bool(cls.kind.higher_is_better),
                needs=frozenset({"reference"}),
            ),
        )

    @property
    def options(self) -> Options:
        """The wrapped class, its options and the version of torchmetrics."""
        return {"class": self.path, "torchmetrics": str(torchmetrics.__version__), **self._options}

    def score(self, items: Sequence[Item], separations: Sequence[Separation]) -> list[Row]:
        """Returns one score per item; None for an item without a reference."""
        return [
            (self._one(item.reference, separation.target),) for item, separation in zip(items, separations, strict=True)
        ]

    def _one(self, reference: Audio | None, estimate: Audio) -> Score | None:
        if reference is None:
            return None
        if (reference.samples.shape, reference.rate) != (estimate.samples.shape, estimate.rate):
            return Score(None, Status.LENGTH_MISMATCH)
        status = functional.classify(reference.samples, estimate.samples)
        if status is not Status.OK:
            return Score(None, status)
        value = self._value(estimate.samples, reference.samples)
        if value == (math.inf if self.kind.higher_is_better else -math.inf):
            return Score(value, Status.PERFECT)
        return Score(value, status) if math.isfinite(value) else Score(None, Status.NON_FINITE)

    def _value(self, preds: Tensor, target: Tensor) -> float:
        self._metric.reset()
        self._metric.update(preds=preds, target=target)
        found: Any = self._metric.compute()
        if not isinstance(found, Tensor) or found.numel() != 1:
            shape = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise UsageError(f"expected one number of {self.path}, found {shape}; choose options that give one")
        return float(found)


def adapt(path: str, **options: Any) -> TorchmetricsMetric:
    """Wraps any ``torchmetrics.Metric`` of estimate and reference as a `Metric`, see `TorchmetricsMetric`.

    Args:
        path: import path of the class, for example ``torchmetrics.audio.SignalDistortionRatio``; its column is
            ``torchmetrics.SignalDistortionRatio``.
        options: keyword arguments of its constructor.

    Raises:
        UsageError: there is no such class; its ``update`` requires arguments other than ``preds`` and ``target``; it
            does not state whether higher is better, which tables need; or it rejects the options.
        Precondition: a module cannot be imported.

    >>> adapt("torchmetrics.audio.SignalDistortionRatio", filter_length=128).columns
    ('torchmetrics.SignalDistortionRatio',)
    """
    kind = _find(path)
    parameters = inspect.signature(kind.update).parameters
    named = {name: entry for name, entry in parameters.items() if entry.kind is entry.POSITIONAL_OR_KEYWORD}
    required = {name for name, entry in named.items() if entry.default is entry.empty}
    if not {"preds", "target"} <= set(named) or required - {"self", "preds", "target"}:
        found = ", ".join(name for name in parameters if name != "self")
        raise UsageError(f"expected a metric that is updated with preds and target, found {path}, which wants {found}")
    if kind.higher_is_better is None:
        raise UsageError(
            f"expected a metric that says whether higher is better, found {path}, which does not; "
            "derive a class from it that sets higher_is_better"
        )
    column = f"torchmetrics.{kind.__name__}"
    made = type(kind.__name__, (TorchmetricsMetric,), {"columns": (column,), "path": path, "kind": kind})
    metric: TorchmetricsMetric = made(**options)
    return metric


def word_error_rate(*, reference: str, estimate: str) -> float:
    """Returns the word error rate by torchmetrics: edits over words of the reference; words are separated by spaces.

    >>> word_error_rate(reference="the quick brown fox", estimate="a quick fox")
    0.5
    """
    return float(text.word_error_rate([estimate], [reference]))


def _find(path: str) -> type[torchmetrics.Metric]:
    """Imports the class ``module.Class``."""
    name, _, attribute = path.rpartition(".")
    if not name:
        raise UsageError(f"expected a class with its module, as torchmetrics.audio.SignalDistortionRatio, found {path}")
    try:
        module = importlib.import_module(name)
    except Exception as error:  # importing another package's module may raise anything
        found = f"{type(error).__name__}: {error}"
        raise Precondition(
            f"expected the module {name}, which {path} names, to be importable, found {found}"
        ) from error
    kind = getattr(module, attribute, None)
    if kind is None:
        near = difflib.get_close_matches(attribute, [key for key, value in vars(module).items() if _is_metric(value)])
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise UsageError(f"expected a metric that {name} has, found {attribute!r}{hint}")
    if not _is_metric(kind):
        raise UsageError(f"expected {path} to be a class of torchmetrics.Metric, found {kind!r}")
    found_kind: type[torchmetrics.Metric] = kind
    return found_kind


def _is_metric(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, torchmetrics.Metric)
