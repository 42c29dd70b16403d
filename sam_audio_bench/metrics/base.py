"""Metric: scores a chunk of items, keeps one row an item, survives sharding."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torchmetrics
from torch import Tensor
from torchmetrics.utilities.data import dim_zero_cat

from sam_audio_bench.errors import UsageError
from sam_audio_bench.metrics.catalogue import CARDS, STEREO, MetricCard
from sam_audio_bench.metrics.functional import is_silent
from sam_audio_bench.types import Item, Score, Separation, Status

__all__ = ["Metric", "Row", "StereoMetric", "known_absent"]

Row = tuple[Score | None, ...]
"""One score a column; None where the metric asks nothing of the item (a leak where the target is present)."""

_STATUSES = tuple(Status)
_NOT_ASKED = -1


def known_absent(item: Item) -> bool:
    """Whether a silent reference says that the sound that is asked for is not in the mixture."""
    return item.reference is not None and bool(is_silent(item.reference.samples.flatten()))


class Metric(torchmetrics.Metric, ABC):
    """Keeps one row of scores an item; means and intervals are the work of `stats`.

    A subclass names its ``columns`` and implements `score`. As a torchmetrics.Metric it can be updated in many
    processes and computed once: states are concatenated, and an item that was seen twice counts once.
    """

    columns: ClassVar[tuple[str, ...]]
    requested: tuple[str, ...]  # the columns that a run asked for
    full_state_update = False
    index: list[Tensor]
    values: list[Tensor]
    statuses: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.requested = self.columns
        for state in ("index", "values", "statuses"):
            self.add_state(state, default=[], dist_reduce_fx="cat")

    @abstractmethod
    def score(self, items: Sequence[Item], separations: Sequence[Separation]) -> list[Row]:
        """One row an item: for each column a value with its status, or None where nothing is asked."""

    @classmethod
    def cards(cls) -> tuple[MetricCard, ...]:
        """The cards of ``columns``; a third party's class overrides this with its own."""
        return tuple(CARDS[column] for column in cls.columns)

    def missing(self) -> str | None:
        """Why this metric cannot run on this machine, and the command that would change that; None: it can."""
        return None

    @property
    def options(self) -> dict[str, Any]:
        """What changes the values, for ``run.json``."""
        return {}

    def update(self, start: int, items: Sequence[Item], separations: Sequence[Separation]) -> None:
        """Scores items ``start``, ``start + 1``, … of the task."""
        rows = self.score(items, separations)
        self.index.append(torch.arange(start, start + len(items)))
        self.values.append(torch.tensor([[_value(score) for score in row] for row in rows], dtype=torch.float64))
        self.statuses.append(torch.tensor([[_code(score) for score in row] for row in rows]))

    def compute(self) -> list[Row]:
        """Rows in task order."""
        order, where = torch.unique(dim_zero_cat(self.index), return_inverse=True)
        latest = torch.empty_like(order).index_copy_(0, where, torch.arange(len(where)))
        values, statuses = dim_zero_cat(self.values)[latest], dim_zero_cat(self.statuses)[latest]
        return [tuple(map(_score, row, codes)) for row, codes in zip(values.tolist(), statuses.tolist(), strict=True)]


class StereoMetric(Metric):
    """A metric with a policy for channels.

    Args:
        stereo: one of `catalogue.STEREO`.
    """

    def __init__(self, stereo: str = "joint") -> None:
        super().__init__()
        if stereo not in STEREO:
            raise UsageError(f"expected stereo to be one of {', '.join(STEREO)}, found {stereo!r}")
        self.stereo = stereo

    @property
    def options(self) -> dict[str, Any]:
        """What changes the values, for ``run.json``."""
        return {"stereo": self.stereo}


def _value(score: Score | None) -> float:
    return math.nan if score is None or score.value is None else score.value


def _code(score: Score | None) -> int:
    return _NOT_ASKED if score is None else _STATUSES.index(score.status)


def _score(value: float, code: int) -> Score | None:
    return None if code == _NOT_ASKED else Score(None if math.isnan(value) else value, _STATUSES[code])
