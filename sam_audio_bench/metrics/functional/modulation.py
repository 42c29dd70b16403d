"""SRMR, from the modulation spectrum of a voice's envelopes, in numpy.

The envelopes of speech fluctuate a few times per second; reverberation fills the gaps with faster, noise-like
fluctuations.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sam_audio_bench.errors import UsageError

__all__ = ["srmr"]

Array = NDArray[np.float64]

_BANDS, _LOWEST = 23, 125.0  # gammatone filters, Hz
_MODULATIONS, _SLOWEST, _FASTEST, _Q = 8, 4.0, 128.0, 2.0  # Hz
_WINDOW, _HOP = 0.256, 0.064  # s
_SLOW = 4  # number of modulation filters that are attributed to speech
_SHARE = 0.9  # of the energy: it determines the bandwidth, and by it which other modulation filters are included
_EAR_Q, _NARROWEST = 9.26449, 24.7  # of auditory filters (Glasberg and Moore 1990)


def srmr(*, estimate: Tensor, rate: int) -> Tensor:
    """Computes the speech-to-reverberation modulation energy ratio: slow over fast modulation energy; no unit.

    The envelopes of 23 gammatone bands from 125 Hz on are filtered by 8 band-pass filters from 4 to 128 Hz, whose
    energies are averaged over windows of 256 ms. The ratio is that of the four slow filters, below 22 Hz, to the others
    up to the bandwidth of the voice. Level and polarity do not matter. Silence gives NaN.

    Source: Falk, Zheng and Chan, "A non-intrusive quality and intelligibility measure of reverberant and dereverberated
    speech", IEEE TASLP 2010, with the constants of its authors' SRMRToolbox, without its normalisation of energies.

    Args:
        estimate: ``[..., time]``, at least 256 ms.
        rate: sampling rate in Hz, above 256.

    Returns:
        The ratio ``[...]``, float64.

    Raises:
        UsageError: there are fewer samples than in a window, or the rate is too low for the filters.

    >>> time = torch.arange(16_000) / 16_000
    >>> noise = torch.randn(16_000, generator=torch.Generator().manual_seed(0))
    >>> slow, fast = (noise * (1 + torch.sin(2 * torch.pi * hertz * time)) for hertz in (4, 64))
    >>> bool(srmr(estimate=slow, rate=16_000) > 10 * srmr(estimate=fast, rate=16_000))
    True
    """
    window = math.ceil(_WINDOW * rate)
    if rate <= 2 * _FASTEST or estimate.ndim < 1 or estimate.shape[-1] < window:
        found = f"{list(estimate.shape)} at {rate} Hz"
        raise UsageError(f"expected samples [..., time], at least {_WINDOW} s above {2 * _FASTEST:g} Hz, found {found}")
    signals = estimate.double().cpu().reshape(-1, estimate.shape[-1]).numpy()
    ratios = [_ratio(_energies(signal, rate), rate) for signal in signals]
    return torch.tensor(ratios, dtype=torch.float64, device=estimate.device).reshape(estimate.shape[:-1])


def _energies(samples: Array, rate: int) -> Array:
    """Returns the mean energy in each band and modulation filter ``[bands, modulations]``, from low to high."""
    from scipy import signal

    length, window = len(samples), math.ceil(_WINDOW * rate)
    weights = signal.get_window("hamming", window + 1)[:-1] ** 2  # as in torchmetrics
    padded = -(-length // 16) * 16  # a transform of a fast length, as in the toolbox
    found = np.empty((_BANDS, _MODULATIONS))
    for band, centre in enumerate(_centres(rate)):
        filtered = signal.sosfilt(_gammatone(float(centre), rate), samples)
        envelope = np.abs(signal.hilbert(filtered, padded)[:length])
        for number, (zeros, poles) in enumerate(_modulation_filters(rate)):
            modulation = signal.lfilter(zeros, poles, envelope) ** 2
            frames = np.lib.stride_tricks.sliding_window_view(modulation, window)[:: math.ceil(_HOP * rate)]
            found[band, number] = (frames @ weights).mean()
    return found


def _gammatone(centre: float, rate: int) -> Array:
    """Returns a fourth-order gammatone filter with gain 1 at its centre, as second-order sections.

    Its four pairs of poles are equal: as a single polynomial, as in `scipy.signal.gammatone`, it is unstable at 48 kHz.
    Source: Slaney, "An efficient implementation of the Patterson-Holdsworth auditory filter bank", Apple
    technical report 35, 1993.
    """
    from scipy import signal

    angle = 2 * math.pi * centre / rate
    decay = math.exp(-2 * math.pi * 1.019 * (centre / _EAR_Q + _NARROWEST) / rate)
    offsets = [sign * math.sqrt(3 + part * 2**1.5) for part in (1, -1) for sign in (1, -1)]
    zeros = [decay * (math.cos(angle) + offset * math.sin(angle)) for offset in offsets]
    poles = [1.0, -2 * decay * math.cos(angle), decay**2]
    sections = np.array([[1.0, -zero, 0.0, *poles] for zero in zeros])
    sections[0, :3] /= abs(signal.freqz_sos(sections, [angle])[1][0])
    return sections


def _ratio(energies: Array, rate: int) -> float:
    """Returns the slow modulation energy over that of the fast filters that begin below the voice's bandwidth."""
    total = energies.sum()
    if not total > 0:
        return math.nan
    shares = energies.sum(axis=1).cumsum() / total
    bandwidth = _centres(rate)[np.argmax(shares > _SHARE)] / _EAR_Q + _NARROWEST
    counted = [number for number, start in enumerate(_lower_edges(rate)) if number >= _SLOW and start <= bandwidth]
    return float(energies[:, :_SLOW].sum() / energies[:, counted].sum())


def _centres(rate: int) -> Array:
    """Returns the gammatone filters' centres in Hz, ascending, equally spaced in ERB up to half the rate."""
    ear = _EAR_Q * _NARROWEST
    steps = np.arange(_BANDS, 0, -1) / _BANDS
    top = rate / 2 + ear
    return np.asarray(top * ((_LOWEST + ear) / top) ** steps - ear)


def _modulation_centres() -> Array:
    return np.geomspace(_SLOWEST, _FASTEST, _MODULATIONS)


def _modulation_filters(rate: int) -> list[tuple[Array, Array]]:
    """Returns second-order band-pass filters, bilinear transforms of ``(s/Q) / (s² + s/Q + 1)``."""
    found = []
    for warped in np.tan(np.pi * _modulation_centres() / rate):
        width = warped / _Q
        zeros = np.array([width, 0.0, -width])
        poles = np.array([1 + width + warped**2, 2 * warped**2 - 2, 1 - width + warped**2])
        found.append((zeros, poles))
    return found


def _lower_edges(rate: int) -> Array:
    """Returns the lower 3-dB edges of the modulation filters in Hz."""
    centres = _modulation_centres()
    return np.asarray(centres - np.tan(np.pi * centres / rate) / _Q * rate / (2 * np.pi))
