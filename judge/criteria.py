"""Acceptance criteria of the shipped judge on simulated ratings of held-out estimates, with measured values.

Intervals resample mixtures. `judge.evaluate` prints these criteria and those of `judge.gaming`, `judge.tolerance` and
`judge.mini_split`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sam_audio_bench.judge.scores import AXES
from sam_audio_bench.judge.training.calibration import coverage
from sam_audio_bench.stats.bootstrap import cluster_interval, multinomial_weights
from sam_audio_bench.stats.coefficients import standardise, weighted_pearson

__all__ = [
    "BLIND",
    "DENOISED",
    "HIGHEST",
    "KNOWN",
    "LOWEST",
    "NEW",
    "POOLED",
    "UNSEEN",
    "UNSEEN_NEW",
    "Criterion",
    "concat_sets",
    "family_criteria",
    "format_bounds",
    "label_criteria",
    "mean_criterion",
    "pearson_criterion",
    "perfection_criteria",
    "scale_criterion",
    "unmeasured",
]

KNOWN, NEW = "heldout-recordings", "heldout-families"
UNSEEN, UNSEEN_NEW = "unseen", "unseen-families"
POOLED: Mapping[str, tuple[str, ...]] = {
    "recordings unseen": (KNOWN, NEW),
    "packages unseen": (UNSEEN, UNSEEN_NEW),
}
"""Held-out sets that are pooled: what is new in them, and the names of the sets."""

DENOISED = "denoised"
"""Noisy speech processed by noise suppressors, with a perfect estimate per mixture; not part of pooled criteria."""

BLIND = (
    "hpss", "repet-sim", "spectral-gate", "suppressors", "dtln", "nsnet2", "gtcrn", "rnnoise", "hush", "mask-network",
)  # fmt: skip
"""Families of estimates by real separators, which do not know the sources."""

LOWEST, HIGHEST = 1.0, 5.0
"""Limits of the rating scale."""

_RESAMPLES = 1000
_GAP = 0.5  # rating points by which two true ratings must differ to be regarded as ordered
_POOR = 2.5  # a perfect estimate that is rated below this was not recognised
_FEWEST = 30  # minimum number of estimates of a family for a correlation

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Criterion:
    """A measured value with the limits that it has to meet.

    Attributes:
        part: the set, or the group of items.
        what: description of the measured quantity.
        value: measured value; None if there was nothing to measure.
        low, high: 95 % interval; None if there is none.
        n: number of estimates or pairs.
        wanted: lower limit; None: no lower limit.
        most: upper limit; None: no upper limit. Without both the value is only reported.
    """

    part: str
    what: str
    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    wanted: float | None = None
    most: float | None = None

    @property
    def met(self) -> bool | None:
        """Whether the value is within the limits; None if there are none."""
        if self.wanted is None and self.most is None:
            return None
        value = self.value
        if value is None or not np.isfinite(value):
            return False
        return (self.wanted is None or value >= self.wanted) and (self.most is None or value <= self.most)

    def plain(self) -> dict[str, Any]:
        """Returns the criterion as a plain dict, for JSON."""
        return {**asdict(self), "met": self.met}


def format_bounds(wanted: float | None, most: float | None) -> str:
    """Formats the limits of a `Criterion`; empty if there are none.

    >>> format_bounds(0.72, 0.88), format_bounds(None, 0.1)
    ('≥ 0.72, ≤ 0.88', '≤ 0.1')
    """
    ends = ("" if wanted is None else f"≥ {wanted:g}", "" if most is None else f"≤ {most:g}")
    return ", ".join(end for end in ends if end)


def pearson_criterion(
    part: str, what: str, x: pd.Series, y: pd.Series, items: pd.Series, wanted: float | None = None
) -> Criterion:
    """Returns Pearson's r with a bootstrap interval over mixtures."""
    if len(x) < 3:
        return Criterion(part=part, what=what, value=None, n=len(x), wanted=wanted)
    codes = pd.factorize(items)[0]
    columns = [standardise(np.asarray(one, float)) for one in (x, y)]

    def drawn(weights: Floats) -> Floats:
        return weighted_pearson(columns[0], columns[1], weights[:, codes].T)

    return _bootstrapped(part, what, drawn, codes, wanted)


