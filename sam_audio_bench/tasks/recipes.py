"""What the mini split is made of: licensed stems, and recipes that say which of them sound where and how loud.

Reading them decodes nothing and does not import torch; `mini` turns recipes into sound.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

from sam_audio_bench.types import Span

__all__ = [
    "FOLDER",
    "SECONDS",
    "Recipe",
    "Stem",
    "Words",
    "groups",
    "heard",
    "questions",
    "recipes",
    "revision",
    "spans",
    "stems",
    "words",
]

FOLDER = Path(__file__).with_name("mini_data")

SECONDS = 8.0
"""Length of every mixture."""

_VARIANT = re.compile(r"-(span|span-only|visual)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stem:
    """One recording, mono at 24 kHz, and the right to use it."""

    id: str
    kind: str  # "sfx", "speech", "music" or "inst"
    label: str  # what is heard, as a prompt would say it
    seconds: float
    active: tuple[tuple[float, float], ...]  # (start, end) of its sounding parts, seconds
    source: str  # the package that it was taken from
    licence: str
    credit: str

    @property
    def path(self) -> Path:
        """The file."""
        return FOLDER / "stems" / f"{self.id}.ogg"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One mixture of a text task. Both mappings go from a stem to the second at which it starts."""

    id: str  # "sfx-00"; never reused
    prompt: str
    target: Mapping[str, float]  # empty: what the prompt names is not in the mixture
    others: Mapping[str, float]
    target_to_rest_db: float | None  # ratio of the energies over the whole clip; None without a target


@lru_cache(maxsize=1)
def stems() -> Mapping[str, Stem]:
    """All stems by id."""
    records = json.loads((FOLDER / "manifest.json").read_text(encoding="utf-8"))
    return MappingProxyType(
        {record["id"]: Stem(**record | {"active": tuple(map(tuple, record["active"]))}) for record in records}
    )


@lru_cache(maxsize=1)
def recipes() -> Mapping[str, tuple[Recipe, ...]]:
    """Recipes of each text task, in order."""
    tasks = json.loads((FOLDER / "items.json").read_text(encoding="utf-8"))
    return MappingProxyType({task: tuple(Recipe(**record) for record in records) for task, records in tasks.items()})


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What else is known of a prompt."""

    paraphrases: tuple[str, ...]
    fits: frozenset[str]  # labels of the stems that it may name


@lru_cache(maxsize=1)
def words() -> Mapping[str, Words]:
    """Paraphrases of each prompt, and the sounds that it fits; in doubt it does."""
    records = json.loads((FOLDER / "prompts.json").read_text(encoding="utf-8"))
    return MappingProxyType(
        {
            prompt: Words(paraphrases=tuple(record["paraphrases"]), fits=frozenset(record["fits"]))
            for prompt, record in records.items()
        }
    )


def heard(recipe: Recipe) -> frozenset[str]:
    """The prompts that fit some sound of a mixture."""
    labels = {stems()[name].label for name in (*recipe.target, *recipe.others)}
    return frozenset(prompt for prompt, known in words().items() if not labels.isdisjoint(known.fits))


@lru_cache(maxsize=1)
@lru_cache(maxsize=1)
def revision() -> str:
    """SHA-256 over the manifest, the recipes and every stem: one changed byte is another data set."""
    digest = hashlib.sha256()
    for path in [FOLDER / "items.json", FOLDER / "manifest.json", *(stem.path for stem in stems().values())]:
        content = path.read_bytes()
        digest.update(f"{path.name} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def groups(mixtures: Iterable[Recipe]) -> dict[str, str]:
    """Maps each recipe to the group it is resampled with, which bears the name of its first recipe.

    Mixtures that share a stem, directly or through others, are not independent, so they are one group.
    """
    components: list[tuple[set[str], list[str]]] = []
    for recipe in mixtures:
        shared, members = {*recipe.target, *recipe.others}, [recipe.id]
        apart = [component for component in components if component[0].isdisjoint(shared)]
        for others, ids in (component for component in components if component not in apart):
            shared, members = shared | others, members + ids
        components = [*apart, (shared, members)]
    found = {member: min(members) for _, members in components for member in members}
    return dict(sorted(found.items()))


def questions(task: str, prompt: str) -> dict[str, tuple[Recipe, str]]:
    """Items of a task: id -> its recipe and its group; a task of spans or videos has those whose target sounds.

    Args:
        task: name in the catalogue.
        prompt: kind of its prompts: "text", "text+span", "span" or "visual".
    """
    kind = _VARIANT.sub("", task)
    together = groups(recipes()[kind])
    return {
        task + recipe.id.removeprefix(kind): (recipe, together[recipe.id])
        for recipe in recipes()[kind]
        if recipe.target or prompt == "text"
    }


def spans(recipe: Recipe) -> tuple[Span, ...]:
    """When the target sounds: the active parts of its stems, joined where they touch and clipped to the mixture."""
    parts = sorted(
        (round(start + begin, 3), round(start + end, 3))
        for stem, start in recipe.target.items()
        for begin, end in stems()[stem].active
    )
    joined: list[tuple[float, float]] = []
    for begin, end in parts:
        if joined and begin <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((begin, end))
    return tuple(("+", begin, min(end, SECONDS)) for begin, end in joined if begin < SECONDS)
