"""Parses specifications of components and their options: ``hpss(margin=2),oracle-irm``, ``k=v,k=v``."""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from sam_audio_bench.errors import UsageError
from sam_audio_bench.files import expand_home
from sam_audio_bench.identity import Options

__all__ = ["Specification", "parse_arguments", "parse_specification", "split_specifications", "unknown_option"]

_PROGRAMS = ("cmd:", "serve:")  # commands extend to the end of the text, brackets included
_OPENING, _CLOSING, _QUOTES = "([{", ")]}", "'\""


@dataclass(frozen=True)
class Specification:
    """A component's name and the options in brackets after it."""

    name: str
    options: Options = field(default_factory=dict)

    def __str__(self) -> str:
        shown = ",".join(f"{name}={value}" for name, value in self.options.items())
        return f"{self.name}({shown})" if shown else self.name


def split_specifications(text: str) -> list[str]:
    """Splits at commas outside brackets and quotes; ``cmd:`` and ``serve:`` extend to the end, commas included.

    >>> split_specifications("hpss(margin=2,kernel=17),cmd:sox {mixture} {target} gain -3,1")
    ['hpss(margin=2,kernel=17)', 'cmd:sox {mixture} {target} gain -3,1']

    Raises:
        UsageError: brackets or quotes that do not match.
    """
    found, start = [], 0
    command = re.search(rf"(?:^|,)\s*({'|'.join(_PROGRAMS)})", text)
    head = text[: command.start(1)] if command else text
    for position in [*_commas(head), len(text)]:
        if position < start:
            continue
        if text[start:].lstrip().startswith(_PROGRAMS):
            found.append(text[start:].strip())
            return [part for part in found if part]
        found.append(text[start:position].strip())
        start = position + 1
    return [part for part in found if part]


def _commas(text: str, *, quotes: bool = False) -> list[int]:
    """Returns the positions of commas outside brackets and quotes; ``quotes``: also outside quotes not in brackets."""
    open_brackets: list[str] = []
    quote, found = "", []
    for position, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in _QUOTES and (open_brackets or (quotes and text[:position].rstrip().endswith("="))):
            quote = letter
        elif letter in _OPENING:
            open_brackets.append(_CLOSING[_OPENING.index(letter)])
        elif letter in _CLOSING and open_brackets and letter == open_brackets[-1]:
            open_brackets.pop()
        elif letter == "," and not open_brackets:
            found.append(position)
    if open_brackets or quote:
        raise UsageError(f"expected brackets and quotes that are closed, found {text!r}; write name(option=value)")
    return found


def parse_specification(text: str) -> Specification:
    """Reads ``name`` or ``name(option=value,option=value)``; a path with brackets is a name.

    >>> parse_specification("hpss(margin=2)")
    Specification(name='hpss', options={'margin': 2})
    """
    match = re.fullmatch(r"(?P<name>[^()]+)\((?P<options>.*)\)", text.strip(), re.DOTALL)
    if match is None or text.startswith(_PROGRAMS):
        return Specification(text.strip())
    if match["options"].strip() and "=" not in match["options"]:
        return Specification(text.strip())
    return Specification(match["name"].strip(), parse_arguments(match["options"]))


def parse_arguments(text: str) -> Options:
    """Reads ``k=v,k=v``; values are integers, floats, true/false, none, quoted or plain text, or lists in brackets.

    ``~`` at the start of a plain text is expanded to the home folder.

    >>> parse_arguments("kernel=17,margin=2.5,soft=true,path=a/b,sizes=[1,2]")
    {'kernel': 17, 'margin': 2.5, 'soft': True, 'path': 'a/b', 'sizes': [1, 2]}

    Raises:
        UsageError: any other syntax.
    """
    arguments: Options = {}
    positions = [-1, *_commas(text, quotes=True), len(text)]
    pairs = [text[start + 1 : end].strip() for start, end in pairwise(positions)]
    for pair in filter(None, pairs):
        key, equals, value = pair.partition("=")
        if not equals or not key.strip().isidentifier() or key.strip() in arguments:
            raise UsageError(f"expected arguments as k=v,k=v with each k once, found {pair!r}")
        arguments[key.strip()] = _parse_value(value.strip())
    return arguments


def _parse_value(text: str) -> object:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if text.lower() in ("none", "null"):
        return None
    if text == "~" or text.startswith("~/"):  # shells do not expand it after an equals sign
        return str(expand_home(text))
    if text[:1] in "[('\"" and text:
        try:
            return ast.literal_eval(text)
        except (ValueError, SyntaxError):
            return text
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def unknown_option(
    what: str, name: str, found: Iterable[str], known: Mapping[str, object] | Iterable[str]
) -> UsageError:
    """Returns the error for options that a constructor does not have, with the most similar ones that it has."""
    names = list(known)
    strange = sorted(found)
    near = [match for one in strange for match in difflib.get_close_matches(one, names, n=1, cutoff=0.5)]
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    options = ", ".join(names) or "none"
    return UsageError(f"expected {what} arguments among [{options}] for {name!r}, found {', '.join(strange)}{hint}")
