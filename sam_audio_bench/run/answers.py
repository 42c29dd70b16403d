"""Asking a separator: seeds, the three protocols, batches that fail, and the check of every answer."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from sam_audio_bench.errors import BadSeparation, Precondition
from sam_audio_bench.run.check import check
from sam_audio_bench.run.provenance import item_seed
from sam_audio_bench.types import AnySeparator, Item, NamedSeparator, OracleSeparator, Separation

__all__ = ["ask", "checked"]


def ask(
    separator: AnySeparator,
    items: Sequence[Item],
    *,
    task: str,
    seed: int,
    align: str | None,
    stereo: str,
    candidate: int = 0,
) -> list[Separation | Exception]:
    """One checked answer an item, or the error that took its place; a bad item costs its own answer only.

    Args:
        separator: of any of the three protocols.
        items: the batch.
        task: label of the task, part of each item's seed.
        seed: of the run.
        align: see `check`.
        stereo: see `check`.
        candidate: which of several answers to the same item; part of its seed.

    Raises:
        Precondition: the separator cannot work at all.
    """
    begun = time.perf_counter()
    try:
        answers = _answers(separator, items, [item_seed(task, item.id, seed, candidate) for item in items])
    except Precondition:
        raise
    except Exception as error:
        if len(items) == 1:
            return [error]
        alone = (
            ask(separator, [item], task=task, seed=seed, align=align, stereo=stereo, candidate=candidate)
            for item in items
        )
        return [answer for answers in alone for answer in answers]
    share = (time.perf_counter() - begun) / max(len(items), 1)
    return [checked(answer, item, share, align, stereo) for answer, item in zip(answers, items, strict=True)]


def _answers(separator: AnySeparator, items: Sequence[Item], seeds: Sequence[int]) -> list[Separation]:
    queries = [item.query for item in items]
    if isinstance(separator, OracleSeparator):
        answers = separator.separate_oracle(items, seeds)
    elif isinstance(separator, NamedSeparator):
        answers = separator.separate_named([item.id for item in items], queries)
    else:
        answers = separator.separate(queries, seeds)
    if len(answers) != len(items):
        raise BadSeparation(f"expected {len(items)} answer(s) from {separator.name}, found {len(answers)}")
    return answers


def checked(
    answer: Separation, item: Item, seconds: float, align: str | None, stereo: str
) -> Separation | BadSeparation:
    """The answer as `check` gives it back, or its error; ``seconds`` where the separator did not measure its own."""
    try:
        answer = check(answer, item.query, align=align, stereo=stereo)
    except BadSeparation as error:
        return error
    return replace(answer, seconds=answer.seconds or seconds)
