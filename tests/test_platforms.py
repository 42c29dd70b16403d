"""What systems do differently, each way run here: Windows is faked, by its switch and by a `taskkill` of our own."""

from __future__ import annotations

import os
import shlex
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sam_audio_bench import platforms
from sam_audio_bench.errors import Precondition, StoreError
from sam_audio_bench.leaderboard import safe_io
from sam_audio_bench.run.output_log import capture_text
from sam_audio_bench.run.worker_process import ProcessHandle
from sam_audio_bench.separators.dialogue import Dialogue, ProgramError
from sam_audio_bench.separators.pipes import Pipes, SelectedPipes, ThreadedPipes
from sam_audio_bench.separators.program_command import parse_command, parse_template
from sam_audio_bench.separators.serving import ServedSeparator
from sam_audio_bench.types import Audio, Prompt, Query

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows itself needs no fake")

ECHO = """
import sys
print("ready", flush=True)
for line in sys.stdin:
    if line.startswith("end"):
        sys.exit(3)
    print(line.strip()[::-1], flush=True)
"""


@pytest.fixture(params=[False, True], ids=["posix", "windows"])
def is_windows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(platforms, "IS_WINDOWS", request.param)
    if request.param:  # what only the real one can do
        monkeypatch.setattr("sam_audio_bench.separators.programs.new_group_options", dict)
    return bool(request.param)


def windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platforms, "IS_WINDOWS", True)


def test_words_of_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    windows(monkeypatch)
    command = r"C:\tools\run.exe 'my model.py' --out=\\host\share {mixture} {target} # no comment"
    words = [r"C:\tools\run.exe", "my model.py", r"--out=\\host\share", "{mixture}", "{target}", "#", "no", "comment"]
    assert parse_template(command) == words
    assert parse_command(r'python "C:\my models\a.py"') == ["python", r"C:\my models\a.py"]
    assert platforms.join_command(["sabench", "--task", "a b"]) == 'sabench --task "a b"'
    with pytest.raises(ValueError, match="No closing quotation"):
        platforms.split_command(r"'C:\tools")


@given(st.text())
def test_words_of_posix_are_those_of_shlex(command: str) -> None:
    def found(split: Callable[[str], list[str]]) -> list[str] | str:
        try:
            return split(command)
        except ValueError as error:
            return str(error)

    assert found(platforms.split_command) == found(shlex.split)


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), min_size=1))
def test_what_is_joined_splits_into_the_same(words: list[str]) -> None:
    assert platforms.split_command(platforms.join_command(words)) == words


def test_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    assert platforms.new_group_options() == {"start_new_session": True}
    windows(monkeypatch)
    assert platforms.new_group_options() == {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0x200)}


