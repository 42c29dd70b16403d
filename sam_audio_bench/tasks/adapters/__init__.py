"""Layouts of known data sets, loaded as ``NAME:PATH``. Importing this package imports none of their modules.

Modules:
    excerpts      excerpts of songs
    layouts       helpers: columns by name or position, files in one of several folders
    texts         the text prompts of classes and stems, and the user's table that changes them
    dcase         DCASE 2024 task 9, language-queried source separation: validation
    audiosep      evaluation lists of AudioSep
    fuss          FUSS, universal sounds
    librimix      LibriMix, voices
    voicebank     VoiceBank-DEMAND, noisy speech
    dnr           Divide and Remaster, speech, music and effects
    musdb         MUSDB18-HQ, songs in four stems, one task per stem
    moisesdb      MoisesDB, songs in up to eleven stems
    stems         one folder per song, one file per stem
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from sam_audio_bench.errors import UsageError, unknown_name
from sam_audio_bench.files import exists

__all__ = ["ADAPTERS", "Adapter", "find_adapter", "list_member_tasks", "parse_options", "split_options"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """One layout; ``target`` names a function ``(path, *, allow_outside) -> Questions``."""

    name: str
    target: str
    summary: str
    layout: str  # what must be at the path
    example: str  # an example of a path
    licence: str  # licence of the data, as their authors state it
    whole: str = ""  # the layout of several tasks, if this is one of them
    median: bool = False  # whether published tables give the median over songs
    recordings: tuple[str, ...] = ()  # the collections that its recordings come from
    options: tuple[str, ...] = ()  # options that may follow the path, as in ``?excerpt=30&at=60``

    @property
    def command(self) -> str:
        """An example of a command."""
        return f"sabench eval --model hpss --task {self.name}:{self.example}"


def _card(
    name: str, module: str, summary: str, layout: str, example: str, licence: str, *,
    whole: str = "", median: bool = False, recordings: tuple[str, ...] = (), options: tuple[str, ...] = (),
) -> Adapter:  # fmt: skip
    return Adapter(
        name=name, target=f"{__name__}.{module}{'' if ':' in module else ':read_questions'}", summary=summary,
        layout=layout, example=example, licence=licence, whole=whole, median=median, recordings=recordings,
        options=options,
    )  # fmt: skip


_MUSDB = (
    "the folder of a subset with a folder a song: mixture, vocals, drums, bass and other (.wav)", "musdb18hq/test",
    "educational use only (Rafii 2019)",
)  # fmt: skip
_STEMS = ("vocals", "drums", "bass", "other")
_EXCERPT = ("excerpt", "at")
_OPTIONS = re.compile(r"\?(?P<options>\w+=[^=&?/]*(?:&\w+=[^=&?/]*)*)$", re.ASCII)

ADAPTERS: Mapping[str, Adapter] = MappingProxyType(
    {
        card.name: card
        for card in (
            _card("musdb", "musdb", "MUSDB18-HQ, by text: a task a stem, median over songs", *_MUSDB, median=True,
                  recordings=("MUSDB18-HQ",), options=_EXCERPT),
            *(
                _card(f"musdb-{stem}", f"musdb:read_{stem}", f"the stem {stem} alone", *_MUSDB, whole="musdb",
                      median=True, recordings=("MUSDB18-HQ",), options=_EXCERPT)
                for stem in _STEMS
            ),
            _card(
                "moisesdb", "moisesdb", "MoisesDB, by text", "a folder with a folder a song, and in it one a stem",
                "moisesdb/moisesdb_v0.1", "CC BY-NC-SA 4.0", recordings=("MoisesDB",), options=_EXCERPT,
            ),
            _card(
                "stems", "stems", "songs in stems, by text", "a folder with a folder a song, a file a stem",
                "songs", "as the songs", options=_EXCERPT,
            ),
            _card(
                "dnr", "dnr", "Divide and Remaster, by text", "the folder of a split with its tracks", "dnr_v2/tt",
                "CC BY 4.0 and those of its sources", recordings=("Divide and Remaster",),
            ),
            _card(
                "voicebank", "voicebank", "VoiceBank-DEMAND, by text",
                "the folder that holds noisy_testset_wav and clean_testset_wav", "VoiceBank-DEMAND", "CC BY 4.0",
                recordings=("VoiceBank-DEMAND",),
            ),
            _card(
                "librimix", "librimix", "LibriMix (Libri2Mix, Libri3Mix), by text",
                "a CSV of its metadata, or a folder of mixtures beside s1 and s2",
                "Libri2Mix/wav16k/min/metadata/mixture_test_mix_clean.csv", "CC BY 4.0; noise of WHAM!: CC BY-NC 4.0",
                recordings=("LibriMix",),
            ),
            _card(
                "fuss", "fuss", "FUSS, by spans", "the folder of a split with its examples", "ssdata/eval",
                "CC BY 4.0", recordings=("FUSS",),
            ),
            _card(
                "dcase2024-t9", "dcase", "DCASE 2024 task 9, by text", "the validation CSV with its sounds",
                "lass_synthetic_validation.csv", "those of Freesound's clips (CC0, CC BY, CC BY-NC)",
                recordings=("Freesound",),
            ),
            _card(
                "audiosep", "audiosep", "evaluation lists of AudioSep, by text", "the CSV with its sounds",
                "audiocaps_eval.csv", "those of the list's sounds",
            ),
        )
    }
)  # fmt: skip


def find_adapter(name: str) -> tuple[Adapter, Path] | None:
    """Returns the layout and the path of ``NAME:PATH``, or None unless NAME is a layout.

    >>> find_adapter("stems:songs/test")[1].name, find_adapter("sfx")
    ('test', None)
    """
    prefix, colon, rest = split_options(name)[0].partition(":")
    return (ADAPTERS[prefix], Path(rest)) if colon and rest and prefix in ADAPTERS else None


def split_options(name: str) -> tuple[str, str]:
    """Splits ``NAME:PATH?OPTIONS`` before the question mark; an existing path is not split.

    >>> split_options("musdb:songs?excerpt=30&at=60"), split_options("musdb:songs")
    (('musdb:songs', '?excerpt=30&at=60'), ('musdb:songs', ''))
    """
    found = _OPTIONS.search(name)
    if found is None or exists(name.partition(":")[2]):
        return name, ""
    return name[: found.start()], found[0]


def parse_options(name: str) -> dict[str, float]:
    """Parses the options after the path of a layout, in seconds.

    >>> parse_options("musdb:songs?excerpt=30&at=60")
    {'excerpt': 30.0, 'at': 60.0}

    Raises:
        UsageError: the layout does not have an option, or its value is not a number in range.
    """
    known, found = find_adapter(name), dict[str, float]()
    for pair in filter(None, split_options(name)[1].removeprefix("?").split("&")):
        option, _, text = pair.partition("=")
        if known is None or option not in known[0].options:
            raise unknown_name("option", option, () if known is None else known[0].options)
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if option in found or not (0 < value < math.inf or (option == "at" and value == 0)):
            raise UsageError(f"expected seconds such as ?excerpt=30&at=60 in {name}, each once, found {pair!r}")
        found[option] = value
    if found and "excerpt" not in found:
        raise UsageError(f"expected the seconds of an excerpt, such as ?excerpt=30&at=60, in {name}, found none")
    return found


def list_member_tasks(name: str) -> dict[str, str]:
    """Maps the tasks of a layout with several tasks, by suffix, to their names; other names are returned as they are.

    >>> list(list_member_tasks("musdb:songs").items())[0], list_member_tasks("stems:songs")
    (('vocals', 'musdb-vocals:songs'), {'': 'stems:songs'})
    """
    whole, _, rest = name.partition(":")
    parts = [card.name for card in ADAPTERS.values() if card.whole == whole and rest]
    return {part.removeprefix(f"{whole}-"): f"{part}:{rest}" for part in parts} or {"": name}
