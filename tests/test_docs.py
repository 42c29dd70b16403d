"""The README and the guides: python blocks run as they stand, the first command prints what is shown, links lead on."""

from __future__ import annotations

import configparser
import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner
from docs_blocks import PAGES, ROOT, blocks, commands, parameters

import sam_audio_bench as sab
from sam_audio_bench.cli import group


@pytest.mark.parametrize(("place", "code"), parameters(blocks("python")))
def test_python_blocks(place: str, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(code, place, "exec"), {"__name__": "__main__"})


def test_the_readme_shows_what_the_first_command_prints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)  # which pytest-xdist sets
    place, command, _ = commands()[0]
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


def repository() -> str:
    """The address of this repository, as the package states it."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    (address,) = re.findall(r"^Source = (\S+)$", setup["metadata"]["project_urls"], re.MULTILINE)
    return str(address)


def place_of(page: Path, target: str) -> Path | None:
    """The file or folder that a link leads to; None outside the repository."""
    there = re.match(rf"{repository()}/(?:blob|tree)/main/|{RAW}/main/", target)
    if there is not None:
        return ROOT / target[there.end() :]
    if target.startswith(repository()):
        return ROOT
    return None if re.match("[a-z]+:", target) else page.parent / target


RAW = repository().replace("//github.com", "//raw.githubusercontent.com")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    linked = [*re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text), *re.findall(r'(?:src|srcset)="([^"]+)"', text)]
    lost = [one for one in linked if (place := place_of(page, one)) is not None and not place.exists()]
    assert lost == [], page.name


def test_the_readme_can_be_read_anywhere() -> None:
    """On an index of packages there are no files beside it, and nobody scrolls for long."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    linked = re.findall(r"\]\(([^)#][^)]*)\)", text) + re.findall(r'(?:src|srcset)="([^"]+)"', text)
    assert [one for one in linked if not one.startswith("https://")] == []
    assert len(text.splitlines()) <= 200


def test_the_version_is_the_same_everywhere() -> None:
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {sab.__version__}\n" in citation
    assert f"\nrepository-code: {repository()}\n" in citation
    changes = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert changes[0] == "Unreleased"
    assert changes[1].startswith(f"{sab.__version__} (")
