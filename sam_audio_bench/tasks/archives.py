"""Writes data sets: tar files in the layout of WebDataset, CSV tables, and the plan that a folder was started with."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from sam_audio_bench.errors import StoreError
from sam_audio_bench.files import atomic_write, dump_json, load_json, write_json
from sam_audio_bench.tabular import format_csv

__all__ = ["ensure_same_plan", "write_csv", "write_tar"]


def write_tar(path: Path, files: Iterable[tuple[str, bytes]]) -> None:
    """Writes a tar file atomically; the same files give the same bytes.

    Args:
        path: the archive.
        files: name and content of each file; files that share a key must be adjacent, as WebDataset reads them.
    """
    with atomic_write(path) as temporary, tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in files:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))


def ensure_same_plan(path: Path, plan: Mapping[str, object], what: str) -> None:
    """Writes the plan of a folder's content, or raises StoreError if the folder was started with another plan.

    Args:
        path: the plan's file in that folder.
        plan: values that JSON can hold.
        what: what the plan is, for the message, such as "this recipe".
    """
    plan = json.loads(dump_json(plan))
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, plan)
    elif (earlier := load_json(path)) != plan:
        earlier = earlier if isinstance(earlier, dict) else {}
        found = ", ".join(f"{key} {earlier.get(key)}" for key in plan if earlier.get(key) != plan[key])
        raise StoreError(f"expected {path.parent} to be begun with {what}, found {found}; choose --out")


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Writes a CSV in UTF-8 atomically; cells that a row does not have are empty."""
    text = format_csv(columns, rows)
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")
