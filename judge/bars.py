"""What is demanded of the shipped judge, and how far it gets: correlations, wrong prompts, pairs, families, intervals.

All on simulated ratings of answers that it was not trained on. Intervals resample mixtures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sam_audio_bench.judge.scores import AXES
from sam_audio_bench.judge.training.calibration import coverage
from sam_audio_bench.stats.bootstrap import cluster_interval, multinomial_weights
from sam_audio_bench.stats.coefficients import standardise, weighted_pearson

__all__ = ["KNOWN", "NEW", "UNSEEN", "UNSEEN_NEW", "Bar", "families", "held_out_bars", "pearson", "share"]

KNOWN, NEW = "heldout-recordings", "heldout-families"
UNSEEN, UNSEEN_NEW = "unseen", "unseen-families"

OVERALL = {  # what overall must reach; each other axis
    (KNOWN, "speech"): (0.85, 0.80),
    (KNOWN, "music"): (0.77, 0.72),
    (KNOWN, "effects"): (0.66, 0.60),
    (NEW, "speech"): (0.80, 0.75),
    (NEW, "music"): (0.70, 0.62),
    (NEW, "effects"): (0.58, 0.52),
}
_RESAMPLES = 1000
_GAP = 0.5  # rating points by which two truths must differ to be an order
_WIDE_GAP = 2.0
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
        wanted: the least value; None: reported without a demand.
        most: the greatest one, where there is one.
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
        if self.wanted is None:
            return None
        return self.value is not None and self.value >= self.wanted and (self.most is None or self.value <= self.most)

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return {**asdict(self), "met": self.met}


def held_out_bars(sets: dict[str, pd.DataFrame], blind: dict[str, pd.DataFrame]) -> list[Bar]:
    """Every bar on simulated ratings.

    Args:
        sets: rated rows by the name of the set: columns of `Examples.rows`, and ``saj_AXIS``, ``saj_AXIS_spread``.
        blind: answers to intended prompts, rated by a twin that was trained without texts; empty: there is none.
    """
    found: list[Bar] = []
    for name in (KNOWN, NEW, UNSEEN, UNSEEN_NEW):
        if name in sets:
            found += _correlations(name, sets[name])
    seen = {name: sets[name] for name in (KNOWN, NEW) if name in sets}
    found += _wrong_prompts(seen, sets)
    found += [_pair_order(name, table) for name, table in sets.items()]
    if blind:
        found += [_beyond_the_twin(what, table, blind[KNOWN]) for what, table in _prompted(sets[KNOWN])]
    found += [_covered(name, table) for name, table in sets.items() if "saj_overall_spread" in table]
    return found


def families(table: pd.DataFrame) -> list[Bar]:
    """Correlation of overall inside each family of separators."""
    rows = _intended(table).groupby("system", sort=True)
    return [
        pearson(f"family {name}", "PCC of overall", part["saj_overall"], part["overall"], part["item"])
        for name, part in rows
        if len(part) >= _FEWEST
    ]


def pearson(part: str, what: str, x: pd.Series, y: pd.Series, items: pd.Series, wanted: float | None = None) -> Bar:
    """Pearson's r with a bootstrap interval over mixtures."""
    codes = pd.factorize(items)[0]
    columns = [standardise(np.asarray(one, float)) for one in (x, y)]

    def drawn(weights: Floats) -> Floats:
        return weighted_pearson(columns[0], columns[1], weights[:, codes].T)

    return _bootstrapped(part, what, drawn, codes, wanted)


def share(part: str, what: str, right: pd.Series, items: pd.Series, wanted: float | None = None) -> Bar:
    """How often something holds, with a bootstrap interval over mixtures; ties count half."""
    if right.empty:
        return Bar(part=part, what=what, value=None, wanted=wanted)
    interval = cluster_interval(right.astype(float), items.astype(str), resamples=_RESAMPLES)
    low, high = (None, None) if interval is None else interval
    return Bar(part=part, what=what, value=float(right.mean()), low=low, high=high, n=len(right), wanted=wanted)


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


def _intended(table: pd.DataFrame) -> pd.DataFrame:
    """One row an answer: as it was asked for."""
    return table[table["kind"] == "intended"]


