"""The ratings that a judge predicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["AXES", "JudgeScores"]

AXES = ("overall", "recall", "precision", "faithfulness")
"""The four ratings, in the order of the network's output; 1 is worst, 5 best."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeScores:
    """Ratings of B estimates, nominally from 1 to 5; the network's output is not clipped.

    Attributes:
        values: ``[B, 4]``, columns as `AXES`.
        frames: ``[B, T, 4]``, the same per frame; the mean over the frames of an estimate is its row of ``values``.
            Zero after its end.
        keep: bool ``[B, T]``, true for real frames.
        spread: ``[B, 4]``, predicted standard deviation of the error; None: the judge predicts none.
    """

    values: Tensor
    frames: Tensor
    keep: Tensor
    spread: Tensor | None = None

    @classmethod
    def joined(cls, parts: Sequence[JudgeScores]) -> JudgeScores:
        """Concatenates scores of estimates of one length."""
        spreads = [part.spread for part in parts if part.spread is not None]
        return cls(
            values=torch.cat([part.values for part in parts]),
            frames=torch.cat([part.frames for part in parts]),
            keep=torch.cat([part.keep for part in parts]),
            spread=torch.cat(spreads) if len(spreads) == len(parts) else None,
        )

    @property
    def overall(self) -> Tensor:
        """How well the estimate matches the prompt, ``[B, 1]``."""
        return self.values[:, 0:1]

    @property
    def recall(self) -> Tensor:
        """How much of the target is preserved, ``[B, 1]``."""
        return self.values[:, 1:2]

    @property
    def precision(self) -> Tensor:
        """How free the estimate is of other sounds, ``[B, 1]``."""
        return self.values[:, 2:3]

    @property
    def faithfulness(self) -> Tensor:
        """How little the target is distorted, ``[B, 1]``."""
        return self.values[:, 3:4]
