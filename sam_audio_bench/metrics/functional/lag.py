"""Delay of an estimate: the lag of the highest cross-correlation, in seconds instead of dB."""

from __future__ import annotations

import math
from typing import NamedTuple

import scipy.fft
import torch
from torch import Tensor

from sam_audio_bench.blocks import all_finite, is_long
from sam_audio_bench.errors import UsageError
from sam_audio_bench.metrics.functional.energy import check_same_shape, energy, is_silent
from sam_audio_bench.metrics.functional.filters import correlate

__all__ = ["MIN_LAG_CORRELATION", "Lag", "find_lag", "lag_seconds"]

MIN_LAG_CORRELATION = 0.3
"""Minimum `Lag.correlation` for a lag to be meaningful: an SI-SDR of -10 dB after alignment. Unrelated stems of 8 s
(speech, music, effects of ``--split mini``) reach 0.06 at their best lag."""

_TIE = 1e-9  # relative difference of correlations below which two lags are equally good


class Lag(NamedTuple):
    """Delay of an estimate, and the correlation with and without it."""

    samples: int  # positive: late
    correlation: float  # absolute normalised correlation at that lag, from 0 to 1
    correlation_without_lag: float  # the same at lag 0


def lag_seconds(*, reference: Tensor, estimate: Tensor, rate: int, longest: float = 1.0) -> float | None:
    """Estimates the delay of an estimate: the lag ``k`` of the largest ``|Σ_c Σ_n s[c, n] ŝ[c, n + k]|``.

    The correlation is computed by FFT, in blocks and float64, and is not normalised. Inverted polarity does not change
    the lag. Of equally good lags, as of a periodic sound, the smallest is returned, and of two the positive one. The
    result is a whole number of samples; lags beyond ``longest`` are not considered.

    Source: Knapp and Carter, "The generalized correlation method for estimation of time delay", IEEE TASSP 1976,
    without weighting.

    Args:
        reference: ``[..., time]``; all channels share one lag. The mixture can be used if there is no reference.
        estimate: ``[..., time]``.
        rate: sampling rate of both, in Hz.
        longest: maximum lag in either direction, in seconds.

    Returns:
        Seconds, positive if the estimate is late; None if either is silent, empty or not finite.

    Raises:
        UsageError: the shapes differ, or ``rate`` or ``longest`` is not above 0.

    >>> click, late = torch.zeros(1, 100), torch.zeros(1, 100)
    >>> click[0, 10], late[0, 30] = 1, -0.5
    >>> lag_seconds(reference=click, estimate=late, rate=1000)
    0.02
    """
    found = find_lag(reference=reference, estimate=estimate, rate=rate, longest=longest)
    return None if found is None else found.samples / rate


def find_lag(*, reference: Tensor, estimate: Tensor, rate: int, longest: float = 1.0) -> Lag | None:
    """Finds the lag as `lag_seconds`, with the same arguments and errors, and returns it with its correlation."""
    check_same_shape(reference, estimate)
    if not (rate > 0 and 0 < longest < float("inf")):
        raise UsageError(f"expected a rate and a longest lag above 0, found {rate} Hz and {longest} s")
    if reference.numel() == 0 or not (all_finite(reference) and all_finite(estimate)):
        return None
    one, other = (signal.reshape(-1, signal.shape[-1]) for signal in (reference, estimate))
    if bool(is_silent(one).all()) or bool(is_silent(other).all()):
        return None
    taps = min(round(longest * rate) + 1, reference.shape[-1])
    late, early = (_correlate_in_blocks if is_long(one) else _correlate)(one, other, taps)
    fits = torch.stack([late, early], dim=1).flatten().abs()  # lags 0, -0, 1, -1, 2, -2 …
    best = int((fits >= fits.max() * (1 - _TIE)).nonzero()[0, 0])
    scale = math.sqrt(math.prod(float(energy(signal).sum()) for signal in (one, other)))
    return Lag((best // 2) * (-1 if best % 2 else 1), *(min(1.0, float(fits[at]) / scale) for at in (best, 0)))


def _correlate(reference: Tensor, estimate: Tensor, taps: int) -> tuple[Tensor, Tensor]:
    """Computes ``Σ_c Σ_n s[c, n] ŝ[c, n + k]`` and ``Σ_c Σ_n s[c, n + k] ŝ[c, n]`` for ``0 <= k < taps``, float64."""
    size = scipy.fft.next_fast_len(reference.shape[1] + taps - 1, real=True)
    product = torch.zeros(size // 2 + 1, dtype=torch.complex128, device=reference.device)
    for one, other in zip(reference, estimate, strict=True):
        product += torch.fft.rfft(one.double(), n=size).conj() * torch.fft.rfft(other.double(), n=size)
    found = torch.fft.irfft(product, n=size)
    return found[:taps], torch.cat([found[:1], found[size - taps + 1 :].flip(0)])


def _correlate_in_blocks(reference: Tensor, estimate: Tensor, taps: int) -> tuple[Tensor, Tensor]:
    """Computes the same as `_correlate` for long sounds."""
    late, early = reference.new_zeros(2, taps, dtype=torch.float64)
    for one, other in zip(reference, estimate, strict=True):
        late += correlate(one[None], other[None], taps=taps)[0, 0]
        early += correlate(other[None], one[None], taps=taps)[0, 0]
    return late, early
