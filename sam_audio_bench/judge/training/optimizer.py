"""Optimisation: parameter groups, learning rate schedule, moving average of the weights."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from sam_audio_bench.judge.training.recipe import Optimizer
from sam_audio_bench.judge.training.trainable_model import PARTS_OF

__all__ = ["WeightEMA", "learning_rate", "parameter_groups"]


def parameter_groups(learning: Mapping[str, nn.Parameter], recipe: Optimizer) -> list[dict[str, object]]:
    """Parameter groups by weight decay and learning rate; vectors (biases, norms, tokens) have no weight decay."""
    backbone = tuple(f"judge.{prefix}." for prefix in PARTS_OF["backbone"])
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in learning.items():
        matrix = sum(size > 1 for size in parameter.shape) > 1
        share = recipe.backbone_rate if name.startswith(backbone) else 1.0
        groups.setdefault((recipe.weight_decay if matrix else 0.0, share), []).append(parameter)
    return [{"params": own, "weight_decay": decay, "share": share} for (decay, share), own in groups.items()]


def learning_rate(recipe: Optimizer, progress: float) -> float:
    """Linear warm-up, then cosine decay (Loshchilov and Hutter, ICLR 2017).

    Args:
        recipe: rates.
        progress: fraction of all steps that is done.
    """
    top, last = recipe.learning_rate, recipe.learning_rate * recipe.final_rate
    if progress < recipe.warmup:
        return top * max(progress / recipe.warmup, 1e-3)
    share = (progress - recipe.warmup) / max(1 - recipe.warmup, 1e-9)
    return last + (top - last) * (1 + math.cos(math.pi * min(share, 1.0))) / 2


class WeightEMA:
    """Exponential moving average of weights, with a warm-up of the decay.

    Args:
        learning: the weights.
        decay: per step, after the warm-up; 0: no averaging.
    """

    def __init__(self, learning: Mapping[str, nn.Parameter], decay: float) -> None:
        self.decay = decay
        self._tensors = {name: one.detach().clone() for name, one in learning.items()}

    @torch.no_grad()
    def update(self, learning: Mapping[str, nn.Parameter], step: int) -> None:
        """Adds the weights after step ``step``, counted from 0."""
        decay = min(self.decay, (1 + step) / (10 + step)) if self.decay else 0.0
        for name, parameter in learning.items():
            self._tensors[name].lerp_(parameter, 1 - decay)

    def tensors(self) -> dict[str, Tensor]:
        """Copies of the averages, on the CPU."""
        return {name: one.cpu().clone() for name, one in self._tensors.items()}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Restores averages."""
        for name, one in self._tensors.items():
            one.copy_(tensors[name])

    @contextmanager
    def swapped_in(self, learning: Mapping[str, nn.Parameter]) -> Iterator[None]:
        """Replaces the weights by their averages inside the context."""
        kept = {name: one.detach().clone() for name, one in learning.items()}
        try:
            _copy_into(learning, self._tensors)
            yield
        finally:
            _copy_into(learning, kept)


@torch.no_grad()
def _copy_into(learning: Mapping[str, nn.Parameter], tensors: Mapping[str, Tensor]) -> None:
    for name, parameter in learning.items():
        parameter.copy_(tensors[name])
