"""What training makes small: errors of ratings, wrong orders, and doubts that do not fit the errors.

Everything is in units of the training ratings' standard deviation. Letters: B rows, 4 axes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from sam_audio_bench.judge.training.recipe import Loss

__all__ = ["Losses", "Truth", "huber", "laplace_nll", "losses", "ranking"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What listeners said of a batch.

    Attributes:
        scores: ``[B, 4]``, normalised; NaN where an axis was not rated.
        weights: ``[B]``, by raters, about 1.
        queries: int64 ``[B]``; rows of one query have one number.
        gap: rating points of overall below which two answers are not ordered, normalised.
    """

    scores: Tensor
    weights: Tensor
    queries: Tensor
    gap: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """The parts, and their weighted sum."""

    total: Tensor
    huber: Tensor
    ranking: Tensor
    spread: Tensor


def losses(rated: Tensor, truth: Truth, recipe: Loss) -> Losses:
    """The loss of pooled ratings.

    Args:
        rated: ``[B, 4]`` or, with logarithms of spreads behind them, ``[B, 8]``.
        truth: of the same rows.
        recipe: weights.
    """
    values = rated[:, :4]
    axes = rated.new_tensor(recipe.axes)
    first = huber(values, truth.scores, truth.weights, axes, delta=recipe.huber_delta)
    order = (
        ranking(values[:, 0], truth, temperature=recipe.ranking_temperature) if recipe.ranking else first.new_zeros(())
    )
    doubt = first.new_zeros(())
    if rated.shape[1] > 4:
        doubt = laplace_nll(values.detach(), rated[:, 4:], truth.scores, truth.weights)
    total = first + recipe.ranking * order + recipe.spread * doubt
    return Losses(total=total, huber=first, ranking=order, spread=doubt)


def huber(values: Tensor, scores: Tensor, weights: Tensor, axes: Tensor, *, delta: float) -> Tensor:
    """Huber's loss (Annals of Mathematical Statistics 1964), weighted by rows and axes; 0 where nothing was rated.

    Args:
        values: ``[B, 4]``.
        scores: ``[B, 4]``, NaN where an axis was not rated.
        weights: ``[B]``.
        axes: ``[4]``.
        delta: error from which the loss is linear.
    """
    there = ~scores.isnan()
    errors = F.huber_loss(values, torch.where(there, scores, values.detach()), reduction="none", delta=delta)
    weight = weights[:, None] * axes * there
    return (errors * weight).sum() / weight.sum().clamp(min=1e-12)


def ranking(values: Tensor, truth: Truth, *, temperature: float) -> Tensor:
    """Logistic loss of pairs of answers to one query that listeners ordered (RankNet, Burges et al., ICML 2005).

    Args:
        values: overall ``[B]``.
        truth: of the same rows; pairs closer than its gap do not count.
        temperature: difference that is as good as e to 1.
    """
    overall = truth.scores[:, 0]
    gaps = overall[:, None] - overall[None, :]
    pairs = (truth.queries[:, None] == truth.queries[None, :]) & (gaps > truth.gap)  # NaN compares false
    margins = (values[:, None] - values[None, :]) / temperature
    return (F.softplus(-margins) * pairs).sum() / pairs.sum().clamp(min=1)


def laplace_nll(values: Tensor, log_spreads: Tensor, scores: Tensor, weights: Tensor) -> Tensor:
    """Negative log likelihood of errors under Laplace's distribution with the standard deviations that were said.

    Its tails are those of ratings better than a normal distribution's: a few answers are misjudged by far.

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
