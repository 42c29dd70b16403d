"""Types and parsers of command-line arguments: runs, leaderboards, comma-separated names, slicings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from sam_audio_bench.errors import UsageError
from sam_audio_bench.files import expand_home, is_url

__all__ = ["BOARD_OR_URL", "RUN_OR_URL", "is_fetched", "parse_names", "parse_slicing"]


class _Run(click.ParamType[Path | str]):
    """A run folder or a folder of runs: a path, or a URL, which stays a string."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path | str:
        """Returns a path, or the URL as it is."""
        return value if is_url(value) else expand_home(value)


RUN_OR_URL = _Run()
"""Type of arguments for runs."""

_FETCHED: set[Path] = set()  # local copies of leaderboards at URLs


class _Board(click.ParamType[Path]):
    """The folder of a leaderboard; one at a URL is fetched to temporary files."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Returns the folder; raises the errors of `fetch_board`."""
        if not is_url(value):
            return Path(expand_home(value))
        from sam_audio_bench.leaderboard.fetching import fetch_board

        folder = fetch_board(str(value))
        _FETCHED.add(folder)
        return folder


BOARD_OR_URL = _Board()
"""Type of arguments for leaderboards that are only read."""


def is_fetched(board: Path) -> bool:
    """Whether a leaderboard is a copy of one at a URL."""
    return board in _FETCHED


def parse_names(text: str, option: str) -> list[str]:
    """Splits comma-separated names; raises UsageError if there are none.

    >>> parse_names("sdr, visqol", "--metrics")
    ['sdr', 'visqol']
    """
    found = [word.strip() for word in text.split(",") if word.strip()]
    if not found:
        raise UsageError(f"expected comma-separated names for {option}, found {text!r}")
    return found


def parse_slicing(text: str) -> tuple[str, list[float]]:
    """Parses a value of ``--by``: an attribute and its cut points; raises UsageError for invalid numbers.

    >>> parse_slicing("snr:-10,0"), parse_slicing("kind")
    (('snr', [-10.0, 0.0]), ('kind', []))
    """
    name, colon, numbers = text.rpartition(":")
    if not colon:
        return text, []
    try:
        return name, [float(number) for number in numbers.split(",")]
    except ValueError as error:
        raise UsageError(f"expected --by NAME or NAME:NUMBER,NUMBER, such as snr:-10,0,10, found {text!r}") from error
