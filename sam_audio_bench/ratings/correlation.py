"""Correlation of metrics with ratings, and significant differences between metrics."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import pandas as pd

from sam_audio_bench.errors import UsageError
from sam_audio_bench.metrics.catalogue import CARDS
from sam_audio_bench.ratings.agreement import noise_ceilings
from sam_audio_bench.ratings.matrices import NO_SYSTEM, ItemSystemMatrices, item_system_matrices, slices
from sam_audio_bench.ratings.table import Direction, Ratings
from sam_audio_bench.stats.correlation import correlations, few_systems
from sam_audio_bench.stats.correlation_tests import Difference, differences, letter_groups
from sam_audio_bench.stats.design import Design
from sam_audio_bench.stats.reference_tests import compare_independent, is_applicable
from sam_audio_bench.stats.summary import compute_item_scores

if TYPE_CHECKING:
    from sam_audio_bench.run.results import Results

__all__ = [
    "CorrelationResult",
    "CorrelationRow",
    "CorrelationSettings",
    "DifferenceRow",
    "add_run_scores",
    "correlate_ratings",
    "metric_directions",
]

_ALPHA = 0.05
_BOUNDED = ("pearson", "spearman")  # coefficients that the noise ceiling of stimuli bounds


@dataclass(frozen=True, kw_only=True)
class CorrelationSettings:
    """What to correlate and how; None: everything."""

    metrics: tuple[str, ...] | None = None
    by: str | None = None
    axis: str | None = None
    levels: tuple[str, ...] = ("utterance", "within_item", "system")
    coefficients: tuple[str, ...] = ("pearson", "spearman", "kendall")
    interval: str = "two_way"
    resamples: int = 10_000
    seed: int = 0
    test: str | None = None  # of differences: bootstrap, williams, zou, permutation; None: by `interval`
    compare: bool = True  # whether differences of metrics are tested, at the first level, by the first rank coefficient


class CorrelationRow(TypedDict):
    """Correlation of one metric with one axis, as ``--json`` prints it; see `correlate_ratings`."""

    metric: str
    axis: str
    by: str  # "all", or a value of the column ``by``
    level: str
    coefficient: str
    value: float | None
    ci_low: float | None
    ci_high: float | None
    n: int
    status: str
    method: str
    ceiling: float | None
    group: str


class DifferenceRow(TypedDict):
    """Difference of two metrics' correlations, as ``--json`` prints it."""

    axis: str
    by: str
    level: str
    coefficient: str
    first: str
    second: str
    value: float | None
    ci_low: float | None
    ci_high: float | None
    p: float | None
    p_holm: float | None  # over all pairs of metrics
    n: int
    status: str
    method: str


@dataclass(frozen=True, kw_only=True)
class CorrelationResult:
    """Rows as ``--json`` prints them, the tested differences, and warnings to show with any table of them."""

    rows: list[CorrelationRow]
    differences: list[DifferenceRow]
    warnings: list[str]


def add_run_scores(ratings: Ratings, paths: Sequence[Path | str]) -> Ratings:
    """Adds the scores of runs as metrics, joined on item and system.

    If a picker chose among candidates, its choice is used, as raters hear it. Otherwise seeds and candidates of one
    item are averaged. In dB, values beyond ±CAP_DB are clipped to ±CAP_DB, as are infinite values of any unit.

    Args:
        ratings: with the items and systems of the runs.
        paths: run folders, folders that hold them, or files scores.parquet.

    Raises:
        UsageError: no common item and system, or a metric that the ratings already have.
        Precondition, StoreError: a run is missing or damaged.
    """
    scores = _read_scores(paths)
    table = scores.pivot_table(index=["item", "separator"], columns="metric", values="value", aggfunc="mean")
    table.columns = pd.Index([str(name) for name in table.columns])
    twice = [name for name in table.columns if name in ratings.frame]
    if twice:
        raise UsageError(f"expected scores that the ratings do not have, found {twice[0]!r} in both")
    frame = ratings.frame.assign(_system=ratings.frame["system"].fillna(NO_SYSTEM))
    joined = frame.join(table, on=["item", "_system"]).drop(columns="_system")
    if joined[list(table.columns)].isna().all().all():
        known, rated = scores.iloc[0], ratings.frame.iloc[0]
        raise UsageError(
            f"expected runs of the items and systems that were rated, found {known['item']} by {known['separator']} "
            f"in the runs and {rated['item']} by {rated['system']} in the ratings"
        )
    return Ratings(**{**vars(ratings), "frame": joined, "metrics": (*ratings.metrics, *table.columns)})


