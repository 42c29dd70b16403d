"""What a small judge knows of a prompt in a sound: events of that name, and recordings of that class.

Events are predicted by the audio encoder and weighted by the similarity of their names to the prompt, so that any
prompt has some. Of classes that the judge knows, prototypes are kept: embeddings of a few recordings of each, in the
directions that tell classes apart. A sound is like the prompt's class, and more or less so than like its rivals.

Letters: B batch, F frames, N events, E embedding, D width of a prototype, P prototypes, C classes, A texts of classes,
t of a text.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sam_audio_bench.judge.word_vectors import name_cosines
from sam_audio_bench.nn.config import Config

__all__ = [
    "EVENT_MARKS",
    "MARKS",
    "VOICES",
    "VOICE_MARKS",
    "Prototypes",
    "PrototypesConfig",
    "Triplet",
    "event_marks",
    "nearness",
    "voice_marks",
]

EVENT_MARKS = 12
"""Numbers of a frame, see `event_marks`."""

VOICE_MARKS = 5
"""Numbers of a frame, see `voice_marks`."""

MARKS = EVENT_MARKS + VOICE_MARKS + 12 + 2
"""Numbers of a frame for a prompt: those of `event_marks`, `voice_marks` and `Prototypes.marks`, and nearness to a
known class and to an event."""

VOICES = ("man male", "woman female", "child kid")
"""Texts that say whose voice is meant."""

_FAR, _NEAR = 0.82, 0.95
"""Cosines of a prompt to the nearest name at which the prompt is strange, and at which it is the name. Of the texts of
the training recordings, the nearest other text is of the same class in 72 % of the cases at 0.75 to 0.85, in 79 % at
0.85 to 0.9, in 95 % at 0.9 to 0.95, and always above."""

_NEUTRAL, _CLEAR = 0.35, 0.65
"""Lead of one of `VOICES` over another at which a text begins to name a voice, and at which it does; of texts without a
voice "human" leads by 0.31, of those with one "male vocals" by 0.64."""

_TEMPERATURE = 0.05
_RIVAL = 0.25  # of the prompt's greatest weight: classes and events below it are others


@dataclass(frozen=True, kw_only=True)
class PrototypesConfig(Config):
    """Sizes of `Prototypes`."""

    count: int = 0
    classes: int = 0
    texts: int = 0
    width: int = 64


@dataclass(frozen=True, slots=True)
class Triplet:
    """One feature of mixture, estimate and residual."""

    mixture: Tensor
    estimate: Tensor
    residual: Tensor

    def all(self) -> tuple[Tensor, Tensor, Tensor]:
        """The three, in the order in which they are concatenated."""
        return self.mixture, self.estimate, self.residual


def nearness(texts: Tensor, names: Tensor) -> Tensor:
    """How near texts ``[B, t]`` are to any of the names ``[N, t]``: ``[B, 1]`` from 0 to 1; 0 where there is none."""
    if not len(names):
        return torch.zeros_like(texts[:, :1])
    nearest = name_cosines(texts, names).amax(dim=-1, keepdim=True)
    return ((nearest - _FAR) / (_NEAR - _FAR)).clamp(0, 1)


def event_marks(events: Triplet, embeddings: Triplet, weights: Tensor) -> Tensor:
    """Twelve numbers per frame, ``[B, F, 12]``.

    For mixture, estimate and residual: probability of the prompt's events (mean and maximum) and maximum of other
    events; then cosines of the embeddings.

    Args:
        events: probabilities ``[B, F, N]``.
        embeddings: ``[B, F, E]``.
        weights: of the events for the text, ``[B, N]``, summing to 1.
    """
    top = weights / weights.amax(dim=-1, keepdim=True)
    found = []
    for one in events.all():
        found += [
            torch.einsum("bfn,bn->bf", one, weights),
            (one * top[:, None]).amax(dim=-1),
            (one * (top[:, None] < _RIVAL)).amax(dim=-1),
        ]
    parts = embeddings.all()
    found += [F.cosine_similarity(parts[a], parts[b], dim=-1, eps=1e-6) for a, b in ((0, 1), (0, 2), (1, 2))]
    return torch.stack(found, dim=-1)


def voice_marks(texts: Tensor, voices: Tensor, pitches: Triplet) -> Tensor:
    """Five numbers per frame, ``[B, F, 5]``: whose voice is asked for, and how well the pitches agree with that.

    Whether the text names a woman (1) or a man (-1), whether it names a child, and the former times the pitch of
    estimate, mixture and residual. The events of AudioSet tell children's voices from others but not women's from
    men's. All are 0 for a text that names nobody, such as "vocals", which may be anybody's.

    Args:
        texts: unit vectors ``[B, t]``.
        voices: those of `VOICES`, ``[3, t]``.
        pitches: in octaves above the middle between men and women, ``[B, F]``.
    """
    man, woman, child = name_cosines(texts, voices).unbind(-1)
    woman, child = _named(2 * (woman - man)), _named(2 * (child - torch.maximum(man, woman))).clamp(min=0)
    pitched = [woman * one for one in (pitches.estimate, pitches.mixture, pitches.residual)]
    return torch.stack([woman.expand_as(pitched[0]), child.expand_as(pitched[0]), *pitched], dim=-1)


def _named(lead: Tensor) -> Tensor:
    """From -1 to 1, 0 where a lead ``[B]`` of either sign is too small to mean anything: ``[B, 1]``."""
    return (((lead.abs() - _NEUTRAL) / (_CLEAR - _NEUTRAL)).clamp(0, 1) * lead.sign())[:, None]


class Prototypes(nn.Module):
    """Embeddings of recordings of the classes that a judge knows, and the texts of those classes and of voices.

    A class has several texts, and a text may belong to several classes: "speech" is a man's, a woman's or a child's.
    All are buffers.
    """

    centre: Tensor
    projection: Tensor
    table: Tensor
    owner: Tensor
    texts: Tensor
    meaning: Tensor
    voices: Tensor

    def __init__(self, config: PrototypesConfig, *, embedding: int, text: int) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("centre", torch.zeros(embedding))
        self.register_buffer("projection", torch.zeros(embedding, config.width))
        self.register_buffer("table", torch.zeros(config.count, config.width))
        self.register_buffer("owner", torch.zeros(config.count, dtype=torch.int64))
        self.register_buffer("texts", torch.zeros(config.texts, text))
        self.register_buffer("meaning", torch.zeros(config.texts, dtype=torch.int64))
        self.register_buffer("voices", torch.zeros(len(VOICES), text))

    def directions(self, embeddings: Tensor) -> Tensor:
        """Unit vectors ``[..., D]`` of embeddings ``[..., E]``."""
        return F.normalize((embeddings - self.centre.to(embeddings)) @ self.projection.to(embeddings), dim=-1)

    def weights(self, texts: Tensor) -> Tensor:
        """Similarity of texts to the nearest text of each class, ``[B, t] -> [B, C]``; the greatest is 1."""
        cosines = name_cosines(texts, self.texts)
        empty = cosines.new_full((len(texts), self.config.classes), -1.0)
        nearest = empty.scatter_reduce(1, self.meaning.expand_as(cosines), cosines, "amax")
        return ((nearest - nearest.amax(dim=-1, keepdim=True)) / _TEMPERATURE).exp()

    def likeness(self, embeddings: Tensor, known: Tensor | None) -> Tensor:
        """Cosine to the nearest prototype of each class: ``[B, F, E] -> [B, F, C]``.

        Args:
            embeddings: ``[B, F, E]``.
            known: bool ``[B, P]``, prototypes that may be used; None: all. A class without one gets -1.
        """
        cosines = self.directions(embeddings) @ self.table.to(embeddings).T
        if known is not None:
            cosines = cosines.masked_fill(~known[:, None], -1.0)
        empty = cosines.new_full((*cosines.shape[:2], self.config.classes), -1.0)
        return empty.scatter_reduce(2, self.owner.expand_as(cosines), cosines, "amax")

    def marks(
        self, embeddings: Triplet, energies: Triplet, texts: Tensor, trust: Tensor, known: Tensor | None
    ) -> Tensor:
        """Twelve numbers per frame, ``[B, F, 12]``.

        For mixture, estimate and residual: likeness to the prompt's class and to the likest other class, of the frame
        and of the whole clip. Of several classes that the prompt may mean, the likest counts: any kind of what is asked
        for is right. All are 0 where the text is not trusted.

        Args:
            embeddings: ``[B, F, E]``.
            energies: of each frame, ``[B, F, 1]``, zero for padding.
            texts: ``[B, t]``.
            trust: ``[B, 1]`` from 0 to 1.
            known: see `likeness`.
        """
        if not len(self.table):
            return embeddings.mixture.new_zeros(*embeddings.mixture.shape[:2], 12)
        weights = self.weights(texts)
        rivals = weights < _RIVAL
        found = []
        for one, energy in zip(embeddings.all(), energies.all(), strict=True):
            whole = (one * energy).sum(dim=1, keepdim=True) / energy.sum(dim=1, keepdim=True).clamp(min=1e-9)
            for part in (one, whole):
                like = self.likeness(part, known)
                own = ((like + 1) * weights[:, None] - 1).amax(dim=-1)  # -1, as if unlike, where it is not meant
                other = like.masked_fill(~rivals[:, None], -1.0).amax(dim=-1)
                found += [mark.expand(one.shape[:2]) for mark in (own, other)]
        return torch.stack(found, dim=-1) * trust[:, None]
