"""Maps prompts to stems of a model, by a table of whole prompts and words in TOML."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import msgspec

from sam_audio_bench.errors import UsageError, describe_error

__all__ = ["GENERAL", "SPEECH", "StemMap", "read_stem_map"]

GENERAL = Path(__file__).parent / "stem_words.toml"
"""Table for music models: vocals, drums, bass, guitar, piano, other, and accompaniment."""

SPEECH = Path(__file__).parent / "speech_words.toml"
"""Table for speech models."""

_FILLER_WORDS = frozenset({
    "a", "an", "the", "some", "any", "all", "one", "two", "three", "several", "many", "sound", "sounds", "of", "track",
    "stem", "part", "isolated", "only", "just",
})  # fmt: skip
_CONTEXT_WORDS = frozenset({
    "while", "with", "without", "over", "behind", "from", "during", "near", "amid", "against", "under", "on", "at",
    "then", "followed", "after", "before", "beside", "except", "minus", "in", "by", "as", "into", "through", "to",
    "for", "that", "which", "who",
})  # fmt: skip
_CONJUNCTIONS = frozenset({"and", "&", "+", ",", "plus", "or"})
_NEGATIONS = frozenset({"no", "not", "non", "remove", "removed", "removing", "mute", "muted", "everything", "anything",
                      "excluding", "nothing"})  # fmt: skip
_TOKEN = re.compile(r"[^\W_]+(?:[-'’][^\W_]+)*|[&+,;.]")


class _Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The words of a target, and its stems."""

    words: list[str] = []  # a part of a prompt with one of them means this target …
    unless: list[str] = []  # … unless it also has one of these
    alone: list[str] = []  # words that mean it if the part has no other content
    stems: list[str] = []  # whose sum is the target; empty: the stem of the same name
    without: list[str] = []  # alternatively: all stems of the model except these


class StemMap(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table from prompts to stems.

    Whole prompts are looked up first, ignoring case. Otherwise the text before the first word of context ("with",
    "while", "over", "from" …) is split at "and" and commas; each part must name a target, by its earliest word, the
    longer one of two at the same position, and then by one whose stems the model has. The stems of all parts are added.
    A stem without a target of its name is a target itself. ``*`` in a word matches any letters. A prompt with "no",
    "not", "remove" or "everything" is not understood.
    """

    prompts: dict[str, str | list[str]] = {}
    targets: dict[str, _Target] = {}

    def stems(self, text: str | None, known: Sequence[str]) -> tuple[str, ...]:
        """Selects from the ``known`` stems of a model those whose sum is the target of a text; empty: none matches.

        >>> table = StemMap(targets={"vocals": _Target(words=["vocal*", "voice*"]), "drums": _Target(words=["drum*"])})
        >>> table.stems("the vocals of a song", ["vocals", "drums"]), table.stems("a dog", ["vocals", "drums"])
        (('vocals',), ())
        >>> table.stems("Drums and voices", ["vocals", "drums"]), table.stems("a dog near drums", ["vocals", "drums"])
        (('drums', 'vocals'), ())
        """
        if not text:
            return ()
        whole = _normalise(text)
        for prompt, own in self.prompts.items():
            if _normalise(prompt) == whole:
                return _all_or_none([own] if isinstance(own, str) else own, known)
        tokens = _TOKEN.findall(text.casefold().replace("’", "'"))
        if _NEGATIONS & set(tokens):
            return ()
        head = tokens[: next((at for at, token in enumerate(tokens) if token in _CONTEXT_WORDS), len(tokens))]
        found: dict[str, None] = {}
        for part in _split_parts(head):
            stems = self._stems_of_part(part, known)
            if not stems:
                return ()
            found |= dict.fromkeys(stems)
        return tuple(found)

    def _stems_of_part(self, part: list[str], known: Sequence[str]) -> tuple[str, ...]:
        """Returns the stems of the target that a part of a prompt names first."""
        own = {stem: _Target(words=[stem.replace("_", " ")]) for stem in known if stem not in self.targets}
        mentions: list[tuple[int, int, bool, bool, str]] = []
        for name, target in {**own, **self.targets}.items():
            if _find_mention(part, target.unless) is None and (
                found := _find_mention(part, target.words, target.alone)
            ):
                mentions.append((*found, not _stems_of(name, target, known), name not in own, name))
        if not mentions:
            return ()
        name = min(mentions)[-1]
        return _stems_of(name, self.targets.get(name, _Target()), known)


def _stems_of(name: str, target: _Target, known: Sequence[str]) -> tuple[str, ...]:
    """Returns the stems of a target; empty if the model is missing one of them."""
    if target.without:
        return tuple(stem for stem in known if stem not in target.without) if set(target.without) <= set(known) else ()
    return _all_or_none(target.stems or [name], known)


def _all_or_none(stems: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """Returns the stems if the model has all of them, else none: a part of a target is another sound."""
    return tuple(stems) if set(stems) <= set(known) else ()


def _normalise(text: str) -> str:
    return " ".join(text.casefold().split()).rstrip(".")


def _split_parts(tokens: Sequence[str]) -> list[list[str]]:
    """Splits tokens at conjunctions; drops parts without content, unless all are."""
    parts: list[list[str]] = [[]]
    for token in tokens:
        if token in _CONJUNCTIONS:
            parts.append([])
        elif token not in ".;":
            parts[-1].append(token)
    return [part for part in parts if set(part) - _FILLER_WORDS] or [[]]


def _find_mention(part: Sequence[str], words: Sequence[str], alone: Sequence[str] = ()) -> tuple[int, int] | None:
    """Returns the position of the first match of the words, and minus its number of words; None: no match."""
    places = []
    for word in words:
        pattern = word.casefold().split()
        places += [
            (at, -len(pattern))
            for at in range(len(part) - len(pattern) + 1)
            if all(fnmatchcase(token, one) for token, one in zip(part[at:], pattern, strict=False))
        ]
    content = [token for token in part if token not in _FILLER_WORDS]
    if content and alone and all(any(fnmatchcase(token, word) for word in alone) for token in content):
        places.append((0, -len(content)))
    return min(places, default=None)


def read_stem_map(given: Any, owner: str) -> StemMap:
    """Reads a table from a TOML file, from a mapping of the same shape, or from one of prompts to stems.

    Raises:
        UsageError: it is unreadable or has another shape; ``owner`` is the separator that uses it.
    """
    expected = f"expected the stem map of {owner} as TOML with [prompts] and [targets.NAME]"
    try:
        if isinstance(given, str | Path):
            given = tomllib.loads(Path(given).read_text(encoding="utf-8"))
        if not isinstance(given, Mapping):
            raise UsageError(f"{expected}, found {type(given).__name__}")
        known = set(given) <= {"prompts", "targets"}
        table = msgspec.convert(dict(given) if known else {"prompts": dict(given)}, StemMap)
    except (OSError, ValueError, msgspec.ValidationError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"{expected}, found: {describe_error(error)}") from error
    for name, target in table.targets.items():
        if not (target.words or target.alone):
            raise UsageError(f"{expected}, found no words of {name}")
    return table
