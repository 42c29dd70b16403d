"""Improvement of the estimate over the mixture, for any metric that depends on the target estimate only.

The SDR family computes its own improvements, `ratios.improvement`; those of other metrics are created on request.
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

__all__ = ["Improvement", "improvement_constructor"]


class Improvement(Metric):
    """The score of the estimate minus that of the mixture, in the metric's unit and direction.

    If lower is better, an improvement is negative. The mixture itself has 0. A silent estimate keeps its status, with
    the lowest value of the scale minus the mixture's; an estimate without a value keeps its status, and if only the
    mixture has none, the mixture's status is used.

    Args:
        base: a metric of the catalogue.
    """

    def __init__(self, base: Metric) -> None:
        self._base = base
        self.kind = type(base)  # whose code and version identify this metric
        self.batch_size = base.batch_size

    def __getattr__(self, name: str) -> Any:
        """Forwards attributes about weights and files to the base metric."""
        if name == "_base":
            raise AttributeError(name)
        return getattr(self._base, name)

    @property
    def requested(self) -> tuple[str, ...]:
        """The columns that the run requests."""
        return tuple(f"{column}_i" for column in self._base.requested)

    @requested.setter
    def requested(self, columns: tuple[str, ...]) -> None:
        self._base.requested = tuple(column.removesuffix("_i") for column in columns)

    @property
    def options(self) -> Options:
        """The options of the base metric."""
        return self._base.options

    def missing(self) -> str | None:
        """Returns why the base metric cannot run; None if it can."""
        return self._base.missing()

    @classmethod
    def cards(cls) -> tuple[MetricCard, ...]:
        """Returns the cards of the base metric, as improvements."""
        found = (improvement_card(column) for column in cls.columns)
        return tuple(card for card in found if card is not None)

    def score(self, items: Sequence[Item], separations: Sequence[Separation]) -> list[Row]:
        """Returns one row per item; the mixture is scored only for items with a value."""
        rows = self._base.score(items, separations)
        valued = [at for at, row in enumerate(rows) if any(one is not None and one.value is not None for one in row)]
        unprocessed = [_mixture_as_estimate(items[at], separations[at]) for at in valued]
        baselines = self._base.score([items[at] for at in valued], unprocessed) if valued else []
        found = list(rows)
        for at, baseline in zip(valued, baselines, strict=True):
            found[at] = tuple(map(_difference, rows[at], baseline))
        return found


def improvement_constructor(constructor: Callable[..., Metric]) -> Callable[..., Metric]:
    """Returns a constructor of the improvement of ``constructor``'s metric, with the same options."""

    @wraps(constructor)
    def made(**options: Any) -> Metric:
        base = constructor(**options)
        columns = tuple(f"{column}_i" for column in base.columns)
        kind = type("Improvement", (Improvement,), {"columns": columns, "in_blocks": base.in_blocks})
        found: Metric = kind(base)
        return found

    return made


def _mixture_as_estimate(item: Item, separation: Separation) -> Separation:
    """Returns the mixture as a separation; averaged over channels if the estimate is mono."""
    mixture = item.query.mixture
    given = to_mono(mixture) if separation.target.channels == 1 else mixture
    return replace(separation, target=given, residual=given)


def _difference(score: Score | None, baseline: Score | None) -> Score | None:
    if score is None or score.value is None:
        return score
    if baseline is None or baseline.value is None:
        return None if baseline is None else Score(None, baseline.status)
    return Score(score.value - baseline.value, Status.OK if score.status is Status.PERFECT else score.status)
