"""Encoder of a small judge: comparisons of mixture and answer, and what is known of the prompt in them.

Attributes have the names of the checkpoint: ``listener`` is the audio encoder, ``words`` the word vectors,
``prototypes`` recordings of known classes.

Letters: B batch, T samples, F frames of the judge, E of an embedding, K comparisons, t of a text, P prototypes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from sam_audio_bench.errors import Precondition
from sam_audio_bench.judge.audio_encoder import FRAME, RATE, ROWS, AudioEncoder
from sam_audio_bench.judge.config import SmallConfig
from sam_audio_bench.judge.front_end import COMPARISONS, compare, framed_energy, framed_pitch, mixture_rows
from sam_audio_bench.judge.prompt_marks import (
    EVENT_MARKS,
    MARKS,
    VOICE_MARKS,
    Prototypes,
    Triplet,
    event_marks,
    nearness,
    voice_marks,
)
from sam_audio_bench.judge.word_vectors import WordVectors

__all__ = ["INPUTS", "SPAN_STATES", "SmallEncoder"]

SPAN_STATES = 3
"""No span, sound present, sound absent: `sam_audio_bench.nn.conditioning.ANCHORS` without padding."""

INPUTS = COMPARISONS + MARKS + SPAN_STATES
"""Numbers of a frame, see `SmallEncoder.marks`."""

_TRUSTED = slice(COMPARISONS + EVENT_MARKS + VOICE_MARKS, COMPARISONS + MARKS - 1)
"""Those that are 0 where the text's class is not known: prototypes, and how near the text is to one."""

_VOICE = slice(COMPARISONS + EVENT_MARKS, COMPARISONS + EVENT_MARKS + VOICE_MARKS)

_CONTEXTS = 6