def correlate_ratings(ratings: Ratings, settings: CorrelationSettings | None = None) -> CorrelationResult:
    """Correlates every metric with every axis.

    Args:
        ratings: with metrics, from the import or `add_run_scores`.
        settings: what to correlate and how.

    Returns:
        Rows ``{metric, axis, level, by, coefficient, value, ci_low, ci_high, n, status, method, ceiling, group}``:
        ``ceiling`` is √ICC(k) of the axis, None where it is no bound; metrics that share a letter of ``group`` do
        not differ significantly (Holm over all pairs, 5 %); it is empty without a test.

    Raises:
        UsageError: no metrics, or unknown ones, axes, columns, levels or coefficients.
    """
    settings = settings or CorrelationSettings()
    names = _choose_metrics(ratings, settings.metrics)
    orientation = _orientation(names, ratings.direction)
    found = CorrelationResult(rows=[], differences=[], warnings=[])
    ceilings = noise_ceilings(ratings, by=settings.by, axis=settings.axis, resamples=100, seed=settings.seed)
    few: dict[tuple[str, str], list[str]] = {}
    for axis, by, rated in slices(ratings, settings.by, settings.axis):
        matrices = item_system_matrices(rated, names)
        ceiling = ceilings[axis, by].value
        design = _design(matrices, settings, settings.interval)
        letters = (
            _compare_metrics(matrices, design, settings, (axis, by), found, orientation) if settings.compare else {}
        )
        _add_rows(design, settings, (axis, by), found, ceiling, letters, orientation)
        warning = few_systems(matrices.human, matrices.metrics)
        if warning:
            few.setdefault((by, warning), []).append(axis)
    if needed := _resamples_needed(found.differences, settings.resamples):
        found.warnings.append(
            f"{settings.resamples} resamples: no metrics can be told apart by Holm over all pairs; use {needed} or more"
        )
    found.warnings.extend(f"{', '.join(axes)}, {by}: {warning}" for (by, warning), axes in few.items())
    return found


def _design(matrices: ItemSystemMatrices, settings: CorrelationSettings, interval: str) -> Design:
    return Design(
        matrices.human, matrices.metrics, interval=interval, groups=matrices.groups, resamples=settings.resamples,
        seed=settings.seed,
    )  # fmt: skip


def _add_rows(
    design: Design, settings: CorrelationSettings, place: tuple[str, str], found: CorrelationResult,
    ceiling: float | None, letters: Mapping[str, str], orientation: Mapping[str, int] | None,
) -> None:  # fmt: skip
    axis, by = place
    tested = _tested_statistic(settings)
    results = correlations(design, levels=settings.levels, coefficients=settings.coefficients, orientation=orientation)
    for result in results:
        shown = (result.level, result.coefficient) == tested
        found.rows.append(
            {
                "metric": result.metric,
                "axis": axis,
                "by": by,
                "level": result.level,
                "coefficient": result.coefficient,
                "value": result.value,
                "ci_low": result.low,
                "ci_high": result.high,
                "n": result.n,
                "status": str(result.status),
                "method": result.method,
                "ceiling": ceiling if result.level == "utterance" and result.coefficient in _BOUNDED else None,
                "group": letters.get(result.metric, "") if shown else "",
            }
        )


def _resamples_needed(differences: Sequence[DifferenceRow], resamples: int) -> int | None:
    """Returns how many resamples p (at least 2 / resamples) needs to reach 5 % by Holm; None if there are enough."""
    tested = Counter((row["axis"], row["by"]) for row in differences if row["method"] not in ("", "williams", "zou"))
    needed = math.floor(2 * max(tested.values(), default=0) / _ALPHA)
    return needed if needed > resamples else None


def _tested_statistic(settings: CorrelationSettings) -> tuple[str, str]:
    """Returns the level and coefficient for the comparison of metrics."""
    known = [name for name in ("spearman", "pearson", "kendall") if name in settings.coefficients]
    return settings.levels[0], (known or ["spearman"])[0]


