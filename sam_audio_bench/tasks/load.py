"""From the name of a task to its items."""

from __future__ import annotations

from pathlib import Path

from sam_audio_bench.errors import UsageError, unknown_name
from sam_audio_bench.files import exists
from sam_audio_bench.tabular import TABLES
from sam_audio_bench.tasks.adapters import adapter_of
from sam_audio_bench.tasks.catalogue import GROUPS, TASKS
from sam_audio_bench.tasks.data import TaskData

__all__ = ["SPLITS", "SUBSETS", "is_path", "load_task"]

SPLITS = ("test", "mini")
SUBSETS = ("paper", "full")


def is_path(name: str) -> bool:
    """Whether a name means anyone's data rather than a task of the catalogue: a table, a folder, or a known layout.

    A folder that bears the name of a task or group needs a separator in front or behind, as in ``./sfx``.
    """
    if name in TASKS or name in GROUPS:
        return False
    return name.lower().endswith(TABLES) or adapter_of(name) is not None or (exists(name) and Path(name).is_dir())


def load_task(name: str, split: str = "mini", subset: str = "paper", *, allow_outside: bool = False) -> TaskData:
    """Loads a task of the catalogue, or anyone's data.

    Args:
        name: of a task, or anyone's data (`manifest` describes them), for which split and subset do not matter.
        split: "mini", embedded in the package, or "test", the official data.
        subset: of the test split: "paper", the 50 items per task that the paper reports, or "full".
        allow_outside: accept files of anyone's data that lie outside their folder.

    Raises:
        UsageError: an unknown name, split or subset, or data that say something impossible.
        Precondition: the data of the split are not on this machine.
    """
    if is_path(name):
        from sam_audio_bench.tasks.manifest import manifest

        return manifest(name, allow_outside=allow_outside)
    if split not in SPLITS:
        raise UsageError(f"expected --split {' or '.join(SPLITS)}, found {split!r}")
    if subset not in SUBSETS:
        raise UsageError(f"expected --subset {' or '.join(SUBSETS)}, found {subset!r}")
    if name in GROUPS:
        raise UsageError(f"expected the name of one task, found the group {name!r}: load {', '.join(GROUPS[name])}")
    if name not in TASKS:
        raise unknown_name("task", name, TASKS)
    if split == "mini":
        from sam_audio_bench.tasks.mini import load_mini  # brings torch along

        return load_mini(name)
    from sam_audio_bench.tasks.official import load

    return load(name, subset)
