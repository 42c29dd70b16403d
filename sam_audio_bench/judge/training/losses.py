"""Training losses: error of ratings, ranking of estimates, and likelihood of the predicted spread.

All values are in units of the standard deviation of the training ratings. Letters: B rows, 4 axes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from sam_audio_bench.judge.training.recipe import Loss

__all__ = ["Losses", "Targets", "compute_losses", "laplace_nll", "pairwise_ranking_loss", "weighted_huber_loss"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """Listeners' ratings of a batch.

    Attributes:
        scores: ``[B, 4]``, normalised; NaN where an axis was not rated.
        weights: ``[B]``, by number of raters, 1 on average.
        mixtures: int64 ``[B]``, the index of the mixture.
        gap: minimum difference of overall, normalised, from which two estimates are regarded as ordered.
    """

    scores: Tensor
    weights: Tensor
    mixtures: Tensor
    gap: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """The losses and their weighted sum."""

    total: Tensor
    huber: Tensor
    ranking: Tensor
    spread: Tensor


def compute_losses(rated: Tensor, targets: Targets, recipe: Loss) -> Losses:
    """Computes the losses of pooled ratings.

    Args:
        rated: ``[B, 4]``, or ``[B, 8]`` with logarithms of spreads.
        targets: targets of the same rows.
        recipe: weights of the losses.
    """
    values = rated[:, :4]
    axes = rated.new_tensor(recipe.axes)
    first = weighted_huber_loss(values, targets.scores, targets.weights, axes, delta=recipe.huber_delta)
    order = (
        pairwise_ranking_loss(values[:, 0], targets, temperature=recipe.ranking_temperature)
        if recipe.ranking
        else first.new_zeros(())
    )
    doubt = first.new_zeros(())
    if rated.shape[1] > 4:
        doubt = laplace_nll(values.detach(), rated[:, 4:], targets.scores, targets.weights)
    total = first + recipe.ranking * order + recipe.spread * doubt
    return Losses(total=total, huber=first, ranking=order, spread=doubt)


def weighted_huber_loss(
    ratings: Tensor, targets: Tensor, row_weights: Tensor, axis_weights: Tensor, *, delta: float
) -> Tensor:
    """Huber loss (Annals of Mathematical Statistics 1964), weighted by rows and axes; 0 without ratings.

    Args:
        ratings: ``[B, 4]``.
        targets: ``[B, 4]``, NaN where an axis was not rated.
        row_weights: ``[B]``.
        axis_weights: ``[4]``.
        delta: error above which the loss is linear.
    """
    rated = ~targets.isnan()
    errors = F.huber_loss(ratings, torch.where(rated, targets, ratings.detach()), reduction="none", delta=delta)
    weight = row_weights[:, None] * axis_weights * rated
    return (errors * weight).sum() / weight.sum().clamp(min=1e-12)


def pairwise_ranking_loss(values: Tensor, targets: Targets, *, temperature: float) -> Tensor:
    """Logistic loss of pairs that listeners ordered (RankNet, Burges et al., ICML 2005).

    Both estimates of a pair are for the same mixture, but their prompts may differ.

    Args:
        values: overall ``[B]``.
        targets: targets of the same rows; pairs closer than its gap are ignored.
        temperature: difference of ratings at which the odds are e to 1.
    """
    overall = targets.scores[:, 0]
    gaps = overall[:, None] - overall[None, :]
    pairs = (targets.mixtures[:, None] == targets.mixtures[None, :]) & (gaps > targets.gap)  # NaN compares false
    margins = (values[:, None] - values[None, :]) / temperature
    return (F.softplus(-margins) * pairs).sum() / pairs.sum().clamp(min=1)


def laplace_nll(values: Tensor, log_spreads: Tensor, scores: Tensor, weights: Tensor) -> Tensor:
    """Negative log likelihood of errors under a Laplace distribution with the predicted standard deviations.

    Its heavy tails fit the errors better than those of a normal distribution, since a few errors are large.

    Args:
        values: ``[B, 4]``.
        log_spreads: ``[B, 4]``, logarithms of standard deviations.
        scores: ``[B, 4]``, NaN where an axis was not rated.
        weights: ``[B]``.
    """
    there = ~scores.isnan()
    errors = (torch.where(there, scores, values) - values).abs()
    scale = log_spreads.clamp(-6, 3)
    nll = errors * 2**0.5 * (-scale).exp() + scale
    weight = weights[:, None] * there
    return (nll * weight).sum() / weight.sum().clamp(min=1e-12)
