"""Judges: how long the shipped one takes on one core, and what candidates of one mixture save; writes judge.md.

Both sides of a ratio run in this process. The released judge has random weights at its real size: 6 GB.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as the command line does, before torch is loaded

import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from sam_audio_bench.judge import SAJ, load
from sam_audio_bench.judge.config import RELEASED, JudgeConfig
from sam_audio_bench.judge.processor import JudgeProcessor
from sam_audio_bench.types import Audio

SECONDS, CANDIDATES, ROUNDS = 10, 8, 3


def noise(rate: int, seconds: float, seed: int) -> Audio:
    """Mono noise."""
    return Audio(0.1 * torch.randn(1, round(rate * seconds), generator=torch.Generator().manual_seed(seed)), rate)


def least(call: Callable[[], object], rounds: int) -> float:
    """Seconds of the fastest of some calls."""
    found = []
    for _ in range(rounds):
        begun = time.perf_counter()
        call()
        found.append(time.perf_counter() - begun)
    return min(found)


def released() -> SAJ:
    """The released judge's layers, without its weights and its tokenizer."""
    judge = SAJ(JudgeConfig.of_options(RELEASED)).eval().requires_grad_(False)
    judge.audio_codec.fold_weight_norm()

    def read(texts: object) -> tuple[Tensor, Tensor]:
        ids = torch.arange(8)[None] + 100
        return ids, torch.ones_like(ids)

    judge.processor = JudgeProcessor(judge.processor.hop, judge.processor.rate, reader=read)
    return judge


def candidates(name: str, judge: SAJ, seconds: float, rounds: int) -> str:
    """A row: eight candidates together, and in eight calls."""
    rate = judge.processor.rate
    mixture, answers = noise(rate, seconds, 0), [noise(rate, seconds, seed + 1) for seed in range(CANDIDATES)]
    together = least(lambda: judge.score(mixture, answers, "dog barking"), rounds)
    apart = least(lambda: [judge.score(mixture, [answer], "dog barking") for answer in answers], rounds)
    ratio = together / apart
    return f"| {name}, {seconds:g} s, K = {CANDIDATES} | {together:.2f} s | {apart:.2f} s | {ratio:.2f} | 0.60 |"


def main() -> None:
    """Measures, prints and writes the tables."""
    torch.set_num_threads(1)
    judge = load()
    mixture, answer = noise(44_100, SECONDS, 0), noise(44_100, SECONDS, 1)
    alone = least(lambda: judge.score(mixture, [answer], "dog barking"), ROUNDS)
    threads = os.cpu_count() or 1
    rows = [candidates("saj-mini, 1 thread", judge, SECONDS, ROUNDS)]
    torch.set_num_threads(threads)
    rows.append(candidates(f"released judge, random weights, {threads} threads", released(), 2.0, 2))
    lines = [
        "# Judges",
        "",
        f"float32, torch {torch.__version__}, {threads} cores, load {os.getloadavg()[0]:.1f} in the end; "
        "by `benchmarks/judge.py`.",
        "",
        f"saj-mini rates {SECONDS} s at 44.1 kHz on one core in {alone:.2f} s, resampling included (demanded: 0.5).",
        "",
        "| candidates of one mixture | together | in as many calls | ratio | demanded |",
        "| --- | --: | --: | --: | --: |",
        *rows,
        "",
        "saj-mini also hears each answer's residual, which no other call can share.",
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
