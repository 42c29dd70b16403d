"""Spectral scores from 0 to 100 that are reported in music separation. Shape legend: ``[channels, time]``.

They are from a public training framework (described by Solovyev, Stempkovskiy and Habruseva, arXiv:2305.07489), whose
defaults are part of the definitions: signals are not normalised, and the filters assume that every signal has the rate
`RATE`. The functions expect signals that are not silent; statuses are determined in `metrics.music`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import scipy.signal
import scipy.sparse
import torch
from numpy.typing import NDArray
from torch import Tensor

from sam_audio_bench.blocks import count_accessed
from sam_audio_bench.errors import UsageError
from sam_audio_bench.metrics.functional.ratios import snr

__all__ = ["RATE", "STFT", "aura_mrstft", "aura_stft", "bleedless_and_fullness", "k_sdr", "l1_freq"]

RATE = 44_100
"""Sampling rate in Hz that the mel filters and the A-weighting assume for every signal."""

Floats = NDArray[np.floating]

_BLOCK = 1 << 21  # samples in windows per block: bounds the memory
_FLOOR = 1e-8  # of the squared magnitudes of `aura_stft`
_SMALLEST = 1e-10  # minimum magnitude of the levels of `bleedless_and_fullness`, before they are clipped
_DEPTH_DB = np.float32(80)  # levels are clipped that far below a signal's largest
_TAPS = 101
_K = 10.0  # dB


class STFT(NamedTuple):
    """Frames of ``size`` samples, centred on every ``hop``-th one."""

    size: int
    hop: int
    hann: bool = True  # else rectangular
    reflected: bool = True  # padding at the ends; else zeros


_LEVELS = STFT(4096, 1024, reflected=False)
_FLAT = STFT(2048, 1024, hann=False)
_SINGLE = STFT(1024, 256)
_MULTIPLE = tuple(STFT(size, size // 4) for size in (1024, 2048, 4096))


def bleedless_and_fullness(*, reference: Tensor, estimate: Tensor) -> tuple[float, float]:
    """Computes `bleedless` and `fullness`: absence of excess and of missing energy, by levels in mel bands.

    With d the level of the estimate minus that of the reference, dB, in 512 bands of frames of 4096 samples:
    ``100 / (1 + mean of the positive d)`` and ``100 / (1 - mean of the negative d)``, where the mean of none is 0. Each
    signal's levels are clipped 80 dB below its own largest one.

    Args:
        reference: ``[channels, time]``, at least 4096 samples.
        estimate: ``[channels, time]``.

    Returns:
        Both scores, above 0 and at most 100, higher is better.

    Raises:
        UsageError: the shapes differ, or there are too few samples.
    """
    _check(reference, estimate, _LEVELS)
    floors = [max(part.max() for part in _band_levels(one)) - _DEPTH_DB for one in (reference, estimate)]
    sums, counts = np.zeros(2), np.zeros(2)
    for truth, given in zip(_band_levels(reference), _band_levels(estimate), strict=True):
        difference = np.maximum(given, floors[1]) - np.maximum(truth, floors[0])
        for side, part in enumerate((difference[difference > 0], -difference[difference < 0])):
            sums[side] += part.sum(dtype=np.float64)
            counts[side] += part.size
    bleed, loss = (float(total / count) if count else 0.0 for total, count in zip(sums, counts, strict=True))
    return 100 / (1 + bleed), 100 / (1 + loss)


def l1_freq(*, reference: Tensor, estimate: Tensor) -> float:
    """Computes ``100 / (1 + 10 L)``, L the mean distance of magnitudes in rectangular frames of 2048 samples.

    Args:
        reference: ``[channels, time]``, at least 2048 samples.
        estimate: ``[channels, time]``.

    Raises:
        UsageError: the shapes differ, or there are too few samples.
    """
    _check(reference, estimate, _FLAT)
    total, count = 0.0, 0
    for truth, given in zip(_powers(reference, _FLAT), _powers(estimate, _FLAT), strict=True):
        total += float(np.abs(np.sqrt(given) - np.sqrt(truth)).sum())
        count += truth.size
    return 100 / (1 + 10 * total / count)


def aura_stft(*, reference: Tensor, estimate: Tensor) -> float:
    """Computes ``100 / (1 + 10 L)``, L auraloss's STFT loss: spectral convergence plus log L1, 1024 samples per frame.

    As in the public code, the estimate is the target of that loss, by whose norm the convergence is divided.

    Source: Steinmetz and Reiss, "auraloss", DMRN+15, 2020; its defaults.

    Args:
        reference: ``[channels, time]``, at least 1024 samples.
        estimate: ``[channels, time]``.

    Raises:
        UsageError: the shapes differ, or there are too few samples.
    """
    _check(reference, estimate, _SINGLE)
    return 100 / (1 + 10 * _loss(reference, estimate, _SINGLE, None))


def aura_mrstft(*, reference: Tensor, estimate: Tensor) -> float:
    """Computes `aura_stft` with frames of 1024, 2048 and 4096 samples, of A-weighted signals, in 128 mel bands.

    Args:
        reference: ``[channels, time]``, at least 4096 samples.
        estimate: ``[channels, time]``.

    Raises:
        UsageError: the shapes differ, or there are too few samples.
    """
    _check(reference, estimate, _MULTIPLE[-1])
    truth, given = _a_weighted(reference), _a_weighted(estimate)
    losses = [_loss(truth, given, stft, _mel_bands(stft.size, 128)) for stft in _MULTIPLE]
    return 100 / (1 + 10 * math.fsum(losses) / len(losses))


def k_sdr(*, reference: Tensor, estimate: Tensor) -> float:
    """Maps `ratios.snr` between -10 and 10 dB to a logarithmic scale: ``100 ln(1 + x + 10) / ln(21)``.

    0 at -10 dB and below, 79 where the error is as loud as the reference, 100 at 10 dB and above.

    Args:
        reference: ``[channels, time]``, all channels taken together.
        estimate: ``[channels, time]``.

    Raises:
        UsageError: the shapes differ.
    """
    ratio = float(snr(reference=reference.flatten(), estimate=estimate.flatten()))
    return 100 * math.log1p(min(max(ratio, -_K), _K) + _K) / math.log1p(2 * _K)


def _check(reference: Tensor, estimate: Tensor, stft: STFT) -> None:
    if reference.shape != estimate.shape or reference.ndim != 2 or reference.shape[1] < stft.size:
        found = f"{list(reference.shape)} and {list(estimate.shape)}"
        raise UsageError(f"expected both of one shape [channels, time], time at least {stft.size}, found {found}")


def _loss(reference: Tensor, estimate: Tensor, stft: STFT, bands: Any) -> float:
    """Computes ``‖S - Ŝ‖ / ‖Ŝ‖ + mean |ln S - ln Ŝ|`` of floored magnitudes, optionally in bands; Ŝ: the estimate."""
    error = square = logarithm = 0.0
    count = 0
    for truth, given in zip(_floored(reference, stft, bands), _floored(estimate, stft, bands), strict=True):
        error += float(np.square(truth - given).sum())
        square += float(np.square(given).sum())
        logarithm += float(np.abs(np.log(truth) - np.log(given)).sum())
        count += truth.size
    return math.sqrt(error / square) + logarithm / count


def _floored(signal: Tensor, stft: STFT, bands: Any) -> Iterator[Floats]:
    """Yields magnitudes of blocks of frames, ``[bins or bands, columns]``, floored before summing over bands."""
    for power in _powers(signal, stft):
        magnitudes = np.sqrt(np.maximum(power, _FLOOR))
        yield magnitudes if bands is None else bands @ magnitudes


def _band_levels(signal: Tensor) -> Iterator[Floats]:
    """Yields levels of mel bands in blocks of frames, ``[bands, columns]``, dB.

    In float32, as in the public code: cells that differ by less are equal, and count neither as excess nor as missing.
    """
    bands = _mel_bands(_LEVELS.size, 512)
    for power in _powers(signal, _LEVELS):
        yield (20 * np.log10(np.maximum(bands @ np.sqrt(power), _SMALLEST))).astype(np.float32)


def _powers(signal: Tensor, stft: STFT) -> Iterator[Floats]:
    """Yields squared magnitudes of blocks of frames, ``[bins, columns]``; each column is a frame of a channel."""
    channels, length = signal.shape
    taper = torch.hann_window(stft.size, dtype=torch.float64) if stft.hann else torch.ones(1, dtype=torch.float64)
    count, step = length // stft.hop + 1, max(1, _BLOCK // (stft.size * channels))
    for first in range(0, count, step):
        last = min(first + step, count) - 1
        places = torch.arange(first * stft.hop, last * stft.hop + stft.size) - stft.size // 2
        inside = places.abs()
        inside = torch.where(inside < length, inside, 2 * (length - 1) - inside)
        part = signal[:, inside].cpu().double()
        if not stft.reflected:
            part[:, (places < 0) | (places >= length)] = 0
        spectrum = torch.fft.rfft(part.unfold(-1, stft.size, stft.hop) * taper)
        power = (spectrum.real.square() + spectrum.imag.square()).numpy()
        yield np.ascontiguousarray(power.reshape(-1, power.shape[-1]).T)
        count_accessed(part.numel())


@lru_cache(maxsize=4)
def _mel_bands(size: int, count: int) -> Any:
    """Returns Slaney's triangular filters over the bins of a frame, each of unit area: sparse ``[bands, bins]``.

    Sparse, since the order of summation in a product of dense matrices may depend on the machine and its load.
    """
    mel = np.linspace(0, 15 + 27 * math.log(RATE / 2000, 6.4), count + 2)  # linear below 1 kHz, then logarithmic
    edges = np.where(mel < 15, mel * 200 / 3, 1000 * 6.4 ** ((mel - 15) / 27))
    bins = np.fft.rfftfreq(size, 1 / RATE)
    low, centre, high = (edges[at : at + count, None] for at in range(3))
    shapes = np.minimum((bins - low) / (centre - low), (high - bins) / (high - centre)).clip(min=0)
    return scipy.sparse.csr_array(shapes * 2 / (high - low))


def _a_weighted(signal: Tensor) -> Tensor:
    """Applies A-weighting by a linear-phase filter, ``[channels, time]`` in float64, with zeros beyond the ends."""
    sound = signal.cpu().double().numpy()
    found: Tensor = torch.from_numpy(scipy.signal.oaconvolve(sound, _a_weighting_taps()[None], mode="same", axes=1))
    return found


@lru_cache(maxsize=1)
def _a_weighting_taps() -> Floats:
    """Returns taps of a least-squares fit to the bilinear transform of IEC 61672's A-weighting, as in auraloss."""
    zeros, poles = [0.0] * 4, _radians((20.598997, 20.598997, 107.65265, 737.86223, 12194.217, 12194.217))
    gain = (2 * math.pi * 12194.217) ** 2 * 10 ** (1.9997 / 20)  # 0 dB at 1 kHz
    digital = scipy.signal.bilinear_zpk(zeros, [-pole for pole in poles], gain, RATE)
    hertz, response = scipy.signal.freqz_zpk(*digital, worN=512, fs=RATE)
    taps: Floats = scipy.signal.firls(_TAPS, hertz, np.abs(response), fs=RATE)
    return taps


def _radians(hertz: Sequence[float]) -> list[float]:
    return [2 * math.pi * one for one in hertz]
