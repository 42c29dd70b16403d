"""Where the words go: results on standard output, everything else on standard error."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TextIO

import click

from sam_audio_bench.files import dump_json
from sam_audio_bench.render.text import one_line, printable

__all__ = ["claim_stdout", "note", "print_json", "print_records"]


def print_json(value: Any, stream: TextIO | None = None) -> None:
    """One JSON value on standard output; halves of letters, which file names may hold, as JSON writes them.

    Args:
        value: to be printed.
        stream: as `claim_stdout` gives it; None: standard output as it is.
    """
    click.echo(dump_json(value, indent=1).encode("utf-8", "backslashreplace").decode(), file=stream)


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
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    if footer:
        click.echo(f"\n{footer}")


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
