"""Reads files without interpreting columns: delimited text, JSON, JSON lines, parquet."""

from __future__ import annotations

import csv
import io
import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from sam_audio_bench.errors import Precondition, UsageError

__all__ = ["MISSING", "Source", "numbers", "read_source"]

MISSING = ("", "na", "n/a", "nan", "none", "null", "-")
"""Texts that mean "no answer", in any case."""

_ARCHIVE = b"PK\x03\x04"  # how the files of spreadsheet programs begin
_DELIMITERS = ",;\t|"
_COMMA_DECIMAL = r"\s*[-+]?\d+,\d+\s*"


@dataclass(frozen=True, kw_only=True)
class Source:
    """Content of a file: either a table of texts or JSON records."""

    path: Path
    table: pd.DataFrame | None = None
    records: list[dict[str, object]] = field(default_factory=list)

    @property
    def columns(self) -> list[str]:
        """Names in order of appearance."""
        if self.table is not None:
            return [str(name) for name in self.table.columns]
        return list(dict.fromkeys(key for record in self.records for key in record))


def read_source(path: Path) -> Source:
    """Reads a file by its suffix: .json, .jsonl, .parquet, and delimited text with any other suffix.

    Raises:
        Precondition: no such file.
        UsageError: empty, binary, not UTF-8, rows of unequal length, a column name twice, or damaged JSON.
    """
    if not path.is_file():
        found = "a folder; name the files in it" if path.is_dir() else "none"
        raise Precondition(f"expected a file of ratings at {path}, found {found}")
    if path.suffix == ".parquet":
        try:
            return Source(path=path, table=pd.read_parquet(path))
        except (OSError, ValueError) as error:
            raise UsageError(f"expected a parquet file at {path}, found a damaged one ({error})") from error
    text = _decoded(path)
    if not text.strip():
        raise UsageError(f"expected ratings in {path}, found an empty file")
    if path.suffix in (".json", ".jsonl", ".ndjson"):
        return Source(path=path, records=_records(path, text))
    return Source(path=path, table=_table(path, text))


def numbers(texts: pd.Series, where: str, missing: Sequence[str] = ()) -> pd.Series:
    """Texts as floats; decimal commas are accepted in a column without decimal points.

    Args:
        texts: [rows] of texts or numbers.
        where: names the column in an error.
        missing: further texts that mean "no answer", numbers in any notation; `MISSING` always does.

    Raises:
        UsageError: a text that is no finite number; the row is counted as in a text editor.
    """
    if pd.api.types.is_numeric_dtype(texts) and not missing:
        found = texts.astype("float64")
        return found.where(np.isfinite(found))
    plain = texts.astype("str").str.strip()
    absent = texts.isna() | plain.str.lower().isin([*MISSING, *(word.strip().lower() for word in missing)])
    values = pd.to_numeric(plain.where(~absent), errors="coerce").astype("float64")
    bad = (~absent) & ~np.isfinite(values)
    if bad.any() and not plain[~absent].str.contains(".", regex=False).any() and _commas(plain[bad]):
        values = pd.to_numeric(plain.where(~absent).str.replace(",", "."), errors="coerce").astype("float64")
        bad = (~absent) & ~np.isfinite(values)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise UsageError(f"expected numbers in {where}, found {plain.iloc[row]!r} in row {row + 2}; correct it")
    return values.mask(values.isin(pd.to_numeric(pd.Series(missing, dtype="str"), errors="coerce").dropna()))


def _commas(texts: pd.Series) -> bool:
    return bool(texts.str.fullmatch(_COMMA_DECIMAL).all())


def _decoded(path: Path) -> str:
    data = path.read_bytes()
    if b"\0" in data or data.startswith(_ARCHIVE):
        raise UsageError(f"expected text in {path}, found a binary file or UTF-16; save it as CSV in UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = data[: error.start].count(b"\n") + 1
        raise UsageError(f"expected UTF-8 in {path}, found another encoding in row {row}; save it as UTF-8") from error


def _records(path: Path, text: str) -> list[dict[str, object]]:
    try:
        if path.suffix == ".json":
            value = json.loads(text)
            found = value if isinstance(value, list) else [value]
        else:
            found = [json.loads(line) for line in text.splitlines() if line.strip()]
    except ValueError as error:
        raise UsageError(f"expected JSON in {path}, found damage ({error})") from error
    if not found or not all(isinstance(record, dict) for record in found):
        raise UsageError(f"expected JSON objects in {path}, found something else; one object a rated stimulus")
    return found


def _table(path: Path, text: str) -> pd.DataFrame:
    first = next(line for line in text.splitlines() if line.strip())
    delimiter = max(_DELIMITERS, key=first.count)
    header = [name.strip() for name in next(csv.reader([first], delimiter=delimiter))]
    twice = [name for name in header if header.count(name) > 1]
    if twice or "" in header:
        raise UsageError(f"expected column names that differ in {path}, found {(twice or [''])[0]!r} twice or unnamed")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(
                io.StringIO(text), sep=delimiter, dtype=str, keep_default_na=False, index_col=False, na_filter=False
            )
    except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"expected rows of {len(header)} columns in {path}, found others ({reason})") from error
    frame.columns = pd.Index(header)
    if frame.empty:
        raise UsageError(f"expected ratings in {path}, found column names alone")
    return frame.fillna("")
