from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from separator_signals import RATE, answer, noise, query
from served_programs import alive, gone

from sam_audio_bench.errors import BadSeparation, Precondition, UsageError
from sam_audio_bench.separators.external import CommandSeparator
from sam_audio_bench.separators.program_command import fill_placeholders, parse_template
from sam_audio_bench.types import Prompt, Separator

MIXTURE = noise(0.1, channels=2)
COPY = "import shutil, sys; shutil.copy(sys.argv[1], sys.argv[2])"


def python(code: str, *arguments: str) -> str:
    """A template that runs Python code."""
    return " ".join([shlex.quote(sys.executable), "-c", shlex.quote(code), "{mixture}", "{target}", *arguments])


def test_copy_gives_exactly_the_mixture() -> None:
    mixture = 3 * MIXTURE
    separator = CommandSeparator("cp {mixture} {target}")
    found = answer(separator, mixture)
    assert isinstance(separator, Separator)
    assert torch.equal(found.target.samples, mixture)
    assert not found.residual.samples.any()
    assert found.target.rate == RATE


def test_every_placeholder_arrives_as_one_argument(tmp_path: Path) -> None:
    record = tmp_path / "seen.json"
    template = python(
        f"{COPY}; import json; json.dump(sys.argv[3:], open({str(record)!r}, 'w'))",
        *("{text}", "--spans={spans}", "{video}", "{mask}", "{rate}", "{seed}", "{1}", "{}"),
    )
    prompt = Prompt(
        text="a 'loud' \"dog\"; rm -rf $HOME {seed}", spans=(("+", 1, 2.5), ("-", 3.0, 4.0)), video="a b.mp4", mask="m"
    )
    CommandSeparator(template).separate([query(MIXTURE, prompt)], [7])
    spans = "--spans=+1.0:2.5 -3.0:4.0"
    assert json.loads(record.read_text()) == [prompt.text, spans, "a b.mp4", "m", str(RATE), "7", "{1}", "{}"]
    CommandSeparator(template).separate([query(MIXTURE, Prompt(video="v.mp4"))], [8])
    assert json.loads(record.read_text()) == ["", "--spans=", "v.mp4", "", str(RATE), "8", "{1}", "{}"]


@given(st.text())
def test_any_text_stays_one_argument(text: str) -> None:
    arguments = parse_template("separate --text={text} {text} {mixture} {target}")
    values = {"text": text, "mixture": "in.wav", "target": "out.wav"}
    assert fill_placeholders(arguments, values) == ["separate", f"--text={text}", text, "in.wav", "out.wav"]


@given(st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1).filter(str.strip))
@settings(max_examples=15, deadline=None)
def test_any_text_reaches_the_program(text: str) -> None:
    with tempfile.NamedTemporaryFile() as record:
        code = f"{COPY}; open({record.name!r}, 'wb').write(os.fsencode('|'.join(sys.argv[4:])))"
        answer(CommandSeparator(python(f"import os; {code}", "--", "{text}", "end")), MIXTURE, Prompt(text=text))
        assert os.fsdecode(Path(record.name).read_bytes()) == f"{text}|end"


@pytest.mark.parametrize(
    ("argument", "prompt"),
    [
        ("{text}", Prompt(text="--output=/tmp/x")),
        ("{text}", Prompt(text="-")),
        ("{text}.", Prompt(text="-v")),
        ("{spans}", Prompt(spans=(("-", 1.0, 2.0),))),
        ("{video}", Prompt(video="-v.mp4")),
    ],
)
def test_a_value_never_becomes_an_option(argument: str, prompt: Prompt) -> None:
    name = argument.strip("{}.")
    with pytest.raises(BadSeparation, match=rf"begins with a dash; write --{name}=\{{{name}\}}"):
        answer(CommandSeparator(python(COPY, argument)), MIXTURE, prompt)
    answer(CommandSeparator(python(COPY, f"--{name}={{{name}}}")), MIXTURE, prompt)
    answer(CommandSeparator(python(COPY, "--", argument)), MIXTURE, prompt)


@pytest.mark.parametrize("text", ["--output=x", "two\nlines\r\n", "Größe", ""])
def test_a_file_takes_any_text(text: str, tmp_path: Path) -> None:
    record = tmp_path / "seen"
    template = python(f"{COPY}; shutil.copy(sys.argv[3], {str(record)!r})", "{text_file}")
    answer(CommandSeparator(template), MIXTURE, Prompt(text=text or None, video="v.mp4"))
    assert record.read_bytes() == text.encode()


def test_nul_in_a_text_is_that_items_error() -> None:
    with pytest.raises(BadSeparation, match="could not be started: embedded null byte"):
        answer(CommandSeparator("cp {mixture} {target} {text}"), MIXTURE, Prompt(text="a\0b"))


