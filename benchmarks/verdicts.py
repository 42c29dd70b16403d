"""Verdicts of a table in slices of thousands of recordings, against a plain loop over the same swaps, in one process.

Run: python benchmarks/verdicts.py (seconds). Prints a table and writes benchmarks/verdicts.md. Scores are noise. The
loop adds up what each way swaps, way by way, for every test of the table; it is timed on some of the ways of one test,
and scaled to all ways of all tests. The difference is between its p and ours of one pair, over all ways.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sam_audio_bench.render.layout import line_label
from sam_audio_bench.stats.findings import compute_slice_findings
from sam_audio_bench.stats.paired import swap_patterns, swap_test
from sam_audio_bench.stats.slices import Slice
from sam_audio_bench.stats.summary import ItemScore, SummaryRow

SEPARATORS, METRICS = ("mixture", "a", "b", "c"), ("si_sdr_i", "snr_i", "leak_db")
SLICES, RECORDINGS, WAYS = 3, 6667, 2000
LOOPED = 100  # of the ways
TESTS = SLICES * (len(METRICS) * 5 + 5)  # p of three pairs with the mixture and two with the leader; intervals of one


Scores = dict[tuple[str, str, str | None, str], dict[str, ItemScore]]


def simulate() -> tuple[Scores, list[SummaryRow], list[Slice]]:
    """Scores of separators that differ a little, one item a recording, and the rows and slices of their table."""
    rng, items = np.random.default_rng(0), [f"i{at:05d}" for at in range(SLICES * RECORDINGS)]
    hard, rows, scores = rng.normal(size=len(items)), [], Scores()
    slices = [Slice(f"x = {at}", tuple(items[at::SLICES])) for at in range(SLICES)]
    for place, separator in enumerate(SEPARATORS):
        for metric in METRICS:
            values = (hard + rng.normal(0.02 * place, 1, len(items))).tolist()
            own = {item: ItemScore(f"g{item}", value, None) for item, value in zip(items, values, strict=True)}
            scores["task", separator, None, metric] = own
            rows += [
                SummaryRow(task="task", separator=separator, metric=metric, value=0.02 * place, ci_low=None,
                           ci_high=None, oracle=False, unit="dB", higher_is_better=True, n_ok=RECORDINGS, n=RECORDINGS,
                           label="task@1", slice=part.label)
                for part in slices
            ]  # fmt: skip
    return scores, rows, slices


def loop(differences: NDArray[np.float64], ways: NDArray[np.bool_]) -> float:
    """How often a pair of which the second is ahead is as far behind, by a loop over ways."""
    swapped = np.array([np.where(way, differences, 0.0).sum() for way in ways])
    return float((np.minimum(swapped, differences.sum() - swapped) <= 0).mean())


def main() -> None:
    """Prints and writes the table."""
    scores, rows, slices = simulate()
    begun = time.process_time()
    compute_slice_findings(scores, rows, {"task": slices}, line_label)
    ours = time.process_time() - begun
    ways = swap_patterns(RECORDINGS, WAYS)
    differences = np.random.default_rng(1).normal(0.01, 1, RECORDINGS)
    begun = time.process_time()
    loop(differences, ways[:LOOPED])
    plain = (time.process_time() - begun) * TESTS * WAYS / LOOPED
    gap = abs(loop(differences, ways) - swap_test(differences, [f"{at:05d}" for at in range(RECORDINGS)]))
    page = [
        "# Verdicts of slices",
        "",
        f"{len(SEPARATORS)} separators by {len(METRICS)} metrics in {SLICES} slices of {RECORDINGS:,} recordings, "
        f"{TESTS} tests and intervals",
        f"of {WAYS:,} swaps: seconds of CPU, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, "
        f"NumPy {np.__version__}, by `benchmarks/verdicts.py`.",
        "",
        "| ours | plain loop over the same swaps | ratio | difference of p |",
        "| --: | --: | --: | --: |",
        f"| {ours:.2f} | {plain:.2f} | {plain / ours:.1f} | {gap:.1g} |",
    ]
    Path(__file__).with_suffix(".md").write_text("\n".join(page) + "\n", encoding="utf-8")
    print("\n".join(page))


if __name__ == "__main__":
    main()
