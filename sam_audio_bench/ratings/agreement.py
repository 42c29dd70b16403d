"""Agreement of raters and mean opinion scores: one row per statistic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict

import numpy as np
import pandas as pd

from sam_audio_bench.ratings.matrices import RaterMatrix, rater_matrix, slices
from sam_audio_bench.ratings.table import Ratings
from sam_audio_bench.stats.bootstrap import cluster_interval
from sam_audio_bench.stats.estimate import Estimate
from sam_audio_bench.stats.krippendorff import krippendorff_alpha
from sam_audio_bench.stats.opinion import mean_opinion, recovered_opinion, z_scored_opinion
from sam_audio_bench.stats.reliability import (
    icc_table,
    leave_one_out,
    noise_ceiling,
    raters_per_item,
    split_half,
)

__all__ = [
    "OPINIONS",
    "STATISTICS",
    "AgreementRow",
    "OpinionRow",
    "agreement_rows",
    "noise_ceilings",
    "opinion_rows",
    "stimulus_opinions",
]

OPINIONS = {"raw": mean_opinion, "z_scored": z_scored_opinion, "bias_corrected": recovered_opinion}
"""Three ways to average raters; the last is ITU-T P.910/P.913's."""

STATISTICS = {
    "icc_1_1": "ICC(1,1)",
    "icc_1_k": "ICC(1,k)",
    "icc_2_1": "ICC(2,1)",
    "icc_2_k": "ICC(2,k)",
    "alpha_nominal": "Krippendorff’s α, nominal",
    "alpha_ordinal": "Krippendorff’s α, ordinal",
    "alpha_interval": "Krippendorff’s α, interval",
    "split_half": "split half, Spearman–Brown",
    "leave_one_out": "leave one rater out, r",
    "noise_ceiling": "noise ceiling √ICC(1,k)",
}
"""Title of each statistic, in the order of the rows."""

_MEASUREMENTS = ("nominal", "ordinal", "interval")


class AgreementRow(TypedDict):
    """One statistic of one axis, as ``--json`` prints it."""

    axis: str
    by: str  # "all", or a value of the column ``by``
    statistic: str  # of `STATISTICS`
    value: float | None
    ci_low: float | None
    ci_high: float | None
    n: int  # stimuli
    status: str
    method: str
    raters: float  # harmonic mean per stimulus


class OpinionRow(TypedDict):
    """Mean opinion of one system by one of `OPINIONS`, as ``--json`` prints it."""

    axis: str
    by: str
    system: str
    method: str
    n: int  # stimuli
    value: float | None
    ci_low: float | None
    ci_high: float | None


def agreement_rows(
    ratings: Ratings, *, by: str | None = None, axis: str | None = None, resamples: int = 2000, seed: int = 0
) -> list[AgreementRow]:
    """Computes ICC, Krippendorff's α, split-half, leave-one-out and noise ceiling, one row each.

    A stimulus is an item of one system. Statistics that need the identity of raters are undefined for anonymous raters:
    their status is ``anonymous``.

    Args:
        ratings: a table of ratings.
        by: a column; each of its values gets separate rows, after ``all``.
        axis: one axis; None: all.
        resamples: of the intervals.
        seed: of the intervals.

    Returns:
        ``{axis, by, statistic, value, ci_low, ci_high, n, raters, status, method}``; ``n`` counts stimuli, ``raters``
        is the harmonic mean of raters per stimulus, the k of ICC(·,k).

    Raises:
        UsageError: an unknown axis or column, or options out of range.
    """
    rows: list[AgreementRow] = []
    for name, value, rated in slices(ratings, by, axis):
        known = rater_matrix(rated)
        k = raters_per_item(known.scores)
        for statistic, estimate in _estimates(known, ratings.anonymous, resamples, seed).items():
            rows.append(
                {
                    "axis": name,
                    "by": value,
                    "statistic": statistic,
                    "value": estimate.value if estimate else None,
                    "ci_low": estimate.low if estimate else None,
                    "ci_high": estimate.high if estimate else None,
                    "n": estimate.n if estimate else len(known.stimuli),
                    "status": str(estimate.status) if estimate else "anonymous",
                    "method": estimate.method if estimate else "",
                    "raters": k,
                }
            )
    return rows


