"""What oracles and classical separators share: checked options, and a target that is a filtered spectrum."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import ClassVar

import torch
from torch import Tensor

from sam_audio_bench.blocks import BlockAccumulator, apply_blockwise, count_accessed, is_long
from sam_audio_bench.errors import UsageError
from sam_audio_bench.separators.stft import STFT
from sam_audio_bench.types import Audio, Separation

__all__ = ["SpectrumSeparator"]

Keep = Callable[[STFT, Tensor, slice], Tensor]
"""From the spectrum ``[C, F, T]`` of a part of the mixture, these samples of it, to the spectrum of the answer."""

_PART = 1 << 19  # samples that are filtered at once


@dataclass(kw_only=True)
class SpectrumSeparator:
    """Transforms a mixture, filters its spectrum, transforms back; residual = mixture - target.

    The fields of a subclass are its options: numbers, finite and not negative. Raises UsageError for others.
    """

    name = "spectrum"
    deterministic = True
    memory: ClassVar[float] = 30.0  # times the mixture in float32 that an answer takes: several complex spectra
    window: float = 0.085  # seconds, rounded to the nearest power of two in samples

    def __post_init__(self) -> None:
        for option in fields(self):
            value = getattr(self, option.name)
            whole = isinstance(option.default, int)
            if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
                self._refuse(option.name, "a whole number" if whole else "a number")
            if not (math.isfinite(value) and value >= 0):
                self._refuse(option.name, "a finite number that is not negative")
        if not 0 < self.window <= 10:
            self._refuse("window", "a window of more than 0 and at most 10 seconds")

    def _refuse(self, option: str, expected: str) -> None:
        raise UsageError(f"expected {option} of {self.name} to be {expected}, found {getattr(self, option)!r}")

    @property
    def settings(self) -> dict[str, str | int | float]:
        """The options, all of which change an answer."""
        return asdict(self)

    def reach(self, transform: STFT, rate: int) -> int | None:
        """Frames around one on which its mask depends; None: on all, so that a long mixture is filtered as a whole."""
        return None

    def _filtered(self, mixture: Audio, keep: Keep, gain: Tensor | None = None) -> Separation:
        """What ``keep`` leaves of the mixture's spectrum ``[C, F, T]``, back in time and times the gain ``[time]``."""
        started = time.perf_counter()
        transform = STFT.of(seconds=self.window, rate=mixture.rate)
        reach = self.reach(transform, mixture.rate)
        if reach is None or not is_long(mixture.samples):
            target = _kept(mixture, keep, transform, slice(0, mixture.length))
        else:
            target = _kept_in_parts(mixture, keep, transform, transform.size + reach * transform.hop)
        if gain is not None:
            target = apply_blockwise(lambda samples, factor: samples * factor, target, gain.to(target.dtype)[None])
        return Separation(
            target=Audio(target, mixture.rate),
            residual=Audio(apply_blockwise(torch.sub, mixture.samples, target), mixture.rate),
            seconds=time.perf_counter() - started,
        )


def _kept(mixture: Audio, keep: Keep, transform: STFT, part: slice) -> Tensor:
    samples = mixture.samples[:, part]
    return transform.inverse(keep(transform, transform.forward(samples), part), samples.shape[1])


def _kept_in_parts(mixture: Audio, keep: Keep, transform: STFT, around: int) -> Tensor:
    """The same part by part, each with ``around`` samples before and behind it, of which only windows fall short."""
    hop = transform.hop
    step, around = max(1, _PART // hop) * hop, -(-around // hop) * hop  # so that frames lie where they would
    found = BlockAccumulator(mixture.channels)
    for start in range(0, mixture.length, step):
        stop, first = min(start + step, mixture.length), max(start - around, 0)
        target = _kept(mixture, keep, transform, slice(first, min(stop + around, mixture.length)))
        found.append(target[:, start - first : stop - first].numpy())
        count_accessed(2 * target.numel())
    return torch.from_numpy(found.to_array())
