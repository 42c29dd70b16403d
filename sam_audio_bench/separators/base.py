"""Base class of oracles and classical separators: checked options, and filtering of the mixture's spectrum."""

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

SpectrumFilter = Callable[[STFT, Tensor, slice], Tensor]
"""Maps the spectrum ``[C, F, T]`` of a part of the mixture to that of the target; the slice selects its samples."""

_PART_LENGTH = 1 << 19  # samples filtered at once


@dataclass(kw_only=True)
class SpectrumSeparator:
    """Filters the spectrum of the mixture; residual = mixture - target.

    The fields of a subclass are its options, which must be finite, non-negative numbers. Raises UsageError otherwise.
    """

    name = "spectrum"
    deterministic = True
    memory: ClassVar[float] = 30.0  # peak memory in multiples of the float32 mixture: several complex spectra
    window: float = 0.085  # seconds, rounded to the nearest power of two in samples

    def __post_init__(self) -> None:
        for option in fields(self):
            value = getattr(self, option.name)
            whole = isinstance(option.default, int)
            if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
                self._reject_option(option.name, "a whole number" if whole else "a number")
            if not (math.isfinite(value) and value >= 0):
                self._reject_option(option.name, "a finite number that is not negative")
        if not 0 < self.window <= 10:
            self._reject_option("window", "a window of more than 0 and at most 10 seconds")

    def _reject_option(self, option: str, expected: str) -> None:
        raise UsageError(f"expected {option} of {self.name} to be {expected}, found {getattr(self, option)!r}")

    @property
    def settings(self) -> dict[str, str | int | float]:
        """The options; each of them changes the estimate."""
        return asdict(self)

    def context_frames(self, transform: STFT, rate: int) -> int | None:
        """Returns how many frames on either side a mask depends on; None: all, so the mixture is never split."""
        return None

    def _apply_filter(self, mixture: Audio, spectrum_filter: SpectrumFilter, gain: Tensor | None = None) -> Separation:
        """Applies ``spectrum_filter`` to the spectrum ``[C, F, T]`` of the mixture, then the gain ``[time]``."""
        started = time.perf_counter()
        transform = STFT.of(seconds=self.window, rate=mixture.rate)
        context = self.context_frames(transform, mixture.rate)
        if context is None or not is_long(mixture.samples):
            target = _filter_part(mixture, spectrum_filter, transform, slice(0, mixture.length))
        else:
            target = _filter_in_parts(mixture, spectrum_filter, transform, transform.size + context * transform.hop)
        if gain is not None:
            target = apply_blockwise(lambda samples, factor: samples * factor, target, gain.to(target.dtype)[None])
        return Separation(
            target=Audio(target, mixture.rate),
            residual=Audio(apply_blockwise(torch.sub, mixture.samples, target), mixture.rate),
            seconds=time.perf_counter() - started,
        )


def _filter_part(mixture: Audio, spectrum_filter: SpectrumFilter, transform: STFT, part: slice) -> Tensor:
    samples = mixture.samples[:, part]
    return transform.inverse(spectrum_filter(transform, transform.forward(samples), part), samples.shape[1])


def _filter_in_parts(mixture: Audio, spectrum_filter: SpectrumFilter, transform: STFT, around: int) -> Tensor:
    """Filters part by part, each with ``around`` samples of context on both sides, to bound the memory."""
    hop = transform.hop
    step, around = max(1, _PART_LENGTH // hop) * hop, -(-around // hop) * hop  # so that frames stay aligned
    found = BlockAccumulator(mixture.channels)
    for start in range(0, mixture.length, step):
        stop, first = min(start + step, mixture.length), max(start - around, 0)
        target = _filter_part(mixture, spectrum_filter, transform, slice(first, min(stop + around, mixture.length)))
        found.append(target[:, start - first : stop - first].numpy())
        count_accessed(2 * target.numel())
    return torch.from_numpy(found.to_array())
