"""Rating axes: the four axes of SAM Audio Judge on a five-point scale.

The wording shown to its raters is not published. Question and labels are ours, after the definitions of the axes:
recall, how much of the target is left; precision, how free the estimate is of other sounds; faithfulness, how close the
target is to the recording; overall, with the labels of absolute category rating (ITU-T P.800).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from sam_audio_bench.errors import UsageError

__all__ = ["AXES", "HIGHEST", "Axis", "choose_axes"]

HIGHEST = 5


class Axis(NamedTuple):
    """One question, and the labels of the answers 1 to 5."""

    name: str
    title: str
    question: str
    labels: tuple[str, str, str, str, str]


AXES: Mapping[str, Axis] = MappingProxyType(
    {
        axis.name: axis
        for axis in (
            Axis(
                "overall",
                "Overall",
                "All in all, how good is the result for what was asked?",
                ("Bad", "Poor", "Fair", "Good", "Excellent"),
            ),
            Axis(
                "recall",
                "Recall",
                "How much of the sound that was asked for is in the result?",
                ("None of it", "Little of it", "About half", "Most of it", "All of it"),
            ),
            Axis(
                "precision",
                "Precision",
                "How free is the result of sounds that were not asked for?",
                (
                    "Only other sounds",
                    "Mostly other sounds",
                    "Some other sounds",
                    "Traces of others",
                    "No other sounds",
                ),
            ),
            Axis(
                "faithfulness",
                "Faithfulness",
                "How true is the sound that was asked for to the way it sounds in the recording?",
                ("Unrecognisable", "Strongly distorted", "Distorted", "Slightly distorted", "Undistorted"),
            ),
        )
    }
)
"""Axes by name, in the order of the questions."""


def choose_axes(names: Iterable[str]) -> tuple[Axis, ...]:
    """Returns axes by name, in order; raises UsageError for no, unknown or repeated names.

    >>> [axis.title for axis in choose_axes(["overall", "recall"])]
    ['Overall', 'Recall']
    """
    chosen = tuple(names)
    if not chosen or len(set(chosen)) != len(chosen) or not AXES.keys() >= set(chosen):
        raise UsageError(f"expected axes among {', '.join(AXES)}, each once, found {', '.join(chosen) or 'none'}")
    return tuple(AXES[name] for name in chosen)
