"""The verdict on a table: which system is best, which do not differ from it significantly, and which are surely better
than the baseline.

Systems are compared in pairs on the items that both have a score for: the difference with its interval, and p of a
swap test on whole recordings (`sam_audio_bench.stats.paired`). Over several tasks the difference is the mean over tasks
of the mean over items.

Two hypotheses are tested for each separator. *Is it better than the baseline*, which does nothing? Here p is corrected
by Holm over the separators. *Is the leader surely ahead of it?* The leader is known only after looking at the scores,
so that chance favours it; p is corrected by Holm over all pairs that can still be equal. If separators are equal,
either is stated falsely for any of them in at most 5 % of tables.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress

import numpy as np
from numpy.typing import NDArray

from sam_audio_bench.errors import UsageError
from sam_audio_bench.stats.paired import Recordings, holm, swap_interval, swap_test
from sam_audio_bench.stats.ranking import Column, Values

__all__ = ["ALPHA", "BASELINE", "Gap", "Verdict", "decide", "decide_many"]

ALPHA = 0.05
"""Probability of a false "surely", over all systems of a table."""
BASELINE = "mixture"
"""The separator that returns the mixture."""
_MOST_PAIRED = 32  # separators of which all pairs are compared
_SWAPS_A_PAIR = 40  # resamples per hypothesis: the smallest p, corrected for their number, is half of ALPHA


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """How far one system is ahead of another one, on the items that both have a score for."""

    items: int
    recordings: int
    value: float | None = None  # in the unit of the metric, positive: ahead; None: no common item in some task
    low: float | None = None  # 95 % interval; None with fewer than two recordings, or if not requested
    high: float | None = None
    p: float | None = None  # two-sided, corrected by Holm; None with fewer than two recordings

    @property
    def ahead(self) -> bool:
        """Whether it is surely ahead."""
        return self.value is not None and self.p is not None and self.p < ALPHA and self.value > 0

    @property
    def behind(self) -> bool:
        """Whether it is surely behind."""
        return self.value is not None and self.p is not None and self.p < ALPHA and self.value < 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The comparison of the systems in one column of a table."""

    order: tuple[str, ...]  # best first; systems of a lower coverage class come last
    tasks: tuple[str, ...]
    slice: str = ""  # of the task's items; "": all of them
    left_out: tuple[str, ...] = ()  # systems without scores on some task
    baseline: str | None = None  # None: missing
    behind_best: Mapping[str, Gap] = field(default_factory=dict)  # how far the leader is ahead of its rivals
    over_baseline: Mapping[str, Gap] = field(default_factory=dict)  # how far the others are ahead of the baseline
    rivals: frozenset[str] = frozenset()  # systems of the best coverage class

    @property
    def leader(self) -> str | None:
        """The separator with the best mean, significant or not, other than the baseline."""
        return self.first_except(() if self.baseline is None else (self.baseline,))

    def first_except(self, excluded: Collection[str]) -> str | None:
        """Returns the system with the best mean that is not ``excluded``."""
        return next((name for name in self.order if name not in excluded), None)

    @property
    def indistinguishable(self) -> tuple[str, ...]:
        """Separators that do not differ significantly from the leader."""
        return tuple(name for name, gap in self.behind_best.items() if not gap.ahead)

    @property
    def best(self) -> frozenset[str]:
        """The system with the best mean, and all that do not differ from it significantly, including the baseline."""
        if not self.order or self.leader is None:
            return frozenset(self.order[:1])
        if self.order[0] == self.baseline:
            level = {name for name, gap in self.over_baseline.items() if not gap.behind and name in self.rivals}
            return frozenset(level | {self.order[0]})
        own = self.over_baseline.get(self.leader)
        level = {self.leader, *self.indistinguishable}
        return frozenset(level if own is None or own.ahead else level | {str(self.baseline)} & self.rivals)

    @property
    def surely_better(self) -> tuple[str, ...]:
        """The systems that are surely better than the baseline."""
        return tuple(name for name in self.order if name in self.over_baseline and self.over_baseline[name].ahead)

    @property
    def surely_worse(self) -> tuple[str, ...]:
        """The systems that are surely worse than the baseline."""
        return tuple(name for name in self.order if name in self.over_baseline and self.over_baseline[name].behind)

    def against_baseline(self, name: str) -> str:
        """Returns "better", "worse" or "unsure" for a system compared with the baseline; "" without a baseline."""
        gap = self.over_baseline.get(name)
        return "" if gap is None else "better" if gap.ahead else "worse" if gap.behind else "unsure"

    @property
    def recordings(self) -> int:
        """The largest number of recordings that two of the systems have in common."""
        gaps = (*self.behind_best.values(), *self.over_baseline.values())
        return max((gap.recordings for gap in gaps), default=0)

    @property
    def too_few(self) -> bool:
        """Whether there are so few recordings that no difference, however large, could be significant."""
        questions = [_pairs(len(self.behind_best)), len(self.over_baseline)]
        return _hopeless(min((count for count in questions if count), default=0), self.recordings)

    @property
    def recordings_with_baseline(self) -> int:
        """The largest number of recordings that a system and the baseline have in common."""
        return max((gap.recordings for gap in self.over_baseline.values()), default=0)

    @property
    def too_few_with_baseline(self) -> bool:
        """Whether there are so few recordings that no system could be surely better than the baseline."""
        return _hopeless(len(self.over_baseline), self.recordings_with_baseline)


