"""``sabench`` without a command: how to begin, and the version for people and for bug reports."""

from __future__ import annotations

import json
import platform
import shlex
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from docs_blocks import commands

import sam_audio_bench as sab
from sam_audio_bench.cli import FIRST_COMMANDS, group


def run(*words: str, **environment: str | None) -> Any:
    return CliRunner(env=environment).invoke(group, list(words), prog_name="sabench")


def test_without_a_command_it_says_how_to_begin() -> None:
    found = run()
    assert found.exit_code == 2
    assert found.stdout == ""
    assert len(FIRST_COMMANDS) == 3
    for command, purpose in FIRST_COMMANDS.items():
        assert f"  {command}  " in found.stderr
        assert purpose in found.stderr
    assert "sabench --help names" in found.stderr


def test_the_first_commands_are_the_readmes_and_take_their_options() -> None:
    shown = {line for block in commands() for line in block.code.splitlines()}
    for command in FIRST_COMMANDS:
        name, *words = shlex.split(command)[1:]
        parsed = group.get_command(None, name)  # type: ignore[arg-type]
        assert parsed is not None
        parsed.make_context(name, words)  # raises UsageError for an option that there is not
        assert command in shown or name in ("list", "table")
    assert [line for line in run("--help").stdout.splitlines() if line.strip() in FIRST_COMMANDS] == [
        f"  {command}" for command in FIRST_COMMANDS
    ]


def test_version() -> None:
    assert run("--version").stdout == f"sabench, version {sab.__version__}\n"
    found = json.loads(run("--version", "--json").stdout)
    assert run("--json", "--version").stdout == run("--version", "--json").stdout
    assert found["version"] == sab.__version__
    assert found["python"] == platform.python_version()
    assert found["torch"] == (version("torch") if find_spec("torch") else None)
    assert found["platform"] == platform.platform()
    assert (found["commit"] is None) == (found["changed"] is None)


def test_the_cache_of_the_version(tmp_path: Path) -> None:
    chosen = run("--version", "--json", SABENCH_CACHE=str(tmp_path))
    assert json.loads(chosen.stdout)["cache"] == str(tmp_path)


def test_a_home_that_lacks_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # as where there is neither HOME nor an account
    found = run("--version", "--json", SABENCH_CACHE=None, XDG_CACHE_HOME=None)
    assert json.loads(found.stdout)["cache"] is None


def test_json_alone_is_refused_and_no_variable_turns_it_on() -> None:
    refused = run("--json")
    assert refused.exit_code == 2
    assert "with --version" in refused.stderr
    assert run("--version", SABENCH_JSON="1").stdout.startswith("sabench, version")
    assert "To begin with" in run(SABENCH_VERSION="1").stderr


@pytest.mark.parametrize("words", [[], ["--version"], ["--version", "--json"]])
def test_no_torch_is_imported(words: list[str]) -> None:
    code = (
        f"import sys\nfrom sam_audio_bench.cli import main\ntry:\n    main({words!r})\nexcept SystemExit:\n"
        "    assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
