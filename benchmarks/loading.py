"""Does loading keep up with separators? Items a second from whole recordings and clips, and memory over all 819 items.

Run: python benchmarks/loading.py. A stand-in of the official data is made in a temporary folder: clips of 10 s in H.264
and AAC, a quarter of them cut from recordings of 30 s, some sounds in WAV and FLAC. Every row of the metadata is loaded
once, each number of workers in a process of its own; visual items are loaded twice, for the first time cuts videos and
unpacks masks. Prints the table and writes benchmarks/loading.md.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
WORKERS = (1, 2)
STEP = 100  # items between two looks at the memory


def resident_mib() -> int:
    """Memory of this process now; 0 where the platform does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20
    except OSError:
        return 0


def loads(visual: bool) -> list[Callable[[], float]]:
    """What loads the sound of every row of the metadata, or every item of the visual tasks; seconds of sound."""
    from sam_audio_bench.tasks.annotations import BENCH, find_table, read_bench_table
    from sam_audio_bench.tasks.load import load_task
    from sam_audio_bench.tasks.media import BenchMedia

    def sound(row: Any) -> float:
        return BenchMedia.from_data_folder().read_sound(row).seconds

    def item(data: Any, identifier: str) -> float:
        return float(data[identifier].query.mixture.seconds)

    if not visual:
        rows, _ = read_bench_table(find_table(BENCH))
        return [partial(sound, row) for row in rows]
    tasks = [load_task(name, "test", "full") for name in ("sfx-visual", "speaker-visual", "instr-wild-visual")]
    return [partial(item, data, identifier) for data in tasks for identifier in data.ids]


def loaded(asked: Sequence[Callable[[], float]], workers: int) -> Iterator[float]:
    """The results in order; a few items are on their way at a time."""
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[float]] = deque()
        for load in asked:
            waiting.append(pool.submit(load))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def measure(workers: int, visual: bool) -> dict[str, Any]:
    """One pass over all items, in this process."""
    asked = loads(visual)
    asked[0]()  # imports
    memory, sound, begun, worked = [], 0.0, time.perf_counter(), time.process_time()
    for number, seconds in enumerate(loaded(asked, workers), 1):
        sound += seconds
        if number % STEP == 0 or number == len(asked):
            memory.append(resident_mib())
    spent, worked = time.perf_counter() - begun, time.process_time() - worked
    return {
        "items": len(asked),
        "rate": len(asked) / spent,
        "real_time": sound / spent,
        "processor": 1000 * worked / len(asked),
        "load": os.getloadavg()[0],
        "memory": memory,
    }


def elsewhere(folder: Path, workers: int, kind: str) -> dict[str, Any]:
    """The same in a process of its own."""
    call = f"measure({workers}, {kind.startswith('visual')})"
    code = f"import json; from benchmarks.loading import measure; print(json.dumps({call}))"
    places = {"SABENCH_DATA": str(folder / "data"), "SABENCH_CACHE": str(folder / f"cache-{workers}")}
    environment = {**os.environ, **places, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Makes the data, measures, writes the page."""
    lines = [
        "# Loading the official data",
        "",
        "A stand-in of SAM Audio-Bench with clips of 10 s, from cut clips and whole recordings to mono at 48 kHz;",
        f"written by `benchmarks/loading.py` on {os.cpu_count()} cores. Where the load average (of a minute, at",
        "the end of a row) is above the number of workers, others had the cores too: CPU time tells more than items/s.",
        "",
        "| items | workers | items/s | x real time | CPU ms an item | load | MiB after 100 items | at the end |",
        "| --- | --: | --: | --: | --: | --: | --: | --: |",
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        maker = [sys.executable, str(ROOT / "tests" / "make_bench.py"), str(folder / "data")]
        subprocess.run(maker, check=True, stdout=subprocess.DEVNULL)
        for workers in WORKERS:
            for kind in ("sound", "visual, first time", "visual, again"):
                found = elsewhere(folder, workers, kind)
                memory = found["memory"]
                speed = (
                    f"{found['rate']:.1f} | {found['real_time']:.0f} | {found['processor']:.1f} | {found['load']:.1f}"
                )
                lines.append(f"| {kind}: {found['items']} | {workers} | {speed} | {memory[0]} | {memory[-1]} |")
                print(lines[-1], flush=True)
    Path(__file__).with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
