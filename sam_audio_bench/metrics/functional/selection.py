"""Exact percentiles and medians of positive values given in parts, in the memory of a few parts. In numpy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["Weighted", "percentile", "weighted_median"]

Values = NDArray[np.floating[Any]]
Weighted = tuple[Values, Values]
"""Values, and their weights."""

Part = TypeVar("Part")

_DIGIT = 16  # bits that one pass over the values determines
_FEW = 1 << 20  # number of values up to which they are sorted in memory


def percentile(parts: Callable[[], Iterable[Values]], share: float) -> float:
    """Computes a percentile of positive values, interpolated as in numpy.

    Args:
        parts: returns all values, in arrays ``[N]``, each time that it is called.
        share: the percentile, 0 to 100.
    """
    first = _only_part(iter(parts()))
    if first is not None:
        return float(np.percentile(first, share))
    place = share / 100 * (sum(map(len, parts())) - 1)

    def counted() -> Iterator[Weighted]:
        return ((part, np.ones(len(part))) for part in parts())

    low, high = (_radix_rank(counted, int(rank) + 1) for rank in (np.floor(place), np.ceil(place)))
    return float(low + (high - low) * (place - np.floor(place)))


def weighted_median(parts: Callable[[], Iterable[Weighted]]) -> float | None:
    """Computes the smallest of positive values up to which the weights reach half; None if there are no values.

    Args:
        parts: returns all values with their weights, in arrays ``[N]``, each time that it is called.
    """
    first = _only_part(iter(parts()))
    if first is not None:
        return _sorted_rank(*first, None) if len(first[0]) else None
    total = sum(float(weights.sum()) for _, weights in parts())
    return _radix_rank(parts, total / 2) if total else None


def _only_part(parts: Iterator[Part]) -> Part | None:
    """Returns the only part; None if there are more."""
    first = next(parts)
    return first if next(parts, None) is None else None


def _sorted_rank(values: Values, weights: Values, mass: float | None) -> float:
    """Returns the value at which the weights, sorted by value, reach ``mass``, by default half of their sum."""
    order = np.argsort(values)
    sums = np.cumsum(weights[order])
    threshold = sums[-1] / 2 if mass is None else mass
    return float(values[order[min(int(np.searchsorted(sums, threshold)), len(order) - 1)]])


def _radix_rank(parts: Callable[[], Iterable[Weighted]], mass: float) -> float:
    """Computes `_sorted_rank` by radix selection: positive floats are ordered like their bits."""
    known, remaining = 0, 64  # leading bits of the value, and the number of remaining ones
    while True:
        remaining -= _DIGIT
        counts, sums = np.zeros(1 << _DIGIT, np.int64), np.zeros(1 << _DIGIT)
        for bits, weights in _matching(parts, known, remaining + _DIGIT):
            digits = ((bits >> remaining) & ((1 << _DIGIT) - 1)).astype(np.int64)
            counts += np.bincount(digits, minlength=len(counts))
            sums += np.bincount(digits, weights, minlength=len(sums))
        reached = np.cumsum(sums)
        digit = min(int(np.searchsorted(reached, mass)), int(counts.nonzero()[0][-1]))
        mass -= float(reached[digit] - sums[digit])
        known = known << _DIGIT | digit
        if remaining == 0:
            return float(np.uint64(known).view(np.float64))
        if counts[digit] <= _FEW:
            found = list(_matching(parts, known, remaining))
            bits, weights = (np.concatenate(column) for column in zip(*found, strict=True))
            return _sorted_rank(bits.view(np.float64), weights, mass)


def _matching(
    parts: Callable[[], Iterable[Weighted]], known: int, remaining: int
) -> Iterator[tuple[NDArray[np.uint64], Values]]:
    """Yields bits and weights of values whose leading bits equal ``known``; ``remaining`` bits are undetermined."""
    for values, weights in parts():
        bits = values.astype(np.float64).view(np.uint64)
        if remaining == 64:
            yield bits, weights
        else:
            matching = bits >> np.uint64(remaining) == known
            yield bits[matching], weights[matching]