def test_residual_is_read_where_it_was_written() -> None:
    both = f"{COPY}; shutil.copy(sys.argv[1], sys.argv[3])"
    assert torch.equal(answer(CommandSeparator(python(both, "{residual}")), MIXTURE).residual.samples, MIXTURE)
    assert not answer(CommandSeparator(python(COPY, "{residual}")), MIXTURE).residual.samples.any()


def test_non_zero_exit_shows_the_end_of_stderr() -> None:
    code = "import sys; print('noise'); print('\\n'.join(map(str, range(9))), file=sys.stderr); sys.exit(3)"
    with pytest.raises(BadSeparation, match=r"cmd-python.* ended with exit code 3: 6 \| 7 \| 8$"):
        answer(CommandSeparator(python(code)), MIXTURE)
    with pytest.raises(BadSeparation, match="exit code 1: it wrote nothing to stderr"):
        answer(CommandSeparator("false {mixture} {target}"), MIXTURE)


def test_nothing_written() -> None:
    with pytest.raises(BadSeparation, match=r"cmd-true-\w{8} ended well, but: expected an audio file at .*target.wav"):
        answer(CommandSeparator("true {mixture} {target}"), MIXTURE)


@pytest.mark.parametrize("content", ["b''", "b'RIFF'", "b'hello world' * 100"])
def test_rubbish_written(content: str) -> None:
    with pytest.raises(BadSeparation, match="ended well, but: expected"):
        answer(CommandSeparator(python(f"import sys; open(sys.argv[2], 'wb').write({content})")), MIXTURE)


def soundfile_code(samples: str, rate: int) -> str:
    return f"import sys, numpy, soundfile; soundfile.write(sys.argv[2], {samples}, {rate}, subtype='FLOAT')"


def test_not_finite_and_another_rate() -> None:
    with pytest.raises(BadSeparation, match="NaN") as caught:
        answer(CommandSeparator(python(soundfile_code("numpy.full((9, 1), numpy.nan)", RATE))), MIXTURE)
    assert caught.value.status == "non_finite"
    with pytest.raises(BadSeparation, match=r"expected the target of cmd-.* at the mixture's 16000 Hz, found 8000 Hz"):
        answer(CommandSeparator(python(soundfile_code("numpy.zeros((9, 1))", 8000))), MIXTURE)


def test_hang_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    note = tmp_path / "child"
    sleep = "import time; time.sleep(60)"
    code = (
        f"import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', {sleep!r}]); "
        f"open({str(note)!r}, 'w').write(str(child.pid)); {sleep}"
    )
    begun = time.monotonic()
    with pytest.raises(BadSeparation, match=r"was killed: it had not finished after 2 seconds \(see --timeout\)"):
        answer(CommandSeparator(python(code), timeout=2), MIXTURE)
    assert time.monotonic() - begun < 30
    assert gone(int(note.read_text()))


