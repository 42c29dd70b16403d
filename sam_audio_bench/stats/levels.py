"""One metric against the raters at one level, in any number of resamples of items and systems.

utterance     all cells (item, system) pooled
within_item   the coefficient across systems for each item, averaged over items, which removes the difficulty of items
system        the means of the systems

A resample repeats whole items and whole systems; a cell is drawn as often as its item times its system.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from sam_audio_bench.stats.coefficients import (
    Ranked,
    Weights,
    agreement,
    dense_codes,
    pair_sum,
    pairwise_signs,
    ratio,
    standardise,
    tie_threshold,
    weighted_pearson,
)
from sam_audio_bench.stats.estimate import EstimateStatus, Floats
from sam_audio_bench.stats.mapping import MAPPING_ORDERS, mapped_rmse

__all__ = ["COEFFICIENTS", "LEVELS", "LevelData"]

COEFFICIENTS = ("pearson", "spearman", "kendall", "accuracy", *MAPPING_ORDERS)
_FEWEST = 3
_MOST_CACHED = 2048  # cells up to which the agreement of their pairs is cached between chunks of resamples


class LevelData(ABC):
    """A metric and mean ratings at one level.

    Args:
        human: [items, systems], NaN where missing.
        metric: likewise; only cells with both are used.
        sign: -1 if lower is better; None: as the metric correlates with the raters. Only accuracy depends on it.
    """

    LEVELS: ClassVar[dict[str, type[LevelData]]] = {}
    n: int
    status: EstimateStatus

    def __init_subclass__(cls, level: str) -> None:
        LevelData.LEVELS[level] = cls

    def __init__(self, human: Floats, metric: Floats, sign: int | None = None) -> None:
        present = np.isfinite(human) & np.isfinite(metric)
        self.present = present
        self.human, self.metric = np.where(present, human, np.nan), np.where(present, metric, np.nan)
        self.thresholds: dict[str, float] = {}
        self.draws: dict[str, Floats] = {}  # by coefficient, in the resamples of a design
        self._points: dict[str, tuple[float | None, EstimateStatus]] = {}
        self.prepare()
        if self.status is EstimateStatus.OK:
            slope = self.evaluate(self.unit_weights(), ("pearson",))["pearson"][0]
            self.direction = -1.0 if slope < 0 else 1.0
            self.sign = float(sign or self.direction)

    @abstractmethod
    def prepare(self) -> None:
        """Sets ``n``, ``status`` and everything that does not depend on the resample."""

    @abstractmethod
    def calibrate(self) -> None:
        """Finds the threshold below which accuracy counts a pair as tied."""

    def evaluate(self, weights: Weights, coefficients: Sequence[str]) -> dict[str, Floats]:
        """Computes each coefficient in each resample: [resamples]; NaN where it is undefined."""
        defined = [name for name in coefficients if self.defines(name)]
        if "accuracy" in defined and not self.thresholds:
            self.calibrate()
        return {name: self._coefficient(name, weights) for name in defined}

    def point(self, coefficient: str) -> tuple[float | None, EstimateStatus]:
        """Computes a coefficient on all data, with its status."""
        if coefficient not in self._points:
            found = self.evaluate(self.unit_weights(), (coefficient,)).get(coefficient, np.array([np.nan]))
            known = bool(np.isfinite(found[0]))
            missing = EstimateStatus.TOO_FEW if self.status is EstimateStatus.OK else self.status
            self._points[coefficient] = (float(found[0]), self.status) if known else (None, missing)
        return self._points[coefficient]

    def defines(self, coefficient: str) -> bool:
        """Whether the coefficient is defined at this level."""
        return self.status is EstimateStatus.OK and self.enough(coefficient)

    def enough(self, coefficient: str) -> bool:
        """Whether enough degrees of freedom are left."""
        return self.n > MAPPING_ORDERS.get(coefficient, 1) + 1

    def _coefficient(self, name: str, weights: Weights) -> Floats:
        if name in MAPPING_ORDERS:
            return self.rmse(weights, MAPPING_ORDERS[name])
        functions = {
            "pearson": self.pearson,
            "spearman": self.spearman,
            "kendall": self.kendall,
            "accuracy": self.accuracy,
        }
        return functions[name](weights)

    @abstractmethod
    def pearson(self, weights: Weights) -> Floats:
        """Product-moment correlation."""

    @abstractmethod
    def spearman(self, weights: Weights) -> Floats:
        """Correlation of midranks."""

    @abstractmethod
    def kendall(self, weights: Weights) -> Floats:
        """Kendall's tau-b."""

    @abstractmethod
    def accuracy(self, weights: Weights) -> Floats:
        """Share of pairs of different observations whose order or tie agrees."""

    def rmse(self, weights: Weights, order: int) -> Floats:
        """Error after a mapping of ``order``; NaN at levels without a mapping."""
        return np.full(weights.items.shape[1], np.nan)

    def unit_weights(self) -> Weights:
        """Returns the weights of the original data: everything drawn once."""
        return Weights(*(np.ones((size, 1)) for size in self.human.shape))

    def set_status(self, human: Floats, metric: Floats) -> None:
        """Sets ``n`` and ``status`` from the observations that are correlated."""
        self.n = len(human)
        flat = self.n and not (unit_range(human)[1] and unit_range(metric)[1])
        few = EstimateStatus.TOO_FEW if self.n < _FEWEST else EstimateStatus.OK
        self.status = EstimateStatus.CONSTANT if flat and few is EstimateStatus.OK else few


