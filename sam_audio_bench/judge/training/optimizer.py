"""What the optimiser is told: which weights decay, how fast it goes, and the average of where it was."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from sam_audio_bench.judge.training.recipe import Optimizer
from sam_audio_bench.judge.training.student import PARTS_OF

__all__ = ["Average", "learning_rate", "parameter_groups"]


def parameter_groups(learning: Mapping[str, nn.Parameter], recipe: Optimizer) -> list[dict[str, Any]]:
    """Parameters by decay and share of the learning rate; vectors (biases, norms, tokens) do not decay."""
    backbone = tuple(f"judge.{prefix}." for prefix in PARTS_OF["backbone"])
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in learning.items():
        matrix = sum(size > 1 for size in parameter.shape) > 1
        share = recipe.backbone_rate if name.startswith(backbone) else 1.0
        groups.setdefault((recipe.weight_decay if matrix else 0.0, share), []).append(parameter)
    return [{"params": own, "weight_decay": decay, "share": share} for (decay, share), own in groups.items()]


def learning_rate(recipe: Optimizer, progress: float) -> float:
    """Warm-up, then half a cosine (Loshchilov and Hutter, ICLR 2017).

    Args:
        recipe: rates.
        progress: share of all steps that are done.
    """
    top, last = recipe.learning_rate, recipe.learning_rate * recipe.final_rate
    if progress < recipe.warmup:
        return top * max(progress / recipe.warmup, 1e-3)
    share = (progress - recipe.warmup) / max(1 - recipe.warmup, 1e-9)
    return last + (top - last) * (1 + math.cos(math.pi * min(share, 1.0))) / 2


class Average:
    """Exponential moving average of weights, of the few steps that there are in the beginning.

    Args:
        learning: the weights.
        decay: kept a step, in the long run; 0: the average is the last step.
    """

    def __init__(self, learning: Mapping[str, nn.Parameter], decay: float) -> None:
        self.decay = decay
        self._tensors = {name: one.detach().clone() for name, one in learning.items()}

    @torch.no_grad()
    def follow(self, learning: Mapping[str, nn.Parameter], step: int) -> None:
        """Takes a step in, the ``step``-th from 0."""
        decay = min(self.decay, (1 + step) / (10 + step)) if self.decay else 0.0
        for name, parameter in learning.items():
            self._tensors[name].lerp_(parameter, 1 - decay)

    def tensors(self) -> dict[str, Tensor]:
        """Copies of the averages, on the CPU."""
        return {name: one.cpu().clone() for name, one in self._tensors.items()}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes averages over."""
        for name, one in self._tensors.items():
            one.copy_(tensors[name])

    @contextmanager
    def in_place(self, learning: Mapping[str, nn.Parameter]) -> Iterator[None]:
        """Puts the averages in the place of the weights for a while."""
        kept = {name: one.detach().clone() for name, one in learning.items()}
        try:
            _put(learning, self._tensors)
            yield
        finally:
            _put(learning, kept)


@torch.no_grad()
def _put(learning: Mapping[str, nn.Parameter], tensors: Mapping[str, Tensor]) -> None:
    for name, parameter in learning.items():
        parameter.copy_(tensors[name])
