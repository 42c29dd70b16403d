"""Options of a listening test."""

from __future__ import annotations

from dataclasses import dataclass

from sam_audio_bench.errors import UsageError
from sam_audio_bench.ratings.axes import AXES, choose_axes
from sam_audio_bench.ratings.listening_page import CONSENT

__all__ = ["FORMATS", "ListeningTestOptions"]

FORMATS = ("page", "webmushra", "p808")

_QUIETEST, _LOUDEST = -50.0, -10.0  # LUFS, limits of --loudness


@dataclass(frozen=True, kw_only=True)
class ListeningTestOptions:
    """Options of a listening test. Raises UsageError for inconsistent options."""

    raters: int | None = None
    per_rater: int | None = None  # trials, without traps and golds
    raters_per_item: int | None = None  # raters of each stimulus
    items: int | None = None
    seed: int = 0
    axes: tuple[str, ...] = tuple(AXES)
    hidden_reference: bool = True
    anchors: bool = False
    traps: int = 1  # per rater
    golds: int = 1  # per rater
    loudness: float = -23.0  # LUFS
    formats: tuple[str, ...] = ("page",)
    name: str = "Listening test"
    consent: str = CONSENT
    audio_url: str = "audio/"  # folder with the audio, as used by webMUSHRA and P.808

    def __post_init__(self) -> None:
        choose_axes(self.axes)
        for option, count in (("--traps", self.traps), ("--golds", self.golds), ("--seed", self.seed)):
            if count < 0:
                raise UsageError(f"expected {option} to be at least 0, found {count}")
        if not _QUIETEST <= self.loudness <= _LOUDEST:
            raise UsageError(f"expected --loudness from {_QUIETEST:g} to {_LOUDEST:g} LUFS, found {self.loudness:g}")
        if not self.formats or not set(FORMATS) >= set(self.formats):
            raise UsageError(f"expected --format among {', '.join(FORMATS)}, found {', '.join(self.formats) or 'none'}")
        if "webmushra" in self.formats and not self.hidden_reference:
            raise UsageError("expected --hidden-reference for webMUSHRA, which always has one, found it switched off")
        if not self.name.strip():
            raise UsageError("expected a --name for the test, found an empty one")

    @property
    def requested_sizes(self) -> dict[str, int | None]:
        """The given sizes, as arguments of `assignment.complete_sizes`."""
        return {"raters": self.raters, "per_rater": self.per_rater, "raters_per_cell": self.raters_per_item}