def unit_range(values: Floats) -> tuple[float, float]:
    """Returns the centre and half the width of the range."""
    low, high = float(values.min()), float(values.max())
    return (low + high) / 2, (high - low) / 2


class Utterance(LevelData, level="utterance"):
    """All cells pooled."""

    def prepare(self) -> None:
        self._index = np.flatnonzero(self.present.reshape(-1))
        self._key = (self._index.tobytes(), "utterance")
        self._y, self._x = self.human.reshape(-1)[self._index], self.metric.reshape(-1)[self._index]
        self.set_status(self._y, self._x)
        self._agreeing: NDArray[np.bool_] | None = None
        if self.status is EstimateStatus.OK:
            self._unit = standardise(self._x), standardise(self._y)
            self._ranked = Ranked(self._x), Ranked(self._y)
            self._codes = dense_codes(self._x), dense_codes(self._y)

    def calibrate(self) -> None:
        first, second = np.triu_indices(self.n, 1)
        human, metric = self._y[first] - self._y[second], self.sign * (self._x[first] - self._x[second])
        self.thresholds["accuracy"] = tie_threshold(human, metric, np.ones(len(human)))

    def pearson(self, weights: Weights) -> Floats:
        return weighted_pearson(*self._unit, self._drawn(weights))

    def spearman(self, weights: Weights) -> Floats:
        drawn = self._drawn(weights)
        ties = self._ranked[0].tie_weights(drawn)
        ranks, variance = weights.cached((self._key, "ranks"), lambda: self._human_ranks(drawn))
        product = np.einsum("nb,nb->b", self._ranked[0].midranks(ties), ranks)
        return ratio(product, _rank_variance(ties, drawn) * variance)

    def _human_ranks(self, drawn: Floats) -> tuple[Floats, Floats]:
        ties = self._ranked[1].tie_weights(drawn)
        centred = self._ranked[1].midranks(ties) - drawn.sum(axis=0) / 2
        return centred * drawn, _rank_variance(ties, drawn)

    def kendall(self, weights: Weights) -> Floats:
        drawn, (x, y) = self._drawn(weights), self._codes
        concordance = pair_sum(
            lambda rows: np.sign(x[rows, None] - x[None, :]) * np.sign(y[rows, None] - y[None, :]), drawn
        )
        square = drawn.sum(axis=0) ** 2
        untied = [square - (ranked.tie_weights(drawn) ** 2).sum(axis=0) for ranked in self._ranked]
        return ratio(concordance, untied[0] * untied[1])

    def accuracy(self, weights: Weights) -> Floats:
        drawn, x, y, threshold = self._drawn(weights), self.sign * self._x, self._y, self.thresholds["accuracy"]
        if self._agreeing is None and self.n <= _MOST_CACHED:
            self._agreeing = agreement(y[:, None] - y, x[:, None] - x, threshold).astype(bool)
        kept = self._agreeing
        same = pair_sum(
            lambda rows: (
                agreement(y[rows, None] - y, x[rows, None] - x, threshold)
                if kept is None
                else kept[rows].astype(np.float32)
            ),
            drawn,
        )
        copies = (drawn**2).sum(axis=0)  # a cell and its own copy are no pair
        return _share(same - copies, drawn.sum(axis=0) ** 2 - copies)

    def rmse(self, weights: Weights, order: int) -> Floats:
        centre, half = unit_range(self._x)
        x = (self._x - centre) / half
        return mapped_rmse(x, self._y, self._drawn(weights), order=order, direction=self.direction)

    def _drawn(self, weights: Weights) -> Floats:
        cells = weights.cells()
        return cells if len(self._index) == len(cells) else weights.cached(self._key, lambda: cells[self._index])


