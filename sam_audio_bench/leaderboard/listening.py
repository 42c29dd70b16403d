"""Previews as they lie in ``site/listen/<task>/<item>/``: what may be there, and how it is read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sam_audio_bench.errors import StoreError
from sam_audio_bench.leaderboard import reading

__all__ = ["ITEM", "LISTEN", "preview_problems", "read_preview"]

LISTEN = "listen"
"""Folder of the previews in the site."""

ITEM = "item.json"
_BEGINS = {".ogg": b"OggS", ".png": b"\x89PNG"}
_LARGEST = 4 * 2**20  # bytes of one


def read_preview(path: Path) -> dict[str, Any]:
    """An item's item.json; raises StoreError for one that breaks its schema."""
    found: dict[str, Any] = reading.load(path)
    broken = reading.violations(found, "preview")
    if broken:
        raise StoreError(f"expected a preview that meets its schema in {path}, found {broken[0][0]}: {broken[0][1]}")
    return found


def preview_problems(root: Path) -> Iterator[tuple[str, str]]:
    """Where and what is wrong with the previews of a leaderboard, whose files browsers will be given."""
    folder = root / "site" / LISTEN
    if not folder.exists() or (root / "site").is_symlink():
        return
    try:
        for path in reading.files_below(folder):
            where = path.relative_to(root).as_posix()
            if path.name == ITEM:
                read_preview(path)
            elif path.suffix not in _BEGINS:
                yield where, f"expected {ITEM}, {' and '.join(_BEGINS)} files, found another"
            elif path.stat().st_size > _LARGEST or reading.beginning(path, 4) != _BEGINS[path.suffix]:
                yield where, f"expected a {path.suffix} file of at most {_LARGEST >> 20} MiB, found something else"
    except StoreError as error:
        yield f"site/{LISTEN}", str(error)
