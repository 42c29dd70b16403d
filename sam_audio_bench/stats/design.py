"""A crossed design of items and systems, and its resamples."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from sam_audio_bench.errors import UsageError
from sam_audio_bench.stats.bootstrap import multinomial_weights
from sam_audio_bench.stats.coefficients import Weights
from sam_audio_bench.stats.estimate import Floats, canonical_order, check_options, matrix
from sam_audio_bench.stats.levels import LevelData

__all__ = ["INTERVALS", "Design", "draw"]

INTERVALS = ("two_way", "cluster", "row", "fisher")
_CHUNK = 2**18  # numbers per array, so that it fits into the CPU cache


class Design:
    """Ratings and metrics in canonical order, and the resamples of an interval method.

    Args:
        human: [items, systems], NaN where missing.
        metrics: by name, like ``human``.
        interval: one of INTERVALS.
        groups: [items], the recording that each item was cut from, resampled whole; None: each item is its own group.
        resamples: number of resamples.
        seed: of the resamples.

    Raises:
        UsageError: shapes that differ, or an interval that does not exist.
    """

    def __init__(
        self,
        human: ArrayLike,
        metrics: Mapping[str, ArrayLike],
        *,
        interval: str,
        groups: Sequence[Hashable] | None,
        resamples: int,
        seed: int,
    ) -> None:
        check_options(0.5, resamples, interval, INTERVALS)
        table = matrix(human, "ratings")
        others = {name: matrix(values, f"{name}") for name, values in metrics.items()}
        for name, values in others.items():
            if values.shape != table.shape:
                raise UsageError(f"expected {name} in the shape {table.shape} of the ratings, found {values.shape}")
        if groups is not None and len(groups) != len(table):
            raise UsageError(f"expected one group per item, found {len(groups)} for {len(table)} items")
        rows, columns = canonical_order(table, *(others[name] for name in sorted(others)))
        labels = None if groups is None else np.array([str(groups[row]) for row in rows])
        if labels is not None:
            order = np.argsort(labels, kind="stable")
            rows, labels = rows[order], labels[order]
        self.human = table[np.ix_(rows, columns)]
        self.metrics = {name: values[np.ix_(rows, columns)] for name, values in others.items()}
        self._group = np.arange(len(rows)) if labels is None else np.unique(labels, return_inverse=True)[1]
        self._interval, self._resamples, self._seed = interval, resamples, seed
        self._levels: dict[tuple[str, str, int | None], LevelData] = {}

    def at(self, level: str, orientation: Mapping[str, int] | None = None) -> dict[str, LevelData]:
        """Returns the data of each metric at a level, cached with its draws."""
        signs = orientation or {}
        found = {}
        for name, table in self.metrics.items():
            key = level, name, signs.get(name)
            if key not in self._levels:
                self._levels[key] = LevelData.LEVELS[level](self.human, table, signs.get(name))
            found[name] = self._levels[key]
        return found

    def method(self, level: str) -> str:
        """Returns the resampling method at ``level``; "" if there are too few units to resample."""
        chosen = self._interval
        if chosen == "two_way" and self.human.shape[1] < 2:
            chosen = "cluster"
        if chosen in ("two_way", "cluster") and len(np.unique(self._group)) < 2:
            return ""
        return "" if chosen == "fisher" and level == "within_item" else chosen

    def resamples(self, level: str) -> Iterator[Weights]:
        """Yields the resamples, in chunks that fit into the CPU cache."""
        (items, systems), method = self.human.shape, self.method(level)
        row_unit = {"utterance": "cells", "within_item": "items", "system": "systems"}[level]
        units = {"two_way": ("items", "systems"), "cluster": ("items",), "row": (row_unit,)}.get(method, ())
        cluster = np.arange(items) if method == "row" else self._group
        cells = np.flatnonzero(np.isfinite(self.human))
        size = min(max(_CHUNK // max(items * systems, systems**2, 1), 256), 1024)
        for start in range(0, self._resamples, size):
            chunk, count = slice(start, start + size), min(size, self._resamples - start)
            by_item, by_system, by_cell = np.ones((items, count)), np.ones((systems, count)), None
            if "items" in units:
                by_item = self._draws(int(cluster.max()) + 1, 0)[chunk, cluster].T.copy()
            if "systems" in units:
                by_system = self._draws(systems, 1)[chunk].T.copy()
            if "cells" in units:
                by_cell = np.zeros((self.human.size, count))
                by_cell[cells] = self._draws(len(cells), 2)[chunk].T
            yield Weights(by_item, by_system, by_cell)

    def _draws(self, units: int, stream: int) -> Floats:
        return multinomial_weights(units, self._resamples, (self._seed, stream) if stream else (self._seed,))


def draw(
    data: Mapping[str, LevelData], design: Design, where: str, coefficients: Collection[str]
) -> dict[str, dict[str, Floats]]:
    """Computes the coefficients of each metric in each resample, [resamples]; all metrics share the resamples.

    Draws are cached in ``data``, which belongs to one ``design``.
    """
    if design.method(where) in ("", "fisher"):
        return {name: {} for name in data}
    defined = {name: [key for key in coefficients if one.defines(key)] for name, one in data.items()}
    missing = {name: [key for key in defined[name] if key not in one.draws] for name, one in data.items()}
    parts: dict[str, dict[str, list[Floats]]] = {name: {key: [] for key in keys} for name, keys in missing.items()}
    if any(missing.values()):
        for weights in design.resamples(where):
            for name, one in data.items():
                for key, values in one.evaluate(weights, missing[name]).items():
                    parts[name][key].append(values)
    for name, one in data.items():
        one.draws.update({key: np.concatenate(found) for key, found in parts[name].items()})
    return {name: {key: one.draws[key] for key in defined[name]} for name, one in data.items()}
