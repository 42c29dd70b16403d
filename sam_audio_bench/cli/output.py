"""Output of commands: results on standard output, everything else on standard error.

Control sequences in names and messages are escaped. For a stream that is not UTF-8, characters that it cannot encode
are replaced: a minus sign by a hyphen, never by nothing.
"""

from __future__ import annotations

import codecs
import io
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TextIO

import click

from sam_audio_bench.files import dump_json
from sam_audio_bench.render.text import markdown_text, one_line, printable

__all__ = ["claim_stdout", "echo", "note", "open_closed_streams", "print_json", "print_markdown", "print_records",
           "replace_unwritable"]  # fmt: skip

_ASCII_REPLACEMENTS = {
    "−": "-", "–": "-", "—": "-", "±": "+-", "×": "x", "≤": "<=", "≥": ">=", "≈": "~", "↑": "^", "↓": "v", "→": "->",
    "…": "...", "“": '"', "”": '"', "‘": "'", "’": "'", "•": "*", "─": "-", "━": "-", "│": "|",
    "†": "+", "▾": "#",
}  # fmt: skip


def _replacement(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    unencodable = error.object[error.start : error.end]
    return "".join(_ASCII_REPLACEMENTS.get(letter) or ascii(letter)[1:-1] for letter in unencodable), error.end


codecs.register_error("sabench", _replacement)


def open_closed_streams() -> None:
    """Opens the null device for closed standard streams (``2>&-``), whose descriptors the next file would get."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
        if getattr(sys, name) is None:
            mode = "r" if number == 0 else "w"
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))


def replace_unwritable() -> None:
    """Makes standard output and standard error replace unencodable characters, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="sabench")


def echo(text: object = "", *, nl: bool = True) -> None:
    """Prints a text on standard output."""
    click.echo(printable(str(text)), file=sys.stdout, nl=nl)


def print_json(value: Any, stream: TextIO | None = None) -> None:
    """Prints one JSON value on standard output, with escapes for control and unencodable characters.

    Args:
        value: to print.
        stream: from `claim_stdout`; None: standard output.
    """
    output = sys.stdout if stream is None else stream
    unicode = (getattr(output, "encoding", None) or "utf-8").lower().replace("-", "") == "utf8"
    text = dump_json(value, indent=1)
    click.echo("".join(_in_json(letter, unicode) for letter in text) if not _is_plain(text) else text, file=output)


def _is_plain(text: str) -> bool:
    return text.isascii() and text.replace("\n", "").isprintable()


def _in_json(letter: str, unicode: bool) -> str:
    shown = letter == "\n" or (letter.isprintable() and (unicode or letter.isascii()))
    return letter if shown else json.dumps(letter)[1:-1]


def claim_stdout() -> TextIO:
    """Returns standard output for a single result, and redirects all other output to standard error."""
    stream = sys.stdout
    try:
        if stream.fileno() == 1:
            stream.flush()
            stream = os.fdopen(os.dup(1), "w", encoding=stream.encoding, errors=stream.errors)
            os.dup2(2, 1)
    except (OSError, ValueError):  # it is in memory
        sys.stdout = sys.stderr
    return stream


def note(text: str) -> None:
    """Prints a line on standard error."""
    with suppress(OSError):  # the terminal is closed
        click.echo(printable(text), err=True)


def print_records(records: Iterable[Mapping[str, object]], columns: Sequence[str], footer: str = "") -> None:
    """Prints records as aligned columns on standard output; the last column is not padded."""
    rows = [columns, *([_cell(record.get(column)) for column in columns] for record in records)]
    widths = [max(len(row[index]) for row in rows) for index in range(len(columns))]
    for row in rows:
        echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    if footer:
        echo(f"\n{footer}")


def print_markdown(records: Iterable[Mapping[str, object]], columns: Sequence[str], footer: str = "") -> None:
    """Prints records as a Markdown table on standard output."""
    rows = [[markdown_text(_cell(record.get(column))) for column in columns] for record in records]
    for row in (columns, ["---"] * len(columns), *rows):
        echo(f"| {' | '.join(row)} |")
    if footer:
        echo(f"\n{markdown_text(footer)}")


def _cell(value: Any) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case list() | tuple() | frozenset():
            return one_line(", ".join(map(str, value))) or "-"
        case _:
            return one_line(str(value))
