"""Loading the task data that runs were made from."""

from __future__ import annotations

from collections.abc import Sequence

from sam_audio_bench import registry
from sam_audio_bench.errors import UsageError
from sam_audio_bench.run.store import RunFolder
from sam_audio_bench.tasks import TaskData

__all__ = ["load_recorded_data"]


def load_recorded_data(folders: Sequence[RunFolder]) -> TaskData:
    """Loads the data of runs on one task, and checks them against the record of each run.

    Args:
        folders: at least one; the first records where the data come from.

    Raises:
        Precondition: the data are missing. UsageError: they differ from the data of a run.
    """
    task = folders[0].header.task
    (data,) = registry.load_tasks(
        [task.source], split=task.split, subset=task.subset, prompts=task.prompts, allow_outside=task.allow_outside
    )
    for folder in folders:
        for change in folder.header.task.differences(data.record):
            raise UsageError(
                f"expected {data.label} with {change.field} {change.one} as in {folder.path}, found {change.other}; "
                "run the evaluation again"
            )
    return data
