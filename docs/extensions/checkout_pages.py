"""Brings pages of the checkout that lie outside ``docs`` into the site, and makes links between both lead on.

The pages say where files lie in the checkout, since people read them there too. On the site a link to a page leads to
that page, and one to any other file downloads it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

DOCS = Path(__file__).parents[1]
ROOT = DOCS.parent
MIRROR = DOCS / "_generated" / "checkout"
FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[([^\]\[]*)\]\(([^)#:\s]+)(#[^)\s]*)?\)")


def outside() -> list[Path]:
    """Pages outside ``docs``, by their place in the checkout."""
    names = ["CHANGELOG.md", "CONTRIBUTING.md", "examples/README.md", "judge/README.md", "leaderboards/README.md"]
    names.append("sam_audio_bench/tasks/mini_data/ATTRIBUTION.md")
    return [*(ROOT / name for name in names), *sorted((ROOT / "benchmarks").glob("*.md"))]


def relinked(text: str, real: Path, shown: Path) -> str:
    """Text with links from where a page is shown instead of where it lies.

    Args:
        text: of a page in Markdown.
        real: where it lies.
        shown: where Sphinx finds it.
    """
    mirrored = {page: MIRROR / page.relative_to(ROOT) for page in outside()}

    def moved(match: re.Match[str]) -> str:
        there = (real.parent / match[2]).resolve()
        if there.is_dir():
            there /= "README.md"
            if not there.exists():
                return match[1]
        goal = mirrored.get(there, there)
        return f"[{match[1]}]({Path(os.path.relpath(goal, shown.parent)).as_posix()}{match[3] or ''})"

    parts = FENCE.split(text)
    return "".join(part if part.startswith("```") else LINK.sub(moved, part) for part in parts)


def _write(app: Sphinx) -> None:
    for page in outside():
        there = MIRROR / page.relative_to(ROOT)
        there.parent.mkdir(parents=True, exist_ok=True)
        text = relinked(page.read_text(encoding="utf-8"), page, there)
        if not there.exists() or there.read_text(encoding="utf-8") != text:  # else Sphinx would read it again
            there.write_text(text, encoding="utf-8")


def _read(app: Sphinx, name: str, source: list[str]) -> None:
    path = Path(app.env.doc2path(name))
    if path.suffix in (".md", ".ipynb") and MIRROR not in path.parents:
        source[0] = relinked(source[0], path, path)


def _list(app: Sphinx, error: Exception | None) -> None:
    """llms.txt at the top of the site, with the addresses that pages have there."""
    if error is None:
        text = (DOCS / "llms.txt").read_text(encoding="utf-8")
        text = re.sub(r"\]\((\S+)\.(?:md|ipynb)\)", r"](\1.html)", text)
        (Path(app.outdir) / "llms.txt").write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Connects all of it to Sphinx."""
    app.connect("builder-inited", _write)
    app.connect("source-read", _read)
    app.connect("build-finished", _list)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
