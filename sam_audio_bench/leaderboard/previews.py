"""Reads and checks the previews in ``site/listen/<task>/<item>/``, and the rule that limits them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sam_audio_bench.errors import StoreError
from sam_audio_bench.leaderboard import safe_io
from sam_audio_bench.leaderboard.records import Preview, PreviewRule, read_record

__all__ = ["ITEM", "LISTEN", "PREVIEWS", "preview_problems", "read_preview", "read_rule"]

LISTEN = "listen"
"""Folder of the previews in the site."""

PREVIEWS = "previews.json"
"""File with the rule of a leaderboard's previews."""

ITEM = "item.json"
DEFAULTS = PreviewRule(items=None, kbits=48.0, residuals=True)
_MAGIC = {".ogg": b"OggS", ".png": b"\x89PNG"}
_LARGEST = {".ogg": 200_000, ".png": 100_000}  # bytes


def read_preview(path: Path) -> Preview:
    """Reads the item.json of an item; raises StoreError if it violates its schema."""
    return read_record(path, Preview, "a preview")


def read_rule(root: Path) -> PreviewRule:
    """Reads the rule of a leaderboard's previews, by default without a limit; raises StoreError."""
    path = root / PREVIEWS
    return read_record(path, PreviewRule, "a rule of previews") if path.exists() else DEFAULTS


def preview_problems(root: Path) -> Iterator[tuple[str, str]]:
    """Yields place and description of every problem with a leaderboard's preview files, which browsers will load."""
    folder = root / "site" / LISTEN
    try:
        read_rule(root)
    except StoreError as error:
        yield PREVIEWS, str(error)
    if not folder.exists() or (root / "site").is_symlink():
        return
    try:
        for path in safe_io.walk_files(folder):
            where = path.relative_to(root).as_posix()
            if path.name == ITEM:
                read_preview(path)
            elif path.suffix not in _MAGIC:
                yield where, f"expected {ITEM}, {' and '.join(_MAGIC)} files, found another"
            elif path.stat().st_size > _LARGEST[path.suffix] or safe_io.read_prefix(path, 4) != _MAGIC[path.suffix]:
                largest = _LARGEST[path.suffix] // 1000
                yield where, f"expected a {path.suffix} file of at most {largest} kB, found something else"
    except StoreError as error:
        yield f"site/{LISTEN}", str(error)
