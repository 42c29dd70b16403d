"""The resampler of the reference implementation, used with ``parity="upstream"`` only."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["resample"]

_LOBES = 6  # zero crossings of the sinc on each side
_ROLLOFF = 0.99  # cut-off as a fraction of the lower Nyquist frequency


def resample(waveform: Tensor, rate: int, new_rate: int) -> Tensor:
    """Resamples by band-limited interpolation with a Hann-windowed sinc (Smith, 2002), its kernel in float32.

    Args:
        waveform: ``[B, T]`` at ``rate`` Hz.
        rate: sampling rate of the waveform in Hz.
        new_rate: sampling rate of the result in Hz.

    Returns:
        ``[B, ceil(T * new_rate / rate)]``.
    """
    common = math.gcd(rate, new_rate)
    rate, new_rate = rate // common, new_rate // common
    if rate == new_rate:
        return waveform
    base = min(rate, new_rate) * _ROLLOFF
    width = math.ceil(_LOBES * rate / base)
    positions = torch.arange(-width, width + rate)[None].float() / rate
    shifts = torch.arange(0, -new_rate, -1)[:, None].float() / new_rate
    times = ((positions + shifts) * base).clamp(-_LOBES, _LOBES)
    window = torch.cos(times * math.pi / _LOBES / 2).square()
    angles = times * math.pi
    sinc = torch.where(angles == 0, torch.ones(()), angles.sin() / angles)
    kernel = (sinc * window * (base / rate))[:, None]
    padded = F.pad(waveform, (width, width + rate))
    found = F.conv1d(padded[:, None], kernel.to(waveform.dtype), stride=rate)
    return found.transpose(1, 2).flatten(1)[:, : math.ceil(new_rate * waveform.shape[1] / rate)]
