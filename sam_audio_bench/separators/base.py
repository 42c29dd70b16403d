"""What oracles and classical separators share: checked options, and a target that is a filtered spectrum."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import ClassVar

from torch import Tensor

from sam_audio_bench.errors import UsageError
from sam_audio_bench.separators.stft import STFT
from sam_audio_bench.types import Audio, Separation

__all__ = ["SpectrumSeparator"]


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

    def _filtered(
        self, mixture: Audio, keep: Callable[[STFT, Tensor], Tensor], gain: Tensor | None = None
    ) -> Separation:
        """What ``keep`` leaves of the mixture's spectrum ``[C, F, T]``, back in time and times the gain ``[time]``."""
        started = time.perf_counter()
        transform = STFT.of(seconds=self.window, rate=mixture.rate)
        target = transform.inverse(keep(transform, transform.forward(mixture.samples)), mixture.length)
        if gain is not None:
            target = target * gain.to(target.dtype)
        return Separation(
            target=Audio(target, mixture.rate),
            residual=Audio(mixture.samples - target, mixture.rate),
            seconds=time.perf_counter() - started,
        )
