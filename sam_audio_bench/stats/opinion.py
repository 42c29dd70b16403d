"""Mean opinion scores: plain, z-scored by rater, and with estimated bias and inconsistency of raters."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import scipy.stats
from numpy.typing import ArrayLike, NDArray

from sam_audio_bench.stats.estimate import Floats, canonical_order, check_options, matrix

__all__ = [
    "ESTIMATORS",
    "OpinionScores",
    "RecoveredOpinion",
    "mean_opinion",
    "recovered_opinion",
    "standardise_by_rater",
    "z_scored_opinion",
]

ESTIMATORS = ("projection", "marginal")
_TOLERANCE = 1e-8  # of the quality, relative to the spread of the ratings
_ITERATIONS = 1000
_LEAST = 0.1  # smallest inconsistency relative to the overall one; below it, one rater would dominate


@dataclass(frozen=True, slots=True, kw_only=True)
class OpinionScores:
    """One score per item, in the order of the rows."""

    value: Floats  # [items], NaN without ratings
    low: Floats  # [items], NaN where there is no interval
    high: Floats
    n: NDArray[np.int64]  # [items], number of ratings used
    method: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveredOpinion(OpinionScores):
    """Scores with the estimated parameters of the raters, in the order of the columns."""

    bias: Floats  # [raters], in the unit of the ratings, mean 0; NaN without ratings
    inconsistency: Floats  # [raters], standard deviation of a rating; NaN without ratings
    bounded: NDArray[np.bool_]  # [raters], the inconsistency is at its lower bound: this rater dominates
    iterations: int


def mean_opinion(ratings: ArrayLike, *, level: float = 0.95) -> OpinionScores:
    """Mean of each item's ratings with Student's t interval.

    Args:
        ratings: [items, raters], NaN where missing.
        level: confidence.

    Returns:
        The scores; an item with one rating has no interval.

    Raises:
        UsageError: ratings that are no matrix or infinite, or a level out of range.
    """
    check_options(level, 1)
    table = np.sort(matrix(ratings, "ratings"), axis=1)  # the order of the raters cannot change a bit
    present = np.isfinite(table)
    n = present.sum(axis=1).astype(np.int64)
    count = np.maximum(n, 1)
    value = np.where(n > 0, np.where(present, table, 0.0).sum(axis=1) / count, np.nan)
    squares = np.where(present, (table - value[:, None]) ** 2, 0.0).sum(axis=1)
    several = n > 1
    error = np.sqrt(squares / np.where(several, (n - 1) * count, 1))
    quantile = scipy.stats.t.ppf((1 + level) / 2, np.where(several, n - 1, 1))
    width = np.where(several, quantile * error, np.nan)
    return OpinionScores(value=value, low=value - width, high=value + width, n=n, method="t")


def standardise_by_rater(ratings: ArrayLike) -> Floats:
    """Standardises ratings by rater: minus the rater's mean, divided by the standard deviation (n - 1).

    Args:
        ratings: [items, raters], NaN where missing.

    Returns:
        [items, raters]; NaN for a rater without variance. If raters rated different items, this also
        removes differences between those items.
    """
    table = matrix(ratings, "ratings")
    mean, spread = _moments(table)
    return (table - mean) / np.where(spread > 0, spread, np.nan)


def z_scored_opinion(ratings: ArrayLike, *, level: float = 0.95) -> OpinionScores:
    """`mean_opinion` of z-scored ratings, mapped back by the average mean and standard deviation of the raters.

    Arguments and errors as in `mean_opinion`.
    """
    scores = mean_opinion(standardise_by_rater(ratings), level=level)
    mean, spread = (np.sort(values) for values in _moments(matrix(ratings, "ratings")))
    usable = spread[spread > 0]
    centre = float(mean[np.isfinite(mean)].mean()) if np.isfinite(mean).any() else np.nan
    scale = float(usable.mean()) if len(usable) else np.nan
    value, low, high = (centre + scale * bound for bound in (scores.value, scores.low, scores.high))
    return OpinionScores(value=value, low=low, high=high, n=scores.n, method="z_score_t")


def recovered_opinion(ratings: ArrayLike, *, estimator: str = "projection", level: float = 0.95) -> RecoveredOpinion:
    """Quality with bias and inconsistency of each rater, by maximum likelihood (ITU-T P.910 and P.913, clause 12.4).

    Alternating projection (Li, Bampis, Krasula, Janowski and Katsavounidis, arXiv:2004.02067): a rating is the quality
    of the item, plus the bias of the rater, plus noise of the rater's inconsistency; quality is the mean of unbiased
    ratings weighted by the inverse squared inconsistency. Added here: biases have mean 0 also where ratings are
    missing, and no inconsistency falls below a tenth of the overall one, since the likelihood has no bound at 0. The
    projection can run into that bound, and underestimates the inconsistency of the best raters, because the quality
    that it compares them with is made of their own ratings. The marginal estimate (EM with the quality integrated out
    over a flat prior) adds the variance of the quality to their squared residuals, and is consistent in many items.

    Args:
        ratings: [items, raters], NaN where missing.
        estimator: "projection", as recommended by ITU-T, or "marginal".
        level: confidence of the normal intervals.

    Returns:
        The scores; items with one rater have no interval, nor has any item if raters agree perfectly.

    Raises:
        UsageError: ratings that are no matrix or infinite, or an option out of range.
    """
    check_options(level, 1, estimator, ESTIMATORS)
    table = matrix(ratings, "ratings")
    rows, columns = canonical_order(table)
    ordered = table[np.ix_(rows, columns)]
    quality, bias, inconsistency, bounded, iterations = _recovered(ordered, marginal=estimator == "marginal")
    present = np.isfinite(ordered)
    precision = np.where(present, 1 / np.where(inconsistency > 0, inconsistency, np.nan) ** 2, 0.0).sum(axis=1)
    n = present.sum(axis=1).astype(np.int64)
    known = (n > 1) & np.isfinite(precision) & (precision > 0)
    width = np.where(known, NormalDist().inv_cdf((1 + level) / 2) / np.sqrt(np.where(known, precision, 1.0)), np.nan)
    back, across = np.argsort(rows), np.argsort(columns)
    return RecoveredOpinion(
        value=quality[back],
        low=(quality - width)[back],
        high=(quality + width)[back],
        n=n[back],
        method="normal",
        bias=bias[across],
        inconsistency=inconsistency[across],
        bounded=bounded[across],
        iterations=iterations,
    )


def _recovered(table: Floats, *, marginal: bool) -> tuple[Floats, Floats, Floats, NDArray[np.bool_], int]:
    """Quality [items]; bias, inconsistency and whether it is bounded [raters]; the number of iterations."""
    present = np.isfinite(table)
    by_item, by_rater = (np.where(present.any(axis=axis), 1.0, np.nan) for axis in (1, 0))
    counts = np.maximum(present.sum(axis=0), 1)
    quality = by_item * np.where(present, table, 0.0).sum(axis=1) / np.maximum(present.sum(axis=1), 1)
    bias, inconsistency, bounded = by_rater * 0.0, by_rater * 0.0, np.zeros(table.shape[1], np.bool_)
    if not present.any():
        return quality, bias, inconsistency, bounded, 0
    uncertain = np.zeros((len(table), 1))
    scale = float(table[present].std())
    iterations, change = 0, np.inf
    while iterations < _ITERATIONS and change > _TOLERANCE * scale:
        iterations += 1
        bias = by_rater * np.where(present, table - quality[:, None], 0.0).sum(axis=0) / counts
        bias -= np.nanmean(bias)
        squared = np.where(present, (table - quality[:, None] - bias) ** 2 + uncertain, 0.0)
        least = _LEAST * np.sqrt(squared.sum() / present.sum())
        spread = np.sqrt(squared.sum(axis=0) / counts)
        bounded = (spread < least) & (by_rater == 1)
        inconsistency = by_rater * np.maximum(spread, least)
        precision = np.where(present, 1 / np.where(inconsistency > 0, inconsistency, 1.0) ** 2, 0.0)
        weighted = (precision * np.where(present, table - bias, 0.0)).sum(axis=1)
        before, quality = quality, by_item * weighted / np.where(by_item == 1, precision.sum(axis=1), 1.0)
        if marginal:
            uncertain = (1 / np.where(by_item == 1, precision.sum(axis=1), 1.0))[:, None]
        change = float(np.nanmax(np.abs(quality - before)))
    return quality, bias, inconsistency, bounded, iterations


def _moments(table: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviation (n - 1) of each rater, NaN where undefined."""
    ordered = np.sort(table, axis=0)
    present = np.isfinite(ordered)
    n = present.sum(axis=0)
    mean = np.where(n > 0, np.where(present, ordered, 0.0).sum(axis=0) / np.maximum(n, 1), np.nan)
    squares = np.where(present, (ordered - mean) ** 2, 0.0).sum(axis=0)
    highest = np.where(present, ordered, -np.inf).max(axis=0, initial=-np.inf)
    flat = highest <= ordered.min(axis=0, initial=np.inf, where=present)
    spread = np.where(n > 1, np.sqrt(squares / np.maximum(n - 1, 1)), np.nan)
    return mean, np.where(flat & (n > 1), 0.0, spread)
