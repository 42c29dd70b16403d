"""How often `sabench slices` finds a planted effect, and how often it finds one where there is none.

Run: python benchmarks/slices.py (six minutes on a busy core). Simulates tables of 50 recordings, tests their slices as
the command does but with a quarter of its permutations, prints the rates and writes benchmarks/slices.md. Scores are
noise of standard deviation 1 over recordings; a planted effect makes one half of the recordings worse by that much.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from sam_audio_bench.stats.paired import holm
from sam_audio_bench.stats.slices import compare_slices

TABLES = 600
RECORDINGS = 50
ALPHA = 0.05

Floats = NDArray[np.float64]
Attributes = list[NDArray[np.int64]]  # value of each item


@dataclass(frozen=True)
class Case:
    """Tables of one kind; of the first attribute the value 0 is the slice in question."""

    what: str
    make: Callable[[np.random.Generator], tuple[Floats, NDArray[np.int64], Attributes]]
    planted: bool = False


def singles(scores: Floats, attributes: Attributes) -> tuple[Floats, NDArray[np.int64], Attributes]:
    """One item a recording."""
    return scores, np.arange(len(scores)), attributes


def split(rng: np.random.Generator, inside: int, count: int = RECORDINGS) -> NDArray[np.int64]:
    """0 for some of ``count``, 1 for the others."""
    return rng.permutation((np.arange(count) >= inside).astype(np.int64))


def terciles(rng: np.random.Generator, count: int = RECORDINGS) -> NDArray[np.int64]:
    """Three values, as often as may be."""
    return rng.permutation(np.arange(count) % 3)


def halves(rng: np.random.Generator, effect: float, others: int) -> tuple[Floats, NDArray[np.int64], Attributes]:
    """Two halves, and further attributes that tell nothing."""
    first = split(rng, 25)
    scores = rng.normal(size=RECORDINGS) - effect * (first == 0)
    return singles(scores, [first, *(terciles(rng) for _ in range(others))])


def skewed(rng: np.random.Generator) -> tuple[Floats, NDArray[np.int64], Attributes]:
    """A tail of bad scores, and a slice of ten recordings."""
    return singles(-rng.exponential(size=RECORDINGS), [split(rng, 10)])


def spread(rng: np.random.Generator) -> tuple[Floats, NDArray[np.int64], Attributes]:
    """Scores in a slice of twelve recordings vary three times as much, with the same mean."""
    first = split(rng, 12)
    return singles(rng.normal(size=RECORDINGS) * np.where(first == 0, 3, 1), [first])


def grouped(
    rng: np.random.Generator, *, sizes: NDArray[np.int64], effect: float = 0.0, within: bool = False
) -> tuple[Floats, NDArray[np.int64], Attributes]:
    """Recordings with several items, which have the standard deviation 0.5 within their recording."""
    groups = np.repeat(np.arange(RECORDINGS), sizes)
    first = split(rng, len(groups) // 2, len(groups)) if within else split(rng, 25)[groups]
    scores = rng.normal(size=RECORDINGS)[groups] + 0.5 * rng.normal(size=len(groups)) - effect * (first == 0)
    return scores, groups, [first, terciles(rng)[groups]]


FOUR, ONE_TO_FIVE = np.full(RECORDINGS, 4), np.arange(RECORDINGS) % 5 + 1
CASES = [
    Case("1 SD in 25 of 50, one attribute", lambda rng: halves(rng, 1, 0), planted=True),
    Case("1 SD in 25 of 50, one of 4 attributes (11 slices)", lambda rng: halves(rng, 1, 3), planted=True),
    Case("1.5 SD in 25 of 50, one of 4 attributes (11 slices)", lambda rng: halves(rng, 1.5, 3), planted=True),
    Case("1 SD, 4 items a recording, 2 attributes", lambda rng: grouped(rng, sizes=FOUR, effect=1), planted=True),
    Case("nothing, one attribute", lambda rng: halves(rng, 0, 0)),
    Case("nothing, 4 attributes (11 slices)", lambda rng: halves(rng, 0, 3)),
    Case("nothing, a tail of bad scores, 10 of 50", skewed),
    Case("nothing, 12 of 50 vary three times as much", spread),
    Case("nothing, 4 items a recording", lambda rng: grouped(rng, sizes=FOUR)),
    Case("nothing, 1 to 5 items a recording", lambda rng: grouped(rng, sizes=ONE_TO_FIVE)),
    Case("nothing, 4 items, an attribute within recordings", lambda rng: grouped(rng, sizes=FOUR, within=True)),
]


def adjusted(scores: Floats, groups: NDArray[np.int64], attributes: Attributes, seed: int) -> list[bool]:
    """Which slices are surely worse, those of the first attribute first."""
    masks = [[attribute == value for value in np.unique(attribute)] for attribute in attributes]
    options = {"permutations": max(500, 25 * sum(map(len, masks))), "resamples": 1, "seed": seed}
    p = [
        one.p
        for own in masks
        for one in compare_slices(scores.tolist(), groups.tolist(), own, higher_is_better=True, **options)
    ]
    return [one is not None and one < ALPHA for one in holm(p)]


def by_items(scores: Floats, attributes: Attributes) -> bool:
    """Whether Welch's test over items, as if each were a recording of its own, finds anything."""
    p = [
        float(stats.ttest_ind(scores[mask], scores[~mask], equal_var=False, alternative="less").pvalue)
        for attribute in attributes
        for mask in (attribute == value for value in np.unique(attribute))
    ]
    return any(one is not None and one < ALPHA for one in holm(p))


def percent(count: int) -> str:
    """A rate with its standard error."""
    rate = count / TABLES
    return f"{100 * rate:.1f} ± {100 * math.sqrt(rate * (1 - rate) / TABLES):.1f} %"


def line(case: Case) -> str:
    """One line of the table."""
    found = false = naive = 0
    for seed in range(TABLES):
        scores, groups, attributes = case.make(np.random.default_rng(seed))
        sure = adjusted(scores, groups, attributes, seed)
        found += case.planted and sure[0]
        false += any(sure[1:] if case.planted else sure)
        naive += not case.planted and by_items(scores, attributes)
    shown = [percent(found) if case.planted else "", percent(false), "" if case.planted else percent(naive)]
    return f"| {case.what} | {' | '.join(shown)} |"


def main() -> None:
    """Prints and writes the table."""
    begun = time.perf_counter()
    lines = [
        "# Slices: what is found, and what is not there",
        "",
        f"Rates in {TABLES} simulated tables of {RECORDINGS} recordings each, ± one standard error, at α = {ALPHA:g}",
        "by Holm over all slices; written by `python benchmarks/slices.py`. *Found*: the planted slice. *False*: any",
        "slice that is no worse. *Over items*: any slice by Welch's test, as if each item were a recording of its own.",
        "",
        "| tables | found | false | false, over items |",
        "| --- | --: | --: | --: |",
    ]
    print("\n".join(lines))
    for case in CASES:
        lines.append(line(case))
        print(lines[-1], flush=True)
    print(f"{time.perf_counter() - begun:.0f} s")
    Path(__file__).with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
