"""Cards: what a reader and the planner must know about a component without loading it.

One class a kind, for the built-in components and for those of third parties alike. The catalogues of `separators`,
`metrics` and `tasks` hold the built-in cards; `plugins` finds the others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from sam_audio_bench.errors import UsageError

__all__ = ["MAIN_METRIC", "Card", "MetricCard", "PickerCard", "SeparatorCard", "TaskCard"]

MAIN_METRIC = "si_sdr_i"
"""By which tables and comparisons are ordered where nothing else is said."""

AbsentTargets = Literal["any", "undefined", "only"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What every component says of itself.

    ``cites`` holds keys of this package's bibliography.bib; third parties put whole BibTeX entries there.
    """

    id: str
    target: str  # "module:attribute"
    summary: str  # one line
    cites: tuple[str, ...] = ()
    version: int | str = 1  # raised whenever what it gives changes


@dataclass(frozen=True, slots=True, kw_only=True)
class SeparatorCard(Card):
    """A separator."""

    source: str = ""  # the papers, for a reader
    oracle: bool = False  # it is shown the references
    arguments: tuple[str, ...] = ()  # of the class, before the options of a user
    modules: tuple[str, ...] = ()  # of other packages, without which it cannot be made
    install: str = ""  # the command that brings them
    training_data: tuple[str, ...] | None = None  # data sets, as its authors state them; None: they do not
    own_weights: str = ""  # the option that brings a user's weights, of which nothing is stated


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricCard(Card):
    """One metric.

    Args:
        unit: of its values; empty: none.
        higher_is_better: the direction.
        range: the lowest and the highest finite value that there can be, in ``unit``; None: no bound.
        best: the value of a perfect answer, whose status is `Status.PERFECT`; None: infinite, or there is none.
        needs: what the data must offer, of what `TaskData.provides` names.
        absent: what an item means to it whose target does not sound. "undefined": it has a status without a value,
            ``silent_reference`` or ``both_silent``, and such items alone have these. "only": no other item is asked.
            "any": nothing follows from it.
        tolerance: by how much the same audio may score differently on another machine, in ``unit``.

    Raises:
        UsageError: a range that is not in order, or another word for ``absent``.
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
        """``range`` as two numbers."""
        low, high = self.range
        return -math.inf if low is None else low, math.inf if high is None else high


@dataclass(frozen=True, slots=True, kw_only=True)
class PickerCard(Card):
    """What chooses among candidates."""

    needs: frozenset[str]  # of what `TaskData.provides` names
    families: frozenset[str]  # metrics by the same model, as the part of their ids before the first underscore


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskCard(Card):
    """What a task asks, of which data, and how its answers are summarised."""

    version: str = "1"
    prompt: str = ""  # "text", "text+span", "span" or "visual"
    subset: str = ""  # value of `paper_eval_sets` in the official metadata; --subset full drops the "-50"
    items: int | None = None  # of the test split's official subset; None: known from the data only
    full_items: int | None = None
    repository: str = ""  # on the Hugging Face Hub
    revision: str = ""  # of the repository
    licence: str = ""  # of the data
    access: str = ""  # who may have them, and who brings what
    recordings: tuple[str, ...] = ()  # the collections that the test split's recordings are of
    main_metric: str = MAIN_METRIC  # by which tables of the leaderboard are ordered
    aggregation: str = "mean over items, interval by resampling groups"

    @property
    def full_subset(self) -> str:
        """Name of the complete set that the paper's 50 items were drawn from."""
        return self.subset.replace("-50:", ":")
