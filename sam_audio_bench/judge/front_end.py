"""Front end of a small judge: compares spectra of mixture, estimate and residual regardless of level, delay and phase.

Listeners do not mind whether an estimate is softer, 5 ms late, of inverted polarity or all-pass filtered; a difference
of waveforms does. So the estimate is aligned with the mixture and brought to the level at which it fits into it. The
part of the mixture that it explains follows from the coherence of the two, per bin over 170 ms, which is independent of
phase. Where they are incoherent, as after a vocoder, powers are subtracted instead.

Letters: B pairs, T samples, R rows of 10 ms, Q bins, M mel bands, F frames, G groups of bands, K comparisons.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from sam_audio_bench.judge.audio_encoder import NUM_BANDS, RATE, mel_rows, spectra
from sam_audio_bench.judge.spectral_features import (
    NUM_GROUPS,
    NUM_PITCH_FEATURES,
    NUM_SPECTRAL_FEATURES,
    group_means,
    peak_level,
    spectral_features,
)

__all__ = [
    "NUM_COMPARISON_FEATURES",
    "Comparison",
    "compare_spectra",
    "frame_energies",
    "frame_pitches",
    "mixture_log_mel",
]

_PER_GROUP, _WHOLE = 9, 8  # features per group of bands, and of all bands together
NUM_COMPARISON_FEATURES = NUM_SPECTRAL_FEATURES + _PER_GROUP * NUM_GROUPS + _WHOLE
"""Features per frame: `spectral_features`, then `_comparison_features`."""

_LONGEST_LAG = RATE // 50  # 20 ms
_NEARER = 0.97  # of the highest correlation: the smallest lag that reaches it is used
_LEVEL = 10 ** (-26 / 20)  # RMS of a mixture
_SMOOTH = 17  # rows over which coherence is measured
_QUANTILE = 0.4  # share of the estimate's energy in cells where it exceeds its part of the mixture
_BLOCK_ROWS = 6000  # a minute, which takes 200 MiB of memory
_MARGIN_FRAMES = (
    2  # on either side of a block: more than the reach of `_smooth` and of the blurs in `spectral_features`
)
_TINY = 1e-12
_ROUNDING = 1e-5  # of coherence: rounding by a gain, if the estimate is the mixture; inaudible, 50 dB down
_LOWEST_BIN = 3  # 94 Hz: below are hum, rumble and leakage from a DC offset
_SCALE = 3.0  # natural logarithms of magnitudes per unit of a comparison


@dataclass(frozen=True, slots=True)
class Comparison:
    """Log-mel rows of mixture, estimate and residual, and comparison features of each frame.

    Attributes:
        mixture: ``[B, R, M]``, or ``[1, R, M]`` for all estimates.
        estimate, residual: ``[B, R, M]``.
        comparisons: ``[B, F, K]``.
    """

    mixture: Tensor
    estimate: Tensor
    residual: Tensor
    comparisons: Tensor

    def cut(self, rows: slice, frame: int) -> Comparison:
        """Returns a range of rows, which must consist of whole frames."""
        frames = slice(rows.start // frame, rows.stop // frame)
        return Comparison(
            self.mixture[:, rows], self.estimate[:, rows], self.residual[:, rows], self.comparisons[:, frames]
        )

    @classmethod
    def concatenate(cls, parts: Sequence[Comparison]) -> Comparison:
        """Concatenates parts of a clip."""
        fields = zip(*((one.mixture, one.estimate, one.residual, one.comparisons) for one in parts), strict=True)
        return cls(*(torch.cat(found, dim=1) for found in fields))


def compare_spectra(mixtures: Tensor, estimates: Tensor, frame: int) -> Comparison:
    """Compares the spectra of estimates with those of their mixtures.

    Args:
        mixtures: ``[B, T]`` at `RATE`, T a multiple of a frame; or ``[1, T]`` for all estimates.
        estimates: ``[B, T]``, of any level.
        frame: rows per frame.
    """
    mixtures, estimates = _unit_peak(mixtures), _unit_peak(estimates)
    mixture = _normalise_level(spectra(mixtures))  # [B, R, Q]
    estimate = _fit_level(spectra(_align(mixtures, estimates)), mixture)
    mixture_mel = mel_rows(_root(_power(mixture)))
    top = peak_level(mixture_mel)
    parts = [
        _compare_block(mixture[:, around], estimate[:, around], mixture_mel[:, around], top, frame).cut(kept, frame)
        for around, kept in _blocks(mixture_mel.shape[1], frame)
    ]
    return parts[0] if len(parts) == 1 else Comparison.concatenate(parts)


def _blocks(rows: int, frame: int) -> Iterator[tuple[slice, slice]]:
    """Yields the rows of each block with their margins, and the range of rows within them that is kept."""
    step = max(rows, 1) if rows <= _BLOCK_ROWS else _BLOCK_ROWS // frame * frame
    for start in range(0, rows, step):
        stop, first = min(start + step, rows), max(start - _MARGIN_FRAMES * frame, 0)
        yield slice(first, min(stop + _MARGIN_FRAMES * frame, rows)), slice(start - first, stop - first)


def _compare_block(mixture: Tensor, estimate: Tensor, mixture_mel: Tensor, top: Tensor, frame: int) -> Comparison:
    """Compares spectra ``[B, R, Q]`` of some rows, given the mixture's log-mel rows and the peak level of the clip."""
    power, own = _power(mixture), _power(estimate)
    cross = _smooth(mixture * estimate.conj())
    mean_power, mean_own = _smooth(power), _smooth(own)
    coherence = (_power(cross) / (mean_power * mean_own + _TINY)).clamp(0, 1)
    linear = _power(mixture - cross / (mean_own + _TINY) * estimate)
    subtracted = (power - own).clamp(min=0)
    stray = (1 - coherence - _ROUNDING).clamp(min=0)
    left = coherence * linear + stray * subtracted
    rows = [mixture_mel, *(mel_rows(_root(one)) for one in (own, left, stray * own))]
    alike = mel_rows(_root(coherence * own))
    wide = rows[0].expand_as(rows[1])
    spectral = spectral_features(mixture_mel, rows[1], (power, own, left), frame, top)
    features = torch.cat([spectral, _comparison_features([wide, *rows[1:]], alike, frame)], dim=-1)
    return Comparison(rows[0], rows[1], rows[2], features)


