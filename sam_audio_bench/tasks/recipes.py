"""The mini split's licensed stems, and the recipes of its mixtures: which stems sound when and how loud.

Reading them decodes no audio and does not import torch; `mini` renders recipes as audio.
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
    """One recording, mono at 24 kHz, and its licence."""

    id: str
    kind: str  # "sfx", "speech", "music" or "inst"
    label: str  # the sound, worded like a prompt
    seconds: float
    active: tuple[tuple[float, float], ...]  # (start, end) of its active parts, seconds
    source: str  # the package that it comes from
    licence: str
    credit: str

    @property
    def path(self) -> Path:
        """Path of the file."""
        return FOLDER / "stems" / f"{self.id}.ogg"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """The recipe of one mixture of a text task. Both mappings map a stem to the second at which it starts."""

    id: str  # "sfx-00"; never reused
    prompt: str
    target: Mapping[str, float]  # empty: the sound that the prompt names is absent
    others: Mapping[str, float]
    target_to_rest_db: float | None  # ratio of the energies over the whole clip; None without a target


@lru_cache(maxsize=1)
def load_stems() -> Mapping[str, Stem]:
    """Loads all stems, by id."""
    records = json.loads((FOLDER / "manifest.json").read_text(encoding="utf-8"))
    return MappingProxyType(
        {record["id"]: Stem(**record | {"active": tuple(map(tuple, record["active"]))}) for record in records}
    )


@lru_cache(maxsize=1)
def load_recipes() -> Mapping[str, tuple[Recipe, ...]]:
    """Loads the recipes of each text task, in order."""
    tasks = json.loads((FOLDER / "items.json").read_text(encoding="utf-8"))
    return MappingProxyType({task: tuple(Recipe(**record) for record in records) for task, records in tasks.items()})


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptVariants:
    """Paraphrases of a prompt, and the labels that it may describe."""

    paraphrases: tuple[str, ...]
    fits: frozenset[str]  # labels of the stems that the prompt may describe


@lru_cache(maxsize=1)
def load_prompt_variants() -> Mapping[str, PromptVariants]:
    """Loads the paraphrases of each prompt and the labels that it may describe, doubtful cases included."""
    records = json.loads((FOLDER / "prompts.json").read_text(encoding="utf-8"))
    return MappingProxyType(
        {
            prompt: PromptVariants(paraphrases=tuple(record["paraphrases"]), fits=frozenset(record["fits"]))
            for prompt, record in records.items()
        }
    )


def find_audible_prompts(recipe: Recipe) -> frozenset[str]:
    """Finds the prompts that may describe some sound of a mixture."""
    labels = {load_stems()[name].label for name in (*recipe.target, *recipe.others)}
    return frozenset(prompt for prompt, known in load_prompt_variants().items() if not labels.isdisjoint(known.fits))


@lru_cache(maxsize=1)
def compute_revision() -> str:
    """Computes the SHA-256 of the manifest, the recipes and every stem: one changed byte is another revision."""
    digest = hashlib.sha256()
    for path in [FOLDER / "items.json", FOLDER / "manifest.json", *(stem.path for stem in load_stems().values())]:
        content = path.read_bytes()
        digest.update(f"{path.name} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def group_recipes(mixtures: Iterable[Recipe]) -> dict[str, str]:
    """Maps each recipe to its group for resampling, which is named after its first recipe.

    Mixtures that share a stem, directly or through other mixtures, are not independent, so they form one group.
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
    """Lists the items of a task: id -> recipe and group; span and visual tasks only have items with an audible target.

    Args:
        task: name in the catalogue.
        prompt: kind of the task's prompts: "text", "text+span", "span" or "visual".
    """
    kind = _VARIANT.sub("", task)
    groups = group_recipes(load_recipes()[kind])
    return {
        task + recipe.id.removeprefix(kind): (recipe, groups[recipe.id])
        for recipe in load_recipes()[kind]
        if recipe.target or prompt == "text"
    }


def find_target_spans(recipe: Recipe) -> tuple[Span, ...]:
    """Finds the target's active spans: those of its stems, merged if they touch, and clipped to the mixture."""
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
