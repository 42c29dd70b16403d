"""Checks that readers of a leaderboard can tell names of separators and revisions apart.

A name that looks like another one could impersonate it, and would evade its history in the log. Which letters look
alike, and which script they belong to, is taken from Unicode's tables (UTS 39) by the library confusable-homoglyphs.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator

from confusable_homoglyphs import categories, confusables

from sam_audio_bench.separators import CARDS

__all__ = ["look_alikes", "name_fault"]

_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}  # control, format, surrogate, private, unassigned, separators
_BLANKS = frozenset(map(ord, "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0\U0001d159")) | frozenset(
    (*range(0x180B, 0x1810), *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))  # variation selectors
)
"""Fillers and selectors: letters and marks by category, but invisible."""
_NEUTRAL = {"COMMON", "INHERITED"}
_MIXED_SCRIPTS = (  # scripts that languages mix; UTS 39, "highly restrictive"
    {"LATIN", "HAN", "HIRAGANA", "KATAKANA"},
    {"LATIN", "HAN", "BOPOMOFO"},
    {"LATIN", "HAN", "HANGUL"},
)


def name_fault(name: str) -> str | None:
    """Returns why a name could be mistaken for another one, as a sentence; None if it could not.

    >>> name_fault("my-net 2"), name_fault("Größe"), name_fault("音源分離モデル v2")
    (None, None, None)
    >>> name_fault("hpss ")
    "expected a name without blanks around it or two in a row, found 'hpss '"
    """
    for letter in name:
        if unicodedata.category(letter) in _HIDDEN or ord(letter) in _BLANKS:
            return f"expected a name of visible letters, found {_describe(letter)} in {name!a}; leave it out"
        if letter != " " and letter.isspace():
            return f"expected a name with plain blanks, found {_describe(letter)} in {name!a}"
    if name != " ".join(name.split(" ")).strip() or "  " in name:
        return f"expected a name without blanks around it or two in a row, found {name!a}"
    if (plain := unicodedata.normalize("NFKC", name)) != name:
        return f"expected a name in plain letters, found {name!a}, which reads {plain!r}; write that"
    scripts = {categories.alias(letter) for letter in name} - _NEUTRAL
    if len(scripts) > 1 and not any(scripts <= allowed for allowed in _MIXED_SCRIPTS):
        shown = " and ".join(sorted(script.capitalize() for script in scripts))
        return f"expected a name of one script, found letters of {shown} in {name!a}"
    for letter in name:
        if twin := _plain_twin(letter):
            return f"expected letters that look like no other, found {_describe(letter)} in {name!a}; write {twin!r}"
        if unicodedata.category(letter)[0] == "M" and categories.alias(letter) == "INHERITED":
            return f"expected plain letters, found {_describe(letter)}, which no letter has, in {name!a}; leave it out"
    letters = [letter for letter in name if letter.isalpha()]
    if letters and all(not letter.isascii() and _prototype(letter).isascii() for letter in letters):
        return f"expected a name that looks like no other, found {name!a}, whose letters all look Latin"
    return None


def look_alikes(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yields pairs of different names that look the same or differ only in case; includes built-in separators.

    >>> list(look_alikes(["modell", "HPSS", "model1"]))
    [('HPSS', 'hpss'), ('model1', 'modell')]
    """
    known: dict[str, str] = {}
    for name in [*CARDS, *names]:
        for looks in ("".join(map(_prototype, name)), f"case {name.casefold()}"):
            if (other := known.setdefault(looks, name)) != name:
                yield name, other
                break


def _prototype(letter: str) -> str:
    """Returns the representative of all letters that look like this one; itself if it has no look-alikes.

    The library lists look-alikes in both directions: all of them for the prototype, only the prototype for the others.
    """
    others = [entry["c"] for entry in confusables.confusables_data.get(letter, [])]
    if len(others) != 1:
        return letter
    (other,) = others
    back = confusables.confusables_data.get(other, [])
    return str(other if len(back) > 1 else min(letter, other))


def _plain_twin(letter: str) -> str | None:
    """Returns the ASCII letter, digit or dash that should be used instead of a letter that looks like it."""
    if letter.isascii():
        return None
    kind = unicodedata.category(letter)
    if kind == "Nd":
        return str(unicodedata.digit(letter))
    if kind == "Pd" or letter == "\u2212":
        return "-"
    twin = _prototype(letter) if categories.alias(letter) in {*_NEUTRAL, "LATIN"} else letter
    return twin if twin.isascii() and len(twin) == 1 else None


def _describe(letter: str) -> str:
    return f"U+{ord(letter):04X} {unicodedata.name(letter, 'without a name')}"
