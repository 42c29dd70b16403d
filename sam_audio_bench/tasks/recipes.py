"""The mini split's licensed stems, and recipes that state which of them sound where and how loud.

Reading them decodes no audio and does not import torch; `mini` turns recipes into audio.
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
    "PromptVariants",
    "Recipe",
    "Stem",
    "compute_revision",
    "find_audible_prompts",
    "find_target_spans",
    "group_recipes",
    "list_task_recipes",
    "load_prompt_variants",
    "load_recipes",
    "load_stems",
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
def load_stems() -> Mapping[str, Stem]:
    """All stems by id."""
    records = json.loads((FOLDER / "manifest.json").read_text(encoding="utf-8"))
    return MappingProxyType(
        {record["id"]: Stem(**record | {"active": tuple(map(tuple, record["active"]))}) for record in records}
    )


@lru_cache(maxsize=1)
def load_recipes() -> Mapping[str, tuple[Recipe, ...]]:
    """Recipes of each text task, in order."""
    tasks = json.loads((FOLDER / "items.json").read_text(encoding="utf-8"))
    return MappingProxyType({task: tuple(Recipe(**record) for record in records) for task, records in tasks.items()})


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptVariants:
    """Paraphrases of a prompt, and the sounds that it describes."""

    paraphrases: tuple[str, ...]
    fits: frozenset[str]  # labels of the stems that it may name


@lru_cache(maxsize=1)
def load_prompt_variants() -> Mapping[str, PromptVariants]:
    """Paraphrases of each prompt, and the sounds that it fits, doubtful cases included."""
    records = json.loads((FOLDER / "prompts.json").read_text(encoding="utf-8"))
    return MappingProxyType(
        {
            prompt: PromptVariants(paraphrases=tuple(record["paraphrases"]), fits=frozenset(record["fits"]))
            for prompt, record in records.items()
        }
    )


def find_audible_prompts(recipe: Recipe) -> frozenset[str]:
    """The prompts that describe some sound of a mixture."""
    labels = {load_stems()[name].label for name in (*recipe.target, *recipe.others)}
    return frozenset(prompt for prompt, known in load_prompt_variants().items() if not labels.isdisjoint(known.fits))


@lru_cache(maxsize=1)
def compute_revision() -> str:
    """SHA-256 over the manifest, the recipes and every stem: one changed byte is another data set."""
    digest = hashlib.sha256()
    for path in [FOLDER / "items.json", FOLDER / "manifest.json", *(stem.path for stem in load_stems().values())]:
        content = path.read_bytes()
        digest.update(f"{path.name} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def group_recipes(mixtures: Iterable[Recipe]) -> dict[str, str]:
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


def list_task_recipes(task: str, prompt: str) -> dict[str, tuple[Recipe, str]]:
    """Items of a task: id -> its recipe and its group; span and visual tasks only have items whose target is audible.

    Args:
        task: name in the catalogue.
        prompt: kind of its prompts: "text", "text+span", "span" or "visual".
    """
    kind = _VARIANT.sub("", task)
    together = group_recipes(load_recipes()[kind])
    return {
        task + recipe.id.removeprefix(kind): (recipe, together[recipe.id])
        for recipe in load_recipes()[kind]
        if recipe.target or prompt == "text"
    }


def find_target_spans(recipe: Recipe) -> tuple[Span, ...]:
    """When the target sounds: the active parts of its stems, joined where they touch and clipped to the mixture."""
    parts = sorted(
        (round(start + begin, 3), round(start + end, 3))
        for stem, start in recipe.target.items()
        for begin, end in load_stems()[stem].active
    )
    joined: list[tuple[float, float]] = []
    for begin, end in parts:
        if joined and begin <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((begin, end))
    return tuple(("+", begin, min(end, SECONDS)) for begin, end in joined if begin < SECONDS)
