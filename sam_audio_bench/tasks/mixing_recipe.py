"""The recipe of `sabench data mix`: a TOML file, every key of which may be left out.

count = 100               # mixtures
seconds = 8.0             # of each mixture
rate = 48000              # Hz
seed = 0
sources = [2, 3]          # number of sources per mixture, from and to
snr = [-5, 5]             # dB: energy of the first source over that of all others
loudness = [-30, -20]     # of the mixture
unit = "LUFS"             # unit of loudness; or "dBFS", the RMS
overlap = [0, 1]          # share of the first source's active time in which another source is active too
levels = [-6, 6]          # dB of the other sources, before they are scaled together
ask = "target"            # sources that are targets of questions: the first one; "every": each
shortest = 0.25           # seconds of the shortest clip
licences = []             # licences that may be used; empty: all
licence = ""              # licence of clips that state none
confused = [["rain", "stream"]]     # labels that are never in one mixture

[prompts]                 # label -> text, or texts, of which the further ones are paraphrases; "": never a target
dog = ["dog barking", "barks of a dog"]
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from sam_audio_bench.errors import Precondition, UsageError, unknown_name
from sam_audio_bench.tabular import read_text

__all__ = ["MINI", "MixRecipe", "Range", "parse_recipe", "read_recipe"]

MINI = "mini"
"""The name of the pool that is part of the package: the recordings of the mini split."""

Range = tuple[float, float]
"""Lowest and highest value."""

_RANGES: Mapping[str, Range] = {
    "sources": (1, 20),
    "snr": (-60, 60),  # within which 24 bits represent both sources
    "loudness": (-70, 0),
    "overlap": (0, 1),
    "levels": (-60, 60),
}


class MixRecipe(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A recipe; the module's docstring describes its keys. Ranges are ``(from, to)``."""

    count: Annotated[int, Meta(ge=1, le=10_000_000)] = 100
    seconds: Annotated[float, Meta(ge=0.5, le=600)] = 8.0
    rate: Annotated[int, Meta(ge=8000, le=192_000)] = 48_000
    seed: Annotated[int, Meta(ge=0)] = 0
    sources: tuple[int, int] = (2, 3)
    snr: Range = (-5.0, 5.0)
    loudness: Range = (-30.0, -20.0)
    unit: Literal["LUFS", "dBFS"] = "LUFS"
    overlap: Range = (0.0, 1.0)
    levels: Range = (-6.0, 6.0)
    ask: Literal["target", "every"] = "target"
    shortest: Annotated[float, Meta(ge=0.01)] = 0.25
    licences: tuple[str, ...] = ()
    licence: str = ""
    confused: tuple[tuple[str, ...], ...] = ()
    prompts: dict[str, tuple[str, ...]] = {}

    @property
    def length(self) -> int:
        """Samples of a mixture."""
        return round(self.seconds * self.rate)


def read_recipe(path: Path | None, changes: Sequence[str] = ()) -> MixRecipe:
    """Reads a recipe from a TOML file.

    Args:
        path: the file; None: the default recipe.
        changes: lines of TOML that override the file, such as ``count=6`` or ``prompts.dog="dog barking"``.

    Raises:
        Precondition: there is no file. UsageError: it is not TOML, or has an unknown key or an invalid value.
    """
    try:
        options = {} if path is None else tomllib.loads(read_text(path))
    except OSError as error:
        raise Precondition(f"expected a recipe at {path}, found none that can be read ({error.strerror})") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"expected TOML in {path}, found: {error}") from error
    for change in changes:
        try:
            found = tomllib.loads(change)
        except tomllib.TOMLDecodeError as error:
            raise UsageError(f"expected --set KEY=VALUE as TOML writes it, found {change!r}: {error}") from error
        for name, value in found.items():
            old = options.get(name)
            options[name] = {**old, **value} if isinstance(old, dict) and isinstance(value, dict) else value
    return parse_recipe(options, "the recipe" if path is None else str(path))


def parse_recipe(options: Mapping[str, Any], where: str = "the recipe") -> MixRecipe:
    """Parses the content of a TOML file as a recipe; raises UsageError, which names ``where``, if it is invalid.

    >>> parse_recipe({"snr": 0, "prompts": {"dog": "dog barking"}}).snr
    (0.0, 0.0)
    """
    known = list(MixRecipe.__struct_fields__)
    if strange := next((name for name in options if name not in known), None):
        raise UsageError(f"{where}: {unknown_name('key', strange, known)}")
    values = {name: _pair(value) if name in _RANGES else value for name, value in options.items()}
    if isinstance(prompts := values.get("prompts"), Mapping):
        values["prompts"] = {label: [text] if isinstance(text, str) else text for label, text in prompts.items()}
    try:
        recipe = msgspec.convert(values, MixRecipe)
    except msgspec.ValidationError as error:
        reason = str(error).replace("`$.", "`").replace("`", "")
        raise UsageError(f"expected values that a recipe can have in {where}, found another one: {reason}") from error
    _check(recipe, where)
    return recipe


def _pair(value: object) -> object:
    """Turns a single number into a range of that number only."""
    return [value, value] if isinstance(value, int | float) and not isinstance(value, bool) else value


def _check(recipe: MixRecipe, where: str) -> None:
    for name, (least, most) in _RANGES.items():
        low, high = getattr(recipe, name)
        if not least <= low <= high <= most:
            raise UsageError(
                f"expected {name} in {where} as [from, to] within {least:g} and {most:g}, found [{low:g}, {high:g}]"
            )
    if recipe.shortest > recipe.seconds:
        raise UsageError(
            f"expected shortest clips in {where} of at most the {recipe.seconds:g} s of a mixture, "
            f"found {recipe.shortest:g} s"
        )
    if recipe.sources[0] == 1 and recipe.overlap[0] > 0:
        raise UsageError(
            f"expected sources from 2 on in {where}, since one alone overlaps with none, found {recipe.sources[0]} "
            f"with an overlap from {recipe.overlap[0]:g} on"
        )
    if barred := next((text for texts in recipe.prompts.values() for text in texts[1:] if "|" in text), None):
        raise UsageError(f"expected paraphrases in [prompts] of {where} without |, which parts them, found {barred!r}")
    if empty := next((label for label, texts in recipe.prompts.items() if not texts), None):
        raise UsageError(f'expected a text for {empty!r} in [prompts] of {where}, found none; write "" not to ask it')
