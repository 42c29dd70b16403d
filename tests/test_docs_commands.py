"""Blocks of sabench commands in the README and the guides run in an empty folder; the first is in test_docs.py."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner
from docs_blocks import commands, parameters

from sam_audio_bench.cli import group


@pytest.mark.parametrize(("place", "code"), parameters(commands()[1:]))
def test_commands(place: str, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for line in code.splitlines():
        result = CliRunner().invoke(group, shlex.split(line, comments=True)[1:])
        assert result.exit_code == 0, f"{place}: {line}\n{result.output}\n{result.exception}"
