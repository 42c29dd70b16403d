"""Finds the collections that recordings come from, and those that training data and a task have in common.

Data sets are derived from each other: LibriMix from LibriSpeech, LibriSpeech from LibriVox, which is also the source of
the speech of the DNS Challenge. Cards and submissions state training data as text for readers, in which names of
collections are searched for. Other recordings of the same collection are not the same recordings: a match means that
the test is in-domain, not that it was trained on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

from sam_audio_bench.tasks.adapters import find_adapter
from sam_audio_bench.tasks.catalogue import TASKS
from sam_audio_bench.tasks.load import SPLITS, split_label
from sam_audio_bench.tasks.recipes import list_task_recipes, load_stems

__all__ = ["SOURCES", "Source", "find_recording_texts", "find_shared_training", "find_sources"]


@dataclass(frozen=True, slots=True)
class Source:
    """A collection of recordings.

    Args:
        name: name for readers.
        pattern: regular expression of its names in a text; case-sensitive if the name is also a common word.
        parts: keys of `SOURCES`, from which it was derived.
        stated: the publication that states the parts.
    """

    name: str
    pattern: str
    parts: tuple[str, ...] = ()
    stated: str = ""


_ANY_CASE = "(?i:{})".format

SOURCES: Mapping[str, Source] = MappingProxyType(
    {
        "musdb18": Source("MUSDB18", _ANY_CASE(r"\bmusdb"), ("medleydb",), "Rafii et al. 2017"),
        "medleydb": Source("MedleyDB", _ANY_CASE(r"\bmedley ?db")),
        "moisesdb": Source("MoisesDB", _ANY_CASE(r"\bmoises ?db")),
        "dns": Source(
            "DNS Challenge", _ANY_CASE(r"\bdns[- ]?challenge|\bdeep noise suppression challenge"),
            ("librivox", "audioset", "freesound", "demand"), "Reddy et al., Interspeech 2020",
        ),
        "librivox": Source("LibriVox", _ANY_CASE(r"\blibrivox")),
        "librispeech": Source("LibriSpeech", _ANY_CASE(r"\blibrispeech"), ("librivox",), "Panayotov et al. 2015"),
        "libritts": Source("LibriTTS", _ANY_CASE(r"\blibritts"), ("librivox",), "Zen et al. 2019"),
        "librimix": Source(
            "LibriMix", _ANY_CASE(r"\blibri[23]?mix"), ("librispeech", "wham"), "Cosentino et al. 2020"
        ),
        "wham": Source("WHAM!", _ANY_CASE(r"\bwham\b")),
        "vctk": Source("VCTK", _ANY_CASE(r"\bvctk")),
        "demand": Source("DEMAND", r"\bDEMAND\b"),
        "voicebank": Source(
            "VoiceBank-DEMAND", _ANY_CASE(r"\bvoice ?bank"), ("vctk", "demand"), "Valentini-Botinhao et al. 2016"
        ),
        "dnr": Source(
            "Divide and Remaster", _ANY_CASE(r"\bdivide (?:and|&) remaster|\bdnr\b"), ("librispeech", "fma", "fsd50k"),
            "Petermann et al. 2022",
        ),
        "fma": Source("FMA", _ANY_CASE(r"\bfree music archive") + r"|\bFMA\b"),
        "fsd50k": Source("FSD50K", _ANY_CASE(r"\bfsd50k"), ("freesound",), "Fonseca et al. 2022"),
        "fuss": Source("FUSS", r"\bFUSS\b", ("fsd50k",), "Wisdom et al. 2021"),
        "freesound": Source("Freesound", _ANY_CASE(r"\bfreesound")),
        "audioset": Source("AudioSet", _ANY_CASE(r"\baudio ?set\b")),
        "audiocaps": Source("AudioCaps", _ANY_CASE(r"\baudiocaps"), ("audioset",), "Kim et al. 2019"),
        "wavcaps": Source("WavCaps", _ANY_CASE(r"\bwavcaps"), ("audioset", "freesound"), "Mei et al. 2024"),
        "clotho": Source("Clotho", _ANY_CASE(r"\bclotho"), ("freesound",), "Drossos et al. 2020"),
        "esc50": Source("ESC-50", _ANY_CASE(r"\besc-?50"), ("freesound",), "Piczak 2015"),
        "vggsound": Source("VGGSound", _ANY_CASE(r"\bvgg-?sound")),
        "avspeech": Source("AVSpeech", _ANY_CASE(r"\bavspeech")),
        "music": Source("MUSIC", r"\bMUSIC(?:-21)?\b(?!-AVQA)"),
        "music-avqa": Source("MUSIC-AVQA", _ANY_CASE(r"\bmusic-avqa")),
        "condensed-movies": Source("CondensedMovies", _ANY_CASE(r"\bcondensed ?movies")),
        "ami": Source("AMI", r"\bAMI\b"),
        "bigsoundbank": Source("BigSoundBank", _ANY_CASE(r"\bbigsoundbank")),
    }
)  # fmt: skip


def find_sources(texts: Iterable[str]) -> frozenset[str]:
    """Finds the collections of `SOURCES` that texts name.

    >>> sorted(find_sources(["MUSDB18-HQ (train)", "500 h of the DNS Challenge"]))
    ['dns', 'musdb18']
    """
    text = "\n".join(texts)
    return frozenset(key for key, source in SOURCES.items() if re.search(source.pattern, text))


def _with_parts(keys: Iterable[str]) -> frozenset[str]:
    """Returns collections, and all collections from which they were derived."""
    found: set[str] = set()
    queue = list(keys)
    while queue:
        key = queue.pop()
        if key not in found:
            found.add(key)
            queue += SOURCES[key].parts
    return frozenset(found)


def find_shared_training(training_data: Iterable[str], recordings: Iterable[str]) -> str:
    """Finds the training data from the same collections as a task's recordings; "" if none are known.

    Args:
        training_data: the training data, as a card states it.
        recordings: texts that name the collections of the task.

    >>> find_shared_training(["MUSDB18-HQ (train)", "own songs"], ["MUSDB18-HQ"])
    'MUSDB18-HQ (train)'
    >>> find_shared_training(["DNS Challenge"], ["LibriMix"]), find_shared_training(["VCTK"], ["LibriMix"])
    ('DNS Challenge (LibriVox)', '')
    """
    task = _with_parts(find_sources(recordings))
    shared = []
    for text in training_data:
        named = find_sources([text])
        common = _with_parts(named) & task
        if named & common:
            shared.append(text)
        elif common:
            within = _with_parts(part for key in common for part in SOURCES[key].parts)
            shared.append(f"{text} ({', '.join(sorted(SOURCES[key].name for key in common - within))})")
    return "; ".join(shared)


def find_recording_texts(task: str, split: str, source: str = "") -> tuple[str, ...]:
    """Returns texts that name the collections of a task's recordings; none if unknown, as for the user's own tables.

    Args:
        task: name of the task.
        split: "mini" or "test" for a built-in task.
        source: the name or path by which the task was loaded.
    """
    if task in TASKS and split in SPLITS:
        return _mini_recordings(task) if split == "mini" else TASKS[task].recordings
    layout = find_adapter(split_label(source)[1])
    return layout[0].recordings if layout is not None else ()


@cache
def _mini_recordings(task: str) -> tuple[str, ...]:
    stems = load_stems()
    recipes = [recipe for recipe, _ in list_task_recipes(task, TASKS[task].prompt).values()]
    used = {stem for recipe in recipes for stem in (*recipe.target, *recipe.others)}
    return tuple(sorted({stems[stem].credit for stem in used}))
