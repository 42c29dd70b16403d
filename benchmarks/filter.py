"""Does `sabench filter` keep up with data engines? Seconds of sound a second, without separator and metrics.

Run: python benchmarks/filter.py. hpss separates the sound effects and the music of mini, once. Its estimates, played 0
to 45 % faster so that none is the other's duplicate, are a table of labels; the run itself is filtered too. What is
timed is the command as a user calls it, start of Python included: reading, spans, fingerprints, duplicates, the folder
of what is kept, the page. Beside it, in the same process tree, the same targets decoded by soundfile and nothing else.
Prints the table and writes benchmarks/filter.md.
"""

from __future__ import annotations

import csv
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
VARIANTS = 10
STEP = 0.05  # of the speed
TASKS = "sfx,music"
CONDITION = "score > 0.1 and silence < 0.95"
COMMAND = "from sam_audio_bench.cli import main; main()"
DECODE = "import sys, soundfile\nfor path in sys.stdin.read().split('\\n'): soundfile.read(path, dtype='float32')"


def timed(arguments: Sequence[str], text: str = "") -> tuple[float, float]:
    """Wall and CPU seconds of a Python process."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", *arguments], input=text, text=True, env=environment, capture_output=True
    )
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(done.stderr)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def sabench(*words: object) -> tuple[float, float]:
    """The same of a command."""
    return timed([COMMAND, *map(str, words)])


def write_labels(run: Path, folder: Path) -> list[tuple[Path, float]]:
    """Estimates of a run at several speeds as a table with a score; targets with their seconds."""
    import soxr
    import torch

    from sam_audio_bench import audio
    from sam_audio_bench.filtering.pool import read_pool
    from sam_audio_bench.types import Audio

    targets = []
    rows = [("id", "mixture", "text", "target", "residual", "score")]
    for number, label in enumerate(read_pool([run]).labels):
        assert label.load is not None
        assert label.residual is not None
        parts = {"mixture": label.load().query.mixture, "target": audio.read(label.target),
                 "residual": audio.read(label.residual)}  # fmt: skip
        for variant in range(VARIANTS):
            name = f"{label.id}-{variant}"
            paths = {}
            for part, sound in parts.items():
                moved = soxr.resample(sound.samples.T.numpy(), sound.rate * (1 + STEP * variant), sound.rate)
                paths[part] = audio.write(
                    folder / f"{name}.{part}", Audio(torch.from_numpy(moved.T.copy()), sound.rate)
                )
                if part == "target":
                    targets.append((paths[part], len(moved) / sound.rate))
            score = (number * VARIANTS + variant) % 20 / 20
            mixture, target, residual = (paths[part].name for part in parts)
            rows.append((name, mixture, label.text or "nothing", target, residual, str(score)))
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows(rows)
    return targets


def measured(folder: Path) -> list[tuple[str, int, int, float, float, float]]:
    """Rows of the table: what, labels, kept, seconds of sound, wall and CPU seconds."""
    sabench("eval", "--model", "hpss", "--task", TASKS, "--split", "mini", "--metrics", "reconstruction_db", "--output",
            folder / "runs")  # fmt: skip
    (folder / "labels").mkdir()
    targets = write_labels(folder / "runs" / "hpss", folder / "labels")
    seconds = sum(length for _, length in targets)
    table = folder / "labels" / "labels.csv"
    found = []
    for what, words in (
        ("table: filter", (table, "--out", folder / "kept")),
        ("table: filter, copying", (table, "--out", folder / "copied", "--copy")),
        ("table: filter again, nothing changed", (table, "--out", folder / "kept")),
    ):
        wall, cpu = sabench("filter", *words, "--keep", CONDITION, "--best", "score")
        found.append((what, len(targets), kept(words[2]), seconds, wall, cpu))
    wall, cpu = timed([DECODE], "\n".join(str(path) for path, _ in targets))
    found.append(("table: targets decoded, no more", len(targets), len(targets), seconds, wall, cpu))
    wall, cpu = sabench("filter", folder / "runs" / "hpss", "--out", folder / "of-run", "--keep", "silence < 0.95")
    own = len(targets) // VARIANTS
    found.append(("run of mini: filter", own, kept(folder / "of-run"), 8.0 * own, wall, cpu))
    return found


def kept(out: object) -> int:
    """Labels in a folder of what is kept."""
    with Path(str(out), "manifest.csv").open(newline="", encoding="utf-8") as stream:
        return sum(1 for _ in csv.DictReader(stream))


def main() -> None:
    """Measures, prints the table and writes it."""
    sys.path.insert(0, str(ROOT))
    with tempfile.TemporaryDirectory() as place:
        os.environ["SABENCH_CACHE"] = str(Path(place) / "cache")
        rows = measured(Path(place))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    decoded = next(cpu for what, *_, cpu in rows if "decoded" in what)
    lines = [
        "# Filtering pseudo-labels",
        "",
        f"Estimates of hpss on mini at {VARIANTS} speeds; written by `benchmarks/filter.py` on {cores} "
        f"cores with a load average of {os.getloadavg()[0]:.1f} at the end. Python's start is in every row. Where "
        "others had the cores too, as a load above their number says, CPU time tells more than wall time.",
        "",
        "| what | labels | kept | sound s | wall s | x real time | CPU s | x real time by CPU | CPU to decoding |",
        "| --- | --: | --: | --: | --: | --: | --: | --: | --: |",
        *(
            f"| {what} | {labels} | {left} | {seconds:.0f} | {wall:.1f} | {seconds / wall:.0f} | {cpu:.1f} | "
            f"{seconds / cpu:.0f} | {cpu / decoded:.1f} |"
            for what, labels, left, seconds, wall, cpu in rows
        ),
    ]
    print("\n".join(lines))
    (ROOT / "benchmarks" / "filter.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
