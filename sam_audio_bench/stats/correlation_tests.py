"""Tests of whether one metric correlates better with ratings than another.

The default resamples items and systems. Williams, Zou and the permutation test take observations as independent, which
the cells of a crossed design are not: with metric errors that belong to items or to systems they rejected a true null
hypothesis in 18 to 45 % of simulated tests at a nominal 5 %. They are available for comparison and for data without
systems.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import scipy.optimize
import scipy.stats
from numpy.typing import ArrayLike

from sam_audio_bench.errors import UsageError
from sam_audio_bench.stats.bootstrap import Interval
from sam_audio_bench.stats.coefficients import standardise
from sam_audio_bench.stats.design import Design, draw
from sam_audio_bench.stats.estimate import (
    EstimateStatus,
    Floats,
    canonical_order,
    check_options,
    matrix,
    percentile_interval,
    percentile_p,
)
from sam_audio_bench.stats.levels import COEFFICIENTS, LEVELS, LevelData
from sam_audio_bench.stats.mapping import MAPPING_ORDERS
from sam_audio_bench.stats.paired import holm

__all__ = [
    "Difference",
    "WilliamsTest",
    "compare",
    "differences",
    "fisher_interval",
    "letter_groups",
    "permutation_test",
    "williams",
    "zou_interval",
    "zou_p",
]

_NORMAL = NormalDist()
_LEAST_P = 1e-12  # of zou_p: confidence levels closer to 1 are inexact
_UNITS = ("item", "system", "cell")


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Two metrics compared on the cells that both have."""

    first: str
    second: str
    value: float | None  # first minus second, with signs such that higher is better; errors (rmse_*) unchanged
    low: float | None
    high: float | None
    p: float | None  # two-sided, consistent with the interval if both exist: below 0.05 if it excludes 0
    p_holm: float | None  # adjusted for all pairs of the call
    n: int  # cells, items or systems, by level
    status: EstimateStatus
    method: str  # what was resampled


class WilliamsTest(NamedTuple):
    """Statistic, degrees of freedom and two-sided p."""

    t: float
    df: int
    p: float


