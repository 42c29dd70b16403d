"""Safe reading of untrusted files: sizes are checked before anything is read, and no content is executed.

A submission is data. Links, paths outside the folder, sizes beyond the limits, JSON that is too deep or contains NaN,
texts with terminal control characters, and parquet files with unexpected columns are refused with a reason.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import stat
import subprocess
import sys
from collections.abc import Collection, Iterator, Set
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

import pandas as pd
import pyarrow
from pyarrow import parquet

from sam_audio_bench.errors import StoreError
from sam_audio_bench.leaderboard import parquet_sandbox
from sam_audio_bench.platforms import O_BINARY
from sam_audio_bench.run.store import SCORE_COLUMNS, SCORE_TYPES

__all__ = [
    "LONGEST_TEXT",
    "check_decoding",
    "file_digest",
    "find_invisible",
    "load_json",
    "load_json_lines",
    "read_prefix",
    "read_scores",
    "read_table",
    "read_text",
    "walk_files",
]

LONGEST_TEXT = 500
"""Maximum number of characters in a table cell."""

_LARGEST_JSON = 32 * 2**20  # bytes
_DEEPEST_JSON = 20  # nested lists and objects
_LARGEST_TABLE = 512 * 2**20  # bytes, of the file and of its decoded columns
_LARGEST_FILE = 2**30  # bytes: an hour of stereo
_LARGEST_FOLDER = 64 * 2**30  # bytes
_MOST_ROWS = 2_000_000
_LONGEST_NUMBER = 19  # digits and sign: it fits 64 bits
_MOST_FILES = 200_000
_DEEPEST = 6  # folders
_INVISIBLE = re.compile(
    "[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u061c\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069\\ud800-\\udfff]"
)
"""Control characters, writing-direction marks and unpaired surrogates, which no name or text needs."""


def walk_files(folder: Path, *, without: Set[str] = frozenset()) -> Iterator[Path]:
    """Yields every file in a folder, sorted; raises StoreError for a link, a device, too many or too large files, or a
    tree that is too deep. Top-level entries named in ``without`` are skipped.
    """
    if folder.is_symlink() or not folder.is_dir():
        raise StoreError(f"expected a folder at {folder}, found none; links are not followed")
    count = size = 0
    waiting = [(folder, 0)]
    while waiting:
        here, depth = waiting.pop()
        for entry in sorted(_entries(here), key=lambda entry: entry.name):
            if depth == 0 and entry.name in without:
                continue
            count, size = count + 1, size + entry.stat(follow_symlinks=False).st_size
            if count > _MOST_FILES or size > _LARGEST_FOLDER:
                raise StoreError(
                    f"expected at most {_MOST_FILES} files of {_LARGEST_FOLDER >> 30} GiB below {folder}, found more"
                )
            if entry.is_symlink() or not (entry.is_dir() or entry.is_file(follow_symlinks=False)):
                raise StoreError(f"expected plain files and folders in {here}, found {entry.name!r}, which is neither")
            if entry.is_file(follow_symlinks=False):
                yield Path(entry.path)
            elif depth == _DEEPEST:
                raise StoreError(f"expected folders at most {_DEEPEST} deep below {folder}, found {entry.name!r}")
            else:
                waiting.append((Path(entry.path), depth + 1))


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Yields the entries of a folder, at most one more than the limit, so that a huge folder is refused unsorted."""
    with os.scandir(folder) as found:
        yield from islice(found, _MOST_FILES + 1)


def file_digest(path: Path) -> str:
    """Returns the SHA-256 of a file, read in chunks."""
    with _opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_prefix(path: Path, size: int) -> bytes:
    """Returns the first ``size`` bytes of a file."""
    with _opened(path) as file:
        found: bytes = file.read(size)
    return found


def load_json(path: Path) -> object:
    """Reads JSON of bounded size and depth; raises StoreError, also for NaN, infinities and duplicate keys."""
    return _parse(read_text(path), path)


def load_json_lines(path: Path) -> list[object]:
    """Reads JSON lines under the same limits."""
    content = read_text(path).removesuffix("\n")
    return [_parse(line, path) for line in content.split("\n")] if content else []


def check_decoding(path: Path) -> None:
    """Decodes a parquet file in `parquet_sandbox` first; raises StoreError if that takes too much memory or time."""
    memory, seconds = parquet_sandbox.MEMORY, parquet_sandbox.SECONDS
    with _opened(path, _LARGEST_TABLE) as file:
        try:
            done = subprocess.run(
                [sys.executable, "-P", parquet_sandbox.__file__, str(memory), str(seconds)],
                stdin=file, capture_output=True, check=False, timeout=seconds,
            )  # fmt: skip
            fine = done.returncode == 0
        except subprocess.TimeoutExpired:
            fine = False
    if not fine:
        raise StoreError(
            f"expected a table that decodes in {memory >> 20} MiB and {seconds} s at {path}, found one that does not"
        )


def read_scores(path: Path) -> pd.DataFrame:
    """Reads a table of scores with the columns and types of a run's scores; raises StoreError."""
    return read_table(path, SCORE_TYPES, "scores", may_lack=("value", "picked_by"))[list(SCORE_COLUMNS)]


