"""Cards: descriptions of components that can be read without loading them.

There is one class per kind of component, for built-in and third-party components alike. The catalogues of `separators`,
`metrics` and `tasks` hold the built-in cards; `plugins` finds the others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from sam_audio_bench.errors import UsageError

__all__ = ["MAIN_METRIC", "Card", "MetricCard", "PickerCard", "SeparatorCard", "TaskCard"]

MAIN_METRIC = "si_sdr_i"
"""Metric by which tables and comparisons are ordered by default."""

AbsentTargets = Literal["any", "undefined", "only"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """Fields shared by the cards of all kinds.

    ``cites`` holds keys of this package's bibliography.bib; third parties put whole BibTeX entries there.
    """

    id: str
    target: str  # "module:attribute"
    summary: str  # one line
    cites: tuple[str, ...] = ()
    version: int | str = 1  # raised whenever its results change


@dataclass(frozen=True, slots=True, kw_only=True)
class SeparatorCard(Card):
    """Card of a separator."""

    source: str = ""  # the papers, for a reader
    oracle: bool = False  # whether it is given the references
    arguments: tuple[str, ...] = ()  # positional ones of the class, before the user's options
    modules: tuple[str, ...] = ()  # of other packages that it requires
    install: str = ""  # the command that installs them
    training_data: tuple[str, ...] | None = None  # data sets stated by its authors; None: not stated
    own_weights: str = ""  # the option for a user's own weights, whose training data are unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricCard(Card):
    """Card of a metric.

    Args:
        unit: of its scores; empty: none.
        higher_is_better: the direction.
        range: lowest and highest possible finite score, in ``unit``; None: unbounded.
        best: the score of a perfect estimate, whose status is `Status.PERFECT`; None: infinite, or there is none.
        needs: data that the metric requires, by the names of `TaskData.provides`.
        absent: treatment of items whose target is silent. "undefined": their scores have the status
            ``silent_reference`` or ``both_silent`` and no value, and no other items have these. "only": the metric
            applies to these items alone. "any": it treats them like all others.
        tolerance: how much the score of the same audio may differ on another machine, in ``unit``.

    Raises:
        UsageError: a range whose bounds are not in order, or an unknown value of ``absent``.
    """

    version: int = 1
    unit: str = "dB"
    higher_is_better: bool = True
    range: tuple[float | None, float | None] = (None, None)
    best: float | None = None
    needs: frozenset[str] = frozenset()
    absent: AbsentTargets = "any"
    tolerance: float = 1e-6

    def __post_init__(self) -> None:
        low, high = self.limits
        if not low <= high:
            raise UsageError(f"expected the range of {self.id} as (lowest, highest), found {self.range}")
        if self.absent not in get_args(AbsentTargets):
            known = ", ".join(get_args(AbsentTargets))
            raise UsageError(f"expected absent of {self.id} to be one of {known}, found {self.absent!r}")

    @property
    def limits(self) -> tuple[float, float]:
        """``range`` with infinities for missing bounds."""
        low, high = self.range
        return -math.inf if low is None else low, math.inf if high is None else high


@dataclass(frozen=True, slots=True, kw_only=True)
class PickerCard(Card):
    """Card of a picker, which selects one of several candidates."""

    needs: frozenset[str]  # data that it requires, by the names of `TaskData.provides`
    families: frozenset[str]  # metrics of the same model: their ids up to the first underscore


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskCard(Card):
    """Card of a task: its prompts, its data and how its scores are summarised."""

    version: str = "1"
    prompt: str = ""  # "text", "text+span", "span" or "visual"
    subset: str = ""  # value of `paper_eval_sets` in the official metadata; --subset full drops the "-50"
    items: int | None = None  # of the test split's official subset; None: known from the data only
    full_items: int | None = None
    repository: str = ""  # on the Hugging Face Hub
    revision: str = ""  # of the repository
    licence: str = ""  # of the data
    access: str = ""  # who may obtain them, and which parts a user must provide
    recordings: tuple[str, ...] = ()  # collections of the test split's recordings
    main_metric: str = MAIN_METRIC  # orders the tables of the leaderboard
    aggregation: str = "mean over items, interval by resampling groups"

    @property
    def full_subset(self) -> str:
        """Name of the complete set from which the paper's 50 items were drawn."""
        return self.subset.replace("-50:", ":")
