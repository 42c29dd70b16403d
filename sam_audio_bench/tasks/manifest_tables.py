"""Reads tables of questions: CSV, JSON lines, parquet and Hugging Face ``datasets`` folders.

An invalid row yields a `ManifestProblem` that names it, and reading continues. Rows are numbered like lines in an
editor: row 1 is the header of a CSV, the first line of JSON lines, and the first entry in the binary formats. Hugging
Face's tables of sounds (``metadata.csv`` with ``file_name``) are read too.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from sam_audio_bench.errors import BenchError, UsageError, describe_error
from sam_audio_bench.tabular import TABLE_SUFFIXES, has_lone_surrogates, parse_json_lines, parse_table, read_text
from sam_audio_bench.tasks.attributes import is_empty
from sam_audio_bench.tasks.manifest_rows import ManifestProblem, ManifestRow
from sam_audio_bench.tasks.manifest_sounds import EmbeddedSound, Sound
from sam_audio_bench.types import Span

__all__ = [
    "COLUMNS",
    "NOT_UTF8",
    "READERS",
    "Cells",
    "format_spans",
    "parse_spans",
    "read_csv",
    "read_datasets",
    "read_json_lines",
    "read_parquet",
    "read_table",
]

COLUMNS = ("mixture", "text", "spans", "video", "mask", "target", "residual", "group", "id", "paraphrases")
NOT_UTF8 = "expected UTF-8, found something else: save the file as UTF-8"
_SOUNDS = ("mixture", "target", "residual")
_ALIASES = {"file_name": "mixture", **{f"{name}_file_name": name for name in (*_SOUNDS, "video", "mask")}}
_SHOWN = 80  # characters of a cell in a message
_LONGEST = 200  # characters of a message about a column
_BATCH = 1024  # rows in memory at once, without their sounds

_NUMBER = r"((?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)"
_SPAN = re.compile(rf"([+-]){_NUMBER}:{_NUMBER}", re.ASCII | re.IGNORECASE)

Cells = Mapping[str, object]
"""One row: column -> value."""


def parse_spans(text: str) -> tuple[Span, ...]:
    """Parses signed spans in seconds, separated by spaces; raises UsageError for anything else.

    >>> parse_spans("+1.0:2.5 -3:4")
    (('+', 1.0, 2.5), ('-', 3.0, 4.0))
    """
    return tuple(_parse_span(part) for part in text.split())


def format_spans(spans: Iterable[Span]) -> str:
    """Formats spans as a text that `parse_spans` reads.

    >>> format_spans((("+", 1.0, 2.5), ("-", 3.0, 4.0)))
    '+1.0:2.5 -3.0:4.0'
    """
    return " ".join(f"{sign}{float(start)}:{float(end)}" for sign, start, end in spans)


def _parse_span(text: str) -> Span:
    if match := _SPAN.fullmatch(text):
        sign, start, end = match[1], float(match[2]), float(match[3])
        if start < end < math.inf:
            return sign, start, end
    shown = repr(text)[:_SHOWN]
    raise UsageError(f"expected a span such as +1.0:2.5 or -3:4 (sign, start < end in seconds), found {shown}")


def read_csv(path: Path) -> Iterator[tuple[int, Mapping[str, str] | ManifestProblem]]:
    """Yields rows of delimited text with their numbers, cells as texts; first the header, with empty texts.

    Bytes that are not UTF-8 become surrogates, which the check of their cell rejects.

    Raises:
        UsageError: the file is binary, or UTF-16.
    """
    table = parse_table(read_text(path, errors="surrogateescape"))
    names = table.names
    is_unique = len(set(names)) == len(names)
    yield table.header_row, dict.fromkeys(names, "") if is_unique else _repeat_fault(table.header_row, names)
    for number, what in table.remarks():
        yield number, ManifestProblem(where=number, what=what, severity="warning")
    found: list[tuple[int, Mapping[str, str] | ManifestProblem]] = [
        (number, dict(zip(names, cells, strict=True))) for number, cells in table.rows
    ]
    found += [(number, ManifestProblem(where=number, what=what)) for number, what in table.errors]
    yield from sorted(found, key=lambda row: row[0])


def _repeat_fault(where: int, names: Sequence[str]) -> ManifestProblem:
    twice = next(name for name in names if names.count(name) > 1)
    return ManifestProblem(where=where, what=f"expected each column once, found {twice!r} more often", column=twice)


def read_table(path: Path) -> Iterator[ManifestRow | ManifestProblem]:
    """Reads the rows of a manifest in delimited text."""
    lines = read_csv(path)
    where, header = next(lines)
    fault = header if isinstance(header, ManifestProblem) else _header_fault(where, _named(header))
    if fault is not None:
        yield fault
        return
    for number, cells in lines:
        yield cells if isinstance(cells, ManifestProblem) else _row(number, _named(cells))


def read_json_lines(path: Path) -> Iterator[ManifestRow | ManifestProblem]:
    """Reads the rows of a manifest with one JSON object per line; spans and paraphrases may be lists."""
    known: set[str] = set()
    for number, value in parse_json_lines(read_text(path, errors="surrogateescape")):
        if isinstance(value, ValueError):
            yield ManifestProblem(where=number, what=f"expected a JSON object, found a damaged line ({value})")
        elif not isinstance(value, dict):
            remedy = ": put every object of a list in a line of its own" if isinstance(value, list) else ""
            what = f"expected a JSON object, found {json.dumps(value)[:40]!r}{remedy}"
            yield ManifestProblem(where=number, what=what)
        else:
            cells = _named(value)
            fault = None if known >= set(cells) else _header_fault(number, cells)
            known |= set(cells)
            yield _row(number, cells) if fault is None else fault


def _named(cells: Cells) -> Cells:
    """Renames the columns of Hugging Face's ``metadata.csv`` to those of `COLUMNS`."""
    if _ALIASES.keys().isdisjoint(cells):
        return cells
    return {alias if (alias := _ALIASES.get(name, name)) not in cells else name: value for name, value in cells.items()}


