"""Simulated ratings of estimates whose target and interference are known exactly; no listener is involved.

They are the scores of `perceptual_*` with the target as reference (docs/perceptual.md); docs/judge-labels.md describes
their validity.
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


def audible(estimate: Signal, mixture: Signal) -> bool:
    """Returns whether the peak of an estimate is less than 50 dB below that of its mixture; otherwise it is silence."""
    return bool(np.abs(estimate).max(initial=0) > _INAUDIBLE * np.abs(mixture).max(initial=0))


class Truth:
    """Ground truth of a mixture, target and interference ``[time]``, by which estimates are rated.

    Raises:
        UsageError: signals are shorter than `MIN_SECONDS`.
    """

    def __init__(self, target: Signal, interference: Signal, rate: int = RATE) -> None:
        if len(target) < MIN_SECONDS * rate:
            raise UsageError(f"expected at least {MIN_SECONDS} s, found {len(target)} samples at {rate} Hz")
        self._mixture = np.add(target, interference)
        wanted, rest = _channel(target), _channel(interference)
        self._original = PerceptualReference(wanted, wanted + rest, rate, rest)

    def rate(self, estimate: Signal) -> Ratings:
        """Rates an estimate from 1 to 5, to four digits; all 1 if target or estimate is inaudible in the mixture."""
        if len(estimate) != len(self._mixture):
            raise UsageError(f"expected an estimate of {len(self._mixture)} samples, found {len(estimate)}")
        if not audible(estimate, self._mixture):  # `PerceptualReference` would amplify it
            return WORST
        return Ratings(*(round(float(value), 4) for value in self._original.rate(_channel(estimate))))


def _channel(signal: Signal) -> Tensor:
    return torch.tensor(signal, dtype=torch.float64)[None]
