"""Texts as readers see them: what strangers wrote made harmless, counts, and names of lines and columns of tables."""

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

_MD_LONE_UNDERSCORE = re.compile(r"(?<![^\W_])_|_(?![^\W_])")  # one inside a word is no emphasis
_ARROWS = {True: "↑", False: "↓", None: ""}


def printable(text: str) -> str:
    r"""A text from a stranger as a terminal may show it: controls and marks of direction as escapes, lines kept.

    >>> printable("red \x1b[31m")
    'red \\x1b[31m'
    """
    return "".join(letter if letter.isprintable() or letter == "\n" else ascii(letter)[1:-1] for letter in text)


def one_line(text: str) -> str:
    r"""`printable` on one line: for a cell, a heading or a name, with one space for any white space.

    >>> one_line("two\n lines \x07")
    'two lines \\x07'
    """
    return printable(" ".join(text.split()))


def markdown_text(text: str) -> str:
    r"""A text as a cell or heading of Markdown, in which nothing of it is markup.

    >>> markdown_text("a_b | *c*")
    'a_b \\| \\*c\\*'
    """
    safe = html.escape(text, quote=False)  # raw HTML is markup in Markdown
    return _MD_LONE_UNDERSCORE.sub(r"\\_", re.sub(r"([\\`*|\[\]~#])", r"\\\1", safe))


def pluralize(count: int, noun: str) -> str:
    """A count of something whose plural ends in s.

    >>> pluralize(1, "item"), pluralize(0, "item")
    ('1 item', '0 items')
    """
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def line_name(separator: str, picked_by: str | None = None, candidates: int = 1) -> str:
    """A line of a table: a separator, or the best of its candidates by some picker.

    >>> line_name("sam-audio-small"), line_name("sam-audio-small", "clap", 8)
    ('sam-audio-small', 'sam-audio-small (best of 8 by clap)')
    """
    if not picked_by:
        return separator
    return f"{separator} (best{f' of {candidates}' if candidates > 1 else ''} by {picked_by})"


def unit_and_direction(unit: str, higher_is_better: bool | None) -> str:
    """What stands behind a metric's name: its unit, and an arrow that points to better scores where that is known.

    >>> unit_and_direction("dB", False), unit_and_direction("", True), unit_and_direction("s", None)
    ('(dB) ↓', '↑', '(s)')
    """
    return f"{f'({unit})' if unit else ''} {_ARROWS[higher_is_better]}".strip()


_SEAM = re.compile(r"(?<=[\s\-,])|(?=[_@(/:=.])")  # where a name may be broken
_LEAST = 4  # letters on each line of a name in two


def split_in_two(text: str) -> list[str]:
    """A name on two lines that are about as long, or on one where it has no seam in its middle.

    >>> split_in_two("perceptual_overall"), split_in_two("saj_faithfulness")
    (['perceptual', '_overall'], ['saj_faithfulness'])
    """
    pieces = _pieces(text)
    pairs = [["".join(pieces[:at]).rstrip(), "".join(pieces[at:]).lstrip()] for at in range(1, len(pieces))]
    fair = [pair for pair in pairs if min(map(len, pair)) >= _LEAST]
    return min(reversed(fair), key=lambda pair: max(map(len, pair)), default=[text])


def wrap_name(text: str, width: int) -> list[str]:
    """A name on as many lines as it takes; a word is broken only where it is too long for a line by itself.

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
    """What stays whole; a version and split, as in ``sfx@1-mini``, is one."""
    name, at, version = text.partition("@")
    rest = [at + version] if version and not re.search(r"\s", version) else _SEAM.split(at + version)
    return [piece for piece in (*_SEAM.split(name), *rest) if piece]