@pytest.mark.parametrize(
    "way",
    [
        "",
        "start_new_session=True",
        "env={}, start_new_session=True",
        "preexec_fn=lambda: os.fork() and os._exit(0), start_new_session=True",
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere only the process group ends")
def test_what_a_program_leaves_behind_is_ended(way: str, tmp_path: Path) -> None:
    note = tmp_path / "children"
    sleep = f"import os, time; open({str(note)!r}, 'a').write(f'{{os.getpid()}}\\n'); time.sleep(60)"
    helper = f"subprocess.Popen([sys.executable, '-S', '-c', {sleep!r}], {way})"
    wait = f"while not os.path.exists({str(note)!r}): pass"
    program = tmp_path / "program.py"
    program.write_text(f"import os, shutil, subprocess, sys\n{COPY}\n{helper}\n{wait}\n")
    begun = time.monotonic()
    answer(CommandSeparator(f"{sys.executable} {program} {{mixture}} {{target}}"), MIXTURE)
    assert time.monotonic() - begun < 30
    assert not any(alive(int(child)) for child in note.read_text().split())


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere only the process group ends")
def test_other_children_of_this_process_stay() -> None:
    others = [
        subprocess.Popen(["sleep", "60"], start_new_session=True, env={"SABENCH_PROGRAM": mark}) for mark in ("", "x")
    ]
    try:
        answer(CommandSeparator("cp {mixture} {target}"), MIXTURE)
        assert [other.poll() for other in others] == [None, None]
    finally:
        for other in others:
            other.kill()
            other.wait()


def test_what_a_program_says_is_passed_on(capfd: pytest.CaptureFixture[str]) -> None:
    answer(CommandSeparator(python(f"{COPY}; print('out'); print('err', file=sys.stderr)")), MIXTURE)
    assert capfd.readouterr() == ("out\n", "err\n")


def test_temporary_folder_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    answer(CommandSeparator("cp {mixture} {target}"), MIXTURE)
    with pytest.raises(BadSeparation):
        answer(CommandSeparator("false {mixture} {target}"), MIXTURE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("cp {mixture} {target} {txet}", r"expected the placeholders \{mixture\} .*, found \{txet\}"),
        ("cp {target}", r"expected \{mixture\} in the command, found 'cp \{target\}'"),
        ("cp {mixture}", r"expected \{target\} in the command"),
        ("", r"expected \{mixture\} in the command, found ''"),
        ("cp '{mixture} {target}", "expected a command with balanced quotes"),
    ],
)
def test_impossible_templates(template: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        CommandSeparator(template)


def test_program_not_found() -> None:
    with pytest.raises(
        Precondition, match="expected a program that can be run, found no 'no-such-program' on the PATH"
    ):
        CommandSeparator("no-such-program {mixture} {target}")


def test_program_that_cannot_be_executed(tmp_path: Path) -> None:
    program = tmp_path / "data"
    program.write_bytes(b"\x7fELF rubbish")
    program.chmod(0o755)
    with pytest.raises(BadSeparation, match="could not be started"):
        answer(CommandSeparator(f"{program} {{mixture}} {{target}}"), MIXTURE)


@pytest.mark.parametrize("timeout", [0, -1.0, float("nan"), float("inf")])
def test_impossible_timeout(timeout: float) -> None:
    with pytest.raises(UsageError, match="expected a timeout above 0 seconds"):
        CommandSeparator("cp {mixture} {target}", timeout=timeout)


def test_name_and_settings_follow_the_template() -> None:
    first, again, other = (CommandSeparator(f"cp {option} {{mixture}} {{target}}") for option in ("-p", "-p", "-a"))
    assert first.name == again.name != other.name
    assert first.name.startswith("cmd-cp-")
    assert len(first.name) == len("cmd-cp-") + 8
    assert first.settings == {"command": "cp -p {mixture} {target}"}
    assert first.named_files.keys() == {"cp"}


HALF = "import net\nprint(net.gain(1))\n"
FILES = {
    "half.py": HALF,
    "tool": "#!/usr/bin/env python3\n" + HALF,
    "net.py": "import profile\n\ndef gain(x):\n    return x\n",
    "profile.py": "X = 1\n",
    "kit/__init__.py": "",
    "kit/__main__.py": "from . import inner\n",
    "kit/inner.py": "X = 1\n",
    "w.npy": "1",
    "run.sh": "#!/bin/sh\n. ./second.sh\n",
    "second.sh": "sh run.sh; python half.py\n",
    "bin/far": '#!/bin/sh\nexec python "$(dirname "$0")/near.py"\n',
    "bin/near.py": "import beside\n",
    "bin/beside.py": "X = 1\n",
}


@pytest.mark.parametrize(
    ("command", "counted"),
    [
        ("python half.py", {"half.py", "net.py", "profile.py"}),
        ("python tool", {"tool", "net.py", "profile.py"}),
        ("sh -c 'python half.py > \"$0\"'", {"half.py", "net.py", "profile.py"}),
        ("env GW=w.npy true", {"w.npy"}),
        ("true --a=x,w.npy", {"w.npy"}),
        ("python -m half", {"half.py", "net.py", "profile.py"}),
        ("python -m kit", {"kit/__init__.py", "kit/__main__.py", "kit/inner.py"}),
        ("sh -c 'python -m kit.inner'", {"kit/__init__.py", "kit/inner.py"}),
        ("sh run.sh", {"run.sh", "second.sh", "half.py", "net.py", "profile.py"}),
        ("./bin/far", {"bin/far", "bin/near.py", "bin/beside.py"}),
    ],
)
def test_every_file_behind_a_command_counts(
    command: str, counted: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "bin" / "far").chmod(0o755)
    separator = CommandSeparator(f"{command} {{mixture}} {{target}}")
    before = separator.named_files
    for name, text in FILES.items():
        (tmp_path / name).write_text(text + "Y = 1\n")
        assert (separator.named_files != before) is (name in counted), name
        (tmp_path / name).write_text(text)
    assert separator.named_files == before


def test_comments_of_a_script_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "half.py").write_text("print(1)\n")
    before = CommandSeparator("python half.py {mixture} {target}").named_files
    (tmp_path / "half.py").write_text("# why\nprint( 1 )\n")
    assert CommandSeparator("python half.py {mixture} {target}").named_files == before
