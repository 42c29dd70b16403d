"""Loads the stems from which mixtures are simulated: a pool built by `judge.sources`, or those of the mini split."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
import soxr
from numpy.typing import NDArray

from judge.degrade import RATE
from sam_audio_bench.errors import Precondition
from sam_audio_bench.tasks.recipes import load_prompt_variants
from sam_audio_bench.tasks.recipes import load_stems as mini_stems

__all__ = ["DOMAINS", "Stem", "is_distinguishable", "load_pool", "load_samples", "mini_pool"]

DOMAINS = ("speech", "music", "effects")

_VALID = 10  # one in this number of training groups is used for validation
_BROAD = re.compile(r"\b(music|songs?|tracks?|band|orchestra|beats?|loops?|instrumental)\b", re.IGNORECASE)
_COMMON = frozenset({"a", "an", "the", "of", "in", "on", "and", "or", "with", "sound", "playing", "music", "noise"})
_CONFUSABLE = tuple(
    frozenset(family.split(", "))
    for family in (
        "rain, stream, waterfall, ocean waves, splash, bubbles, toilet",
        "explosion, fireworks, gunshot, thunder, rocket, building collapse, car crash, laser",
        "crowd, cheering, applause, screaming, laughing, monster",
        "hammering, anvil, stone chipping, chopping wood, digging, punch, shield impact, sword fight",
        "wind, rustling leaves, whoosh, sawing, grinding",
        "chicken, rooster, turkey, farm, duck, peacock",
        "farm, cow, sheep, goat, pig, horse, donkey, dog",
        "dog, wolf",
        "fire, sizzle, electric sparks, radio static",
        "car engine, traffic, tyre skid, train, aeroplane, helicopter, factory, vacuum cleaner, washing machine, loom",
        "songbird, seagull, eagle, crow, whistle, piccolo",
        "horse hooves, footsteps",
        "singing, choir",
        "metal clanging, anvil, sword fight, hammering",
        "knocking, door",
        "car horn, ship horn",
        "referee whistle, whistle, piccolo",
        "wood breaking, chopping wood",
        "bell, alarm clock, telephone, tubular bells, clock ticking",
        "whoosh, wing flapping, arrow impact, bow and arrow",
        "string ensemble, violin, viola, cello, double bass, pizzicato strings",
        "brass section, trumpet, trombone, tuba, muted trumpet, french horn, horn signal",
        "drumming war drums, taiko, timpani, drum kit",
    )
)
"""Sets of labels whose sounds listeners may confuse, so that they are never in the same mixture."""


@dataclass(frozen=True, slots=True)
class Stem:
    """A recording of one source."""

    id: str
    path: Path
    domain: str
    label: str
    prompts: tuple[str, ...]
    group: str
    split: str  # "train", "valid", "test" or "unseen"


def load_pool(folder: Path) -> tuple[Stem, ...]:
    """Loads the stems of ``folder/stems.parquet``; a tenth of the groups of its split "train" become "valid"."""
    table = folder / "stems.parquet"
    if not table.is_file():
        raise Precondition(
            f"expected a pool of stems at {table}, found none; run `python -m judge.sources` or use --stems mini"
        )
    records = pd.read_parquet(table).to_dict("records")
    return tuple(
        Stem(
            id=record["id"],
            path=folder / record["path"],
            domain=record["domain"],
            label=record["label"],
            prompts=tuple(record["prompts"]) or (record["label"],),
            group=record["group"],
            split=_split(record["split"], record["group"]),
        )
        for record in records
    )


def mini_pool() -> tuple[Stem, ...]:
    """Returns the embedded stems, each in every split: for trials, not for a judge that is to be tested on mini."""
    domains = {"speech": "speech", "music": "music", "inst": "music", "sfx": "effects"}
    variants = load_prompt_variants()
    return tuple(
        Stem(
            id=f"{stem.id}-{split}",
            path=stem.path,
            domain=domains[stem.kind],
            label=stem.label,
            prompts=(stem.label, *(variants[stem.label].paraphrases if stem.label in variants else ())),
            group=stem.id,
            split=split,
        )
        for stem in mini_stems().values()
        for split in ("train", "valid", "test", "unseen")
    )


def _split(split: str, group: str) -> str:
    held = split == "train" and zlib.crc32(group.encode()) % _VALID == 0
    return "valid" if held else split


@lru_cache(maxsize=1500)
def load_samples(path: Path) -> NDArray[np.float32]:
    """Loads mono samples ``[time]`` at `RATE`; read-only."""
    signal, rate = soundfile.read(path, dtype="float32", always_2d=True)
    mono = signal.mean(axis=1)
    if rate != RATE:
        mono = soxr.resample(mono, rate, RATE, quality="HQ")
    mono = np.ascontiguousarray(mono, np.float32)
    mono.setflags(write=False)
    return mono


@lru_cache(maxsize=10_000)
def _content_words(label: str) -> frozenset[str]:
    words = re.findall(r"[a-z]+", label.lower())
    return frozenset(word if word.endswith("ss") else word.removesuffix("s") for word in words) - _COMMON


def is_distinguishable(one: Stem, others: Sequence[Stem]) -> bool:
    """Returns whether a prompt for ``one`` cannot mean any of ``others``: labels differ, no prompt or word is shared.

    Voices always share words, so that different labels suffice for them, such as "woman speaking" and "man speaking".
    Whole pieces of music may contain any instrument.
    """
    for other in others:
        if one.domain == other.domain == "music" and (_BROAD.search(one.label) or _BROAD.search(other.label)):
            return False
        if one.label == other.label or set(one.prompts) & set(other.prompts):
            return False
        if any(one.label in family and other.label in family for family in _CONFUSABLE):
            return False
        voices = one.domain == other.domain == "speech"
        if not voices and _content_words(one.label) & _content_words(other.label):
            return False
    return True
