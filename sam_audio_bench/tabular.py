"""Parsing and writing of tables as delimited text, and of JSON, in files written by users.

Rows are numbered as in a text editor, by the line in which they begin: cells and headers may contain line breaks, and
blank lines are counted. Lines end at CR, LF or both, as in editors; U+2028 and the like are ordinary characters.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam_audio_bench.errors import StoreError, UsageError

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "TABLE_SUFFIXES",
    "TextTable",
    "escape_formula",
    "format_csv",
    "format_spreadsheet_csv",
    "has_lone_surrogates",
    "is_formula",
    "parse_json",
    "parse_json_lines",
    "parse_table",
    "read_json",
    "read_text",
    "unescape_formula",
]

TABLE_SUFFIXES = (".csv", ".jsonl", ".parquet", ".tsv", ".ndjson")
"""Suffixes, in lower case, of tables of questions."""

_DELIMITERS = ",;\t|"
_LONGEST_CELL = 2**31 - 1  # characters
_LINE_END = re.compile(rb"\r\n|\r|\n")
_HEADER = re.compile(r'(?:[^"\r\n]|"[^"]*")*')  # up to the first line end outside quotes
_BLANK = re.compile(r"(?:[ \t]*(?:\r\n|\r|\n))+")
_DELIMITER_HINT = re.compile(r'"?sep=(.)"?[ \t]*(?:\r\n|\r|\n|$)', re.IGNORECASE)
_FORMULA = re.compile(r"'*(?:\s*[=+\-@＝＋－＠]|[\t\r\n])")  # full-width forms too, which some spreadsheets treat alike
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_BINARY_SIGNATURES = {
    b"PK\x03\x04": "a spreadsheet or another zip archive",
    b"\xd0\xcf\x11\xe0": "an old spreadsheet",
    b"\x1f\x8b": "a gzip archive",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ": "an xz archive",
    b"\x28\xb5\x2f\xfd": "a zstandard archive",
    b"PAR1": "parquet under another suffix",
}
"""First bytes of binary files that may have the suffix of a table."""


def read_text(path: Path, errors: str = "strict") -> str:
    """Reads a UTF-8 text file, without byte order marks.

    Args:
        path: the file.
        errors: "strict", or "surrogateescape" for callers that check cells with `has_lone_surrogates`.

    Raises:
        UsageError: a binary file, UTF-16, or with "strict" any other encoding; the row is stated.
        OSError: the file cannot be read.
    """
    data = path.read_bytes()
    for beginning, kind in _BINARY_SIGNATURES.items():
        if data.startswith(beginning):
            raise UsageError(f"expected text in {path}, found a binary file, {kind}; save it as CSV in UTF-8")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UsageError(f"row 1 of {path}: expected UTF-8, found a binary file or UTF-16; save it as CSV in UTF-8")
    if (place := data.find(b"\0")) >= 0:
        raise UsageError(
            f"expected text in {path}, found a binary file or UTF-16 (a zero byte in row {_row_number(data, place)}); "
            "save it as CSV in UTF-8"
        )
    try:
        return data.decode("utf-8", errors=errors).lstrip("\ufeff")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"expected UTF-8 in {path}, found another encoding in row {_row_number(data, error.start)} "
            f"(byte {data[error.start]:#04x}); save it as UTF-8"
        ) from error


def _row_number(data: bytes, place: int) -> int:
    return len(_LINE_END.findall(data[:place])) + 1


def has_lone_surrogates(text: str) -> bool:
    """Whether a text contains lone surrogates, as when decoded from bytes that are not UTF-8."""
    return not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text)


@dataclass(kw_only=True)
class TextTable:
    """A table of delimited text, with its errors and what had to be skipped."""

    names: list[str]  # stripped, line breaks as spaces
    header_row: int = 1  # number of the header's row
    rows: list[tuple[int, list[str]]] = field(default_factory=list)  # number, and one cell per name
    errors: list[tuple[int, str]] = field(default_factory=list)  # number and error of each row that cannot be parsed
    empty_rows: list[int] = field(default_factory=list)  # rows whose cells are all empty: skipped
    short_rows: list[int] = field(default_factory=list)  # rows with missing cells, which are read as empty
    is_truncated: bool = False  # whether the last row is short and has no line end

    def remarks(self) -> Iterator[tuple[int, str]]:
        """Yields remarks on skipped and short rows, with the number of the first such row."""
        if self.empty_rows:
            yield self.empty_rows[0], f"{_count_rows(self.empty_rows, 'has', 'have')} no text in any cell: left out"
        if self.short_rows:
            why = ", and the file without a line end" if self.is_truncated else ""
            subject = f"{_count_rows(self.short_rows, 'ends', 'end')} before the last column{why}"
            yield self.short_rows[0], f"{subject}: the missing cells count as empty"


def _count_rows(rows: Sequence[int], one: str, several: str) -> str:
    """Returns the count and numbers of rows as a subject, with the verb in singular or plural.

    >>> _count_rows([4], "ends", "end"), _count_rows([4, 9], "ends", "end")
    ('1 row (4) ends', '2 rows (4, 9) end')
    """
    shown = ", ".join(map(str, rows[:5])) + (", …" if len(rows) > 5 else "")
    return f"{len(rows)} {'row' if len(rows) == 1 else 'rows'} ({shown}) {one if len(rows) == 1 else several}"


def parse_table(text: str) -> TextTable:
    """Parses delimited text; the delimiter is stated by a first line ``sep=;``, or the most frequent in the header.

    A column without name and content, as from a delimiter at the end of every row, is dropped. Rows may have additional
    cells if these are empty.
    """
    hint = _DELIMITER_HINT.match(text)
    skipped = 1 if hint else 0
    text = text[hint.end() :] if hint else text
    blank = _BLANK.match(text)
    body = text[blank.end() :] if blank else text
    skipped += len(_LINE_END.findall(text[: len(text) - len(body)].encode()))
    records, damage = _read_rows(body, hint[1] if hint else _guess_delimiter(body))
    if not records:
        return TextTable(names=[], errors=[damage] if damage else [])
    (first, header), *rest = records
    names = [" ".join(name.split()) for name in header]
    rest = [(number, cells) for number, cells in rest if cells]  # without blank lines
    kept = [place for place, name in enumerate(names) if name or any(place < len(c) and c[place] for _, c in rest)]
    table = TextTable(names=[names[place] for place in kept], header_row=first + skipped)
    for number, cells in rest:
        _add_row(table, number + skipped, cells, kept, len(names))
    last_is_short = bool(table.short_rows) and table.short_rows[-1] == rest[-1][0] + skipped
    table.is_truncated = last_is_short and not text.endswith(("\r", "\n"))
    if damage:
        table.errors.append((damage[0] + skipped, damage[1]))
    return table


def _add_row(table: TextTable, number: int, cells: list[str], kept: Sequence[int], columns: int) -> None:
    if not any(cell.strip() for cell in cells):
        table.empty_rows.append(number)
    elif any(cell.strip() for cell in cells[columns:]):
        what = (
            "expected as many cells as the header has, found more: put text that has commas or other delimiters in "
            "quotes"
        )
        table.errors.append((number, what))
    else:
        if len(cells) <= max(kept, default=-1):
            table.short_rows.append(number)
        table.rows.append((number, [cells[place] if place < len(cells) else "" for place in kept]))


def _guess_delimiter(text: str) -> str:
    """Returns the most frequent delimiter of the header outside quotes; of equally frequent ones, the first."""
    header = _HEADER.match(text)
    line = header[0] if header else ""
    bare = re.sub(r'"[^"]*"', "", line or text.partition("\n")[0])
    return max(_DELIMITERS, key=bare.count)


def _read_rows(text: str, delimiter: str) -> tuple[list[tuple[int, list[str]]], tuple[int, str] | None]:
    """Returns rows with their line numbers, blank lines without cells, and the line and reason if parsing failed."""
    found: list[tuple[int, list[str]]] = []
    before, number = csv.field_size_limit(_LONGEST_CELL), 1
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for cells in reader:
            found.append((number, cells))
            number = reader.line_num + 1
    except csv.Error as error:
        reason = "a quote is never closed" if "unexpected end" in str(error) else str(error)
        what = f"expected a row of CSV, found a damaged row {number} ({reason}): double the quotes inside of quotes"
        return found, (number, what)
    finally:
        csv.field_size_limit(before)
    return found, None


def parse_json(text: str) -> Any:
    """Parses JSON; also raises ValueError for too deep nesting, duplicate names in an object and lone surrogates."""

    def reject_duplicate_names(pairs: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            raise ValueError(f"the name {next(name for name in names if names.count(name) > 1)!r} twice in one object")
        return found

    try:
        value = json.loads(text, object_pairs_hook=reject_duplicate_names)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError as error:
        raise ValueError("lists and objects nested too deeply") from error
    except UnicodeEncodeError as error:
        raise ValueError(f"{error.object[error.start : error.end]!a}, which is a lone surrogate") from error
    return value


def read_json(path: Path) -> Any:
    """Reads a JSON file with `parse_json`; raises StoreError with the path if it is absent or damaged."""
    try:
        return parse_json(read_text(path))
    except (OSError, ValueError) as error:
        raise StoreError(f"expected a JSON file at {path}, found none that can be read ({error})") from error


def parse_json_lines(text: str) -> Iterator[tuple[int, Any]]:
    """Yields number and value of every non-blank line; for an invalid one, its ValueError instead of a value."""
    for number, line in enumerate(io.StringIO(text, newline=""), 1):
        if not (line := line.strip().strip("\ufeff")):
            continue
        try:
            yield number, parse_json(line)
        except ValueError as error:
            yield number, error


def format_csv(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> str:
    r"""Formats CSV with a header and LF line ends that `parse_table` reads back exactly; missing cells are empty.

    Python's writer quotes a CR only if lines end with one, so each line is written with CR LF, which is then replaced.

    >>> format_csv(["a", "b"], [{"a": "x\ry", "b": 1}])
    'a,b\n"x\ry",1\n'
    """
    found: list[str] = []
    stream = io.StringIO(newline="")
    table = csv.DictWriter(stream, columns, lineterminator="\r\n", restval="")
    for row in ({name: name for name in columns}, *rows):
        table.writerow(row)
        found.append(stream.getvalue().removesuffix("\r\n"))
        stream.seek(0)
        stream.truncate()
    return "".join(f"{line}\n" for line in found)


def is_formula(text: str) -> bool:
    """Whether a spreadsheet may run a text as a formula, or would drop the apostrophe of an escaped one."""
    return bool(_FORMULA.match(text))


def escape_formula(value: object) -> object:
    """Prefixes texts that start with ``=``, ``+``, ``-``, ``@``, tab or line end by an apostrophe, against formulas.

    Numbers are not changed. `unescape_formula` is the inverse.

    >>> escape_formula("=1+1"), escape_formula("-3.5"), escape_formula("'-x"), escape_formula("a=b")
    ("'=1+1", '-3.5', "''-x", 'a=b')
    """
    if isinstance(value, str) and is_formula(value) and not _NUMBER.fullmatch(value):
        return f"'{value}"
    return value


def format_spreadsheet_csv(frame: pd.DataFrame) -> str:
    """Formats a table as CSV without its index, with `escape_formula` applied to all texts and names."""
    import pandas as pd
    from pandas.api.types import is_numeric_dtype

    columns = (frame.iloc[:, place] for place in range(frame.shape[1]))
    safe = [one if is_numeric_dtype(one) else one.map(escape_formula, na_action="ignore") for one in columns]
    names = [str(escape_formula(name)) for name in frame.columns]
    table = pd.concat(safe, axis=1)
    text = str(table.to_csv(index=False, header=names, lineterminator="\n"))
    if "\r" not in text:
        return text
    cells = table.astype(object).where(table.notna(), "").itertuples(index=False, name=None)
    places = list(map(str, range(len(names))))  # names may not be unique
    lines = format_csv(places, (dict(zip(places, row, strict=True)) for row in [tuple(names), *cells]))
    return lines.partition("\n")[2]


def unescape_formula(text: str) -> str:
    """Inverts `escape_formula`.

    >>> unescape_formula("'=1+1"), unescape_formula("''-x"), unescape_formula("'tis"), unescape_formula("-3.5")
    ('=1+1', "'-x", "'tis", '-3.5')
    """
    return text[1:] if text.startswith("'") and is_formula(text) else text
