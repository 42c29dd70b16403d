"""`aes_ce`, `aes_cu`, `aes_pc`, `aes_pq`: predicted quality of the estimate, independent of the prompt.

Audiobox Aesthetics (Tjandra et al., "Meta Audiobox Aesthetics: unified automatic quality assessment for speech, music,
and sound", arXiv 2502.05139) predicts listeners' ratings of a clip on four axes, from 1 to 10: content
enjoyment, content usefulness, production complexity, production quality.

The network is that of the package ``audiobox-aesthetics``. Only its module ``model.aes`` is used, which needs neither
torchaudio nor submitit, so ``pip install --no-deps audiobox-aesthetics`` is enough and leaves torch unchanged.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from sam_audio_bench.files import load_json
from sam_audio_bench.identity import Options
from sam_audio_bench.metrics.catalogue import metric_ids_of
from sam_audio_bench.metrics.weights import LearnedMetric, split_batches
from sam_audio_bench.nn.checkpoint import align_weights
from sam_audio_bench.nn.hub import Checkpoint, ModelSource
from sam_audio_bench.types import Audio, Item

__all__ = ["Aesthetics"]

AXES = ("CE", "CU", "PC", "PQ")
WINDOW_SECONDS = 10


class Aesthetics(LearnedMetric):
    """Predicts four ratings of the target estimate, nominally 1 to 10, for every item.

    As in the package: 16 kHz, windows of 10 s without overlap, the last one padded with masked zeros, and the mean of
    the windows' predictions weighted by their durations. Unlike the package: always float32, resampled with soxr.

    The waveform is not normalised, so the values depend on the estimate's gain. They do not depend on the prompt: the
    mixture itself may be rated high. A lower complexity means fewer simultaneous sounds. Silence is undefined, with
    status ``silent_estimate``.

    Args:
        path: a folder with ``config.json`` and ``model.safetensors``, see `ModelSource`; empty: the hub's cache.
        aes_revision: branch, tag or commit of ``facebook/audiobox-aesthetics``.
        device: see `LearnedMetric`.
        stereo: see `LearnedMetric`.
    """

    columns = metric_ids_of("sam_audio_bench.metrics.aesthetics:Aesthetics")
    rate = 16_000
    batch_size = 16

    def __init__(self, path: str = "", aes_revision: str = "main", device: str = "auto", stereo: str = "joint") -> None:
        source = ModelSource(
            repository="facebook/audiobox-aesthetics",
            revision=str(aes_revision),
            path=str(path),
            config_entries=(("target_transform", None),),
        )
        super().__init__(source, device=device, stereo=stereo)

    def missing(self) -> str | None:
        """Returns why the package or the weights are unavailable; checks the package first."""
        if importlib.util.find_spec("audiobox_aesthetics") is None:
            return (
                "expected the package audiobox-aesthetics, found none; run `pip install --no-deps audiobox-aesthetics` "
                "(what it needs here is installed already)"
            )
        return super().missing()

    @property
    def options(self) -> Options:
        """Options that change the values, for ``run.json``."""
        return {**super().options, "window_seconds": WINDOW_SECONDS}

    def load(self, model: Checkpoint, device: torch.device) -> _Predictor:
        """Loads the network and the scaling of each axis."""
        return _Predictor(model, device)

    def measure(self, network: _Predictor, clips: Sequence[Audio], items: Sequence[Item]) -> Sequence[Sequence[float]]:
        """Returns the four ratings of each clip, in the order of `AXES`."""
        length = WINDOW_SECONDS * self.rate
        windows = [torch.split(clip.samples[0], length) for clip in clips]
        pieces = [piece for some in windows for piece in some]
        rated = torch.cat([network(batch, length) for batch in split_batches(pieces, self.batch_size)])
        ratings = torch.split(rated, [len(some) for some in windows])
        return [
            _weighted_mean(rows, [len(piece) / length for piece in some])
            for rows, some in zip(ratings, windows, strict=True)
        ]


def _weighted_mean(ratings: Tensor, weights: Sequence[float]) -> list[float]:
    """Returns the weighted mean over the windows of one clip: ``[windows, axes] -> [axes]``."""
    shares = torch.tensor(weights, dtype=torch.float64)
    return [float(value) for value in shares @ ratings / shares.sum()]


class _Predictor:
    """Predicts ratings ``[pieces, axes]``, float64, of pieces of at most 10 s of audio at 16 kHz."""

    def __init__(self, model: Checkpoint, device: torch.device) -> None:
        from safetensors.torch import load_model

        # The package's own loader prints to standard output, which is reserved for results.
        kind: Any = importlib.import_module("audiobox_aesthetics.model.aes").AesMultiOutput
        known = {entry.name for entry in dataclasses.fields(kind)}
        config = {key: value for key, value in load_json(model.folder / "config.json").items() if key in known}
        with _no_warning("`torch.nn.utils.weight_norm` is deprecated"):
            network = kind(**{**config, "precision": "32"})
        load_model(network, model.weights)
        align_weights(network)
        self.network: Any = network.eval().to(device)
        self.device = device
        scales = [config["target_transform"][axis] for axis in AXES]
        self.mean = torch.tensor([scale["mean"] for scale in scales], dtype=torch.float64)
        self.std = torch.tensor([scale["std"] for scale in scales], dtype=torch.float64)

    def __call__(self, pieces: Sequence[Tensor], length: int) -> Tensor:
        """Rates pieces ``[time]``, each padded to ``length`` samples, in one forward pass."""
        waves = torch.stack([torch.nn.functional.pad(piece.float(), (0, length - len(piece))) for piece in pieces])
        mask = torch.stack([torch.arange(length) < len(piece) for piece in pieces])
        batch = {"wav": waves[:, None].to(self.device), "mask": mask[:, None].to(self.device)}
        with _no_warning("Support for mismatched key_padding_mask and attn_mask is deprecated"):
            found = self.network(batch)
        return torch.stack([found[axis].double().cpu() for axis in AXES], dim=-1) * self.std + self.mean


@contextmanager
def _no_warning(text: str) -> Iterator[None]:
    """Suppresses deprecation warnings of the package's own code, which users of this metric cannot act on."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=text)
        yield
