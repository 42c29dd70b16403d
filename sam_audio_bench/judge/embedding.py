"""Sounds in the space of a small judge's audio encoder: an embedding that comes with the package."""

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
"""Seconds of sound that a vector is of, unless something else is asked for: those of VGGish, where `fad` began."""


class JudgeEmbedder(Embedder):
    """Means of the audio encoder's embeddings over windows; an embedding covers 160 ms and hears 1.3 s around it.

    The encoder hears a sound as a judge hears a mixture: at one level and without offset, so that neither counts.

    Args:
        judge: a name or folder of a small judge, see `find_judge`.
        window: see `Embedder`; None: `WINDOW`. Rounded up to whole embeddings.
        device: see `Embedder`.

    Raises:
        Precondition: no small judge is there.
    """

    def __init__(self, judge: str = DEFAULT, window: float | None = None, device: str = "auto") -> None:
        super().__init__(find_judge(judge), "audio encoder", WINDOW if window is None else window, device)

    def load(self) -> SAJ:
        """The judge."""
        judge = SAJ.from_pretrained(self.checkpoint, device=self.device)
        if judge.ear is None:
            raise Precondition(f"expected a small judge in {self.checkpoint.folder}, found one with a codec instead")
        return judge

    def rate(self, network: SAJ) -> int:
        """That of the judge."""
        return network.processor.rate

    def vectors(self, network: SAJ, piece: Audio) -> Tensor:
        """One call of the encoder a piece."""
        assert network.ear is not None
        frames = network.ear.encode_mixtures(network.batch([piece])[0])[0]
        together = math.ceil(round(self.window * network.processor.rate / network.processor.hop, 6))
        return torch.stack([frames[part].mean(dim=0) for part in split_evenly(len(frames), max(1, together))])
