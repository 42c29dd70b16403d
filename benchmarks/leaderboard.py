"""The site with 200 submissions of 19 tasks and 20 metrics: its size, and when Chromium first paints each page.

One of them is the mixture, with which all others are compared.

    python -m benchmarks.leaderboard > benchmarks/leaderboard.md

The scores are noise; only their number matters. Needs Chromium on the path, and Playwright.
"""

from __future__ import annotations

import os
import platform
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from msgspec import structs
from pyarrow import Table, parquet

from sam_audio_bench.files import safe_name, write_json
from sam_audio_bench.leaderboard import log, safe_io
from sam_audio_bench.leaderboard.item_lists import item_list
from sam_audio_bench.leaderboard.labels import folder_of
from sam_audio_bench.leaderboard.records import (
    Selection,
    SeparatorRecord,
    SubmissionRecord,
    SubmittedMetric,
    SubmittedTask,
    to_plain,
)
from sam_audio_bench.leaderboard.site import build
from sam_audio_bench.leaderboard.submission import HEADER, SCORES, Submission, aggregates, metric_records
from sam_audio_bench.metrics.catalogue import CARDS
from sam_audio_bench.run.store import SCORE_TYPES
from sam_audio_bench.tasks import TASKS
from tests.browser import Browser

SUBMISSIONS, METRICS = 200, 20
PAGES = (
    "index.html", "tasks/sfx@1-mini.html", "items/sfx@1-mini.html", "separators/made-up-001.html", "compare.html",
    "cost.html", "metrics.html", "agreement.html",
)  # fmt: skip
PAINT = "performance.getEntriesByName('first-contentful-paint')[0]"


def submission(root: Path, number: int, tasks: list[SubmittedTask], names: list[str]) -> Submission:
    """One made-up submission, straight into its place; the first ones are made of noise with the same seed."""
    generator = np.random.default_rng(number)
    name = f"made-up-{number:03d}" if number else "mixture"
    frames = []
    for task in tasks:
        items = item_list(task).groups
        index = pd.MultiIndex.from_product([list(items), names], names=["item", "metric"]).to_frame(index=False)
        low, high = generator.normal(number / 40, 1, 2)
        values = generator.normal(low + high, 2, len(index))
        frames.append(index.assign(task=task.label, group=index["item"].map(items), value=values))
    scores = pd.concat(frames).assign(separator=name, seed=0, candidate=0, picked_by=None, status="ok")
    scores = scores[[field.name for field in SCORE_TYPES]]
    metrics = [
        SubmittedMetric(
            id=one, version=1, unit=CARDS[one].unit, higher_is_better=True, parameters={}, weights_sha256=None
        )
        for one in names
    ]
    folder = folder_of(root / "results", name, "v1")
    folder.mkdir(parents=True)
    parquet.write_table(Table.from_pandas(scores, schema=SCORE_TYPES, preserve_index=False), folder / SCORES)
    separator = SeparatorRecord(
        name=name, revision="v1", target="made:Up", weights_sha256=None, settings={}, oracle=False, summary="made up",
        authors=["nobody"], licence="none", parameters=10**6 * (number + 1), training_data=[], links=[],
    )  # fmt: skip
    header = SubmissionRecord(
        schema_version=1, date=log.today(), separator=separator, hardware={}, packages={}, commit=None,
        tasks=[structs.replace(task, metrics=names) for task in tasks], metrics=metrics,
        aggregates=aggregates(scores, metric_records(metrics)), scores_sha256=safe_io.digest(folder / SCORES),
        has_audio=False, answers={},
    )  # fmt: skip
    write_json(folder / HEADER, to_plain(header))
    return Submission.read(folder)


def records() -> list[SubmittedTask]:
    """All tasks of the mini split, as submissions state them."""
    found = []
    for name, card in TASKS.items():
        selection = Selection(id=name, version=card.version, split="mini", subset="paper")
        items = item_list(selection)
        found.append(
            SubmittedTask(
                **structs.asdict(selection), data_revision=items.data_revision, items=len(items.groups),
                ids_sha256=items.ids_sha256, answered=len(items.groups), metrics=[], seed=0, candidates=1, picker=None,
                align=None, stereo="joint", real_time_factor=0.1, peak_memory_mib=100, command=[],
            )
        )  # fmt: skip
    return found


def first_paint(page: Path) -> float:
    """Milliseconds from the start of the navigation to the first content, in a fresh browser."""
    browser = Browser()
    try:
        browser.open(page.as_uri())
        browser.wait(PAINT)
        return float(browser.evaluate(f"{PAINT}.startTime"))
    finally:
        browser.close()


def main() -> None:
    """Prints the page."""
    names = [name for name, card in CARDS.items() if card.unit == "dB" and card.higher_is_better][:METRICS]
    with tempfile.TemporaryDirectory(prefix="sabench-leaderboard-") as temporary:
        root = Path(temporary) / "board"
        tasks = records()
        made = [submission(root, number, tasks, names) for number in range(SUBMISSIONS)]
        log.append(root, made, event="submitted")
        rule = {"id": "all", "title": "All", "metric": names[0], "split": "mini", "subset": "paper"}
        write_json(root / "boards.json", [{**rule, "parts": {"text": [task.id for task in tasks]}}])
        begun = time.process_time()
        build(root)
        seconds = time.process_time() - begun
        site = root / "site"
        print(f"# The site with {SUBMISSIONS} submissions, {len(tasks)} tasks, {len(names)} metrics\n")
        print(f"On {platform.machine()} with {os.cpu_count()} cores, by `python -m benchmarks.leaderboard`.\n")
        whole = sum(path.stat().st_size for path in site.rglob("*") if path.is_file())
        print(f"Built in {seconds:.0f} s of CPU time; {whole / 2**20:.0f} MiB.\n")
        print(f"{os.getloadavg()[0]:.0f} processes shared the cores, which the least of the times feels least.\n")
        print("| page | KiB | first paint, ms, median of 7 | least |\n| --- | --- | --- | --- |")
        for page in PAGES:
            times = [first_paint(site / page) for _ in range(7)]
            size = (site / page).stat().st_size / 1024
            print(f"| {page} | {size:.0f} | {np.median(times):.0f} | {min(times):.0f} |")
        data = site / "data" / safe_name("sfx@1-mini") / f"{names[0]}.js"
        print(f"\nA comparison loads one file of item scores more, {data.stat().st_size / 1024:.0f} KiB.")


if __name__ == "__main__":
    main()
