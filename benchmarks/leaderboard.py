"""The site with 200 submissions of 19 tasks and 20 metrics: its size, and when Chromium first paints each page.

One of them is the mixture, with which all others are compared. Beside each page stands the same one with every row of
its tables in the first paint, painted in turns with it.

    python -m benchmarks.leaderboard > benchmarks/leaderboard.md

The scores are noise; only their number matters. Needs Chromium on the path, and Playwright. A folder as an argument
keeps the submissions, and is taken as it is where it has some.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from msgspec import structs
from pyarrow import Table, parquet

from sam_audio_bench.files import safe_name, write_json
from sam_audio_bench.leaderboard import log, safe_io
from sam_audio_bench.leaderboard.item_lists import load_item_list
from sam_audio_bench.leaderboard.records import (
    Selection,
    SeparatorRecord,
    SubmissionRecord,
    SubmittedMetric,
    SubmittedTask,
    to_builtins,
)
from sam_audio_bench.leaderboard.site import build_site
from sam_audio_bench.leaderboard.submission import (
    HEADER,
    SCORES,
    Submission,
    compute_aggregates,
    metric_records,
    submission_folder,
)
from sam_audio_bench.metrics.catalogue import CARDS
from sam_audio_bench.run.store import SCORE_TYPES
from sam_audio_bench.tasks import TASKS
from tests.browser import Browser

SUBMISSIONS, METRICS = 200, 20
PAGES = (
    "index.html", "tasks/sfx@1-mini.html", "items/sfx@1-mini.html", "separators/made-up-001.html", "compare.html",
    "cost.html", "metrics.html", "agreement.html",
)  # fmt: skip
LATE = ":root:not(.whole) .long tbody tr:nth-child(n+40) { animation: wait .1s step-end; }"
PAINT = "performance.getEntriesByName('first-contentful-paint')[0]"


def submission(root: Path, number: int, tasks: list[SubmittedTask], names: list[str]) -> Submission:
    """One made-up submission, straight into its place; the first ones are made of noise with the same seed."""
    generator = np.random.default_rng(number)
    name = f"made-up-{number:03d}" if number else "mixture"
    frames = []
    for task in tasks:
        items = load_item_list(task).groups
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
    folder = submission_folder(root / "results", name, "v1")
    folder.mkdir(parents=True)
    parquet.write_table(Table.from_pandas(scores, schema=SCORE_TYPES, preserve_index=False), folder / SCORES)
    separator = SeparatorRecord(
        name=name, revision="v1", target="made:Up", weights_sha256=None, settings={}, oracle=False, summary="made up",
        authors=["nobody"], licence="none", parameters=10**6 * (number + 1), training_data=[], links=[],
    )  # fmt: skip
    header = SubmissionRecord(
        schema_version=1, date=log.today(), separator=separator, hardware={}, packages={}, commit=None,
        tasks=[structs.replace(task, metrics=names) for task in tasks], metrics=metrics,
        aggregates=compute_aggregates(scores, metric_records(metrics)),
        scores_sha256=safe_io.file_digest(folder / SCORES),
        has_audio=False, answers={},
    )  # fmt: skip
    write_json(folder / HEADER, to_builtins(header))
    return Submission.read(folder)


def records() -> list[SubmittedTask]:
    """All tasks of the mini split, as submissions state them."""
    found = []
    for name, card in TASKS.items():
        selection = Selection(id=name, version=card.version, split="mini", subset="paper")
        items = load_item_list(selection)
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


def submit_all(root: Path, names: list[str]) -> None:
    """Makes a leaderboard up."""
    tasks = records()
    made = [submission(root, number, tasks, names) for number in range(SUBMISSIONS)]
    log.append(root, made, event="submitted")
    rule = {"id": "all", "title": "All", "metric": names[0], "split": "mini", "subset": "paper"}
    write_json(root / "boards.json", [{**rule, "parts": {"text": [task.id for task in tasks]}}])


def paint_all_rows_at_once(site: Path) -> Path:
    """A copy of a site whose style sheet lays every row out before the first paint."""
    copy = site.with_name("at-once")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(site, copy, ignore=shutil.ignore_patterns("data"))
    style = (copy / "site.css").read_text(encoding="utf-8")
    assert style.count(LATE) == 1, "the rule that waits"
    (copy / "site.css").write_text(style.replace(LATE, ""), encoding="utf-8")
    return copy


def report(root: Path, names: list[str]) -> None:
    """Builds, measures and prints the page."""
    begun = time.process_time()
    build_site(root)
    seconds = time.process_time() - begun
    site = root / "site"
    print(f"# The site with {SUBMISSIONS} submissions, {len(TASKS)} tasks, {len(names)} metrics\n")
    print(f"On {platform.machine()} with {os.cpu_count()} cores, by `python -m benchmarks.leaderboard`.\n")
    whole = sum(path.stat().st_size for path in site.rglob("*") if path.is_file())
    print(f"Built in {seconds:.0f} s of CPU time; {whole / 2**20:.0f} MiB.\n")
    print(f"{os.getloadavg()[0]:.0f} processes shared the cores, which the least of the times feels least.\n")
    print("First paint in ms, median of 7 and least; *at once*: with every row of the tables in it. Only index, tasks")
    print("and cost have rows that wait: the ratios of other pages show what the load of the cores makes of it.\n")
    print("| page | KiB | first paint | least | at once | least | ratio of medians |\n| --- " + "| --: " * 6 + "|")
    at_once = paint_all_rows_at_once(site)
    for page in PAGES:
        pairs = [(first_paint(site / page), first_paint(at_once / page)) for _ in range(7)]
        ours, theirs = zip(*pairs, strict=True)
        shown = [f"{value:.0f}" for times in (ours, theirs) for value in (np.median(times), min(times))]
        ratio = np.median(theirs) / np.median(ours)
        size = (site / page).stat().st_size / 1024
        print(f"| {page} | {size:.0f} | {' | '.join(shown)} | {ratio:.2f} |", flush=True)
    data = site / "data" / safe_name("sfx@1-mini") / f"{names[0]}.js"
    print(f"\nA comparison loads one file of item scores more, {data.stat().st_size / 1024:.0f} KiB.")


def main() -> None:
    """Prints the page."""
    names = [name for name, card in CARDS.items() if card.unit == "dB" and card.higher_is_better][:METRICS]
    with tempfile.TemporaryDirectory(prefix="sabench-leaderboard-") as temporary:
        root = Path(sys.argv[1] if len(sys.argv) > 1 else temporary) / "board"
        if not root.exists():
            submit_all(root, names)
        report(root, names)


if __name__ == "__main__":
    main()