class SmallEncoder(nn.Module):
    """Audio encoder, word vectors and prototypes, which are made beforehand, and one layer trained with the judge.

    Args:
        config: dimensions.
        width: of the features.

    Raises:
        Precondition: frames that do not hold whole embeddings.
    """

    def __init__(self, config: SmallConfig, width: int) -> None:
        super().__init__()
        self.config = config
        self.listener = AudioEncoder(config.listener)
        self.words = WordVectors(config.words)
        self.embedding, self.text = config.listener.width, config.words.width
        self.prototypes = Prototypes(config.prototypes, embedding=self.embedding, text=self.text)
        self.rows = config.steps * ROWS
        if self.rows != self.listener.config.step:
            found = f"{self.rows} and {self.listener.config.step}"
            raise Precondition(f"expected as many rows in a frame as in an embedding, found {found}")
        self.register_buffer("usual", torch.zeros(INPUTS))
        self.register_buffer("deviation", torch.ones(INPUTS))
        self.evidence = nn.Sequential(
            nn.Dropout(config.dropout),
            nn.Linear(INPUTS * _CONTEXTS, config.hidden),
            nn.SiLU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.hidden, width),
        )

    @property
    def hop(self) -> int:
        """Samples per frame."""
        return self.config.steps * FRAME

    @property
    def rate(self) -> int:
        """Hz."""
        return RATE

    def check_inputs(self, tensors: Mapping[str, Tensor], source: Path) -> None:
        """Raises Precondition for the checkpoint of a judge that was told other numbers of a frame than this one."""
        usual = tensors.get("ear.usual")
        if usual is not None and usual.shape != self.usual.shape:
            raise Precondition(
                f"expected a small judge that is told {len(self.usual)} numbers of a frame, found {len(usual)} in "
                f"{source}: it was trained with another version of sam-audio-bench; train it again, from its recipe"
            )

    def encode_mixtures(self, mixtures: Tensor) -> Tensor:
        """Embeddings of mixtures, ``[B, 1, T] -> [B, F, E]``."""
        return self.listener.embedding(mixture_rows(self._placed(mixtures)))

    def encode_answers(self, mixtures: Tensor, answers: Tensor) -> Tensor:
        """Embeddings of answers and residuals, and comparisons: the second part of `encode_pair`."""
        found = compare(self._placed(mixtures), self._placed(answers), self.rows)
        answer, residual = self.listener.embedding(torch.cat([found.answer, found.residual])).chunk(2)
        return torch.cat([answer, residual, found.comparisons], dim=-1)

    def encode_pair(self, mixtures: Tensor, answers: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings of mixtures; and of answers and residuals, beside comparisons of answers with their mixtures.

        Args:
            mixtures: ``[B, 1, T]``, or ``[1, 1, T]`` for all answers.
            answers: ``[B, 1, T]``.

        Returns:
            ``[B, F, E]`` or ``[1, F, E]``, and ``[B, F, 2 E + COMPARISONS]``.
        """
        found = compare(self._placed(mixtures), self._placed(answers), self.rows)
        heard = self.listener.embedding(torch.cat([found.mixture, found.answer, found.residual]))
        mixture, answer, residual = torch.split(heard, [len(mixtures), len(answers), len(answers)])
        return mixture, torch.cat([answer, residual, found.comparisons], dim=-1)

    def _placed(self, clips: Tensor) -> Tensor:
        """Clips ``[B, 1, T]`` as ``[B, T]``, where the encoder is."""
        return clips[:, 0].to(self.prototypes.centre.device, torch.float32)

    def encode_text(self, ids: Tensor, mask: Tensor | None) -> Tensor:
        """Text embeddings, ``[B, S] -> [B, t]``."""
        vectors: Tensor = self.words(ids, ids != 0 if mask is None else mask)
        return vectors

    def marks(
        self,
        mixtures: Tensor,
        answers: Tensor,
        texts: Tensor,
        *,
        keep: Tensor | None = None,
        spans: Tensor | None = None,
        known: Tensor | None = None,
    ) -> Tensor:
        """Everything that is told of a frame: comparisons, marks of the prompt, and spans.

        Args:
            mixtures: ``[B, F, E]`` or ``[1, F, E]``, from `encode_pair`.
            answers: ``[B, F, 2 E + COMPARISONS]``, from `encode_pair`.
            texts: ``[B, t]``.
            keep: bool ``[B, F]``, true for real frames; None: all.
            spans: ``[B, F, SPAN_STATES]``, one-hot; None: no frame is in a span or out of one.
            known: see `Prototypes.likeness`.

        Returns:
            ``[B, F, INPUTS]``.
        """
        width = self.embedding
        answer, residual, comparisons = torch.split(answers, [width, width, answers.shape[-1] - 2 * width], dim=-1)
        embeddings = Triplet(mixtures.expand_as(answer), answer, residual)
        events = Triplet(*(self.listener.events(one).sigmoid() for one in embeddings.all()))
        trust = nearness(texts, self.prototypes.texts)
        real = torch.ones_like(comparisons[..., :1]) if keep is None else keep[..., None]
        energies = Triplet(*(one * real for one in framed_energy(comparisons)))
        parts = [
            comparisons,
            event_marks(events, embeddings, self.words.event_weights(texts)),
            voice_marks(texts, self.prototypes.voices, Triplet(*framed_pitch(comparisons))),
            self.prototypes.marks(embeddings, energies, texts, trust, known),
            *(one[:, None].expand(-1, comparisons.shape[1], -1) for one in (trust, nearness(texts, self.words.names))),
            self._spans(spans, comparisons),
        ]
        return torch.cat([part.to(comparisons) for part in parts], dim=-1)

    def with_voices_moved(self, marks: Tensor, octaves: Tensor) -> Tensor:
        """Marks ``[B, F, INPUTS]`` as if all voices of a clip were higher by so many octaves ``[B]``."""
        moved = marks.clone()
        for pitch in framed_pitch(moved):
            pitch += octaves[:, None] * (pitch != 0)  # of a part of the clone; where there is no voice, there is none
        mixture, answer, residual = framed_pitch(moved)
        woman = moved[..., _VOICE][..., :1]
        moved[..., _VOICE][..., 2:] = torch.stack([answer, mixture, residual], dim=-1) * woman
        return moved

    def standardise(self, marks: Tensor) -> None:
        """Takes mean and standard deviation of marks ``[N, INPUTS]`` as the usual ones."""
        self.usual, self.deviation = marks.mean(dim=0), marks.std(dim=0).clamp(min=0.05)

    def features(self, marks: Tensor, *, text_trust: Tensor | None, keep: Tensor | None) -> Tensor:
        """Features of each frame, ``[B, F, INPUTS] -> [B, F, width]``; arguments as `JudgeNetwork.rate_frames`."""
        if text_trust is not None:
            factor = torch.ones_like(marks[:, :1])
            factor[..., _TRUSTED] = text_trust[:, None].to(marks)
            marks = marks * factor
        if keep is None:
            keep = torch.ones(marks.shape[:2], dtype=torch.bool, device=marks.device)
        energies = framed_energy(marks[..., :COMPARISONS])[1:]  # of answer and residual
        found: Tensor = self.evidence(_with_context((marks - self.usual) / self.deviation, keep, energies))
        return found

    def _spans(self, spans: Tensor | None, like: Tensor) -> Tensor:
        """One-hot ``[B, F, SPAN_STATES]``; frames of which nothing is said are in the first state."""
        if spans is None:
            spans = torch.zeros(*like.shape[:2], SPAN_STATES, device=like.device)
        said = spans.sum(dim=-1, keepdim=True)
        return torch.cat([spans[..., :1] + 1 - said, spans[..., 1:]], dim=-1).to(like)


def _with_context(marks: Tensor, keep: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """Marks of a frame, and of the clip their mean, deviation, maximum, and means with each of some weights.

    Args:
        marks: ``[B, F, K]``.
        keep: bool ``[B, F]``.
        weights: ``[B, F, 1]`` each.

    Returns:
        ``[B, F, _CONTEXTS * K]``.
    """
    real = keep[..., None].to(marks)
    mean = (marks * real).sum(dim=1, keepdim=True) / real.sum(dim=1, keepdim=True)
    spread = (marks - mean).square()
    found = [
        mean,
        ((spread * real).sum(dim=1, keepdim=True) / real.sum(dim=1, keepdim=True) + 1e-6).sqrt(),
        marks.masked_fill(~keep[..., None], -torch.inf).amax(dim=1, keepdim=True),
    ]
    for weight in weights:
        loud = weight * real
        found.append((marks * loud).sum(dim=1, keepdim=True) / loud.sum(dim=1, keepdim=True).clamp(min=1e-9))
    return torch.cat([marks, *(one.expand_as(marks) for one in found)], dim=-1)
