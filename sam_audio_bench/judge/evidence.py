"""What tells a small judge of a prompt: sound events and fine spectra of mixture, answer and residual, side by side.

Events are named by the listener and weighed by how near their names are to the prompt, so that a prompt that was never
trained on has evidence too. Spectra show what no event does: bleed, gaps, bands that are missing, musical noise.

Letters: B batch, F frames, M mel bands, R rows of the log-mel a frame, E width of an embedding, N events, t of a text.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sam_audio_bench.errors import Precondition
from sam_audio_bench.nn.config import Config

__all__ = ["Evidence", "EvidenceConfig", "Sides"]

_LEVELS = 5  # log-mels of mixture, answer and residual, and how far answer and residual are below the mixture
_PATCH = 4  # rows and bands of the first patches
_MARKS = 17  # numbers a frame, see `Evidence.marks`
_MEL_CENTRE, _MEL_SCALE = -4.0, 3.0  # typical log-mel of sounds at the judge's level


@dataclass(frozen=True, kw_only=True)
class EvidenceConfig(Config):
    """Dimensions of `Evidence`."""

    channels: tuple[int, ...] = (32, 64, 96)
    hidden: int = 128
    dropout: float = 0.1


@dataclass(frozen=True, slots=True)
class Sides:
    """One thing about mixture, answer and residual."""

    mixture: Tensor
    answer: Tensor
    residual: Tensor

    def all(self) -> tuple[Tensor, Tensor, Tensor]:
        """The three in the order in which they are put side by side."""
        return self.mixture, self.answer, self.residual


class _Patches(nn.Module):
    """Patches of rows and bands to numbers: each stage joins four neighbours, all frames and places share its weights.

    A frame's patches do not reach into its neighbours, so that no frame depends on the clip's length.
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


class Evidence(nn.Module):
    """Frames of evidence about a prompt.

    Args:
        config: dimensions.
        bands: M.
        rows: R.
        embedding: E.
        text: t.
        width: of the evidence.

    Raises:
        Precondition: rows or bands that the stages do not divide.
    """

    def __init__(self, config: EvidenceConfig, *, bands: int, rows: int, embedding: int, text: int, width: int) -> None:
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
        self, mels: Sides, embeddings: Sides, events: Sides, text: Tensor, weights: Tensor, known: Tensor, keep: Tensor
    ) -> Tensor:
        """Evidence ``[B, F, width]``.

        Args:
            mels: log-mels ``[B, F, R * M]``.
            embeddings: ``[B, F, E]``.
            events: probabilities ``[B, F, N]``.
            text: ``[B, t]``.
            weights: of the events for the text, ``[B, N]``, summing to 1.
            known: ``[B, 1]``, how far the words themselves are to be trusted, from 0 to 1.
            keep: bool ``[B, F]``, true for real frames.
        """
        matched = [(known * self._matched(one, text))[..., None] for one in embeddings.all()]
        marks = torch.cat([self.marks(mels, embeddings, events, weights), *matched], dim=-1)
        hidden = F.silu(self.marks_in(_with_context(marks, keep)))
        found: Tensor = self.detail_proj(self.dropout(self.detail(mels))) + self.marks_out(self.dropout(hidden))
        return found

    def detail(self, mels: Sides) -> Tensor:
        """Fine spectra, ``[B, F, channels]``: independent of the prompt."""
        grids = [torch.unflatten(mel, -1, (self.rows, self.bands)) for mel in mels.all()]
        mixture, answer, residual = ((grid - _MEL_CENTRE) / _MEL_SCALE for grid in grids)
        found: Tensor = self.patches(torch.stack([mixture, answer, residual, answer - mixture, residual - mixture], -1))
        return found

    def marks(self, mels: Sides, embeddings: Sides, events: Sides, weights: Tensor) -> Tensor:
        """Seventeen numbers a frame, ``[B, F, 17]``.

        Of mixture, answer and residual: the prompt's share of events (mean and strongest), the strongest other event,
        and the level; then levels of answer and residual below the mixture, and cosines between the embeddings.
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

    def _matched(self, embeddings: Tensor, text: Tensor) -> Tensor:
        """How near sounds are to the words, by a learned map: ``[B, F]``."""
        return F.cosine_similarity(embeddings, self.match(text)[:, None], dim=-1, eps=1e-6)


def _with_context(marks: Tensor, keep: Tensor) -> Tensor:
    """Marks of a frame beside their mean and maximum over the clip: ``[B, F, K] -> [B, F, 3 K]``."""
    real = keep[..., None]
    mean = (marks * real).sum(dim=1, keepdim=True) / real.sum(dim=1, keepdim=True)
    most = marks.masked_fill(~real, -torch.inf).amax(dim=1, keepdim=True)
    return torch.cat([marks, mean.expand_as(marks), most.expand_as(marks)], dim=-1)
