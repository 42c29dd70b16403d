"""No program that stays outlives its run, nor what it started, however the run ends."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from separator_signals import answer, noise
from served_programs import Written, alive, gone

import sam_audio_bench as sab
from sam_audio_bench.errors import BadSeparation
from sam_audio_bench.separators.external import CommandSeparator
from sam_audio_bench.separators.serving import ServedSeparator

MIXTURE = noise(0.1)
NEVER = "time.sleep(600)"
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere only the process group ends")
WAYS = (
    "",
    "start_new_session=True",
    "env={}, start_new_session=True",
    "preexec_fn=lambda: os.fork() and os._exit(0), start_new_session=True",
    "preexec_fn=lambda: os.fork() and os._exit(0), start_new_session=True, env={}",
)


def leaving(note: Path, way: str) -> str:
    """Statements that start a helper, and wait until it has noted itself and its program."""
    sleep = f"import os, time; open({str(note)!r}, 'a').write(f'{{os.getpid()}}\\n'); time.sleep(600)"
    return (
        f"subprocess.Popen([sys.executable, '-S', '-c', {sleep!r}], {way})\n"
        f"open({str(note)!r}, 'a').write(f'{{os.getpid()}}\\n')\n"
        f"while len(open({str(note)!r}).read().split()) < 2 * query['id']: time.sleep(0.01)"
    )


def noted(note: Path) -> list[int]:
    return [int(number) for number in note.read_text().split()]


@LINUX
@pytest.mark.parametrize("way", WAYS)
def test_released_with_all_that_it_started(way: str, tmp_path: Path) -> None:
    note = tmp_path / "note"
    separator = ServedSeparator(Written(tmp_path, f"{leaving(note, way)}\nanswer(query)").command)
    for _ in range(2):
        answer(separator, MIXTURE)
    assert len(noted(note)) == 4
    assert all(map(alive, noted(note)))
    separator.release_processes()
    assert not any(map(alive, noted(note)))
    separator.release_processes()


@LINUX
@pytest.mark.parametrize(("misdeed", "way"), [*(("os._exit(1)", way) for way in WAYS), ("time.sleep(600)", WAYS[-1])])
def test_a_crash_leaves_nothing(misdeed: str, way: str, tmp_path: Path) -> None:
    note = tmp_path / "note"
    separator = ServedSeparator(Written(tmp_path, f"{leaving(note, way)}\n{misdeed}").command, 3.0, 60)
    with pytest.raises(BadSeparation):
        answer(separator, MIXTURE)
    assert len(noted(note)) == 2
    assert not any(map(alive, noted(note)))


@LINUX
@pytest.mark.parametrize("way", WAYS)
def test_one_that_goes_while_it_is_idle_leaves_nothing(way: str, tmp_path: Path) -> None:
    note = tmp_path / "note"
    separator = ServedSeparator(Written(tmp_path, f"{leaving(note, way)}\nanswer(query)\nos._exit(0)").command)
    answer(separator, MIXTURE)
    while not separator._dialogue.describe_exit():
        continue
    separator.release_processes()
    assert not any(map(alive, noted(note)))


def test_one_that_ignores_the_end_of_its_input_is_killed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    note = tmp_path / "note"
    code = f"open({str(note)!r}, 'w').write(str(os.getpid()))\nanswer(query)"
    separator = ServedSeparator(Written(tmp_path, code, end="time.sleep(600)").command)
    answer(separator, MIXTURE)
    separator.release_processes()
    assert not any(map(alive, noted(note)))
    assert "had not ended when its standard input did, and was killed" in capfd.readouterr().err


@LINUX
def test_other_children_of_this_process_stay(tmp_path: Path) -> None:
    """Such as were there before, such as came while it was idle, and other programs that stay."""
    separator, other = (ServedSeparator(Written(tmp_path, end=f"x = {number}").command) for number in range(2))
    before = children()
    others = [subprocess.Popen(["sleep", "600"], start_new_session=True, env={})]
    try:
        answer(separator, MIXTURE)
        answer(other, MIXTURE)
        others.append(subprocess.Popen(["sleep", "600"], start_new_session=True, env={}))
        answer(CommandSeparator("cp {mixture} {target}"), MIXTURE)
        answer(separator, MIXTURE)
        others.append(subprocess.Popen(["sleep", "600"], start_new_session=True, env={"SABENCH_PROGRAM": "x"}))
        ended = subprocess.Popen(["false"], start_new_session=True, env={})
        while Path(f"/proc/{ended.pid}/stat").read_text().split()[2] != "Z":
            continue
        answer(separator, MIXTURE)
        separator.release_processes()
        assert [one.poll() for one in others] == [None, None, None]
        assert ended.wait() == 1  # nobody else has taken how it ended
        (started,) = {child for child in children() - before if child not in [one.pid for one in others]}
        answer(other, MIXTURE)
        assert alive(started)
    finally:
        other.release_processes()
        for one in others:
            one.kill()
            one.wait()
    assert children() == before


def children() -> set[int]:
    return {int(number) for number in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()}


@LINUX
def test_helpers_that_end_are_let_go(tmp_path: Path) -> None:
    helper = "subprocess.run(['sh', '-c', 'true &'])\nanswer(query)"
    separator, before = ServedSeparator(Written(tmp_path, helper).command), children()
    for _ in range(20):
        answer(separator, MIXTURE)
    assert len(children() - before) <= 3  # the program, and a helper that has just ended
    separator.release_processes()
    assert children() == before


def test_it_goes_with_its_separator(tmp_path: Path) -> None:
    note = tmp_path / "note"
    code = f"open({str(note)!r}, 'w').write(str(os.getpid()))\nanswer(query)"
    separator = ServedSeparator(Written(tmp_path, code).command)
    answer(separator, MIXTURE)
    assert alive(*noted(note))
    del separator
    gc.collect()
    assert not alive(*noted(note))


def test_a_fork_of_this_process_leaves_it_alone(tmp_path: Path) -> None:
    program = Written(tmp_path)
    separator = ServedSeparator(program.command)
    answer(separator, MIXTURE)
    if (child := os.fork()) == 0:
        separator._dialogue.end()
        os._exit(0)
    os.waitpid(child, 0)
    answer(separator, MIXTURE)
    separator.release_processes()
    assert program.starts == 1


START = """
import sys, signal, os, torch
from sam_audio_bench.separators.serving import ServedSeparator
from sam_audio_bench.types import Audio, Prompt, Query
separator = ServedSeparator(sys.argv[1])
separator.separate([Query(mixture=Audio(torch.zeros(1, 800), 8000), prompt=Prompt(text="x"))], [0])
"""


def test_it_goes_with_this_process(tmp_path: Path) -> None:
    note = tmp_path / "note"
    program = Written(tmp_path, f"open({str(note)!r}, 'w').write(str(os.getpid()))\nanswer(query)", end=NEVER)
    subprocess.run([sys.executable, "-c", START + "1 / 0", program.command], capture_output=True, check=False)
    assert gone(*noted(note))


def test_its_input_ends_where_this_process_is_killed(tmp_path: Path) -> None:
    note = tmp_path / "note"
    separator = ServedSeparator(
        Written(tmp_path, f"open({str(note)!r}, 'w').write(str(os.getpid()))\nanswer(query)").command
    )
    if (child := os.fork()) == 0:
        try:
            answer(separator, MIXTURE)
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert gone(*noted(note))


def header(output: Path, model: str) -> dict[str, object]:
    return json.loads((output / model / "small@1-file" / "run.json").read_text())


def test_a_run_starts_it_once_and_ends_it(small_task: Path, tmp_path: Path) -> None:
    other = small_task.with_name("other.csv")
    other.write_text(small_task.read_text())
    note = tmp_path / "note"
    heard = "print('heard', query['text'], file=sys.stderr)"
    code = f"{heard}\nopen({str(note)!r}, 'w').write(str(os.getpid()))\nanswer(query)"
    program = Written(tmp_path, code, end="print('bye', file=sys.stderr)")
    options = {"metrics": "snr", "output": tmp_path / "runs", "progress": False}
    model = f"serve:{program.command}"
    results = sab.evaluate(model, [str(small_task), str(other)], **options)
    assert results.failures == 0
    assert program.starts == 1
    assert not alive(*noted(note))
    (name,) = {row.separator for row in results.rows} - {"mixture"}
    log = (tmp_path / "runs" / name / "small@1-file" / "separator.log").read_text()
    assert log.startswith("--- item-0\nheard noise 0\n--- item-1\nheard noise 1\n")
    last = (tmp_path / "runs" / name / "other@1-file" / "separator.log").read_text()
    assert last.endswith("heard noise 5\n--- at the end\nbye\n")
    means = {(row.task, row.separator): row.value for row in results.rows}
    assert means["small", name] == means["small", "mixture"]
    sab.evaluate(model, [str(small_task), str(other)], **options)
    assert program.starts == 1  # all is kept
    program.path.write_text(program.path.read_text() + "\nprint(1)\n")
    sab.evaluate(model, str(small_task), **options)
    assert program.starts == 2


def test_crashes_cost_their_items_alone(small_task: Path, tmp_path: Path) -> None:
    program = Written(tmp_path, "os._exit(3)", turn="query['text'] in ('noise 1', 'noise 4')")
    results = sab.evaluate(
        f"serve:{program.command}", str(small_task), metrics="snr", output=tmp_path / "runs", progress=False
    )
    assert program.starts == 3
    assert results.failures == 2
    journal = next((tmp_path / "runs").glob("serve-*/small@1-file/items.jsonl")).read_text()
    records = [json.loads(line) for line in journal.splitlines()]
    failed = {record["item"]: record["message"] for record in records if record.get("message")}
    assert failed.keys() == {"item-1", "item-4"}
    assert all("ended with exit code 3 instead of an answer: it wrote nothing to" in text for text in failed.values())


class Holding:
    """Anyone's separator that holds processes."""

    def __init__(self, error: Exception | None = None) -> None:
        self.released, self._error = 0, error

    def separate(self, queries, seeds):
        return [sab.Separation(target=query.mixture, residual=query.mixture) for query in queries]

    def release_processes(self) -> None:
        self.released += 1
        if self._error is not None:
            raise self._error


