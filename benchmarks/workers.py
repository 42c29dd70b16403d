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
from sam_audio_bench.run.travel import dump, load
from sam_audio_bench.run.worker import Score
from sam_audio_bench.run.worker_process import ProcessLink
from sam_audio_bench.types import Prompt

ROUNDS = 3
METRICS = ("si_sdr", "si_sdr_i", "snr_i", "leak_db")
SIDES: dict[str, dict[str, Any]] = {
    "one process": {},
    "1 worker": {"executor": "processes", "workers": 1},
    "2 workers": {"executor": "processes", "workers": 2},
}
TASKS = ("sfx", "speech", "music")


def busy(mixture: torch.Tensor, rate: int, prompt: Prompt) -> torch.Tensor:
    """Half the mixture, after a quarter of a second of the processor's time."""
    end = time.process_time() + 0.25
    while time.process_time() < end:
        torch.fft.rfft(mixture)
    return mixture * 0.5


def measured(model: Any, tasks: tuple[str, ...], options: dict[str, Any]) -> tuple[float, float]:
    """Wall time and this process's CPU time of an item, in ms; the baseline beside a function counts as part of it."""
    with tempfile.TemporaryDirectory() as folder:
        begun, own = time.perf_counter(), time.process_time()
        found = sab.evaluate(model, tasks, split="mini", metrics=METRICS, output=folder, progress=False, **options)
        spent = time.perf_counter() - begun, time.process_time() - own
    items = found.asked if model == "mixture" else found.asked / 2
    return 1000 * spent[0] / items, 1000 * spent[1] / items


def start() -> float:
    """Seconds until a new worker answers."""
    begun = time.perf_counter()
    link = ProcessLink()
    load(link.ask(dump(Score(is_end=True))))
    spent = time.perf_counter() - begun
    link.end()
    return spent


def main() -> None:
    """Measures all sides in turn."""
    measured("mixture", TASKS, {})  # imports, stem cache
    cheap: dict[str, list[tuple[float, float]]] = {name: [] for name in SIDES}
    dear: dict[str, list[tuple[float, float]]] = {name: [] for name in SIDES}
    for _ in range(ROUNDS):
        for name, options in SIDES.items():
            cheap[name].append(measured("mixture", TASKS, options))
            dear[name].append(measured(busy, TASKS, options))
    lines = [
        "# Workers",
        "",
        f"{', '.join(TASKS)} of the mini split, {', '.join(METRICS)};",
        f"medians of {ROUNDS} rounds on {os.cpu_count()} cores, start of the workers included;",
        f"a worker starts in {statistics.median(start() for _ in range(ROUNDS)):.1f} s. "
        "Written by `benchmarks/workers.py`.",
        "",
        "| | `mixture`: ms an item | of it CPU of the driver | a function of 250 ms: ms an item |",
        "| --- | --: | --: | --: |",
    ]
    for name in SIDES:
        wall, own = (statistics.median(row[column] for row in cheap[name]) for column in (0, 1))
        lines.append(f"| {name} | {wall:.1f} | {own:.1f} | {statistics.median(row[0] for row in dear[name]):.0f} |")
    Path(__file__).with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