def compare(
    human: ArrayLike,
    metrics: Mapping[str, ArrayLike],
    *,
    at: str = "utterance",
    coefficient: str = "spearman",
    interval: str = "two_way",
    groups: Sequence[Hashable] | None = None,
    orientation: Mapping[str, int] | None = None,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> list[Difference]:
    """Compares all pairs of metrics: difference of their coefficients, its interval, and p by inverting the interval.

    Args:
        human: [items, systems], mean ratings, NaN where missing.
        metrics: by name, [items, systems].
        at: one of LEVELS.
        coefficient: one of COEFFICIENTS.
        interval: "two_way", "cluster" or "row", as in `correlate`.
        groups: as in `correlate`.
        orientation: by name, -1 if lower is better, +1 if higher is; default: as the metric correlates.
        level: confidence.
        resamples: number of resamples.
        seed: of the resamples.

    Raises:
        UsageError: shapes that differ, infinite values, or an option that does not exist.
    """
    check_options(level, resamples, interval, ("two_way", "cluster", "row"))
    design = Design(human, metrics, interval=interval, groups=groups, resamples=resamples, seed=seed)
    return differences(design, at=at, coefficient=coefficient, orientation=orientation, level=level)


def differences(
    design: Design,
    *,
    at: str = "utterance",
    coefficient: str = "spearman",
    orientation: Mapping[str, int] | None = None,
    level: float = 0.95,
) -> list[Difference]:
    """Computes `compare` for a design, whose resamples are shared with its other statistics."""
    check_options(level, 1, at, LEVELS)
    check_options(level, 1, coefficient, COEFFICIENTS)
    signs, whole = orientation or {}, design.at(at, orientation)
    draws = draw(whole, design, at, [coefficient])
    rows = []
    for pair in combinations(design.metrics, 2):
        data, found = {name: whole[name] for name in pair}, {name: draws[name] for name in pair}
        if not np.array_equal(data[pair[0]].present, data[pair[1]].present):
            common = data[pair[0]].present & data[pair[1]].present
            tables = {name: np.where(common, design.metrics[name], np.nan) for name in pair}
            data = {name: LevelData.LEVELS[at](design.human, one, signs.get(name)) for name, one in tables.items()}
            found = draw(data, design, at, [coefficient])
        rows.append(_difference(data, found, coefficient, design.method(at), level))
    adjusted = holm([row.p for row in rows])
    return [replace(row, p_holm=p) for row, p in zip(rows, adjusted, strict=True)]


def _difference(
    data: Mapping[str, LevelData],
    draws: Mapping[str, Mapping[str, Floats]],
    coefficient: str,
    method: str,
    level: float,
) -> Difference:
    (first, one), (second, other) = data.items()
    points = [each.point(coefficient) for each in (one, other)]
    bare = Difference(
        first=first, second=second, value=None, low=None, high=None, p=None, p_holm=None, n=one.n,
        status=next((status for _, status in points if status is not EstimateStatus.OK), EstimateStatus.OK), method="",
    )  # fmt: skip
    values = [value for value, _ in points if value is not None]
    if len(values) < 2:
        return bare
    signed = coefficient not in ("accuracy", *MAPPING_ORDERS)
    turns = [each.sign if signed else 1.0 for each in (one, other)]
    bare = replace(bare, value=turns[0] * values[0] - turns[1] * values[1])
    if coefficient not in draws[first] or coefficient not in draws[second]:
        return bare
    differences = turns[0] * draws[first][coefficient] - turns[1] * draws[second][coefficient]
    bounds = percentile_interval(differences, level)
    if bounds is None:
        return bare
    return replace(bare, low=bounds.low, high=bounds.high, p=percentile_p(differences, level), method=method)


def letter_groups(names: Sequence[str], differences: Sequence[Difference], *, alpha: float = 0.05) -> dict[str, str]:
    """Compact letter display: metrics that share a letter do not differ significantly (insert and absorb; Piepho 2004).

    Args:
        names: in the order of the letters, the best first.
        differences: results of `compare`; a pair without ``p_holm`` is not significant.
        alpha: family-wise error rate.

    >>> letter_groups(["a", "b"], [])
    {'a': 'a', 'b': 'a'}
    """
    columns = [frozenset(names)]
    for row in differences:
        if row.p_holm is None or row.p_holm >= alpha or not {row.first, row.second} <= set(names):
            continue
        pair = {row.first, row.second}
        split = [column - {name} for column in columns if pair <= column for name in (row.first, row.second)]
        columns = _absorb([*(column for column in columns if not pair <= column), *split])
    place = {name: number for number, name in enumerate(names)}
    columns.sort(key=lambda column: sorted(place[name] for name in column))
    return {name: "".join(_letter(k) for k, column in enumerate(columns) if name in column) for name in names}


def _absorb(columns: Sequence[frozenset[str]]) -> list[frozenset[str]]:
    unique = list(dict.fromkeys(columns))
    return [column for column in unique if not any(column < other for other in unique)]


def _letter(number: int) -> str:
    return chr(ord("a") + number) if number < 26 else f"({number + 1})"


def fisher_interval(r: float, n: int, *, coefficient: str = "pearson", level: float = 0.95) -> Interval | None:
    """Interval of a correlation of ``n`` independent pairs on Fisher's z scale.

    Variances: 1/(n-3) for Pearson, (1 + r²/2)/(n-3) for Spearman (Bonett and Wright, Psychometrika 2000), 0.437/(n-4)
    for Kendall (Fieller, Hartley and Pearson, Biometrika 1957).

    Returns:
        The interval; None for other coefficients, too small n, and ``|r| = 1``.
    """
    check_options(level, 1)
    variance = {
        "pearson": (1.0, n - 3),
        "spearman": (1 + r**2 / 2, n - 3),
        "kendall": (0.437, n - 4),
    }.get(coefficient)
    if variance is None or variance[1] <= 0 or abs(r) >= 1:
        return None
    width = _NORMAL.inv_cdf((1 + level) / 2) * math.sqrt(variance[0] / variance[1])
    return Interval(math.tanh(math.atanh(r) - width), math.tanh(math.atanh(r) + width))


def williams(r_first: float, r_second: float, r_between: float, n: int) -> WilliamsTest:
    """Test of two correlations that share the raters (Williams, JRSS B 1959; in the form of Steiger 1980).

    Args:
        r_first: correlation of the first metric with the raters.
        r_second: of the second one.
        r_between: of the metrics with each other.
        n: independent observations, at least four.

    Raises:
        UsageError: fewer than four observations, or an impossible combination of correlations.
    """
    determinant = _determinant(r_first, r_second, r_between, n)
    mean = (r_first + r_second) / 2
    spread = 2 * determinant * (n - 1) / (n - 3) + mean**2 * (1 - r_between) ** 3
    if spread <= 0:
        raise UsageError("expected two metrics that differ, found a correlation of 1 between them; compare others")
    t = (r_first - r_second) * math.sqrt((n - 1) * (1 + r_between) / spread)
    return WilliamsTest(t, n - 3, float(2 * scipy.stats.t.sf(abs(t), n - 3)))


def zou_interval(r_first: float, r_second: float, r_between: float, n: int, *, level: float = 0.95) -> Interval:
    """Interval of ``r_first - r_second`` for correlations that share the raters (Zou, Psychological Methods 2007).

    Arguments and errors as in `williams`; ``level`` is the confidence.
    """
    check_options(level, 1)
    _determinant(r_first, r_second, r_between, n)
    bounds = [fisher_interval(r, n, level=level) or Interval(r, r) for r in (r_first, r_second)]
    product = r_first * r_second
    covariance = (r_between - product / 2) * (1 - r_first**2 - r_second**2 - r_between**2) + r_between**3
    shared = covariance / ((1 - r_first**2) * (1 - r_second**2)) if max(abs(r_first), abs(r_second)) < 1 else 0.0
    (low_1, high_1), (low_2, high_2) = bounds
    below, above, under, over = r_first - low_1, high_1 - r_first, r_second - low_2, high_2 - r_second
    low = math.sqrt(max(0.0, below**2 + over**2 - 2 * shared * below * over))
    high = math.sqrt(max(0.0, above**2 + under**2 - 2 * shared * above * under))
    return Interval(r_first - r_second - low, r_first - r_second + high)


def zou_p(r_first: float, r_second: float, r_between: float, n: int) -> float:
    """Two-sided p of equal correlations, by inverting `zou_interval`; at least 1e-12.

    Arguments and errors as in `williams`.
    """

    def nearer_bound(p: float) -> float:
        bounds = zou_interval(r_first, r_second, r_between, n, level=1 - p)
        return bounds.low if r_first > r_second else -bounds.high

    if r_first == r_second:
        return 1.0
    if nearer_bound(_LEAST_P) > 0:
        return _LEAST_P
    return float(scipy.optimize.brentq(nearer_bound, _LEAST_P, 1 - _LEAST_P, xtol=1e-14))


def _determinant(r_first: float, r_second: float, r_between: float, n: int) -> float:
    """Determinant of the correlation matrix."""
    product = 2 * r_first * r_second * r_between
    determinant = 1 - r_first**2 - r_second**2 - r_between**2 + product
    if n < 4 or determinant < -1e-9:
        raise UsageError(
            f"expected correlations that occur together and n >= 4, found {(r_first, r_second, r_between)} and n = {n}"
        )
    return max(0.0, determinant)


def permutation_test(
    human: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    *,
    coefficient: str = "pearson",
    unit: str = "item",
    resamples: int = 10_000,
    seed: int = 0,
) -> float | None:
    """Two-sided p of equal correlation at utterance level, by swapping the metrics' standardised scores.

    Swapping whole items or whole systems preserves their dependence (Deutsch et al., TACL 2021); cells are for
    independent data. Signs of metrics are set so that they correlate positively; for Spearman they are ranked first.

    Args:
        human: [items, systems], NaN where missing.
        first: likewise.
        second: likewise; only cells that all three have are used.
        coefficient: "pearson" or "spearman".
        unit: "item", "system" or "cell", what is swapped.
        resamples: number of permutations.
        seed: of the permutations.

    Returns:
        p, or None if fewer than three cells or a constant variable leave a correlation undefined.
    """
    check_options(0.5, resamples, coefficient, ("pearson", "spearman"))
    check_options(0.5, resamples, unit, _UNITS)
    tables = [matrix(table, "scores") for table in (human, first, second)]
    if len({table.shape for table in tables}) > 1:
        raise UsageError(f"expected three tables of one shape, found {[table.shape for table in tables]}")
    rows, columns = canonical_order(*tables)
    present = np.logical_and.reduce([np.isfinite(table) for table in tables])[np.ix_(rows, columns)]
    cells = [table[np.ix_(rows, columns)][present] for table in tables]
    if present.sum() < 3 or any(one.min() == one.max() for one in cells):
        return None
    if coefficient == "spearman":
        cells = [scipy.stats.rankdata(one) for one in cells]
    target, *metrics = (standardise(one) for one in cells)
    one, other = (metric * (1 if (metric * target).sum() >= 0 else -1) for metric in metrics)
    places = {"item": np.nonzero(present)[0], "system": np.nonzero(present)[1], "cell": np.arange(len(target))}[unit]
    generator = np.random.Generator(np.random.PCG64(seed))
    observed = abs((target * one).mean() - (target * other).mean())
    extreme = 0
    for start in range(0, resamples, 1000):
        swaps = generator.integers(0, 2, (min(1000, resamples - start), int(places.max()) + 1), dtype=np.int8)
        swap = swaps[:, places].astype(bool)
        pair = np.where(swap, other, one), np.where(swap, one, other)
        if coefficient == "spearman":
            pair = scipy.stats.rankdata(pair[0], axis=1), scipy.stats.rankdata(pair[1], axis=1)
        r = [np.einsum("bn,n->b", standardise(side), target) / len(target) for side in pair]
        extreme += int((np.abs(r[0] - r[1]) >= observed - 1e-12).sum())
    return (extreme + 1) / (resamples + 1)
