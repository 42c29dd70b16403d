"""Named conditions: the published thresholds, and those that need no model besides the package's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

__all__ = ["CORRECT", "PRESETS", "Preset"]

CORRECT = "overall >= 4"
"""The condition, on the mean rating of each axis, by which a rated label is right: a choice of this package."""


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A condition with its source."""

    keep: str
    with_video: str = ""  # additional condition for labels whose prompt has a video
    source: str

    def text(self, *, videos: bool) -> str:
        """Returns the condition, including that for videos if some label has one."""
        return f"{self.keep} and (video == 0 or ({self.with_video}))" if videos and self.with_video else self.keep


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "sam-audio": Preset(
            keep="clap > 0.35 and clap_residual < 0 and aes_pc < 2.5 and silence < 0.95",
            with_video="mask_coverage > 0.02 and imagebind > 0.2",
            source="the pseudo-labels of SAM Audio (2025), whose checkpoints of CLAP, aesthetics and ImageBind may be "
            "others than yours",
        ),
        "offline": Preset(
            keep="saj_overall > 3 and silence < 0.95",
            source="a choice of this package, published by nobody: the middle of the judge's scale, and the published "
            "share of silence",
        ),
    }
)
