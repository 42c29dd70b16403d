"""Correlation of metrics with ratings, with confidence intervals.

Ratings of separated audio are crossed: the same items went through the same systems. A conclusion about metrics should
hold for other items and other systems, so both are resampled (Owen, *The pigeonhole bootstrap*, Annals of Applied
Statistics 2007). Intervals that treat cells as independent covered the true value in half of the simulations; they are
available for comparison. Percentile intervals had better coverage than BCa intervals.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from sam_audio_bench.stats.bootstrap import Interval
from sam_audio_bench.stats.correlation_tests import fisher_interval
from sam_audio_bench.stats.design import INTERVALS, Design, draw
from sam_audio_bench.stats.estimate import EstimateStatus, Floats, check_options, matrix, percentile_interval
from sam_audio_bench.stats.levels import COEFFICIENTS, LEVELS, LevelData
from sam_audio_bench.stats.mapping import MAPPING_ORDERS

__all__ = ["COEFFICIENTS", "INTERVALS", "LEVELS", "Correlation", "correlate", "correlations", "few_systems"]

_ENOUGH_SYSTEMS = 8
_FEWEST_SYSTEMS = 4  # for an interval at system level: resamples of three systems show no uncertainty


@dataclass(frozen=True, slots=True, kw_only=True)
class Correlation:
    """The correlation of one metric with the ratings."""

    metric: str
    level: str
    coefficient: str
    value: float | None  # in the metric's own direction; an error for rmse_*, in the unit of the ratings
    low: float | None
    high: float | None
    n: int  # cells, items or systems, by level
    status: EstimateStatus
    method: str  # what was resampled for the interval; "" without an interval
    threshold: float | None = None  # accuracy: differences of the metric up to this count as ties


def correlate(
    human: ArrayLike,
    metrics: Mapping[str, ArrayLike],
    *,
    levels: Sequence[str] = LEVELS,
    coefficients: Sequence[str] = ("pearson", "spearman", "kendall"),
    interval: str = "two_way",
    groups: Sequence[Hashable] | None = None,
    orientation: Mapping[str, int] | None = None,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> list[Correlation]:
    """Correlates every metric at every level by every coefficient, with intervals, in any order of rows and columns.

    Accuracy is the share of pairs whose order or tie agrees, with the metric's ties calibrated (Deutsch et al., EMNLP
    2023); the threshold is kept in the resamples. The errors after mapping are those of ITU-T P.1401, at the levels
    of utterances and systems. With one system, only items are resampled; with fewer than four, there is no interval at
    the level of systems. Intervals of "row" and "fisher" take cells (items, systems) as independent, those of "cluster"
    hold for exactly these systems.

    Args:
        human: [items, systems], mean ratings, NaN where missing.
        metrics: by name, [items, systems]; each is compared on the cells that both have.
        levels: of LEVELS.
        coefficients: of COEFFICIENTS.
        interval: of INTERVALS.
        groups: [items], the recording that each item was cut from; None: items are independent.
        orientation: by name, -1 if lower is better, +1 if higher is; used for accuracy only; default: as the metric
            correlates.
        level: confidence.
        resamples: number of resamples.
        seed: of the resamples.

    Raises:
        UsageError: shapes that differ, infinite values, or an option that does not exist.
    """
    design = Design(human, metrics, interval=interval, groups=groups, resamples=resamples, seed=seed)
    return correlations(design, levels=levels, coefficients=coefficients, orientation=orientation, level=level)


def correlations(
    design: Design,
    *,
    levels: Sequence[str] = LEVELS,
    coefficients: Sequence[str] = ("pearson", "spearman", "kendall"),
    orientation: Mapping[str, int] | None = None,
    level: float = 0.95,
) -> list[Correlation]:
    """Computes `correlate` for a design, whose resamples are shared with its other statistics."""
    for chosen, known in ((levels, LEVELS), (coefficients, COEFFICIENTS)):
        for name in chosen:
            check_options(level, 1, name, known)
    rows = []
    for where in levels:
        known_here = [key for key in coefficients if where != "within_item" or key not in MAPPING_ORDERS]
        data = design.at(where, orientation)
        draws = draw(data, design, where, known_here)
        for name, one in data.items():
            rows += [_row(name, one, where, key, design, draws[name].get(key), level) for key in known_here]
    return rows


def few_systems(human: ArrayLike, metrics: Mapping[str, ArrayLike]) -> str | None:
    """Returns a warning for a table of fewer than eight systems; None if there are more."""
    table = matrix(human, "ratings")
    present = [np.isfinite(table) & np.isfinite(matrix(one, name)) for name, one in metrics.items()]
    shared = [int(cells.any(axis=0).sum()) for cells in present]
    count = min(shared, default=table.shape[1])
    if count >= _ENOUGH_SYSTEMS:
        return None
    noun = "system" if count == 1 else "systems"
    return f"{count} {noun}: too few for conclusions about systems in general; use at least {_ENOUGH_SYSTEMS}"


def _row(
    name: str, one: LevelData, where: str, coefficient: str, design: Design, draws: Floats | None, level: float
) -> Correlation:
    value, status = one.point(coefficient)
    method = design.method(where) if value is not None else ""
    found: Interval | None = None
    if where == "system" and one.n < _FEWEST_SYSTEMS:
        draws, method = None, ""
    if method == "fisher" and value is not None:
        found = fisher_interval(value, one.n, coefficient=coefficient, level=level)
    elif draws is not None and value is not None:
        found = percentile_interval(draws, level)
    low, high = found if found is not None else (None, None)
    return Correlation(
        metric=name,
        level=where,
        coefficient=coefficient,
        value=value,
        low=low,
        high=high,
        n=one.n,
        status=status,
        method="" if found is None else method,
        threshold=one.thresholds.get(coefficient) if value is not None else None,
    )
