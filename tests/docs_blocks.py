"""Blocks of code in the README and the guides."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
MADE = ("_build", "_generated")  # by Sphinx, of what stands elsewhere
GUIDES = sorted(page for page in (ROOT / "docs").rglob("*.md") if not {*MADE} & {*page.parts})
_FRONT = ("README.md", "CONTRIBUTING.md", "CODE_OF_CONDUCT.md", "ROADMAP.md", "SECURITY.md")
PAGES = [*(ROOT / name for name in _FRONT), *GUIDES]
BLOCK = re.compile(r"^```(python|bash)( slow)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A block of code, the page and line where it begins, and whether it is a slow test."""

    place: str
    code: str
    is_slow: bool


def blocks(language: str) -> list[Block]:
    """Blocks in a language; ``bash slow`` blocks are slow tests, and ``bash no-run`` blocks are not meant to run."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in BLOCK.finditer(text):
            if match[1] == language:
                place = f"{page.name}:{text.count(chr(10), 0, match.start()) + 1}"
                found.append(Block(place, match[3], bool(match[2])))
    return found


def commands() -> list[Block]:
    """Blocks whose lines call sabench; `pip install … && sabench …` counts from sabench on."""
    found = []
    for block in blocks("bash"):
        lines = [line.partition("&& ")[2] or line for line in block.code.splitlines()]
        wanted = "\n".join(line for line in lines if line.startswith("sabench"))
        if wanted:
            found.append(block._replace(code=wanted))
    return found


def parameters(found: list[Block]) -> list[Any]:
    """Place and code of each block, for `pytest.mark.parametrize`."""
    return [
        pytest.param(block.place, block.code, id=block.place, marks=[pytest.mark.slow] if block.is_slow else [])
        for block in found
    ]
