"""The SDR family against the libraries that others use: time, agreement and peak memory, both sides in one process.

Run: python benchmarks/metrics.py, with the extra `[oracles]` (about two minutes). Prints a table and writes
benchmarks/metrics.md. On a busy machine set OMP_NUM_THREADS=1, since threads that wait for each other measure the
neighbours. ``python benchmarks/metrics.py memory`` scores one song of five minutes and prints the peak.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from edge_cases import museval_metrics
from torch import Tensor

from sam_audio_bench.metrics.functional import bss_images, bss_sources, framewise_sdr, si_sdr

GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class Row:
    """One comparison; ``ours`` and ``peers`` return scores that should agree."""

    what: str
    goal: str
    ours: Callable[[], Tensor]
    peers: dict[str, Callable[[], Any]]
    rounds: int = 15


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """White noise."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def separated(*shape: int) -> tuple[Tensor, Tensor]:
    """Sources, and estimates with interference and noise."""
    sources = noise(*shape)
    return sources, sources + 0.3 * sources.roll(1, dims=0) + 0.1 * noise(*shape, seed=1)


def v4_rows() -> list[Row]:
    """BSS-eval v4 on four stereo sources at 44.1 kHz."""
    museval, rate = museval_metrics(), 44100
    rows = []
    for seconds, goal in ((10, ">= 1000"), (30, ">= 10")):
        reference, estimate = separated(4, 2, seconds * rate)
        turned = reference.transpose(1, 2).numpy(), estimate.transpose(1, 2).numpy()

        def theirs(turned: Any = turned, part: slice = slice(0, 1 if seconds == 10 else 4)) -> Any:
            return museval.bss_eval(*turned, window=rate, hop=rate)[part]

        def quick(reference: Tensor = reference, estimate: Tensor = estimate) -> Tensor:
            return framewise_sdr(reference=reference, estimate=estimate, rate=rate)[None]

        def full(reference: Tensor = reference, estimate: Tensor = estimate) -> Tensor:
            return torch.stack(bss_images(reference=reference, estimate=estimate, rate=rate)[:4])

        kind, ours = ("framewise SDR", quick) if seconds == 10 else ("v4 SDR, ISR, SIR, SAR", full)
        what = f"{kind}, 4 stereo sources, {seconds} s"
        rows.append(Row(what=what, goal=goal, ours=ours, peers={"museval": theirs}, rounds=1))
    return rows


def v3_rows() -> list[Row]:
    """BSS-eval v3 on two sources of 10 s, float64."""
    import fast_bss_eval
    from mir_eval.separation import bss_eval_sources
    from torchmetrics.functional.audio import signal_distortion_ratio

    rows = []
    for rate in (16000, 48000):
        reference, estimate = separated(2, 10 * rate)

        def ours(reference: Tensor = reference, estimate: Tensor = estimate) -> Tensor:
            return torch.stack(bss_sources(reference=reference, estimate=estimate)[:3])

        def alone(reference: Tensor = reference, estimate: Tensor = estimate) -> Tensor:
            pairs = zip(reference.split(1), estimate.split(1), strict=True)  # type: ignore[no-untyped-call]
            return torch.cat([bss_sources(reference=one, estimate=other).sdr for one, other in pairs])

        def mir_eval(reference: Tensor = reference, estimate: Tensor = estimate) -> Any:
            return bss_eval_sources(reference.numpy(), estimate.numpy(), compute_permutation=False)[:3]

        def fast(reference: Tensor = reference, estimate: Tensor = estimate) -> Any:
            return torch.stack(fast_bss_eval.bss_eval_sources(reference, estimate, compute_permutation=False))

        def torchmetrics(reference: Tensor = reference, estimate: Tensor = estimate) -> Tensor:
            return signal_distortion_ratio(estimate, reference)

        where = f"2 x 10 s, {rate // 1000} kHz"
        peers: dict[str, Callable[[], Any]] = {"mir_eval": mir_eval, "fast_bss_eval": fast}
        rows.append(Row(what=f"v3 SDR, SIR, SAR, {where}", goal=">= 1", ours=ours, peers=peers, rounds=7))
        rows.append(Row(what=f"v3 SDR, {where}", goal=">= 1", ours=alone, peers={"torchmetrics": torchmetrics}))
    return rows


