"""What a small judge hears of the prompt in mixture, answer and residual, and what follows for a reader.

`_heard` alone knows how a judge prepares clips and takes events from them.

Letters: N events.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sam_audio_bench.audio import to_mono
from sam_audio_bench.devices import deterministic_fp32
from sam_audio_bench.judge.scores import AXES
from sam_audio_bench.types import Audio

if TYPE_CHECKING:
    from sam_audio_bench.judge.model import SAJ

__all__ = ["COMPLAINTS", "POOR", "EventMatch", "event_matches", "residual_of", "why"]

POOR = 2.5
"""Ratings below this are closer to "poor" than to "fair"."""

COMPLAINTS = {"recall": "missing", "precision": "other sounds", "faithfulness": "distorted"}
"""The meaning of a poor rating, by axis."""

_FAULTS = {
    "recall": "part of what was asked for seems to be missing",
    "precision": "other sounds seem to be left in",
    "faithfulness": "what was asked for seems to be distorted",
}
_FINE = 3.5  # ratings from here are closer to "good" than to "fair"
_SHOWN = 5  # events
_LEAST = 0.05  # weight of an event that is shown
_NAMES = Path(__file__).parent / "events.txt"


@dataclass(frozen=True, slots=True, kw_only=True)
class EventMatch:
    """A sound event that a prompt resembles: its share of the prompt, and its highest probability in each sound."""

    name: str
    weight: float
    mixture: float
    answer: float
    residual: float


def event_matches(judge: SAJ, text: str, mixture: Audio, answer: Audio) -> list[EventMatch]:
    """The events that a prompt resembles most, the first most; none for judges that hear no events."""
    if judge.ear is None:
        return []
    heard = _heard(judge, mixture, answer)
    with torch.inference_mode():
        weights = judge.ear.words.event_weights(judge.encode_text(*judge.processor.tokens([text])))[0].float().cpu()
    names = _names(len(weights))
    shown = [place for place in weights.argsort(descending=True).tolist()[:_SHOWN] if weights[place] >= _LEAST]
    return [
        EventMatch(
            name=names[place],
            weight=float(weights[place]),
            mixture=float(heard[0, place]),
            answer=float(heard[1, place]),
            residual=float(heard[2, place]),
        )
        for place in shown
    ]


def residual_of(mixture: Audio, answer: Audio) -> Audio:
    """What is left of a mixture without its answer, at the gain of the answer that leaves least; mono."""
    whole, part = to_mono(mixture).samples.double(), to_mono(answer).samples.double()
    part = torch.nn.functional.pad(part, (0, max(0, whole.shape[1] - part.shape[1])))[:, : whole.shape[1]]
    power = float(part.square().sum())
    gain = float((whole * part).sum()) / power if power > 0 else 0.0
    return Audio((whole - gain * part).float(), mixture.rate)


def why(ratings: Sequence[float], matches: Sequence[EventMatch]) -> str:
    """One sentence about ratings, in the order of `AXES`, and about the event that the prompt means most.

    >>> why([4.2, 4.5, 4.1, 4.4], [])
    'Overall 4.2: no axis is rated poor, the lowest is precision with 4.1.'
    """
    rated = dict(zip(AXES, ratings, strict=True))
    lowest = min(COMPLAINTS, key=lambda axis: rated[axis])
    reason = f"{_FAULTS[lowest]} ({lowest} {rated[lowest]:.1f})"
    if rated[lowest] >= _FINE:
        reason = f"no axis is rated poor, the lowest is {lowest} with {rated[lowest]:.1f}"
    if not matches:
        return f"Overall {rated['overall']:.1f}: {reason}."
    first = matches[0]
    heard = (
        f"the prompt means “{first.name}” to the judge, heard with probability {first.mixture:.2f} in the mixture, "
        f"{first.answer:.2f} in the answer and {first.residual:.2f} in the residual"
    )
    return f"Overall {rated['overall']:.1f}: {reason}; {heard}."


def _heard(judge: SAJ, mixture: Audio, answer: Audio) -> Tensor:
    """Highest probability of each event in mixture, answer and residual, as a judge prepares them, ``[3, N]``."""
    assert judge.ear is not None
    with torch.inference_mode(), deterministic_fp32():
        (values, _), (answers, _) = judge.batch([mixture]), judge.batch([answer])
        own, pair = judge.encode_pair(values, answers)
        sounds = torch.cat([own, pair[..., : own.shape[-1]], pair[..., own.shape[-1] : 2 * own.shape[-1]]])
        return judge.ear.listener.events(sounds).sigmoid().amax(dim=1).float().cpu()


@lru_cache(maxsize=2)
def _names(count: int) -> tuple[str, ...]:
    """Names of the events: those of AudioSet as YAMNet orders them, or numbers where a judge has others."""
    names = tuple(_NAMES.read_text(encoding="utf-8").splitlines())
    return names if len(names) == count else tuple(f"event {place}" for place in range(count))
