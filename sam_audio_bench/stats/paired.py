"""Paired comparison of two systems on the same items: difference, interval, p-value, wins and losses.

Pairing removes the difficulty of the items. Items cut from one recording are correlated, so the systems are swapped on
whole recordings. The interval contains the differences that this test does not reject (Hartigan, *Using subsample
values as typical values*, JASA 1969), so that it excludes 0 if and only if p is below 5 %.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from sam_audio_bench.errors import UsageError
from sam_audio_bench.stats.bootstrap import Interval

__all__ = [
    "FEWEST_RECORDINGS",
    "PairedComparison",
    "Recordings",
    "holm",
    "paired_difference",
    "smallest_p",
    "swap_interval",
    "swap_patterns",
    "swap_test",
]

FEWEST_RECORDINGS = 6
"""Recordings needed for significance at 5 %: of the 32 swap patterns of five recordings, two are always as extreme."""

_MOST_EXACT = 13  # recordings up to which all swap patterns are enumerated
_MOST_DRAWN = 10_000  # recordings up to which swap patterns are drawn at random
_CHUNK = 2**20  # swaps drawn at a time
_BLOCK = 2**16  # numbers per array, few enough for the CPU cache
_MOST_KEPT = 2**25  # swaps that are cached for the next tests, one bit each

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedComparison:
    """Comparison of two systems; differences are second minus first."""

    first: float | None  # means over the items, in the unit of the scores; None without items
    second: float | None
    value: float | None  # mean difference, second minus first
    low: float | None  # 95 % interval; None with fewer than FEWEST_RECORDINGS, where p cannot be below 5 %
    high: float | None
    p: float | None  # two-sided; None with fewer than two recordings
    wins: int  # items on which the second is better
    ties: int
    losses: int

    @property
    def n(self) -> int:
        """Number of items that both systems have a score for."""
        return self.wins + self.ties + self.losses


def paired_difference(
    first: Sequence[float],
    second: Sequence[float],
    groups: Sequence[Hashable],
    *,
    higher_is_better: bool = True,
    tie: float = 0.0,
    resamples: int = 2000,
    seed: int = 0,
) -> PairedComparison:
    """Computes the mean difference with `swap_interval`, p of `swap_test`, and how often each system wins.

    The order of the items has no effect.

    Args:
        first: [items], finite.
        second: [items], of the same items in the same order.
        groups: [items], the recording that each item was cut from.
        higher_is_better: direction of the metric.
        tie: largest difference of scores that counts as a tie.
        resamples: number of random swaps, with more than 13 and up to 10,000 recordings.
        seed: of these.

    Raises:
        UsageError: lengths that differ, a value that is not finite, or an option out of range.

    >>> paired_difference([1.0, 2.0, 3.0], [2.0, 3.0, 5.0], ["a", "b", "c"]).wins
    3
    """
    if tie < 0:
        raise UsageError(f"expected a tie threshold of at least 0, found {tie:g}")
    if len(first) != len(second):
        raise UsageError(f"expected two systems on the same items, found {len(first)} and {len(second)} values")
    differences = [b - a for a, b in zip(first, second, strict=True)]
    swaps = _swaps(differences, groups, resamples, seed)
    better = sum(one > tie for one in differences)
    worse = sum(one < -tie for one in differences)
    low, high = swaps.interval(0.95) or (None, None)
    return PairedComparison(
        first=_mean(first),
        second=_mean(second),
        value=_mean(differences),
        low=low,
        high=high,
        p=swaps.p() if swaps.recordings > 1 else None,
        wins=better if higher_is_better else worse,
        ties=len(differences) - better - worse,
        losses=worse if higher_is_better else better,
    )


def smallest_p(recordings: int, resamples: int = 2000) -> float:
    """Returns the smallest p that `swap_test` can give for any differences.

    >>> smallest_p(3), smallest_p(40, 99)
    (0.25, 0.01)
    """
    return 2 / 2**recordings if recordings <= _MOST_EXACT else 1 / (resamples + 1)


def swap_test(
    differences: Sequence[float] | Floats, groups: Sequence[Hashable] | Recordings, *, resamples: int = 2000,
    seed: int = 0,
) -> float:  # fmt: skip
    """Two-sided p of equal systems, by swapping them on whole recordings.

    If the systems are equal, the differences of a recording may have either sign (the randomisation test of
    Fisher, *The Design of Experiments*, 1935, §21; Noreen, *Computer-Intensive Methods*, 1989). With few recordings all
    swaps are enumerated, and p is at least 2 / 2**recordings; with very many, the sum of swapped differences is taken
    as normal, with its exact variance.

    Args:
        differences: [items], finite.
        groups: [items], or `Recordings` of them, which several tests can share.
        resamples: number of random swaps, with more than 13 and up to 10,000 recordings.
        seed: of these.

    Raises:
        UsageError: as `paired_difference`.
    """
    sums, counts, mean = _summed(differences, groups, resamples)
    if len(sums) > _MOST_DRAWN:
        return _ManySwaps(sums, counts, mean).p()
    return _share_as_extreme(sums if mean >= 0 else -sums, _ways(len(sums), resamples, seed))


def swap_interval(
    differences: Sequence[float] | Floats,
    groups: Sequence[Hashable] | Recordings,
    *,
    weights: Sequence[float] | Floats | None = None,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval | None:
    """The differences between the systems that `swap_test` does not reject at ``1 - level``.

    If the second system is better by δ everywhere, a swap pattern is as extreme as the observation if and only if the
    mean of the recordings that it swaps, or of the others, lies at δ or beyond. The bounds are such means.

    Args:
        differences: as in `swap_test`, and so for all that follow but ``level``.
        groups: as there.
        weights: [items], positive, of a weighted mean, whose test is that of the weighted differences; None: all alike.
        level: confidence.
        resamples: as there.
        seed: as there.

    Returns:
        The closed interval; None if p cannot be below ``1 - level``.

    Raises:
        UsageError: as `paired_difference`.
    """
    return _swaps(differences, groups, resamples, seed, weights).interval(level)


def _swaps(
    differences: Sequence[float] | Floats, groups: Sequence[Hashable] | Recordings, resamples: int, seed: int,
    weights: Sequence[float] | Floats | None = None,
) -> _Swaps | _ManySwaps:  # fmt: skip
    """Returns all swap patterns, or a sample, or the distribution of very many; the order of items has no effect."""
    sums, counts, mean = _summed(differences, groups, resamples, weights)
    if len(sums) > _MOST_DRAWN:
        return _ManySwaps(sums, counts, mean)
    found = [_means_of_ways(ways, sums, counts) for ways in _ways(len(sums), resamples, seed)]
    lesser, greater = np.concatenate(found, axis=1)
    return _Swaps(len(sums), mean, lesser, greater)


def _summed(
    differences: Sequence[float] | Floats, groups: Sequence[Hashable] | Recordings, resamples: int,
    weights: Sequence[float] | Floats | None = None,
) -> tuple[Floats, Floats, float]:  # fmt: skip
    """Returns the sum of differences and the number or weight of items per recording, and the overall mean."""
    if resamples < 1:
        raise UsageError(f"expected at least one resample, found {resamples}")
    values = np.asarray(differences, dtype=np.float64)
    if not np.isfinite(values).all():
        raise UsageError("expected finite values, found NaN or infinity; leave out or cap such items")
    known = groups if isinstance(groups, Recordings) else Recordings(groups)
    if weights is None:
        return known.sums(values), known.counts, _mean(values.tolist()) or 0.0
    shares = np.asarray(weights, dtype=np.float64)
    sums, counts = known.sums(shares * values), known.sums(shares)
    return sums, counts, math.fsum(sums.tolist()) / math.fsum(counts.tolist())


class Recordings:
    """The items of each recording, in the order of their names as text; sorted once for many tests of the same items.

    Args:
        groups: [items], the recording that each item was cut from.
    """

    def __init__(self, groups: Sequence[Hashable]) -> None:
        labels = [str(group) for group in groups]
        self._order = np.array(sorted(range(len(labels)), key=labels.__getitem__), dtype=np.intp)
        new = [at for at, place in enumerate(self._order) if not at or labels[place] != labels[self._order[at - 1]]]
        self._starts = np.array(new, dtype=np.intp)
        self.counts: Floats = np.diff(np.append(self._starts, len(labels))).astype(np.float64)  # items of each

    def __len__(self) -> int:
        return len(self.counts)

    def sums(self, values: Floats) -> Floats:
        """Sums the values of each recording, exactly rounded: bit-identical in any order of the items."""
        ordered = values[self._order]
        if len(self) == len(ordered):
            return ordered
        return np.array([math.fsum(part) for part in np.split(ordered, self._starts[1:])])


@dataclass(frozen=True, slots=True)
class _ManySwaps:
    """Swap patterns of so many recordings that the sum of the swapped differences is normally distributed."""

    sums: Floats  # [recordings]
    counts: Floats  # [recordings], items
    mean: float  # over all items

    @property
    def recordings(self) -> int:
        return len(self.sums)

    def p(self) -> float:
        """Returns p of no difference."""
        spread = math.sqrt(math.fsum(self.sums**2))
        return math.erfc(abs(math.fsum(self.sums)) / (spread * math.sqrt(2))) if spread else 1.0

    def interval(self, level: float) -> Interval | None:
        """Returns the differences δ with p of at least ``1 - level``: (S - δN)² is z² times the sum of (s - δn)²."""
        z2 = NormalDist().inv_cdf((1 + level) / 2) ** 2
        whole, items = math.fsum(self.sums), math.fsum(self.counts)
        square = items**2 - z2 * math.fsum(self.counts**2)
        half = whole * items - z2 * math.fsum(self.sums * self.counts)
        rest = whole**2 - z2 * math.fsum(self.sums**2)
        if square <= 0:  # one recording contains nearly all items
            return None
        spread = math.sqrt(max(half**2 - square * rest, 0.0))
        return Interval(min((half - spread) / square, self.mean), max((half + spread) / square, self.mean))


@dataclass(frozen=True, slots=True)
class _Swaps:
    """Swap patterns on whole recordings, each given by two means: of its swapped recordings and of the others."""

    recordings: int
    mean: float  # over all items
    lesser: Floats  # [ways], the smaller of the two means; -inf where all or none is swapped
    greater: Floats  # [ways], the larger one; inf there

    def p(self) -> float:
        """Returns p of no difference: the share of patterns that are as extreme."""
        return float((self.lesser <= 0).mean() if self.mean >= 0 else (self.greater >= 0).mean())

    def interval(self, level: float) -> Interval | None:
        """Returns the differences with p of at least ``1 - level``."""
        count = math.ceil((1 - level) * len(self.lesser) - 1e-9)  # patterns that must be as extreme
        if not 1 <= count <= len(self.lesser):
            return None
        low, high = np.sort(self.lesser)[count - 1], np.sort(self.greater)[-count]
        if not np.isfinite(low) or not np.isfinite(high):
            return None
        return Interval(min(float(low), self.mean), max(float(high), self.mean))


def _ways(recordings: int, resamples: int, seed: int) -> Iterable[NDArray[np.bool_]]:
    """Yields which recordings each pattern swaps, [ways, recordings], in chunks; the first pattern swaps none."""
    if recordings <= _MOST_EXACT or recordings * resamples <= _MOST_KEPT:
        kept = _kept_ways(recordings, resamples, seed)
        return (np.unpackbits(ways, axis=1, count=recordings).view(np.bool_) for ways in kept)
    return _drawn_ways(recordings, resamples, seed)


@lru_cache(maxsize=8)
def _kept_ways(recordings: int, resamples: int, seed: int) -> tuple[NDArray[np.uint8], ...]:
    """Caches packed patterns, since all columns of a table use them."""
    return tuple(np.packbits(ways, axis=1) for ways in _drawn_ways(recordings, resamples, seed))


def swap_patterns(recordings: int, resamples: int = 2000, seed: int = 0) -> NDArray[np.bool_]:
    """Returns the patterns of `swap_interval` for up to 10,000 recordings: which each swaps, [ways, recordings]."""
    return np.concatenate(list(_ways(recordings, resamples, seed)))


def _drawn_ways(recordings: int, resamples: int, seed: int) -> Iterator[NDArray[np.bool_]]:
    if recordings <= _MOST_EXACT:
        yield (np.arange(2**recordings)[:, None] >> np.arange(recordings) & 1).astype(bool)
        return
    yield np.zeros((1, recordings), dtype=bool)
    generator = np.random.Generator(np.random.PCG64(seed))
    step = max(1, _CHUNK // recordings)
    for start in range(0, resamples, step):
        yield generator.integers(0, 2, (min(step, resamples - start), recordings), dtype=np.int8).astype(bool)


def _means_of_ways(ways: NDArray[np.bool_], sums: Floats, counts: Floats) -> Floats:
    """Computes the smaller and the larger mean of each pattern: [2, ways]."""
    swapped, negligible = _swapped(ways, sums), _negligible(sums)
    number = np.count_nonzero(ways, axis=1)
    size = _swapped(ways, counts) if (counts != 1).any() else number
    with np.errstate(divide="ignore", invalid="ignore"):
        means = np.stack([
            np.where(np.abs(part) <= negligible, 0.0, part) / items
            for part, items in ((swapped, size), (sums.sum() - swapped, counts.sum() - size))
        ])  # fmt: skip
    bare = (number == 0) | (number == len(counts))
    return np.stack([np.where(bare, -np.inf, means.min(axis=0)), np.where(bare, np.inf, means.max(axis=0))])


def _share_as_extreme(sums: Floats, ways: Iterable[NDArray[np.bool_]]) -> float:
    """Computes the share of patterns whose swapped or other recordings have a sum of at most 0, which is p.

    It equals that of `_means_of_ways`: where rounding could decide, a sum in arbitrary order is recomputed in order.
    """
    negligible, whole = _negligible(sums), sums.sum()
    rounding = 2 * len(sums) * np.finfo(np.float64).eps * np.abs(sums).sum()
    extreme = count = 0
    for some in ways:
        swapped = _swapped(some, sums, in_order=False)
        unsure = np.abs(np.minimum(swapped, whole - swapped) - negligible) <= rounding
        swapped[unsure] = _swapped(some[unsure], sums)
        extreme += int(np.count_nonzero(np.minimum(swapped, whole - swapped) <= negligible))
        count += len(some)
    return extreme / count


def _negligible(sums: Floats) -> float:
    """Returns the magnitude up to which a sum counts as 0."""
    return 1e-12 * float(np.abs(sums).sum())


def _swapped(ways: NDArray[np.bool_], values: Floats, *, in_order: bool = True) -> Floats:
    """Sums the values that each pattern swaps: [ways].

    Args:
        ways: [ways, recordings].
        values: [recordings].
        in_order: bit-identical on all machines; else by a matrix product, whose order of addition may vary.
    """
    step = max(1, _BLOCK // max(1, len(values)))
    found, block = np.empty(len(ways)), np.empty((step, len(values)))
    for start in range(0, len(ways), step):
        some = ways[start : start + step]
        rows, here = block[: len(some)], found[start : start + step]
        if in_order:
            np.multiply(some, values, out=rows).sum(axis=1, out=here)
        else:
            rows[:] = some
            np.matmul(rows, values, out=here)
    return found


def holm(p_values: Sequence[float | None], hypotheses: Callable[[int], int] = int) -> list[float | None]:
    """Step-down adjusted p-values (Holm, Scandinavian Journal of Statistics 1979); None stays None.

    Args:
        p_values: one per hypothesis.
        hypotheses: number of hypotheses that can be true, from the number not rejected yet; by default the same.

    >>> holm([0.01, None, 0.02])
    [0.02, None, 0.02]
    """
    known = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for step, (p, place) in enumerate(known):
        highest = max(highest, min(1.0, hypotheses(len(known) - step) * p))
        adjusted[place] = highest
    return adjusted


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if len(values) else None
