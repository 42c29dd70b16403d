"""Ranks with confidence intervals.

All lines of a column are resampled together, recording by recording (`sam_audio_bench.stats.bootstrap`), so that two
lines are compared on the items that both have a score for, and the difficulty of the items cancels out. A rank interval
contains the middle 95 % of a line's ranks over the resamples. Two lines differ significantly if one is ahead in at
least 97.5 % of them; lines that share a letter do not differ significantly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist
from string import ascii_lowercase

import numpy as np
from numpy.typing import NDArray

from sam_audio_bench.stats.bootstrap import Interval, multinomial_weights

__all__ = ["Column", "RankInterval", "Values", "rank"]

Floats = NDArray[np.float64]
Values = Mapping[str, Mapping[str, float]]
"""Scores of one line: task -> item -> mean over its estimates."""

_LEVEL = 0.95
_NORMAL = NormalDist()
_MOST_DRAWN = 5_000  # recordings up to which an interval is computed from resamples
_EQUAL = 1e-9  # smaller differences are rounding errors, hence ties


@dataclass(frozen=True)
class RankInterval:
    """The rank of a line among those that it is compared with."""

    rank: int  # 1: nobody is ahead; equal means share a rank
    low: int
    high: int  # of the rank, 95 %
    letters: str  # shared by lines that do not differ significantly


@dataclass(frozen=True)
class Column:
    """The quantity that is ranked: a mean over items, then over tasks, then over groups of tasks.

    Args:
        parts: groups of tasks; the value is the mean over groups of the mean over tasks of the mean over items.
        groups: task -> item -> the recording it was cut from, for all items, scored or not.
    """

    parts: tuple[tuple[str, ...], ...]
    groups: Mapping[str, Mapping[str, str]]
    resamples: int = 2000
    seed: int = 0

    @property
    def tasks(self) -> tuple[str, ...]:
        """All tasks."""
        return tuple(task for part in self.parts for task in part)

    @cached_property
    def weights(self) -> dict[str, Floats]:
        """Recording -> how often each resample draws it [1 + resamples]; the first resample draws each once.

        Tasks that share recordings form one stratum; strata are resampled independently.
        """
        found: dict[str, Floats] = {}
        for number, labels in enumerate(self._strata()):
            drawn = multinomial_weights(len(labels), self.resamples, (self.seed, number))
            found |= {label: np.concatenate([[1.0], drawn[:, place]]) for place, label in enumerate(labels)}
        return found

    def _strata(self) -> list[list[str]]:
        joined: list[set[str]] = []
        for task in self.tasks:
            labels = set(self.groups[task].values())
            disjoint = [stratum for stratum in joined if stratum.isdisjoint(labels)]
            joined = [*disjoint, labels.union(*(stratum for stratum in joined if stratum not in disjoint))]
        return sorted(sorted(labels) for labels in joined)

    @cached_property
    def recordings(self) -> int:
        """Number of recordings."""
        return len({label for task in self.tasks for label in self.groups[task].values()})

    @property
    def known(self) -> bool:
        """Whether there are enough recordings to estimate their variance."""
        return self.recordings > 1

    def samples(self, values: Values) -> Floats:
        """Computes the mean, and the mean in each resample: [1 + resamples].

        A resample without recordings of a task uses that task's mean.
        """
        parts = [np.mean([self._of_task(task, values[task]) for task in part], axis=0) for part in self.parts]
        found: Floats = np.mean(parts, axis=0)
        return found

    def _of_task(self, task: str, values: Mapping[str, float]) -> Floats:
        sums, counts = np.zeros(1 + self.resamples), np.zeros(1 + self.resamples)
        members: dict[str, list[float]] = {}
        for item in sorted(values):
            members.setdefault(self.groups[task][item], []).append(values[item])
        for label in sorted(members):  # one after the other: the same bits on any machine
            sums += self.weights[label] * math.fsum(members[label])
            counts += self.weights[label] * len(members[label])
        mean = sums[0] / counts[0]
        return np.where(counts > 0, sums / np.where(counts > 0, counts, 1.0), mean)

    def interval(self, values: Values) -> Interval | None:
        """Computes the percentile interval of the mean, or a normal one of very many recordings; None if unknown."""
        if not self.known:
            return None
        if self.recordings > _MOST_DRAWN:
            return self._normal_interval(values)
        low, high = np.quantile(self.samples(values)[1:], [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
        return Interval(float(low), float(high))

    def _normal_interval(self, values: Values) -> Interval:
        """Computes the interval from the variance of the recordings' contributions to the mean, as resamples would."""
        added: dict[str, float] = {}
        means = []
        for part in self.parts:
            for task in part:
                own = values[task]
                mean, share = math.fsum(own.values()) / len(own), 1 / (len(self.parts) * len(part))
                means.append(share * mean)
                for item in sorted(own):
                    label = self.groups[task][item]
                    added[label] = added.get(label, 0.0) + share * (own[item] - mean) / len(own)
        reach = _NORMAL.inv_cdf((1 + _LEVEL) / 2) * math.sqrt(math.fsum(one**2 for one in added.values()))
        return Interval(math.fsum(means) - reach, math.fsum(means) + reach)


