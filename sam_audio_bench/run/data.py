"""The data that runs were done on, loaded again."""

from __future__ import annotations

from collections.abc import Sequence

from sam_audio_bench import registry
from sam_audio_bench.errors import UsageError
from sam_audio_bench.run.store import RunFolder
from sam_audio_bench.tasks import TaskData

__all__ = ["recorded_data"]


def recorded_data(folders: Sequence[RunFolder]) -> TaskData:
    """The task of runs on one task, checked against what each of them recorded.

    Args:
        folders: at least one; the first says where the data come from.

    Raises:
        Precondition: the data are missing. UsageError: they differ from those of a run.
    """
    task = folders[0].header["task"]
    (data,) = registry.load_tasks(
        [task["source"]],
        split=task["split"],
        subset=task["subset"],
        prompts=task.get("prompts", "given"),
        allow_outside=task.get("allow_outside", False),
    )
    known = {"version": data.version, "data_revision": data.revision, "ids_sha256": data.ids_sha256}
    for folder in folders:
        for name, found in known.items():
            if found != (wanted := folder.header["task"][name]):
                raise UsageError(f"expected {data.label} with {name} {wanted} as in {folder.path}, found {found}")
    return data
