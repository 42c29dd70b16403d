"""Base classes of metrics that use pretrained networks.

A model is a folder in its library's own format, in ``--metric-args path=DIR`` or else in the cache of the Hugging Face
hub, see `ModelSource`; `Metric.missing` gives the command that downloads it. Weights are read as safetensors, or with
``weights_only=True``; nothing is unpickled.
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
from sam_audio_bench.nn.hub import Checkpoint, ModelSource
from sam_audio_bench.nn.text import silence_transformers
from sam_audio_bench.types import Audio, Item, Score, Separation, Status

__all__ = ["LearnedMetric", "PretrainedModelMixin", "load_pretrained", "model_loading_errors", "split_batches"]

_T = TypeVar("_T")


@contextmanager
def model_loading_errors(folder: Path) -> Iterator[None]:
    """Turns errors of libraries that load a model from ``folder`` inside the context into Precondition."""
    try:
        yield
    except BenchError:
        raise
    except Exception as error:  # the libraries have no common exception for a damaged or foreign file
        found = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise Precondition(f"expected a model that can be loaded in {folder}, found {found}; get it again") from error


class PretrainedModelMixin:
    """Finds the model of a metric by a `ModelSource`, loads it when first needed, and keeps it.

    Args:
        source: where the model is.
        device: "auto" (CUDA where there is one), "cpu", "cuda" …; always float32 without TF32.
    """

    def __init__(self, source: ModelSource, *, device: str = "auto") -> None:
        self._device = find_device(device)
        self.source = source
        self._found: Checkpoint | None = None
        self._sha256: str | None = None
        self._network: Any = None

    @abstractmethod
    def load(self, model: Checkpoint, device: torch.device) -> Any:
        """Loads the network and the preprocessing of its input, as one object."""

    def missing(self) -> str | None:
        """Returns why the model cannot be used and what fixes it, None if it can; checks file names only."""
        if (lack := device_unavailable_reason(self._device)) is not None:
            return f"{lack}; use --metric-args device=cpu"
        try:
            self._model()
        except Precondition as error:
            return str(error)
        return None

    @property
    def weights_sha256(self) -> str | None:
        """Digest of the weight file; None if the model is missing."""
        if self._sha256 is None and self.missing() is None:
            self._sha256 = self._model().sha256()
        return self._sha256

    @property
    def model_options(self) -> Options:
        """Options that identify the model, with the digest of the weights, so that other weights are scored anew."""
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

    def _get_network(self) -> Any:
        """Returns the result of `load`, which is called once."""
        if self._network is None:
            self._network = self._load_network()
        return self._network

    def _load_network(self) -> Any:
        model = self._model()
        with model_loading_errors(model.folder):
            return self.load(model, self._device)


class LearnedMetric(PretrainedModelMixin, StereoMetric):
    """Base class of metrics whose network evaluates the target estimate, `batch_size` windows per forward pass.

    Windows are never padded to a common length, so that a value depends on other items of the batch by rounding only.
    On the CPU even that is avoided: ``batch_size`` is 1 there, since the last bits of a matrix product depend on the
    number of rows, and batches hardly speed up a CPU. On CUDA, scores of an estimate in different batches agree within
    a tenth of the card's ``tolerance``.

    The network is loaded when the first item is scored, and kept. These metrics are reference-free, with the statuses
    ``ok``; ``silent_estimate``, undefined, if all of the network's input is zero; and ``non_finite``, undefined.

    Args:
        source: where the model is.
        device: "auto" (CUDA where there is one), "cpu", "cuda" …; always float32 without TF32.
        stereo: "joint" and "mono" average the channels before the network, so that channels that cancel are silence;
            "mean" is the mean of the values of the channels that are not silent.
    """

    rate: ClassVar[int]  # Hz, of the network's input

    def __init__(self, source: ModelSource, *, device: str = "auto", stereo: str = "joint") -> None:
        PretrainedModelMixin.__init__(self, source, device=device)
        StereoMetric.__init__(self, stereo)
        if self._device.type == "cpu":
            self.batch_size = 1  # bitwise the same scores in any batch; see the class

    @abstractmethod
    def measure(self, network: Any, clips: Sequence[Audio], items: Sequence[Item]) -> Sequence[Sequence[float]]:
        """Returns one value per column for each clip: a channel of the item's estimate at ``rate``, not silent."""

    def applies_to(self, item: Item) -> bool:
        """Returns whether the metric is defined for an item."""
        return True

    @property
    def options(self) -> Options:
        """Options that change the values, for ``run.json``."""
        return {**self.model_options, **super().options}

    def score(self, items: Sequence[Item], separations: Sequence[Separation]) -> list[Row]:
        """Returns rows in the order of the items; raises Precondition if the model is missing."""
        clips = [self._clips(item, separation) for item, separation in zip(items, separations, strict=True)]
        pairs = [pair for found in clips if isinstance(found, list) for pair in found]
        values = iter(self._measure(pairs) if pairs else ())
        return [_row([next(values) for _ in found]) if isinstance(found, list) else found for found in clips]

    def _clips(self, item: Item, separation: Separation) -> list[tuple[Audio, Item]] | Row:
        """Returns the channels to evaluate, each with its item; or the row, if the network is not needed for it."""
        if not self.applies_to(item):
            return self._uniform_row(None)
        target = separation.target
        if not all_finite(target.samples):
            return self._uniform_row(Status.NON_FINITE)
        channels = target.samples if self.stereo == "mean" else to_mono(target).samples
        sounding = [Audio(channel[None], target.rate) for channel in channels if not bool(is_silent(channel))]
        return [(resample(clip, self.rate), item) for clip in sounding] or self._uniform_row(Status.SILENT_ESTIMATE)

    def _measure(self, pairs: Sequence[tuple[Audio, Item]]) -> Sequence[Sequence[float]]:
        network = self._get_network()
        with torch.inference_mode(), deterministic_fp32():
            return self.measure(network, [clip for clip, _ in pairs], [item for _, item in pairs])


def split_batches(entries: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    """Splits entries into batches of at most ``size``.

    >>> list(split_batches("abcde", 2))
    ['ab', 'cd', 'e']
    """
    for start in range(0, len(entries), size):
        yield entries[start : start + size]


def load_pretrained(kind: Any, model: Checkpoint, *, without: str | None = None) -> Any:
    """Loads a network of one of transformers' classes, with all of its weights, in float32.

    Args:
        kind: the class.
        model: where the model is.
        without: tensors with this in their names may be missing, such as those for training only.

    Raises:
        Precondition: weights are missing.
    """
    with silence_transformers():
        network, report = kind.from_pretrained(
            model.folder,
            local_files_only=True,
            trust_remote_code=False,  # else users are asked whether code in the folder may run
            use_safetensors=model.weights.suffix == ".safetensors",
            weights_only=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
    names = sorted(name for name in report["missing_keys"] if without is None or without not in name)
    if names:  # transformers initialises them at random
        raise Precondition(
            f"expected all weights of {type(network).__name__} in {model.weights}, found none for {len(names)} "
            f"tensors, {names[0]} among them; get the model again"
        )
    align_weights(network)
    return network


def _row(values: Sequence[Sequence[float]]) -> Row:
    """Returns the mean over an estimate's channels, per column."""
    return tuple(_score(math.fsum(column) / len(column)) for column in zip(*values, strict=True))


def _score(value: float) -> Score:
    """Returns the score of a value; NaN, which results from damaged weights, is ``non_finite``."""
    return Score(value, Status.OK) if math.isfinite(value) else Score(None, Status.NON_FINITE)