def read_parquet(path: Path) -> Iterator[ManifestRow | ManifestProblem]:
    """Reads the rows of a manifest in parquet, which names sounds by path."""
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            schema = file.schema_arrow
            if len(set(schema.names)) < len(schema.names):
                yield _repeat_fault(1, schema.names)
                return
            fault = _header_fault(1, _named(dict.fromkeys(schema.names))) or _embedded_fault(schema)
            if fault is not None:
                yield fault
                return
            further, unread = _further(schema, {*COLUMNS, *_ALIASES})
            yield from unread
            columns = [name for name in schema.names if name in COLUMNS or name in _ALIASES or name in further]
            number = 0
            for batch in file.iter_batches(batch_size=_BATCH, columns=columns):
                for cells in plain_cells(batch):
                    number += 1
                    yield _row(number, _named(cells))
    except (pyarrow.ArrowException, OSError, ValueError, TypeError, KeyError, MemoryError) as error:
        raise UsageError(f"expected a parquet file at {path}, found a damaged one ({error})") from error


def _embedded_fault(schema: Any) -> ManifestProblem | None:
    import pyarrow.types

    for name in _SOUNDS:
        if name in schema.names and pyarrow.types.is_struct(schema.field(name).type):
            what = f"expected paths in column {name!r}, found sounds: save the data with datasets' save_to_disk"
            return ManifestProblem(where=1, what=what, column=name)
    return None


def _further(schema: Any, known: Collection[str]) -> tuple[list[str], list[ManifestProblem]]:
    """Returns the columns that may be attributes, and a warning for each other one, which is not read, being large."""
    from pyarrow import types

    found, unread = [], []
    for column in schema:
        if column.name in known:
            continue
        if types.is_nested(column.type) or types.is_binary(column.type) or types.is_large_binary(column.type):
            what = (
                f"column {column.name!r} is no attribute: expected a number or a text in each cell, found {column.type}"
            )
            unread.append(ManifestProblem(where=1, what=what[:_LONGEST], column=column.name, severity="warning"))
        else:
            found.append(column.name)
    return found, unread


def plain_cells(batch: Any) -> Iterator[dict[str, object]]:
    """Yields the rows of a record batch or table; decodes texts itself, so that bad bytes fail a row, not the file."""
    import pyarrow

    columns = {}
    for name in batch.schema.names:
        column = batch.column(name)
        textual = pyarrow.types.is_string(column.type) or pyarrow.types.is_large_string(column.type)
        columns[name] = column.cast(pyarrow.binary() if textual else column.type).to_pylist()
    for values in zip(*columns.values(), strict=True):
        yield {
            name: value.decode("utf-8", errors="surrogateescape") if isinstance(value, bytes) else value
            for name, value in zip(columns, values, strict=True)
        }


def read_datasets(path: Path) -> Iterator[ManifestRow | ManifestProblem]:
    """Reads a folder that ``datasets.Dataset.save_to_disk`` wrote; sounds are paths, or files inside the table."""
    try:
        yield from _saved_rows(path)
    except BenchError:
        raise
    except Exception as error:  # for damaged files, the library raises errors of many types
        reason = describe_error(error)
        raise UsageError(f"expected a datasets folder at {path}, found a damaged one ({reason})") from error


