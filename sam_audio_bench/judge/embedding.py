"""Audio embeddings by a small judge's audio encoder, which comes with the package."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sam_audio_bench.errors import Precondition
from sam_audio_bench.judge.checkpoints import DEFAULT, find_judge
from sam_audio_bench.judge.model import SAJ
from sam_audio_bench.metrics.embedding import Embedder, split_evenly
from sam_audio_bench.types import Audio

__all__ = ["WINDOW", "JudgeEmbedder"]

WINDOW = 0.96
"""Default seconds of audio per embedding: those of VGGish, with which `fad` was introduced."""


class JudgeEmbedder(Embedder):
    """Averages a judge's audio embeddings over windows; each covers 160 ms, with a receptive field of ±1.3 s.

    Sounds are brought to one level and freed of DC offset, as a judge's mixtures are, so that neither has an effect.

    Args:
        judge: name or folder of a small judge, see `find_judge`.
        window: see `Embedder`; None: `WINDOW`. Rounded up to whole embeddings.
        device: see `Embedder`.

    Raises:
        Precondition: the judge is missing or is not a small one.
    """

    def __init__(self, judge: str = DEFAULT, window: float | None = None, device: str = "auto") -> None:
        super().__init__(find_judge(judge), "audio encoder", WINDOW if window is None else window, device)

    def load(self) -> SAJ:
        """Loads the judge."""
        judge = SAJ.from_pretrained(self.checkpoint, device=self.device)
        if judge.ear is None:
            raise Precondition(f"expected a small judge in {self.checkpoint.folder}, found one with a codec instead")
        return judge

    def rate(self, network: SAJ) -> int:
        """Returns the judge's sampling rate in Hz."""
        return network.processor.rate

    def vectors(self, network: SAJ, piece: Audio) -> Tensor:
        """Returns one embedding per window, by one call of the encoder."""
        assert network.ear is not None
        frames = network.ear.encode_mixtures(network.batch([piece])[0])[0]
        together = math.ceil(round(self.window * network.processor.rate / network.processor.hop, 6))
        return torch.stack([frames[part].mean(dim=0) for part in split_evenly(len(frames), max(1, together))])
