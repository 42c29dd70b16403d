"""Text tables and JSON: rows as a text editor counts them, and nothing left out without a word."""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sam_audio_bench.errors import UsageError
from sam_audio_bench.tabular import (
    escape_formula,
    format_csv,
    format_spreadsheet_csv,
    parse_json,
    parse_json_lines,
    parse_table,
    read_text,
    unescape_formula,
)

cells = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1).map("x{}".format)
tables = st.integers(1, 4).flatmap(
    lambda columns: st.lists(st.lists(cells, min_size=columns, max_size=columns), min_size=1, max_size=5)
)


@settings(max_examples=100, derandomize=True)
@given(rows=tables, delimiter=st.sampled_from(",;\t|"), end=st.sampled_from(["\n", "\r\n", "\r"]))
def test_what_a_csv_writer_wrote_is_read(rows: list[list[str]], delimiter: str, end: str) -> None:
    names = [f"column {place}" for place in range(len(rows[0]))]
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL).writerows([names, *rows])
    found = parse_table(f"sep={delimiter}{end}" + text.getvalue())
    assert (found.names, [row for _, row in found.rows], found.errors) == (names, rows, [])


@pytest.mark.parametrize(
    ("text", "names", "rows"),
    [
        ("a,b\n1,2\n", ["a", "b"], [(2, ["1", "2"])]),
        ("sep=;\r\na;b\r\n1,5;2\r\n", ["a", "b"], [(3, ["1,5", "2"])]),
        ('"sep=\t"\na\tb\n1\t2', ["a", "b"], [(3, ["1", "2"])]),
        ("\n \r\na;b\n\n1;2", ["a", "b"], [(5, ["1", "2"])]),
        ('"a\nb";c\n1;2\n', ["a b", "c"], [(3, ["1", "2"])]),
        ('a,b\n"x\r\ny",1\n\n3,4\n', ["a", "b"], [(2, ["x\r\ny", "1"]), (5, ["3", "4"])]),
        ("a,b\r1,2\n3,4\r\n5,6", ["a", "b"], [(2, ["1", "2"]), (3, ["3", "4"]), (4, ["5", "6"])]),
        ('r;"i, n, x, y";s\n1;2;3', ["r", "i, n, x, y", "s"], [(2, ["1", "2", "3"])]),
        ("a,b,\n1,2,\n3,4\n", ["a", "b"], [(2, ["1", "2"]), (3, ["3", "4"])]),
        (",a\n0,1\n", ["", "a"], [(2, ["0", "1"])]),
        ("a\tb\n1\u2028\u0085\x0b\x0c2\t3\n", ["a", "b"], [(2, ["1\u2028\u0085\x0b\x0c2", "3"])]),
        ("a,b\n1,2,,\n", ["a", "b"], [(2, ["1", "2"])]),
        (f"a,b\n1,{'x' * 200_000}\n", ["a", "b"], [(2, ["1", "x" * 200_000])]),
    ],
)
def test_shapes(text: str, names: list[str], rows: list[tuple[int, list[str]]]) -> None:
    found = parse_table(text)
    assert (found.names, found.rows, found.errors, list(found.remarks())) == (names, rows, [], [])


def test_what_is_left_out_or_completed_is_told() -> None:
    found = parse_table("a,b,c\n,,\n1,2,3\n  ,,\n4\n5,6")
    assert found.rows == [(3, ["1", "2", "3"]), (5, ["4", "", ""]), (6, ["5", "6", ""])]
    blank, short = found.remarks()
    assert blank == (2, "2 rows (2, 4) have no text in any cell: left out")
    assert short[1].startswith("2 rows (5, 6) end before the last column, and the file without a line end")


@pytest.mark.parametrize(
    ("text", "row", "what"),
    [
        ('a,b\n1,2\n3,"4\n5,6\n', 3, "a quote is never closed"),
        ('a,b\n"x" y,2\n', 2, "expected after"),
        ("a,b\n\n1,2,3\n", 3, "expected as many cells as the header has, found more"),
        ('"', 1, "never closed"),
    ],
)
def test_damage_names_the_row_where_it_begins(text: str, row: int, what: str) -> None:
    ((found, why),) = parse_table(text).errors
    assert found == row
    assert what in why


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"PK\x03\x04", "a spreadsheet or another zip archive"),
        (b"\xd0\xcf\x11\xe0", "an old spreadsheet"),
        (gzip.compress(b"a,b", mtime=0), "a gzip archive"),
        ("a,b".encode("utf-16"), "UTF-16"),
        ("a,b\n1,2".encode("utf-16-le"), "a zero byte in row 1"),
        (b"a,b\r\n1,2\r3,\0", "a zero byte in row 3"),
        ("a,b\r\n1,ä\n".encode("latin-1"), "another encoding in row 2 .byte 0xe4.; save it as UTF-8"),
    ],
)
def test_files_that_are_no_text_in_utf8(tmp_path: Path, content: bytes, what: str) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(UsageError, match=what):
        read_text(tmp_path / "a.csv")


def test_byte_order_marks(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbf\xef\xbb\xbfa,b")
    assert read_text(tmp_path / "a.csv") == "a,b"
    assert list(parse_json_lines('\ufeff{"a": 1}\n\ufeff{"a": 2}\n')) == [(1, {"a": 1}), (2, {"a": 2})]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('{"a": 1, "b": 2, "a": 3}', "the name 'a' twice"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a": "\\ud800"}', "lone surrogate"),
        ("{", "Expecting"),
    ],
)
def test_json_that_is_refused(text: str, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        parse_json(text)
    ((number, error),) = parse_json_lines("\n" + text)
    assert number == 2
    assert isinstance(error, ValueError)


def test_a_line_of_json_ends_where_an_editor_ends_it() -> None:
    assert list(parse_json_lines('{"a": "x\u2028\u2029\u0085y"}\r\n\n[1]\r{}')) == [
        (1, {"a": "x\u2028\u2029\u0085y"}), (3, [1]), (4, {}),
    ]  # fmt: skip


@settings(max_examples=300, derandomize=True)
@given(text=st.one_of(st.text(), st.text("'=+-@\t\r\n1.x")))
def test_cells_come_back_as_they_were(text: str) -> None:
    cell = escape_formula(text)
    assert isinstance(cell, str)
    assert unescape_formula(cell) == text
    assert cell[:1] not in tuple("=+-@\t\r\n＝＋－＠") or (cell == text and float(cell) is not None)
    assert escape_formula(-3.5) == -3.5


@given(st.lists(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), min_size=2,
                         max_size=2), max_size=5))  # fmt: skip
def test_what_is_written_is_read_whatever_ends_lines(rows: list[list[str]]) -> None:
    texts = [["x", *row] for row in [["a\rb", "a\r\nb"], *rows]]
    written = format_csv(["key", "one", "two"], (dict(zip(("key", "one", "two"), row, strict=True)) for row in texts))
    assert [cells for _, cells in parse_table(written).rows] == texts
    frame = pd.DataFrame(texts, columns=["key", "same", "same"])
    shown = format_spreadsheet_csv(frame.assign(number=[1.5, *[None] * len(rows)]))
    assert [[*map(unescape_formula, cells[:3])] for _, cells in parse_table(shown).rows] == texts
    assert [cells[3] for _, cells in parse_table(shown).rows] == ["1.5", *[""] * len(rows)]
