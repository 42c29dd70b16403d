"""Data sets on disk: tar files in the layout of WebDataset, CSV tables, and what a folder was begun with."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sam_audio_bench.errors import StoreError
from sam_audio_bench.files import atomic_write, dump_json, load_json, write_json
from sam_audio_bench.tabular import format_csv

__all__ = ["keep_plan", "write_csv", "write_tar"]


def write_tar(path: Path, files: Iterable[tuple[str, bytes]]) -> None:
    """Writes a tar file that appears when it is complete; the same files give the same bytes.

    Args:
        path: the archive.
        files: name and content of each, in order; of one key together, as WebDataset reads them.
    """
    with atomic_write(path) as temporary, tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in files:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))


def keep_plan(path: Path, plan: Mapping[str, Any], what: str) -> None:
    """Writes down what a folder is begun with; raises StoreError where it was begun with anything else.

    Args:
        path: the file in that folder.
        plan: plain values of JSON.
        what: they are, for the message, such as "this recipe".
    """
    plan = json.loads(dump_json(plan))
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, plan)
    elif (begun := load_json(path)) != plan:
        begun = begun if isinstance(begun, dict) else {}
        found = ", ".join(f"{key} {begun.get(key)}" for key in plan if begun.get(key) != plan[key])
        raise StoreError(f"expected {path.parent} to be begun with {what}, found {found}; choose --out")


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Writes a CSV in UTF-8 that appears when it is complete; what a row does not have is empty."""
    text = format_csv(columns, rows)
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")
