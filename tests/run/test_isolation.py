"""Output, changes of global state and exits of a separator affect only that separator."""

from __future__ import annotations

import ctypes
import json
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import sam_audio_bench as sab
from sam_audio_bench.cli import group
from sam_audio_bench.run import output_log
from sam_audio_bench.run.global_state import GlobalState
from sam_audio_bench.run.isolation import Isolation
from sam_audio_bench.run.process_exit import prevent_exit
from sam_audio_bench.types import Prompt


def run(task: Path, output: Path, separator: Any, **options: Any) -> sab.Results:
    return sab.evaluate(separator, str(task), metrics="snr", output=output, progress=False, **options)


def records(output: Path, name: str) -> list[dict[str, Any]]:
    lines = (output / name / "small@1-file" / "items.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(autouse=True)
def own_state() -> Iterator[None]:
    """Restores the global state, so that a failing test does not affect others."""
    before = GlobalState.capture()
    yield
    before.restore()


CHANGES: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {  # a change of the state, and its getter
    "dtype": (lambda: torch.set_default_dtype(torch.float64), torch.get_default_dtype),
    "device": (lambda: torch.set_default_device("meta"), lambda: torch.zeros(1).device.type),
    "grad": (lambda: torch.set_grad_enabled(False), torch.is_grad_enabled),
    "threads": (lambda: torch.set_num_threads(torch.get_num_threads() + 1), torch.get_num_threads),
    "cudnn": (lambda: setattr(torch.backends.cudnn, "benchmark", True), lambda: torch.backends.cudnn.benchmark),
    "tf32": (
        lambda: setattr(torch.backends.cuda.matmul, "allow_tf32", True),
        lambda: torch.backends.cuda.matmul.allow_tf32,
    ),
    "newer tf32": (
        lambda: setattr(torch.backends.cuda.matmul, "fp32_precision", "tf32"),
        lambda: torch.backends.cuda.matmul.fp32_precision,
    ),
    "precision": (lambda: torch.set_float32_matmul_precision("medium"), torch.get_float32_matmul_precision),
    "numpy": (lambda: np.seterr(all="raise"), lambda: sorted(np.geterr().items())),
    "warnings": (lambda: warnings.simplefilter("ignore"), lambda: [*warnings.filters]),
    "folder": (lambda: os.chdir("/"), Path.cwd),
    "signals": (lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN), lambda: signal.getsignal(signal.SIGTERM)),
    "alarm": (lambda: signal.setitimer(signal.ITIMER_REAL, 1000), lambda: signal.getitimer(signal.ITIMER_REAL)[0] > 0),
    "streams": (lambda: setattr(sys, "stdout", None), lambda: sys.stdout is None),
    "generators": (
        lambda: (torch.manual_seed(1), np.random.seed(1), random.seed(1)),
        lambda: (torch.get_rng_state().tolist(), np.random.get_state()[2], random.getstate()),
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_global_state_is_restored(name: str) -> None:
    change, tell = CHANGES[name]
    if name == "generators":
        random.random()
    before = tell()
    with Isolation().around_call("one", 0):
        change()
        assert tell() != before
    assert tell() == before
    with suppress(KeyError), Isolation().around_call("one", 0):
        change()
        raise KeyError
    assert tell() == before


def test_the_next_item_and_the_metrics_see_the_usual_state(small_task: Path, tmp_path: Path) -> None:
    seen = []

    def careless(mixture: torch.Tensor, rate: int, prompt: Prompt) -> torch.Tensor:
        seen.append((torch.get_default_dtype(), str(Path.cwd()), torch.is_grad_enabled()))
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        os.chdir("/")
        return mixture * 0.5

    results = run(small_task, tmp_path, careless)
    assert seen == [(torch.float32, str(Path.cwd()), True)] * 6
    assert results.failures == 0


class Settled:
    """Research code that chooses its dtype and folder once."""

    name = "settled"

    def __init__(self) -> None:
        torch.set_default_dtype(torch.float64)
        self.seen: list[torch.dtype] = []

    def separate(self, queries: Any, seeds: Any) -> list[sab.Separation]:
        self.seen.append(torch.get_default_dtype())
        torch.set_default_dtype(torch.float16)
        return [sab.Separation(target=query.mixture, residual=query.mixture) for query in queries]


def test_changes_by_a_constructor_hold_for_its_separator_only(small_task: Path, tmp_path: Path) -> None:
    made = []

    class Told(Settled):
        def __init__(self) -> None:
            super().__init__()
            made.append(self)

    run(small_task, tmp_path, Told, limit=2)
    assert torch.get_default_dtype() == torch.float32
    assert made[0].seen == [torch.float64, torch.float64]


def test_global_generators_are_seeded_with_the_items_seed(small_task: Path, tmp_path: Path) -> None:
    def noisy(mixture: torch.Tensor, rate: int, prompt: Prompt) -> torch.Tensor:
        drawn.append(float(torch.rand(())) + float(np.random.rand()) + random.random())
        return mixture * 0.5

    drawn: list[float] = []
    run(small_task, tmp_path / "all", noisy)
    every, drawn = drawn, []
    run(small_task, tmp_path / "one", noisy, sample_ids=["item-3"])
    assert drawn == [every[3]]
    assert len(set(every)) == 6


def test_a_changed_working_directory_affects_no_paths(
    small_task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wandering(mixture: torch.Tensor, rate: int, prompt: Prompt) -> torch.Tensor:
        os.chdir("/")
        threading.Event().wait(0.05)  # others load and write meanwhile
        return mixture * 0.5

    monkeypatch.chdir(tmp_path)
    results = sab.evaluate(wandering, "small/small.csv", metrics="snr", output="here", progress=False)
    assert results.failures == 0
    assert [str(run) for run in results.runs] == ["here/wandering/small@1-file", "here/mixture/small@1-file"]
    assert len(list(tmp_path.glob("here/wandering/small@1-file/audio/*.target.flac"))) == 6


def talking(mixture: torch.Tensor, rate: int, prompt: Prompt) -> torch.Tensor:
    """Prints in every way."""
    print("by print")
    sys.stdout.buffer.write(b"by bytes\n")
    print("by stderr", file=sys.stderr)
    os.write(1, b"by descriptor\n")
    ctypes.CDLL(None).puts(b"by C")
    subprocess.run(["echo", "by program"], check=True)
    return mixture * 0.5


def test_output_goes_to_the_log(small_task: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run(small_task, tmp_path, talking, limit=2)
    log = (tmp_path / "talking" / "small@1-file" / "separator.log").read_text()
    for heading, part in zip(("item-0", "item-1"), log.split("--- ")[1:], strict=True):
        lines = part.splitlines()
        assert lines[0] == heading
        assert sorted(lines[1:]) == ["by C", "by bytes", "by descriptor", "by print", "by program", "by stderr"]
    out, err = capfd.readouterr()
    assert out == ""
    assert err.splitlines() == [f"what talking printed is in {tmp_path}/talking/small@1-file/separator.log"]
    assert not (tmp_path / "mixture" / "small@1-file" / "separator.log").exists()


def test_json_is_one_object_whatever_is_printed(
    small_task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "chatty.py").write_text(
        "print('module')\nclass A:\n    def __init__(self): print('constructor')\n"
        "    def separate(self, queries, seeds):\n        print('call')\n        return []\n"
    )
    done = CliRunner().invoke(
        group, ["eval", "--model", "chatty:A", "--task", str(small_task), "--metrics", "snr", "--limit", "1", "--json"]
    )
    assert json.loads(done.stdout)["partial"] is True
    log = (tmp_path / "runs" / "A" / "small@1-file" / "separator.log").read_text()
    assert log == "module\nconstructor\n--- item-0\ncall\n"


def test_one_file_has_a_log_next_to_its_estimates(
    small_task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "garrulous.py").write_text("print('module')\ndef f(m, r, p):\n    print('call')\n    return m\n")
    mixture, words = small_task.parent / "mix0.wav", ["--text", "a", "--out", "out", "--json"]
    done = CliRunner().invoke(group, ["separate", str(mixture), "--model", "garrulous:f", *words])
    assert json.loads(done.stdout)["target"] == "out/target.flac"
    assert (tmp_path / "out" / "separator.log").read_text() == "module\ncall\n"


def test_a_log_has_a_size_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output_log, "_MAX_LOG_BYTES", 100)
    log = tmp_path / "log"
    for _ in range(3):
        with output_log.capture_output(log, "item"):
            print("x" * 80)
    assert log.stat().st_size == 100


def test_a_logger_that_keeps_a_stream_still_works(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    log, handlers = tmp_path / "log", []
    for item in ("one", "two"):
        with output_log.capture_output(log, item):
            if not handlers:
                handlers.append(logging.StreamHandler())
            handlers[0].emit(logging.makeLogRecord({"msg": f"of {item}"}))
    handlers[0].emit(logging.makeLogRecord({"msg": "outside"}))
    assert log.read_text() == "--- one\nof one\n--- two\nof two\n"
    assert capfd.readouterr().err == "outside\n"


def test_json_is_the_only_output_until_the_process_ends(small_task: Path, tmp_path: Path) -> None:
    (tmp_path / "late.py").write_text(
        "import atexit, sys, threading\natexit.register(print, 'bye')\n"
        "def f(m, r, p):\n    sys.stdout.close()\n    return m\n"
    )
    start = "from sam_audio_bench.cli import main; main()"
    command = [sys.executable, "-c", start, "eval", "--model", "late:f", "--task", str(small_task), "--json"]
    done = subprocess.run([*command, "--metrics", "snr"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["partial"] is False
    assert "bye" in done.stderr
    assert "Traceback" not in done.stderr


def test_closed_streams_are_opened_again(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with output_log.capture_output(tmp_path / "log", "item"):
        sys.stdout.close()
        os.close(1)
    print("still here")
    assert capfd.readouterr().out == "still here\n"
    assert not (tmp_path / "log").exists()


EXITS: dict[str, Callable[[], object]] = {
    "sys.exit": lambda: sys.exit(0),
    "os._exit": lambda: os._exit(0),
    "SystemExit": lambda: exec("raise SystemExit"),
    "GeneratorExit": lambda: exec("raise GeneratorExit"),
    "StopIteration": lambda: next(iter(())),
}


@pytest.mark.parametrize("way", EXITS)
def test_a_separator_cannot_end_a_run(way: str, small_task: Path, tmp_path: Path) -> None:
    calls = []

    def leaving(mixture: torch.Tensor, rate: int, prompt: Prompt) -> torch.Tensor:
        calls.append(None)
        if len(calls) == 2:
            EXITS[way]()
        return mixture * 0.5

    results = run(small_task, tmp_path, leaving, limit=3)
    assert (results.failures, len(calls)) == (1, 3)
    messages = [record["message"] for record in records(tmp_path, "leaving") if "message" in record]
    assert messages[0].startswith("leaving raised ")


def test_processes_and_threads_of_a_separator_can_exit() -> None:
    with prevent_exit():
        child = os.fork()
        if child == 0:
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    code = (
        "import os, threading\nfrom sam_audio_bench.run.isolation import prevent_exit\n"
        "with prevent_exit():\n    thread = threading.Thread(target=os._exit, args=(0,))\n    thread.start()\n"
        "    thread.join()\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 1


LEAVES_A_THREAD = """
import threading
from concurrent.futures import ThreadPoolExecutor
from sam_audio_bench.run import process_exit

process_exit._GRACE_SECONDS = 0.5
pool = ThreadPoolExecutor()

def wait():
    threading.Event().wait(KEEP)

def f(m, r, p):
    pool.submit(int)  # idle from then on: Python ends it
    threading.Thread(target=wait, name="the leftover").start()
    return m
"""


@pytest.mark.parametrize(("keep", "fails"), [("None", False), ("None", True), ("0.2", False)])
def test_a_thread_of_a_separator_does_not_keep_the_command_alive(
    keep: str, fails: bool, small_task: Path, tmp_path: Path
) -> None:
    """One that ends by itself is not reported."""
    (tmp_path / "leaving.py").write_text(LEAVES_A_THREAD.replace("KEEP", keep))
    if fails:
        small_task.with_name("mix0.wav").write_text("no sound")
    start = "from sam_audio_bench.cli import main; main()"
    command = [sys.executable, "-c", start, "eval", "--model", "leaving:f", "--task", str(small_task), "--json"]
    done = subprocess.run(
        [*command, "--metrics", "snr"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=100
    )
    assert done.returncode == (3 if fails else 0)
    assert json.loads(done.stdout)["partial"] is fails
    assert ("the leftover" in done.stderr) is (keep == "None")
    (run,) = tmp_path.glob("runs/f/*")
    assert (run / "scores.parquet").exists()
    assert json.loads((run / "run.json").read_text())["status"] == ("partial" if fails else "success")


def test_a_finished_item_is_written_before_the_next_call(small_task: Path, tmp_path: Path) -> None:
    journal = tmp_path / "looking" / "small@1-file" / "items.jsonl"
    seen = []

    def looking(mixture: torch.Tensor, rate: int, prompt: Prompt) -> torch.Tensor:
        seen.append({json.loads(line)["item"] for line in journal.read_text().splitlines()})
        return mixture * 0.5

    run(small_task, tmp_path, looking)
    assert [len(items) for items in seen] == [0, 1, 2, 3, 4, 5]
