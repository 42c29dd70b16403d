"""Container of the ratings that a judge predicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["AXES", "JudgeScores"]

AXES = ("overall", "recall", "precision", "faithfulness")
"""The four axes of ratings, in the order of the network's outputs; 1 is worst, 5 best."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeScores:
    """Ratings of B estimates, nominally from 1 to 5; those of the released judge are not clipped.

    Attributes:
        values: ``[B, 4]``, columns as `AXES`.
        frames: ``[B, T, 4]``, ratings per frame; zero after the end of an estimate. Without calibration and clipping,
            their mean over an estimate is its row of ``values``.
        keep: bool ``[B, T]``, true for frames of the estimate, false for padding.
        spread: ``[B, 4]``, predicted standard deviation of the error; None if the judge predicts none.
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
        """Overall match of estimate and prompt, ``[B, 1]``."""
        return self.values[:, 0:1]

    @property
    def recall(self) -> Tensor:
        """Completeness: how much of the target is preserved, ``[B, 1]``."""
        return self.values[:, 1:2]

    @property
    def precision(self) -> Tensor:
        """Absence of other sounds, ``[B, 1]``."""
        return self.values[:, 2:3]

    @property
    def faithfulness(self) -> Tensor:
        """Absence of distortion of the target, ``[B, 1]``."""
        return self.values[:, 3:4]
