"""From the name of a task to its items."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from sam_audio_bench.errors import Precondition, UsageError, unknown_name
from sam_audio_bench.files import exists
from sam_audio_bench.tabular import TABLE_SUFFIXES
from sam_audio_bench.tasks.adapters import adapter_of, split_options
from sam_audio_bench.tasks.catalogue import GROUPS, MUSDB, TASKS, Task, expand
from sam_audio_bench.tasks.data import TaskData
from sam_audio_bench.tasks.folders import bench_folder, songs_folder

__all__ = ["SPLITS", "SUBSETS", "check_recordings", "is_path", "load_task", "split_label"]

SPLITS = ("test", "mini")
SUBSETS = ("paper", "full")


def is_path(name: str) -> bool:
    """Whether a name means anyone's data rather than a task of the catalogue: a table, a folder, or a known layout.

    A folder that bears the name of a task or group needs a separator in front or behind, as in ``./sfx``.
    """
    if name in TASKS or name in GROUPS:
        return False
    return (
        name.lower().endswith(TABLE_SUFFIXES) or adapter_of(name) is not None or (exists(name) and Path(name).is_dir())
    )


def split_label(spelling: str) -> tuple[str, str]:
    """What ``name=PATH`` calls anyone's data, and the data; "" and all of it where it does not name them.

    >>> split_label("mine=musdb:songs?excerpt=30"), split_label("musdb:songs?excerpt=30"), split_label("sfx")
    (('mine', 'musdb:songs?excerpt=30'), ('', 'musdb:songs?excerpt=30'), ('', 'sfx'))
    """
    place, options = split_options(spelling)
    label, equals, name = place.rpartition("=")
    return (label, name + options) if equals and label and is_path(name) and not exists(spelling) else ("", spelling)


def check_recordings(names: Iterable[str], *, instead: str) -> None:
    """Raises Precondition where the test split of a task has no recording on this machine, as far as folders tell.

    A newcomer is told at once so: without torch, the metadata, or a wait for the hub.

    Args:
        names: of tasks and groups; others are left alone.
        instead: the command that works without the official data.
    """
    for name in expand(name for name in names if name in TASKS or name in GROUPS):
        place = _place_without_recordings(TASKS[name])
        if place is not None:
            raise Precondition(
                f"expected the recordings of {name} (--split test, the official data) in {place}, found none; what "
                f"comes with the package is --split mini: `{instead}`; `sabench data missing {name}` lists what to get"
            )


def _place_without_recordings(task: Task) -> Path | None:
    """Where the recordings of a task would lie; None: some are there."""
    if task.repository == MUSDB:
        folder = songs_folder()
        return (
            None if (folder / "test").is_dir() or folder.with_name(f"{folder.name}.zip").is_file() else folder / "test"
        )
    folder = bench_folder()
    sources = folder.iterdir() if folder.is_dir() else ()
    return None if any(entry.is_dir() and entry.name != "data" for entry in sources) else folder


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
