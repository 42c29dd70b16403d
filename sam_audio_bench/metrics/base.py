"""Metric: scores items, one row an item; means and intervals are the work of `stats`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from sam_audio_bench.audio import to_mono
from sam_audio_bench.errors import UsageError
from sam_audio_bench.identity import Options
from sam_audio_bench.metrics.catalogue import CARDS, STEREO, MetricCard
from sam_audio_bench.metrics.functional import is_silent
from sam_audio_bench.types import Audio, Item, Score, Separation, Status

__all__ = ["Metric", "Row", "StereoMetric", "known_absent"]

Row = tuple[Score | None, ...]
"""One score a column; None where the metric asks nothing of the item (a leak where the target is present)."""


def known_absent(item: Item) -> bool:
    """Whether a silent reference says that the sound that is asked for is not in the mixture."""
    return item.reference is not None and bool(is_silent(item.reference.samples.flatten()))


class Metric(ABC):
    """Scores estimates of items: a subclass names its ``columns`` and implements `score`. It keeps nothing of them.

    Attributes:
        columns: ids of the scores in a row.
        batch_size: how many items of one length, rate and channel count the harness hands over at once. Above 1 for
            networks that gain from a batch; a score must not depend on the items beside it.
        in_blocks: whether it goes over long sounds in `blocks`; else it holds them as a whole, as the plan then says.
    """

    columns: ClassVar[tuple[str, ...]]
    batch_size: int = 1
    in_blocks: ClassVar[bool] = False

    @property
    def requested(self) -> tuple[str, ...]:
        """The columns that a run asked for: all, unless it says otherwise."""
        found: tuple[str, ...] = vars(self).get("_requested", self.columns)
        return found

    @requested.setter
    def requested(self, columns: tuple[str, ...]) -> None:
        self._requested = columns

    @abstractmethod
    def score(self, items: Sequence[Item], separations: Sequence[Separation]) -> list[Row]:
        """One row an item: for each column a value with its status, or None where nothing is asked.

        Items differ in length, rate and channels where a caller likes; `batch_size` concerns the harness.
        """

    @classmethod
    def cards(cls) -> tuple[MetricCard, ...]:
        """The cards of ``columns``; a third party's class overrides this with its own."""
        return tuple(CARDS[column] for column in cls.columns)

    def missing(self) -> str | None:
        """Why this metric cannot run on this machine, and the command that would change that; None: it can."""
        return None

    @property
    def options(self) -> Options:
        """What changes the values, for ``run.json``."""
        return {}

    def _all(self, status: Status | None, value: float | None = None) -> Row:
        """The same in every column; None for an item that is not asked."""
        return (None if status is None else Score(value, status),) * len(self.columns)


class StereoMetric(Metric):
    """A metric with a policy for channels.

    Args:
        stereo: one of `catalogue.STEREO`.
    """

    stereo: str = "joint"

    def __init__(self, stereo: str = "joint") -> None:
        if stereo not in STEREO:
            raise UsageError(f"expected stereo to be one of {', '.join(STEREO)}, found {stereo!r}")
        self.stereo = stereo

    @property
    def options(self) -> Options:
        """What changes the values, for ``run.json``."""
        return {"stereo": self.stereo}

    def _comparable(self, *signals: Audio) -> list[Audio] | None:
        """The signals, channels averaged where the policy says so; None where their shapes or rates differ."""
        heard = [to_mono(audio) if self.stereo == "mono" else audio for audio in signals]
        return heard if len({(audio.samples.shape, audio.rate) for audio in heard}) == 1 else None