def mean_criterion(
    part: str,
    what: str,
    values: pd.Series,
    items: pd.Series,
    wanted: float | None = None,
    most: float | None = None,
) -> Criterion:
    """Returns a mean, or the share of true values, with a bootstrap interval over mixtures."""
    if values.empty:
        return Criterion(part=part, what=what, value=None, wanted=wanted, most=most)
    numbers = values.astype(float)
    interval = cluster_interval(numbers, items.astype(str), resamples=_RESAMPLES)
    low, high = (None, None) if interval is None else interval
    mean = float(numbers.mean())
    return Criterion(part=part, what=what, value=mean, low=low, high=high, n=len(numbers), wanted=wanted, most=most)


def unmeasured(part: str, what: str, wanted: float | None = None, most: float | None = None) -> Criterion:
    """Returns a criterion for which there was nothing to measure."""
    return Criterion(part=part, what=what, value=None, wanted=wanted, most=most)


def _bootstrapped(
    part: str, what: str, statistic: Callable[[Floats], Floats], codes: NDArray[np.int64], wanted: float | None
) -> Criterion:
    """Returns a statistic, which is a function of weights ``[resamples, mixtures]``, with its percentile interval."""
    count = int(codes.max()) + 1
    value = float(statistic(np.ones((1, count)))[0])
    if not np.isfinite(value):  # one side is constant
        return Criterion(part=part, what=what, value=None, n=len(codes), wanted=wanted)
    low, high = np.nanquantile(statistic(multinomial_weights(count, _RESAMPLES, (0,))), [0.025, 0.975])
    return Criterion(part=part, what=what, value=value, low=float(low), high=float(high), n=len(codes), wanted=wanted)


def label_criteria(sets: Mapping[str, pd.DataFrame]) -> list[Criterion]:
    """Returns all criteria against simulated ratings, then correlations per set, domain and axis.

    Args:
        sets: rated rows by the name of the set: columns of `Examples.rows`, ``answer_id``, ``saj_AXIS`` and
            ``saj_AXIS_spread``.
    """
    found = [bar for part, names in POOLED.items() for bar in _pooled(part, concat_sets(sets, names))]
    found += [bar for name, table in sets.items() for bar in _coverage_criteria(name, table)]
    return [*found, *(bar for name, table in sets.items() for bar in _correlations(name, table))]


def concat_sets(sets: Mapping[str, pd.DataFrame], names: tuple[str, ...]) -> pd.DataFrame:
    """Concatenates the rows of the named sets that exist; an empty table if there are none."""
    there = [sets[name] for name in names if name in sets]
    return pd.concat(there, ignore_index=True) if there else pd.DataFrame()


def _pooled(part: str, table: pd.DataFrame) -> Iterator[Criterion]:
    if table.empty:
        return
    estimates = _intended(table)
    rows = {
        "PCC of overall": (estimates, 0.76),
        "PCC of overall, effects": (estimates[estimates["domain"] == "effects"], 0.72),
        "PCC of overall, blind separators": (estimates[estimates["system"].isin(BLIND)], 0.72),
    }
    for what, (some, least) in rows.items():
        yield pearson_criterion(part, what, some["saj_overall"], some["overall"], some["item"], least)
    pairs = _estimate_pairs(table)
    yield mean_criterion(part, "order of two answers to one query", pairs["right"], pairs["item"], 0.82)
    wrong = _prompt_pairs(table)
    yield mean_criterion(part, "wrong prompt rated lower", wrong["drops"], wrong["item"], 0.92)
    effects = wrong[wrong["domain"] == "effects"]
    yield mean_criterion(part, "wrong prompt rated lower, effects", effects["drops"], effects["item"], 0.85)


def perfection_criteria(sets: Mapping[str, pd.DataFrame]) -> Iterator[Criterion]:
    """Yields criteria for ratings of perfect estimates for mixtures of recordings that are not in training."""
    for part, names in POOLED.items():
        table = concat_sets(sets, names)
        if table.empty:
            continue
        rows = _intended(table)
        rows = rows[rows["system"] == "perfect"]
        yield mean_criterion(part, "mean overall of perfect answers", rows["saj_overall"], rows["item"], 4.3)
        poor = rows["saj_overall"] < _POOR
        yield mean_criterion(part, f"share of perfect answers below {_POOR}", poor, rows["item"], most=0.08)


