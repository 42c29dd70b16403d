"""What the harness costs an item, with the ``mixture`` separator: everything except the separator and the metrics.

Run: python benchmarks/overhead.py. The whole run of ``evaluate`` is timed, and in the same process the same items are
separated and scored in a bare loop; the difference is loading, checking, copying, FLAC encoding, hashing, journals and
sealing. What the separator's own copy of the mixture costs is shown for itself, and it is part of that difference.
Prints both and writes benchmarks/overhead.md; the goal is 5 ms an item of 8 s at 48 kHz.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as the command line does, before torch is loaded

import sam_audio_bench as sab
from sam_audio_bench.registry import load_metrics
from sam_audio_bench.run.defensive_copies import copy_query
from sam_audio_bench.tasks import GROUPS

ROUNDS = 15
METRICS = ("si_sdr", "si_sdr_i", "snr_i", "leak_db")  # a judge's 70 ms would drown what is measured


def bare(tasks: tuple[str, ...]) -> tuple[float, int]:
    """Seconds of separating and scoring alone, and the number of items."""
    separator, metrics = sab.load_separator("mixture"), load_metrics(METRICS)
    spent, count = 0.0, 0
    for name in tasks:
        for item in sab.load_task(name, split="mini"):
            begun = time.perf_counter()
            answers = separator.separate([item.query], [0])  # type: ignore[union-attr]
            for metric in metrics:
                metric.score([item], answers)
            spent += time.perf_counter() - begun
            count += 1
    return spent, count


def copies(tasks: tuple[str, ...]) -> tuple[float, int]:
    """Seconds that the separator's own copies of the mixtures take, and the number of items."""
    queries = [item.query for name in tasks for item in sab.load_task(name, split="mini")]
    begun = time.perf_counter()
    for query in queries:
        copy_query(query)
    return time.perf_counter() - begun, len(queries)


def whole(tasks: tuple[str, ...]) -> float:
    """Seconds of a whole evaluation into an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        sab.evaluate("mixture", tasks, split="mini", metrics=METRICS, output=folder, progress=False)
        return time.perf_counter() - begun


def main() -> None:
    """Alternates both, so that a busy moment hits both alike."""
    tasks = GROUPS["text"]
    whole(tasks)  # imports, stem cache
    found = [(whole(tasks), *bare(tasks)) for _ in range(ROUNDS)]
    totals, alone = ([1000 * row[column] / row[2] for row in found] for column in (0, 1))
    extra = [one - other for one, other in zip(totals, alone, strict=True)]
    lines = [
        "# Harness overhead",
        "",
        f"`mixture` on {found[0][2]} items of the mini split's text tasks, {', '.join(METRICS)};",
    ]
    copied = [1000 * spent / count for spent, count in (copies(tasks) for _ in range(ROUNDS))]
    lines += [
        f"medians of {ROUNDS} rounds, written by `benchmarks/overhead.py`.",
        "",
        "| part | ms an item |",
        "| --- | --: |",
    ]
    for name, values in (
        ("whole run", totals),
        ("separator and metrics", alone),
        ("harness", extra),
        ("of it, own copies of mixtures", copied),
    ):
        lines.append(f"| {name} | {statistics.median(values):.2f} |")
    Path(__file__).with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines[5:]))


if __name__ == "__main__":
    main()
