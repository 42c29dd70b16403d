"""What a separator was trained on of the collections that a run's recordings are of, as far as cards tell."""

from __future__ import annotations

from collections.abc import Iterable

from sam_audio_bench.records import RunRecord
from sam_audio_bench.separators.catalogue import find_separator_card
from sam_audio_bench.tasks.sources import recordings_of, shared_training

__all__ = ["shared_in_run", "shared_in_runs"]


def shared_in_run(header: RunRecord) -> str:
    """Training data of a built-in separator that share a collection with the task; "" where none are known to.

    Weights of a user's own were trained on nobody knows what.
    """
    card = find_separator_card(header.model.name, header.model.target)
    if card is None or not card.training_data or (card.own_weights and header.model.options.get(card.own_weights)):
        return ""
    task = header.task
    return shared_training(card.training_data, recordings_of(task.id, task.split, task.source))


def shared_in_runs(headers: Iterable[RunRecord]) -> dict[tuple[str, str], str]:
    """The same of several runs, by task and separator."""
    return {(header.task.id, header.model.name): shared_in_run(header) for header in headers}