def rank(column: Column, lines: Sequence[Values], *, higher_is_better: bool) -> list[RankInterval]:
    """Ranks lines, returned in the order given; the ranks do not depend on that order.

    Args:
        column: what is ranked.
        lines: each with a score for at least one item of every task.
        higher_is_better: direction.
    """
    ahead = np.zeros((len(lines), 1 + column.resamples), dtype=np.int64)
    differ = np.zeros((len(lines), len(lines)), dtype=bool)
    sign = 1.0 if higher_is_better else -1.0
    whole = np.array([column.samples(line) for line in lines]).reshape(ahead.shape) * sign
    items = [{task: frozenset(values) for task, values in line.items()} for line in lines]
    needed = (1 + _LEVEL) / 2 * column.resamples
    for one in range(1, len(lines)):
        gaps = whole[one] - whole[:one]
        for other in range(one):
            if items[one] != items[other]:
                gaps[other] = _gap_on_common_items(column, lines[one], lines[other]) * sign
        better, worse = gaps > _EQUAL, gaps < -_EQUAL
        ahead[one] += worse.sum(axis=0)
        ahead[:one] += better
        sure = np.maximum(better[:, 1:].sum(axis=1), worse[:, 1:].sum(axis=1)) >= needed
        differ[one, :one] = differ[:one, one] = sure & column.known
    ranks = 1 + ahead
    letters = _letters(ranks[:, 0], whole[:, 0].tolist(), differ)
    if not column.known:
        return [RankInterval(int(own[0]), 1, len(lines), text) for own, text in zip(ranks, letters, strict=True)]
    low = np.quantile(ranks[:, 1:], (1 - _LEVEL) / 2, axis=1, method="lower")
    high = np.quantile(ranks[:, 1:], (1 + _LEVEL) / 2, axis=1, method="higher")
    bounds = zip(ranks[:, 0], low, high, letters, strict=True)
    return [RankInterval(int(own), int(first), int(last), text) for own, first, last, text in bounds]


def _gap_on_common_items(column: Column, first: Values, second: Values) -> Floats:
    """Computes the difference of two lines on common items; zero if some task has no common item."""
    shared = {task: first[task].keys() & second[task].keys() for task in first}
    if not all(shared.values()):
        return np.zeros(1 + column.resamples)
    ours, theirs = (
        column.samples({task: {item: line[task][item] for item in items} for task, items in shared.items()})
        for line in (first, second)
    )
    return ours - theirs


def _letters(ranks: NDArray[np.int64], means: Sequence[float], differ: NDArray[np.bool_]) -> list[str]:
    """Compact letter display: one letter per longest run of lines, best first, of which no two differ significantly."""
    order = sorted(range(len(ranks)), key=lambda line: (int(ranks[line]), -means[line]))
    runs: list[tuple[int, int]] = []
    for start in range(len(order)):
        end = start
        while end + 1 < len(order) and not differ[order[end + 1], order[start : end + 1]].any():
            end += 1
        if not runs or end > runs[-1][1]:
            runs.append((start, end))
    found = [""] * len(order)
    for number, (start, end) in enumerate(runs):
        for line in order[start : end + 1]:
            found[line] += _letter(number)
    return found


def _letter(number: int) -> str:
    """Returns a … z, a2 … z2 and so on."""
    turn, place = divmod(number, len(ascii_lowercase))
    return ascii_lowercase[place] + (str(turn + 1) if turn else "")
