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


def parameter_groups(trainable: Mapping[str, nn.Parameter], recipe: Optimizer) -> list[dict[str, object]]:
    """Returns parameter groups by weight decay and learning rate; vectors (biases, norms, tokens) have no decay."""
    backbone = tuple(f"judge.{prefix}." for prefix in PARTS_OF["backbone"])
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in trainable.items():
        matrix = sum(size > 1 for size in parameter.shape) > 1
        share = recipe.backbone_rate if name.startswith(backbone) else 1.0
        groups.setdefault((recipe.weight_decay if matrix else 0.0, share), []).append(parameter)
    return [{"params": own, "weight_decay": decay, "share": share} for (decay, share), own in groups.items()]


def learning_rate(recipe: Optimizer, progress: float) -> float:
    """Returns the learning rate: linear warm-up, then cosine decay (Loshchilov and Hutter, ICLR 2017).

    Args:
        recipe: learning rates and warm-up.
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
        trainable: the weights.
        decay: per step, after the warm-up; 0: no averaging.
    """

    def __init__(self, trainable: Mapping[str, nn.Parameter], decay: float) -> None:
        self.decay = decay
        self._tensors = {name: one.detach().clone() for name, one in trainable.items()}

    @torch.no_grad()
    def update(self, trainable: Mapping[str, nn.Parameter], step: int) -> None:
        """Updates the averages with the weights after step ``step``, counted from 0."""
        decay = min(self.decay, (1 + step) / (10 + step)) if self.decay else 0.0
        for name, parameter in trainable.items():
            self._tensors[name].lerp_(parameter, 1 - decay)

    def tensors(self) -> dict[str, Tensor]:
        """Returns copies of the averages on the CPU."""
        return {name: one.cpu().clone() for name, one in self._tensors.items()}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Restores the averages."""
        for name, one in self._tensors.items():
            one.copy_(tensors[name])

    @contextmanager
    def swapped_in(self, trainable: Mapping[str, nn.Parameter]) -> Iterator[None]:
        """Replaces the weights by their averages within the context."""
        kept = {name: one.detach().clone() for name, one in trainable.items()}
        try:
            _copy_into(trainable, self._tensors)
            yield
        finally:
            _copy_into(trainable, kept)


@torch.no_grad()
def _copy_into(trainable: Mapping[str, nn.Parameter], tensors: Mapping[str, Tensor]) -> None:
    for name, parameter in trainable.items():
        parameter.copy_(tensors[name])
