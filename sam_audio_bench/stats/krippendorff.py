"""Krippendorff's alpha: agreement beyond chance on any scale, with missing ratings.

Krippendorff, *Content Analysis*, 3rd edition, 2013, chapter 12. An ordinal difference is a difference of midranks in
the marginal distribution, so that ordinal data are interval data once their values are replaced.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from sam_audio_bench.stats.bootstrap import multinomial_weights
from sam_audio_bench.stats.estimate import (
    Estimate,
    EstimateStatus,
    Floats,
    canonical_order,
    check_options,
    matrix,
    percentile_interval,
    undefined,
)

__all__ = ["MEASUREMENTS", "krippendorff_alpha"]

MEASUREMENTS = ("nominal", "ordinal", "interval")
_CHUNK = 2**21  # numbers in an array


def krippendorff_alpha(
    ratings: ArrayLike, measurement: str = "interval", *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Estimate:
    """Alpha with a percentile bootstrap over items.

    Args:
        ratings: [items, raters], NaN where missing; items with one rating are left out.
        measurement: "nominal", "ordinal" or "interval".
        level: confidence.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        The estimate; n counts items with two ratings or more, at least two of which are needed; constant if all are
        equal.

    Raises:
        UsageError: ratings that are no matrix, or an option out of range.
    """
    check_options(level, resamples, measurement, MEASUREMENTS)
    table = matrix(ratings, "ratings")
    table = table[np.isfinite(table).sum(axis=1) >= 2]
    items = len(table)
    if items < 2:  # alpha of one item is 0 whatever it holds: differences within it are all the differences
        return undefined(EstimateStatus.TOO_FEW, 0)
    table = table[canonical_order(table)[0]]
    values, counts = _value_counts(table)
    if len(values) == 1:
        return undefined(EstimateStatus.CONSTANT, items)
    value = float(_alpha(values, counts, np.ones((1, items)), measurement)[0])
    weights = multinomial_weights(items, resamples, (seed,))
    step = max(1, _CHUNK // max(counts.shape))
    parts = [_alpha(values, counts, weights[at : at + step], measurement) for at in range(0, resamples, step)]
    bounds = percentile_interval(np.concatenate(parts), level)
    if bounds is None or not math.isfinite(value):
        return Estimate(value=value, n=items)
    return Estimate(value=value, low=bounds.low, high=bounds.high, n=items, method="item_bootstrap")


def _value_counts(table: Floats) -> tuple[Floats, Floats]:
    """The distinct values, and how often each item has each: [items, values]."""
    present = np.isfinite(table)
    values, codes = np.unique(table[present], return_inverse=True)
    counts = np.zeros((len(table), len(values)))
    np.add.at(counts, (np.nonzero(present)[0], codes), 1.0)
    return values, counts


def _alpha(values: Floats, counts: Floats, weights: Floats, measurement: str) -> Floats:
    """Alpha in each resample of the items, [resamples]; NaN where all drawn ratings are equal."""
    raters = counts.sum(axis=1)
    marginal = np.einsum("bi,ic->bc", weights, counts)
    total = marginal.sum(axis=1)
    if measurement == "nominal":
        observed = np.einsum("bi,i->b", weights, (raters**2 - (counts**2).sum(axis=1)) / (raters - 1))
        expected = total**2 - (marginal**2).sum(axis=1)
    else:
        observed, expected = _squared(values, counts, weights, marginal, ordinal=measurement == "ordinal")
    varies = (marginal > 0).sum(axis=1) > 1
    return np.where(varies, 1 - (total - 1) * observed / np.where(varies, expected, 1.0), np.nan)


def _squared(
    values: Floats, counts: Floats, weights: Floats, marginal: Floats, *, ordinal: bool
) -> tuple[Floats, Floats]:
    """Sums of squared differences within items and overall, [resamples] each."""
    raters, total = counts.sum(axis=1), marginal.sum(axis=1)
    if ordinal:
        scale = np.cumsum(marginal, axis=1) - marginal / 2 - total[:, None] / 2
        first = np.einsum("bc,ic->bi", scale, counts)
        second = np.einsum("bc,ic->bi", scale**2, counts)
        within = 2 * (raters * second - first**2) / (raters - 1)
        observed = (weights * within).sum(axis=1)
    else:
        centred = (values - values.mean()) / (values.max() - values.min())
        scale = np.broadcast_to(centred, marginal.shape)
        within = 2 * (raters * (counts @ centred**2) - (counts @ centred) ** 2) / (raters - 1)
        observed = np.einsum("bi,i->b", weights, within)
    expected = 2 * (total * (marginal * scale**2).sum(axis=1) - (marginal * scale).sum(axis=1) ** 2)
    return observed, expected