def test_any_separator_is_released_at_the_end_of_a_run(
    small_task: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    other = small_task.with_name("other.csv")
    other.write_text(small_task.read_text())
    for number, holding in enumerate((Holding(), Holding(OSError("no such socket")))):
        sab.evaluate(
            holding, [str(small_task), str(other)], metrics="snr", output=tmp_path / str(number), progress=False
        )
        assert holding.released == 1
    assert capfd.readouterr().err == "Holding could not end its processes: OSError: no such socket\n"


CLI = "from sam_audio_bench.cli import main; main()"


@LINUX
@pytest.mark.parametrize(("misdeed", "number"), [("time.sleep(600)", signal.SIGTERM), ("answer(query)", signal.SIGINT)])
def test_a_signal_ends_it_with_all_that_it_started(misdeed: str, number: int, small_task: Path, tmp_path: Path) -> None:
    """During a query, and while the program is idle and its answers are scored."""
    note, temporary = tmp_path / "note", tmp_path / "temporary"
    temporary.mkdir()
    (tmp_path / "slow.py").write_text(SLOW_METRIC.format(note=str(tmp_path / "scoring")))
    program = Written(tmp_path, f"{leaving(note, 'start_new_session=True')}\n{misdeed}")
    command = [sys.executable, "-c", CLI, "eval", "--model", f"serve:{program.command}", "--task", str(small_task),
               "--metrics", "slow:Slow", "--limit", "1"]  # fmt: skip
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
        preexec_fn=usual_handlers,
    )  # fmt: skip
    begun = note if misdeed.startswith("time") else tmp_path / "scoring"
    while process.poll() is None and not (begun.exists() and len(noted(note)) == 2):
        time.sleep(0.05)
    process.send_signal(number)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 3, err
    assert "Traceback" not in err
    assert not any(map(alive, noted(note)))
    (path,) = (tmp_path / "runs").glob("serve-*/small@1-file/run.json")
    assert json.loads(path.read_text())["status"] == "cancelled"
    assert list(temporary.iterdir()) == []


def usual_handlers() -> None:
    """As in a terminal; what runs in the background or below nohup inherits ignored signals."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


SLOW_METRIC = """
import time
from sam_audio_bench import Metric
from sam_audio_bench.metrics import MetricCard

class Slow(Metric):
    columns = ("slow",)

    @classmethod
    def cards(cls):
        return (MetricCard(id="slow", target="slow:Slow", summary="waits"),)

    def score(self, items, separations):
        open({note!r}, "w").close()
        time.sleep(600)
"""
