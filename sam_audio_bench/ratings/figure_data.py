"""Data of the figures in a report, as tidy tables."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from sam_audio_bench.ratings.correlation import CorrelationRow
from sam_audio_bench.ratings.matrices import RaterMatrix, rater_matrix, slices
from sam_audio_bench.ratings.table import Ratings
from sam_audio_bench.stats.reliability import leave_one_out, raters_per_item, reliability_curve

__all__ = [
    "mean_opinions_with_metric",
    "rater_agreement",
    "rater_deviations",
    "reliability_curve_rows",
    "select_strongest_metrics",
]

_WHOLE = "all"


def mean_opinions_with_metric(ratings: Ratings, axis: str, metric: str) -> tuple[pd.DataFrame, dict[str, float | None]]:
    """Returns stimuli of one axis with a metric and their mean opinion, and the noise of that mean per domain.

    Returns:
        ``item, system, domain, metric, opinion``, one row per stimulus that has both; and by domain the root mean
        square over stimuli of the standard error of the mean opinion, None if no stimulus has two raters.
    """
    ((_, _, rated),) = slices(ratings, axis=axis)
    known = rater_matrix(rated)
    counts = (~np.isnan(known.scores)).sum(axis=1)
    opinion = np.nansum(known.scores, axis=1) / counts
    squares = np.nansum((known.scores - opinion[:, None]) ** 2, axis=1)
    error = np.where(counts > 1, squares / np.maximum(counts - 1, 1) / counts, np.nan)
    values = rated.assign(system=rated["system"].fillna(_WHOLE)).groupby(["item", "system"])[metric].first()
    keys = pd.MultiIndex.from_frame(known.stimuli[["item", "system"]])
    points = known.stimuli[["item", "system"]].assign(
        domain=known.stimuli["domain"].fillna(_WHOLE), metric=values.reindex(keys).to_numpy(float), opinion=opinion
    )
    noise = {}
    for domain, part in points.groupby("domain"):
        errors = error[part.index]
        noise[str(domain)] = float(np.sqrt(np.nanmean(errors))) if np.isfinite(errors).any() else None
    return points[np.isfinite(points["metric"])].reset_index(drop=True), noise


def select_strongest_metrics(rows: Sequence[CorrelationRow], axis: str, most: int) -> list[str]:
    """Returns the metrics that correlate most with an axis over all ratings, by Spearman's ρ of utterances."""
    strengths = {
        row["metric"]: abs(row["value"])
        for row in rows
        if row["axis"] == axis and row["by"] == _WHOLE and row["level"] == "utterance" and row["value"] is not None
        and row["coefficient"] == "spearman"
    }  # fmt: skip
    return sorted(strengths, key=lambda metric: (-strengths[metric], metric))[:most]


def rater_deviations(ratings: Ratings, axis: str) -> pd.DataFrame:
    """Returns each rater's mean deviation from the mean opinions: [raters, systems], most lenient first."""
    ((_, _, rated),) = slices(ratings, axis=axis)
    known = rater_matrix(rated)
    departures = known.scores - np.nanmean(known.scores, axis=1, keepdims=True)
    systems = known.stimuli["system"]
    columns = {
        str(system): _mean_of_rows(departures[(systems == system).to_numpy()]) for system in sorted(set(systems))
    }
    table = pd.DataFrame(columns, index=list(known.raters))
    order = pd.Series(_mean_of_rows(departures), index=table.index).sort_values(ascending=False, kind="stable")
    return table.loc[order.index]


def rater_agreement(ratings: Ratings, axis: str) -> dict[str, float | None]:
    """Returns the correlation of each rater with the mean of the others, None if undefined."""
    ((_, _, rated),) = slices(ratings, axis=axis)
    known = rater_matrix(rated)
    estimates = leave_one_out(known.scores, resamples=1).raters
    return {rater: estimate.value for rater, estimate in zip(known.raters, estimates, strict=True)}


def reliability_curve_rows(ratings: Ratings, *, by: str | None = None, most: int = 30) -> pd.DataFrame:
    """Computes ICC(1,k) for 1 to ``most`` raters: ``axis, by, raters, reliability, here``."""
    found = []
    for axis, value, rated in slices(ratings, by):
        known: RaterMatrix = rater_matrix(rated)
        own = raters_per_item(known.scores)
        counts = list(range(1, max(most, round(own)) + 1))
        curve = reliability_curve(known.scores, counts)
        found.append(
            pd.DataFrame(
                {
                    "axis": axis,
                    "by": value,
                    "raters": counts,
                    "reliability": [np.nan if point is None else point for point in curve],
                    "here": [count == round(own) for count in counts],
                }
            )
        )
    return pd.concat(found, ignore_index=True)


def _mean_of_rows(values: np.ndarray) -> np.ndarray:
    """Returns means of columns; NaN for a column without a value."""
    counts = (~np.isnan(values)).sum(axis=0)
    return np.where(counts > 0, np.nansum(values, axis=0) / np.maximum(counts, 1), np.nan)
