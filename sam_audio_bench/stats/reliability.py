"""Agreement of raters and reliability of mean ratings.

Intraclass correlations in the notation of Shrout and Fleiss (Psychological Bulletin 1979): "1" takes the raters of an
item as anonymous, "2" as crossed with the items and drawn at random, and measures absolute agreement; "1" after the
comma is one rater, "k" the mean of an item's raters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.stats
from numpy.typing import ArrayLike

from sam_audio_bench.stats.bootstrap import Interval, multinomial_weights
from sam_audio_bench.stats.coefficients import standardise, weighted_pearson
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

__all__ = [
    "ICC_FORMS",
    "LeaveOneOut",
    "icc",
    "icc_table",
    "leave_one_out",
    "noise_ceiling",
    "raters_per_item",
    "reliability_curve",
    "split_half",
]

ICC_FORMS = ("1,1", "1,k", "2,1", "2,k")
_FEWEST = 3  # pairs of a correlation
_POLE = 1e-9  # a smaller denominator counts as 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaveOneOut:
    """Correlation of each rater with the mean of the others: a human reference for metrics."""

    mean: Estimate  # of the raters that have a value; n counts them
    raters: tuple[Estimate, ...]  # in the order of the columns; n counts items


def raters_per_item(ratings: ArrayLike) -> float:
    """Harmonic mean of the number of ratings per item, over the items that have any; 0 without ratings.

    Args:
        ratings: [items, raters], NaN where missing.
    """
    counts = np.isfinite(matrix(ratings, "ratings")).sum(axis=1)
    counts = counts[counts > 0]
    return float(len(counts) / math.fsum(1 / counts)) if len(counts) else 0.0


def icc(
    ratings: ArrayLike, form: str = "1,k", *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Estimate:
    """Computes one intraclass correlation; see `icc_table` for the arguments.

    Raises:
        UsageError: a form that is not one of ICC_FORMS, ratings that are no matrix, an option out of range.
    """
    check_options(level, resamples, form, ICC_FORMS)
    return icc_table(ratings, level=level, resamples=resamples, seed=seed)[form]


def icc_table(ratings: ArrayLike, *, level: float = 0.95, resamples: int = 2000, seed: int = 0) -> dict[str, Estimate]:
    """Computes all forms of ICC_FORMS.

    With missing ratings the variance components are those of the analysis of variance for unbalanced data (Searle,
    Casella and McCulloch, *Variance Components*, 1992, chapter 5: one-way ANOVA; Henderson's method I), negative ones
    kept, and k is the harmonic mean of the raters per item. Both reduce to the textbook form on complete data. If the
    sum of the variances of raters and residual is negative, it counts as 0, so that no ICC is above 1.

    Args:
        ratings: [items, raters], NaN where missing. With anonymous columns only "1" is meaningful.
        level: confidence.
        resamples: of the bootstrap over items, where ratings are missing; complete data have the exact F intervals of
            McGraw and Wong (Psychological Methods 1996).
        seed: of the bootstrap.

    Returns:
        By form; n counts items that have a rating; too few with one item, or without an item that two raters rated.

    Raises:
        UsageError: ratings that are no matrix, or an option out of range.
    """
    check_options(level, resamples)
    table = _rated(ratings)
    items = len(table)
    if items < 2 or np.isfinite(table).sum() <= items:
        return {form: undefined(EstimateStatus.TOO_FEW, items) for form in ICC_FORMS}
    if np.nanmin(table) == np.nanmax(table):
        return {form: undefined(EstimateStatus.CONSTANT, items) for form in ICC_FORMS}
    values = {form: float(found[0]) for form, found in _components(table, np.ones((1, items))).items()}
    complete = bool(np.isfinite(table).all())
    bounds: dict[str, Interval | None]
    if complete:
        bounds = dict(_f_intervals(table, values["2,1"], level))
    else:
        draws = _components(table, multinomial_weights(items, resamples, (seed,)))
        bounds = {form: percentile_interval(found, level) for form, found in draws.items()}
    method = "anova_f" if complete else "item_bootstrap"
    return {form: _estimate(values[form], bounds[form], items, method) for form in ICC_FORMS}


def noise_ceiling(
    ratings: ArrayLike, form: str = "1,k", *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Estimate:
    """Square root of ICC(k): the correlation with the mean ratings that a perfect metric would reach.

    A negative ICC counts as 0. Arguments as in `icc`; ``form`` is "1,k" or "2,k".
    """
    check_options(level, resamples, form, ("1,k", "2,k"))
    found = icc(ratings, form, level=level, resamples=resamples, seed=seed)
    roots = [None if value is None else math.sqrt(max(0.0, value)) for value in (found.value, found.low, found.high)]
    return replace(found, value=roots[0], low=roots[1], high=roots[2])


def reliability_curve(ratings: ArrayLike, counts: Sequence[int]) -> list[float | None]:
    """ICC(1,k) for ``counts`` raters per item, by the Spearman-Brown formula on ICC(1,1).

    Args:
        ratings: [items, raters], NaN where missing.
        counts: raters per item.

    Returns:
        One value per count, at most 1; None if ICC(1,1) is undefined, or so far below 0 that the formula has a pole.
    """
    single = icc(ratings, "1,1", resamples=1).value
    return [None if single is None else _step_up(single, count) for count in counts]


def split_half(
    ratings: ArrayLike, *, splits: int = 100, level: float = 0.95, resamples: int = 1000, seed: int = 0
) -> Estimate:
    """Correlation of the means of two random halves of each item's raters, extrapolated to all of them.

    The halves are drawn independently for each item, so that raters may be anonymous; with an odd number one half has
    one more rating. The mean r over the splits is extrapolated by the Spearman-Brown formula, 2r / (1 + r).

    Args:
        ratings: [items, raters], NaN where missing; items with one rating are left out.
        splits: number of random splits.
        level: confidence.
        resamples: of the bootstrap over items.
        seed: of the splits and of the bootstrap.

    Raises:
        UsageError: ratings that are no matrix, or an option out of range.
    """
    check_options(level, min(resamples, splits))
    table = _rated(ratings)
    table = table[np.isfinite(table).sum(axis=1) >= 2]
    items = len(table)
    if items < _FEWEST:
        return undefined(EstimateStatus.TOO_FEW, items)
    one, other = _halves(np.sort(table, axis=1), splits, seed)
    unit = standardise(one), standardise(other)
    weights = multinomial_weights(items, resamples, (seed,)).T

    def stepped(drawn: Floats) -> Floats:
        found = weighted_pearson(*unit, drawn)
        defined = np.isfinite(found)
        mean = np.where(defined, found, 0.0).sum(axis=0) / np.maximum(defined.sum(axis=0), 1)
        before_pole = defined.any(axis=0) & (1 + mean > _POLE)
        return np.where(before_pole, np.minimum(2 * mean / np.where(before_pole, 1 + mean, 1.0), 1.0), np.nan)

    value = float(stepped(np.ones((items, 1)))[0])
    if not math.isfinite(value):
        return undefined(EstimateStatus.CONSTANT, items)
    return _estimate(value, percentile_interval(stepped(weights), level), items, "item_bootstrap")


def leave_one_out(ratings: ArrayLike, *, level: float = 0.95, resamples: int = 1000, seed: int = 0) -> LeaveOneOut:
    """Pearson's r of each rater with the mean of the others, on the items that both have.

    Args:
        ratings: [items, raters], NaN where missing; columns are raters.
        level: confidence of the mean over raters.
        resamples: of its bootstrap over items.
        seed: of the bootstrap.

    Raises:
        UsageError: ratings that are no matrix, or an option out of range.
    """
    check_options(level, resamples)
    table = matrix(ratings, "ratings")
    rows, columns = canonical_order(table)
    ordered = table[np.ix_(rows, columns)]
    pairs = _with_others(ordered)
    found = [_single(*pair) for pair in pairs]
    usable = [pair for pair, one in zip(pairs, found, strict=True) if one.value is not None]
    by_column = dict(zip(columns.tolist(), found, strict=True))
    raters = tuple(by_column[column] for column in range(len(found)))
    values = [one.value for one in found if one.value is not None]
    if not values:
        constant = any(one.status is EstimateStatus.CONSTANT for one in found)
        status = EstimateStatus.CONSTANT if constant else EstimateStatus.TOO_FEW
        return LeaveOneOut(mean=undefined(status, 0), raters=raters)
    weights = multinomial_weights(len(ordered), resamples, (seed,)).T
    draws = np.stack([_correlation(one, other, weights) for one, other in usable])
    defined = np.isfinite(draws)
    means = np.where(defined, draws, 0.0).sum(axis=0) / np.maximum(defined.sum(axis=0), 1)
    bounds = percentile_interval(np.where(defined.any(axis=0), means, np.nan), level)
    mean = _estimate(math.fsum(values) / len(values), bounds, len(values), "item_bootstrap")
    return LeaveOneOut(mean=mean, raters=raters)


def _rated(ratings: ArrayLike) -> Floats:
    """The items and raters that have any rating, in canonical order."""
    table = matrix(ratings, "ratings")
    present = np.isfinite(table)
    table = table[present.any(axis=1)][:, present.any(axis=0)]
    rows, columns = canonical_order(table)
    return table[np.ix_(rows, columns)]


def _estimate(value: float, bounds: Interval | None, n: int, method: str) -> Estimate:
    if not math.isfinite(value):
        return undefined(EstimateStatus.TOO_FEW, n)
    low, high = bounds if bounds is not None else (None, None)
    return Estimate(value=value, low=low, high=high, n=n, method=method if bounds is not None else "")


def _components(table: Floats, weights: Floats) -> dict[str, Floats]:
    """Every form in every resample of the items, [resamples]; ``weights`` is [resamples, items]."""
    present = np.isfinite(table).astype(np.float64)
    centred = np.where(present > 0, table - np.nanmean(table), 0.0)
    counts = present.sum(axis=1)
    sums = centred.sum(axis=1)

    def total(values: Floats) -> Floats:
        found: Floats = np.einsum("bi,i->b", weights, values)
        return found

    items, ratings, square = total(np.ones(len(table))), total(counts), total((centred**2).sum(axis=1))
    between, crude, squared = total(sums**2 / counts), total(sums), total(counts**2)
    rated = np.einsum("bi,ir->br", weights, present)
    by_rater = np.einsum("bi,ir->br", weights, centred) ** 2 / np.where(rated > 0, rated, 1.0)
    correction, effective = crude**2 / ratings, ratings - squared / ratings
    shared, seen = (rated**2).sum(axis=1) / ratings, (rated > 0).sum(axis=1)
    # Henderson's method I: expected sums of squares are linear in the components of item, rater and residual.
    sums_of_squares = np.stack([between, by_rater.sum(axis=1), square], axis=-1) - correction[:, None]
    expected = [
        [effective, items - shared, items - 1],
        [seen - squared / ratings, ratings - shared, seen - 1],
        [effective, ratings - shared, ratings - 1],
    ]
    coefficients = np.stack([np.stack(row, axis=-1) for row in expected], axis=-2)
    item, rater, residual = _solve(coefficients, sums_of_squares).T
    within = (square - between) / np.where(ratings > items, ratings - items, np.nan)
    size = total(1 / counts) / items  # inverse of the harmonic mean of the raters per item
    one_way = ((between - correction) - (items - 1) * within) / np.where(effective > 0, effective, np.nan)
    return {
        "1,1": _quotient(one_way, within),
        "1,k": _quotient(one_way, within * size),
        "2,1": _quotient(item, rater + residual),
        "2,k": _quotient(item, (rater + residual) * size),
    }


def _f_intervals(table: Floats, agreement: float, level: float) -> dict[str, Interval | None]:
    """Intervals on complete data, by form; ``agreement`` is ICC(2,1)."""
    items, raters = table.shape
    row, column, grand = table.mean(axis=1), table.mean(axis=0), table.mean()
    rows = raters * ((row - grand) ** 2).sum() / (items - 1)
    columns = items * ((column - grand) ** 2).sum() / (raters - 1)
    residual = ((table - row[:, None] - column + grand) ** 2).sum() / ((items - 1) * (raters - 1))
    within = ((table - row[:, None]) ** 2).sum() / (items * (raters - 1))
    if min(residual, within, rows) <= 1e-12 * (rows + columns + within):
        return dict.fromkeys(ICC_FORMS)  # the F ratios are 0 or infinite

    def quantile(one: float, other: float) -> float:
        return float(scipy.stats.f.ppf((1 + level) / 2, one, other))

    f, df_1, df_2 = rows / within, items - 1, items * (raters - 1)
    single = [(g - 1) / (g + raters - 1) for g in (f / quantile(df_1, df_2), f * quantile(df_2, df_1))]
    rest, scaled = items * (1 + (raters - 1) * agreement) - raters * agreement, raters * agreement * columns / residual
    freedom = (items - 1) * (raters - 1) * (scaled + rest) ** 2 / ((items - 1) * scaled**2 + rest**2)
    error = raters * columns + (raters * items - raters - items) * residual
    lower, upper = quantile(df_1, freedom), quantile(freedom, df_1)
    below, above = lower * error + items * rows, error + items * upper * rows
    found = {"1,1": Interval(*map(float, single))}
    if min(below, above) > 0 and math.isfinite(below + above):
        low, high = items * (rows - lower * residual) / below, items * (upper * rows - residual) / above
        found["2,1"] = Interval(float(low), min(float(high), 1.0))
    return {
        **dict.fromkeys(ICC_FORMS),
        **found,
        **{f"{form[0]},k": _stepped(bounds, raters) for form, bounds in found.items()},
    }


def _stepped(bounds: Interval, raters: int) -> Interval | None:
    """Extrapolates an interval to a mean of ``raters``; None if a bound is beyond the pole."""
    low, high = (_step_up(r, raters) for r in bounds)
    return None if low is None or high is None else Interval(low, high)


def _step_up(r: float, raters: float) -> float | None:
    """Extrapolates a reliability to a mean of ``raters`` by the Spearman-Brown formula.

    None at and beyond the pole, r = -1 / (raters - 1): a reliability that low is impossible with so many raters.
    """
    whole = 1 + (raters - 1) * r
    return min(raters * r / whole, 1.0) if whole > _POLE else None


def _solve(coefficients: Floats, quadratics: Floats) -> Floats:
    """Solves batched linear equations; NaN where a resample is singular."""
    regular = np.abs(np.linalg.det(coefficients)) > 1e-9
    safe = np.where(regular[:, None, None], coefficients, np.eye(3))
    solved = np.linalg.solve(safe, quadratics[..., None])[..., 0]
    return np.where(regular[:, None], solved, np.nan)


def _quotient(signal: Floats, noise: Floats) -> Floats:
    whole = signal + noise
    valid = np.isfinite(whole) & (whole > 0)
    return np.where(valid, np.minimum(signal / np.where(valid, whole, 1.0), 1.0), np.nan)


def _halves(table: Floats, splits: int, seed: int) -> tuple[Floats, Floats]:
    """Means of two random halves of each row's ratings: [splits, rows] each."""
    generator = np.random.Generator(np.random.PCG64((seed, 1)))
    present = np.isfinite(table)
    middle = (present.sum(axis=1) // 2)[:, None]
    filled = np.where(present, table, 0.0)
    first, second = (np.empty((splits, len(table))) for _ in range(2))
    for split in range(splits):
        keys = np.where(present, generator.random(table.shape), 2.0)
        places = np.argsort(np.argsort(keys, axis=1), axis=1)
        low, high = present & (places < middle), present & (places >= middle)
        first[split] = np.where(low, filled, 0.0).sum(axis=1) / low.sum(axis=1)
        second[split] = np.where(high, filled, 0.0).sum(axis=1) / high.sum(axis=1)
    return first, second


def _with_others(table: Floats) -> list[tuple[Floats, Floats]]:
    """By rater: the rater and the mean of the others, [items] each; NaN where either is missing."""
    present = np.isfinite(table)
    sums, counts = np.where(present, table, 0.0).sum(axis=1), present.sum(axis=1)
    pairs = []
    for column in range(table.shape[1]):
        both = present[:, column] & (counts > 1)
        own = np.where(both, table[:, column], np.nan)
        pairs.append((own, (sums - own) / np.maximum(counts - 1, 1)))
    return pairs


def _correlation(one: Floats, other: Floats, weights: Floats) -> Floats:
    both = np.isfinite(one)
    return weighted_pearson(standardise(one[both]), standardise(other[both]), weights[both])


def _single(one: Floats, other: Floats) -> Estimate:
    n = int(np.isfinite(one).sum())
    if n < _FEWEST:
        return undefined(EstimateStatus.TOO_FEW, n)
    value = float(_correlation(one, other, np.ones((len(one), 1)))[0])
    if not math.isfinite(value):
        return undefined(EstimateStatus.CONSTANT, n)
    return Estimate(value=value, n=n)
