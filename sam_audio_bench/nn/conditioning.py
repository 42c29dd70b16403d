"""Conditioning on spans, as anchors, and on features of a masked video, both added to the frames.

Letters: B batch, T frames, D width, V width of the video features, L anchors of an item.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sam_audio_bench.errors import UsageError

__all__ = ["ANCHORS", "AnchorEmbedding", "VideoAlignment", "anchor_tables", "frame_count", "frame_mask"]

ANCHORS = {"<null>": 0, "+": 1, "-": 2, "<pad>": 3}
"""Anchor tokens of a frame: nothing stated, target present, target absent, padding."""

Anchor = tuple[str, float, float]


def frame_count(samples: int, hop: int) -> int:
    """Returns the number of latent frames of a clip.

    >>> frame_count(1920, 1920), frame_count(1921, 1920)
    (1, 2)
    """
    return math.ceil(samples / hop)


def frame_mask(sizes: Sequence[int]) -> Tensor:
    """Returns a mask, bool ``[B, T]``, true for real frames; T is the length of the longest item."""
    return torch.arange(max(sizes)) < torch.tensor(sizes)[:, None]


def anchor_tables(
    anchors: Sequence[Sequence[Anchor]], sizes: Sequence[int], *, hop: int, rate: int
) -> tuple[Tensor, Tensor]:
    """Returns token ids ``[B, L]`` of the anchors and, for each frame, the index of its anchor ``[B, T]``; int64.

    Every list begins with ``<null>``, for frames without an anchor, and ``<pad>``, for frames after the end of an item.
    A span reaches from frame ``ceil(start * rate / hop)`` to before frame ``ceil(end * rate / hop)``; a later anchor
    overrides an earlier one, and padding; negative times count from the end, as Python's slices do.

    Args:
        anchors: for each item (token of `ANCHORS`, start, end), in seconds.
        sizes: frames of each item.
        hop: samples per frame.
        rate: Hz.

    Raises:
        UsageError: the numbers of lists and items differ, or a token is unknown.
    """
    if len(anchors) != len(sizes):
        raise UsageError(f"expected one list of spans per item, found {len(anchors)} for {len(sizes)} items")
    rows = [[ANCHORS["<null>"], ANCHORS["<pad>"]] for _ in sizes]
    alignment = (~frame_mask(sizes)).long()
    for item, spans in enumerate(anchors):
        for token, start, end in spans:
            if token not in ANCHORS:
                raise UsageError(f"expected the sign of a span to be + or -, found {token!r}")
            # float64, multiplied before divided: 0.28 s at 48 kHz and a hop of 1920 is frame 8, not 7
            alignment[item, math.ceil(start * rate / hop) : math.ceil(end * rate / hop)] = len(rows[item])
            rows[item].append(ANCHORS[token])
    longest = max(map(len, rows))
    ids = [row + [ANCHORS["<pad>"]] * (longest - len(row)) for row in rows]
    return torch.tensor(ids), alignment


class AnchorEmbedding(nn.Module):
    """tanh(gate) * proj(embed(anchor of the frame)), to be added to the frames."""

    def __init__(self, anchors: int, width: int, dim: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(anchors + 1, width, padding_idx=anchors)
        self.gate = nn.Parameter(torch.zeros(1))
        self.proj = nn.Linear(width, dim, bias=False)

    def forward(self, ids: Tensor, alignment: Tensor) -> Tensor:
        """``ids [B, L]``, ``alignment [B, T]`` -> ``[B, T, D]``."""
        found: Tensor = self.gate.tanh() * self.proj(self.embed(ids.gather(1, alignment)))
        return found


class VideoAlignment(nn.Module):
    """tanh(gate) * layernorm(conv(features)), to be added to the frames.

    Without a video the released separator passes zeros, which add the norm of the convolution's bias.
    """

    def __init__(self, video_width: int, dim: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(video_width, dim, 1)
        self.layer_norm = nn.LayerNorm(dim)
        self.gate = nn.Parameter(torch.zeros(1))

    def forward(self, features: Tensor) -> Tensor:
        """``[B, V, T] -> [B, T, D]``."""
        found: Tensor = self.gate.tanh() * self.layer_norm(self.conv(features).transpose(1, 2))
        return found