def _correlations(name: str, table: pd.DataFrame) -> Iterator[Bar]:
    rows = _intended(table)
    if name in (UNSEEN, UNSEEN_NEW):
        wanted = {UNSEEN: 0.65, UNSEEN_NEW: 0.55}[name]
        yield pearson(name, "PCC of overall", rows["saj_overall"], rows["overall"], rows["item"], wanted)
    else:
        yield pearson(name, "PCC of overall", rows["saj_overall"], rows["overall"], rows["item"])
    for domain, part in rows.groupby("domain", sort=True):
        first, others = OVERALL.get((name, str(domain)), (None, None))
        for axis in AXES:
            least = first if axis == "overall" else others
            where = f"{name}, {domain}"
            yield pearson(where, f"PCC of {axis}", part[f"saj_{axis}"], part[axis], part["item"], least)


def _wrong_prompts(seen: dict[str, pd.DataFrame], sets: dict[str, pd.DataFrame]) -> Iterator[Bar]:
    """How often overall drops when the answer is judged for another prompt, where the truth drops."""
    pairs = {name: _prompt_pairs(table) for name, table in sets.items()}
    together = pd.concat([pairs[name] for name in seen], ignore_index=True)
    yield share("known classes", "wrong prompt rated lower", together["drops"], together["item"], 0.90)
    for domain, part in together.groupby("domain", sort=True):
        yield share(f"known classes, {domain}", "wrong prompt rated lower", part["drops"], part["item"], 0.85)
    far = together[together["gap"] > _WIDE_GAP]
    yield share("known classes", "wrong prompt rated lower, true gap > 2", far["drops"], far["item"], 0.94)
    for name, part in pairs.items():
        yield share(name, "wrong prompt rated lower", part["drops"], part["item"])


def _prompt_pairs(table: pd.DataFrame) -> pd.DataFrame:
    keys = ["item", "system", "answer_id"]
    right = _intended(table)
    wrong = table[table["kind"] != "intended"]
    both = right.merge(wrong, on=keys, suffixes=("", "_wrong"))
    both = both.assign(gap=both["overall"] - both["overall_wrong"])
    both = both[both["gap"] > _GAP]
    return both.assign(drops=_wins(both["saj_overall"] - both["saj_overall_wrong"]))


def _pair_order(name: str, table: pd.DataFrame) -> Bar:
    """How often two answers to one query are in their true order, where they differ by more than half a point."""
    rows = table[table["kind"] == "intended"].reset_index(drop=True)
    both = rows.merge(rows, on="query", suffixes=("", "_other"))
    both = both[both["overall"] - both["overall_other"] > _GAP]
    right = _wins(both["saj_overall"] - both["saj_overall_other"])
    return share(name, "order of two answers", right, both["item"], 0.85)


def _wins(differences: pd.Series) -> pd.Series:
    """1 where positive, ½ where 0."""
    return (differences > 0).astype(float) + 0.5 * (differences == 0)


def _prompted(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Answers as they were asked for, and the same answers judged for wrong and absent prompts beside them."""
    yield "intended prompts", _intended(table)
    yield "all prompts", table


def _beyond_the_twin(what: str, rows: pd.DataFrame, blind: pd.DataFrame) -> Bar:
    """PCC of overall with texts minus that of the twin, which says of an answer the same whatever was asked."""
    codes = pd.factorize(rows["item"])[0]
    said = rows["answer_id"].map(blind.set_index("answer_id")["saj_overall"])
    truth, with_text, without = (
        standardise(np.asarray(one, float)) for one in (rows["overall"], rows["saj_overall"], said)
    )

    def drawn(weights: Floats) -> Floats:
        drawn = weights[:, codes].T
        return weighted_pearson(with_text, truth, drawn) - weighted_pearson(without, truth, drawn)

    return _bootstrapped(f"{KNOWN}, {what}", "PCC of overall beyond the text-blind twin's", drawn, codes, 0.20)


def _covered(name: str, table: pd.DataFrame) -> Bar:
    """Share of overall ratings inside the interval that is to hold 80 % of them."""
    columns = [[f"saj_{axis}" for axis in AXES], [f"saj_{axis}_spread" for axis in AXES], list(AXES)]
    values, spreads, scores = (_intended(table)[names].to_numpy(float) for names in columns)
    inside = coverage(values, spreads, scores, 0.8)[0]
    return Bar(part=name, what="coverage of the 80 % interval", value=inside, n=len(values), wanted=0.72, most=0.88)
