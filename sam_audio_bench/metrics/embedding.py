"""Sounds as vectors in the space of a network, window by window: what distances between sets of sounds are taken in.

    Embedder              what every embedding is computed by
    TransformersEmbedder  any audio model of transformers, in a folder or in the hub's cache

The one that is always there is `sam_audio_bench.judge.embedding.JudgeEmbedder`. Nothing is downloaded.
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
from sam_audio_bench.metrics.weights import loading, pretrained
from sam_audio_bench.nn.hub import Checkpoint, Source
from sam_audio_bench.types import Audio, Status

__all__ = ["LONGEST", "SHORTEST", "Embedded", "Embedder", "TransformersEmbedder", "cut"]

SHORTEST = 0.3
"""Seconds, below which a sound has no embedding."""

LONGEST = 300.0
"""Seconds of a piece that is embedded as a whole."""

_FRAME = 0.01  # seconds, of filter banks as Kaldi's
_CLAP = "clap"
_CLAP_SECONDS = 10.0  # that CLAP hears at once


class Embedded(NamedTuple):
    """Vectors ``[windows, width]``, float32, of one sound; None where it has another status than ``ok``."""

    vectors: NDArray[np.float32] | None
    status: Status


def cut(length: int, longest: int) -> list[slice]:
    """Parts of equal length, one sample more or less, as few as hold at most ``longest`` samples each.

    >>> cut(10, 4), cut(3, 4)
    ([slice(0, 3, None), slice(3, 6, None), slice(6, 10, None)], [slice(0, 3, None)])
    """
    count = max(1, math.ceil(length / longest))
    edges = [number * length // count for number in range(count + 1)]
    return [slice(start, end) for start, end in pairwise(edges)]


class Embedder(ABC):
    """Embeds one sound at a time, so that its vectors depend on no other.

    Channels are averaged. A sound is undefined with status ``silent_estimate`` where every sample is zero,
    ``too_short`` below `SHORTEST`, and ``non_finite`` where a sample or a vector is.

    Args:
        checkpoint: where the weights are.
        layer: where in the network the vectors are taken.
        window: seconds of sound that a vector is of, at most.
        device: "auto" (CUDA where there is one), "cpu", "cuda" …
    """

    version: ClassVar[int] = 1  # raised whenever the vectors change

    def __init__(self, checkpoint: Checkpoint, layer: str, window: float, device: str = "auto") -> None:
        if not SHORTEST <= window <= LONGEST:
            raise UsageError(f"expected windows of {SHORTEST} to {LONGEST:g} s, found {window:g}")
        self.checkpoint, self.layer, self.window = checkpoint, layer, float(window)
        self.device = require_device(device)
        self._network: Any = None

    @property
    def identity(self) -> EmbeddingIdentity:
        """What the vectors depend on: sets of equal ones compare."""
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
        """The network, on `device`."""

    @abstractmethod
    def rate(self, network: Any) -> int:
        """Hz that it hears."""

    @abstractmethod
    def vectors(self, network: Any, piece: Audio) -> Tensor:
        """Vectors ``[windows, width]`` of a sounding piece in mono at its rate, of at most `LONGEST`."""

    def embed(self, sound: Audio) -> Embedded:
        """The vectors of a sound of any rate and channels; raises Precondition for weights that are damaged."""
        if not all_finite(sound.samples):
            return Embedded(None, Status.NON_FINITE)
        if sound.seconds < SHORTEST:
            return Embedded(None, Status.TOO_SHORT)
        mono = to_mono(sound)
        if bool(is_silent(mono.samples[0])):
            return Embedded(None, Status.SILENT_ESTIMATE)
        if self._network is None:
            with loading(self.checkpoint.folder):
                self._network = self.load()
        heard = resample(mono, self.rate(self._network))
        found = []
        with torch.inference_mode(), deterministic_fp32():
            for part in cut(heard.length, round(LONGEST * heard.rate)):
                found.append(self.vectors(self._network, Audio(heard.samples[:, part], heard.rate)).float().cpu())
        vectors = torch.cat(found)
        finite = bool(torch.isfinite(vectors).all())
        return Embedded(vectors.numpy(), Status.OK) if finite else Embedded(None, Status.NON_FINITE)


class TransformersEmbedder(Embedder):
    """The mean over time of a model's last hidden states; of a CLAP, the projection of its audio tower.

    The windows are cut before the network hears them. What a model's own feature extractor adds to a window, such as
    silence up to a fixed length, is part of it.

    Args:
        source: where the model is.
        window: see `Embedder`; None: 10 s.
        device: see `Embedder`.

    Raises:
        Precondition: the model is not there. UsageError: windows that it cannot hear.
    """

    def __init__(self, source: Source, window: float | None = None, device: str = "auto") -> None:
        found = source.find()
        self.is_clap = load_json(found.folder / "config.json").get("model_type") == _CLAP
        layer = "audio_projection" if self.is_clap else "last_hidden_state"
        super().__init__(found, layer, _CLAP_SECONDS if window is None else window, device)
        if self.is_clap and self.window > _CLAP_SECONDS:
            raise UsageError(f"expected windows of at most {_CLAP_SECONDS:g} s for a CLAP, found {self.window:g}")

    def load(self) -> tuple[Any, Any]:
        """The network and its feature extractor."""
        import transformers

        auto: Any = transformers.AutoFeatureExtractor
        features = auto.from_pretrained(self.checkpoint.folder, local_files_only=True, trust_remote_code=False)
        kind: Any = transformers.ClapModel if self.is_clap else transformers.AutoModel
        network = pretrained(kind, self.checkpoint)
        if network.config.is_encoder_decoder:
            network = network.get_encoder()
        if not isinstance(getattr(features, "sampling_rate", None), int):
            raise Precondition(
                f"expected a model that hears sound, with a sampling_rate, in {self.checkpoint.folder}, found "
                f"{type(network).__name__} with {type(features).__name__}"
            )
        if (longest := _longest(features)) is not None and self.window > longest:
            raise UsageError(
                f"expected windows of at most {longest:g} s, which {type(features).__name__} hears, found "
                f"{self.window:g}; the rest would be cut off"
            )
        return network.eval().to(self.device), features

    def rate(self, network: tuple[Any, Any]) -> int:
        """What the feature extractor says."""
        found: int = network[1].sampling_rate
        return found

    def vectors(self, network: tuple[Any, Any], piece: Audio) -> Tensor:
        """One call of the network a window."""
        parts = cut(piece.length, math.ceil(self.window * piece.rate))
        return torch.stack([self._vector(*network, piece.samples[0, part].float()) for part in parts])

    def _vector(self, network: Any, features: Any, samples: Tensor) -> Tensor:
        prepared = features(samples.numpy(), sampling_rate=features.sampling_rate, return_tensors="pt")
        inputs = {name: value.to(self.device) for name, value in prepared.items() if name != "is_longer"}
        if self.is_clap:  # the extractor draws `is_longer` where no window is
            longer = torch.zeros(1, 1, dtype=torch.bool, device=self.device)
            states = network.audio_model(input_features=inputs["input_features"].float(), is_longer=longer)
            projected: Tensor = network.audio_projection(states.pooler_output)[0]
            return projected
        states = network(**inputs).last_hidden_state[0]
        mean: Tensor = states.reshape(-1, states.shape[-1]).mean(dim=0)
        return mean


def _longest(features: Any) -> float | None:
    """Seconds beyond which a feature extractor cuts a sound off; None: it takes any length."""
    if (samples := getattr(features, "n_samples", None)) is not None:  # as Whisper
        return float(samples) / float(features.sampling_rate)
    if (frames := getattr(features, "max_length", None)) is not None:  # as the Audio Spectrogram Transformer
        return float(frames) * _FRAME
    return None