def mixture_log_mel(mixtures: Tensor) -> Tensor:
    """Returns log-mel rows of mixtures alone, as in `Comparison.mixture`: ``[B, T] -> [B, R, M]``."""
    return mel_rows(_root(_power(_normalise_level(spectra(_unit_peak(mixtures))))))


def frame_pitches(comparisons: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns pitches of mixture, estimate and residual in octaves above 165 Hz, ``[B, F]``; 0 for unvoiced frames."""
    mixture, estimate, residual = comparisons[
        ..., NUM_SPECTRAL_FEATURES - NUM_PITCH_FEATURES + 2 : NUM_SPECTRAL_FEATURES : 3
    ].unbind(-1)
    return mixture, estimate, residual


def frame_energies(comparisons: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the mean energy per frame of mixture, estimate and residual, ``[B, F, 1]``, from ``[B, F, K]``."""
    levels = comparisons[..., -_WHOLE : -_WHOLE + 3] * _SCALE - 4
    mixture, estimate, residual = torch.split((2 * levels).exp(), 1, dim=-1)
    return mixture, estimate, residual


def _unit_peak(signals: Tensor) -> Tensor:
    """Removes the DC offset of signals ``[B, T]`` and scales their peaks to 1, for float32; silence is unchanged."""
    signals = signals - signals.mean(dim=-1, keepdim=True)
    peak = signals.abs().amax(dim=-1, keepdim=True)
    return signals / torch.where(peak > 0, peak, 1.0)


def _align(mixtures: Tensor, estimates: Tensor) -> Tensor:
    """Shifts estimates ``[B, T]`` by up to 20 ms to the highest correlation of either sign with their mixtures."""
    size = 2 ** math.ceil(math.log2(mixtures.shape[-1] + _LONGEST_LAG))
    cross = torch.fft.rfft(mixtures, size) * torch.fft.rfft(estimates, size).conj()
    whitened = cross / (cross.abs() + _TINY).sqrt()
    found = torch.fft.irfft(whitened, size).abs()
    lags = torch.arange(-_LONGEST_LAG, _LONGEST_LAG + 1, device=found.device)
    likeness = found[:, lags % size]
    good = likeness >= _NEARER * likeness.amax(dim=-1, keepdim=True)
    distance = torch.where(good, lags.abs().to(likeness), math.inf)
    chosen = lags[distance.argmin(dim=-1)]
    return torch.stack([_shift(one, int(lag)) for one, lag in zip(estimates, chosen, strict=True)])


def _shift(signal: Tensor, lag: int) -> Tensor:
    return F.pad(signal, (lag, -lag)) if lag else signal


def _normalise_level(mixture: Tensor) -> Tensor:
    """Scales the spectrum of a mixture to `_LEVEL`."""
    size = 2 * (mixture.shape[-1] - 1)
    power = 2 * _power(mixture[..., _LOWEST_BIN:]).sum(dim=-1).mean(dim=-1) / (size * 150)  # 150: energy of the window
    return mixture * _gain(_LEVEL / power.sqrt())


def _fit_level(estimate: Tensor, mixture: Tensor) -> Tensor:
    """Scales the spectrum of an estimate to the level at which it fits into the mixture."""
    wide, own = (mel_rows(one.abs(), floor=0.0) for one in (mixture, estimate))
    ratio = ((wide + _TINY) / (own + _TINY)).log().flatten(1)
    weight = own.square().flatten(1)
    order = ratio.argsort(dim=-1)
    reached = weight.gather(1, order).double().cumsum(dim=-1)
    place = (reached < _QUANTILE * reached[:, -1:]).sum(dim=-1, keepdim=True).clamp(max=ratio.shape[1] - 1)
    fitting = ratio.gather(1, order).gather(1, place)[:, 0].exp()
    return estimate * _gain(torch.where(weight.sum(dim=-1) > 0, fitting, 0.0))


def _gain(values: Tensor) -> Tensor:
    return torch.nan_to_num(values, nan=0.0, posinf=0.0)[:, None, None]


def _power(spectrum: Tensor) -> Tensor:
    return spectrum.real.square() + spectrum.imag.square()


def _root(power: Tensor) -> Tensor:
    """Returns the square root, with a finite gradient at 0."""
    return (power.clamp(min=0) + _TINY**2).sqrt()


def _smooth(rows: Tensor) -> Tensor:
    """Returns the moving average over rows, ``[B, R, Q]``; at the ends over fewer rows."""
    if rows.is_complex():
        return torch.complex(_smooth(rows.real), _smooth(rows.imag))
    return F.avg_pool1d(rows.transpose(1, 2), _SMOOTH, 1, _SMOOTH // 2, count_include_pad=False).transpose(1, 2)


def _comparison_features(rows: list[Tensor], alike: Tensor, frame: int) -> Tensor:
    """Returns the features that compare mixture and estimate, ``[B, F, K]``.

    Per group of bands: levels of mixture and estimate; levels of estimate and residual relative to the mixture, and of
    the estimate's incoherent part relative to the estimate; coherence, weighted by the estimate; excess energy of the
    estimate over the mixture; mean deviation of its relative level between rows; and correlation of both envelopes.
    Then over all bands: levels of the three; estimate and residual relative to the mixture; coherence; and means of the
    correlation and of the excess, weighted by the estimate's energy.
    """
    mixture, estimate, residual, stray = (_framed(one, frame) for one in rows)  # [B, F, frame, M]
    energy = [group_means((2 * one).exp()) for one in (mixture, estimate, residual, stray, _framed(alike, frame))]
    levels = [0.5 * one.log() for one in energy]
    difference = estimate - mixture
    weight = (2 * estimate).exp()
    excess = group_means((weight - (2 * mixture).exp()).clamp(min=0)) / energy[1]
    rough = group_means((difference - difference.mean(dim=2, keepdim=True)).abs())
    likeness = _envelope_correlation(mixture, estimate)
    coherent = energy[4] / (energy[1] + energy[3])
    parts = [
        (levels[0] + 4) / _SCALE, (levels[1] + 4) / _SCALE, (levels[1] - levels[0]) / _SCALE,
        (levels[2] - levels[0]) / _SCALE, (levels[3] - levels[1]) / _SCALE, coherent, excess, rough, likeness,
    ]  # fmt: skip
    whole = [0.5 * one.mean(dim=-1).log() for one in energy[:4]]
    total = [one.sum(dim=-1) for one in energy]
    summed = [
        *((one + 4) / _SCALE for one in whole[:3]), (whole[1] - whole[0]) / _SCALE, (whole[2] - whole[0]) / _SCALE,
        total[4] / (total[1] + total[3]), (likeness * energy[1]).sum(dim=-1) / total[1],
        (excess * energy[1]).sum(dim=-1) / total[1],
    ]  # fmt: skip
    return torch.cat([*parts, torch.stack(summed, dim=-1)], dim=-1)


def _envelope_correlation(mixture: Tensor, estimate: Tensor) -> Tensor:
    """Returns the correlation of log-mel rows per group and frame, ``[B, F, G]``."""
    one, other = (_patches(rows) for rows in (mixture, estimate))  # [B, F, G, frame * M / G]
    one, other = (part - part.mean(dim=-1, keepdim=True) for part in (one, other))
    norm = one.square().sum(dim=-1) * other.square().sum(dim=-1)
    found: Tensor = (one * other).sum(dim=-1) / (_root(norm) + 1e-3)
    return found


def _framed(rows: Tensor, frame: int) -> Tensor:
    return torch.unflatten(rows, 1, (-1, frame))


def _patches(framed: Tensor) -> Tensor:
    return torch.unflatten(framed, -1, (NUM_GROUPS, NUM_BANDS // NUM_GROUPS)).transpose(2, 3).flatten(3)
