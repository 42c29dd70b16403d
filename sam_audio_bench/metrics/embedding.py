"""Embeddings of sounds by a network, window by window, for distances between sets of sounds.

    Embedder              the base class
    TransformersEmbedder  any audio model of transformers, in a folder or in the hub's cache

The built-in embedder is `sam_audio_bench.judge.embedding.JudgeEmbedder`. Nothing is downloaded.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sam_audio_bench.audio import resample, to_mono
from sam_audio_bench.blocks import all_finite
from sam_audio_bench.devices import deterministic_fp32, require_device
from sam_audio_bench.errors import Precondition, UsageError
from sam_audio_bench.files import load_json
from sam_audio_bench.metrics.distance_catalogue import EmbeddingIdentity
from sam_audio_bench.metrics.functional import is_silent
from sam_audio_bench.metrics.weights import load_pretrained, model_loading_errors
from sam_audio_bench.nn.hub import Checkpoint, ModelSource
from sam_audio_bench.types import Audio, Status

__all__ = ["MAX_SECONDS", "MIN_SECONDS", "Embedder", "EmbeddingResult", "TransformersEmbedder", "split_evenly"]

MIN_SECONDS = 0.3
"""Minimum duration in seconds of a sound that has an embedding."""

MAX_SECONDS = 300.0
"""Maximum duration in seconds of a piece that is embedded as a whole."""

_FRAME = 0.01  # seconds per frame of Kaldi's filter banks
_CLAP = "clap"
_CLAP_SECONDS = 10.0  # length of CLAP's input


class EmbeddingResult(NamedTuple):
    """Vectors ``[windows, width]``, float32, of one sound; None if its status is not ``ok``."""

    vectors: NDArray[np.float32] | None
    status: Status


def split_evenly(length: int, longest: int) -> list[slice]:
    """Splits ``length`` samples into the fewest parts of at most ``longest``, equal to within one sample.

    >>> split_evenly(10, 4), split_evenly(3, 4)
    ([slice(0, 3, None), slice(3, 6, None), slice(6, 10, None)], [slice(0, 3, None)])
    """
    count = max(1, math.ceil(length / longest))
    edges = [number * length // count for number in range(count + 1)]
    return [slice(start, end) for start, end in pairwise(edges)]


class Embedder(ABC):
    """Base class of embedders, which embed one sound at a time, so that its vectors depend on no other.

    Channels are averaged. A sound is undefined with status ``silent_estimate`` if every sample is zero, ``too_short``
    below `MIN_SECONDS`, and ``non_finite`` if a sample or a vector is not finite.

    Args:
        checkpoint: where the weights are.
        layer: layer of the network that the vectors are taken from.
        window: maximum duration in seconds of the sound per vector.
        device: "auto" (CUDA where there is one), "cpu", "cuda" …
    """

    version: ClassVar[int] = 1  # raised whenever the vectors change

    def __init__(self, checkpoint: Checkpoint, layer: str, window: float, device: str = "auto") -> None:
        if not MIN_SECONDS <= window <= MAX_SECONDS:
            raise UsageError(f"expected windows of {MIN_SECONDS} to {MAX_SECONDS:g} s, found {window:g}")
        self.checkpoint, self.layer, self.window = checkpoint, layer, float(window)
        self.device = require_device(device)
        self._network: Any = None

    @property
    def identity(self) -> EmbeddingIdentity:
        """What the vectors depend on besides the sound; sets are comparable if it is equal."""
        return {
            "model": self.checkpoint.model,
            "revision": self.checkpoint.revision,
            "weights_sha256": self.checkpoint.sha256(),
            "layer": self.layer,
            "window_seconds": self.window,
            "version": self.version,
        }

    @abstractmethod
    def load(self) -> Any:
        """Loads the network on `device`."""

    @abstractmethod
    def rate(self, network: Any) -> int:
        """Returns the sampling rate of the network's input in Hz."""

    @abstractmethod
    def vectors(self, network: Any, piece: Audio) -> Tensor:
        """Returns vectors ``[windows, width]`` of a mono piece that is not silent, of at most `MAX_SECONDS`."""

    def embed(self, sound: Audio) -> EmbeddingResult:
        """Returns the vectors of a sound of any rate and channels; raises Precondition if the weights are damaged."""
        if not all_finite(sound.samples):
            return EmbeddingResult(None, Status.NON_FINITE)
        if sound.seconds < MIN_SECONDS:
            return EmbeddingResult(None, Status.TOO_SHORT)
        mono = to_mono(sound)
        if bool(is_silent(mono.samples[0])):
            return EmbeddingResult(None, Status.SILENT_ESTIMATE)
        if self._network is None:
            with model_loading_errors(self.checkpoint.folder):
                self._network = self.load()
        resampled = resample(mono, self.rate(self._network))
        found = []
        with torch.inference_mode(), deterministic_fp32():
            for part in split_evenly(resampled.length, round(MAX_SECONDS * resampled.rate)):
                piece = Audio(resampled.samples[:, part], resampled.rate)
                found.append(self.vectors(self._network, piece).float().cpu())
        vectors = torch.cat(found)
        finite = bool(torch.isfinite(vectors).all())
        return EmbeddingResult(vectors.numpy(), Status.OK) if finite else EmbeddingResult(None, Status.NON_FINITE)


