"""Coefficients of association for many resamples at once.

A resample is a set of weights: how often each observation was drawn. Every function equals the textbook coefficient on
data in which each observation is repeated as often as its weight says, without ever repeating it. The resamples are the
last axis, so that a step over observations is a step over contiguous rows.

Sums of floats are taken by einsum, whose order of addition does not depend on the load as that of a BLAS may; matrix
products are used only where every partial sum is a small integer, hence exact in any order.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from itertools import pairwise
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from sam_audio_bench.stats.estimate import Floats

__all__ = [
    "Ranked",
    "Weights",
    "agreement",
    "dense_codes",
    "pair_sum",
    "pairwise_signs",
    "ratio",
    "standardise",
    "tie_threshold",
    "weighted_pearson",
]

Signs = NDArray[np.float32]
_FLAT = 1e-12  # a smaller variance of unit-scaled values is a rounding error
_BLOCK = 2**22  # entries of a block of pairs
Made = TypeVar("Made")


class Weights:
    """Weights of items and systems in some resamples, with a cache of values derived from them.

    Args:
        items: [items, resamples].
        systems: [systems, resamples].
        cells: [items * systems, resamples], if cells are resampled directly; None: the product of both.
    """

    def __init__(self, items: Floats, systems: Floats, cells: Floats | None = None) -> None:
        self.items, self.systems, self._cells = items, systems, cells
        self._cache: dict[Hashable, object] = {}

    def cells(self) -> Floats:
        """[items * systems, resamples]."""
        if self._cells is None:
            self._cells = (self.items[:, None, :] * self.systems[None, :, :]).reshape(-1, self.items.shape[1])
        return self._cells

    def cached(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """Returns the cached value of ``key``, computed by ``make`` the first time."""
        if key not in self._cache:
            self._cache[key] = make()
        return self._cache[key]  # type: ignore[return-value]


def standardise(values: Floats, axis: int = -1) -> Floats:
    """Zero mean and unit variance along ``axis``, NaN ignored; constant values become exactly 0."""
    present = np.isfinite(values)
    count = np.maximum(present.sum(axis=axis, keepdims=True), 1)
    centred = values - np.where(present, values, 0.0).sum(axis=axis, keepdims=True) / count
    filled = np.where(present, centred, 0.0)
    spread = np.sqrt((filled**2).sum(axis=axis, keepdims=True) / count)
    low = np.min(values, axis=axis, keepdims=True, initial=np.inf, where=present)
    high = np.max(values, axis=axis, keepdims=True, initial=-np.inf, where=present)
    flat = ~(low < high)
    scaled = centred / np.where(flat | (spread == 0), 1.0, spread)
    return np.where(flat & present, 0.0, scaled)


def ratio(numerator: Floats, squared: Floats) -> Floats:
    """``numerator / sqrt(squared)`` within ±1; NaN where ``squared`` is not positive."""
    valid = squared > 0
    found = numerator / np.sqrt(np.where(valid, squared, 1.0))
    return np.where(valid, np.clip(found, -1.0, 1.0), np.nan)


def weighted_pearson(x: Floats, y: Floats, weights: Floats, *, varying: bool = False) -> Floats:
    """Pearson's r over the last but one axis.

    Args:
        x: [..., observations], or with ``varying`` [..., observations, resamples]; on a unit scale, finite.
        y: as ``x``.
        weights: [..., observations, resamples], not negative.
        varying: the variables differ between resamples.

    Returns:
        [..., resamples]; NaN where a variable is constant in the resample.
    """
    axes = "...nb,...nb->...b" if varying else "...nb,...n->...b"
    total = weights.sum(axis=-2)
    count = np.where(total > 0, total, 1.0)
    moments = [np.einsum(axes, weights, term) / count for term in (x, y, x * x, y * y, x * y)]
    mean_x, mean_y, square_x, square_y, product = moments
    variance_x, variance_y = square_x - mean_x**2, square_y - mean_y**2
    valid = (variance_x > _FLAT) & (variance_y > _FLAT)
    return ratio(product - mean_x * mean_y, np.where(valid, variance_x * variance_y, 0.0))


class Ranked:
    """A variable sorted once, to be ranked in any number of resamples.

    Args:
        values: [observations], finite.
    """

    def __init__(self, values: Floats) -> None:
        unique, self._inverse = np.unique(values, return_inverse=True)
        self._tied = len(unique) < len(values)
        self._order = np.argsort(values, kind="stable")
        self._starts = np.searchsorted(values[self._order], unique)

    def tie_weights(self, weights: Floats) -> Floats:
        """Weight of each distinct value, in ascending order: [distinct, resamples]."""
        drawn = weights[self._order]
        return np.add.reduceat(drawn, self._starts, axis=0) if self._tied else drawn

    def midranks(self, tie_weights: Floats) -> Floats:
        """Midranks minus half the number of resampled observations, [observations, resamples]."""
        halves = tie_weights / 2
        ranks = np.empty_like(halves)
        ranks[0] = halves[0]
        np.add(halves[:-1], halves[1:], out=ranks[1:])
        for before, after in pairwise(ranks):  # faster than cumsum, whose steps along this axis are strided
            np.add(before, after, out=after)
        return ranks[self._inverse]


def dense_codes(values: Floats) -> Signs:
    """Rank of each value among the distinct ones, as float32: comparing codes is comparing values."""
    return np.unique(values, return_inverse=True)[1].astype(np.float32)


def pairwise_signs(values: Floats | Signs) -> Signs:
    """Sign of ``values[..., i] - values[..., j]``: [..., observations, observations], float32; 0 where NaN."""
    signs = np.sign(values[..., :, None] - values[..., None, :]).astype(np.float32)
    return np.nan_to_num(signs, copy=False)


def pair_sum(terms: Callable[[slice], Signs], weights: Floats) -> Floats:
    """Sum over ordered pairs of ``weights[i] * weights[j] * terms[i, j]``, in blocks of rows that bound the memory.

    Args:
        terms: rows of a matrix [observations, observations] of small integers: the products are then exact.
        weights: [observations, resamples], integers.

    Returns:
        [resamples].
    """
    single = weights.astype(np.float32)
    size = len(weights)
    step = max(1, _BLOCK // max(size, 1))
    total = np.zeros(weights.shape[1])
    for start in range(0, size, step):
        rows = slice(start, start + step)
        total += np.einsum("nb,nb->b", (terms(rows) @ single).astype(np.float64), weights[rows])
    return total


def tie_threshold(human: Floats, metric: Floats, shares: Floats) -> float:
    """Finds the difference of the metric up to which counting a pair as tied agrees best with raters (tie calibration).

    Deutsch et al., *Ties Matter*, EMNLP 2023. Returns the smallest of equally good thresholds, and 0 if none is better.

    Args:
        human: [pairs], difference of the ratings.
        metric: [pairs], difference of the metric, larger is better.
        shares: [pairs], weight of each pair.
    """
    distance = np.abs(metric)
    order = np.argsort(distance, kind="stable")
    tied = np.where(human == 0, shares, 0.0)[order]
    agreeing = np.where(np.sign(human) * np.sign(metric) > 0, shares, 0.0)[order]
    gain = np.cumsum(tied - agreeing)
    last = np.append(distance[order][1:] != distance[order][:-1], True)
    candidates, gains = distance[order][last], gain[last]
    if not len(gains):
        return 0.0
    base = gains[0] if candidates[0] == 0 else 0.0
    best = int(np.argmax(gains))
    return float(candidates[best]) if gains[best] > base + 1e-12 else 0.0


def agreement(human: Floats, metric: Floats, threshold: float) -> Signs:
    """1 where a pair's order, or its tie, is the same for raters and metric; 0 elsewhere, also where NaN.

    ``human`` and ``metric`` are differences of any shape.
    """
    tied = np.abs(metric) <= threshold
    same = np.where(human == 0, tied, ~tied & (np.sign(human) * np.sign(metric) > 0))
    return (same & np.isfinite(human) & np.isfinite(metric)).astype(np.float32)
