"""Lists that a user writes with commas, attributes and names of run folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from sam_audio_bench.errors import UsageError
from sam_audio_bench.files import expand_home, is_url

__all__ = ["BOARD_AT", "RUN", "attribute_and_points", "is_fetched", "words"]


class _Run(click.ParamType[Path | str]):
    """A run folder or a folder of some: a path, or a URL, which stays a text."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path | str:
        """The text as what it is."""
        return value if is_url(value) else expand_home(value)


RUN = _Run()
"""The type of arguments that name runs."""

_FETCHED: set[Path] = set()  # leaderboards of URLs


class _Board(click.ParamType[Path]):
    """The folder of a leaderboard; one at a URL is fetched to temporary files."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The folder; raises the errors of `fetch_board`."""
        if not is_url(value):
            return Path(expand_home(value))
        from sam_audio_bench.leaderboard.fetching import fetch_board

        folder = fetch_board(str(value))
        _FETCHED.add(folder)
        return folder


BOARD_AT = _Board()
"""The type of arguments that name a leaderboard that is only read."""


def is_fetched(board: Path) -> bool:
    """Whether a leaderboard is a copy of one at a URL."""
    return board in _FETCHED


def words(text: str, option: str) -> list[str]:
    """The names in ``text``, apart by commas; raises UsageError where there is none.

    >>> words("sdr, visqol", "--metrics")
    ['sdr', 'visqol']
    """
    found = [word.strip() for word in text.split(",") if word.strip()]
    if not found:
        raise UsageError(f"expected comma-separated names for {option}, found {text!r}")
    return found


def attribute_and_points(text: str) -> tuple[str, list[float]]:
    """What ``--by`` says: an attribute, and where it is cut; raises UsageError for points that are no numbers.

    >>> attribute_and_points("snr:-10,0"), attribute_and_points("kind")
    (('snr', [-10.0, 0.0]), ('kind', []))
    """
    name, colon, numbers = text.rpartition(":")
    if not colon:
        return text, []
    try:
        return name, [float(number) for number in numbers.split(",")]
    except ValueError as error:
        raise UsageError(f"expected --by NAME or NAME:NUMBER,NUMBER, such as snr:-10,0,10, found {text!r}") from error
