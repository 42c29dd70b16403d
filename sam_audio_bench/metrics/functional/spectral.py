"""Distances of magnitude spectrograms. Shape legend: ``[..., channels, time]``, all channels taken together."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

from sam_audio_bench.blocks import count_accessed
from sam_audio_bench.errors import UsageError
from sam_audio_bench.metrics.functional.energy import energy

__all__ = ["LEVELS", "RESOLUTIONS", "SHORTEST", "mrstft"]

RESOLUTIONS = ((512, 50, 240), (1024, 120, 600), (2048, 240, 1200))
"""(FFT, hop, window) in samples, whatever the rate; the paper's, made for 24 kHz."""

SHORTEST = max(window for _, _, window in RESOLUTIONS)
"""Samples below which not even one of the longest windows is filled."""

LEVELS = ("reference", "full_scale")
"""What the floor of magnitudes is relative to: the RMS of the reference, or full scale."""

Levelled = tuple[Tensor, Tensor]  # a signal, and the level that it is divided by

_FLOOR = 1e-8  # of squared magnitudes: 80 dB below a sample at the level above
_BLOCK = 1 << 22  # samples under windows at once: bounds the memory


def mrstft(*, reference: Tensor, estimate: Tensor, level: str = "reference") -> Tensor:
    """Multi-resolution STFT distance: spectral convergence plus L1 of log magnitudes, mean of three resolutions.

    With S and Ŝ the magnitudes: ``‖S - Ŝ‖_F / ‖S‖_F + mean |ln S - ln Ŝ|``. 0 for equal magnitudes; phase and
    polarity do not count. The logarithm needs a floor: squared magnitudes below 1e-8 count as 1e-8.

    Source: Yamamoto, Song and Kim, "Parallel WaveGAN", ICASSP 2020; Hann windows, resolutions and floor as
    auraloss has them (Steinmetz and Reiss 2020).

    Args:
        reference: ``[..., channels, time]``.
        estimate: ``[..., channels, time]``.
        level: "reference" divides both signals by the RMS of the reference first, so that scaling both changes nothing
            and the floor lies 80 dB below a sample of that level. "full_scale" takes them as they are, as auraloss
            does: the floor is fixed, and two signals that are quiet enough count as equal.

    Returns:
        Distances ``[...]``, float64; NaN where the reference is silent or a sample is not finite.

    Raises:
        UsageError: the shapes differ, the signals are shorter than `SHORTEST`, or an unknown level.
    """
    if level not in LEVELS:
        raise UsageError(f"expected level to be one of {', '.join(LEVELS)}, found {level!r}")
    if reference.shape != estimate.shape or reference.ndim < 2 or reference.shape[-1] < SHORTEST:
        found = f"{list(reference.shape)} and {list(estimate.shape)}"
        raise UsageError(f"expected both of one shape [..., channels, time], time at least {SHORTEST}, found {found}")
    power = energy(reference).sum(dim=-1)
    undefined = (power == 0) | ~torch.isfinite(power + energy(estimate).sum(dim=-1))
    rms = torch.ones_like(power)
    if level == "reference":
        rms = (power / reference.shape[-2:].numel()).sqrt().masked_fill(undefined, 1.0)
    truth, given = ((signal, rms[..., None, None]) for signal in (reference, estimate))
    distances = [_distance(truth, given, *resolution) for resolution in RESOLUTIONS]
    return torch.stack(distances).mean(dim=0).masked_fill(undefined, torch.nan)


def _distance(truth: Levelled, given: Levelled, fft: int, hop: int, window: int) -> Tensor:
    """One resolution ``[...]``; sums over blocks of frames."""
    error = square = logarithm = torch.zeros_like(truth[1][..., 0, 0])
    count = 0
    for wanted, found in zip(_spectra(*truth, fft, hop, window), _spectra(*given, fft, hop, window), strict=True):
        square = square + wanted.sum(dim=(-3, -2, -1))
        logarithm = logarithm + (wanted.log() - found.log()).abs().sum(dim=(-3, -2, -1)) / 2
        error = error + (wanted.sqrt() - found.sqrt()).square().sum(dim=(-3, -2, -1))
        count += wanted.shape[-3:].numel()
    return (error / square).sqrt() + logarithm / count


def _spectra(signal: Tensor, level: Tensor, fft: int, hop: int, window: int) -> Iterator[Tensor]:
    """Squared magnitudes of blocks of frames ``[..., channels, frames, bins]``, at least the floor.

    Frames are centred on every hop-th sample, the ends reflected. Only the samples under the window are transformed:
    where in the FFT's frame they lie changes the phase alone.
    """
    taper = torch.hann_window(window, dtype=torch.float64, device=signal.device)
    size = max(1, _BLOCK // (fft * signal.shape[:-1].numel()))
    count, before = signal.shape[-1] // hop + 1, window // 2
    for first in range(0, count, size):
        start = first * hop - before
        stop = (min(first + size, count) - 1) * hop - before + window
        part = _reflected(signal, start, stop) / level
        spectrum = torch.view_as_real(torch.fft.rfft(part.unfold(-1, window, hop) * taper, n=fft))
        yield spectrum.square().sum(dim=-1).clamp(min=_FLOOR)
        count_accessed(part.numel())


def _reflected(signal: Tensor, start: int, stop: int) -> Tensor:
    """Samples ``[..., start:stop]`` in float64; before the beginning and after the end the signal is reflected."""
    length = signal.shape[-1]
    left, right = max(-start, 0), max(stop - length, 0)
    first, last = max(min(start, length - 1 - right), 0), min(max(stop, 1 + left), length)
    part = signal[..., first:last].double()
    flat = part.reshape(-1, 1, part.shape[-1])
    padded = functional.pad(flat, (left, right), mode="reflect").reshape(*part.shape[:-1], -1)
    found: Tensor = padded[..., start - first + left : stop - first + left]
    return found
