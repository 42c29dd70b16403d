"""Base classes of metrics, which score items one row per item; `stats` computes means and intervals."""

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

__all__ = ["Metric", "Row", "StereoMetric", "has_silent_reference"]

Row = tuple[Score | None, ...]
"""One score per column; None where the metric does not apply to the item (`leak_db` where the target is present)."""


def has_silent_reference(item: Item) -> bool:
    """Returns whether the item has a silent reference: the prompted sound is absent from the mixture."""
    return item.reference is not None and bool(is_silent(item.reference.samples.flatten()))


class Metric(ABC):
    """Scores estimates of items; stateless. A subclass sets ``columns`` and implements `score`.

    Attributes:
        columns: ids of the scores in a row.
        batch_size: maximum number of items, of one length, rate and channel count, that the harness passes per call.
            Above 1 for networks that benefit from batches; a score must not depend on the other items of its batch.
        in_blocks: whether long sounds are processed in `blocks`; otherwise they are held in memory as a whole, which
            the plan then states.
    """

    columns: ClassVar[tuple[str, ...]]
    batch_size: int = 1
    in_blocks: ClassVar[bool] = False

    @property
    def requested(self) -> tuple[str, ...]:
        """The columns that the run requests; all by default."""
        found: tuple[str, ...] = vars(self).get("_requested", self.columns)
        return found

    @requested.setter
    def requested(self, columns: tuple[str, ...]) -> None:
        self._requested = columns

    @abstractmethod
    def score(self, items: Sequence[Item], separations: Sequence[Separation]) -> list[Row]:
        """Returns one row per item: for each column a value with its status, or None where the metric does not apply.

        Other callers than the harness may pass any number of items, of different lengths, rates and channel counts.
        """

    @classmethod
    def cards(cls) -> tuple[MetricCard, ...]:
        """Returns the cards of ``columns``; metrics of other packages override this."""
        return tuple(CARDS[column] for column in cls.columns)

    def missing(self) -> str | None:
        """Returns why this metric cannot run on this machine and the command that fixes it; None if it can run."""
        return None

    @property
    def options(self) -> Options:
        """Options that change the values, for ``run.json``."""
        return {}

    def _uniform_row(self, status: Status | None, value: float | None = None) -> Row:
        """Returns a row with the same score in every column; of None where ``status`` is None."""
        return (None if status is None else Score(value, status),) * len(self.columns)


class StereoMetric(Metric):
    """Base class of metrics with a stereo policy.

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
        """Options that change the values, for ``run.json``."""
        return {"stereo": self.stereo}

    def _comparable_signals(self, *signals: Audio) -> list[Audio] | None:
        """Returns the signals, channels averaged under "mono"; None where their shapes or rates differ."""
        given = [to_mono(audio) if self.stereo == "mono" else audio for audio in signals]
        return given if len({(audio.samples.shape, audio.rate) for audio in given}) == 1 else None
