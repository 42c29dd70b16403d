"""The item ids of a task, all of which a submission must cover."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from sam_audio_bench.cards import TaskCard
from sam_audio_bench.errors import BenchError, Precondition, UsageError
from sam_audio_bench.leaderboard.records import Selection
from sam_audio_bench.plugins import find_card
from sam_audio_bench.registry import load_task
from sam_audio_bench.tasks import TASKS
from sam_audio_bench.tasks.data import digest_of_ids
from sam_audio_bench.tasks.recipes import compute_revision, list_task_recipes

__all__ = ["ItemList", "find_task_card", "load_item_list"]


_PARTS = (("mini", "paper"), ("test", "paper"), ("test", "full"))


@dataclass(frozen=True, kw_only=True)
class ItemList:
    """Items of one task, and what is known about them without loading audio."""

    groups: Mapping[str, str]  # id -> the recording it was cut from, in order
    data_revision: str
    prompts: Mapping[str, str]  # id -> text prompt; empty: unknown without the data
    absent: frozenset[str] | None  # items whose target is silent; None: unknown without the audio

    @property
    def ids_sha256(self) -> str:
        """Digest of the sorted ids, as run folders record it."""
        return digest_of_ids(self.groups)


def find_task_card(name: str) -> TaskCard:
    """Finds the card of a task in the catalogue or in an installed plugin.

    Raises:
        UsageError: no such task. Precondition: the plugin cannot be imported.
    """
    card = find_card("tasks", name)
    if card is None:
        raise UsageError(
            f"expected a task of the catalogue or of an installed plugin, found {name!r}; install the package that "
            "provides it (`sabench list tasks` names what is there)"
        )
    return card


def load_item_list(task: Selection) -> ItemList:
    """Loads the items of a task.

    Raises:
        UsageError: no such task, version, split or subset. Precondition: the test split's metadata are not on this
            machine (its recordings are not needed), or a plugin cannot load its items.
    """
    name, version, split, subset = task.id, task.version, task.split, task.subset
    card = find_task_card(name)
    if version != card.version:
        raise UsageError(f"expected version {card.version} of {name}, found {version}; run the current one")
    if (split, subset) not in _PARTS:
        raise UsageError(f"expected split and subset among {_PARTS}, found {split} and {subset}")
    return _items(card, split, subset) if name in TASKS else _plugin_items(card, split, subset)


@lru_cache(maxsize=64)
def _items(card: TaskCard, split: str, subset: str) -> ItemList:
    if split == "mini":
        items = list_task_recipes(card.id, card.prompt)
        return ItemList(
            groups={identifier: group for identifier, (_, group) in items.items()},
            data_revision=compute_revision(),
            prompts={identifier: recipe.prompt for identifier, (recipe, _) in items.items()},
            absent=frozenset(identifier for identifier, (recipe, _) in items.items() if not recipe.target),
        )
    from sam_audio_bench.tasks.official import read_official  # imports torch

    data = read_official(card.id, subset)
    return ItemList(groups=data.groups, data_revision=data.digest, prompts={}, absent=None)


@lru_cache(maxsize=64)
def _plugin_items(card: TaskCard, split: str, subset: str) -> ItemList:
    try:
        data = load_task(card.id, split=split, subset=subset)
    except BenchError:
        raise
    except Exception as error:
        raise Precondition(
            f"expected {card.target} to load {card.id}, found {type(error).__name__}: {error}"
        ) from error
    if (data.task, data.version, data.split) != (card.id, card.version, split):
        raise UsageError(
            f"expected {card.target} to load {card.id}, version {card.version}, split {split}, as its card says, found "
            f"{data.task}, version {data.version}, split {data.split}"
        )
    return ItemList(groups=data.groups, data_revision=data.revision, prompts={}, absent=None)
