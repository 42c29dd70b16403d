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

_SHORTEST = 16  # samples; below it a window has no spectrum to speak of


@dataclass(frozen=True, slots=True)
class STFT:
    """A Hann window of ``size`` samples every quarter of it; the inverse is exact to the precision of the samples.

    Frame ``t`` is centred on sample ``t * hop``; what lies beyond the clip counts as zero, so that a clip may be
    shorter than the window. Clips are transformed one at a time: an answer cannot depend on its batch.

    >>> STFT.of(seconds=0.085, rate=48_000).size, STFT.of(seconds=0.085, rate=16_000).size
    (4096, 1024)
    """

    size: int

    @classmethod
    def of(cls, *, seconds: float, rate: int) -> Self:
        """The power of two nearest to a window of ``seconds`` at ``rate`` Hz, at least 16 samples."""
        return cls(max(_SHORTEST, 2 ** round(math.log2(seconds * rate))))

    @property
    def hop(self) -> int:
        """Samples from one frame to the next."""
        return self.size // 4

    def forward(self, samples: Tensor) -> Tensor:
        """Samples ``[C, time]`` to a complex spectrum ``[C, F, T]`` with T = 1 + time // hop."""
        window = torch.hann_window(self.size, dtype=samples.dtype)
        return torch.stft(
            samples, self.size, self.hop, window=window, center=True, pad_mode="constant", return_complex=True
        )

    def inverse(self, spectrum: Tensor, length: int) -> Tensor:
        """Spectrum ``[C, F, T]`` to samples ``[C, length]``."""
        window = torch.hann_window(self.size, dtype=spectrum.real.dtype)
        return torch.istft(spectrum, self.size, self.hop, window=window, center=True, length=length)


def ratio_mask(wanted: Tensor, other: Tensor, *, power: float) -> Tensor:
    """``wanted^power / (wanted^power + other^power)`` of two magnitudes of one shape; 0 where both are 0.

    Both are divided by the greater of them first: neither overflow nor underflow can change a mask, and scaling both
    by one factor leaves it as it is.
    """
    greater = torch.maximum(wanted, other)
    greater = torch.where(greater > 0, greater, 1)
    raised = (wanted / greater) ** power
    total = raised + (other / greater) ** power
    return raised / torch.where(total > 0, total, 1)
