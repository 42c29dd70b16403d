"""Reads files without interpreting columns: delimited text, JSON, JSON lines, parquet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow

from sam_audio_bench.errors import Precondition, UsageError
from sam_audio_bench.tabular import TextTable, parse_json, parse_json_lines, parse_table, read_text, unescape_formula

__all__ = ["MISSING", "Source", "as_table", "as_texts", "name_row", "parse_numbers", "read_source"]

MISSING = ("", "na", "n/a", "nan", "none", "null", "-")
"""Texts that mean "no rating", in any case."""

_LARGEST = np.finfo("float64").max
_COMMA_DECIMAL = r"[-+]?\d+,\d+"
_THOUSANDS = r"[-+]?[1-9]\d{0,2}(,\d{3})+"
_JSON = (".json", ".jsonl", ".ndjson")


@dataclass(frozen=True, kw_only=True)
class Source:
    """Content of a file: either a table of texts or JSON records.

    The index of a table, and ``places`` of records, locate rows in the file: "row" or "record", and its number.
    """

    path: Path
    table: pd.DataFrame | None = None
    records: list[dict[str, object]] = field(default_factory=list)
    places: pd.Index = field(default_factory=lambda: pd.Index([], dtype="int64", name="record"))
    notes: tuple[str, ...] = ()  # about omitted or completed content

    @property
    def columns(self) -> list[str]:
        """Names in order of appearance."""
        if self.table is not None:
            return [str(name) for name in self.table.columns]
        return list(dict.fromkeys(key for record in self.records for key in record))


def as_table(source: Source) -> pd.DataFrame:
    """Returns the rows of a file of either kind as a table."""
    return source.table if source.table is not None else pd.DataFrame(source.records, index=source.places)


def as_texts(source: Source) -> pd.DataFrame:
    """Returns a table as texts; raises UsageError for JSON, as the format requires delimited text."""
    if source.table is None:
        raise UsageError(f"expected a table in {source.path}, found JSON; choose another --format")
    frame = source.table
    return frame.astype("object").where(frame.notna(), "").astype("str")


def read_source(path: Path) -> Source:
    """Reads a file by its suffix: .json, .jsonl, .ndjson, .parquet, and delimited text with any other suffix.

    Raises:
        Precondition: no such file.
        UsageError: empty, binary, not UTF-8, rows of unequal length, a column name twice, or damaged JSON.
    """
    if not path.is_file():
        found = "a folder; name the files in it" if path.is_dir() else "none"
        raise Precondition(f"expected a file of ratings at {path}, found {found}")
    suffix = path.suffix.lower()
    try:
        if suffix == ".parquet":
            return Source(path=path, table=_parquet(path))
        text = read_text(path)
    except OSError as error:
        raise Precondition(f"expected a file of ratings at {path}, found one that cannot be read ({error})") from error
    if not text.strip():
        raise UsageError(f"expected ratings in {path}, found an empty file")
    return _records(path, text, lines=suffix != ".json") if suffix in _JSON else _table(path, text)


def _parquet(path: Path) -> pd.DataFrame:
    try:
        frame = pd.read_parquet(path)
    except (pyarrow.ArrowException, OSError, ValueError, TypeError, KeyError, MemoryError) as error:
        raise UsageError(f"expected a parquet file at {path}, found a damaged one ({error})") from error
    if not frame.columns.is_unique or frame.empty:
        what = "no rows" if frame.empty else "a column twice"
        raise UsageError(f"expected ratings in columns of different names in {path}, found {what}")
    return frame.rename(columns=str).set_axis(pd.RangeIndex(1, len(frame) + 1, name="row"), axis=0)


def name_row(texts: pd.Series, place: int) -> str:
    """Returns the name of a row for messages: "row 3" as counted in a text editor, "record 3" in a JSON list."""
    return f"{texts.index.name or 'row'} {texts.index[place]}"


def parse_numbers(texts: pd.Series, where: str, missing: Sequence[str] = ()) -> pd.Series:
    """Converts texts to floats; decimal commas are accepted in a column without decimal points.

    Args:
        texts: [rows] of texts or numbers.
        where: names the column in an error.
        missing: further texts that mean "no rating", numbers in any notation, besides `MISSING`.

    Raises:
        UsageError: a text that is no finite number, a number that may have a thousands separator; the row is named.
    """
    if pd.api.types.is_numeric_dtype(texts) and not pd.api.types.is_bool_dtype(texts) and not missing:
        values, plain = texts.astype("float64"), texts.astype("str")
        bad = values.isin([np.inf, -np.inf])
    else:
        plain = texts.astype("str").str.strip()
        absent = texts.isna() | plain.str.lower().isin([*MISSING, *(word.strip().lower() for word in missing)])
        values = pd.to_numeric(plain.where(~absent), errors="coerce").astype("float64")
        bad = ~(absent | values.between(-_LARGEST, _LARGEST))
        if bad.any() and not plain[~absent].str.contains(".", regex=False).any() and _commas(plain[bad], where):
            values = pd.to_numeric(plain.where(~absent).str.replace(",", "."), errors="coerce").astype("float64")
            bad = ~(absent | values.between(-_LARGEST, _LARGEST))
    if bad.any():
        place = int(np.flatnonzero(bad)[0])
        found = plain.iloc[place]
        shown = found if len(found) <= 40 else found[:40] + "…"
        raise UsageError(f"expected numbers in {where}, found {shown!r} in {name_row(texts, place)}; correct it")
    return values.mask(values.isin(pd.to_numeric(pd.Series(missing, dtype="str"), errors="coerce").dropna()))


def _commas(texts: pd.Series, where: str) -> bool:
    """Whether texts have decimal commas; raises UsageError if these may also separate thousands."""
    if bool(texts.str.fullmatch(_THOUSANDS).all()):
        found = texts.iloc[0]
        raise UsageError(
            f"expected numbers in {where}, found {found!r} in {name_row(texts, 0)}, which may be "
            f"{found.replace(',', '')} or {found.replace(',', '.', 1)}; write numbers without thousands separators"
        )
    return bool(texts.str.fullmatch(_COMMA_DECIMAL).all())


def _records(path: Path, text: str, *, lines: bool) -> Source:
    if lines:
        found = list(parse_json_lines(text))
        if (first := next((number for number, value in found if isinstance(value, ValueError)), None)) is not None:
            error = dict(found)[first]
            what = f"found damage in row {first} ({error}){_hint(text)}"
            raise UsageError(f"expected JSON in {path}, one object per line, {what}")
    else:
        try:
            value = parse_json(text)
        except ValueError as error:
            what = "; one object per line is a .jsonl file" if "Extra data" in str(error) else ""
            raise UsageError(f"expected JSON in {path}, found damage ({error}){what}") from error
        found = list(enumerate(value if isinstance(value, list) else [value], 1))
    unit = "row" if lines else "record"
    strange = [number for number, value in found if not isinstance(value, dict)]
    if strange or not found:
        where = f" in {unit} {strange[0]}" if strange else ""
        raise UsageError(
            f"expected JSON objects in {path}, found something else{where}; one object per rated stimulus"
            + (_hint(text) if lines else "")
        )
    return Source(
        path=path,
        records=[value for _, value in found],
        places=pd.Index([number for number, _ in found], dtype="int64", name=unit),
    )


def _hint(text: str) -> str:
    """Suggests a fix for a JSON list in a file of JSON lines."""
    return "; a list of records is a .json file" if text.lstrip().startswith("[") else ""


def _table(path: Path, text: str) -> Source:
    table: TextTable = parse_table(text)
    table.names = [unescape_formula(name) for name in table.names]
    twice = [name for name in table.names if table.names.count(name) > 1]
    if twice or "" in table.names:
        raise UsageError(
            f"expected column names that differ in {path}, found {(twice or [''])[0]!r} twice or unnamed "
            f"in row {table.header_row}"
        )
    if table.errors:
        row, what = table.errors[0]
        raise UsageError(f"expected rows of {len(table.names)} columns in {path}, found another row {row}: {what}")
    if not table.rows:
        raise UsageError(f"expected ratings in {path}, found column names alone")
    frame = pd.DataFrame(
        [[unescape_formula(cell) for cell in cells] for _, cells in table.rows],
        columns=pd.Index(table.names),
        index=pd.Index([number for number, _ in table.rows], dtype="int64", name="row"),
        dtype="str",
    )
    return Source(path=path, table=frame, notes=tuple(f"{path}: {what}" for _, what in table.remarks()))
