"""Which stems of a model a prompt asks for: whole prompts, then words of a table in TOML."""

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
"""For models of music: vocals, drums, bass, guitar, piano, other, and accompaniment."""

SPEECH = Path(__file__).parent / "speech_words.toml"
"""For models of speech alone."""

_FREE = frozenset({"a", "an", "the", "some", "any", "all", "one", "two", "three", "several", "many", "sound", "sounds",
                   "of", "track", "stem", "part", "isolated", "only", "just"})  # fmt: skip
_BESIDE = frozenset({"while", "with", "without", "over", "behind", "from", "during", "near", "amid", "against", "under",
                     "on", "at", "then", "followed", "after", "before", "beside", "except", "minus", "in", "by", "as",
                     "into", "through", "to", "for", "that", "which", "who"})  # fmt: skip
_JOINED = frozenset({"and", "&", "+", ",", "plus", "or"})
_NEGATED = frozenset({"no", "not", "non", "remove", "removed", "removing", "mute", "muted", "everything", "anything",
                      "excluding", "nothing"})  # fmt: skip
_TOKEN = re.compile(r"[^\W_]+(?:[-'’][^\W_]+)*|[&+,;.]")


class _Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a target is called."""

    words: list[str] = []  # a part of a prompt that holds one of them means this target …
    unless: list[str] = []  # … unless it holds one of these
    alone: list[str] = []  # words that mean it where nothing else is said
    stems: list[str] = []  # that are added; none: the one of the target's own name
    without: list[str] = []  # instead: all stems of the model but these


class StemMap(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table from prompts to stems.

    A whole prompt counts first, upper and lower case being the same. Otherwise what stands before the first word of
    company ("with", "while", "over", "from" …) is cut at "and" and commas; each part must name a target, by the word
    that comes first, the longer one of two that begin together, and then one whose stems the model has. The stems of
    all parts are added. A stem that no target is called after is a target of its own name. ``*`` in a word stands for
    any letters. A prompt that says "no", "not", "remove" or "everything" is not understood.
    """

    prompts: dict[str, str | list[str]] = {}
    targets: dict[str, _Target] = {}

    def stems(self, text: str | None, known: Sequence[str]) -> tuple[str, ...]:
        """The stems, of those that a model has, that are to be added for a text; empty: it asks for none of them.

        >>> table = StemMap(targets={"vocals": _Target(words=["vocal*", "voice*"]), "drums": _Target(words=["drum*"])})
        >>> table.stems("the vocals of a song", ["vocals", "drums"]), table.stems("a dog", ["vocals", "drums"])
        (('vocals',), ())
        >>> table.stems("Drums and voices", ["vocals", "drums"]), table.stems("a dog near drums", ["vocals", "drums"])
        (('drums', 'vocals'), ())
        """
        if not text:
            return ()
        whole = _plain(text)
        for prompt, own in self.prompts.items():
            if _plain(prompt) == whole:
                return _those([own] if isinstance(own, str) else own, known)
        tokens = _TOKEN.findall(text.casefold().replace("’", "'"))
        if _NEGATED & set(tokens):
            return ()
        head = tokens[: next((at for at, token in enumerate(tokens) if token in _BESIDE), len(tokens))]
        found: dict[str, None] = {}
        for part in _parts(head):
            stems = self._named(part, known)
            if not stems:
                return ()
            found |= dict.fromkeys(stems)
        return tuple(found)

    def _named(self, part: list[str], known: Sequence[str]) -> tuple[str, ...]:
        """The stems of the target that a part of a prompt names first."""
        own = {stem: _Target(words=[stem.replace("_", " ")]) for stem in known if stem not in self.targets}
        mentions: list[tuple[int, int, bool, bool, str]] = []
        for name, target in {**own, **self.targets}.items():
            if _mention(part, target.unless) is None and (found := _mention(part, target.words, target.alone)):
                mentions.append((*found, not _stems_of(name, target, known), name not in own, name))
        if not mentions:
            return ()
        name = min(mentions)[-1]
        return _stems_of(name, self.targets.get(name, _Target()), known)


def _stems_of(name: str, target: _Target, known: Sequence[str]) -> tuple[str, ...]:
    """The stems of a target; none where a model lacks one that it speaks of."""
    if target.without:
        return tuple(stem for stem in known if stem not in target.without) if set(target.without) <= set(known) else ()
    return _those(target.stems or [name], known)


def _those(stems: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """The stems where a model has them all; otherwise none, for a part of a target is another sound."""
    return tuple(stems) if set(stems) <= set(known) else ()


def _plain(text: str) -> str:
    return " ".join(text.casefold().split()).rstrip(".")


def _parts(tokens: Sequence[str]) -> list[list[str]]:
    """Tokens between those that join, without words that say nothing; no empty part but where all is empty."""
    parts: list[list[str]] = [[]]
    for token in tokens:
        if token in _JOINED:
            parts.append([])
        elif token not in ".;":
            parts[-1].append(token)
    return [part for part in parts if set(part) - _FREE] or [[]]


def _mention(part: Sequence[str], words: Sequence[str], alone: Sequence[str] = ()) -> tuple[int, int] | None:
    """Where the first of the words stands, and minus its number of words; None: nowhere."""
    places = []
    for word in words:
        pattern = word.casefold().split()
        places += [
            (at, -len(pattern))
            for at in range(len(part) - len(pattern) + 1)
            if all(fnmatchcase(token, one) for token, one in zip(part[at:], pattern, strict=False))
        ]
    said = [token for token in part if token not in _FREE]
    if said and alone and all(any(fnmatchcase(token, word) for word in alone) for token in said):
        places.append((0, -len(said)))
    return min(places, default=None)


def read_stem_map(given: Any, owner: str) -> StemMap:
    """A table from the path of a TOML file, or from a mapping of the same shape, or of prompts to stems alone.

    Raises:
        UsageError: it cannot be read, or has another shape; ``owner`` is whose table it is.
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
