"""Demucs as a separator: all stems of a mixture in one pass, by its authors' package."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch

from sam_audio_bench.devices import require_device
from sam_audio_bench.errors import Precondition, UsageError, describe_error
from sam_audio_bench.separators.prompt_stems import GENERAL
from sam_audio_bench.types import Audio

__all__ = ["DemucsSeparator"]


class DemucsSeparator:
    """Hybrid Transformer Demucs and its relatives (Rouard, Massa and Défossez, ICASSP 2023).

    Inputs are normalised by mean and standard deviation of their channel mean, as in the package's command line; its
    random ``--shifts`` are not used, so that the estimate depends on the mixture alone.

    Args:
        model: a model of the package's hub ("htdemucs", "htdemucs_ft", "htdemucs_6s" …), or in ``folder``.
        folder: of weights, as for ``demucs --repo``; "": the hub, from which they are downloaded once.
        overlap: of the model's segments, as a fraction.
        stem_map: path of a TOML file from prompts to stems; "": `GENERAL`.
        device: "auto", "cpu", "cuda" ….

    Raises:
        UsageError: an invalid option. Precondition: the package, the weights or the device are missing.
    """

    rate: int
    channels: int
    deterministic = True

    def __init__(
        self, model: str = "htdemucs", *, folder: str = "", overlap: float = 0.25, stem_map: str = "",
        device: str = "auto",
    ) -> None:  # fmt: skip
        if isinstance(overlap, bool) or not isinstance(overlap, int | float) or not 0 <= overlap < 1:
            raise UsageError(f"expected overlap of demucs to be a number from 0 to below 1, found {overlap!r}")
        self.name = "demucs"
        self.overlap = float(overlap)
        self.stem_map = stem_map or GENERAL
        self._device = require_device(device)
        self._network = _load(model, folder)
        self.stems = tuple(str(name) for name in self._network.sources)
        self.rate, self.channels = int(self._network.samplerate), int(self._network.audio_channels)
        self.weights_sha256 = _digest(self._network)

    def separate_stems(self, mixture: Audio) -> dict[str, Audio]:
        """Returns the stems of a mixture that has the rate and channels of the model."""
        from demucs.apply import apply_model

        mono = mixture.samples.mean(dim=0)
        mean, deviation = mono.mean(), mono.std() + 1e-8 if mono.numel() > 1 else mono.new_ones(())
        normalised = ((mixture.samples - mean) / deviation)[None].float()
        found = apply_model(self._network, normalised, shifts=0, split=True, overlap=self.overlap, device=self._device)[
            0
        ]
        stems = (found.cpu() * deviation + mean).to(mixture.samples.dtype)
        return {label: Audio(one, mixture.rate) for label, one in zip(self.stems, stems, strict=True)}


def _load(model: str, folder: str) -> Any:
    try:
        from demucs.pretrained import get_model
    except ImportError as error:
        raise Precondition(
            f"expected the package demucs, found none that can be imported ({error}); "
            "pip install 'sam-audio-bench[demucs]'"
        ) from error
    if folder and not Path(folder).is_dir():
        raise Precondition(f"expected a folder of Demucs models at {folder}, found none")
    from huggingface_hub import is_offline_mode

    # with a plain name the package would try another server if the hub does not have the model
    location = f"hf://{model}" if is_offline_mode() and not folder and not model.startswith("hf://") else model
    try:
        network: Any = get_model(location, Path(folder) if folder else None)
    except (Exception, SystemExit) as error:
        where = f"in {folder}" if folder else "on the Hugging Face Hub or in its cache"
        raise Precondition(
            f"expected the Demucs model {model!r} {where}, found: {describe_error(error, named=True)}"
        ) from error
    return network


def _digest(network: torch.nn.Module) -> str:
    """Returns a digest of all weights with their names."""
    digest = hashlib.sha256()
    for name, weight in sorted(network.state_dict().items()):
        digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}\n".encode())
        digest.update(weight.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
