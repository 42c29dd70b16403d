"""The item ids of a task, which a submission must cover in full."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sam_audio_bench.errors import UsageError, unknown_name
from sam_audio_bench.files import sha256
from sam_audio_bench.tasks import TASKS
from sam_audio_bench.tasks.recipes import compute_revision, list_task_recipes

__all__ = ["ItemList", "item_list"]


_PARTS = (("mini", "paper"), ("test", "paper"), ("test", "full"))


@dataclass(frozen=True, kw_only=True)
class ItemList:
    """Items of one task, and what is known of them without loading audio."""

    groups: Mapping[str, str]  # id -> the recording it was cut from, in order
    data_revision: str
    prompts: Mapping[str, str]  # id -> text prompt; empty: not known without the data
    absent: frozenset[str] | None  # items whose target does not sound; None: not known without the audio

    @property
    def ids_sha256(self) -> str:
        """Digest of the sorted ids, as run folders record it."""
        return sha256("\n".join(sorted(self.groups)).encode())


def item_list(task: Mapping[str, Any]) -> ItemList:
    """The items behind a task record with ``id``, ``version``, ``split`` and ``subset``.

    Raises:
        UsageError: no such task, version, split or subset. Precondition: the test split's metadata are not on this
            machine; its recordings are not needed.
    """
    return _items(str(task["id"]), str(task["version"]), str(task["split"]), str(task["subset"]))


@lru_cache(maxsize=64)
def _items(name: str, version: str, split: str, subset: str) -> ItemList:
    if name not in TASKS:
        raise unknown_name("task", name, TASKS)
    if version != TASKS[name].version:
        raise UsageError(f"expected version {TASKS[name].version} of {name}, found {version}; run the current one")
    if (split, subset) not in _PARTS:
        raise UsageError(f"expected split and subset among {_PARTS}, found {split} and {subset}")
    if split == "mini":
        items = list_task_recipes(name, TASKS[name].prompt)
        return ItemList(
            groups={identifier: group for identifier, (_, group) in items.items()},
            data_revision=compute_revision(),
            prompts={identifier: recipe.prompt for identifier, (recipe, _) in items.items()},
            absent=frozenset(identifier for identifier, (recipe, _) in items.items() if not recipe.target),
        )
    from sam_audio_bench.tasks.official import official  # brings torch along

    data = official(name, subset)
    return ItemList(groups=data.groups, data_revision=data.digest, prompts={}, absent=None)
