"""Ctrl-C, SIGTERM and SIGHUP end a run in the same way, even if a separator catches them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

import sam_audio_bench as sab
from sam_audio_bench.metrics.ratios import SNR
from sam_audio_bench.run import interruption
from sam_audio_bench.types import Prompt

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
Function = Callable[[torch.Tensor, int, Prompt], torch.Tensor]


@pytest.fixture(autouse=True)
def usual_handlers() -> Iterator[None]:
    """As in a terminal; what runs in the background or below nohup inherits ignored signals."""
    usual = (signal.default_int_handler, signal.SIG_DFL, signal.SIG_DFL)
    before = [signal.signal(number, handler) for number, handler in zip(SIGNALS, usual, strict=True)]
    yield
    for number, handler in zip(SIGNALS, before, strict=True):
        signal.signal(number, handler)


def run(task: Path, output: Path, separator: object, **options: object) -> sab.Results:
    return sab.evaluate(separator, str(task), metrics="snr", output=output, progress=False, **options)


def status(output: Path, name: str) -> str:
    return json.loads((output / name / "small@1-file" / "run.json").read_text())["status"]


def journalled(output: Path, name: str) -> list[str]:
    lines = (output / name / "small@1-file" / "items.jsonl").read_text().splitlines()
    return list(dict.fromkeys(json.loads(line)["item"] for line in lines))


def interrupting(number: int, treat: Callable[[], None]) -> Function:
    """A separator that receives a signal in its second call."""
    calls = []

    def interrupted(mixture: torch.Tensor, rate: int, prompt: Prompt) -> torch.Tensor:
        calls.append(None)
        if len(calls) == 2:
            treat()
        assert len(calls) < 3, "it was called again after the signal"
        return mixture * 0.5

    return interrupted


@pytest.mark.parametrize("number", SIGNALS)
def test_a_rerun_continues_a_run_that_a_signal_cancelled(number: int, small_task: Path, tmp_path: Path) -> None:
    handlers = [signal.getsignal(one) for one in SIGNALS]
    with pytest.raises(KeyboardInterrupt):
        run(small_task, tmp_path, interrupting(number, lambda: signal.raise_signal(number)))
    assert [signal.getsignal(one) for one in SIGNALS] == handlers
    assert status(tmp_path, "interrupted") == "cancelled"
    assert journalled(tmp_path, "interrupted") == ["item-0"]

    def interrupted(mixture: torch.Tensor, rate: int, prompt: Prompt) -> torch.Tensor:
        return mixture * 0.5

    assert run(small_task, tmp_path, interrupted).failures == 0
    assert status(tmp_path, "interrupted") == "success"


def swallow() -> None:
    try:
        signal.raise_signal(signal.SIGTERM)
    except BaseException:
        return


def turn() -> None:
    try:
        signal.raise_signal(signal.SIGTERM)
    except BaseException as error:
        raise RuntimeError("what is this?") from error


@pytest.mark.parametrize("treat", [swallow, turn])
def test_a_separator_cannot_suppress_a_signal(treat: Callable[[], None], small_task: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(small_task, tmp_path, interrupting(signal.SIGTERM, treat))
    assert status(tmp_path, "interrupted") == "cancelled"
    assert journalled(tmp_path, "interrupted") == ["item-0"]


def test_a_signal_while_scores_are_computed(small_task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SNR, "score", lambda self, items, answers: signal.raise_signal(signal.SIGHUP))
    with pytest.raises(KeyboardInterrupt):
        run(small_task, tmp_path, "hpss")
    assert status(tmp_path, "hpss") == "cancelled"


def test_a_signal_between_two_steps_is_only_recorded() -> None:
    def work() -> None:
        with interruption.defer_signals():
            signal.raise_signal(signal.SIGTERM)
            assert interruption.was_interrupted()
            with interruption.allow_interruption():
                pytest.fail("work began after the signal")

    with interruption.handle_signals(), pytest.raises(KeyboardInterrupt):
        work()
    assert not interruption.was_interrupted()


def test_only_the_first_of_many_is_raised() -> None:
    heard = []

    def work() -> None:
        with interruption.defer_signals():
            try:
                with interruption.allow_interruption():
                    signal.raise_signal(signal.SIGINT)
            finally:
                for _ in range(4):
                    signal.raise_signal(signal.SIGINT)
                    heard.append(None)

    with interruption.handle_signals(), pytest.raises(KeyboardInterrupt):
        work()
    assert len(heard) == 4


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruption.handle_signals():
            signal.raise_signal(signal.SIGHUP)
            assert not interruption.was_interrupted()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_forked_process_ends_by_its_signal() -> None:
    with interruption.handle_signals():
        child = os.fork()
        if child == 0:
            signal.raise_signal(signal.SIGTERM)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM


START = "from sam_audio_bench.cli import main; main()"


def sleepers(mark: str) -> list[str]:
    return [
        path.parent.name for path in Path("/proc").glob("[0-9]*/cmdline") if mark.encode() in read(path).split(b"\0")
    ]


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


@pytest.mark.parametrize(("number", "times"), [(signal.SIGTERM, 1), (signal.SIGINT, 5)])
def test_a_command_ends_with_3_and_without_its_program(
    number: int, times: int, small_task: Path, tmp_path: Path
) -> None:
    mark, temporary = f"{time.time_ns() % 10**7}.5", tmp_path / "temporary"
    temporary.mkdir()
    model = f"cmd:sh -c 'setsid sleep {mark} & sleep {mark}; : {{mixture}} {{target}}'"
    command = [sys.executable, "-c", START, "eval", "--model", model, "--task", str(small_task), "--metrics", "snr"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    )  # fmt: skip
    while process.poll() is None and len(sleepers(mark)) < 2:
        time.sleep(0.05)
    for _ in range(times):
        process.send_signal(number)
        time.sleep(0.02)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 3, err
    assert "Traceback" not in err
    assert "the same command continues" in err
    (header,) = (tmp_path / "runs").glob("cmd-sh-*/small@1-file/run.json")
    assert json.loads(header.read_text())["status"] == "cancelled"
    assert sleepers(mark) == []
    assert list(temporary.glob("sabench-*")) == []


def test_a_command_that_is_interrupted_while_it_plans_ends_with_3(tmp_path: Path) -> None:
    (tmp_path / "impatient.py").write_text("import signal\nsignal.raise_signal(signal.SIGTERM)\n")
    command = [sys.executable, "-c", START, "eval", "--model", "impatient:f", "--task", "sfx", "--split", "mini"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == "sabench: stopped\n"
