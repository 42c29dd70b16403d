"""Reasons for a rating: sound events of the prompt in mixture, estimate and residual, and a sentence about them.

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

__all__ = ["FAULT_NAMES", "POOR_BELOW", "EventMatch", "explain_ratings", "fit_residual", "match_events"]

POOR_BELOW = 2.5
"""Ratings below this value are closer to "poor" than to "fair"."""

FAULT_NAMES = {"recall": "missing", "precision": "other sounds", "faithfulness": "distorted"}
"""The fault that a poor rating indicates, by axis."""

_FAULT_SENTENCES = {
    "recall": "part of the target seems to be missing",
    "precision": "other sounds seem to be left in",
    "faithfulness": "the target seems to be distorted",
}
_GOOD = 3.5  # ratings from this value on are closer to "good" than to "fair"
_MAX_EVENTS = 5
_MIN_WEIGHT = 0.05  # of an event that is shown
_NAMES = Path(__file__).parent / "events.txt"


@dataclass(frozen=True, slots=True, kw_only=True)
class EventMatch:
    """A sound event that the prompt resembles: its share of the prompt, and its highest probability in each sound."""

    name: str
    weight: float
    mixture: float
    answer: float
    residual: float


def match_events(judge: SAJ, text: str, mixture: Audio, estimate: Audio) -> list[EventMatch]:
    """Returns the events that the prompt resembles most, in descending order; none if the judge predicts no events."""
    if judge.ear is None:
        return []
    highest = _highest_probabilities(judge, mixture, estimate)
    with torch.inference_mode():
        weights = judge.ear.words.event_weights(judge.encode_text(*judge.processor.tokens([text])))[0].float().cpu()
    names = _names(len(weights))
    shown = [
        place for place in weights.argsort(descending=True).tolist()[:_MAX_EVENTS] if weights[place] >= _MIN_WEIGHT
    ]
    return [
        EventMatch(
            name=names[place],
            weight=float(weights[place]),
            mixture=float(highest[0, place]),
            answer=float(highest[1, place]),
            residual=float(highest[2, place]),
        )
        for place in shown
    ]


def fit_residual(mixture: Audio, estimate: Audio) -> Audio:
    """Returns the mixture minus the estimate, at the gain of the estimate that leaves the least energy; mono."""
    whole, part = to_mono(mixture).samples.double(), to_mono(estimate).samples.double()
    part = torch.nn.functional.pad(part, (0, max(0, whole.shape[1] - part.shape[1])))[:, : whole.shape[1]]
    power = float(part.square().sum())
    gain = float((whole * part).sum()) / power if power > 0 else 0.0
    return Audio((whole - gain * part).float(), mixture.rate)


def explain_ratings(ratings: Sequence[float], matches: Sequence[EventMatch]) -> str:
    """Explains ratings, in the order of `AXES`, in one sentence, with the event that the prompt resembles most.

    >>> explain_ratings([4.2, 4.5, 4.1, 4.4], [])
    'Overall 4.2: no axis is rated poor, the lowest is precision with 4.1.'
    """
    rated = dict(zip(AXES, ratings, strict=True))
    lowest = min(FAULT_NAMES, key=lambda axis: rated[axis])
    reason = f"{_FAULT_SENTENCES[lowest]} ({lowest} {rated[lowest]:.1f})"
    if rated[lowest] >= _GOOD:
        reason = f"no axis is rated poor, the lowest is {lowest} with {rated[lowest]:.1f}"
    if not matches:
        return f"Overall {rated['overall']:.1f}: {reason}."
    first = matches[0]
    event = (
        f"the judge takes the prompt for “{first.name}”, with a probability of {first.mixture:.2f} in the mixture, "
        f"{first.answer:.2f} in the estimate and {first.residual:.2f} in the residual"
    )
    return f"Overall {rated['overall']:.1f}: {reason}; {event}."


def _highest_probabilities(judge: SAJ, mixture: Audio, estimate: Audio) -> Tensor:
    """Returns the highest probability of each event in mixture, estimate and residual, ``[3, N]``."""
    assert judge.ear is not None
    with torch.inference_mode(), deterministic_fp32():
        (values, _), (estimates, _) = judge.batch([mixture]), judge.batch([estimate])
        own, pair = judge.encode_pair(values, estimates)
        sounds = torch.cat([own, pair[..., : own.shape[-1]], pair[..., own.shape[-1] : 2 * own.shape[-1]]])
        return judge.ear.listener.event_logits(sounds).sigmoid().amax(dim=1).float().cpu()


@lru_cache(maxsize=2)
def _names(count: int) -> tuple[str, ...]:
    """Returns the names of the events: AudioSet's in YAMNet's order, or numbers if the judge has other events."""
    names = tuple(_NAMES.read_text(encoding="utf-8").splitlines())
    return names if len(names) == count else tuple(f"event {place}" for place in range(count))
