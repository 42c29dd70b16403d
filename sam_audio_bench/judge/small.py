"""How a small judge hears and reads: a listener to log-mels and events, word vectors, evidence of the prompt.

Letters: B batch, T samples, F frames of the judge, h width of what is heard, t of a text, E of an embedding.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sam_audio_bench.judge.config import SmallConfig
from sam_audio_bench.judge.evidence import Evidence, Sides
from sam_audio_bench.judge.listener import BANDS, FRAME, RATE, ROWS, Listener
from sam_audio_bench.judge.words import WordVectors

__all__ = ["HeardSides", "SmallEar"]

_FAR, _NEAR = 0.8, 0.95
"""Cosines to the nearest text of the training data at which words are not trusted at all, and fully."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeardSides:
    """Log-mels, embeddings and probabilities of events of mixtures, answers and residuals."""

    mels: Sides
    embeddings: Sides
    events: Sides


class SmallEar(nn.Module):
    """The listener and the words, which are trained before and apart, and the evidence, trained with the judge.

    Args:
        config: dimensions.
        width: of the evidence.
    """

    familiar: Tensor

    def __init__(self, config: SmallConfig, width: int) -> None:
        super().__init__()
        self.config = config
        self.listener = Listener(config.listener)
        self.words = WordVectors(config.words)
        self.mel_width = config.steps * ROWS * BANDS
        self.width, self.text = config.listener.width, config.words.width
        self.evidence = Evidence(
            config.evidence,
            bands=BANDS,
            rows=config.steps * ROWS,
            embedding=self.width,
            text=self.text,
            width=width,
        )
        self.register_buffer("familiar", torch.zeros(config.familiar, self.text))

    @property
    def hop(self) -> int:
        """Samples a frame."""
        return self.config.steps * FRAME

    @property
    def rate(self) -> int:
        """Hz."""
        return RATE

    def level(self, mixtures: Tensor) -> Tensor:
        """Gain that brings each mixture to the level that all are heard at, ``[B, 1, 1]``; 1 for silence."""
        power = mixtures.double().square().mean(dim=-1, keepdim=True)
        wanted = 10 ** (self.config.level_db / 20)
        return torch.where(power > 0, wanted / power.sqrt(), 1.0).to(mixtures.dtype)

    def residual(self, mixtures: Tensor, answers: Tensor) -> Tensor:
        """Mixtures without what their answers have of them, by the gain with the least energy left over."""
        wide, other = mixtures.double(), answers.double()
        power = other.square().sum(dim=-1, keepdim=True)
        gain = torch.where(power > 0, (wide * other).sum(dim=-1, keepdim=True) / power, 0.0)
        return (wide - gain * other).to(mixtures.dtype)

    def forward(self, values: Tensor) -> Tensor:
        """Log-mels and embeddings of the frames, side by side: ``[B, 1, T] -> [B, F, h]``; no gradient flows."""
        with torch.no_grad():
            heard = self.listener.encode(values.to(self.familiar.device, torch.float32))
        mels, embeddings = (torch.unflatten(one, 1, (-1, self.config.steps)) for one in (heard.mel, heard.embedding))
        return torch.cat([mels.flatten(2), embeddings.mean(dim=2)], dim=-1)

    def read(self, ids: Tensor, mask: Tensor | None) -> Tensor:
        """Vectors of texts, ``[B, S] -> [B, t]``."""
        vectors: Tensor = self.words(ids, ids != 0 if mask is None else mask)
        return vectors

    def known(self, texts: Tensor) -> Tensor:
        """How near texts are to those of the training data: ``[B, t] -> [B, 1]`` in 0…1; 1 where none are stored."""
        if not len(self.familiar):
            return torch.ones_like(texts[:, :1])
        nearest = (texts @ F.normalize(self.familiar.to(texts), dim=-1).T).amax(dim=-1, keepdim=True)
        return ((nearest - _FAR) / (_NEAR - _FAR)).clamp(0, 1)

    def sides(self, mixtures: Tensor, answers: Tensor, residuals: Tensor) -> HeardSides:
        """What was heard ``[B, F, h]``, taken apart."""
        heard = [states.to(self.evidence.match.weight.dtype) for states in (mixtures, answers, residuals)]
        parts = [torch.split(states, [self.mel_width, self.width], dim=-1) for states in heard]
        events = [self.listener.events(embeddings).sigmoid() for _, embeddings in parts]
        return HeardSides(
            mels=Sides(*(mels for mels, _ in parts)),
            embeddings=Sides(*(embeddings for _, embeddings in parts)),
            events=Sides(*events),
        )

    def evidence_of(self, sides: HeardSides, texts: Tensor, known: Tensor, keep: Tensor | None) -> Tensor:
        """Evidence of the texts ``[B, t]`` in each frame, ``[B, F, width]``; arguments as `Evidence.forward`."""
        if keep is None:
            keep = torch.ones(sides.embeddings.mixture.shape[:2], dtype=torch.bool, device=texts.device)
        found: Tensor = self.evidence(
            sides.mels, sides.embeddings, sides.events, texts, self.words.events(texts), known, keep
        )
        return found
