"""Every block of the README and the guides runs: python as it stands, sabench commands in an empty folder."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from sam_audio_bench.cli import group

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(python|bash)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[tuple[str, str]]:
    """(page:line, code) of every block in a language; ``bash no-run`` blocks are not meant to run."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in BLOCK.finditer(text):
            if match[1] == language:
                found.append((f"{page.name}:{text.count(chr(10), 0, match.start()) + 1}", match[2]))
    return found


@pytest.mark.parametrize(("place", "code"), blocks("python"), ids=lambda text: text if ":" in text[:40] else "")
def test_python_blocks(place: str, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(code, place, "exec"), {"__name__": "__main__"})


def commands() -> list[tuple[str, str]]:
    """Blocks whose lines call sabench; `pip install … && sabench …` counts from sabench on."""
    found = []
    for place, code in blocks("bash"):
        lines = [line.partition("&& ")[2] or line for line in code.splitlines()]
        wanted = "\n".join(line for line in lines if line.startswith("sabench"))
        if wanted:
            found.append((place, wanted))
    return found


@pytest.mark.parametrize(("place", "code"), commands(), ids=[place for place, _ in commands()])
def test_commands(place: str, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for line in code.splitlines():
        result = CliRunner().invoke(group, shlex.split(line, comments=True)[1:])
        assert result.exit_code == 0, f"{place}: {line}\n{result.output}\n{result.exception}"


def test_the_readme_shows_what_the_first_command_prints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (_, command), *_ = commands()
    shown = CliRunner().invoke(group, shlex.split(command)[1:]).stdout
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (block, *_) = re.findall(r"^```text\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert [line.rstrip() for line in shown.splitlines()] == block.splitlines()


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