class WithinItem(LevelData, level="within_item"):
    """Across the systems of each item with at least three of them, then the mean over items."""

    def prepare(self) -> None:
        several = self.present.sum(axis=1) >= _FEWEST
        unit = standardise(self.human), standardise(self.metric)
        varies = [np.nanmax(np.abs(np.where(self.present, table, 0.0)), axis=1, initial=0.0) > 0 for table in unit]
        self._rows = np.flatnonzero(several & varies[0] & varies[1])
        self.n = len(self._rows)
        missing = EstimateStatus.CONSTANT if several.any() else EstimateStatus.TOO_FEW
        self.status = EstimateStatus.OK if self.n else missing
        self._mask = self.present[self._rows][:, :, None].astype(np.float64)
        self._unit = np.nan_to_num(unit[1][self._rows]), np.nan_to_num(unit[0][self._rows])
        self._signs = [pairwise_signs(table[self._rows]) for table in (self.metric, self.human)]

    def enough(self, coefficient: str) -> bool:
        return coefficient not in MAPPING_ORDERS  # there are too few systems to fit a mapping

    def _differences(self) -> tuple[Floats, Floats]:
        tables = self.human[self._rows], self.sign * self.metric[self._rows]
        human, metric = (table[:, :, None] - table[:, None, :] for table in tables)
        return human, metric

    def calibrate(self) -> None:
        first, second = np.triu_indices(self.human.shape[1], 1)
        human, metric = (table[:, first, second] for table in self._differences())
        pairs = np.isfinite(human)
        shares = np.broadcast_to(1 / pairs.sum(axis=1, keepdims=True), pairs.shape)[pairs]
        self.thresholds["accuracy"] = tie_threshold(human[pairs], metric[pairs], shares)

    def pearson(self, weights: Weights) -> Floats:
        return self._mean(weighted_pearson(*self._unit, self._drawn(weights)), weights)

    def spearman(self, weights: Weights) -> Floats:
        drawn, single = self._drawn(weights), weights.systems.astype(np.float32)
        x, y = ((signs @ single).astype(np.float64) for signs in self._signs)  # twice the centred midranks
        moments = [np.einsum("isb,isb->ib", drawn * one, other) for one, other in ((x, y), (x, x), (y, y))]
        return self._mean(ratio(moments[0], moments[1] * moments[2]), weights)

    def kendall(self, weights: Weights) -> Floats:
        x, y = self._signs
        concordance, untied_x, untied_y = (self._pairs(terms, weights) for terms in (x * y, np.abs(x), np.abs(y)))
        return self._mean(ratio(concordance, untied_x * untied_y), weights)

    def accuracy(self, weights: Weights) -> Floats:
        same = agreement(*self._differences(), self.thresholds["accuracy"])
        same[:, np.arange(same.shape[1]), np.arange(same.shape[1])] = 0
        drawn = self._drawn(weights)
        pairs = drawn.sum(axis=1) ** 2 - (drawn**2).sum(axis=1)
        return self._mean(_share(self._pairs(same, weights), pairs), weights)

    def _pairs(self, terms: Floats | np.ndarray[tuple[int, ...], np.dtype[np.float32]], weights: Weights) -> Floats:
        sums = (terms @ weights.systems.astype(np.float32)).astype(np.float64)
        found: Floats = np.einsum("isb,isb->ib", sums, self._drawn(weights))
        return found

    def _drawn(self, weights: Weights) -> Floats:
        return weights.cached((self._mask.tobytes(), "within"), lambda: weights.systems[None] * self._mask)

    def _mean(self, found: Floats, weights: Weights) -> Floats:
        counts = weights.items[self._rows] * np.isfinite(found)
        return _share((counts * np.nan_to_num(found)).sum(axis=0), counts.sum(axis=0))