def taskkill(folder: Path, code: str) -> None:
    """A program of that name; its arguments are /F /T /PID and a number."""
    program = folder / "taskkill"
    program.write_text(f"#!{sys.executable}\nimport os, sys\nassert sys.argv[1:4] == ['/F', '/T', '/PID']\n{code}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


@pytest.mark.parametrize("kind", ["as it should", "refuses", "is absent"])
def test_trees_are_ended(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    windows(monkeypatch)
    monkeypatch.setenv("PATH", str(tmp_path))
    if kind != "is absent":
        taskkill(tmp_path, "os.kill(int(sys.argv[4]), 15)" if kind == "as it should" else "sys.exit(5)")
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    platforms.kill_group(process)
    assert process.returncode in ((-signal.SIGTERM, -signal.SIGKILL) if kind == "as it should" else (-signal.SIGKILL,))
    platforms.kill_group(process)  # the second time there is nobody to end


@pytest.fixture(params=[SelectedPipes, ThreadedPipes])
def talk(request: pytest.FixtureRequest) -> Iterator[tuple[Pipes, subprocess.Popen[bytes]]]:
    command = [sys.executable, "-c", ECHO]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        pipes = request.param(process.stdin, process.stdout)
        yield pipes, process
        process.kill()
        pipes.close()


def line_of(pipes: Pipes) -> bytes | None:
    """Until a line is complete, or the end."""
    found, deadline = b"", time.monotonic() + 30
    while not found.endswith(b"\n") and time.monotonic() < deadline:
        part = pipes.exchange(0.05)
        if part is None:
            return None
        found += part
    return found


def test_both_ways_to_wait_for_a_pipe(talk: tuple[Pipes, subprocess.Popen[bytes]]) -> None:
    pipes, process = talk
    assert line_of(pipes) == b"ready\n"
    assert pipes.read_available() == b""
    assert pipes.exchange(0.0) == b""
    long = b"ab" * 100_000  # more than any pipe holds
    pipes.send(long + b"\n")
    assert line_of(pipes) == long[::-1] + b"\n"
    assert pipes.pending_bytes == 0
    pipes.send(b"end\n")
    assert line_of(pipes) is None
    assert process.wait() == 3
    pipes.send(b"too late\n")
    assert pipes.exchange(0.5) is None


def test_what_is_not_read_counts(talk: tuple[Pipes, subprocess.Popen[bytes]]) -> None:
    pipes, process = talk
    assert line_of(pipes) == b"ready\n"
    os.kill(process.pid, signal.SIGSTOP)
    pipes.send(b"x" * 2_000_000)
    for _ in range(5):
        assert pipes.exchange(0.05) == b""
    assert 0 < pipes.pending_bytes < 2_000_000
    pipes.close_input()
    assert pipes.pending_bytes == 0


@pytest.mark.usefixtures("is_windows")
def test_a_dialogue(capfd: pytest.CaptureFixture[str]) -> None:
    code = ECHO.replace("print(line", "print('about', line.strip(), file=sys.stderr, flush=True); print(line")
    one = Dialogue([sys.executable, "-c", code])
    assert one.request(b"", timeout=30, expected="ready", see="docs")[0] == b"ready"
    assert one.request(b"abc\n", timeout=30, expected="a line", see="docs")[0] == b"cba"
    one.forward_stderr()
    assert capfd.readouterr().err == "about abc\n"
    assert one.request(b"xy\n", timeout=30, expected="a line", see="docs")[0] == b"yx"
    assert one.unrequested_output() == ""
    with pytest.raises(ProgramError, match=r"ended with exit code 3 instead of an answer: about xy"):
        one.request(b"end\n", timeout=30, expected="a line", see="docs")
    one.end()
    assert capfd.readouterr().err == "about xy\n"


@pytest.mark.usefixtures("is_windows")
def test_a_dialogue_that_takes_too_long() -> None:
    one = Dialogue([sys.executable, "-c", "import time; print('ready', flush=True); time.sleep(60)"])
    one.request(b"", timeout=30, expected="ready", see="docs")
    with pytest.raises(
        ProgramError, match=r"was killed: expected a line within 0.2 seconds \(see docs\), found nothing"
    ):
        one.request(b"abc\n", timeout=0.2, expected="a line", see="docs")
    one.end()
    assert one.describe_exit() == "was ended by SIGKILL"


def test_a_program_that_stays_answers_alike(is_windows: bool, tmp_path: Path) -> None:
    program = Path(__file__).parents[1] / "examples" / "separator.py"
    separator = ServedSeparator(f"{sys.executable} {program}")
    query = Query(mixture=Audio(0.1 * torch.randn(1, 4000), 8000), prompt=Prompt(text="dog"))
    with capture_text():
        (found,) = separator.separate([query], [0])
        separator.release_processes()
    assert found.target.length == 4000


def test_workers_are_refused_with_what_to_do_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    windows(monkeypatch)
    with pytest.raises(Precondition, match=r"found Windows; use --executor local, without --timeout and --memory"):
        ProcessHandle()


def test_links_are_refused_without_a_flag_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "there.txt").write_bytes(b"a\r\nb")
    (tmp_path / "link.txt").symlink_to(tmp_path / "there.txt")
    for _ in range(2):
        assert safe_io.read_prefix(tmp_path / "there.txt", 10) == b"a\r\nb"
        with pytest.raises(StoreError, match="expected a plain file"):
            safe_io.read_prefix(tmp_path / "link.txt", 10)
        monkeypatch.delattr(os, "O_NOFOLLOW", raising=False)
