"""What is demanded of the shipped judge on simulated ratings of answers that it never heard, and how far it gets.

Intervals resample mixtures. `judge.evaluate` prints the bars beside those of `judge.gaming`, `judge.tolerance` and
`judge.on_mini`.
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
    "Bar",
    "average",
    "demanded",
    "families",
    "in_scale",
    "label_bars",
    "missing_bar",
    "pearson",
    "perfection_bars",
    "set_rows",
]

KNOWN, NEW = "heldout-recordings", "heldout-families"
UNSEEN, UNSEEN_NEW = "unseen", "unseen-families"
POOLED: Mapping[str, tuple[str, ...]] = {
    "recordings unseen": (KNOWN, NEW),
    "packages unseen": (UNSEEN, UNSEEN_NEW),
}
"""Held-out sets that are measured together: what was not heard in training, and the sets."""

DENOISED = "denoised"
"""Speech in noise by noise suppressors, each mixture beside a perfect answer; of no pooled bar."""

BLIND = (
    "hpss", "repet-sim", "spectral-gate", "suppressors", "dtln", "nsnet2", "gtcrn", "rnnoise", "hush", "mask-network",
)  # fmt: skip
"""Families of answers by real separators, which are not shown the sources."""

LOWEST, HIGHEST = 1.0, 5.0
"""Ends of the scale of ratings."""

_RESAMPLES = 1000
_GAP = 0.5  # rating points by which two truths must differ to be an order
_POOR = 2.5  # a perfect answer that is rated below was not recognised
_FEWEST = 30  # answers of a family whose correlation is reported

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A demand, and what was measured.

    Attributes:
        part: the set, or the group of items.
        what: what was measured.
        value: None: nothing to measure.
        low, high: 95 % interval; None: none.
        n: answers or pairs.
        wanted: the least value; None: none.
        most: the greatest one; without both it is reported without a demand.
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
        """Whether the demand is met; None: there is none."""
        if self.wanted is None and self.most is None:
            return None
        value = self.value
        if value is None or not np.isfinite(value):
            return False
        return (self.wanted is None or value >= self.wanted) and (self.most is None or value <= self.most)

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return {**asdict(self), "met": self.met}


def demanded(wanted: float | None, most: float | None) -> str:
    """A demand in words, as `Bar` has it; empty: none.

    >>> demanded(0.72, 0.88), demanded(None, 0.1)
    ('≥ 0.72, ≤ 0.88', '≤ 0.1')
    """
    ends = ("" if wanted is None else f"≥ {wanted:g}", "" if most is None else f"≤ {most:g}")
    return ", ".join(end for end in ends if end)


def pearson(part: str, what: str, x: pd.Series, y: pd.Series, items: pd.Series, wanted: float | None = None) -> Bar:
    """Pearson's r with a bootstrap interval over mixtures."""
    if len(x) < 3:
        return Bar(part=part, what=what, value=None, n=len(x), wanted=wanted)
    codes = pd.factorize(items)[0]
    columns = [standardise(np.asarray(one, float)) for one in (x, y)]

    def drawn(weights: Floats) -> Floats:
        return weighted_pearson(columns[0], columns[1], weights[:, codes].T)

    return _bootstrapped(part, what, drawn, codes, wanted)


def average(
    part: str,
    what: str,
    values: pd.Series,
    items: pd.Series,
    wanted: float | None = None,
    most: float | None = None,
) -> Bar:
    """A mean, or how often something holds, with a bootstrap interval over mixtures."""
    if values.empty:
        return Bar(part=part, what=what, value=None, wanted=wanted, most=most)
    numbers = values.astype(float)
    interval = cluster_interval(numbers, items.astype(str), resamples=_RESAMPLES)
    low, high = (None, None) if interval is None else interval
    mean = float(numbers.mean())
    return Bar(part=part, what=what, value=mean, low=low, high=high, n=len(numbers), wanted=wanted, most=most)


def missing_bar(part: str, what: str, wanted: float | None = None, most: float | None = None) -> Bar:
    """A demand that nothing was there to measure."""
    return Bar(part=part, what=what, value=None, wanted=wanted, most=most)


def _bootstrapped(
    part: str, what: str, statistic: Callable[[Floats], Floats], codes: NDArray[np.int64], wanted: float | None
) -> Bar:
    """A statistic of weights ``[resamples, mixtures]``, and its percentile interval."""
    count = int(codes.max()) + 1
    value = float(statistic(np.ones((1, count)))[0])
    if not np.isfinite(value):  # one side is constant
        return Bar(part=part, what=what, value=None, n=len(codes), wanted=wanted)
    low, high = np.nanquantile(statistic(multinomial_weights(count, _RESAMPLES, (0,))), [0.025, 0.975])
    return Bar(part=part, what=what, value=value, low=float(low), high=float(high), n=len(codes), wanted=wanted)


def label_bars(sets: Mapping[str, pd.DataFrame]) -> list[Bar]:
    """Every bar against simulated ratings, then each set by domain and axis.

    Args:
        sets: rated rows by the name of the set: columns of `Examples.rows`, ``answer_id``, and ``saj_AXIS``,
            ``saj_AXIS_spread``.
    """
    found = [bar for part, names in POOLED.items() for bar in _pooled(part, set_rows(sets, names))]
    found += [bar for name, table in sets.items() for bar in _covered(name, table)]
    return [*found, *(bar for name, table in sets.items() for bar in _correlations(name, table))]


