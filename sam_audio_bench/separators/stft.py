"""The short-time Fourier transform and the ratio mask that oracles and classical separators share.

Letters: C channels, F frequencies, T frames.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

__all__ = ["STFT", "ratio_mask"]

_SHORTEST = 16  # samples; a shorter window has no meaningful spectrum


@dataclass(frozen=True, slots=True)
class STFT:
    """STFT with a Hann window of ``size`` samples and a hop of a quarter; the inverse is exact up to rounding.

    Frame ``t`` is centred on sample ``t * hop``; clips are zero-padded, so a clip may be shorter than the window. Clips
    are transformed one at a time, so that an estimate cannot depend on its batch.

    >>> STFT.of(seconds=0.085, rate=48_000).size, STFT.of(seconds=0.085, rate=16_000).size
    (4096, 1024)
    """

    size: int

    @classmethod
    def of(cls, *, seconds: float, rate: int) -> Self:
        """Creates a transform whose window is the power of two nearest to ``seconds``, at least 16 samples."""
        return cls(max(_SHORTEST, 2 ** round(math.log2(seconds * rate))))

    @property
    def hop(self) -> int:
        """Samples from one frame to the next."""
        return self.size // 4

    def forward(self, samples: Tensor) -> Tensor:
        """Transforms samples ``[C, time]`` to a complex spectrum ``[C, F, T]`` with T = 1 + time // hop."""
        window = torch.hann_window(self.size, dtype=samples.dtype)
        return torch.stft(
            samples, self.size, self.hop, window=window, center=True, pad_mode="constant", return_complex=True
        )

    def inverse(self, spectrum: Tensor, length: int) -> Tensor:
        """Transforms a spectrum ``[C, F, T]`` to samples ``[C, length]``."""
        window = torch.hann_window(self.size, dtype=spectrum.real.dtype)
        return torch.istft(spectrum, self.size, self.hop, window=window, center=True, length=length)


def ratio_mask(target: Tensor, other: Tensor, *, power: float) -> Tensor:
    """``target^power / (target^power + other^power)`` of two magnitudes of equal shape; 0 where both are 0.

    Both are first divided by the greater of them, which prevents overflow and underflow and makes the mask invariant to
    their common scale.
    """
    greater = torch.maximum(target, other)
    greater = torch.where(greater > 0, greater, 1)
    raised = (target / greater) ** power
    total = raised + (other / greater) ** power
    return raised / torch.where(total > 0, total, 1)