def _compare_metrics(
    matrices: ItemSystemMatrices,
    design: Design,
    settings: CorrelationSettings,
    place: tuple[str, str],
    found: CorrelationResult,
    orientation: Mapping[str, int] | None,
) -> Mapping[str, str]:
    """Tests all pairs of metrics; returns the letters of those that do not differ significantly."""
    if len(matrices.metrics) < 2:
        return {}
    axis, by = place
    level, coefficient = _tested_statistic(settings)
    pairs = _pairs(matrices, design, settings, orientation)
    for pair in pairs:
        found.differences.append(
            {
                "axis": axis,
                "by": by,
                "level": level,
                "coefficient": coefficient,
                "first": pair.first,
                "second": pair.second,
                "value": pair.value,
                "ci_low": pair.low,
                "ci_high": pair.high,
                "p": pair.p,
                "p_holm": pair.p_holm,
                "n": pair.n,
                "status": str(pair.status),
                "method": pair.method,
            }
        )
    values = {name: one.point(coefficient)[0] for name, one in design.at(level, orientation).items()}
    order = sorted(values, key=lambda name: math.inf if (value := values[name]) is None else -abs(value))
    return letter_groups(order, pairs)


def _pairs(
    matrices: ItemSystemMatrices, design: Design, settings: CorrelationSettings, orientation: Mapping[str, int] | None
) -> list[Difference]:
    """Tests pairs by the bootstrap of the intervals; by Zou's intervals where those are Fisher's."""
    level, coefficient = _tested_statistic(settings)
    fisher = settings.interval == "fisher"
    test = settings.test
    if test is None:
        test = "zou" if fisher and is_applicable("zou", level, coefficient) else "bootstrap"
    if test != "bootstrap":
        return compare_independent(
            matrices.human, matrices.metrics, test=test, at=level, coefficient=coefficient, orientation=orientation,
            resamples=settings.resamples, seed=settings.seed,
        )  # fmt: skip
    if fisher:
        design = _design(matrices, settings, "two_way")
    return differences(design, at=level, coefficient=coefficient, orientation=orientation)


def metric_directions(metrics: Collection[str], better: Direction = "higher") -> dict[str, int]:
    """Returns, for known metrics, 1 if a metric should increase with the ratings, -1 if it should decrease.

    Args:
        metrics: ids or names of columns.
        better: which end of the scale of the ratings is better.
    """
    return {
        name: 1 if CARDS[name].higher_is_better is (better == "higher") else -1 for name in metrics if name in CARDS
    }


def _orientation(metrics: Collection[str], better: Direction) -> dict[str, int] | None:
    """Returns the direction of each metric; None unless all are known: metrics then correlate positively."""
    directions = metric_directions(metrics, better)
    return directions if len(directions) == len(metrics) else None


def _choose_metrics(ratings: Ratings, names: tuple[str, ...] | None) -> tuple[str, ...]:
    unknown = [name for name in names or () if name not in ratings.metrics]
    if unknown or not ratings.metrics:
        known = ", ".join(ratings.metrics) or "none"
        raise UsageError(
            f"expected metrics among those of the ratings ({known}), found {', '.join(unknown) or 'none'}; "
            "add those of a run with --scores, or name columns at the import with --metric-columns"
        )
    return ratings.metrics if names is None else names


def _read_scores(paths: Sequence[Path | str]) -> pd.DataFrame:
    """Reads one row per item, separator and metric: the score of the estimate that was rated."""
    results = _read_results(paths)
    means = compute_item_scores(results.frame, {name: record.unit for name, record in results.metrics.items()})
    rows = [
        (item, separator, metric, mean.value)
        for (_, separator, metric), items in means.items()
        for item, mean in items.items()
    ]
    return pd.DataFrame(rows, columns=["item", "separator", "metric", "value"]).astype({"value": "float64"})


def _read_results(paths: Sequence[Path | str]) -> Results:
    from sam_audio_bench.run.results import Results

    sealed = "scores.parquet"
    return Results.read([path.parent if isinstance(path, Path) and path.name == sealed else path for path in paths])