def scale_criterion(tables: Mapping[str, pd.DataFrame]) -> Criterion:
    """Returns the share of ratings in columns ``saj_AXIS`` that are within the scale, which must be all."""
    columns = [f"saj_{axis}" for axis in AXES]
    values = [table[columns].to_numpy(float).ravel() for table in tables.values() if not table.empty]
    ratings = np.concatenate(values) if values else np.zeros(0)
    part, what = "everywhere", f"share of ratings within {LOWEST:g} to {HIGHEST:g}"
    if not len(ratings):
        return unmeasured(part, what, 1.0)
    ends = f"; found {np.nanmin(ratings):.2f} to {np.nanmax(ratings):.2f}"
    inside = float(((ratings >= LOWEST) & (ratings <= HIGHEST)).mean())
    return Criterion(part=part, what=what + ends, value=inside, n=len(ratings), wanted=1.0)


def family_criteria(table: pd.DataFrame) -> list[Criterion]:
    """Returns the correlation of overall within each family of estimates."""
    rows = _intended(table).groupby("system", sort=True)
    return [
        pearson_criterion(f"family {name}", "PCC of overall", part["saj_overall"], part["overall"], part["item"])
        for name, part in rows
        if len(part) >= _FEWEST
    ]


def _intended(table: pd.DataFrame) -> pd.DataFrame:
    """Returns one row per estimate: that with the intended prompt."""
    return table[table["kind"] == "intended"]


def _correlations(name: str, table: pd.DataFrame) -> Iterator[Criterion]:
    rows = _intended(table)
    yield pearson_criterion(name, "PCC of overall", rows["saj_overall"], rows["overall"], rows["item"])
    for domain, part in rows.groupby("domain", sort=True):
        for axis in AXES:
            yield pearson_criterion(
                f"{name}, {domain}", f"PCC of {axis}", part[f"saj_{axis}"], part[axis], part["item"]
            )


def _prompt_pairs(table: pd.DataFrame) -> pd.DataFrame:
    """Returns estimates with a second prompt that has a lower true rating; ``drops``: the judge's is lower, too."""
    keys = ["item", "system", "answer_id"]
    both = _intended(table).merge(table[table["kind"] != "intended"], on=keys, suffixes=("", "_wrong"))
    both = both[both["overall"] - both["overall_wrong"] > _GAP]
    return both.assign(drops=_wins(both["saj_overall"] - both["saj_overall_wrong"]))


def _estimate_pairs(table: pd.DataFrame) -> pd.DataFrame:
    """Returns pairs of estimates for a query that differ by over half a point; ``right``: the judge agrees in order."""
    rows = _intended(table)
    both = rows.merge(rows, on="query", suffixes=("", "_other"))
    both = both[both["overall"] - both["overall_other"] > _GAP]
    return both.assign(right=_wins(both["saj_overall"] - both["saj_overall_other"]))


def _wins(differences: pd.Series) -> pd.Series:
    """Returns 1 where differences are positive and ½ where they are 0."""
    return (differences > 0).astype(float) + 0.5 * (differences == 0)


def _coverage_criteria(name: str, table: pd.DataFrame) -> Iterator[Criterion]:
    """Yields the empirical coverage of the 80 % interval of overall, for a set and its domains.

    Limits apply only to sets that are pooled.
    """
    if "saj_overall_spread" not in table:
        return
    rows = _intended(table)
    parts = [(name, rows), *((f"{name}, {domain}", part) for domain, part in rows.groupby("domain", sort=True))]
    least, most = (0.72, 0.88) if any(name in pooled for pooled in POOLED.values()) else (None, None)
    columns = [[f"saj_{axis}" for axis in AXES], [f"saj_{axis}_spread" for axis in AXES], list(AXES)]
    for part, some in parts:
        values, spreads, scores = (some[names].to_numpy(float) for names in columns)
        inside = coverage(values, spreads, scores, 0.8)[0]
        yield Criterion(
            part=part, what="coverage of the 80 % interval", value=inside, n=len(values), wanted=least, most=most
        )
