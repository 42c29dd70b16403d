"""Where the words go: results on standard output, everything else on standard error.

No terminal gets a control sequence that somebody has written into a name or a message. A stream that is not UTF-8 gets
replacements of the signs that it lacks: of a minus sign a hyphen, never nothing.
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

_PLAIN = {
    "−": "-", "–": "-", "—": "-", "±": "+-", "×": "x", "≤": "<=", "≥": ">=", "≈": "~", "↑": "^", "↓": "v", "→": "->",
    "…": "...", "“": '"', "”": '"', "‘": "'", "’": "'", "•": "*", "─": "-", "━": "-", "│": "|",
    "†": "+", "▾": "#",
}  # fmt: skip


def _replacement(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_PLAIN.get(letter) or ascii(letter)[1:-1] for letter in lacking), error.end


codecs.register_error("sabench", _replacement)


def open_closed_streams() -> None:
    """Puts nothing in the place of standard streams that are closed (``2>&-``), which the next file would take."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
        if getattr(sys, name) is None:
            mode = "r" if number == 0 else "w"
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))


def replace_unwritable() -> None:
    """Lets standard output and standard error replace what their encoding lacks, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="sabench")


def echo(text: object = "", *, nl: bool = True) -> None:
    """A text on standard output."""
    click.echo(printable(str(text)), file=sys.stdout, nl=nl)


def print_json(value: Any, stream: TextIO | None = None) -> None:
    """One JSON value on standard output, with escapes for controls, and for what an encoding may lack.

    Args:
        value: to be printed.
        stream: as `claim_stdout` gives it; None: standard output as it is.
    """
    goal = sys.stdout if stream is None else stream
    unicode = (getattr(goal, "encoding", None) or "utf-8").lower().replace("-", "") == "utf8"
    text = dump_json(value, indent=1)
    click.echo("".join(_in_json(letter, unicode) for letter in text) if not _is_plain(text) else text, file=goal)


def _is_plain(text: str) -> bool:
    return text.isascii() and text.replace("\n", "").isprintable()


def _in_json(letter: str, unicode: bool) -> str:
    shown = letter == "\n" or (letter.isprintable() and (unicode or letter.isascii()))
    return letter if shown else json.dumps(letter)[1:-1]


def claim_stdout() -> TextIO:
    """Standard output for one result alone; what others print, even as the process ends, goes to standard error."""
    stream = sys.stdout
    try:
        if stream.fileno() == 1:
            stream.flush()
            stream = os.fdopen(os.dup(1), "w", encoding=stream.encoding, errors=stream.errors)
            os.dup2(2, 1)
    except (OSError, ValueError):  # it lies in memory
        sys.stdout = sys.stderr
    return stream


def note(text: str) -> None:
    """A line for the person at the terminal, on standard error."""
    with suppress(OSError):  # of a terminal that is gone
        click.echo(printable(text), err=True)


def print_records(records: Iterable[Mapping[str, object]], columns: Sequence[str], footer: str = "") -> None:
    """Records as aligned columns on standard output; the last column is not padded."""
    rows = [columns, *([_cell(record.get(column)) for column in columns] for record in records)]
    widths = [max(len(row[index]) for row in rows) for index in range(len(columns))]
    for row in rows:
        echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    if footer:
        echo(f"\n{footer}")


def print_markdown(records: Iterable[Mapping[str, object]], columns: Sequence[str], footer: str = "") -> None:
    """Records as a table in Markdown on standard output."""
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
