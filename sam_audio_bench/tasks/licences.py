"""The terms of the official data: said once on each machine, and written down in the lock file with the date."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sam_audio_bench.errors import Precondition
from sam_audio_bench.files import utc_now
from sam_audio_bench.tasks.catalogue import Task
from sam_audio_bench.tasks.lock import Lock

__all__ = ["show_licences"]


def show_licences(tasks: Iterable[Task], show: Callable[[str], None], *, accept: bool = False) -> None:
    """Says under which terms the data of tasks are to be had, unless that was said before.

    Args:
        tasks: of the test split.
        show: callback for one sentence per repository.
        accept: write down that the user accepts them; nothing is said then.

    Raises:
        Precondition: that cannot be written down. What was only said is not worth an error.
    """
    lock = Lock.read()
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
