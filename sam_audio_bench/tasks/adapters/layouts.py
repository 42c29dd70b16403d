"""What the layouts share: one table in a folder, columns by name or place, files in one of several folders."""

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

__all__ = ["csv_in", "csv_rows", "folders_in", "sound_file"]


def csv_in(path: Path, pattern: str = "*.csv") -> Path:
    """The path of a CSV, or the only one of a pattern in lower case in a folder; none or several raise UsageError."""
    if path.is_file():
        return path
    found = sorted(file for file in path.iterdir() if fnmatchcase(file.name.lower(), pattern))
    if len(found) != 1:
        names = ", ".join(file.name for file in found) or "none"
        raise UsageError(f"expected one {pattern} in {path}, found {names}: name the file")
    return found[0]


def csv_rows(path: Path, names: Sequence[str]) -> Iterator[tuple[int, dict[str, str] | ManifestProblem]]:
    """Rows of a CSV by number, reduced to the columns ``names``, stripped.

    Columns go by their names where the header has all of them in any case, else by their places: the first of the file
    is the first of ``names``, as the readers of some published lists take them.
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
            yield number, _checked(number, {name: cells[key] for name, key in zip(names, keys, strict=True)})


def _checked(number: int, cells: dict[str, str]) -> dict[str, str] | ManifestProblem:
    for name, text in cells.items():
        if has_lone_surrogates(text):
            return ManifestProblem(where=number, what=NOT_UTF8, column=name)
        if not text.strip():
            return ManifestProblem(
                where=number, what=f"expected a value in column {name!r}, found an empty cell", column=name
            )
    return {name: text.strip() for name, text in cells.items()}


def sound_file(root: Path, name: str, folders: Sequence[str] = ("",)) -> str:
    """Path relative to ``root`` of a sound that is named with or without suffix; where it should be if it is absent."""
    names = [name] if PurePath(name).suffix.lower() in SUFFIXES else [f"{name}{suffix}" for suffix in SUFFIXES]
    tried = [(PurePath(folder) / file).as_posix() for folder in folders for file in names]
    if len(name.encode()) > _LONGEST_NAME:  # which no file system can be asked for
        return tried[0]
    return next((path for path in tried if find_file(root / path).is_file()), tried[0])


def folders_in(path: Path) -> list[Path]:
    """Folders right below a folder by name, hidden ones left out; a file raises UsageError."""
    if not path.is_dir():
        raise UsageError(f"expected a folder at {path}, found a file")
    return sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
