"""The README and the guides: python blocks run as they stand, the first command prints what is shown, links lead on."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner
from docs_blocks import PAGES, ROOT, blocks, commands

from sam_audio_bench.cli import group


@pytest.mark.parametrize(("place", "code"), blocks("python"), ids=lambda text: text if ":" in text[:40] else "")
def test_python_blocks(place: str, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(code, place, "exec"), {"__name__": "__main__"})


def test_the_readme_shows_what_the_first_command_prints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)  # which pytest-xdist sets
    (place, command), *_ = commands()
    assert place.startswith("README.md:")
    result = CliRunner().invoke(group, shlex.split(command)[1:])
    assert result.exit_code == 0, f"{place}: {command}\n{result.output}\n{result.exception}"
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (block, *_) = re.findall(r"^```text\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert without_times(result.stdout) == without_times(block)


def without_times(text: str) -> list[str]:
    """Lines without what costs say of this machine: of that block the names are left."""
    lines = [line.rstrip() for line in text.splitlines()]
    start = next(index for index, line in enumerate(lines) if line.startswith("cost"))
    end = lines.index("Run folders:")
    return [*lines[:start], *(line.split()[0].strip("─,") for line in lines[start:end]), *lines[end:]]


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
