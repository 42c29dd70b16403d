"""Files from strangers: every size is looked at before anything is read, and nothing in them is executed.

A submission is data. Links, names that leave the folder, sizes beyond the bounds, JSON that is too deep or says NaN,
and parquet files with other columns than scores have are refused with a reason.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, NoReturn

import jsonschema
import pandas as pd
import pyarrow
from pyarrow import parquet

from sam_audio_bench.errors import StoreError
from sam_audio_bench.run.store import COLUMNS, SCORE_TYPES

__all__ = ["digest", "files_below", "load", "load_lines", "schema", "scores", "violations"]

_LARGEST_JSON = 32 * 2**20  # bytes
_LARGEST_TABLE = 512 * 2**20  # bytes, of the file and of its decoded columns
_MOST_ROWS = 2_000_000
_LONGEST_TEXT = 500  # letters of a cell
_MOST_FILES = 200_000
_DEEPEST = 6  # folders
_TEXTS = [field.name for field in SCORE_TYPES if pyarrow.types.is_string(field.type)]


def files_below(folder: Path) -> Iterator[Path]:
    """Every file in a folder, sorted; raises StoreError for a link, a device, too many files or too deep a tree."""
    if folder.is_symlink() or not folder.is_dir():
        raise StoreError(f"expected a folder at {folder}, found none; links are not followed")
    count = 0
    waiting = [(folder, 0)]
    while waiting:
        here, depth = waiting.pop()
        for entry in sorted(os.scandir(here), key=lambda entry: entry.name):
            count += 1
            if count > _MOST_FILES:
                raise StoreError(f"expected at most {_MOST_FILES} files below {folder}, found more")
            if entry.is_symlink() or not (entry.is_dir() or entry.is_file(follow_symlinks=False)):
                raise StoreError(f"expected plain files and folders in {here}, found {entry.name!r}, which is neither")
            if entry.is_file(follow_symlinks=False):
                yield Path(entry.path)
            elif depth == _DEEPEST:
                raise StoreError(f"expected folders at most {_DEEPEST} deep below {folder}, found {entry.name!r}")
            else:
                waiting.append((Path(entry.path), depth + 1))


def digest(path: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    with _opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load(path: Path) -> Any:
    """Reads JSON of bounded size and depth; raises StoreError, also for NaN, infinities and doubled names."""
    return _parse(_text(path), path)


def load_lines(path: Path) -> list[Any]:
    """Reads JSON lines under the same bounds."""
    return [_parse(line, path) for line in _text(path).splitlines()]


@lru_cache(maxsize=8)
def schema(name: str) -> Mapping[str, Any]:
    """A JSON Schema of this package."""
    text = (files("sam_audio_bench.leaderboard") / "schemas" / f"{name}.schema.json").read_text(encoding="utf-8")
    found: Mapping[str, Any] = json.loads(text)
    return found


def violations(value: Any, name: str) -> list[tuple[str, str]]:
    """Where and how a value breaks a schema of this package, at most twenty."""
    validator = jsonschema.Draft202012Validator(schema(name))
    found = []
    for error in validator.iter_errors(value):
        found.append((error.json_path, error.message if len(error.message) < 300 else error.message[:300] + " …"))
        if len(found) == 20:
            break
    return sorted(found)


def scores(path: Path) -> pd.DataFrame:
    """Reads a table of scores whose columns and types are those of a run's; raises StoreError.

    The sizes that the file states are compared with the bounds first. Texts are decoded as dictionaries, so that a long
    one in every row takes its own room only, and are then measured. A column of any other type is refused: an extension
    type could hold a pickle.
    """
    try:
        with _opened(path) as file:
            if os.fstat(file.fileno()).st_size > _LARGEST_TABLE:
                raise StoreError(f"expected at most {_LARGEST_TABLE >> 20} MiB in {path}, found more")
            _check_outline(parquet.ParquetFile(file), path)
            return _table(parquet.ParquetFile(file, read_dictionary=_TEXTS), path)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise StoreError(f"expected a parquet file of scores at {path}, found a damaged one ({error})") from error


def _check_outline(file: parquet.ParquetFile, path: Path) -> None:
    """What the file says of itself, before any of its columns is decoded."""
    stated = file.metadata
    decoded = sum(stated.row_group(index).total_byte_size for index in range(stated.num_row_groups))
    if stated.num_rows > _MOST_ROWS or decoded > _LARGEST_TABLE:
        raise StoreError(
            f"expected at most {_MOST_ROWS} rows and {_LARGEST_TABLE >> 20} MiB of decoded scores in {path}, "
            f"found {stated.num_rows} rows and {decoded >> 20} MiB"
        )
    types = pyarrow.schema([(field.name, _decoded(field.type)) for field in file.schema_arrow])
    if not types.equals(SCORE_TYPES):
        wanted, found = (", ".join(f"{one.name} {one.type}" for one in schema) for schema in (SCORE_TYPES, types))
        raise StoreError(f"expected the columns {wanted} in {path}, found {found[:500]}")


def _table(file: parquet.ParquetFile, path: Path) -> pd.DataFrame:
    frame: pd.DataFrame = file.read().to_pandas()
    for name in _TEXTS:
        longest = max(map(len, frame[name].cat.categories), default=0)
        if longest > _LONGEST_TEXT:
            raise StoreError(f"expected texts of at most {_LONGEST_TEXT} letters in {path}, found {longest} in {name}")
        frame[name] = frame[name].astype("object").where(frame[name].notna(), None)
    holes = [name for name in COLUMNS if name not in ("value", "picked_by") and bool(frame[name].isna().any())]
    if holes:
        raise StoreError(f"expected every row of {path} to name its {' and '.join(holes)}, found rows that do not")
    return frame[list(COLUMNS)]


def _decoded(kind: pyarrow.DataType) -> pyarrow.DataType:
    return kind.value_type if pyarrow.types.is_dictionary(kind) else kind


def _opened(path: Path) -> Any:
    """The file itself, never what a link points at."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        raise StoreError(f"expected a plain file at {path}, found none ({error.strerror})") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise StoreError(f"expected a plain file at {path}, found something else")
    return os.fdopen(descriptor, "rb")


def _text(path: Path) -> str:
    with _opened(path) as file:
        content: bytes = file.read(_LARGEST_JSON + 1)
    if len(content) > _LARGEST_JSON:
        raise StoreError(f"expected at most {_LARGEST_JSON >> 20} MiB in {path}, found more")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise StoreError(f"expected UTF-8 in {path}, found other bytes ({error})") from error


def _parse(text: str, path: Path) -> Any:
    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is not JSON")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ValueError("a name occurs twice in one object")
        return found

    try:
        return json.loads(text, parse_constant=refuse, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise StoreError(f"expected JSON in {path}, found none that can be accepted ({error})") from error
