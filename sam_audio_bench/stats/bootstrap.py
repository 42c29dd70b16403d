"""Confidence intervals of a mean by resampling whole groups of items.

Items cut from one recording are correlated; resampling items as if they were independent gives intervals that are too
narrow. Here a resample draws groups with replacement (Davison and Hinkley, *Bootstrap Methods and their
Application*, 1997, §3.8), and its mean is the ratio of drawn sums to drawn counts.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Iterator, Sequence
from functools import lru_cache
from statistics import NormalDist
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sam_audio_bench.errors import UsageError

__all__ = [
    "Interval",
    "Method",
    "cluster_interval",
    "cluster_intervals",
    "difference_interval",
    "median_intervals",
    "multinomial_weights",
    "paired_interval",
]

Floats = NDArray[np.float64]
Method = Literal["percentile", "bca"]
_METHODS = ("percentile", "bca")
_NORMAL = NormalDist()


class Interval(NamedTuple):
    """Bounds in the unit of the values."""

    low: float
    high: float


def cluster_interval(
    values: Iterable[float],
    groups: Iterable[Hashable],
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    method: Method = "percentile",
) -> Interval | None:
    """Confidence interval of the mean of ``values`` when items of one group are not independent.

    The same values, groups and seed give bit-identical results in any order of the items. Labels are compared as text.
    For more than 10,000 groups the same distribution is drawn with other random numbers, in a twentieth of the time.

    Args:
        values: [items], finite.
        groups: [items], the recording that each item was cut from.
        level: confidence, between 0 and 1.
        resamples: number of resamples.
        seed: of the resampling.
        method: "percentile", or "bca": bias-corrected and accelerated (Efron, JASA 1987), jackknife over groups.

    Returns:
        The interval, or None with fewer than two groups, where the variance between recordings is unknown.

    Raises:
        UsageError: a value that is not finite, lengths that differ, or an option out of range.

    >>> cluster_interval([1.0, 1.0, 3.0, 3.0], ["a", "a", "b", "b"])
    Interval(low=1.0, high=3.0)
    """
    cells = [(values, groups)]
    return cluster_intervals(cells, level=level, resamples=resamples, seed=seed, method=method)[0]


def cluster_intervals(
    cells: Iterable[tuple[Iterable[float], Iterable[Hashable]]],
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    method: Method = "percentile",
) -> list[Interval | None]:
    """Computes `cluster_interval` for several pairs of values and groups, which share the resamples."""
    prepared = [_by_group(*_checked(values, groups, level, resamples, method)) for values, groups in cells]
    varying = [one for one in prepared if one is not None and one.least < one.most]
    drawn = dict(zip(map(id, varying), _resampled_means(varying, resamples, seed), strict=True))
    return [
        None if one is None
        else Interval(one.least, one.most) if id(one) not in drawn
        else _quantiles(one, drawn[id(one)], level, method)
        for one in prepared
    ]  # fmt: skip


def median_intervals(
    cells: Iterable[tuple[Iterable[float], Iterable[Hashable]]],
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    method: Method = "percentile",
) -> list[Interval | None]:
    """Computes intervals as `cluster_intervals`, but of the median of all values of a resample; percentiles only.

    Raises:
        UsageError: as in `cluster_interval`, or another method.

    >>> median_intervals([([1.0, 1.0, 3.0, 3.0], ["a", "a", "b", "b"]), ([1.0], ["a"])])
    [Interval(low=1.0, high=3.0), None]
    """
    if method != "percentile":
        raise UsageError(f"expected the method percentile for medians, found {method!r}")
    checked = [_checked(values, groups, level, resamples, method) for values, groups in cells]
    return [_median_interval(numbers, labels, level, resamples, seed) for numbers, labels in checked]


def _median_interval(
    numbers: list[float], labels: list[str], level: float, resamples: int, seed: int
) -> Interval | None:
    names = {label: unit for unit, label in enumerate(sorted(set(labels)))}
    if len(names) < 2:
        return None
    order = np.argsort(numbers, kind="stable")
    values, units = np.array(numbers)[order], np.array([names[label] for label in labels])[order]
    medians = []
    for _, drawn in _resamples(len(names), resamples, seed):
        reached = drawn[:, units].cumsum(axis=1, dtype=np.int64)  # number of drawn values that are not larger
        total = reached[:, -1:]
        middle = [(reached >= place).argmax(axis=1) for place in ((total + 1) // 2, total // 2 + 1)]
        medians.append((values[middle[0]] + values[middle[1]]) / 2)
    low, high = np.quantile(np.concatenate(medians), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


class _Groups(NamedTuple):
    """Sums and counts of groups, in the order of their labels."""

    sums: Floats
    counts: Floats
    is_single: bool  # whether each group has one value
    least: float  # of all values
    most: float


def _by_group(numbers: list[float], labels: list[str]) -> _Groups | None:
    """Groups values by label; None for fewer than two groups."""
    if len(numbers) > 1 and len(set(labels)) == len(labels):
        sums = np.array(numbers)[sorted(range(len(labels)), key=labels.__getitem__)]
        return _Groups(sums, np.ones(len(labels)), True, min(numbers), max(numbers))
    members: dict[str, list[float]] = {}
    for label, number in zip(labels, numbers, strict=True):
        members.setdefault(label, []).append(number)
    if len(members) < 2:
        return None
    ordered = [members[label] for label in sorted(members)]
    sums = np.array([math.fsum(member) for member in ordered])  # exactly rounded: bit-identical in any order
    counts = np.array([float(len(member)) for member in ordered])
    return _Groups(sums, counts, len(members) == len(numbers), min(numbers), max(numbers))


def _quantiles(found: _Groups, means: Floats, level: float, method: str) -> Interval:
    tails = [(1 - level) / 2, (1 + level) / 2]
    if method == "bca":
        tails = _bca_tails(tails, means, found.sums, found.counts)
    low, high = np.quantile(means, tails)
    return Interval(float(low), float(high))


def _resampled_means(cells: Sequence[_Groups], resamples: int, seed: int) -> list[Floats]:
    """Computes the mean of each resample, [resamples] per cell; cells with equally many groups share the resamples."""
    found = [np.empty(resamples) for _ in cells]
    for units in {len(cell.sums) for cell in cells}:
        alike = [(cell, means) for cell, means in zip(cells, found, strict=True) if len(cell.sums) == units]
        for start, drawn in _resamples(units, resamples, seed):
            weights, product = drawn.astype(np.float64), np.empty(drawn.shape)
            for cell, means in alike:
                # Not `weights @ sums`: a matrix product may add in an order that depends on the machine and its load.
                sums = np.multiply(weights, cell.sums, out=product).sum(axis=1)
                counts = units if cell.is_single else np.multiply(weights, cell.counts, out=product).sum(axis=1)
                means[start : start + len(drawn)] = sums / counts
    return found


def _resamples(units: int, resamples: int, seed: int) -> Iterator[tuple[int, NDArray[np.integer]]]:
    """Yields how often resamples draw each unit, some resamples at a time, with the index of the first of them."""
    if units <= _MOST_MULTINOMIAL:
        drawn = _multinomial(units, resamples, (seed,))
        step = max(1, _CHUNK // units)
        yield from ((start, drawn[start : start + step]) for start in range(0, resamples, step))
        return
    # Drawing each of many units takes a twentieth of the time of as many binomial numbers.
    generator = np.random.Generator(np.random.PCG64(seed))
    for start in range(resamples):
        yield start, np.bincount(generator.integers(0, units, units), minlength=units)[None]


_MOST_MULTINOMIAL = 10_000  # units
_CHUNK = 2**18  # numbers in an array


@lru_cache(maxsize=4)
def multinomial_weights(units: int, resamples: int, seed: tuple[int, ...]) -> Floats:
    """Returns how often each resample draws each unit: [resamples, units], read-only; cached for all cells of a table.

    Args:
        units: number of units, all of which are resampled with replacement.
        resamples: number of resamples.
        seed: one integer, or several: the seed and the number of an independent stream.
    """
    weights = _multinomial(units, resamples, seed).astype(np.float64)
    weights.flags.writeable = False
    return weights


@lru_cache(maxsize=4)
def _multinomial(units: int, resamples: int, seed: tuple[int, ...]) -> NDArray[np.integer]:
    """Returns the same counts in the smallest integer type that holds them."""
    generator = np.random.Generator(np.random.PCG64(seed[0] if len(seed) == 1 else seed))
    shares, step = np.full(units, 1 / units), max(1, _CHUNK // units)
    kind = np.min_scalar_type(units)
    parts = [generator.multinomial(units, shares, size=min(step, resamples - start)).astype(kind)
             for start in range(0, resamples, step)]  # fmt: skip
    return np.concatenate(parts)


def paired_interval(
    values_a: Sequence[float],
    values_b: Sequence[float],
    groups: Iterable[Hashable],
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    method: Method = "percentile",
) -> Interval | None:
    """Confidence interval of the mean difference ``a - b`` of two systems on the same items.

    Pairing removes the difficulty of the items from the comparison (Miller, arXiv:2411.00640).

    Args:
        values_a: [items], finite, of the first system.
        values_b: [items], finite, of the second one, in the same order of items.
        groups: [items], as in `cluster_interval`, like all that follows.
        level: as there.
        resamples: as there.
        seed: as there.
        method: as there.

    Returns:
        The interval, or None with fewer than two groups.

    Raises:
        UsageError: as in `cluster_interval`.
    """
    if len(values_a) != len(values_b):
        raise UsageError(f"expected two systems on the same items, found {len(values_a)} and {len(values_b)} values")
    differences = [a - b for a, b in zip(values_a, values_b, strict=True)]
    return cluster_interval(differences, groups, level=level, resamples=resamples, seed=seed, method=method)


def difference_interval(
    values: Sequence[float] | Floats,
    groups: Sequence[Hashable],
    inside: Sequence[bool] | NDArray[np.bool_],
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval | None:
    """Percentile interval of the mean of some items minus that of all others, by resampling whole groups.

    A group may have items on both sides. Resamples that draw no item of one side are ignored.

    Args:
        values: [items], finite.
        groups: [items], as in `cluster_interval`, like all that follows.
        inside: [items], whether an item is on the first side.
        level: as there.
        resamples: as there.
        seed: as there.

    Returns:
        The interval, or None if one side has fewer than two groups.

    Raises:
        UsageError: as in `cluster_interval`.

    >>> difference_interval([1.0, 1.0, 3.0, 3.0], ["a", "b", "c", "d"], [True, True, False, False])
    Interval(low=-2.0, high=-2.0)
    """
    numbers, labels = _checked(values, groups, level, resamples, "percentile")
    sums: dict[str, list[list[float]]] = {}
    for number, label, one in zip(numbers, labels, inside, strict=True):
        sums.setdefault(label, [[], []])[0 if one else 1].append(number)
    ordered = [sums[label] for label in sorted(sums)]
    sides = [[group[side] for group in ordered] for side in (0, 1)]
    if min(sum(map(bool, side)) for side in sides) < 2:
        return None
    totals = [
        (np.array([math.fsum(one) for one in side]), np.array([float(len(one)) for one in side])) for side in sides
    ]
    found = np.empty(resamples)
    for start, drawn in _resamples(len(ordered), resamples, seed):
        weights = drawn.astype(np.float64)
        with np.errstate(invalid="ignore"):
            means = [(weights * one).sum(axis=1) / (weights * count).sum(axis=1) for one, count in totals]
        found[start : start + len(drawn)] = means[0] - means[1]
    low, high = np.nanquantile(found, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def _checked(
    values: Iterable[float], groups: Iterable[Hashable], level: float, resamples: int, method: str
) -> tuple[list[float], list[str]]:
    numbers = [float(value) for value in values]
    labels = [str(label) for label in groups]
    if len(numbers) != len(labels):
        raise UsageError(f"expected one group per value, found {len(numbers)} values and {len(labels)} groups")
    if not all(map(math.isfinite, numbers)):
        raise UsageError("expected finite values, found NaN or infinity; leave out or cap such items")
    if not 0 < level < 1:
        raise UsageError(f"expected a confidence level between 0 and 1, found {level}")
    if resamples < 1:
        raise UsageError(f"expected at least one resample, found {resamples}")
    if method not in _METHODS:
        raise UsageError(f"expected the method {' or '.join(_METHODS)}, found {method!r}")
    return numbers, labels


def _bca_tails(tails: Sequence[float], means: Floats, sums: Floats, counts: Floats) -> list[float]:
    """Adjusts the tail probabilities for the bias and the skewness of the mean (Efron 1987, equations 2.3 and 6.6)."""
    estimate = sums.sum() / counts.sum()
    below = float((means < estimate).mean() + (means <= estimate).mean()) / 2  # ties count half
    least = 0.5 / len(means)  # if all resamples are on one side, the bias is only known to exceed this
    bias = _NORMAL.inv_cdf(min(max(below, least), 1 - least))
    without = (sums.sum() - sums) / (counts.sum() - counts)
    spread = without.mean() - without
    norm = math.sqrt(float((spread**2).sum()))
    acceleration = float(((spread / norm) ** 3).sum()) / 6 if norm > 0 else 0.0
    shifted = [bias + _NORMAL.inv_cdf(tail) for tail in tails]
    return [_NORMAL.cdf(bias + shift / (1 - acceleration * shift)) for shift in shifted]
