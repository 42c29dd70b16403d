"""What the harness itself costs: commands on many finished items, a run on disk beside one in memory, and workers.

Run: python benchmarks/harness.py [--only commands|disks|workers] [folder on the disk that is to be measured].

For the first part, finished runs of two separators are written by the product's own writer in /dev/shm, with answers
that are links to a few short files, for a table of questions whose rows share 200 recordings; digests of these are
remembered, as they are at any second run. Then each command is run as a user runs it, the sizes in turns, and its
processor time, wall time and largest memory are taken from the system. What does not grow with the items (above all
importing torch) is measured with 100 items; the exponent is of what is added to it.

The second part runs the same evaluation of the mini split's text tasks in turns in /dev/shm and on the disk, into new
folders, so that both sides meet the same moments. The third sets one process against one and two workers, in turns: the
``mixture`` separator costs nothing, so that what is seen is the harness, and the driver's own CPU time an item bounds
how many workers it can feed; a function that computes for a quarter of a second stands for a separator that is worth a
worker; and `score` computes the scores of stored estimates anew.

Prints the tables and writes benchmarks/harness.md, where a part that is not measured stays as it is.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as the command line does, before torch is loaded
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import soundfile
import torch

import sam_audio_bench as sab
from sam_audio_bench.digests import file_digest, flush_digests
from sam_audio_bench.records import ESTIMATE_PARTS, ItemRecord, PartDigests, PartStats, ScoreRow
from sam_audio_bench.run.header import make_end_record, make_start_record
from sam_audio_bench.run.job import Job
from sam_audio_bench.run.plan import make_plan
from sam_audio_bench.run.rescore import rescore
from sam_audio_bench.run.usage import Usage
from sam_audio_bench.tasks import GROUPS
from sam_audio_bench.types import Prompt, Status

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

WORKER_ROUNDS = 3
WORKER_METRICS = ("si_sdr", "si_sdr_i", "snr_i", "leak_db")
SIDES: dict[str, dict[str, Any]] = {
    "one process": {},
    "1 worker": {"executor": "processes", "workers": 1},
    "2 workers": {"executor": "processes", "workers": 2},
}
WORKER_TASKS = ("sfx", "speech", "music")
LIMITS = (4, 16)  # items of each task


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
        folder.write_header(make_start_record(plan, job))  # type: ignore[arg-type]
        folder.unseal()
        for number, item in enumerate(job.chosen.ids):
            answer = answers[number // LINKS]
            paths = {part: folder.path / "audio" / f"{item}.{part}.flac" for part in ESTIMATE_PARTS}
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
                    status=Status.OK, data_sha256=job.content_digests[item], seconds=0.01, audio_seconds=0.1,
                    scored=scored,
                    target=paths["target"].name, residual=paths["residual"].name,
                    sha256=PartDigests(**dict.fromkeys(ESTIMATE_PARTS, digest)), stat=PartStats(**stats),
                )
            )  # fmt: skip
        folder.seal(job.data.ids)
        folder.write_header(make_end_record(folder, "success", 1.0, Usage()))


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


def busy(mixture: torch.Tensor, rate: int, prompt: Prompt) -> torch.Tensor:
    """Half the mixture, after a quarter of a second of the processor's time."""
    end = time.process_time() + 0.25
    while time.process_time() < end:
        torch.fft.rfft(mixture)
    return mixture * 0.5


def spent(model: Any, options: dict[str, Any], limit: int, *, again: bool = False) -> tuple[float, float]:
    """Wall time and this process's CPU time of a run, in s; of scoring it ``again`` instead."""
    with tempfile.TemporaryDirectory() as folder:
        make, output = {} if again else options, Path(folder)
        begun, own = time.perf_counter(), time.process_time()
        sab.evaluate(
            model, WORKER_TASKS, split="mini", metrics=WORKER_METRICS, output=output, progress=False, limit=limit,
            **make,
        )  # fmt: skip
        if again:
            begun, own = time.perf_counter(), time.process_time()
            rescore([output / "mixture"], progress=False, **options)
        return time.perf_counter() - begun, time.process_time() - own


