"""Two-way bootstrap of correlations with raters against a plain loop over the same resamples, in one process.

Run: python benchmarks/stats.py (under a minute). Prints a table and writes benchmarks/stats.md. The loop repeats the
drawn items and systems and calls NumPy or SciPy, for a few of the resamples; its time is scaled to all of them. The
difference is the largest between any of its coefficients and ours.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy
import scipy.stats
from numpy.typing import NDArray

from sam_audio_bench.stats.bootstrap import multinomial_weights
from sam_audio_bench.stats.correlation import LEVELS, correlate
from sam_audio_bench.stats.correlation_tests import compare
from sam_audio_bench.stats.design import Design, draw

Floats = NDArray[np.float64]
Tables = dict[str, Floats]
LOOP = {
    "pearson": lambda x, y: np.corrcoef(x, y)[0, 1],
    "spearman": lambda x, y: scipy.stats.spearmanr(x, y).statistic,
    "kendall": lambda x, y: scipy.stats.kendalltau(x, y).statistic,
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One comparison; ``looped`` resamples of ``resamples`` are timed in the loop."""

    what: str
    goal: str
    human: Floats
    metrics: Tables
    levels: tuple[str, ...]
    coefficients: tuple[str, ...]
    resamples: int
    looped: int
    ours: Callable[[int], object]
    rounds: int


def study(items: int, systems: int, metrics: int) -> tuple[Floats, Tables]:
    """Raters and metrics that share effects of items and systems, in the order that resampling uses."""
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(items, 1)) + rng.normal(size=(1, systems)) + rng.normal(size=(items, systems))
    human = shared + rng.normal(size=shared.shape)
    tables = {f"m{k:02d}": shared + rng.normal(size=shared.shape) for k in range(metrics)}
    design = Design(human, tables, interval="two_way", groups=None, resamples=1, seed=0)
    return design.human, design.metrics


def rows() -> list[Row]:
    """The difference of two metrics, and a whole study."""
    human, metrics = study(100, 6, 2)
    found = []
    for name in LOOP:

        def difference(seed: int, name: str = name) -> object:
            return compare(human, metrics, coefficient=name, resamples=2000, seed=seed)

        found.append(
            Row(
                what=f"difference of two metrics, {name}, 100 x 6, 2,000 resamples",
                goal="<= 0.03" if name == "pearson" else "",
                human=human,
                metrics=metrics,
                levels=("utterance",),
                coefficients=(name,),
                resamples=2000,
                looped=200,
                ours=difference,
                rounds=9,
            )
        )
    many_human, many = study(50, 5, 24)
    whole = Row(
        what="24 metrics, 250 stimuli, 3 levels, 3 coefficients, 10,000 resamples",
        goal="<= 20",
        human=many_human,
        metrics=many,
        levels=LEVELS,
        coefficients=tuple(LOOP),
        resamples=10_000,
        looped=5,
        ours=lambda seed: correlate(many_human, many, seed=seed),
        rounds=1,
    )
    return [*found, whole]


def loop(row: Row, seed: int) -> dict[tuple[str, str, str], list[float]]:
    """By level, coefficient and metric: one value a resample."""
    items, systems = row.human.shape
    by_item = multinomial_weights(items, row.resamples, (seed,))[: row.looped].astype(int)
    by_system = multinomial_weights(systems, row.resamples, (seed, 1))[: row.looped].astype(int)
    found: dict[tuple[str, str, str], list[float]] = {}
    for one, other in zip(by_item, by_system, strict=True):
        cells = np.ix_(np.repeat(np.arange(items), one), np.repeat(np.arange(systems), other))
        human = row.human[cells]
        for name, table in row.metrics.items():
            for coefficient in row.coefficients:
                for level in row.levels:
                    value = at_level(LOOP[coefficient], level, human, table[cells])
                    found.setdefault((level, coefficient, name), []).append(value)
    return found


def at_level(coefficient: Callable[[Floats, Floats], float], level: str, human: Floats, metric: Floats) -> float:
    """One coefficient of one resample."""
    if level == "utterance":
        return float(coefficient(human.ravel(), metric.ravel()))
    if level == "system":
        return float(coefficient(human.mean(axis=0), metric.mean(axis=0)))
    return float(np.mean([coefficient(*pair) for pair in zip(human, metric, strict=True)]))


def deviation(row: Row, seed: int, theirs: dict[tuple[str, str, str], list[float]]) -> float:
    """Largest difference between the loop's coefficients and ours in the same resamples."""
    design = Design(row.human, row.metrics, interval="two_way", groups=None, resamples=row.resamples, seed=seed)
    largest = 0.0
    for level in row.levels:
        ours = draw(design.at(level), design, level, row.coefficients)
        for (where, coefficient, name), values in theirs.items():
            if where == level:
                gap = np.abs(ours[name][coefficient][: row.looped] - values)
                largest = max(largest, float(gap.max()))
    return largest


def compare_row(row: Row) -> str:
    """One line of the table: medians in seconds; every round has a seed of its own, so that no draw is cached."""
    row.ours(0)
    times, loops = [], []
    for seed in range(1, row.rounds + 1):
        begun = time.perf_counter()
        row.ours(seed)
        between = time.perf_counter()
        theirs = loop(row, seed)
        times.append(between - begun)
        loops.append((time.perf_counter() - between) * row.resamples / row.looped)
    ours, plain = statistics.median(times), statistics.median(loops)
    gap = deviation(row, row.rounds, theirs)
    return f"| {row.what} | {ours:.3f} | {plain:.2f} | {plain / ours:.3g} | {row.goal} | {gap:.1e} |"


def main() -> None:
    """Prints and writes the table."""
    page = [
        "# Statistics",
        "",
        f"Medians in s, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, OMP_NUM_THREADS "
        f"{os.environ.get('OMP_NUM_THREADS', 'unset')}, NumPy {np.__version__},",
        f"SciPy {scipy.__version__}, written by `benchmarks/stats.py`. The loop repeats what was drawn and calls",
        "NumPy or SciPy; it is timed on some of the resamples and scaled to all; the difference is the largest between",
        "its coefficients and ours.",
        "",
        "| what | ours | plain loop | ratio | goal | difference |",
        "| --- | --: | --: | --: | --: | --: |",
        *map(compare_row, rows()),
    ]
    Path(__file__).with_suffix(".md").write_text("\n".join(page) + "\n", encoding="utf-8")
    print("\n".join(page))


if __name__ == "__main__":
    main()
