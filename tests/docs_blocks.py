"""Blocks of code in the README and the guides."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
MADE = ("_build", "_generated")  # by Sphinx, of what stands elsewhere
GUIDES = sorted(page for page in (ROOT / "docs").rglob("*.md") if not {*MADE} & {*page.parts})
_FRONT = ("README.md", "CONTRIBUTING.md", "CODE_OF_CONDUCT.md", "ROADMAP.md", "SECURITY.md")
PAGES = [*(ROOT / name for name in _FRONT), *GUIDES]
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


def commands() -> list[tuple[str, str]]:
    """Blocks whose lines call sabench; `pip install … && sabench …` counts from sabench on."""
    found = []
    for place, code in blocks("bash"):
        lines = [line.partition("&& ")[2] or line for line in code.splitlines()]
        wanted = "\n".join(line for line in lines if line.startswith("sabench"))
        if wanted:
            found.append((place, wanted))
    return found
