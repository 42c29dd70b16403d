"""Simulated ratings of an answer whose target and interference are known exactly; nobody listened.

They are what `perceptual_*` says beside the target (docs/perceptual.md); docs/judge-labels.md says what that is worth.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from judge.degrade import RATE
from sam_audio_bench.errors import UsageError
from sam_audio_bench.metrics.functional.hearing import MIN_SECONDS
from sam_audio_bench.metrics.functional.perceptual import WORST, PerceptualReference, Ratings

__all__ = ["Truth", "audible"]

Signal = NDArray[np.floating]

_INAUDIBLE = 10 ** (-50 / 20)  # of the mixture's peak


def audible(answer: Signal, mixture: Signal) -> bool:
    """Whether an answer is less than 50 dB below its mixture anywhere; otherwise it is as good as silence."""
    return bool(np.abs(answer).max(initial=0) > _INAUDIBLE * np.abs(mixture).max(initial=0))


class Truth:
    """One source of a mixture and all the rest, beside which any number of answers is rated; all ``[time]``.

    Raises:
        UsageError: a signal below `MIN_SECONDS`.
    """

    def __init__(self, target: Signal, interference: Signal, rate: int = RATE) -> None:
        if len(target) < MIN_SECONDS * rate:
            raise UsageError(f"expected at least {MIN_SECONDS} s, found {len(target)} samples at {rate} Hz")
        self._mixture = np.add(target, interference)
        wanted, rest = _channel(target), _channel(interference)
        self._original = PerceptualReference(wanted, wanted + rest, rate, rest)

    def rate(self, answer: Signal) -> Ratings:
        """Four digits from 1 to 5; all are 1 where the target or the answer cannot be heard beside the mixture."""
        if len(answer) != len(self._mixture):
            raise UsageError(f"expected an answer of {len(self._mixture)} samples, found {len(answer)}")
        if not audible(answer, self._mixture):  # `PerceptualReference` would turn it up
            return WORST
        return Ratings(*(round(float(value), 4) for value in self._original.rate(_channel(answer))))


def _channel(signal: Signal) -> Tensor:
    return torch.tensor(signal, dtype=torch.float64)[None]
