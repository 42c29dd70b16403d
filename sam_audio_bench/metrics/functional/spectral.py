"""Distances of magnitude spectrograms. Shape legend: ``[..., channels, time]``, all channels jointly."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

from sam_audio_bench.blocks import count_accessed
from sam_audio_bench.errors import UsageError
from sam_audio_bench.metrics.functional.energy import energy

__all__ = ["LEVELS", "MIN_SAMPLES", "RESOLUTIONS", "mrstft"]

RESOLUTIONS = ((512, 50, 240), (1024, 120, 600), (2048, 240, 1200))
"""(FFT, hop, window) in samples, whatever the rate; those of the paper, for 24 kHz."""

MIN_SAMPLES = max(window for _, _, window in RESOLUTIONS)
"""Minimum number of samples: the longest window."""

LEVELS = ("reference", "full_scale")
"""Reference level of the floor of magnitudes: the RMS of the reference, or full scale."""

_SignalAndLevel = tuple[Tensor, Tensor]  # the signal is divided by the level

_FLOOR = 1e-8  # of squared magnitudes: 80 dB below a sample at the reference level
_BLOCK = 1 << 22  # samples in windows per block: bounds the memory


def mrstft(*, reference: Tensor, estimate: Tensor, level: str = "reference") -> Tensor:
    """Computes the multi-resolution STFT distance: spectral convergence plus log-magnitude L1, over three resolutions.

    With S and Ŝ the magnitudes: ``‖S - Ŝ‖_F / ‖S‖_F + mean |ln S - ln Ŝ|``. 0 for equal magnitudes; phase and
    polarity do not matter. For the logarithm, squared magnitudes are floored at 1e-8.

    Source: Yamamoto, Song and Kim, "Parallel WaveGAN", ICASSP 2020; Hann windows, resolutions and floor as
    in auraloss (Steinmetz and Reiss 2020).

    Args:
        reference: ``[..., channels, time]``.
        estimate: ``[..., channels, time]``.
        level: "reference" divides both signals by the RMS of the reference first, so that scaling both has no effect
            and the floor is 80 dB below a sample of that level. "full_scale" does not scale, as auraloss: the floor is
            fixed, and two sufficiently quiet signals count as equal.

    Returns:
        Distances ``[...]``, float64; NaN if the reference is silent or a sample is not finite.

    Raises:
        UsageError: the shapes differ, the signals are shorter than `MIN_SAMPLES`, or the level is unknown.
    """
    if level not in LEVELS:
        raise UsageError(f"expected level to be one of {', '.join(LEVELS)}, found {level!r}")
    if reference.shape != estimate.shape or reference.ndim < 2 or reference.shape[-1] < MIN_SAMPLES:
        found = f"{list(reference.shape)} and {list(estimate.shape)}"
        raise UsageError(
            f"expected both of one shape [..., channels, time], time at least {MIN_SAMPLES}, found {found}"
        )
    power = energy(reference).sum(dim=-1)
    undefined = (power == 0) | ~torch.isfinite(power + energy(estimate).sum(dim=-1))
    rms = torch.ones_like(power)
    if level == "reference":
        rms = (power / reference.shape[-2:].numel()).sqrt().masked_fill(undefined, 1.0)
    truth, given = ((signal, rms[..., None, None]) for signal in (reference, estimate))
    distances = [_distance(truth, given, *resolution) for resolution in RESOLUTIONS]
    return torch.stack(distances).mean(dim=0).masked_fill(undefined, torch.nan)


def _distance(truth: _SignalAndLevel, given: _SignalAndLevel, fft: int, hop: int, window: int) -> Tensor:
    """Computes the distance ``[...]`` at one resolution, by sums over blocks of frames."""
    error = square = logarithm = torch.zeros_like(truth[1][..., 0, 0])
    count = 0
    for s, e in zip(_spectra(*truth, fft, hop, window), _spectra(*given, fft, hop, window), strict=True):
        square = square + s.sum(dim=(-3, -2, -1))
        logarithm = logarithm + (s.log() - e.log()).abs().sum(dim=(-3, -2, -1)) / 2
        error = error + (s.sqrt() - e.sqrt()).square().sum(dim=(-3, -2, -1))
        count += s.shape[-3:].numel()
    return (error / square).sqrt() + logarithm / count


def _spectra(signal: Tensor, level: Tensor, fft: int, hop: int, window: int) -> Iterator[Tensor]:
    """Yields squared magnitudes of blocks of frames ``[..., channels, frames, bins]``, at least the floor.

    Frames are centred on every hop-th sample, with reflection at the ends. Only the samples in the window are
    transformed: their position in the FFT's frame affects the phase only.
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
    """Returns samples ``[..., start:stop]`` in float64; the signal is reflected at the beginning and the end."""
    length = signal.shape[-1]
    left, right = max(-start, 0), max(stop - length, 0)
    first, last = max(min(start, length - 1 - right), 0), min(max(stop, 1 + left), length)
    part = signal[..., first:last].double()
    flat = part.reshape(-1, 1, part.shape[-1])
    padded = functional.pad(flat, (left, right), mode="reflect").reshape(*part.shape[:-1], -1)
    found: Tensor = padded[..., start - first + left : stop - first + left]
    return found
