"""How late an estimate is: the place of the highest cross-correlation, in seconds instead of dB."""

from __future__ import annotations

import torch
from torch import Tensor

from sam_audio_bench.errors import UsageError
from sam_audio_bench.metrics.functional.energy import is_silent, same_shape
from sam_audio_bench.metrics.functional.filters import correlate

__all__ = ["lag_seconds"]

_SAME = 1e-9  # of the highest correlation: less than that apart, two lags fit alike


def lag_seconds(*, reference: Tensor, estimate: Tensor, rate: int, longest: float = 1.0) -> float | None:
    """By how much an estimate lags behind a reference: the lag ``k`` of the largest ``|Σ_c Σ_n s[c, n] ŝ[c, n + k]|``.

    The correlation is made by FFT, in blocks and float64, and is not normalised. An estimate of inverted polarity has
    the same lag. Of lags that fit alike, as those of a periodic sound do, the smallest counts, and the positive one of
    two. The result is a whole number of samples; nothing is known of lags beyond ``longest``.

    Source: Knapp and Carter, "The generalized correlation method for estimation of time delay", IEEE TASSP 1976,
    without weighting.

    Args:
        reference: ``[..., time]``; all channels have one lag. The mixture will do where there is no reference.
        estimate: ``[..., time]``.
        rate: of both, in Hz.
        longest: lag that is looked for, in seconds, on both sides.

    Returns:
        Seconds, positive where the estimate is late; None where either is silent, empty or not finite.

    Raises:
        UsageError: the shapes differ, or ``rate`` or ``longest`` is not above 0.

    >>> click, late = torch.zeros(1, 100), torch.zeros(1, 100)
    >>> click[0, 10], late[0, 30] = 1, -0.5
    >>> lag_seconds(reference=click, estimate=late, rate=1000)
    0.02
    """
    same_shape(reference, estimate)
    if not (rate > 0 and 0 < longest < float("inf")):
        raise UsageError(f"expected a rate and a longest lag above 0, found {rate} Hz and {longest} s")
    if reference.numel() == 0 or not bool(torch.isfinite(reference).all() and torch.isfinite(estimate).all()):
        return None
    signals = [signal.reshape(-1, signal.shape[-1]) for signal in (reference, estimate)]
    if any(bool(is_silent(signal).all()) for signal in signals):
        return None
    taps = min(round(longest * rate) + 1, reference.shape[-1])
    late, early = (_summed(one, other, taps) for one, other in (signals, reversed(signals)))
    fits = torch.stack([late, early], dim=1).flatten().abs()  # lags 0, -0, 1, -1, 2, -2 …
    best = int((fits >= fits.max() * (1 - _SAME)).nonzero()[0, 0])
    return float((best // 2) * (-1 if best % 2 else 1) / rate)


def _summed(first: Tensor, second: Tensor, taps: int) -> Tensor:
    """``Σ_c Σ_n first[c, n] second[c, n + k]`` for ``0 <= k < taps``, float64 ``[taps]``."""
    total = first.new_zeros(taps, dtype=torch.float64)
    for one, other in zip(first, second, strict=True):
        total += correlate(one[None], other[None], taps=taps)[0, 0]
    return total