def decide(
    column: Column,
    lines: Mapping[str, Values],
    *,
    higher_is_better: bool,
    baseline: str = BASELINE,
    classes: Mapping[str, int] | None = None,
    intervals: bool = True,
) -> Verdict:
    """Compares the systems of a column; their order has no effect.

    Args:
        column: a mean over items, and over tasks of that. Recordings of the same name are the same recording.
        lines: name -> task -> item -> score, finite, without oracles and other systems that do not compete.
        higher_is_better: direction of the metric.
        baseline: name of the baseline.
        classes: rank of each system's coverage class, 0 for the best and by default. Systems of the leader's class are
            its rivals; the others are compared with the baseline alone.
        intervals: whether to compute the intervals of differences, which takes most of the time.

    Raises:
        UsageError: a task or an item that the column does not have.
    """
    whole = {name: values for name, values in sorted(lines.items()) if all(values.get(task) for task in column.tasks)}
    _check(column, whole)
    sign, known = (1 if higher_is_better else -1), classes or {}
    means = {name: _mean(column, values) for name, values in whole.items()}
    order = sorted(whole, key=lambda name: (known.get(name, 0), -sign * means[name]))
    rivals = [name for name in order if known.get(name, 0) == known.get(order[0], 0)]
    others = [name for name in order if name != baseline]
    behind = [name for name in others[1:] if known.get(name, 0) == known.get(others[0], 0)]
    swaps = max(column.resamples, _SWAPS_A_PAIR * _pairs(len(behind)))
    pairs = _Pairs(column, whole)
    ahead = [pairs.gap(others[0], name, sign, swaps, intervals) for name in behind]
    over = [pairs.gap(name, baseline, sign, swaps, intervals) for name in others if baseline in whole]
    return Verdict(
        order=tuple(order),
        tasks=column.tasks,
        left_out=tuple(name for name in sorted(lines) if name not in whole),
        baseline=baseline if baseline in whole else None,
        behind_best=_by_holm(behind, ahead, _pairs),
        over_baseline=_by_holm(others if over else (), over, int),
        rivals=frozenset(rivals),
    )


def decide_many(column: Column, lines: Mapping[str, Values], *, higher_is_better: bool) -> Verdict:
    """Compares the systems of a column as `decide`, but many systems only with the baseline.

    With many systems, comparing all pairs would take hours, and no two would differ significantly after correction by
    Holm for as many tests. Then none differs significantly from the best.

    Args:
        column: what is compared.
        lines: scores of the competing separators and of the baseline, as in `decide`.
        higher_is_better: direction of the metric.
    """
    if len(lines) <= _MOST_PAIRED:
        return decide(column, lines, higher_is_better=higher_is_better)
    column = replace(column, resamples=max(column.resamples, _SWAPS_A_PAIR * len(lines)))
    nothing = {BASELINE: lines[BASELINE]} if BASELINE in lines else {}
    found = [
        decide(column, {name: values, **nothing}, higher_is_better=higher_is_better, intervals=False)
        for name, values in lines.items()
    ]
    gaps = {name: gap for one in found for name, gap in one.over_baseline.items()}
    sign = -1 if higher_is_better else 1
    means = {name: float(column.samples(values)[0]) for name, values in lines.items()}
    order = sorted(lines, key=lambda name: (sign * means[name], name))
    leader, *behind = (name for name in order if name != BASELINE)
    gaps |= decide(column, {leader: lines[leader], **nothing}, higher_is_better=higher_is_better).over_baseline
    return Verdict(
        order=tuple(order),
        tasks=column.tasks,
        baseline=BASELINE if nothing else None,
        behind_best={name: Gap(items=0, recordings=0) for name in behind},
        over_baseline={
            name: replace(gap, p=p)
            for (name, gap), p in zip(gaps.items(), holm([gap.p for gap in gaps.values()]), strict=True)
        },
        rivals=frozenset(lines),
    )


