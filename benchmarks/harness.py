"""What the harness itself costs: commands on 10,000 and 100,000 finished items, and a run on disk beside one in memory.

Run: python benchmarks/harness.py [folder on the disk that is to be measured]. Finished runs of two separators are
written by the product's own writer in /dev/shm, with answers that are links to a few short files, for a table of
questions whose rows share 200 recordings; digests of these are remembered, as they are at any second run. Then each
command is run as a user runs it, the sizes in turns, and its processor time, wall time and largest memory are taken
from the system. What does not grow with the items (above all importing torch) is measured with 100 items; the exponent
is of what is added to it.

The other part runs the same evaluation of the mini split's text tasks in turns in /dev/shm and on the disk, into new
folders, so that both sides meet the same moments. Prints both tables and writes benchmarks/harness.md.
"""

from __future__ import annotations

import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as the command line does, before torch is loaded

import numpy as np
import soundfile

import sam_audio_bench as sab
from sam_audio_bench.digests import file_digest, flush_digests
from sam_audio_bench.records import PARTS, ItemRecord, PartDigests, PartStats, ScoreRow
from sam_audio_bench.run.header import end_record, start_record
from sam_audio_bench.run.job import Job
from sam_audio_bench.run.plan import make_plan
from sam_audio_bench.run.usage import Usage
from sam_audio_bench.tasks import GROUPS
from sam_audio_bench.types import Status

SIZES = (100, 10_000, 100_000)
ROUNDS, DISK_ROUNDS = 3, 9
RECORDINGS, LINKS = 200, 10_000
START = """
import atexit, re, sys
from pathlib import Path
place = Path(sys.argv.pop(1))  # of the process alone; what the system tells of a child includes its parent's
atexit.register(lambda: place.write_text(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1]))
from sam_audio_bench.cli import main
main()
"""
MODELS = ("mixture", "hpss")
METRICS = "si_sdr,si_sdr_i"
EVAL = ["--task", "data/manifest.csv", "--metrics", METRICS, "--output", "runs"]
COMMANDS = {
    "rerun, one separator": ["eval", "--model", "mixture", *EVAL],
    "rerun, two separators": ["eval", "--model", "hpss", *EVAL],
    "table": ["table", "runs/mixture"],
    "table, two separators": ["table", "runs"],
    "compare": ["compare", "runs/mixture", "runs/hpss"],
}


class Cost(NamedTuple):
    """Of one process."""

    wall: float  # s
    processor: float  # s
    memory: float  # MiB


