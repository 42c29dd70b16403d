"""Features of mixture, estimate and residual for a prompt: sound events and spectral detail.

Events are predicted by the audio encoder and weighted by the similarity of their names to the prompt, so that prompts
outside the training data have features too. Spectral detail shows what events do not: interference, gaps, missing
bands, musical noise.

Letters: B batch, F frames, M mel bands, R log-mel rows per frame, E width of an embedding, N events, t of a text.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sam_audio_bench.errors import Precondition
from sam_audio_bench.nn.config import Config

__all__ = ["EventFeatures", "EventFeaturesConfig", "Triplet"]

_LEVELS = 5  # log-mels of mixture, answer and residual, and how far answer and residual are below the mixture
_PATCH = 4  # rows and bands of the first patches
_MARKS = 17  # numbers per frame, see `EventFeatures.event_statistics`
_MEL_CENTRE, _MEL_SCALE = -4.0, 3.0  # typical log-mel of sounds at the judge's level


@dataclass(frozen=True, kw_only=True)
class EventFeaturesConfig(Config):
    """Dimensions of `EventFeatures`."""

    channels: tuple[int, ...] = (32, 64, 96)
    hidden: int = 128
    dropout: float = 0.1


@dataclass(frozen=True, slots=True)
class Triplet:
    """One feature of mixture, estimate and residual."""

    mixture: Tensor
    estimate: Tensor
    residual: Tensor

    def all(self) -> tuple[Tensor, Tensor, Tensor]:
        """The three, in the order in which they are concatenated."""
        return self.mixture, self.estimate, self.residual


class _Patches(nn.Module):
    """Patch encoder: each stage merges four neighbouring patches of rows and bands, with weights shared by all.

    Patches of one frame do not overlap other frames, so no frame depends on the length of the clip.
    """

    def __init__(self, channels: tuple[int, ...], bands: int) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.zeros(bands // _PATCH, channels[0]))
        sizes = [_LEVELS * _PATCH**2, *(4 * size for size in channels[:-1])]
        self.stages = nn.ModuleList(nn.Linear(size, own) for size, own in zip(sizes, channels, strict=True))

    def forward(self, x: Tensor) -> Tensor:
        """``[B, F, R, M, levels] -> [B, F, channels]``."""
        for number, stage in enumerate(self.stages):
            size = _PATCH if number == 0 else 2
            rows, bands = x.shape[2] // size, x.shape[3] // size
            x = torch.unflatten(torch.unflatten(x, 3, (bands, size)), 2, (rows, size)).transpose(3, 4).flatten(4)
            x = stage(x)
            x = F.silu(x + self.place if number == 0 else x)
        return x.flatten(2)


class EventFeatures(nn.Module):
    """Features of each frame with respect to a prompt.

    Args:
        config: dimensions.
        bands: M.
        rows: R.
        embedding: E.
        text: t.
        width: of the features.

    Raises:
        Precondition: rows or bands that the stages do not divide.
    """

    def __init__(
        self, config: EventFeaturesConfig, *, bands: int, rows: int, embedding: int, text: int, width: int
    ) -> None:
        super().__init__()
        self.bands, self.rows = bands, rows
        self.patches = _Patches(config.channels, bands)
        left = 2 ** (len(config.channels) - 1) * _PATCH
        if rows % left or bands % left:
            found = f"{rows} and {bands}"
            raise Precondition(f"expected rows and bands that {left} divides, found {found}; correct config.json")
        self.detail_proj = nn.Linear(config.channels[-1] * (rows // left) * (bands // left), width)
        self.match = nn.Linear(text, embedding, bias=False)
        self.marks_in = nn.Linear(3 * (_MARKS + 3), config.hidden)
        self.marks_out = nn.Linear(config.hidden, width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self,
        mels: Triplet,
        embeddings: Triplet,
        events: Triplet,
        text: Tensor,
        weights: Tensor,
        text_trust: Tensor,
        keep: Tensor,
    ) -> Tensor:
        """Features ``[B, F, width]``.

        Args:
            mels: log-mels ``[B, F, R * M]``.
            embeddings: ``[B, F, E]``.
            events: probabilities ``[B, F, N]``.
            text: ``[B, t]``.
            weights: of the events for the text, ``[B, N]``, summing to 1.
            text_trust: ``[B, 1]`` from 0 to 1, weight of the text embedding itself against that of its events.
            keep: bool ``[B, F]``, true for real frames.
        """
        matched = [(text_trust * self._text_similarity(one, text))[..., None] for one in embeddings.all()]
        event_statistics = torch.cat([self.event_statistics(mels, embeddings, events, weights), *matched], dim=-1)
        hidden = F.silu(self.marks_in(_with_context(event_statistics, keep)))
        found: Tensor = self.detail_proj(self.dropout(self.spectral_features(mels))) + self.marks_out(
            self.dropout(hidden)
        )
        return found

    def spectral_features(self, mels: Triplet) -> Tensor:
        """Spectral detail, ``[B, F, channels]``, independent of the prompt."""
        grids = [torch.unflatten(mel, -1, (self.rows, self.bands)) for mel in mels.all()]
        mixture, estimate, residual = ((grid - _MEL_CENTRE) / _MEL_SCALE for grid in grids)
        found: Tensor = self.patches(
            torch.stack([mixture, estimate, residual, estimate - mixture, residual - mixture], -1)
        )
        return found

    def event_statistics(self, mels: Triplet, embeddings: Triplet, events: Triplet, weights: Tensor) -> Tensor:
        """Seventeen numbers per frame, ``[B, F, 17]``.

        For mixture, estimate and residual: probability of the prompt's events (mean and maximum), maximum of other
        events, and level; then levels of estimate and residual below the mixture, and cosines of the embeddings.
        """
        top = weights / weights.amax(dim=-1, keepdim=True)
        found = []
        levels = [mel.mean(dim=-1) for mel in mels.all()]
        for one, level in zip(events.all(), levels, strict=True):
            found += [
                torch.einsum("bfn,bn->bf", one, weights),
                (one * top[:, None]).amax(dim=-1),
                (one * (1 - top[:, None])).amax(dim=-1),
                (level - _MEL_CENTRE) / _MEL_SCALE,
            ]
        found += [(levels[1] - levels[0]) / _MEL_SCALE, (levels[2] - levels[0]) / _MEL_SCALE]
        pairs = ((0, 1), (0, 2), (1, 2))
        parts = embeddings.all()
        found += [F.cosine_similarity(parts[a], parts[b], dim=-1, eps=1e-6) for a, b in pairs]
        return torch.stack(found, dim=-1)

    def _text_similarity(self, embeddings: Tensor, text: Tensor) -> Tensor:
        """Cosine similarity of audio and text embeddings, after a learned linear map: ``[B, F]``."""
        return F.cosine_similarity(embeddings, self.match(text)[:, None], dim=-1, eps=1e-6)


def _with_context(event_statistics: Tensor, keep: Tensor) -> Tensor:
    """Statistics of a frame, and their mean and maximum over the clip: ``[B, F, K] -> [B, F, 3 K]``."""
    real = keep[..., None]
    mean = (event_statistics * real).sum(dim=1, keepdim=True) / real.sum(dim=1, keepdim=True)
    most = event_statistics.masked_fill(~real, -torch.inf).amax(dim=1, keepdim=True)
    return torch.cat([event_statistics, mean.expand_as(event_statistics), most.expand_as(event_statistics)], dim=-1)
