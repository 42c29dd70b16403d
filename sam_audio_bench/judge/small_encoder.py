"""Encoder of a small judge: audio encoder, word vectors and event features.

Attributes have the names of the checkpoint: ``listener`` is the audio encoder, ``words`` the word vectors, ``evidence``
the event features, ``familiar`` the text embeddings of the training data.

Letters: B batch, T samples, F frames of the judge, h width of the audio features, t of a text, E of an embedding.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sam_audio_bench.judge.audio_encoder import BANDS, FRAME, RATE, ROWS, AudioEncoder
from sam_audio_bench.judge.config import SmallConfig
from sam_audio_bench.judge.event_features import EventFeatures, Triplet
from sam_audio_bench.judge.word_vectors import WordVectors

__all__ = ["EncodedTriplet", "SmallEncoder"]

_FAR, _NEAR = 0.8, 0.95
"""Cosines to the nearest text of the training data at which the text embedding has no weight, and full weight."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedTriplet:
    """Log-mels, embeddings and event probabilities of mixtures, estimates and residuals."""

    mels: Triplet
    embeddings: Triplet
    events: Triplet


class SmallEncoder(nn.Module):
    """Audio encoder and word vectors, which are trained beforehand, and event features, trained with the judge.

    Args:
        config: dimensions.
        width: of the event features.
    """

    familiar: Tensor

    def __init__(self, config: SmallConfig, width: int) -> None:
        super().__init__()
        self.config = config
        self.listener = AudioEncoder(config.listener)
        self.words = WordVectors(config.words)
        self.mel_width = config.steps * ROWS * BANDS
        self.width, self.text = config.listener.width, config.words.width
        self.evidence = EventFeatures(
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
        """Samples per frame."""
        return self.config.steps * FRAME

    @property
    def rate(self) -> int:
        """Hz."""
        return RATE

    def input_gain(self, mixtures: Tensor) -> Tensor:
        """Gain that brings each mixture to the level of the config, ``[B, 1, 1]``; 1 for silence."""
        power = mixtures.double().square().mean(dim=-1, keepdim=True)
        target = 10 ** (self.config.level_db / 20)
        return torch.where(power > 0, target / power.sqrt(), 1.0).to(mixtures.dtype)

    def residual(self, mixtures: Tensor, answers: Tensor) -> Tensor:
        """Mixtures minus their estimates, scaled by the gain that leaves the least energy."""
        wide, other = mixtures.double(), answers.double()
        power = other.square().sum(dim=-1, keepdim=True)
        gain = torch.where(power > 0, (wide * other).sum(dim=-1, keepdim=True) / power, 0.0)
        return (wide - gain * other).to(mixtures.dtype)

    def forward(self, values: Tensor) -> Tensor:
        """Log-mels and embeddings of the frames, concatenated: ``[B, 1, T] -> [B, F, h]``; no gradient flows."""
        with torch.no_grad():
            encoded = self.listener.encode(values.to(self.familiar.device, torch.float32))
        mels, embeddings = (
            torch.unflatten(one, 1, (-1, self.config.steps)) for one in (encoded.mel, encoded.embedding)
        )
        return torch.cat([mels.flatten(2), embeddings.mean(dim=2)], dim=-1)

    def encode_text(self, ids: Tensor, mask: Tensor | None) -> Tensor:
        """Text embeddings, ``[B, S] -> [B, t]``."""
        vectors: Tensor = self.words(ids, ids != 0 if mask is None else mask)
        return vectors

    def text_familiarity(self, texts: Tensor) -> Tensor:
        """Similarity of texts to those of the training data: ``[B, t] -> [B, 1]`` in 0…1; 1 where none are stored."""
        if not len(self.familiar):
            return torch.ones_like(texts[:, :1])
        nearest = (texts @ F.normalize(self.familiar.to(texts), dim=-1).T).amax(dim=-1, keepdim=True)
        return ((nearest - _FAR) / (_NEAR - _FAR)).clamp(0, 1)

    def split_states(self, mixtures: Tensor, answers: Tensor, residuals: Tensor) -> EncodedTriplet:
        """Splits audio features ``[B, F, h]`` into their parts."""
        inputs = [states.to(self.evidence.match.weight.dtype) for states in (mixtures, answers, residuals)]
        parts = [torch.split(states, [self.mel_width, self.width], dim=-1) for states in inputs]
        events = [self.listener.events(embeddings).sigmoid() for _, embeddings in parts]
        return EncodedTriplet(
            mels=Triplet(*(mels for mels, _ in parts)),
            embeddings=Triplet(*(embeddings for _, embeddings in parts)),
            events=Triplet(*events),
        )

    def event_features(self, states: EncodedTriplet, texts: Tensor, text_trust: Tensor, keep: Tensor | None) -> Tensor:
        """Features of each frame for the texts ``[B, t]``: ``[B, F, width]``; arguments as `EventFeatures.forward`."""
        if keep is None:
            keep = torch.ones(states.embeddings.mixture.shape[:2], dtype=torch.bool, device=texts.device)
        found: Tensor = self.evidence(
            states.mels, states.embeddings, states.events, texts, self.words.event_weights(texts), text_trust, keep
        )
        return found
