"""What worker processes cost and bring: one process against one and two workers, on the same items.

Run: python benchmarks/workers.py. The ``mixture`` separator costs nothing, so that what is seen is the harness: the
driver loads, sends, receives, writes and journals, and its own CPU time an item bounds how many workers it can feed. A
function that computes for a quarter of a second stands for a separator that is worth a worker. Sides alternate, so that
a busy moment hits all alike. Prints the table and writes benchmarks/workers.md.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as the command line does, before torch is loaded
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

import sam_audio_bench as sab
from sam_audio_bench.types import Prompt

ROUNDS = 3
METRICS = ("si_sdr", "si_sdr_i", "snr_i", "leak_db")
SIDES: dict[str, dict[str, Any]] = {
    "one process": {},
    "1 worker": {"executor": "processes", "workers": 1},
    "2 workers": {"executor": "processes", "workers": 2},
}
TASKS = ("sfx", "speech", "music")
LIMITS = (4, 16)  # items of each task


def busy(mixture: torch.Tensor, rate: int, prompt: Prompt) -> torch.Tensor:
    """Half the mixture, after a quarter of a second of the processor's time."""
    end = time.process_time() + 0.25
    while time.process_time() < end:
        torch.fft.rfft(mixture)
    return mixture * 0.5


def spent(model: Any, options: dict[str, Any], limit: int) -> tuple[float, float]:
    """Wall time and this process's CPU time of a run, in s."""
    with tempfile.TemporaryDirectory() as folder:
        begun, own = time.perf_counter(), time.process_time()
        sab.evaluate(
            model, TASKS, split="mini", metrics=METRICS, output=folder, progress=False, limit=limit, **options
        )  # fmt: skip
        return time.perf_counter() - begun, time.process_time() - own


def measured(model: Any, options: dict[str, Any]) -> list[float]:
    """Wall and CPU time of one item more, in ms, and what a run costs without any, in s."""
    few, many = (spent(model, options, limit) for limit in LIMITS)
    more = len(TASKS) * (LIMITS[1] - LIMITS[0])
    wall, own = ((large - small) / more for small, large in zip(few, many, strict=True))
    return [1000 * wall, 1000 * own, few[0] - wall * len(TASKS) * LIMITS[0]]


def main() -> None:
    """Measures all sides in turn."""
    spent("mixture", {}, LIMITS[1])  # imports, stem cache
    cheap: dict[str, list[list[float]]] = {name: [] for name in SIDES}
    dear: dict[str, list[list[float]]] = {name: [] for name in SIDES}
    for _ in range(ROUNDS):
        for name, options in SIDES.items():
            cheap[name].append(measured("mixture", options))
            dear[name].append(measured(busy, options))
    lines = [
        "# Workers",
        "",
        f"{', '.join(TASKS)} of the mini split, {', '.join(METRICS)}; an item more costs (the slope between",
        f"{LIMITS[0]} and {LIMITS[1]} items of each task, medians of {ROUNDS} rounds on {os.cpu_count()} cores, one",
        "thread each; written by `benchmarks/workers.py`):",
        "",
        "| | `mixture`, ms | of it CPU of the driver, ms | function of 250 ms and `mixture`, ms | start and end, s |",
        "| --- | --: | --: | --: | --: |",
    ]
    for name in SIDES:
        wall, own, start = (statistics.median(row[column] for row in cheap[name]) for column in range(3))
        function = statistics.median(row[0] for row in dear[name])
        lines.append(f"| {name} | {wall:.1f} | {own:.1f} | {function:.0f} | {max(0.0, start):.1f} |")
    Path(__file__).with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
