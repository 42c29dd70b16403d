"""Agreement of a judge with ratings: by axis and domain, at three levels, with intervals and noise ceiling."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypedDict

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import spearmanr

from sam_audio_bench.judge.scores import AXES
from sam_audio_bench.judge.training.calibration import coverage
from sam_audio_bench.judge.training.rating import RatedExamples
from sam_audio_bench.stats.bootstrap import cluster_interval
from sam_audio_bench.stats.correlation import Correlation, correlate

__all__ = [
    "COEFFICIENTS",
    "AgreementRow",
    "CoverageRow",
    "agreement_rows",
    "coverage_rows",
    "held_out_metrics",
    "rater_ceilings",
]

COEFFICIENTS = {"pearson": "pcc", "spearman": "srcc", "kendall": "tau", "accuracy": "pair_accuracy"}
"""Short names of the coefficients of `sam_audio_bench.stats.correlation`; RMSE is reported as well."""

_LEVELS = ("utterance", "within_item", "system")
_FEW = 3
_PAIR_CELLS = 4000  # rows; for more, the accuracy over all pairs takes minutes

Ceilings = Mapping[tuple[str, str], float | None]


class AgreementRow(TypedDict):
    """One coefficient for one axis, domain and level, as ``--json`` prints it."""

    axis: str
    domain: str  # "all" pools them
    level: str
    coefficient: str  # a short name of `COEFFICIENTS`, or "rmse"
    value: float | None
    ci_low: float | None
    ci_high: float | None
    n: int
    status: str
    ceiling: float | None


class CoverageRow(TypedDict):
    """Empirical coverage of intervals of one axis at one nominal coverage."""

    axis: str
    nominal: float
    covered: float | None
    n: int


def held_out_metrics(rated: RatedExamples) -> dict[str, float]:
    """Returns metrics that monitor a run: SRCC, PCC and RMSE by axis, and coverage of the 80 % interval of overall."""
    found = {}
    for at, axis in enumerate(AXES):
        scores, values = rated.scores[:, at], rated.values[:, at]
        there = np.isfinite(scores)
        if there.sum() < _FEW:
            continue
        x, y = values[there], scores[there]
        flat = np.ptp(x) == 0 or np.ptp(y) == 0
        found[f"srcc_{axis}"] = 0.0 if flat else float(spearmanr(x, y).statistic)
        found[f"pcc_{axis}"] = 0.0 if flat else float(np.corrcoef(x, y)[0, 1])
        found[f"rmse_{axis}"] = float(np.sqrt(np.mean((x - y) ** 2)))
    if rated.spreads is not None:
        inside = coverage(rated.values, rated.spreads, rated.scores)[0]
        found["coverage_overall"] = 0.0 if inside is None else inside
    return {"srcc_overall": 0.0, **found}


def agreement_rows(
    rated: RatedExamples, *, ceilings: Ceilings | None = None, resamples: int = 1000, seed: int = 0
) -> list[AgreementRow]:
    """Returns one row per axis, domain, level and coefficient.

    An item is a query: a mixture with a prompt. Intervals resample recordings and systems (two-way); those of RMSE
    resample recordings.

    Args:
        rated: ratings by judge and listeners.
        ceilings: √ICC(k) by axis and domain, see `rater_ceilings`.
        resamples: bootstrap resamples for the intervals.
        seed: seed of the resampling.

    Returns:
        ``{axis, domain, level, coefficient, value, ci_low, ci_high, n, status, ceiling}``; domain "all" pools them.
    """
    rows: list[AgreementRow] = []
    known = ceilings or {}
    for axis, domain, table in _slices(rated):
        best = known.get((axis, domain))
        for found in _correlations(table, resamples=resamples, seed=seed):
            bounded = found.level == "utterance" and found.coefficient in ("pearson", "spearman")
            rows.append(
                {
                    "axis": axis,
                    "domain": domain,
                    "level": found.level,
                    "coefficient": COEFFICIENTS[found.coefficient],
                    "value": found.value,
                    "ci_low": found.low,
                    "ci_high": found.high,
                    "n": found.n,
                    "status": str(found.status),
                    "ceiling": best if bounded else None,
                }
            )
        rows += _errors(axis, domain, table, resamples=resamples, seed=seed)
    return rows


def coverage_rows(rated: RatedExamples) -> list[CoverageRow]:
    """Returns the empirical coverage of intervals of 10, 20 … 90 %: ``{axis, nominal, covered, n}``."""
    if rated.spreads is None:
        return []
    rows: list[CoverageRow] = []
    for nominal in np.arange(1, 10) / 10:
        found = coverage(rated.values, rated.spreads, rated.scores, float(nominal))
        for at, (axis, covered) in enumerate(zip(AXES, found, strict=True)):
            n = int(np.isfinite(rated.scores[:, at]).sum())
            rows.append({"axis": axis, "nominal": round(float(nominal), 1), "covered": covered, "n": n})
    return rows


def rater_ceilings(place: Path, *, seed: int = 0) -> dict[tuple[str, str], float | None]:
    """Returns √ICC(k) by axis and domain of a table with raters; empty without raters.

    Raises:
        StoreError: the table is not a tidy table of ratings.
    """
    from sam_audio_bench.ratings.agreement import noise_ceilings
    from sam_audio_bench.ratings.table import COLUMNS, Ratings

    if place.suffix != ".parquet" or not set(COLUMNS) <= set(pd.read_parquet(place).columns):
        return {}
    ratings = Ratings.read(place)
    if ratings.votes or ratings.without_controls["rater"].nunique() < 2:
        return {}
    by = "domain" if ratings.without_controls["domain"].notna().any() else None
    return {key: found.value for key, found in noise_ceilings(ratings, by=by, resamples=100, seed=seed).items()}


def _slices(rated: RatedExamples) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Yields axis, domain, and a table with columns item, group, system, domain, score, value."""
    rows = rated.examples.rows
    for at, axis in enumerate(AXES):
        table = pd.DataFrame(
            {
                "item": rows["query"], "group": rows["group"], "system": rows["system"].astype(str),
                "domain": rows["domain"].astype(str), "score": rated.scores[:, at], "value": rated.values[:, at],
            }
        )  # fmt: skip
        table = table[table["score"].notna()]
        if table.empty:
            continue
        yield axis, "all", table
        if table["domain"].nunique() > 1:
            for domain, part in table.groupby("domain", sort=True):
                yield axis, str(domain), part


