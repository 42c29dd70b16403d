"""Evidence of a prompt's sound for a small judge: events of similar names, and similarity to recordings of its class.

Events are predicted by the audio encoder and weighted by the similarity of their names to the prompt, so that every
prompt has some. For known classes there are prototypes: embeddings of a few recordings of each, in the directions that
discriminate classes. A sound is compared with the prompt's class and with its rivals.

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
    "NUM_EVENT_FEATURES",
    "NUM_PROMPT_FEATURES",
    "NUM_VOICE_FEATURES",
    "VOICES",
    "Prototypes",
    "PrototypesConfig",
    "SignalTriplet",
    "event_features",
    "text_familiarity",
    "voice_features",
]

NUM_EVENT_FEATURES = 12
"""Features per frame, see `event_features`."""

NUM_VOICE_FEATURES = 5
"""Features per frame, see `voice_features`."""

NUM_PROMPT_FEATURES = NUM_EVENT_FEATURES + NUM_VOICE_FEATURES + 12 + 2
"""Features of a prompt per frame: those of `event_features`, `voice_features` and `Prototypes.features`, and the
similarity of the text to a known class and to an event."""

VOICES = ("man male", "woman female", "child kid")
"""Texts that name the kind of a voice."""

_FAR, _NEAR = 0.82, 0.95
"""Cosines to the nearest name up to which a prompt is unfamiliar, and from which it means the name. Of the texts of the
training recordings, the nearest other text belongs to the same class in 72 % of the cases at 0.75 to 0.85, in 79 % at
0.85 to 0.9, in 95 % at 0.9 to 0.95, and always above."""

_NEUTRAL, _CLEAR = 0.35, 0.65
"""Lead in cosine of one of `VOICES` over another from which a text begins to name a kind of voice, and from which it
does. Among texts without one, "human" has the largest lead, 0.31; "male vocals" has 0.64."""

_TEMPERATURE = 0.05
_RIVAL = 0.25  # of the prompt's highest weight: classes and events below it are rivals


@dataclass(frozen=True, kw_only=True)
class PrototypesConfig(Config):
    """Sizes of `Prototypes`."""

    count: int = 0
    classes: int = 0
    texts: int = 0
    width: int = 64


@dataclass(frozen=True, slots=True)
class SignalTriplet:
    """The same feature of mixture, estimate and residual."""

    mixture: Tensor
    estimate: Tensor
    residual: Tensor

    def as_tuple(self) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the three in the order in which they are concatenated."""
        return self.mixture, self.estimate, self.residual


def text_familiarity(texts: Tensor, names: Tensor) -> Tensor:
    """Returns how similar texts ``[B, t]`` are to the nearest name of ``[N, t]``, ``[B, 1]`` in [0, 1]; 0 if N is 0."""
    if not len(names):
        return torch.zeros_like(texts[:, :1])
    nearest = name_cosines(texts, names).amax(dim=-1, keepdim=True)
    return ((nearest - _FAR) / (_NEAR - _FAR)).clamp(0, 1)


def event_features(events: SignalTriplet, embeddings: SignalTriplet, weights: Tensor) -> Tensor:
    """Returns twelve features per frame, ``[B, F, 12]``.

    For mixture, estimate and residual: probability of the prompt's events (mean and maximum) and maximum probability of
    other events; then cosines between the embeddings of the three.

    Args:
        events: probabilities ``[B, F, N]``.
        embeddings: ``[B, F, E]``.
        weights: of the events for the text, ``[B, N]``, summing to 1.
    """
    top = weights / weights.amax(dim=-1, keepdim=True)
    found = []
    for one in events.as_tuple():
        found += [
            torch.einsum("bfn,bn->bf", one, weights),
            (one * top[:, None]).amax(dim=-1),
            (one * (top[:, None] < _RIVAL)).amax(dim=-1),
        ]
    parts = embeddings.as_tuple()
    found += [F.cosine_similarity(parts[a], parts[b], dim=-1, eps=1e-6) for a, b in ((0, 1), (0, 2), (1, 2))]
    return torch.stack(found, dim=-1)


