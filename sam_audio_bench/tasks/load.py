"""Loads tasks by name."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from sam_audio_bench.errors import Precondition, UsageError, unknown_name
from sam_audio_bench.files import exists
from sam_audio_bench.tabular import TABLE_SUFFIXES
from sam_audio_bench.tasks.adapters import find_adapter, split_options
from sam_audio_bench.tasks.catalogue import GROUPS, MUSDB, TASKS, Task, expand
from sam_audio_bench.tasks.data import TaskData
from sam_audio_bench.tasks.folders import bench_folder, songs_folder

__all__ = ["SPLITS", "SUBSETS", "check_recordings", "is_path", "load_task", "split_label"]

SPLITS = ("test", "mini")
SUBSETS = ("paper", "full")


def is_path(name: str) -> bool:
    """Returns whether a name means the user's own data, a table, a folder or a known layout, and not a built-in task.

    A folder that has the name of a task or group must be written with a slash, as in ``./sfx``.
    """
    if name in TASKS or name in GROUPS:
        return False
    return (
        name.lower().endswith(TABLE_SUFFIXES)
        or find_adapter(name) is not None
        or (exists(name) and Path(name).is_dir())
    )


def split_label(spelling: str) -> tuple[str, str]:
    """Splits ``name=PATH`` into the name and the path of the user's own data; without a name, the first part is "".

    >>> split_label("mine=musdb:songs?excerpt=30"), split_label("musdb:songs?excerpt=30"), split_label("sfx")
    (('mine', 'musdb:songs?excerpt=30'), ('', 'musdb:songs?excerpt=30'), ('', 'sfx'))
    """
    place, options = split_options(spelling)
    label, equals, name = place.rpartition("=")
    return (label, name + options) if equals and label and is_path(name) and not exists(spelling) else ("", spelling)


def check_recordings(names: Iterable[str], *, instead: str) -> None:
    """Raises Precondition if the folders of the test split of some task hold no recording.

    So new users see the problem at once: before torch is imported, and without the metadata or a request to the hub.

    Args:
        names: names of tasks and groups; other names are ignored.
        instead: the command that works without the official data, for the message.
    """
    for name in expand(name for name in names if name in TASKS or name in GROUPS):
        place = _folder_without_recordings(TASKS[name])
        if place is not None:
            raise Precondition(
                f"expected the recordings of {name} (--split test, the official data) in {place}, found none; what "
                f"comes with the package is --split mini: `{instead}`; `sabench data missing {name}` lists what to get"
            )


def _folder_without_recordings(task: Task) -> Path | None:
    """Returns the folder in which a task's recordings are expected, or None if it has some."""
    if task.repository == MUSDB:
        folder = songs_folder()
        return (
            None if (folder / "test").is_dir() or folder.with_name(f"{folder.name}.zip").is_file() else folder / "test"
        )
    folder = bench_folder()
    sources = folder.iterdir() if folder.is_dir() else ()
    return None if any(entry.is_dir() and entry.name != "data" for entry in sources) else folder


def load_task(name: str, split: str = "mini", subset: str = "paper", *, allow_outside: bool = False) -> TaskData:
    """Loads a task of the catalogue, or the user's own data.

    Args:
        name: a task, or the user's own data (see module `manifest`), for which split and subset are ignored.
        split: "mini", which is part of the package, or "test", the official data.
        subset: of the test split: "paper", the 50 items per task that the paper reports, or "full".
        allow_outside: accept files of the user's own data that lie outside their folder.

    Raises:
        UsageError: the name, split or subset is unknown, or the data are invalid.
        Precondition: the data of the split are not on this machine.
    """
    if is_path(name):
        from sam_audio_bench.tasks.manifest import load_manifest

        return load_manifest(name, allow_outside=allow_outside)
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
    from sam_audio_bench.tasks.official import load_official

    return load_official(name, subset)
