"""Encoder of a small judge: compares mixture and estimate, and looks for the prompt in them.

Attributes have the names of the checkpoint: ``listener`` is the audio encoder, ``words`` the word vectors,
``prototypes`` holds recordings of known classes, ``evidence`` is the trained layer.

Letters: B batch, T samples, F frames of the judge, E width of an embedding, K features, t of a text, P prototypes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from sam_audio_bench.errors import Precondition
from sam_audio_bench.judge.audio_encoder import FRAME_SAMPLES, RATE, ROWS_PER_FRAME, AudioEncoder
from sam_audio_bench.judge.config import SmallConfig
from sam_audio_bench.judge.front_end import (
    NUM_COMPARISON_FEATURES,
    compare_spectra,
    frame_energies,
    frame_pitches,
    mixture_log_mel,
)
from sam_audio_bench.judge.prompt_features import (
    NUM_EVENT_FEATURES,
    NUM_PROMPT_FEATURES,
    NUM_VOICE_FEATURES,
    Prototypes,
    SignalTriplet,
    event_features,
    text_familiarity,
    voice_features,
)
from sam_audio_bench.judge.word_vectors import WordVectors

__all__ = ["NUM_INPUTS", "SPAN_STATES", "SmallEncoder"]

SPAN_STATES = 3
"""No span, sound present, sound absent: `sam_audio_bench.nn.conditioning.ANCHORS` without padding."""

NUM_INPUTS = NUM_COMPARISON_FEATURES + NUM_PROMPT_FEATURES + SPAN_STATES
"""Features per frame, see `SmallEncoder.frame_features`."""

_TRUSTED = slice(
    NUM_COMPARISON_FEATURES + NUM_EVENT_FEATURES + NUM_VOICE_FEATURES, NUM_COMPARISON_FEATURES + NUM_PROMPT_FEATURES - 1
)
"""Features that are 0 if the text's class is not known: those of prototypes, and the familiarity of the text."""

_VOICE = slice(
    NUM_COMPARISON_FEATURES + NUM_EVENT_FEATURES, NUM_COMPARISON_FEATURES + NUM_EVENT_FEATURES + NUM_VOICE_FEATURES
)

_CONTEXTS = 6


