"""A run that is killed again and again, at any moment, ends with the scores of one that never was."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from sam_audio_bench.registry import load_tasks
from sam_audio_bench.run.provenance import item_seed

SEPARATOR = """
import os, time
import torch
from sam_audio_bench import Audio, Separation

class Slow:
    def separate(self, queries, seeds):
        log = os.open("calls", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(log, b"".join(b"%d\\n" % seed for seed in seeds))
        os.close(log)
        time.sleep(0.05)
        return [self.one(query, seed) for query, seed in zip(queries, seeds)]

    def one(self, query, seed):
        mixture = query.mixture
        noise = torch.randn(mixture.samples.shape, generator=torch.Generator().manual_seed(seed))
        target = 0.5 * mixture.samples + 0.01 * noise
        return Separation(target=Audio(target, mixture.rate), residual=Audio(mixture.samples - target, mixture.rate))
"""
COMMAND = (
    "eval", "--model", "slow:Slow", "--task", "text", "--split", "mini", "--metrics", "si_sdr,si_sdr_i,leak_db",
    "--output", "runs",
)  # fmt: skip
START = "from sam_audio_bench.cli import main; main()"


def start(folder: Path) -> subprocess.Popen[bytes]:
    folder.mkdir(exist_ok=True)
    (folder / "slow.py").write_text(SEPARATOR)
    command = [sys.executable, "-c", START, *COMMAND]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def calls(folder: Path) -> list[int]:
    path = folder / "calls"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def finished(folder: Path) -> set[tuple[str, str]]:
    """Task and item of each complete line of the journals, except the baseline's."""
    found = set()
    for journal in folder.glob("runs/Slow/*/items.jsonl"):
        lines = journal.read_bytes().split(b"\n")[:-1]
        found |= {(journal.parent.name, json.loads(line)["item"]) for line in lines}
    return found


def interrupt(folder: Path, number: int, chance: random.Random) -> int | None:
    """Starts the command, sends a signal somewhere among its next calls, and returns its exit code."""
    before, more = len(calls(folder)), chance.randint(1, 3)
    process = start(folder)
    while process.poll() is None and len(calls(folder)) < before + more:
        time.sleep(0.005)
    time.sleep(chance.uniform(0, 0.06))
    process.send_signal(number)
    return process.wait(timeout=120)


@pytest.mark.slow
def test_kills_and_terminations_change_no_score_and_repeat_no_item(tmp_path: Path) -> None:
    assert start(tmp_path / "whole").wait(timeout=600) == 0
    chance, folder = random.Random(0), tmp_path / "killed"
    signals = [signal.SIGKILL] * 20 + [signal.SIGTERM] * 10
    chance.shuffle(signals)
    tasks = load_tasks(["text"], split="mini")
    items = {item_seed(task.label, item, 0): (task.label, item) for task in tasks for item in task.ids}
    for number in signals:
        done, made = finished(folder), len(calls(folder))
        code = interrupt(folder, number, chance)
        assert code == (-signal.SIGKILL if number == signal.SIGKILL else 3)
        assert done.isdisjoint(items[seed] for seed in calls(folder)[made:])
    done, made = finished(folder), len(calls(folder))
    assert 30 < len(done) < len(items)
    assert start(folder).wait(timeout=600) == 0
    assert done.isdisjoint(items[seed] for seed in calls(folder)[made:])
    repeated = Counter(calls(folder)).values()
    assert len(repeated) == len(items)
    assert sum(repeated) - len(items) <= len(signals)  # items in progress
    for path in sorted((tmp_path / "whole").glob("runs/*/*/scores.parquet")):
        other = folder / path.relative_to(tmp_path / "whole")
        pd.testing.assert_frame_equal(pd.read_parquet(other), pd.read_parquet(path), check_exact=True)
        assert json.loads(other.with_name("run.json").read_text())["status"] == "success"
        sounds = {one.name: one.read_bytes() for one in path.with_name("audio").iterdir()}
        assert {one.name: one.read_bytes() for one in other.with_name("audio").iterdir()} == sounds
    left = [path for path in folder.rglob(".*") if path.name != ".lock"]
    assert left == []
