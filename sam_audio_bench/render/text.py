"""Formatting of texts: escaping of untrusted texts, counts, and names of lines and columns of tables."""

from __future__ import annotations

import html
import re

__all__ = [
    "line_name",
    "markdown_text",
    "one_line",
    "pluralize",
    "printable",
    "split_in_two",
    "unit_and_direction",
    "wrap_name",
]

_MD_LONE_UNDERSCORE = re.compile(r"(?<![^\W_])_|_(?![^\W_])")  # inside a word it is not emphasis
_ARROWS = {True: "↑", False: "↓", None: ""}


def printable(text: str) -> str:
    r"""Escapes control and direction characters of an untrusted text for a terminal; line breaks are kept.

    >>> printable("red \x1b[31m")
    'red \\x1b[31m'
    """
    return "".join(letter if letter.isprintable() or letter == "\n" else ascii(letter)[1:-1] for letter in text)


def one_line(text: str) -> str:
    r"""Returns `printable` text on one line, for a cell, heading or name, with a single space for any white space.

    >>> one_line("two\n lines \x07")
    'two lines \\x07'
    """
    return printable(" ".join(text.split()))


def markdown_text(text: str) -> str:
    r"""Escapes a text for a cell or heading of Markdown, so that it contains no markup.

    >>> markdown_text("a_b | *c*")
    'a_b \\| \\*c\\*'
    """
    safe = html.escape(text, quote=False)  # raw HTML is markup in Markdown
    return _MD_LONE_UNDERSCORE.sub(r"\\_", re.sub(r"([\\`*|\[\]~#])", r"\\\1", safe))


def pluralize(count: int, noun: str) -> str:
    """Formats a count with a noun whose plural ends in s.

    >>> pluralize(1, "item"), pluralize(0, "item")
    ('1 item', '0 items')
    """
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def line_name(separator: str, picked_by: str | None = None, candidates: int = 1) -> str:
    """Returns the name of a table's line: a separator, or the best of its candidates by a picker.

    >>> line_name("sam-audio-small"), line_name("sam-audio-small", "clap", 8)
    ('sam-audio-small', 'sam-audio-small (best of 8 by clap)')
    """
    if not picked_by:
        return separator
    return f"{separator} (best{f' of {candidates}' if candidates > 1 else ''} by {picked_by})"


def unit_and_direction(unit: str, higher_is_better: bool | None) -> str:
    """Returns the text after a metric's name: its unit, and an arrow towards better scores if that is known.

    >>> unit_and_direction("dB", False), unit_and_direction("", True), unit_and_direction("s", None)
    ('(dB) ↓', '↑', '(s)')
    """
    return f"{f'({unit})' if unit else ''} {_ARROWS[higher_is_better]}".strip()


_BREAK = re.compile(r"(?<=[\s\-,])|(?=[_@(/:=.])")  # where a name may be broken
_MIN_LETTERS = 4  # on each line of a name on two lines


def split_in_two(text: str) -> list[str]:
    """Splits a name into two lines of similar length, or returns one line if it has no break near its middle.

    >>> split_in_two("perceptual_overall"), split_in_two("saj_faithfulness")
    (['perceptual', '_overall'], ['saj_faithfulness'])
    """
    pieces = _pieces(text)
    pairs = [["".join(pieces[:at]).rstrip(), "".join(pieces[at:]).lstrip()] for at in range(1, len(pieces))]
    fair = [pair for pair in pairs if min(map(len, pair)) >= _MIN_LETTERS]
    return min(reversed(fair), key=lambda pair: max(map(len, pair)), default=[text])


def wrap_name(text: str, width: int) -> list[str]:
    """Wraps a name to a width; a word is broken only if it is too long for a line by itself.

    >>> wrap_name("hpss", 8), wrap_name("sam-audio-small (best of 8)", 16), wrap_name("abcdef", 4)
    (['hpss'], ['sam-audio-small', '(best of 8)'], ['abcd', 'ef'])
    """
    for lines in ([text], split_in_two(text)):
        if max(map(len, lines)) <= width:
            return lines
    found = [""]
    for piece in _pieces(text):
        if len((found[-1] + piece).rstrip()) <= width:
            found[-1] += piece
        else:
            found += [piece[at : at + width] for at in range(0, len(piece), width)]
    return [line.strip() for line in found if line.strip()]


def _pieces(text: str) -> list[str]:
    """Returns the unbreakable parts of a name; a version and split, as in ``sfx@1-mini``, is one part."""
    name, at, version = text.partition("@")
    rest = [at + version] if version and not re.search(r"\s", version) else _BREAK.split(at + version)
    return [piece for piece in (*_BREAK.split(name), *rest) if piece]
