"""What an answer is better by than the mixture handed in as the answer, by any metric that looks at the target alone.

The SDR family computes its own improvements, `ratios.improvement`; here are the others, which are made on request.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import wraps
from typing import Any

from sam_audio_bench.audio import to_mono
from sam_audio_bench.identity import Options
from sam_audio_bench.metrics.base import Metric, Row
from sam_audio_bench.metrics.catalogue import MetricCard, improvement_card
from sam_audio_bench.types import Item, Score, Separation, Status

__all__ = ["Improvement", "improvement_of"]


class Improvement(Metric):
    """The score of the answer minus that of the mixture, in the metric's unit and direction.

    Where lower is better, an improvement is negative. The mixture itself has 0. A silent answer keeps its status, with
    the lowest value of the scale minus the mixture's; an answer without a value keeps its status, and where the mixture
    alone has none, its status stands.

    Args:
        base: the metric, of the catalogue.
    """

    def __init__(self, base: Metric) -> None:
        self._base = base
        self.kind = type(base)  # whose code and version these are
        self.batch_size = base.batch_size

    def __getattr__(self, name: str) -> Any:
        """What a metric tells of its weights and files is that of the base."""
        if name == "_base":
            raise AttributeError(name)
        return getattr(self._base, name)

    @property
    def requested(self) -> tuple[str, ...]:
        """The columns that a run asked for."""
        return tuple(f"{column}_i" for column in self._base.requested)

    @requested.setter
    def requested(self, columns: tuple[str, ...]) -> None:
        self._base.requested = tuple(column.removesuffix("_i") for column in columns)

    @property
    def options(self) -> Options:
        """Those of the base."""
        return self._base.options

    def missing(self) -> str | None:
        """What the base misses."""
        return self._base.missing()

    @classmethod
    def cards(cls) -> tuple[MetricCard, ...]:
        """Those of the base, as improvements."""
        found = (improvement_card(column) for column in cls.columns)
        return tuple(card for card in found if card is not None)

    def score(self, items: Sequence[Item], separations: Sequence[Separation]) -> list[Row]:
        """One row an item; the mixture is scored for those alone that have a value."""
        rows = self._base.score(items, separations)
        valued = [at for at, row in enumerate(rows) if any(one is not None and one.value is not None for one in row)]
        nothing_done = [_mixture(items[at], separations[at]) for at in valued]
        baselines = self._base.score([items[at] for at in valued], nothing_done) if valued else []
        found = list(rows)
        for at, baseline in zip(valued, baselines, strict=True):
            found[at] = tuple(map(_difference, rows[at], baseline))
        return found


def improvement_of(constructor: Callable[..., Metric]) -> Callable[..., Metric]:
    """What makes the improvement of the metric that ``constructor`` makes, with the same options."""

    @wraps(constructor)
    def made(**options: Any) -> Metric:
        base = constructor(**options)
        columns = tuple(f"{column}_i" for column in base.columns)
        kind = type("Improvement", (Improvement,), {"columns": columns, "in_blocks": base.in_blocks})
        found: Metric = kind(base)
        return found

    return made


def _mixture(item: Item, answer: Separation) -> Separation:
    """The mixture as the answer; averaged over channels beside an answer in mono."""
    mixture = item.query.mixture
    given = to_mono(mixture) if answer.target.channels == 1 else mixture
    return replace(answer, target=given, residual=given)


def _difference(score: Score | None, baseline: Score | None) -> Score | None:
    if score is None or score.value is None:
        return score
    if baseline is None or baseline.value is None:
        return None if baseline is None else Score(None, baseline.status)
    return Score(score.value - baseline.value, Status.OK if score.status is Status.PERFECT else score.status)