def item_more(model: Any, options: dict[str, Any], *, again: bool = False) -> list[float]:
    """Wall and CPU time of one item more, in ms, and what a run costs without any, in s."""
    few, many = (spent(model, options, limit, again=again) for limit in LIMITS)
    more = len(WORKER_TASKS) * (LIMITS[1] - LIMITS[0])
    wall, own = ((large - small) / more for small, large in zip(few, many, strict=True))
    return [1000 * wall, 1000 * own, few[0] - wall * len(WORKER_TASKS) * LIMITS[0]]


def workers() -> list[str]:
    """Rows of the third table."""
    spent("mixture", {}, LIMITS[1])  # imports, stem cache
    parts: dict[str, Callable[[dict[str, Any]], list[float]]] = {
        "cheap": lambda options: item_more("mixture", options),
        "dear": lambda options: item_more(busy, options),
        "again": lambda options: item_more("mixture", options, again=True),
    }
    found: dict[tuple[str, str], list[list[float]]] = {}
    for _ in range(WORKER_ROUNDS):
        for name, options in SIDES.items():
            for part, measure in parts.items():
                found.setdefault((name, part), []).append(measure(options))
    rows = []
    for name in SIDES:
        cheap, dear, again = ([*map(statistics.median, zip(*found[name, part], strict=True))] for part in parts)
        rows.append(
            f"| {name} | {cheap[0]:.1f} | {cheap[1]:.1f} | {dear[0]:.0f} | {again[0]:.1f} | {max(0.0, cheap[2]):.1f} |"
        )
    return rows


def file_system(path: Path) -> str:
    """The type of the file system that a folder lies on, by the longest mount point above it."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    above = [(len(point), kind) for _, point, kind, *_ in mounts if path.resolve().is_relative_to(point)]
    return max(above)[1]


def commands_part() -> list[str]:
    """The first part."""
    with _place(Path("/dev/shm")) as folder:
        rows = commands(folder)
    return [
        f"Medians of {ROUNDS} rounds on {os.cpu_count()} cores: seconds and MiB of 10,000 and of 100,000 finished",
        "items. The exponent is of the processor time beyond that of 100 items.",
        "",
        "| command | wall 10,000 | wall 100,000 | CPU 10,000 | CPU 100,000 | MiB 10,000 | MiB 100,000 | exponent |",
        "| --- | --: | --: | --: | --: | --: | --: | --: |",
        *rows,
    ]


def disks_part(disk: Path) -> list[str]:
    """The second part."""
    kinds = {file_system(place): place for place in (Path("/dev/shm"), disk)}
    return [
        f"`mixture` on the mini split's text tasks by si_sdr, {DISK_ROUNDS} rounds in turns: wall time an item.",
        "",
        "| run folder on | ms an item | ratio |",
        "| --- | --: | --: |",
        *disks(kinds),
    ]


def workers_part() -> list[str]:
    """The third part."""
    return [
        f"{', '.join(WORKER_TASKS)} of the mini split, {', '.join(WORKER_METRICS)}; what an item more costs (the slope",
        f"between {LIMITS[0]} and {LIMITS[1]} items of each task, medians of {WORKER_ROUNDS} rounds in turns on",
        f"{os.cpu_count()} cores, one thread each), in ms:",
        "",
        "| | `mixture` | of it CPU of the driver | function of 250 ms and `mixture` | `score` | start and end, s |",
        "| --- | --: | --: | --: | --: | --: |",
        *workers(),
    ]


TITLES = {"commands": "Commands", "disks": "Disks", "workers": "Workers"}


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("disk", nargs="?", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--only", choices=TITLES)
    chosen = parser.parse_args()
    parts: dict[str, Callable[[], list[str]]] = {
        "commands": commands_part, "disks": lambda: disks_part(chosen.disk), "workers": workers_part
    }  # fmt: skip
    page = Path(__file__).with_suffix(".md")
    _, *earlier = page.read_text(encoding="utf-8").split("\n## ") if page.exists() else [""]
    known = {title: text.strip() for title, _, text in (part.partition("\n") for part in earlier)}
    for name, measure in parts.items():
        if chosen.only in (None, name):
            known[TITLES[name]] = "\n".join(measure())
            print(known[TITLES[name]], flush=True)
    lines = ["# The harness at scale", "", "Written by `benchmarks/harness.py`."]
    for title in TITLES.values():
        lines += ["", f"## {title}", "", known[title]] if title in known else []
    page.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
