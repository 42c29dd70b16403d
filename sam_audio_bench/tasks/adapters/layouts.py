"""Helpers for layouts: one table in a folder, columns by name or position, files in one of several folders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePath

from sam_audio_bench.audio import SUFFIXES
from sam_audio_bench.errors import UsageError
from sam_audio_bench.files import find_file
from sam_audio_bench.tabular import has_lone_surrogates
from sam_audio_bench.tasks.manifest_rows import ManifestProblem
from sam_audio_bench.tasks.manifest_tables import NOT_UTF8, read_csv

_LONGEST_NAME = 240  # bytes, without a suffix

__all__ = ["find_csv", "find_sound_path", "list_folders", "read_columns"]


def find_csv(path: Path, pattern: str = "*.csv") -> Path:
    """Finds the CSV at a path, or the only file of a lower-case pattern in a folder; raises UsageError otherwise."""
    if path.is_file():
        return path
    found = sorted(file for file in path.iterdir() if fnmatchcase(file.name.lower(), pattern))
    if len(found) != 1:
        names = ", ".join(file.name for file in found) or "none"
        raise UsageError(f"expected one {pattern} in {path}, found {names}: name the file")
    return found[0]


def read_columns(path: Path, names: Sequence[str]) -> Iterator[tuple[int, dict[str, str] | ManifestProblem]]:
    """Reads the columns ``names`` of a CSV; yields numbers of rows with their cells, stripped.

    Columns are found by name if the header has all of them in any case, else by position: the file's first column is
    the first of ``names``, as in the readers of some published lists.
    """
    keys: list[str] = []
    for number, cells in read_csv(path):
        if isinstance(cells, ManifestProblem):
            yield number, cells
        elif any(map(has_lone_surrogates, cells)):
            yield number, ManifestProblem(where=number, what=NOT_UTF8)
            return
        elif not keys:
            by_name = {name.lower(): name for name in cells}
            keys = [by_name[name] for name in names] if set(names) <= set(by_name) else list(cells)[: len(names)]
            if len(keys) < len(names):
                what = f"expected columns {', '.join(names)}, found {', '.join(cells)}"
                yield number, ManifestProblem(where=number, what=what)
                return
        else:
            yield number, _check_cells(number, {name: cells[key] for name, key in zip(names, keys, strict=True)})


def _check_cells(number: int, cells: dict[str, str]) -> dict[str, str] | ManifestProblem:
    for name, text in cells.items():
        if has_lone_surrogates(text):
            return ManifestProblem(where=number, what=NOT_UTF8, column=name)
        if not text.strip():
            return ManifestProblem(
                where=number, what=f"expected a value in column {name!r}, found an empty cell", column=name
            )
    return {name: text.strip() for name, text in cells.items()}


def find_sound_path(root: Path, name: str, folders: Sequence[str] = ("",)) -> str:
    """Finds a sound that is named with or without suffix; returns its path from ``root``, or where it should be."""
    names = [name] if PurePath(name).suffix.lower() in SUFFIXES else [f"{name}{suffix}" for suffix in SUFFIXES]
    tried = [(PurePath(folder) / file).as_posix() for folder in folders for file in names]
    if len(name.encode()) > _LONGEST_NAME:  # no file system accepts such a name
        return tried[0]
    return next((path for path in tried if find_file(root / path).is_file()), tried[0])


def list_folders(path: Path) -> list[Path]:
    """Lists the folders in a folder by name, without hidden ones; raises UsageError if the path is a file."""
    if not path.is_dir():
        raise UsageError(f"expected a folder at {path}, found a file")
    return sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
