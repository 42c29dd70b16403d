"""The terms of the official data: shown once per machine, and recorded in the lock file with the date."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sam_audio_bench.errors import Precondition
from sam_audio_bench.files import utc_now
from sam_audio_bench.tasks.catalogue import Task
from sam_audio_bench.tasks.lock import LockFile

__all__ = ["show_licences"]


def show_licences(tasks: Iterable[Task], show: Callable[[str], None], *, accept: bool = False) -> None:
    """Shows the terms of the data of tasks, unless they were shown before.

    Args:
        tasks: tasks of the test split.
        show: callback for one sentence per repository.
        accept: record that the user accepts the terms, and show nothing.

    Raises:
        Precondition: the acceptance cannot be recorded; that terms were shown may fail to be recorded without an error.
    """
    lock = LockFile.read()
    repositories = {task.repository: task.licence for task in tasks}
    changed = False
    for repository, licence in repositories.items():
        known = lock.licences.get(repository)
        if accept and (known is None or known["accepted"] is None):
            shown = utc_now() if known is None else known["shown"]
            lock.licences[repository] = {"shown": shown, "licence": licence, "accepted": utc_now()}
            changed = True
        elif known is None:
            show(
                f"{repository}: {licence}; access may have to be asked for at "
                f"https://huggingface.co/datasets/{repository}, and recordings belong to their owners. "
                "Said once; --accept-license writes down that you accept"
            )
            lock.licences[repository] = {"licence": licence, "shown": utc_now(), "accepted": None}
            changed = True
    if changed:
        try:
            lock.write()
        except Precondition:
            if accept:
                raise
