"""Layouts of known data sets, asked for as ``NAME:PATH``. Importing this package imports none of them.

Modules:
    layouts       what they share: columns by name or place, files in one of several folders
    dcase         DCASE 2024 task 9, language-queried source separation: validation
    audiosep      evaluation lists as AudioSep has them
    fuss          FUSS, universal sounds
    librimix      LibriMix, voices
    dnr           Divide and Remaster, speech, music and effects
    stems         a folder a song, one file per stem
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

__all__ = ["ADAPTERS", "Adapter", "adapter_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """One layout; ``target`` names a function ``(path, *, allow_outside) -> Questions``."""

    name: str
    target: str
    summary: str
    layout: str  # what must be at the path


def _card(name: str, module: str, summary: str, layout: str) -> Adapter:
    return Adapter(name=name, target=f"{__name__}.{module}:questions", summary=summary, layout=layout)


ADAPTERS: Mapping[str, Adapter] = MappingProxyType(
    {
        card.name: card
        for card in (
            _card("dcase2024-t9", "dcase", "DCASE 2024 task 9, by text", "the validation CSV with its sounds"),
            _card("audiosep", "audiosep", "evaluation lists of AudioSep, by text", "the CSV with its sounds"),
            _card("fuss", "fuss", "FUSS, by spans", "the folder of a split with its examples"),
            _card("librimix", "librimix", "LibriMix, by text", "a CSV of its metadata"),
            _card("dnr", "dnr", "Divide and Remaster, by text", "the folder of a split with its tracks"),
            _card("stems", "stems", "songs in stems, by text", "a folder with a folder a song"),
        )
    }
)


def adapter_of(name: str) -> tuple[Adapter, Path] | None:
    """The layout and the path of ``NAME:PATH``; None where NAME is no layout.

    >>> adapter_of("stems:songs/test")[1].name, adapter_of("sfx")
    ('test', None)
    """
    prefix, colon, rest = name.partition(":")
    return (ADAPTERS[prefix], Path(rest)) if colon and rest and prefix in ADAPTERS else None
