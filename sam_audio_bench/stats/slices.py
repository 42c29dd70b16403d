"""Slices of items by an attribute, and tests whether a system is worse in one of them than in the others.

The statistic is the difference of means divided by its standard error over recordings, tested in two ways; the larger p
is used. One test permutes scores between items with fixed attributes; items of one recording are not independent, so
recordings with equally many items are exchanged as wholes, and items within their recording (multi-level block
permutation: Winkler, Webster, Vidaurre, Nichols and Smith, NeuroImage 2015). It is exact for any distribution if the
attribute is independent of the scores. The other test is Welch's (Biometrika 1947) over recordings, which is valid if
slices differ in spread but not in mean.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from sam_audio_bench.errors import UsageError
from sam_audio_bench.stats.bootstrap import Interval, cluster_interval, difference_interval
from sam_audio_bench.tasks.attributes import Attribute

__all__ = ["MIN_RECORDINGS", "Slice", "SliceTest", "compare_slices", "make_slices"]

MIN_RECORDINGS = 5
"""Recordings that a slice, and the other items, must have for a test."""

_FEW_VALUES = 4  # distinct numbers up to which each forms a slice
_DIGITS = 4  # significant digits of automatic edges
_CHUNK = 2**20  # numbers in an array
_ROUNDING = 1e-9  # by which equal statistics may differ

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
_Key = TypeVar("_Key", bound=Hashable)


class Slice(NamedTuple):
    """Some items, by one attribute."""

    label: str  # "snr < −5"
    items: tuple[Hashable, ...]
    known: bool = True  # whether the attribute of these items is known


def make_slices(values: Mapping[_Key, Attribute | None], name: str, points: Sequence[float] = ()) -> list[Slice]:
    """Divides items into slices by the values of an attribute; each item is in exactly one.

    Numbers are divided at the given points, each of which begins a slice. Without points, each of at most four distinct
    numbers is a slice, or else the terciles are, with edges of four digits. Each text is a slice, the most frequent
    first. Items whose value is None come last.

    Args:
        values: item -> value; None: unknown.
        name: name of the attribute.
        points: increasing numbers.

    Raises:
        UsageError: points that do not increase, or of texts.

    >>> [(one.label, one.items) for one in make_slices({"a": -5.0, "b": 0.0, "c": None}, "snr", [0])]
    [('snr < 0', ('a',)), ('snr ≥ 0', ('b',)), ('snr not known', ('c',))]
    """
    if not all(map(math.isfinite, points)) or any(low >= high for low, high in pairwise(points)):
        raise UsageError(f"expected increasing numbers to cut {name} at, found {', '.join(map(_short, points))}")
    known = {item: value for item, value in values.items() if value is not None}
    numbers = {item: value for item, value in known.items() if isinstance(value, float)}
    if points and len(numbers) < len(known):
        text = next(value for value in known.values() if isinstance(value, str))
        raise UsageError(
            f"expected numbers to cut {name} at, found texts in it, such as {text!r}; leave the numbers out"
        )
    if len(numbers) < len(known) or (not points and len(set(numbers.values())) <= _FEW_VALUES):
        found = _by_value(known, name)
    else:
        found = _by_edges(numbers, name, points or _terciles(list(numbers.values())))
    rest = tuple(item for item, value in values.items() if value is None)
    return found + ([Slice(f"{name} not known", rest, known=False)] if rest else [])


def _by_value(known: Mapping[_Key, Attribute], name: str) -> list[Slice]:
    members: dict[Attribute, list[_Key]] = {}
    for item, value in known.items():
        members.setdefault(value, []).append(item)
    if all(isinstance(value, float) for value in members):
        order = sorted(members)
    else:
        order = sorted(members, key=lambda value: (-len(members[value]), str(value)))
    return [Slice(f"{name} = {_shown(value)}", tuple(members[value])) for value in order]


def _by_edges(numbers: Mapping[_Key, float], name: str, edges: Sequence[float]) -> list[Slice]:
    place = np.searchsorted(np.array(edges), np.array(list(numbers.values())), side="right")
    members = [tuple(item for item, at in zip(numbers, place, strict=True) if at == number)
               for number in range(len(edges) + 1)]  # fmt: skip
    texts = [_short(edge) for edge in edges]
    middle = [f"{low} ≤ {name} < {high}" for low, high in pairwise(texts)]
    labels = [f"{name} < {texts[0]}", *middle, f"{name} ≥ {texts[-1]}"]
    return [Slice(label, items) for label, items in zip(labels, members, strict=True)]


def _terciles(numbers: Sequence[float]) -> list[float]:
    """Returns edges that divide numbers into three parts, or fewer if there are ties."""
    edges = {float(f"{edge:.{_DIGITS}g}") for edge in np.quantile(numbers, [1 / 3, 2 / 3])}
    return sorted(edge for edge in edges if min(numbers) < edge) or [max(numbers)]


def _shown(value: Attribute) -> str:
    return _short(value) if isinstance(value, float) else value


def _short(number: float) -> str:
    """Formats a number with as few digits as identify it, without negative zero."""
    return repr(float(number) + 0.0).removesuffix(".0").replace("-", "−")


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceTest:
    """A system in one slice compared with the other slices of the attribute."""

    n: int  # items with a score
    recordings: int
    mean: float | None  # None: no item has a score
    low: float | None  # 95 % interval of the mean; None with fewer than two recordings
    high: float | None
    elsewhere: float | None
    difference: float | None  # mean in the slice minus mean elsewhere
    difference_low: float | None
    difference_high: float | None
    p: float | None  # one-sided, of the hypothesis that the slice is not worse: the larger of two; None: not tested
    untested: str = ""  # why there is no p


def compare_slices(
    values: Sequence[float],
    groups: Sequence[Hashable],
    slices: Sequence[Sequence[bool] | Mask],
    *,
    higher_is_better: bool,
    permutations: int = 2000,
    resamples: int = 2000,
    seed: int = 0,
) -> list[SliceTest]:
    """Compares each slice with all others of one attribute.

    Args:
        values: [items], finite, of items whose attribute is known.
        groups: [items], the recording that each item was cut from.
        slices: [slices][items], whether an item is in a slice.
        higher_is_better: direction of the scores.
        permutations: number of permutations of the test.
        resamples: number of resamples of recordings for the 95 % intervals.
        seed: seed of both.

    Raises:
        UsageError: lengths that differ, or a value that is not finite.
    """
    members = list(zip(*slices, strict=True)) if slices else [()] * len(values)
    order = sorted(range(len(values)), key=lambda at: (str(groups[at]), values[at], members[at]))
    scores = np.array([float(values[at]) for at in order])
    labels = [str(groups[at]) for at in order]
    masks = [np.asarray(mask, dtype=bool)[order] for mask in slices]
    cells = [_described(scores, labels, mask, resamples, seed) for mask in masks]
    tested = [mask for mask, one in zip(masks, cells, strict=True) if not one.untested]
    found = iter(_p_values(scores if higher_is_better else -scores, labels, tested, permutations, seed))
    return [one if one.untested else replace(one, p=next(found)) for one in cells]


def _described(scores: Floats, labels: Sequence[str], mask: Mask, resamples: int, seed: int) -> SliceTest:
    """Computes everything except p."""
    inside, outside = scores[mask], scores[~mask]
    own = [label for label, one in zip(labels, mask, strict=True) if one]
    others = {label for label, one in zip(labels, mask, strict=True) if not one}
    interval = cluster_interval(inside.tolist(), own, resamples=resamples, seed=seed) if len(inside) else None
    between: Interval | None = None
    if len(inside) and len(outside):
        between = difference_interval(scores, labels, mask, resamples=resamples, seed=seed)
    mean, elsewhere = (math.fsum(part) / len(part) if len(part) else None for part in (inside, outside))
    return SliceTest(
        n=len(inside),
        recordings=len(set(own)),
        mean=mean,
        low=None if interval is None else interval.low,
        high=None if interval is None else interval.high,
        elsewhere=elsewhere,
        difference=None if mean is None or elsewhere is None else mean - elsewhere,
        difference_low=None if between is None else between.low,
        difference_high=None if between is None else between.high,
        p=None,
        untested=_why_untested(scores, len(set(own)), len(others)),
    )


def _why_untested(scores: Floats, recordings: int, others: int) -> str:
    if recordings < MIN_RECORDINGS:
        return f"fewer than {MIN_RECORDINGS} recordings"
    if others < MIN_RECORDINGS:
        return f"fewer than {MIN_RECORDINGS} recordings elsewhere"
    if scores.min() == scores.max():
        return "all scores are equal"
    return ""


def _p_values(
    scores: Floats, labels: Sequence[str], masks: Sequence[Mask], permutations: int, seed: int
) -> list[float]:
    """Computes the larger p of each slice, for scores of which higher is better."""
    if not masks:
        return []
    from scipy.special import stdtr  # imported here, since tables of results do not need it

    starts = np.flatnonzero([at == 0 or labels[at] != labels[at - 1] for at in range(len(labels))])
    stands = [_Contrast(mask, starts) for mask in masks]
    bounds = [float(stand.statistics(scores[None])[0]) for stand in stands]
    extreme = [0] * len(masks)
    for permuted in _permuted(scores, starts, permutations, seed):
        for at, (stand, bound) in enumerate(zip(stands, bounds, strict=True)):
            slack = _ROUNDING * max(1.0, abs(bound)) if math.isfinite(bound) else 0.0
            extreme[at] += int((stand.statistics(permuted) <= bound + slack).sum())
    shares = [(count + 1) / (permutations + 1) for count in extreme]
    tails = [float(stdtr(stand.freedom(scores), bound)) for stand, bound in zip(stands, bounds, strict=True)]
    return [max(pair) for pair in zip(shares, tails, strict=True)]


class _Contrast:
    """Difference of means, slice minus elsewhere, divided by its standard error over recordings.

    Args:
        mask: [items], the slice.
        starts: [recordings], the first item of each.
    """

    def __init__(self, mask: Mask, starts: NDArray[np.int64]) -> None:
        self._inside, self._starts = mask.astype(np.float64), starts
        self._counts = [np.add.reduceat(part, starts) for part in (self._inside, 1 - self._inside)]
        self._recordings = [int(np.count_nonzero(counts)) for counts in self._counts]
        self._scales = [math.sqrt(one / (one - 1)) for one in self._recordings]  # of single items: Welch's statistic

    def statistics(self, scores: Floats) -> Floats:
        """Computes the statistic, ``[permutations, items] -> [permutations]``; infinite where the error is 0."""
        means, parts = self._sides(scores)
        error = np.sqrt(np.square(parts[0] - parts[1]).sum(axis=1))
        difference = means[0] - means[1]
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = difference / error
        return np.where(np.isnan(ratio), 0.0, ratio)

    def freedom(self, scores: Floats) -> float:
        """Computes the degrees of freedom by Welch and Satterthwaite from ``[items]``; at least 1."""
        _, parts = self._sides(scores[None])
        errors = [float(np.square(part).sum()) for part in parts]
        spread = sum(one**2 / (count - 1) for one, count in zip(errors, self._recordings, strict=True))
        return max(1.0, sum(errors) ** 2 / spread) if spread else 1.0

    def _sides(self, scores: Floats) -> tuple[list[Floats], list[Floats]]:
        """Computes means and contributions of recordings, of the slice and of elsewhere.

        Returns:
            Means ``[permutations]`` and contributions ``[permutations, recordings]``: deviations scaled so that their
            sum of squares is the squared standard error of the mean.
        """
        inside = np.add.reduceat(scores * self._inside, self._starts, axis=1)
        sums = inside, np.add.reduceat(scores, self._starts, axis=1) - inside
        means, parts = [], []
        for found, counts, scale in zip(sums, self._counts, self._scales, strict=True):
            mean = found.sum(axis=1) / counts.sum()
            means.append(mean)
            parts.append(scale * (found - mean[:, None] * counts) / counts.sum())
        return means, parts


def _permuted(scores: Floats, starts: NDArray[np.int64], permutations: int, seed: int) -> Iterator[Floats]:
    """Scores ``[ways, items]`` with recordings of one size exchanged, and items within each, some ways at a time."""
    sizes = np.diff(np.append(starts, len(scores)))
    blocks = [starts[sizes == size, None] + np.arange(size) for size in np.unique(sizes)]  # [recordings, items] each
    generator = np.random.Generator(np.random.PCG64(seed))
    step = max(1, _CHUNK // len(scores))
    for start in range(0, permutations, step):
        ways = min(step, permutations - start)
        permuted = np.empty((ways, len(scores)))
        for places in blocks:
            order = generator.permuted(np.broadcast_to(np.arange(len(places)), (ways, len(places))), axis=1)
            drawn = places[order]
            if places.shape[1] > 1:
                drawn = generator.permuted(drawn, axis=2)
            permuted[:, places] = scores[drawn]
        yield permuted