class TransformersEmbedder(Embedder):
    """Embeds by the mean over time of a model's last hidden states; for a CLAP, by the projection of its audio tower.

    Windows are cut before feature extraction. What the model's own feature extractor adds to a window, such as padding
    to a fixed length, is part of it.

    Args:
        source: where the model is.
        window: see `Embedder`; None: 10 s.
        device: see `Embedder`.

    Raises:
        Precondition: the model is not available. UsageError: windows are longer than its input.
    """

    def __init__(self, source: ModelSource, window: float | None = None, device: str = "auto") -> None:
        found = source.find()
        self.is_clap = load_json(found.folder / "config.json").get("model_type") == _CLAP
        layer = "audio_projection" if self.is_clap else "last_hidden_state"
        super().__init__(found, layer, _CLAP_SECONDS if window is None else window, device)
        if self.is_clap and self.window > _CLAP_SECONDS:
            raise UsageError(f"expected windows of at most {_CLAP_SECONDS:g} s for a CLAP, found {self.window:g}")

    def load(self) -> tuple[Any, Any]:
        """Loads the network and its feature extractor."""
        import transformers

        auto: Any = transformers.AutoFeatureExtractor
        features = auto.from_pretrained(self.checkpoint.folder, local_files_only=True, trust_remote_code=False)
        kind: Any = transformers.ClapModel if self.is_clap else transformers.AutoModel
        network = load_pretrained(kind, self.checkpoint)
        if network.config.is_encoder_decoder:
            network = network.get_encoder()
        if not isinstance(getattr(features, "sampling_rate", None), int):
            raise Precondition(
                f"expected a model that hears sound, with a sampling_rate, in {self.checkpoint.folder}, found "
                f"{type(network).__name__} with {type(features).__name__}"
            )
        if (longest := _max_seconds(features)) is not None and self.window > longest:
            raise UsageError(
                f"expected windows of at most {longest:g} s, which {type(features).__name__} hears, found "
                f"{self.window:g}; the rest would be cut off"
            )
        return network.eval().to(self.device), features

    def rate(self, network: tuple[Any, Any]) -> int:
        """Returns the sampling rate of the feature extractor."""
        found: int = network[1].sampling_rate
        return found

    def vectors(self, network: tuple[Any, Any], piece: Audio) -> Tensor:
        """Returns one vector per window, each by its own forward pass."""
        parts = split_evenly(piece.length, math.ceil(self.window * piece.rate))
        return torch.stack([self._vector(*network, piece.samples[0, part].float()) for part in parts])

    def _vector(self, network: Any, features: Any, samples: Tensor) -> Tensor:
        prepared = features(samples.numpy(), sampling_rate=features.sampling_rate, return_tensors="pt")
        inputs = {name: value.to(self.device) for name, value in prepared.items() if name != "is_longer"}
        if self.is_clap:  # the extractor sets `is_longer` at random if no window is longer
            longer = torch.zeros(1, 1, dtype=torch.bool, device=self.device)
            states = network.audio_model(input_features=inputs["input_features"].float(), is_longer=longer)
            projected: Tensor = network.audio_projection(states.pooler_output)[0]
            return projected
        states = network(**inputs).last_hidden_state[0]
        mean: Tensor = states.reshape(-1, states.shape[-1]).mean(dim=0)
        return mean


def _max_seconds(features: Any) -> float | None:
    """Returns the duration in seconds to which a feature extractor truncates; None if it accepts any length."""
    if (samples := getattr(features, "n_samples", None)) is not None:  # as Whisper
        return float(samples) / float(features.sampling_rate)
    if (frames := getattr(features, "max_length", None)) is not None:  # as the Audio Spectrogram Transformer
        return float(frames) * _FRAME
    return None