class SmallEncoder(nn.Module):
    """Audio encoder, word vectors and prototypes, which are made beforehand, and one layer that is trained.

    Args:
        config: dimensions.
        width: of the output.

    Raises:
        Precondition: a frame of the judge does not hold exactly one embedding.
    """

    def __init__(self, config: SmallConfig, width: int) -> None:
        super().__init__()
        self.config = config
        self.listener = AudioEncoder(config.listener)
        self.words = WordVectors(config.words)
        self.embedding, self.text = config.listener.width, config.words.width
        self.prototypes = Prototypes(config.prototypes, embedding=self.embedding, text=self.text)
        self.rows = config.steps * ROWS_PER_FRAME
        if self.rows != self.listener.config.step:
            found = f"{self.rows} and {self.listener.config.step}"
            raise Precondition(f"expected as many rows in a frame as in an embedding, found {found}")
        self.register_buffer("usual", torch.zeros(NUM_INPUTS))
        self.register_buffer("deviation", torch.ones(NUM_INPUTS))
        self.evidence = nn.Sequential(
            nn.Dropout(config.dropout),
            nn.Linear(NUM_INPUTS * _CONTEXTS, config.hidden),
            nn.SiLU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.hidden, width),
        )

    @property
    def hop(self) -> int:
        """Samples per frame."""
        return self.config.steps * FRAME_SAMPLES

    @property
    def rate(self) -> int:
        """Sampling rate in Hz."""
        return RATE

    def check_inputs(self, tensors: Mapping[str, Tensor], source: Path) -> None:
        """Raises Precondition if a checkpoint's judge has another number of features per frame."""
        usual = tensors.get("ear.usual")
        if usual is not None and usual.shape != self.usual.shape:
            raise Precondition(
                f"expected a small judge with {len(self.usual)} features per frame, found {len(usual)} in "
                f"{source}: it was trained with another version of sam-audio-bench; train it again, from its recipe"
            )

    def encode_mixtures(self, mixtures: Tensor) -> Tensor:
        """Returns embeddings of mixtures, ``[B, 1, T] -> [B, F, E]``."""
        return self.listener.encode(mixture_log_mel(self._to_device(mixtures)))

    def encode_estimates(self, mixtures: Tensor, estimates: Tensor) -> Tensor:
        """Returns embeddings of estimates and residuals, and comparison features: the second part of `encode_pair`."""
        found = compare_spectra(self._to_device(mixtures), self._to_device(estimates), self.rows)
        estimate, residual = self.listener.encode(torch.cat([found.estimate, found.residual])).chunk(2)
        return torch.cat([estimate, residual, found.comparisons], dim=-1)

    def encode_pair(self, mixtures: Tensor, estimates: Tensor) -> tuple[Tensor, Tensor]:
        """Returns embeddings of mixtures; and embeddings of estimates and residuals with comparison features.

        Args:
            mixtures: ``[B, 1, T]``, or ``[1, 1, T]`` for all estimates.
            estimates: ``[B, 1, T]``.

        Returns:
            ``[B, F, E]`` or ``[1, F, E]``, and ``[B, F, 2 E + NUM_COMPARISON_FEATURES]``.
        """
        found = compare_spectra(self._to_device(mixtures), self._to_device(estimates), self.rows)
        embeddings = self.listener.encode(torch.cat([found.mixture, found.estimate, found.residual]))
        mixture, estimate, residual = torch.split(embeddings, [len(mixtures), len(estimates), len(estimates)])
        return mixture, torch.cat([estimate, residual, found.comparisons], dim=-1)

    def _to_device(self, clips: Tensor) -> Tensor:
        """Moves clips ``[B, 1, T]`` to the encoder's device, as ``[B, T]``."""
        return clips[:, 0].to(self.prototypes.centre.device, torch.float32)

    def encode_text(self, ids: Tensor, mask: Tensor | None) -> Tensor:
        """Returns text embeddings, ``[B, S] -> [B, t]``."""
        vectors: Tensor = self.words(ids, ids != 0 if mask is None else mask)
        return vectors

    def frame_features(
        self,
        mixtures: Tensor,
        estimates: Tensor,
        texts: Tensor,
        *,
        keep: Tensor | None = None,
        spans: Tensor | None = None,
        known: Tensor | None = None,
    ) -> Tensor:
        """Returns all input features of each frame: comparisons, features of the prompt, and spans.

        Args:
            mixtures: ``[B, F, E]`` or ``[1, F, E]``, from `encode_pair`.
            estimates: ``[B, F, 2 E + NUM_COMPARISON_FEATURES]``, from `encode_pair`.
            texts: ``[B, t]``.
            keep: bool ``[B, F]``, true for real frames; None: all.
            spans: ``[B, F, SPAN_STATES]``, one-hot; None: there are no spans.
            known: see `Prototypes.likeness`.

        Returns:
            ``[B, F, NUM_INPUTS]``.
        """
        width = self.embedding
        estimate, residual, comparisons = torch.split(
            estimates, [width, width, estimates.shape[-1] - 2 * width], dim=-1
        )
        embeddings = SignalTriplet(mixtures.expand_as(estimate), estimate, residual)
        events = SignalTriplet(*(self.listener.event_logits(one).sigmoid() for one in embeddings.as_tuple()))
        trust = text_familiarity(texts, self.prototypes.texts)
        real = torch.ones_like(comparisons[..., :1]) if keep is None else keep[..., None]
        energies = SignalTriplet(*(one * real for one in frame_energies(comparisons)))
        parts = [
            comparisons,
            event_features(events, embeddings, self.words.event_weights(texts)),
            voice_features(texts, self.prototypes.voices, SignalTriplet(*frame_pitches(comparisons))),
            self.prototypes.features(embeddings, energies, texts, trust, known),
            *(
                one[:, None].expand(-1, comparisons.shape[1], -1)
                for one in (trust, text_familiarity(texts, self.words.names))
            ),
            self._spans(spans, comparisons),
        ]
        return torch.cat([part.to(comparisons) for part in parts], dim=-1)

    def shift_pitch(self, features: Tensor, octaves: Tensor) -> Tensor:
        """Returns features ``[B, F, NUM_INPUTS]`` as if all voices of a clip were higher by ``octaves``, ``[B]``."""
        moved = features.clone()
        for pitch in frame_pitches(moved):
            pitch += octaves[:, None] * (pitch != 0)  # a view of the clone; unvoiced frames have no pitch
        mixture, estimate, residual = frame_pitches(moved)
        woman = moved[..., _VOICE][..., :1]
        moved[..., _VOICE][..., 2:] = torch.stack([estimate, mixture, residual], dim=-1) * woman
        return moved

    def fit_standardisation(self, features: Tensor) -> None:
        """Sets the mean and standard deviation that standardise features to those of ``[N, NUM_INPUTS]``."""
        self.usual, self.deviation = features.mean(dim=0), features.std(dim=0).clamp(min=0.05)

    def project_features(self, features: Tensor, *, text_trust: Tensor | None, keep: Tensor | None) -> Tensor:
        """Projects features ``[B, F, NUM_INPUTS] -> [B, F, width]``; see `JudgeNetwork.rate_frame_features`."""
        if text_trust is not None:
            factor = torch.ones_like(features[:, :1])
            factor[..., _TRUSTED] = text_trust[:, None].to(features)
            features = features * factor
        if keep is None:
            keep = torch.ones(features.shape[:2], dtype=torch.bool, device=features.device)
        energies = frame_energies(features[..., :NUM_COMPARISON_FEATURES])[1:]  # of estimate and residual
        found: Tensor = self.evidence(_with_context((features - self.usual) / self.deviation, keep, energies))
        return found

    def _spans(self, spans: Tensor | None, like: Tensor) -> Tensor:
        """Returns one-hot states ``[B, F, SPAN_STATES]``; frames without a statement are in the first state."""
        if spans is None:
            spans = torch.zeros(*like.shape[:2], SPAN_STATES, device=like.device)
        stated = spans.sum(dim=-1, keepdim=True)
        return torch.cat([spans[..., :1] + 1 - stated, spans[..., 1:]], dim=-1).to(like)


def _with_context(features: Tensor, keep: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """Appends statistics over the clip to the features: mean, deviation, maximum, and weighted means.

    Args:
        features: ``[B, F, K]``.
        keep: bool ``[B, F]``, true for real frames.
        weights: of the weighted means, ``[B, F, 1]`` each.

    Returns:
        ``[B, F, _CONTEXTS * K]``.
    """
    real = keep[..., None].to(features)
    mean = (features * real).sum(dim=1, keepdim=True) / real.sum(dim=1, keepdim=True)
    spread = (features - mean).square()
    found = [
        mean,
        ((spread * real).sum(dim=1, keepdim=True) / real.sum(dim=1, keepdim=True) + 1e-6).sqrt(),
        features.masked_fill(~keep[..., None], -torch.inf).amax(dim=1, keepdim=True),
    ]
    for weight in weights:
        loud = weight * real
        found.append((features * loud).sum(dim=1, keepdim=True) / loud.sum(dim=1, keepdim=True).clamp(min=1e-9))
    return torch.cat([features, *(one.expand_as(features) for one in found)], dim=-1)