def _hopeless(hypotheses: int, recordings: int) -> bool:
    """Whether the smallest possible p for this number of recordings is too large for this number of hypotheses."""
    return hypotheses > 0 and hypotheses * 2.0 ** (1 - recordings) >= ALPHA


def _pairs(others: int) -> int:
    """Counts the pairs of one system and ``others`` more."""
    return others * (others + 1) // 2


def _by_holm(names: Sequence[str], gaps: Sequence[Gap], hypotheses: Callable[[int], int]) -> dict[str, Gap]:
    adjusted = holm([gap.p for gap in gaps], hypotheses)
    return {name: replace(gap, p=p) for name, gap, p in zip(names, gaps, adjusted, strict=True)}


def _check(column: Column, lines: Mapping[str, Values]) -> None:
    for name, values in lines.items():
        for task in column.tasks:
            if unknown := sorted(values[task].keys() - column.groups[task].keys()):
                raise UsageError(f"expected items of {task} with a known recording, found {unknown[0]!r} of {name}")
            if not all(map(math.isfinite, values[task].values())):
                raise UsageError(f"expected finite scores, found others of {name} on {task}")


def _shares(column: Column) -> dict[str, float]:
    """Returns the weight of each task in the mean."""
    return {task: 1 / (len(column.parts) * len(part)) for part in column.parts for task in part}


def _mean(column: Column, values: Values) -> float:
    shares = _shares(column)
    return math.fsum(shares[task] * math.fsum(values[task].values()) / len(values[task]) for task in column.tasks)


class _Pairs:
    """Comparisons of two lines on common items; pairs with the same items share the grouping into recordings."""

    def __init__(self, column: Column, lines: Mapping[str, Values]) -> None:
        self._column = column
        self._items = {task: sorted({item for line in lines.values() for item in line[task]}) for task in column.tasks}
        self._scores = {
            name: {task: np.array([line[task].get(item, math.nan) for item in items])
                   for task, items in self._items.items()}
            for name, line in lines.items()
        }  # fmt: skip
        self._recordings: dict[bytes, Recordings] = {}  # by mask of the common items

    def gap(self, first: str, second: str, sign: int, swaps: int, interval: bool) -> Gap:
        """Computes how far the first is ahead of the second; p is not corrected for other pairs."""
        column, one, other = self._column, self._scores[first], self._scores[second]
        gaps = {task: sign * (one[task] - other[task]) for task in one}
        there = {task: ~np.isnan(gap) for task, gap in gaps.items()}
        common = {task: gap[there[task]] for task, gap in gaps.items()}
        recordings, items = self._recordings_of(there), sum(map(len, common.values()))
        if not all(map(len, common.values())):
            return Gap(items=items, recordings=len(recordings))
        shares = _shares(column)
        means = (shares[task] * math.fsum(gap.tolist()) / len(gap) for task, gap in common.items())
        found = Gap(value=math.fsum(means), items=items, recordings=len(recordings))
        if len(recordings) < 2:
            return found
        weights = np.concatenate([np.full(len(gap), shares[task] / len(gap)) for task, gap in common.items()])
        values, alike = np.concatenate(list(common.values())), None if len(column.tasks) == 1 else weights
        options = {"resamples": swaps, "seed": column.seed}
        bounds = swap_interval(values, recordings, weights=alike, **options) if interval else None
        low, high = bounds or (None, None)
        return replace(found, low=low, high=high, p=swap_test(weights * values, recordings, **options))

    def _recordings_of(self, there: Mapping[str, NDArray[np.bool_]]) -> Recordings:
        key = b"".join(mask.tobytes() for mask in there.values())
        if key not in self._recordings:
            self._recordings[key] = Recordings([
                self._column.groups[task][item]
                for task, mask in there.items()
                for item in compress(self._items[task], mask.tolist())
            ])  # fmt: skip
        return self._recordings[key]