def _correlations(table: pd.DataFrame, *, resamples: int, seed: int) -> list[Correlation]:
    """Returns correlations at every level; below system level, repeated estimates for a query are separate columns."""
    names = [name for name in COEFFICIENTS if name != "accuracy" or len(table) <= _PAIR_CELLS]
    copies = table.groupby(["item", "system"]).cumcount()
    fine = table.assign(system=table["system"] + copies.where(copies > 0, "").map(lambda n: f" {n}" if n != "" else ""))
    found = []
    for part, levels in ((fine, _LEVELS[:2]), (table, _LEVELS[2:])):
        human, values, groups = _matrices(part)
        found += correlate(
            human, {"saj": values}, levels=levels, coefficients=names, groups=groups, resamples=resamples, seed=seed
        )
    return found


def _matrices(table: pd.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.float64], list[str]]:
    """Returns scores and values ``[items, systems]``, and the groups of the items."""
    wide = table.pivot_table(index="item", columns="system", values=["score", "value"], aggfunc="mean", sort=True)
    groups = table.groupby("item", sort=True)["group"].min()
    return wide["score"].to_numpy(float), wide["value"].to_numpy(float), [str(name) for name in groups]


def _errors(axis: str, domain: str, table: pd.DataFrame, *, resamples: int, seed: int) -> Iterator[AgreementRow]:
    """Yields RMSE over estimates and over means of systems."""
    squares = (table["value"] - table["score"]) ** 2
    interval = cluster_interval(squares, table["group"].astype(str), resamples=resamples, seed=seed)
    low, high = (None, None) if interval is None else (float(np.sqrt(interval.low)), float(np.sqrt(interval.high)))
    means = table.groupby("system")[["value", "score"]].mean()
    row: AgreementRow = {
        "axis": axis,
        "domain": domain,
        "coefficient": "rmse",
        "status": "ok",
        "ceiling": None,
        "level": "utterance",
        "value": float(np.sqrt(squares.mean())),
        "ci_low": low,
        "ci_high": high,
        "n": len(table),
    }
    yield row
    if len(means) > 1:
        value = float(np.sqrt(((means["value"] - means["score"]) ** 2).mean()))
        yield {**row, "level": "system", "value": value, "ci_low": None, "ci_high": None, "n": len(means)}
