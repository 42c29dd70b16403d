"""`aes_ce`, `aes_cu`, `aes_pc`, `aes_pq`: how good does the answer sound, whatever was asked?

Audiobox Aesthetics (Tjandra et al., "Meta Audiobox Aesthetics: unified automatic quality assessment for speech, music,
and sound", arXiv 2502.05139) predicts what listeners would say about a clip on four axes, from 1 to 10: content
enjoyment, content usefulness, production complexity, production quality.

The network is that of the package ``audiobox-aesthetics``. Only its module ``model.aes`` is used, which needs neither
torchaudio nor submitit, so ``pip install --no-deps audiobox-aesthetics`` is enough and leaves torch as it is.
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
from sam_audio_bench.metrics.weights import LearnedMetric, batches
from sam_audio_bench.nn.checkpoint import align_weights
from sam_audio_bench.nn.hub import Checkpoint, Source
from sam_audio_bench.types import Audio, Item

__all__ = ["Aesthetics"]

AXES = ("CE", "CU", "PC", "PQ")
WINDOW_SECONDS = 10


class Aesthetics(LearnedMetric):
    """The four predicted ratings of the answer's target, nominally 1 to 10, asked of every item.

    As in the package: 16 kHz, windows of 10 s without overlap, the last one filled up with zeros that a mask hides, and
    the mean of the windows' predictions weighted by how long each one is. Unlike it: always float32, resampled with
    soxr.

    The network hears the waveform as it is, so the values depend on the answer's gain. They say nothing about the
    prompt: the mixture itself may be rated high. A lower complexity means fewer sounds at once. Silence is undefined,
    with status ``silent_estimate``.

    Args:
        path: a folder with ``config.json`` and ``model.safetensors``, see `Source`; empty: the hub's cache.
        aes_revision: branch, tag or commit of ``facebook/audiobox-aesthetics``.
        device: see `LearnedMetric`.
        stereo: see `LearnedMetric`.
    """

    columns = metric_ids_of("sam_audio_bench.metrics.aesthetics:Aesthetics")
    rate = 16_000
    batch_size = 16

    def __init__(self, path: str = "", aes_revision: str = "main", device: str = "auto", stereo: str = "joint") -> None:
        source = Source(
            repository="facebook/audiobox-aesthetics",
            revision=str(aes_revision),
            path=str(path),
            marks=(("target_transform", None),),
        )
        super().__init__(source, device=device, stereo=stereo)

    def missing(self) -> str | None:
        """The package is looked for before the weights."""
        if importlib.util.find_spec("audiobox_aesthetics") is None:
            return (
                "expected the package audiobox-aesthetics, found none; run `pip install --no-deps audiobox-aesthetics` "
                "(what it needs here is installed already)"
            )
        return super().missing()

    @property
    def options(self) -> Options:
        """What changes the values, for ``run.json``."""
        return {**super().options, "window_seconds": WINDOW_SECONDS}

    def load(self, model: Checkpoint, device: torch.device) -> _Predictor:
        """The network with its scaling of each axis."""
        return _Predictor(model, device)

    def measure(self, network: _Predictor, clips: Sequence[Audio], items: Sequence[Item]) -> Sequence[Sequence[float]]:
        """The four ratings of each clip, in the order of `AXES`."""
        length = WINDOW_SECONDS * self.rate
        cuts = [torch.split(clip.samples[0], length) for clip in clips]
        pieces = [piece for cut in cuts for piece in cut]
        rated = torch.cat([network(batch, length) for batch in batches(pieces, self.batch_size)])
        ratings = torch.split(rated, [len(cut) for cut in cuts])
        return [_mean(some, [len(piece) / length for piece in cut]) for some, cut in zip(ratings, cuts, strict=True)]


def _mean(ratings: Tensor, weights: Sequence[float]) -> list[float]:
    """Weighted mean over the windows of one clip: ``[windows, axes] -> [axes]``."""
    shares = torch.tensor(weights, dtype=torch.float64)
    return [float(value) for value in shares @ ratings / shares.sum()]


class _Predictor:
    """Ratings ``[pieces, axes]`` in float64 of at most 10 s of audio at 16 kHz each."""

    def __init__(self, model: Checkpoint, device: torch.device) -> None:
        from safetensors.torch import load_model

        # The package's own loader prints to standard output, where results belong.
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
        """Rates pieces ``[time]``, each filled up to ``length`` samples, in one call of the network."""
        waves = torch.stack([torch.nn.functional.pad(piece.float(), (0, length - len(piece))) for piece in pieces])
        heard = torch.stack([torch.arange(length) < len(piece) for piece in pieces])
        batch = {"wav": waves[:, None].to(self.device), "mask": heard[:, None].to(self.device)}
        with _no_warning("Support for mismatched key_padding_mask and attn_mask is deprecated"):
            found = self.network(batch)
        return torch.stack([found[axis].double().cpu() for axis in AXES], dim=-1) * self.std + self.mean


@contextmanager
def _no_warning(text: str) -> Iterator[None]:
    """The package uses what torch calls old; a user of this metric can do nothing about it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=text)
        yield
