"""Metrics that are networks, and what they all do around the network.

A model is a folder in its library's own format. It is looked for in ``--metric-args path=DIR``, else in the cache of
the Hugging Face hub, see `Source`; `Metric.missing` gives the command that brings it. Weights are read as safetensors,
or with ``weights_only=True``; nothing is unpickled.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch

from sam_audio_bench.audio import resample, to_mono
from sam_audio_bench.blocks import all_finite
from sam_audio_bench.devices import deterministic_fp32, device_unavailable_reason, find_device
from sam_audio_bench.errors import BenchError, Precondition
from sam_audio_bench.identity import Options
from sam_audio_bench.metrics.base import Row, StereoMetric
from sam_audio_bench.metrics.functional import is_silent
from sam_audio_bench.nn.checkpoint import align_weights
from sam_audio_bench.nn.hub import Checkpoint, Source
from sam_audio_bench.nn.text import quiet
from sam_audio_bench.types import Audio, Item, Score, Separation, Status

__all__ = ["LearnedMetric", "OwnModel", "batches", "loading", "pretrained"]

_T = TypeVar("_T")


@contextmanager
def loading(folder: Path) -> Iterator[None]:
    """Loads a model of a folder inside; whatever a library raises there, but errors of ours, is a Precondition."""
    try:
        yield
    except BenchError:
        raise
    except Exception as error:  # the libraries share no class of errors for a damaged or foreign file
        found = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise Precondition(f"expected a model that can be loaded in {folder}, found {found}; get it again") from error


class OwnModel:
    """What a metric with a model of its own does about it: it is found by a `Source`, loaded when needed, and kept.

    Args:
        source: where the model is.
        device: "auto" (CUDA where there is one), "cpu", "cuda" …; always float32 without TF32.
    """

    def __init__(self, source: Source, *, device: str = "auto") -> None:
        self._place = find_device(device)
        self.source = source
        self._found: Checkpoint | None = None
        self._sha256: str | None = None
        self._network: Any = None

    @abstractmethod
    def load(self, model: Checkpoint, device: torch.device) -> Any:
        """The network, and what prepares its input, as one object."""

    def missing(self) -> str | None:
        """Why the model cannot be used here, and what would change that; looks at file names only."""
        if (lack := device_unavailable_reason(self._place)) is not None:
            return f"{lack}; use --metric-args device=cpu"
        try:
            self._model()
        except Precondition as error:
            return str(error)
        return None

    @property
    def weights_sha256(self) -> str | None:
        """Digest of the weight file; None where there is none."""
        if self._sha256 is None and self.missing() is None:
            self._sha256 = self._model().sha256()
        return self._sha256

    @property
    def model_options(self) -> Options:
        """The model; the weights' digest is among them, so that other weights are scored anew."""
        found = None if self.missing() else self._model()
        return {
            "model": found.model if found else self.source.repository,
            "revision": found.revision if found else None,
            "weights_sha256": self.weights_sha256,
        }

    def _model(self) -> Checkpoint:
        if self._found is None:
            self._found = self.source.find()
        return self._found

    def _kept(self) -> Any:
        """What `load` gives, loaded once."""
        if self._network is None:
            self._network = self._loaded()
        return self._network

    def _loaded(self) -> Any:
        model = self._model()
        with loading(model.folder):
            return self.load(model, self._place)