class System(LevelData, level="system"):
    """The means of the systems over the items that were drawn."""

    def prepare(self) -> None:
        self._columns = np.flatnonzero(self.present.any(axis=0))
        mask = self.present[:, self._columns].astype(np.float64)
        filled = [np.nan_to_num(table[:, self._columns]) for table in (self.metric, self.human)]
        self._mask, self._filled = mask, filled
        self._scale = (0.0, 1.0), (0.0, 1.0)
        self._key = (mask.tobytes(), self._columns.tobytes(), "system")
        x, y = (means[:, 0] for means in self._means(self.unit_weights()))
        self.set_status(y, x)
        if self.status is EstimateStatus.OK:
            self._scale = unit_range(x), unit_range(y)

    def calibrate(self) -> None:
        first, second = np.triu_indices(self.n, 1)
        x, y = (means[:, 0] for means in self._means(self.unit_weights()))
        self.thresholds["accuracy"] = tie_threshold(
            y[first] - y[second], self.sign * (x[first] - x[second]), np.ones(len(first))
        )

    def pearson(self, weights: Weights) -> Floats:
        return weighted_pearson(*self._scaled(weights), self._drawn(weights), varying=True)

    def spearman(self, weights: Weights) -> Floats:
        drawn = self._drawn(weights)
        x, y = (np.einsum("tsb,sb->tb", signs, drawn) for signs in self._signs(weights))
        moments = [np.einsum("tb,tb->b", drawn * one, other) for one, other in ((x, y), (x, x), (y, y))]
        return ratio(moments[0], moments[1] * moments[2])

    def kendall(self, weights: Weights) -> Floats:
        x, y = self._signs(weights)
        concordance, untied_x, untied_y = (self._pairs(terms, weights) for terms in (x * y, np.abs(x), np.abs(y)))
        return ratio(concordance, untied_x * untied_y)

    def accuracy(self, weights: Weights) -> Floats:
        x, y = (means[:, None, :] - means[None, :, :] for means in self._means(weights))
        same = agreement(y, self.sign * x, self.thresholds["accuracy"]).astype(np.float64)
        drawn = self._drawn(weights)
        copies = (drawn**2).sum(axis=0)
        return _share(self._pairs(same, weights) - copies, drawn.sum(axis=0) ** 2 - copies)

    def rmse(self, weights: Weights, order: int) -> Floats:
        x, y = self._scaled(weights)
        drawn, half = self._drawn(weights), self._scale[1][1]
        found = half * mapped_rmse(x, y, drawn, order=order, direction=self.direction)
        return np.where((drawn > 0).sum(axis=0) > order + 1, found, np.nan)  # copies of an observation fit exactly

    def _pairs(self, terms: Floats, weights: Weights) -> Floats:
        drawn = self._drawn(weights)
        found: Floats = np.einsum("tb,tb->b", np.einsum("tsb,sb->tb", terms, drawn), drawn)
        return found

    def _drawn(self, weights: Weights) -> Floats:
        return weights.cached(self._key, lambda: weights.systems[self._columns] * (self._counts(weights) > 0))

    def _counts(self, weights: Weights) -> Floats:
        return weights.cached((self._key, "counts"), lambda: np.einsum("is,ib->sb", self._mask, weights.items))

    def _means(self, weights: Weights) -> list[Floats]:
        counts = np.maximum(self._counts(weights), 1.0)
        return [_rounded(np.einsum("is,ib->sb", table, weights.items) / counts) for table in self._filled]

    def _scaled(self, weights: Weights) -> tuple[Floats, Floats]:
        x, y = self._means(weights)
        (middle_x, half_x), (middle_y, half_y) = self._scale
        return (x - middle_x) / half_x, (y - middle_y) / half_y

    def _signs(self, weights: Weights) -> list[Floats]:
        means = self._means(weights)
        return [np.sign(table[:, None, :] - table[None, :, :]) for table in means]


def _rank_variance(ties: Floats, drawn: Floats) -> Floats:
    """Weighted sum of squared centred midranks, from the weights of the distinct values."""
    found: Floats = (drawn.sum(axis=0) ** 3 - np.einsum("nb,nb,nb->b", ties, ties, ties)) / 12
    return found


def _rounded(means: Floats) -> Floats:
    """Rounds means to 40 bits, so that rounding of sums does not break ties."""
    quantum = 2.0 ** (math.frexp(float(np.abs(means).max(initial=0.0)))[1] - 40)
    rounded: Floats = np.round(means / quantum) * quantum
    return rounded


def _share(part: Floats, whole: Floats) -> Floats:
    valid = whole > 0
    return np.where(valid, part / np.where(valid, whole, 1.0), np.nan)


LEVELS = tuple(LevelData.LEVELS)