def write_data(folder: Path, items: int) -> Path:
    """A table of questions, each of a recording of its own as far as statistics are concerned."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for number in range(RECORDINGS):
        for name in ("mixture", "target"):
            soundfile.write(folder / f"{name}-{number}.wav", generator.normal(size=800) * 0.1, 8000, subtype="PCM_16")
    rows = (f"i{k},mixture-{k % RECORDINGS}.wav,a sound,target-{k % RECORDINGS}.wav,g{k}" for k in range(items))
    table = folder / "manifest.csv"
    table.write_text("\n".join(["id,mixture,text,target,group", *rows]) + "\n")
    return table


def write_run(plan: object, job: Job, answers: list[Path], digest: str) -> None:
    """A finished run, by the writer that runs use."""
    scored = {column: text or "" for one in job.metrics for column, text in one.fingerprints.items()}
    generator, folder = np.random.default_rng(len(job.model.name)), job.folder
    with folder.writing():
        folder.write_header(start_record(plan, job))  # type: ignore[arg-type]
        folder.unseal()
        for number, item in enumerate(job.chosen.ids):
            answer = answers[number // LINKS]
            paths = {part: folder.path / "audio" / f"{item}.{part}.flac" for part in PARTS}
            stats = {}
            for part, path in paths.items():
                os.link(answer, path)
                found = answer.stat()
                stats[part] = found.st_size, found.st_mtime_ns
            values = {column: float(generator.normal()) for column in scored}
            folder.add_scores(
                ScoreRow(
                    task=job.data.task, item=item, group=job.data.groups[item], separator=job.model.name, seed=0,
                    candidate=0, picked_by=None, metric=column, value=value, status=Status.OK,
                )
                for column, value in values.items()
            )  # fmt: skip
            folder.add_item(
                ItemRecord(
                    item=item, group=job.data.groups[item], fingerprint=job.fingerprints[item], seed=0,
                    status=Status.OK, data_sha256=job.contents[item], seconds=0.01, audio_seconds=0.1, scored=scored,
                    target=paths["target"].name, residual=paths["residual"].name,
                    sha256=PartDigests(**dict.fromkeys(PARTS, digest)), stat=PartStats(**stats),
                )
            )  # fmt: skip
        folder.seal(job.data.ids)
        folder.write_header(end_record(folder, "success", 1.0, Usage()))


def write_runs(folder: Path, items: int) -> None:
    """Finished runs of both separators below ``folder``."""
    table = write_data(folder / "data", items)
    answers = [folder / f"answer-{number}.flac" for number in range(items // LINKS + 1)]
    sound = np.random.default_rng(1).normal(size=800) * 0.1
    for answer in answers:
        soundfile.write(answer, sound, 8000, subtype="PCM_24", format="FLAC")
    plan = make_plan(MODELS, [str(table)], metrics=METRICS.split(","), output=folder / "runs")
    for job in plan.jobs:
        write_run(plan, job, answers, file_digest(answers[0]))
    flush_digests()


def cost(command: list[str], folder: Path) -> Cost:
    """Of one call of the command line; what it does is checked by its exit code."""
    begun = time.perf_counter()
    memory = folder / "memory"
    process = subprocess.Popen([sys.executable, "-c", START, memory, *command], cwd=folder,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"expected {' '.join(command)} to end with 0, found {process.returncode}")
    return Cost(time.perf_counter() - begun, used.ru_utime + used.ru_stime, int(memory.read_text()) / 1024)


def commands(folder: Path) -> list[str]:
    """Rows of the first table."""
    for size in SIZES:
        write_runs(folder / str(size), size)
    found: dict[tuple[str, int], list[Cost]] = {}
    for _ in range(ROUNDS):
        for name, command in COMMANDS.items():
            for size in SIZES:
                found.setdefault((name, size), []).append(cost(command, folder / str(size)))
    rows = []
    for name in COMMANDS:
        few, some, many = ([*map(statistics.median, zip(*found[name, size], strict=True))] for size in SIZES)
        exponent = math.log10((many[1] - few[1]) / max(some[1] - few[1], 1e-3))
        cells = [f"{value:.1f}" for pair in zip(some[:2], many[:2], strict=True) for value in pair]
        rows.append(f"| {name} | {' | '.join(cells)} | {some[2]:.0f} | {many[2]:.0f} | {exponent:.2f} |")
    return rows


@contextmanager
def _place(below: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=below) as folder:
        yield Path(folder)


def disks(places: dict[str, Path]) -> list[str]:
    """Rows of the second table."""
    tasks, wall = GROUPS["text"], {name: list[float]() for name in places}
    for round_ in range(DISK_ROUNDS + 1):
        for name, place in places.items():
            with _place(place) as folder:
                begun = time.perf_counter()
                done = sab.evaluate("mixture", tasks, split="mini", metrics=["si_sdr"], output=folder, progress=False)
                if round_:  # the first reads stems
                    wall[name].append(1000 * (time.perf_counter() - begun) / done.asked)
    medians = {name: statistics.median(values) for name, values in wall.items()}
    first = next(iter(medians.values()))
    return [f"| {name} | {value:.1f} | {value / first:.2f} |" for name, value in medians.items()]


def file_system(path: Path) -> str:
    """The type of the file system that a folder lies on, by the longest mount point above it."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    above = [(len(point), kind) for _, point, kind, *_ in mounts if path.resolve().is_relative_to(point)]
    return max(above)[1]


def main() -> None:
    """Measures, prints and writes."""
    disk = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.gettempdir())
    with _place(Path("/dev/shm")) as folder:
        rows = commands(folder)
    kinds = {file_system(place): place for place in (Path("/dev/shm"), disk)}
    lines = [
        "# The harness at scale",
        "",
        f"Medians of {ROUNDS} rounds on {os.cpu_count()} cores, written by `benchmarks/harness.py`: seconds and MiB of",
        "10,000 and of 100,000 finished items. The exponent is of the processor time beyond that of 100 items.",
        "",
        "| command | wall 10,000 | wall 100,000 | CPU 10,000 | CPU 100,000 | MiB 10,000 | MiB 100,000 | exponent |",
        "| --- | --: | --: | --: | --: | --: | --: | --: |",
        *rows,
        "",
        f"`mixture` on the mini split's text tasks by si_sdr, {DISK_ROUNDS} rounds in turns: wall time an item.",
        "",
        "| run folder on | ms an item | ratio |",
        "| --- | --: | --: |",
        *disks(kinds),
    ]
    Path(__file__).with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
