"""Collections that a separator's training data share with a run's recordings, according to their cards."""

from __future__ import annotations

from collections.abc import Iterable

from sam_audio_bench.records import RunRecord
from sam_audio_bench.separators.catalogue import find_separator_card
from sam_audio_bench.tasks.sources import find_recording_texts, find_shared_training

__all__ = ["training_overlap", "training_overlaps"]


def training_overlap(header: RunRecord) -> str:
    """Returns a built-in separator's training data from the same collections as the task; "" if none are known.

    The training data of a user's own weights are unknown.
    """
    card = find_separator_card(header.model.name, header.model.target)
    if card is None or not card.training_data or (card.own_weights and header.model.options.get(card.own_weights)):
        return ""
    task = header.task
    return find_shared_training(card.training_data, find_recording_texts(task.id, task.split, task.source))


def training_overlaps(headers: Iterable[RunRecord]) -> dict[tuple[str, str], str]:
    """Returns `training_overlap` of several runs, by task and separator."""
    return {(header.task.id, header.model.name): training_overlap(header) for header in headers}