def ratio_rows() -> list[Row]:
    """`si_sdr` on float32: ours accumulates in float64, torchmetrics in float32."""
    from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio

    rows = []
    for count, seconds in ((2, 10), (4, 30)):
        reference, estimate = (signals.float() for signals in separated(count, seconds * 48000))

        def ours(reference: Tensor = reference, estimate: Tensor = estimate) -> Tensor:
            return si_sdr(reference=reference, estimate=estimate)

        def theirs(reference: Tensor = reference, estimate: Tensor = estimate) -> Tensor:
            return scale_invariant_signal_distortion_ratio(estimate, reference)

        what = f"si_sdr, float32, {count} x {seconds} s, 48 kHz"
        rows.append(Row(what=what, goal=">= 0.5", ours=ours, peers={"torchmetrics": theirs}))
    return rows


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of one call, and what it returned."""
    begun = time.perf_counter()
    found = function()
    return time.perf_counter() - begun, found


def compare(row: Row) -> str:
    """One line of the table: medians of alternating rounds, the ratio to the fastest peer, the largest difference."""
    sides = {"ours": row.ours, **row.peers}
    times: dict[str, list[float]] = {name: [] for name in sides}
    found: dict[str, Tensor] = {}
    row.ours()  # first calls plan FFTs and allocate
    for _ in range(row.rounds):
        for name, function in sides.items():
            repeats = 5 if name == "ours" and row.rounds == 1 else 1
            for _ in range(repeats):
                seconds, scores = timed(function)
                times[name].append(seconds)
            found[name] = torch.as_tensor(scores, dtype=torch.float64)
    medians = {name: statistics.median(times[name]) for name in sides}
    difference = max(float((found[name] - found["ours"]).abs().max()) for name in row.peers)
    fastest = min(row.peers, key=lambda name: medians[name])
    theirs = ", ".join(f"{name} {1000 * medians[name]:.1f}" for name in row.peers)
    ratio = medians[fastest] / medians["ours"]
    return f"| {row.what} | {1000 * medians['ours']:.1f} | {theirs} | {ratio:.3g} | {row.goal} | {difference:.1e} |"


def memory() -> None:
    """Prints the peak of this process in GiB after v4 on a song of five minutes, its signals included."""
    shape = (4, 2, 300 * 44100)
    reference, estimate = torch.empty(shape), torch.empty(shape)
    for source in range(4):
        reference[source] = noise(*shape[1:], seed=source, dtype=torch.float32)
        estimate[source] = noise(*shape[1:], seed=source + 4, dtype=torch.float32).mul_(0.3).add_(reference[source])
    bss_images(reference=reference, estimate=estimate, rate=44100)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB)


def main() -> None:
    """Prints and writes the table."""
    warnings.simplefilter("ignore")  # mir_eval announces the end of its separation module
    lines = [compare(row) for row in [*ratio_rows(), *v3_rows(), *v4_rows()]]
    peak = subprocess.run([sys.executable, __file__, "memory"], check=True, capture_output=True, text=True).stdout
    page = [
        "# Metrics",
        "",
        f"Medians in ms, {torch.get_num_threads()} thread(s) of {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f},",
        f"torch {torch.__version__}, written by `benchmarks/metrics.py`. The ratio is the fastest peer's time",
        "over ours; the difference is the largest between any peer's scores and ours, in dB. torchmetrics computes the",
        "SDR of v3 only, so it is met there.",
        "",
        "| scores | ours | peers | ratio | goal | difference |",
        "| --- | --: | --- | --: | --: | --: |",
        *lines,
        "",
        f"Peak memory of v4 on five minutes of stereo, 4 sources, float32, the signals' 0.79 GiB included: "
        f"{float(peak):.2f} GiB (goal: 2).",
    ]
    Path(__file__).with_suffix(".md").write_text("\n".join(page) + "\n", encoding="utf-8")
    print("\n".join(page))


if __name__ == "__main__":
    memory() if sys.argv[1:] == ["memory"] else main()