def set_rows(sets: Mapping[str, pd.DataFrame], names: tuple[str, ...]) -> pd.DataFrame:
    """Rows of the sets that are there, together; an empty table where none is."""
    there = [sets[name] for name in names if name in sets]
    return pd.concat(there, ignore_index=True) if there else pd.DataFrame()


def _pooled(part: str, table: pd.DataFrame) -> Iterator[Bar]:
    if table.empty:
        return
    answers = _intended(table)
    rows = {
        "PCC of overall": (answers, 0.76),
        "PCC of overall, effects": (answers[answers["domain"] == "effects"], 0.72),
        "PCC of overall, blind separators": (answers[answers["system"].isin(BLIND)], 0.72),
    }
    for what, (some, least) in rows.items():
        yield pearson(part, what, some["saj_overall"], some["overall"], some["item"], least)
    pairs = _answer_pairs(table)
    yield average(part, "order of two answers to one query", pairs["right"], pairs["item"], 0.82)
    wrong = _prompt_pairs(table)
    yield average(part, "wrong prompt rated lower", wrong["drops"], wrong["item"], 0.92)
    effects = wrong[wrong["domain"] == "effects"]
    yield average(part, "wrong prompt rated lower, effects", effects["drops"], effects["item"], 0.85)


def perfection_bars(sets: Mapping[str, pd.DataFrame]) -> Iterator[Bar]:
    """What is said of perfect answers to mixtures of recordings that were not heard in training."""
    for part, names in POOLED.items():
        table = set_rows(sets, names)
        if table.empty:
            continue
        rows = _intended(table)
        rows = rows[rows["system"] == "perfect"]
        yield average(part, "mean overall of perfect answers", rows["saj_overall"], rows["item"], 4.3)
        poor = rows["saj_overall"] < _POOR
        yield average(part, f"share of perfect answers below {_POOR}", poor, rows["item"], most=0.08)


def in_scale(tables: Mapping[str, pd.DataFrame]) -> Bar:
    """Whether every rating in columns ``saj_AXIS`` is within the scale."""
    columns = [f"saj_{axis}" for axis in AXES]
    values = [table[columns].to_numpy(float).ravel() for table in tables.values() if not table.empty]
    said = np.concatenate(values) if values else np.zeros(0)
    part, what = "everywhere", f"share of ratings within {LOWEST:g} to {HIGHEST:g}"
    if not len(said):
        return missing_bar(part, what, 1.0)
    ends = f"; found {np.nanmin(said):.2f} to {np.nanmax(said):.2f}"
    inside = float(((said >= LOWEST) & (said <= HIGHEST)).mean())
    return Bar(part=part, what=what + ends, value=inside, n=len(said), wanted=1.0)


def families(table: pd.DataFrame) -> list[Bar]:
    """Correlation of overall inside each family of separators."""
    rows = _intended(table).groupby("system", sort=True)
    return [
        pearson(f"family {name}", "PCC of overall", part["saj_overall"], part["overall"], part["item"])
        for name, part in rows
        if len(part) >= _FEWEST
    ]


def _intended(table: pd.DataFrame) -> pd.DataFrame:
    """One row an answer: as it was asked for."""
    return table[table["kind"] == "intended"]


def _correlations(name: str, table: pd.DataFrame) -> Iterator[Bar]:
    rows = _intended(table)
    yield pearson(name, "PCC of overall", rows["saj_overall"], rows["overall"], rows["item"])
    for domain, part in rows.groupby("domain", sort=True):
        for axis in AXES:
            yield pearson(f"{name}, {domain}", f"PCC of {axis}", part[f"saj_{axis}"], part[axis], part["item"])


def _prompt_pairs(table: pd.DataFrame) -> pd.DataFrame:
    """Answers under another prompt, where the truth is lower; ``drops``: so is the judge's overall."""
    keys = ["item", "system", "answer_id"]
    both = _intended(table).merge(table[table["kind"] != "intended"], on=keys, suffixes=("", "_wrong"))
    both = both[both["overall"] - both["overall_wrong"] > _GAP]
    return both.assign(drops=_wins(both["saj_overall"] - both["saj_overall_wrong"]))


def _answer_pairs(table: pd.DataFrame) -> pd.DataFrame:
    """Two answers to one query that differ by more than half a point; ``right``: the judge has their order."""
    rows = _intended(table)
    both = rows.merge(rows, on="query", suffixes=("", "_other"))
    both = both[both["overall"] - both["overall_other"] > _GAP]
    return both.assign(right=_wins(both["saj_overall"] - both["saj_overall_other"]))


def _wins(differences: pd.Series) -> pd.Series:
    """1 where positive, ½ where 0."""
    return (differences > 0).astype(float) + 0.5 * (differences == 0)


def _covered(name: str, table: pd.DataFrame) -> Iterator[Bar]:
    """Share of overall ratings inside the interval that is to hold 80 % of them, in a set and in its domains.

    Only of sets that are pooled something is demanded.
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
        yield Bar(part=part, what="coverage of the 80 % interval", value=inside, n=len(values), wanted=least, most=most)