def _saved_rows(path: Path) -> Iterator[ManifestRow | ManifestProblem]:
    import datasets
    import pyarrow.types

    found = datasets.load_from_disk(str(path))
    if isinstance(found, datasets.DatasetDict):
        splits = ", ".join(repr(str(path / name))[1:-1] for name in found)
        raise UsageError(f"expected one split of the data, found the folder of several: name one of {splits}")
    table = found.with_format("arrow")
    fault = _header_fault(1, dict.fromkeys(table.column_names))
    if fault is not None:
        yield fault
        return
    further, unread = _further(table.features.arrow_schema, COLUMNS)
    yield from unread
    columns = [*(name for name in COLUMNS if name in table.column_names), *further]
    number = 0
    for batch in table.select_columns(columns).iter(batch_size=_BATCH):
        embedded = [name for name in columns if pyarrow.types.is_struct(batch.schema.field(name).type)]
        sounds = {name: _sounds(table, name, batch.column(name), number) for name in embedded}
        for index, cells in enumerate(plain_cells(batch.drop_columns(embedded))):
            number += 1
            yield _row(number, {**cells, **{name: column[index] for name, column in sounds.items()}})


def _sounds(table: Any, name: str, column: Any, before: int) -> list[Sound | None]:
    """Returns the sounds of one column of a batch; their bytes are read only when an item is loaded."""
    from pyarrow import compute

    combined = column.combine_chunks() if column.num_chunks > 1 else column.chunk(0)
    paths = compute.struct_field(combined, "path").to_pylist()
    inside = compute.struct_field(combined, "bytes").is_valid().to_pylist()
    return [
        EmbeddedSound(path or f"row-{before + index + 1}", partial(_bytes, table, name, before + index))
        if there
        else path
        for index, (path, there) in enumerate(zip(paths, inside, strict=True))
    ]


def _bytes(table: Any, name: str, index: int) -> bytes:
    content: bytes = table.select_columns([name])[index : index + 1].column(name)[0]["bytes"].as_py()
    return content


READERS: Mapping[str, Callable[[Path], Iterator[ManifestRow | ManifestProblem]]] = dict(
    zip(TABLE_SUFFIXES, (read_table, read_json_lines, read_parquet, read_table, read_json_lines), strict=True)
)
"""Suffix of a table -> its reader."""


def _header_fault(where: int, names: Iterable[str]) -> ManifestProblem | None:
    """Returns what is wrong with the columns of a table, or None."""
    found = list(names)
    for name in found:  # additional columns are allowed, misspelt ones are not
        if has_lone_surrogates(name):
            return ManifestProblem(where=where, what=NOT_UTF8)
        near = difflib.get_close_matches(name.lower(), sorted(set(COLUMNS) - set(found)), n=1, cutoff=0.8)
        if near and name not in COLUMNS:
            return ManifestProblem(where=where, what=f"unknown column {name!r}: did you mean {near[0]!r}?", column=name)
    if "mixture" not in found or not {"text", "spans", "video"} & set(found):
        shown = ", ".join(found) or "none"
        what = f"expected columns 'mixture' and 'text' or 'spans' or 'video', found {shown}"
        return ManifestProblem(where=where, what=what)
    return None


def _row(number: int, cells: Cells) -> ManifestRow | ManifestProblem:
    """Parses the cells of a row; texts are stripped, and an empty cell, null and NaN are the same."""
    column = ""
    try:
        values: dict[str, Any] = {}
        for column in filter(cells.__contains__, COLUMNS):
            values[column] = _READ.get(column, _text)(cells[column])
    except UsageError as error:
        return ManifestProblem(where=number, what=str(error), column=column)
    for column in ("target", "residual"):
        values[column] = (values[column],) if values.get(column) else ()
    values["mixture"] = values.get("mixture") or None
    attributes = {name: value for name, value in cells.items() if name not in COLUMNS}
    return ManifestRow(**values, where=number, attributes=attributes)


def _text(value: object) -> str:
    if isinstance(value, str):
        if has_lone_surrogates(value):
            raise UsageError(NOT_UTF8)
        return value.strip()
    if is_empty(value):
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise UsageError(f"expected text, found {repr(value)[:_SHOWN]}")


def _sound(value: object) -> Sound:
    return value if isinstance(value, EmbeddedSound) else _text(value)


def _spans(value: object) -> tuple[Span, ...]:
    if not isinstance(value, list):
        return parse_spans(_text(value))
    found = []
    for entry in value:
        if not isinstance(entry, list) or len(entry) != 3:
            raise UsageError(
                f"expected a span such as ['+', 1.0, 2.5] (sign, start, end in seconds), found {repr(entry)[:_SHOWN]}"
            )
        sign, start, end = entry
        found.append(_parse_span(f"{sign}{start}:{end}"))
    return tuple(found)


def _paraphrases(value: object) -> tuple[str, ...]:
    parts = [_text(part) for part in value] if isinstance(value, list) else _text(value).split("|")
    return tuple(part.strip() for part in parts if part.strip())


_READ: Mapping[str, Callable[[object], Any]] = {
    **dict.fromkeys(_SOUNDS, _sound),
    "spans": _spans,
    "paraphrases": _paraphrases,
}
