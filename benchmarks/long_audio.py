"""What does a long recording cost? Memory and time of `eval` and `score` by the default metrics, in minutes of sound.

Run: python benchmarks/long_audio.py [MINUTES ...]. For each length one item is made in a temporary folder: stereo at
44.1 kHz, 16 bit, two sounds that come and go. `eval` answers with the mixture and scores that; `score` scores the
stored answer again. Each is a process of its own, whose peak and time are the operating system's. The first length is
a second: what a process needs in any case. Prints the table and writes benchmarks/long_audio.md.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

ROOT = Path(__file__).parents[1]
MINUTES = (1.0, 5.0, 20.0, 120.0)
RATE, CHANNELS = 44_100, 2
SECONDS_A_BLOCK = 10


def make(folder: Path, seconds: float) -> None:
    """Mixture, target and a table of one item, block by block."""
    folder.mkdir(parents=True, exist_ok=True)
    names = ("mixture.wav", "target.wav")
    files = [soundfile.SoundFile(folder / name, "w", RATE, CHANNELS, "PCM_16") for name in names]
    generator = np.random.default_rng(0)
    for number in range(math.ceil(seconds / SECONDS_A_BLOCK)):
        count = round(min(SECONDS_A_BLOCK, seconds - number * SECONDS_A_BLOCK) * RATE)
        at = (number * SECONDS_A_BLOCK + np.arange(count) / RATE)[:, None]
        tone = sum(np.sin(2 * np.pi * 220 * (1 + number % 5) * k * at) / k for k in range(1, 9))
        target = 0.1 * tone * (np.sin(2 * np.pi * at / 3) > 0) * [1.0, 0.7]
        rest = 0.1 * generator.standard_normal((count, CHANNELS)) * (1 + np.sin(2 * np.pi * at / 7)) / 2
        for file, sound in zip(files, (target + rest, target), strict=True):
            file.write(sound)
    for file in files:
        file.close()
    (folder / "items.csv").write_text("mixture,text,target\nmixture.wav,organ,target.wav\n", encoding="utf-8")


def run(folder: Path, *words: str) -> tuple[float, float, float]:
    """Peak MiB, seconds, and seconds of the processor of a command of sabench."""
    environment = {**os.environ, "SABENCH_CACHE": str(folder / "cache"), "HF_HUB_OFFLINE": "1"}
    code = "import sys; from sam_audio_bench.cli import main; sys.exit(main())"
    begun = time.perf_counter()
    child = subprocess.Popen([sys.executable, "-c", code, *words], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    if status:
        sys.exit(f"{' '.join(words)} ended with {status}")
    return used.ru_maxrss / 1024, time.perf_counter() - begun, used.ru_utime + used.ru_stime


def measure(minutes: float, metrics: str) -> list[tuple[float, float, float]]:
    """`eval` and `score` of one length."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as name:
        folder = Path(name)
        make(folder, minutes * 60)
        chosen = ["--metrics", metrics] if metrics else []
        runs = str(folder / "runs")
        task = ["--task", str(folder / "items.csv"), "--model", "mixture", "--output", runs]
        return [run(folder, "eval", *task, *chosen), run(folder, "score", runs)]


def main() -> None:
    """Measures each length and writes the page."""
    words = sys.argv[1:]
    metrics = words.pop(0) if words and not words[0][0].isdigit() else ""
    lengths = tuple(map(float, words)) or MINUTES
    base = measure(1 / 60, metrics)
    lines = [
        "# Long recordings",
        "",
        "One item of stereo at 44.1 kHz by the default metrics: `eval`, which answers with the mixture, and `score` of",
        f"that; written by `benchmarks/long_audio.py` on {os.cpu_count()} cores. The base is the peak of an item of",
        f"one second, {base[0][0]:.0f} MiB in `eval` and {base[1][0]:.0f} MiB in `score`: Python, torch and the",
        "shipped judge. The mixture's size is that of float32; seconds are the processor's.",
        "",
        "| minutes | mixture, MiB | eval, peak MiB | mixtures above base | s | score, peak MiB | s | s a minute |",
        "| --: | --: | --: | --: | --: | --: | --: | --: |",
    ]
    print("\n".join(lines), flush=True)
    for minutes in lengths:
        (peak, _, seconds), (scored, _, spent) = measure(minutes, metrics)
        size = minutes * 60 * RATE * CHANNELS * 4 / 2**20
        above = (peak - base[0][0]) / size
        lines.append(
            f"| {minutes:g} | {size:.0f} | {peak:.0f} | {above:.1f} | {seconds:.0f} | {scored:.0f} | {spent:.0f} | "
            f"{spent / minutes:.1f} |"
        )
        print(lines[-1], flush=True)
    if not metrics:
        Path(__file__).with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
