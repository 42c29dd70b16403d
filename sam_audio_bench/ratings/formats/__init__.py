"""Readers of listening-test data, one module per format.

    source     files as raw tables or records
    columns    roles of columns
    wide       one column per rater
    long       one row per score
    lists      JSON lines with lists of scores
    webmushra  webMUSHRA
    p808       the P.808 toolkit
    votes      pairwise votes
    page       our listening page

Importing this package does not import torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from sam_audio_bench.errors import UsageError
from sam_audio_bench.ratings.formats.columns import ColumnChoice, ParsedFile
from sam_audio_bench.ratings.formats.lists import is_lists, parse_lists
from sam_audio_bench.ratings.formats.long import is_long, parse_long
from sam_audio_bench.ratings.formats.p808 import is_p808, parse_p808
from sam_audio_bench.ratings.formats.page import is_page, parse_page
from sam_audio_bench.ratings.formats.source import Source
from sam_audio_bench.ratings.formats.votes import is_votes, parse_votes
from sam_audio_bench.ratings.formats.webmushra import is_webmushra, parse_webmushra
from sam_audio_bench.ratings.formats.wide import is_wide, parse_wide

__all__ = ["FORMATS", "ColumnChoice", "Format", "ParsedFile", "Source", "detect_format"]


class Format(NamedTuple):
    """Detection and parser of a format."""

    recognises: Callable[[Source, ColumnChoice], bool]
    parse: Callable[[Source, ColumnChoice], ParsedFile]


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "page": Format(is_page, parse_page),
        "webmushra": Format(is_webmushra, parse_webmushra),
        "p808": Format(is_p808, parse_p808),
        "lists": Format(is_lists, parse_lists),
        "votes": Format(is_votes, parse_votes),
        "wide": Format(is_wide, parse_wide),
        "long": Format(is_long, parse_long),
    }
)
"""Formats by name; the first that recognises a file reads it."""


def detect_format(source: Source, choice: ColumnChoice, name: str | None = None) -> str:
    """Returns the name of the format of a file.

    Args:
        source: the file.
        choice: columns that the user named.
        name: the format that the user named, or None.

    Raises:
        UsageError: an unknown name, or a file that no format recognises.
    """
    if name is not None:
        if name not in FORMATS:
            raise UsageError(f"expected a format of {', '.join(FORMATS)}, found {name!r}")
        return name
    for found, form in FORMATS.items():
        if form.recognises(source, choice):
            return found
    columns = ", ".join(source.columns[:12])
    raise UsageError(
        f"expected ratings in {source.path}, found columns {columns}, none of which looks like a score; "
        "name it with --score COLUMN, or choose a --format"
    )
