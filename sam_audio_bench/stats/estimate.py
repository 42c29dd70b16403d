"""An estimate with its interval, and checks shared by all statistics of ratings.

A statistic that the data do not define has the value None and a status that says why; it is never 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sam_audio_bench.errors import UsageError
from sam_audio_bench.stats.bootstrap import Interval

__all__ = [
    "Estimate",
    "EstimateStatus",
    "Floats",
    "canonical_order",
    "check_options",
    "matrix",
    "percentile_interval",
    "percentile_p",
    "undefined",
]

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


class EstimateStatus(StrEnum):
    """Why a value is defined or not."""

    OK = "ok"
    CONSTANT = "constant"  # nothing varies, so that the statistic is 0/0
    TOO_FEW = "too_few"  # fewer observations than the statistic needs
    DISCONNECTED = "disconnected"  # no chain of comparisons links all systems


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A statistic with its interval; bounds may be missing where the value is known."""

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int  # number of observations: items, raters or votes
    status: EstimateStatus = EstimateStatus.OK
    method: str = ""  # how the interval was computed


def undefined(status: EstimateStatus, n: int) -> Estimate:
    """Returns an estimate without a value."""
    return Estimate(value=None, n=n, status=status)


def matrix(values: ArrayLike, what: str) -> Floats:
    """Returns a two-dimensional float64 copy of ``values``, NaN where missing.

    Raises:
        UsageError: another number of dimensions, or an infinite value.
    """
    copied = np.array(values, dtype=np.float64)
    if copied.ndim != 2:
        raise UsageError(f"expected {what} in two dimensions, found the shape {copied.shape}")
    if np.isinf(copied).any():
        raise UsageError(f"expected {what} that are finite or missing, found infinity; leave out or cap such values")
    return copied


def check_options(level: float, resamples: int, choice: str = "", known: Sequence[str] = ()) -> None:
    """Raises UsageError for a confidence level, a number of resamples or a choice that is invalid."""
    if not 0 < level < 1:
        raise UsageError(f"expected a confidence level between 0 and 1, found {level}")
    if resamples < 1:
        raise UsageError(f"expected at least one resample, found {resamples}")
    if known and choice not in known:
        raise UsageError(f"expected one of {', '.join(known)}, found {choice!r}")


def percentile_interval(draws: Floats, level: float) -> Interval | None:
    """Returns quantiles of the defined ``draws`` [resamples]; None if fewer than half are defined."""
    defined = draws[np.isfinite(draws)]
    if 2 * len(defined) < len(draws) or not len(defined):
        return None
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def percentile_p(draws: Floats, level: float) -> float | None:
    """Two-sided p of 0, by inverting `percentile_interval`: the largest p for which the interval at 1 - p contains 0.

    It is below ``1 - level`` if and only if the interval at ``level`` excludes 0. The observed data count as a
    resample, so that p is at least 2 / (resamples + 1).

    Args:
        draws: [resamples], NaN where undefined.
        level: level of the corresponding interval.

    Returns:
        p; None if there is no interval, or if there are too few resamples for p to fall below ``1 - level``.
    """
    least = 2 / (int(np.isfinite(draws).sum()) + 1)
    if percentile_interval(draws, level) is None or least >= 1 - level:
        return None
    ordered = np.sort(draws[np.isfinite(draws)])
    tail = min(_crossing(ordered), _crossing(-ordered[::-1]))
    return min(1.0, max(least, 2 * tail / (len(ordered) - 1)))


def _crossing(ordered: Floats) -> float:
    """Returns the fractional index among ordered numbers up to which their linear interpolation is not above 0."""
    count = int((ordered <= 0).sum())
    if not count or count == len(ordered):
        return float(max(count - 1, 0))
    below, above = ordered[count - 1], ordered[count]
    return float(count - 1 - below / (above - below))


def canonical_order(*matrices: Floats) -> tuple[Indices, Indices]:
    """Orders rows and columns by their content, so that seeded resampling does not depend on the order of the input.

    Rows are distinguished by the multiset of their values, each with the class of its column, and columns likewise,
    until the classes are stable (colour refinement; Weisfeiler and Leman, 1968). Remaining ties are interchangeable
    except in contrived symmetric tables.

    Args:
        matrices: each [rows, columns], NaN where missing; a later one only breaks ties of earlier ones.

    Returns:
        Indices of the rows and of the columns, in order.
    """
    rows, columns = (np.zeros(size, np.int64) for size in matrices[0].shape)
    for table in matrices:
        codes = np.unique(table, return_inverse=True)[1].reshape(table.shape)
        classes = 0
        while (found := _count(rows) + _count(columns)) > classes:
            classes = found
            rows = _ranks(np.column_stack([rows, np.sort(codes * len(columns) + columns, axis=1)]))
            columns = _ranks(np.column_stack([columns, np.sort((codes * len(rows) + rows[:, None]).T, axis=1)]))
        column_order = np.argsort(columns, kind="stable")
        row_order = np.lexsort((*codes[:, column_order[::-1]].T, rows))
        if classes == len(rows) + len(columns):
            break
    return row_order, column_order


def _count(classes: NDArray[np.int64]) -> int:
    return int(classes.max(initial=-1)) + 1


def _ranks(rows: NDArray[np.int64]) -> Any:
    """Dense lexicographic rank of each row."""
    if not rows.shape[1]:
        return np.zeros(len(rows), np.int64)
    order = np.lexsort(rows.T[::-1])
    steps = (rows[order[1:]] != rows[order[:-1]]).any(axis=1)
    ranks = np.empty(len(rows), np.int64)
    ranks[order] = np.concatenate(([0], np.cumsum(steps))) if len(rows) else order
    return ranks
