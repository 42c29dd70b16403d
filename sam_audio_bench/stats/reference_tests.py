"""Tests of two metrics that assume independent observations, for comparison with other work.

`sam_audio_bench.stats.correlation_tests` explains why they are not the default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike

from sam_audio_bench.errors import UsageError
from sam_audio_bench.stats.correlation_tests import Difference, permutation_test, williams, zou_interval, zou_p
from sam_audio_bench.stats.estimate import EstimateStatus, Floats, check_options, matrix
from sam_audio_bench.stats.levels import LevelData
from sam_audio_bench.stats.paired import holm

__all__ = ["compare_independent", "is_applicable"]

_LEVELS = {"williams": ("utterance", "system"), "zou": ("utterance", "system"), "permutation": ("utterance",)}
_COEFFICIENTS = ("pearson", "spearman")
_FEWEST = 4  # observations of Williams' and Zou's


def is_applicable(test: str, at: str, coefficient: str) -> bool:
    """Whether a test applies at a level: Williams and Zou take cells or systems as independent, permutations items."""
    return at in _LEVELS[test] and coefficient in _COEFFICIENTS


def compare_independent(
    human: ArrayLike,
    metrics: Mapping[str, ArrayLike],
    *,
    test: str = "williams",
    at: str = "utterance",
    coefficient: str = "pearson",
    orientation: Mapping[str, int] | None = None,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> list[Difference]:
    """Compares all pairs of metrics, with results as those of `sam_audio_bench.stats.correlation_tests.compare`.

    Zou's interval comes with p by its inversion, so that the two are consistent; Williams' test and the permutation
    test have no interval. For Spearman's coefficient, Zou and Williams are approximations. Metrics that correlate
    perfectly with each other have no p.

    Args:
        human: [items, systems], mean ratings, NaN where missing.
        metrics: by name, [items, systems].
        test: "williams", "zou" or "permutation".
        at: "utterance", of Williams and Zou also "system".
        coefficient: "pearson" or "spearman".
        orientation: by name, -1 where less of a metric is better, +1 where more is; default, and always in the
            permutation test: as it correlates here.
        level: confidence of Zou's interval.
        resamples: number of permutations.
        seed: of the permutations.

    Raises:
        UsageError: shapes that differ, infinite values, or an option that does not exist for the test.
    """
    check_options(level, resamples, test, tuple(_LEVELS))
    if not is_applicable(test, at, coefficient):
        raise UsageError(
            f"expected Pearson's or Spearman's coefficient at the level {' or '.join(_LEVELS[test])} for the test "
            f"{test}, found {coefficient} at the level {at}; use the bootstrap"
        )
    rated = matrix(human, "ratings")
    tables = {name: matrix(one, name) for name, one in metrics.items()}
    if any(one.shape != rated.shape for one in tables.values()):
        raise UsageError(f"expected metrics of the shape of the ratings, {rated.shape}; found others")
    signs = (orientation if test != "permutation" else None) or {}
    rows = []
    for pair in combinations(tables, 2):
        common = np.isfinite(rated) & np.isfinite(tables[pair[0]]) & np.isfinite(tables[pair[1]])
        cells = [np.where(common, one, np.nan) for one in (rated, tables[pair[0]], tables[pair[1]])]
        row = _described(pair, cells, at, coefficient, test, signs, level)
        if test == "permutation" and row.value is not None:
            p = permutation_test(*cells, coefficient=coefficient, resamples=resamples, seed=seed)
            row = replace(row, p=p, method=test)
        rows.append(row)
    adjusted = holm([row.p for row in rows])
    return [replace(row, p_holm=p) for row, p in zip(rows, adjusted, strict=True)]


def _described(
    pair: tuple[str, str], cells: list[Floats], at: str, coefficient: str, test: str, signs: Mapping[str, int],
    level: float,
) -> Difference:  # fmt: skip
    """Computes the difference, with Williams' p, or Zou's interval and p, if they exist."""
    human, *tables = cells
    data = [LevelData.LEVELS[at](human, one, signs.get(name)) for name, one in zip(pair, tables, strict=True)]
    points = [each.point(coefficient) for each in (*data, LevelData.LEVELS[at](tables[0], tables[1]))]
    row = Difference(
        first=pair[0], second=pair[1], value=None, low=None, high=None, p=None, p_holm=None, n=data[0].n,
        status=next((status for _, status in points if status is not EstimateStatus.OK), EstimateStatus.OK), method="",
    )  # fmt: skip
    values = [value for value, _ in points if value is not None]
    if len(values) < len(points):
        return row
    first, second = (each.sign * value for each, value in zip(data, values, strict=False))
    between = data[0].sign * data[1].sign * values[2]
    row = replace(row, value=first - second)
    if test == "permutation" or row.n < _FEWEST or abs(between) > 1 - 1e-12:
        return row
    if test == "williams":
        return replace(row, p=williams(first, second, between, row.n).p, method=test)
    bounds = zou_interval(first, second, between, row.n, level=level)
    return replace(row, low=bounds.low, high=bounds.high, p=zou_p(first, second, between, row.n), method=test)
