"""Paired comparison of two systems on the same items: difference, interval, p-value, wins and losses.

Pairing removes the difficulty of the items. Items cut from one recording are correlated, so the interval
resamples whole recordings and the test swaps the systems on whole recordings.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from sam_audio_bench.errors import UsageError
from sam_audio_bench.stats.bootstrap import paired_interval

__all__ = ["PairedComparison", "holm", "paired_difference", "swap_test"]

_MOST_EXACT = 13  # recordings, of which all ways to swap are tried
_MOST_DRAWN = 10_000  # recordings, of which ways to swap are drawn
_CHUNK = 2**20  # numbers in an array
_MOST_KEPT = 2**21  # signs that are kept for the next test

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedComparison:
    """Comparison of two systems; differences are second minus first."""

    first: float | None  # means over the items, in the unit of the scores; None without items
    second: float | None
    value: float | None  # mean difference, second minus first
    low: float | None  # 95 % interval; None with fewer than two recordings
    high: float | None
    p: float | None  # two-sided; None with fewer than two recordings
    wins: int  # items on which the second is better
    ties: int
    losses: int

    @property
    def n(self) -> int:
        """Items that both systems have a score for."""
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
    """Mean difference with a bootstrap interval over recordings, p of `swap_test`, and how often each system wins.

    The order of the items does not matter.

    Args:
        first: [items], finite.
        second: [items], of the same items in the same order.
        groups: [items], the recording that each item was cut from.
        higher_is_better: direction of the metric.
        tie: items whose scores differ by no more are ties.
        resamples: of the interval and of the test.
        seed: of both.

    Raises:
        UsageError: lengths that differ, a value that is not finite, or an option out of range.

    >>> paired_difference([1.0, 2.0, 3.0], [2.0, 3.0, 5.0], ["a", "b", "c"]).wins
    3
    """
    if tie < 0:
        raise UsageError(f"expected a difference of at least 0 up to which items are ties, found {tie:g}")
    interval = paired_interval(second, first, groups, resamples=resamples, seed=seed)
    differences = [b - a for a, b in zip(first, second, strict=True)]
    better = sum(one > tie for one in differences)
    worse = sum(one < -tie for one in differences)
    low, high = interval if interval is not None else (None, None)
    return PairedComparison(
        first=_mean(first),
        second=_mean(second),
        value=_mean(differences),
        low=low,
        high=high,
        p=swap_test(differences, groups, resamples=resamples, seed=seed) if interval is not None else None,
        wins=better if higher_is_better else worse,
        ties=len(differences) - better - worse,
        losses=worse if higher_is_better else better,
    )


def swap_test(
    differences: Sequence[float], groups: Sequence[Hashable], *, resamples: int = 2000, seed: int = 0
) -> float:
    """Two-sided p of equal systems, by swapping them on whole recordings.

    If the systems are equal, the differences of a recording may have either sign (the randomisation test of
    Fisher, *The Design of Experiments*, 1935, §21; Noreen, *Computer-Intensive Methods*, 1989). With few recordings all
    swaps are enumerated, and p is at least 2 / 2**recordings; with very many, the sum of swapped differences is taken
    as normal, with its exact variance.

    Args:
        differences: [items], finite.
        groups: [items].
        resamples: number of random swaps, with more than 13 and up to 10,000 recordings.
        seed: of these.
    """
    sums = _sums(differences, [str(group) for group in groups])
    bound = abs(math.fsum(sums)) * (1 - 1e-12)  # what is equal but for rounding is as extreme
    if len(sums) > _MOST_DRAWN:
        spread = math.sqrt(math.fsum(sums**2))
        return math.erfc(abs(math.fsum(sums)) / (spread * math.sqrt(2))) if spread else 1.0
    exact = len(sums) <= _MOST_EXACT
    extreme = ways = 0
    for signs in _signs(len(sums), 0 if exact else resamples, seed):
        # Not a matrix product, whose order of addition may depend on the machine and its load.
        extreme += int((np.abs(np.multiply(signs, sums).sum(axis=1)) >= bound).sum())
        ways += len(signs)
    return extreme / ways if exact else (extreme + 1) / (ways + 1)


def _sums(differences: Sequence[float], labels: Sequence[str]) -> Floats:
    """Of each recording, in the order of their labels."""
    if len(set(labels)) == len(labels):
        return np.array(differences, dtype=np.float64)[sorted(range(len(labels)), key=labels.__getitem__)]
    members: dict[str, list[float]] = {}
    for label, one in sorted(zip(labels, differences, strict=True)):
        members.setdefault(label, []).append(one)
    return np.array([math.fsum(member) for member in members.values()])


def _signs(recordings: int, resamples: int, seed: int) -> Iterable[Floats]:
    """1 or -1 for each recording [ways, recordings], some ways at a time; without resamples all ways there are."""
    if recordings * (resamples or 2**recordings) <= _MOST_KEPT:
        return _kept_signs(recordings, resamples, seed)
    return _drawn_signs(recordings, resamples, seed)


@lru_cache(maxsize=8)
def _kept_signs(recordings: int, resamples: int, seed: int) -> tuple[Floats, ...]:
    """Kept, since all columns of a table use them."""
    return tuple(_drawn_signs(recordings, resamples, seed))


def _drawn_signs(recordings: int, resamples: int, seed: int) -> Iterator[Floats]:
    if not resamples:
        yield np.where(np.arange(2**recordings)[:, None] >> np.arange(recordings) & 1, -1.0, 1.0)
    generator = np.random.Generator(np.random.PCG64(seed))
    step = max(1, _CHUNK // recordings)
    for start in range(0, resamples, step):
        bits = generator.integers(0, 2, (min(step, resamples - start), recordings), dtype=np.int8)
        yield np.where(bits, -1.0, 1.0)


def holm(p_values: Sequence[float | None], hypotheses: Callable[[int], int] = int) -> list[float | None]:
    """Step-down adjusted p-values (Holm, Scandinavian Journal of Statistics 1979); None stays None.

    Args:
        p_values: one a hypothesis.
        hypotheses: how many can be true where so many of the p-values are not rejected yet; by default as many.

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