class LearnedMetric(OwnModel, StereoMetric):
    """A network that listens to the answer's target, `batch_size` windows in one call of the network.

    Windows are never padded to one another, so that a value depends on the items beside it by rounding only. On the CPU
    even that is avoided: there ``batch_size`` is 1, since a product of matrices has other last bits with another number
    of rows and a CPU gains little from a batch. On CUDA scores of one answer in different batches agree within a tenth
    of the card's ``tolerance``.

    The network is loaded when the first item is scored, and kept. Reference-free, hence the statuses: ``ok``;
    ``silent_estimate``, undefined, when every sample that the network would hear is zero; ``non_finite``, undefined.

    Args:
        source: where the model is.
        device: "auto" (CUDA where there is one), "cpu", "cuda" …; always float32 without TF32.
        stereo: "joint" and "mono" average the channels before the network, so that channels that cancel are silence;
            "mean" is the mean of the values of the channels that are not silent.
    """

    rate: ClassVar[int]  # Hz, what the network hears

    def __init__(self, source: Source, *, device: str = "auto", stereo: str = "joint") -> None:
        OwnModel.__init__(self, source, device=device)
        StereoMetric.__init__(self, stereo)
        if self._place.type == "cpu":
            self.batch_size = 1  # bit for bit the same whatever an item is scored beside; see the class

    @abstractmethod
    def measure(self, network: Any, clips: Sequence[Audio], items: Sequence[Item]) -> Sequence[Sequence[float]]:
        """For each clip, a sounding channel at ``rate`` of the answer to its item, a value a column."""

    def asks(self, item: Item) -> bool:
        """Whether the metric has a question about an item."""
        return True

    @property
    def options(self) -> Options:
        """What changes the values, for ``run.json``."""
        return {**self.model_options, **super().options}

    def score(self, items: Sequence[Item], separations: Sequence[Separation]) -> list[Row]:
        """Rows in the order of the items; raises Precondition where the model is missing."""
        heard = [self._clips(item, answer) for item, answer in zip(items, separations, strict=True)]
        pairs = [pair for found in heard if isinstance(found, list) for pair in found]
        values = iter(self._measured(pairs) if pairs else ())
        return [_row([next(values) for _ in found]) if isinstance(found, list) else found for found in heard]

    def _clips(self, item: Item, answer: Separation) -> list[tuple[Audio, Item]] | Row:
        """The channels that the network has to hear, with their item; or the row of an item for which it need not."""
        if not self.asks(item):
            return self._all(None)
        target = answer.target
        if not all_finite(target.samples):
            return self._all(Status.NON_FINITE)
        channels = target.samples if self.stereo == "mean" else to_mono(target).samples
        sounding = [Audio(channel[None], target.rate) for channel in channels if not bool(is_silent(channel))]
        return [(resample(clip, self.rate), item) for clip in sounding] or self._all(Status.SILENT_ESTIMATE)

    def _measured(self, pairs: Sequence[tuple[Audio, Item]]) -> Sequence[Sequence[float]]:
        network = self._kept()
        with torch.inference_mode(), deterministic_fp32():
            return self.measure(network, [clip for clip, _ in pairs], [item for _, item in pairs])


def batches(entries: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    """Cuts entries into runs of at most ``size``.

    >>> list(batches("abcde", 2))
    ['ab', 'cd', 'e']
    """
    for start in range(0, len(entries), size):
        yield entries[start : start + size]


def pretrained(kind: Any, model: Checkpoint, *, without: str | None = None) -> Any:
    """A network of one of transformers' classes, with all of its weights, in float32.

    Args:
        kind: the class.
        model: where it lies.
        without: tensors with this in their names may be missing, as those of training alone.

    Raises:
        Precondition: weights that are not there.
    """
    with quiet():
        network, report = kind.from_pretrained(
            model.folder,
            local_files_only=True,
            trust_remote_code=False,  # else a person is asked whether code beside the weights may run
            use_safetensors=model.weights.suffix == ".safetensors",
            weights_only=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
    names = sorted(name for name in report["missing_keys"] if without is None or without not in name)
    if names:  # transformers fills them with random numbers
        raise Precondition(
            f"expected all weights of {type(network).__name__} in {model.weights}, found none for {len(names)} "
            f"tensors, {names[0]} among them; get the model again"
        )
    align_weights(network)
    return network


def _row(values: Sequence[Sequence[float]]) -> Row:
    """The mean over an answer's channels, a column each."""
    return tuple(_score(math.fsum(column) / len(column)) for column in zip(*values, strict=True))


def _score(value: float) -> Score:
    """NaN comes from damaged weights: no silent number."""
    return Score(value, Status.OK) if math.isfinite(value) else Score(None, Status.NON_FINITE)