def noise_ceilings(
    ratings: Ratings, *, by: str | None = None, axis: str | None = None, resamples: int = 2000, seed: int = 0
) -> dict[tuple[str, str], Estimate]:
    """Returns √ICC(k), the highest correlation that a perfect metric could reach, by axis and value of ``by``."""
    return {
        (name, value): noise_ceiling(rater_matrix(rated).scores, resamples=resamples, seed=seed)
        for name, value, rated in slices(ratings, by, axis)
    }


def opinion_rows(ratings: Ratings, *, by: str | None = None, axis: str | None = None) -> list[OpinionRow]:
    """Computes the mean opinion of each system: raw, z-scored by rater and bias-corrected.

    Returns:
        ``{axis, by, system, method, value, ci_low, ci_high, n}``; the interval resamples recordings.
    """
    rows: list[OpinionRow] = []
    for name, value, rated in slices(ratings, by, axis):
        known = rater_matrix(rated)
        for method, scores in _opinions(known, ratings.anonymous).items():
            for system, part in known.stimuli.groupby("system", sort=True):
                there = part.index[np.isfinite(scores["value"][part.index])]
                values = scores["value"][there]
                interval = cluster_interval(values, part.loc[there, "group"]) if len(values) else None
                low, high = interval if interval else (None, None)
                rows.append(
                    {
                        "axis": name,
                        "by": value,
                        "system": str(system),
                        "method": method,
                        "n": len(values),
                        "value": float(values.mean()) if len(values) else None,
                        "ci_low": low,
                        "ci_high": high,
                    }
                )
    return rows


def stimulus_opinions(ratings: Ratings, axis: str | None = None) -> pd.DataFrame:
    """Returns one row per stimulus and axis: ``n`` raters, then value and 95 % interval by each of `OPINIONS`."""
    parts = []
    for name, _, rated in slices(ratings, axis=axis):
        known = rater_matrix(rated)
        found: dict[str, str | np.ndarray] = {"axis": name, "n": (~np.isnan(known.scores)).sum(axis=1)}
        for method, scores in _opinions(known, ratings.anonymous).items():
            found.update({f"{method}_{part}": values for part, values in scores.items()})
        parts.append(known.stimuli.assign(**found))
    return pd.concat(parts, ignore_index=True)


def _opinions(known: RaterMatrix, anonymous: bool) -> dict[str, dict[str, np.ndarray]]:
    """Returns value, low and high [stimuli] by method; scales of anonymous raters cannot be corrected."""
    methods = ["raw"] if anonymous else list(OPINIONS)
    found = {}
    for method in methods:
        scores = OPINIONS[method](known.scores)
        found[method] = {"value": scores.value, "low": scores.low, "high": scores.high}
    return found


def _estimates(known: RaterMatrix, anonymous: bool, resamples: int, seed: int) -> Mapping[str, Estimate | None]:
    """Returns estimates by name of the statistic; None: it needs the identity of raters."""
    scores = known.scores
    options = {"resamples": resamples, "seed": seed}
    found: dict[str, Estimate | None] = {}
    for form, estimate in icc_table(scores, **options).items():
        found[f"icc_{form.replace(',', '_')}"] = None if anonymous and form.startswith("2") else estimate
    for measurement in _MEASUREMENTS:
        found[f"alpha_{measurement}"] = krippendorff_alpha(scores, measurement, **options)
    found["split_half"] = split_half(scores, **options)
    found["leave_one_out"] = None if anonymous else leave_one_out(scores, **options).mean
    found["noise_ceiling"] = noise_ceiling(scores, resamples=resamples, seed=seed)
    return found