def voice_features(texts: Tensor, voices: Tensor, pitches: SignalTriplet) -> Tensor:
    """Returns five features per frame, ``[B, F, 5]``: which voice the text names, and whether pitches agree with it.

    They are: whether the text names a woman (1) or a man (-1), whether it names a child, and the former times the pitch
    of estimate, mixture and residual. The events of AudioSet distinguish children's voices from others but not women's
    from men's. All are 0 for a text that names no kind of voice, such as "vocals".

    Args:
        texts: unit vectors ``[B, t]``.
        voices: those of `VOICES`, ``[3, t]``.
        pitches: in octaves above 165 Hz, which lies between men's and women's, ``[B, F]``.
    """
    man, woman, child = name_cosines(texts, voices).unbind(-1)
    woman, child = _soft_sign(2 * (woman - man)), _soft_sign(2 * (child - torch.maximum(man, woman))).clamp(min=0)
    pitched = [woman * one for one in (pitches.estimate, pitches.mixture, pitches.residual)]
    return torch.stack([woman.expand_as(pitched[0]), child.expand_as(pitched[0]), *pitched], dim=-1)


def _soft_sign(lead: Tensor) -> Tensor:
    """Maps leads ``[B]`` to [-1, 1], ``[B, 1]``; 0 if a lead of either sign is too small to be meaningful."""
    return (((lead.abs() - _NEUTRAL) / (_CLEAR - _NEUTRAL)).clamp(0, 1) * lead.sign())[:, None]


class Prototypes(nn.Module):
    """Embeddings of recordings of the classes that a judge knows, and the texts of these classes and of voices.

    A class has several texts, and a text may belong to several classes: "speech" to those of men, women and children.
    All tensors are buffers.
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
        """Projects embeddings ``[..., E]`` to unit vectors ``[..., D]``."""
        return F.normalize((embeddings - self.centre.to(embeddings)) @ self.projection.to(embeddings), dim=-1)

    def weights(self, texts: Tensor) -> Tensor:
        """Returns the similarity of texts to the nearest text of each class, ``[B, t] -> [B, C]``; the highest is 1."""
        cosines = name_cosines(texts, self.texts)
        empty = cosines.new_full((len(texts), self.config.classes), -1.0)
        nearest = empty.scatter_reduce(1, self.meaning.expand_as(cosines), cosines, "amax")
        return ((nearest - nearest.amax(dim=-1, keepdim=True)) / _TEMPERATURE).exp()

    def likeness(self, embeddings: Tensor, known: Tensor | None) -> Tensor:
        """Returns the cosine to the nearest prototype of each class: ``[B, F, E] -> [B, F, C]``.

        Args:
            embeddings: ``[B, F, E]``.
            known: bool ``[B, P]``, prototypes that may be used; None: all. A class without any gets -1.
        """
        cosines = self.directions(embeddings) @ self.table.to(embeddings).T
        if known is not None:
            cosines = cosines.masked_fill(~known[:, None], -1.0)
        empty = cosines.new_full((*cosines.shape[:2], self.config.classes), -1.0)
        return empty.scatter_reduce(2, self.owner.expand_as(cosines), cosines, "amax")

    def features(
        self, embeddings: SignalTriplet, energies: SignalTriplet, texts: Tensor, trust: Tensor, known: Tensor | None
    ) -> Tensor:
        """Returns twelve features per frame, ``[B, F, 12]``.

        For mixture, estimate and residual: similarity to the prompt's class and to the most similar other class, of the
        frame and of the whole clip. If the prompt may mean several classes, the most similar one counts, since any of
        them is right. All are multiplied by ``trust``.

        Args:
            embeddings: ``[B, F, E]``.
            energies: of each frame, ``[B, F, 1]``, zero for padding.
            texts: ``[B, t]``.
            trust: how familiar the text is, ``[B, 1]`` from 0 to 1.
            known: see `likeness`.
        """
        if not len(self.table):
            return embeddings.mixture.new_zeros(*embeddings.mixture.shape[:2], 12)
        weights = self.weights(texts)
        rivals = weights < _RIVAL
        found = []
        for one, energy in zip(embeddings.as_tuple(), energies.as_tuple(), strict=True):
            whole = (one * energy).sum(dim=1, keepdim=True) / energy.sum(dim=1, keepdim=True).clamp(min=1e-9)
            for part in (one, whole):
                like = self.likeness(part, known)
                own = ((like + 1) * weights[:, None] - 1).amax(
                    dim=-1
                )  # -1, as for dissimilar ones, if the class is not meant
                other = like.masked_fill(~rivals[:, None], -1.0).amax(dim=-1)
                found += [feature.expand(one.shape[:2]) for feature in (own, other)]
        return torch.stack(found, dim=-1) * trust[:, None]
