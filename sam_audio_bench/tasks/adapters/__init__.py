"""Layouts of known data sets, asked for as ``NAME:PATH``. Importing this package imports none of them.

Modules:
    layouts       what they share: columns by name or place, files in one of several folders
    texts         what their classes and stems are asked by, and the table that changes it
    dcase         DCASE 2024 task 9, language-queried source separation: validation
    audiosep      evaluation lists as AudioSep has them
    fuss          FUSS, universal sounds
    librimix      LibriMix, voices
    voicebank     VoiceBank-DEMAND, noisy speech
    dnr           Divide and Remaster, speech, music and effects
    musdb         MUSDB18-HQ, songs in four stems, a task a stem
    moisesdb      MoisesDB, songs in up to eleven stems
    stems         a folder a song, one file per stem
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

__all__ = ["ADAPTERS", "Adapter", "adapter_of", "members"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """One layout; ``target`` names a function ``(path, *, allow_outside) -> Questions``."""

    name: str
    target: str
    summary: str
    layout: str  # what must be at the path
    example: str  # a path, for readers
    licence: str  # of the data, as their authors state it
    whole: str = ""  # the layout of several tasks that this one is a task of
    median: bool = False  # published tables give the median over songs

    @property
    def command(self) -> str:
        """An example of its use."""
        return f"sabench eval --model hpss --task {self.name}:{self.example}"


def _card(
    name: str, module: str, summary: str, layout: str, example: str, licence: str, *,
    whole: str = "", median: bool = False,
) -> Adapter:  # fmt: skip
    return Adapter(
        name=name, target=f"{__name__}.{module}{'' if ':' in module else ':questions'}", summary=summary, layout=layout,
        example=example, licence=licence, whole=whole, median=median,
    )  # fmt: skip


_MUSDB = (
    "the folder of a subset with a folder a song: mixture, vocals, drums, bass and other (.wav)", "musdb18hq/test",
    "educational use only (Rafii 2019)",
)  # fmt: skip
_STEMS = ("vocals", "drums", "bass", "other")

ADAPTERS: Mapping[str, Adapter] = MappingProxyType(
    {
        card.name: card
        for card in (
            _card("musdb", "musdb", "MUSDB18-HQ, by text: a task a stem, median over songs", *_MUSDB, median=True),
            *(
                _card(f"musdb-{stem}", f"musdb:{stem}", f"the stem {stem} alone", *_MUSDB, whole="musdb", median=True)
                for stem in _STEMS
            ),
            _card(
                "moisesdb", "moisesdb", "MoisesDB, by text", "a folder with a folder a song, and in it one a stem",
                "moisesdb/moisesdb_v0.1", "CC BY-NC-SA 4.0",
            ),
            _card(
                "stems", "stems", "songs in stems, by text", "a folder with a folder a song, a file a stem",
                "songs", "as the songs",
            ),
            _card(
                "dnr", "dnr", "Divide and Remaster, by text", "the folder of a split with its tracks", "dnr_v2/tt",
                "CC BY 4.0 and those of its sources",
            ),
            _card(
                "voicebank", "voicebank", "VoiceBank-DEMAND, by text",
                "the folder that holds noisy_testset_wav and clean_testset_wav", "VoiceBank-DEMAND", "CC BY 4.0",
            ),
            _card(
                "librimix", "librimix", "LibriMix (Libri2Mix, Libri3Mix), by text",
                "a CSV of its metadata, or a folder of mixtures beside s1 and s2",
                "Libri2Mix/wav16k/min/metadata/mixture_test_mix_clean.csv", "CC BY 4.0; noise of WHAM!: CC BY-NC 4.0",
            ),
            _card(
                "fuss", "fuss", "FUSS, by spans", "the folder of a split with its examples", "ssdata/eval",
                "CC BY 4.0",
            ),
            _card(
                "dcase2024-t9", "dcase", "DCASE 2024 task 9, by text", "the validation CSV with its sounds",
                "lass_synthetic_validation.csv", "those of Freesound's clips (CC0, CC BY, CC BY-NC)",
            ),
            _card(
                "audiosep", "audiosep", "evaluation lists of AudioSep, by text", "the CSV with its sounds",
                "audiocaps_eval.csv", "those of the list's sounds",
            ),
        )
    }
)  # fmt: skip


def adapter_of(name: str) -> tuple[Adapter, Path] | None:
    """The layout and the path of ``NAME:PATH``; None where NAME is no layout.

    >>> adapter_of("stems:songs/test")[1].name, adapter_of("sfx")
    ('test', None)
    """
    prefix, colon, rest = name.partition(":")
    return (ADAPTERS[prefix], Path(rest)) if colon and rest and prefix in ADAPTERS else None


def members(name: str) -> dict[str, str]:
    """Of a layout that holds several tasks, the ending of each and how it is spelt; otherwise the name itself.

    >>> list(members("musdb:songs").items())[0], members("stems:songs")
    (('vocals', 'musdb-vocals:songs'), {'': 'stems:songs'})
    """
    whole, _, rest = name.partition(":")
    parts = [card.name for card in ADAPTERS.values() if card.whole == whole and rest]
    return {part.removeprefix(f"{whole}-"): f"{part}:{rest}" for part in parts} or {"": name}
