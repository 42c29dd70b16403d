"""Percentiles and medians of positive values that come in parts, exact, in the memory of a few parts. In numpy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["Weighted", "percentile", "weighted_median"]

Values = NDArray[np.floating[Any]]
Weighted = tuple[Values, Values]
"""Values and their weights."""

Part = TypeVar("Part")

_DIGIT = 16  # bits that one pass over the values settles
_FEW = 1 << 20  # values that are sorted at once


def percentile(parts: Callable[[], Iterable[Values]], share: float) -> float:
    """Percentile of positive values, interpolated as numpy's.

    Args:
        parts: gives all values each time that it is called, in arrays ``[N]``.
        share: in percent.
    """
    first = _alone(iter(parts()))
    if first is not None:
        return float(np.percentile(first, share))
    place = share / 100 * (sum(map(len, parts())) - 1)

    def counted() -> Iterator[Weighted]:
        return ((part, np.ones(len(part))) for part in parts())

    low, high = (_ranked(counted, int(rank) + 1) for rank in (np.floor(place), np.ceil(place)))
    return float(low + (high - low) * (place - np.floor(place)))


def weighted_median(parts: Callable[[], Iterable[Weighted]]) -> float | None:
    """The least of positive values at which the weights of what is no greater reach half; None: there are no values.

    Args:
        parts: gives all values with their weights each time that it is called, in arrays ``[N]``.
    """
    first = _alone(iter(parts()))
    if first is not None:
        return _sorted_rank(*first, None) if len(first[0]) else None
    total = sum(float(weights.sum()) for _, weights in parts())
    return _ranked(parts, total / 2) if total else None


def _alone(parts: Iterator[Part]) -> Part | None:
    """The only part; None: there are more."""
    first = next(parts)
    return first if next(parts, None) is None else None


def _sorted_rank(values: Values, weights: Values, mass: float | None) -> float:
    """The value at which the weights, in the order of the values, reach a mass; None: half of them."""
    order = np.argsort(values)
    sums = np.cumsum(weights[order])
    wanted = sums[-1] / 2 if mass is None else mass
    return float(values[order[min(int(np.searchsorted(sums, wanted)), len(order) - 1)]])


def _ranked(parts: Callable[[], Iterable[Weighted]], mass: float) -> float:
    """As `_sorted_rank`: positive numbers have the order of their bits, of which each pass finds the next digit."""
    known, settled = 0, 64  # the leading bits of the value, and how many are open
    while True:
        settled -= _DIGIT
        counts, sums = np.zeros(1 << _DIGIT, np.int64), np.zeros(1 << _DIGIT)
        for bits, weights in _like(parts, known, settled + _DIGIT):
            digits = ((bits >> settled) & ((1 << _DIGIT) - 1)).astype(np.int64)
            counts += np.bincount(digits, minlength=len(counts))
            sums += np.bincount(digits, weights, minlength=len(sums))
        reached = np.cumsum(sums)
        digit = min(int(np.searchsorted(reached, mass)), int(counts.nonzero()[0][-1]))
        mass -= float(reached[digit] - sums[digit])
        known = known << _DIGIT | digit
        if settled == 0:
            return float(np.uint64(known).view(np.float64))
        if counts[digit] <= _FEW:
            found = list(_like(parts, known, settled))
            bits, weights = (np.concatenate(column) for column in zip(*found, strict=True))
            return _sorted_rank(bits.view(np.float64), weights, mass)


def _like(
    parts: Callable[[], Iterable[Weighted]], known: int, settled: int
) -> Iterator[tuple[NDArray[np.uint64], Values]]:
    """Bits and weights of the values whose leading bits, but for ``settled`` of them, are known."""
    for values, weights in parts():
        bits = values.astype(np.float64).view(np.uint64)
        if settled == 64:
            yield bits, weights
        else:
            alike = bits >> np.uint64(settled) == known
            yield bits[alike], weights[alike]