def read_table(path: Path, types: pyarrow.Schema, what: str, *, may_lack: Collection[str]) -> pd.DataFrame:
    """Reads a table that has the given columns and no others.

    The sizes stated in the file are compared with the limits first. Texts are decoded as dictionaries, so that a long
    text repeated in every row takes memory once, and their lengths are checked then. A column of any other type is
    refused: an extension type could contain a pickle.

    Args:
        path: a parquet file.
        types: columns and their types.
        what: description of its content in messages.
        may_lack: columns that may be empty in some rows.

    Raises:
        StoreError: a different table, or none.
    """
    texts = [field.name for field in types if pyarrow.types.is_string(field.type)]
    try:
        with _opened(path, _LARGEST_TABLE) as file:
            _check_metadata(parquet.ParquetFile(file), path, types, what)
            frame: pd.DataFrame = parquet.ParquetFile(file, read_dictionary=texts).read().to_pandas()
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise StoreError(f"expected a parquet file of {what} at {path}, found a damaged one ({error})") from error
    for name in texts:
        longest = max(map(len, frame[name].cat.categories), default=0)
        if longest > LONGEST_TEXT:
            raise StoreError(f"expected texts of at most {LONGEST_TEXT} letters in {path}, found {longest} in {name}")
        frame[name] = frame[name].astype("object").where(frame[name].notna(), None)
    holes = [name for name in types.names if name not in may_lack and bool(frame[name].isna().any())]
    if holes:
        raise StoreError(f"expected every row of {path} to name its {' and '.join(holes)}, found rows that do not")
    return frame


def _check_metadata(file: parquet.ParquetFile, path: Path, expected: pyarrow.Schema, what: str) -> None:
    """Checks the sizes and columns stated in the file, before any column is decoded."""
    stated = file.metadata
    groups = [stated.row_group(index) for index in range(stated.num_row_groups)]
    rows = max(stated.num_rows, sum(group.num_rows for group in groups))
    decoded = sum(group.total_byte_size for group in groups)
    if rows > _MOST_ROWS or decoded > _LARGEST_TABLE:
        raise StoreError(
            f"expected at most {_MOST_ROWS} rows and {_LARGEST_TABLE >> 20} MiB of decoded {what} in {path}, "
            f"found {rows} rows and {decoded >> 20} MiB"
        )
    types = pyarrow.schema([(field.name, _decoded(field.type)) for field in file.schema_arrow])
    if not types.equals(expected):
        one, other = (", ".join(f"{field.name} {field.type}" for field in schema) for schema in (expected, types))
        raise StoreError(f"expected the columns {one} in {path}, found {other[:500]}")


def _decoded(kind: pyarrow.DataType) -> pyarrow.DataType:
    return kind.value_type if pyarrow.types.is_dictionary(kind) else kind


def _opened(path: Path, largest: int = _LARGEST_FILE) -> Any:
    """Opens a file without following links."""
    if not hasattr(os, "O_NOFOLLOW") and path.is_symlink():
        raise StoreError(f"expected a plain file at {path}, found a link")
    flags = O_BINARY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        descriptor = os.open(path, os.O_RDONLY | flags)
    except OSError as error:
        raise StoreError(f"expected a plain file at {path}, found none ({error.strerror})") from error
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise StoreError(f"expected a plain file at {path}, found something else")
    if found.st_size > largest:
        os.close(descriptor)
        raise StoreError(f"expected at most {largest >> 20} MiB in {path}, found {found.st_size >> 20}")
    return os.fdopen(descriptor, "rb")


def read_text(path: Path) -> str:
    """Reads a text file of limited size; raises StoreError."""
    with _opened(path, _LARGEST_JSON) as file:
        content: bytes = file.read(_LARGEST_JSON)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise StoreError(f"expected UTF-8 in {path}, found other bytes ({error})") from error


def _parse(content: str, path: Path) -> object:
    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is not JSON")

    def finite(digits: str) -> float:
        number = float(digits)
        return number if math.isfinite(number) else refuse(digits[:20])

    def bounded(digits: str) -> int:
        return int(digits) if len(digits) < _LONGEST_NUMBER else refuse(f"a number of {len(digits)} digits")

    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ValueError("a name occurs twice in one object")
        return found

    try:
        value: object = json.loads(
            content, parse_constant=refuse, parse_float=finite, parse_int=bounded, object_pairs_hook=once
        )  # fmt: skip
        _check_values(value)
    except (ValueError, RecursionError) as error:
        raise StoreError(f"expected JSON in {path}, found none that can be accepted ({error})") from error
    return value


def find_invisible(content: str) -> str:
    """Returns the first character of a text that is invisible or controls a terminal; "" if there is none."""
    found = _INVISIBLE.search(content)
    return found[0] if found else ""


def _check_values(value: object, depth: int = 0) -> None:
    """Raises ValueError for values nested too deeply, and for texts with invisible characters."""
    if depth > _DEEPEST_JSON:
        raise ValueError(f"more than {_DEEPEST_JSON} nested lists and objects")
    if isinstance(value, str):
        if letter := find_invisible(value):
            raise ValueError(f"{letter!a} in a text")
    elif isinstance(value, dict):
        for name, part in value.items():
            _check_values(name)
            _check_values(part, depth + 1)
    elif isinstance(value, list):
        for part in value:
            _check_values(part, depth + 1)
