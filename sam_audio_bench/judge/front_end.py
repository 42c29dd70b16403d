"""What a small judge compares: spectra of mixture, answer and residual, whatever the answer's level, delay or phase.

Listeners do not mind if an answer is softer, 5 ms late, upside down or behind an all-pass filter; a difference of
waveforms does. So the answer is aligned with the mixture and brought to the level at which it fits into it, and what
it explains of the mixture is read from the coherence of both, bin by bin over 170 ms, which knows no phase. Where they
are not coherent, as behind a vocoder, powers are subtracted instead.

Letters: B pairs, T samples, R rows of 10 ms, Q bins, M mel bands, F frames, G groups of bands, K comparisons.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from sam_audio_bench.judge.audio_encoder import BANDS, RATE, mel_rows, spectra
from sam_audio_bench.judge.impressions import GROUPS, IMPRESSIONS, PITCHES, by_group, impressions, loudest

__all__ = ["COMPARISONS", "Compared", "compare", "framed_energy", "framed_pitch", "mixture_rows"]

_PER_GROUP, _WHOLE = 9, 8  # numbers of each group of bands, and of all together
COMPARISONS = IMPRESSIONS + _PER_GROUP * GROUPS + _WHOLE
"""Numbers per frame: `impressions`, then `_comparisons`."""

_LONGEST_LAG = RATE // 50  # 20 ms
_NEARER = 0.97  # of the greatest correlation: a smaller lag that reaches it is taken
_LEVEL = 10 ** (-26 / 20)  # RMS of a mixture
_SMOOTH = 17  # rows under which coherence is measured
_QUANTILE = 0.4  # of the answer's energy that lies where it is louder than its part of the mixture
_AT_ONCE = 6000  # rows: a minute, for which the work takes 200 MiB
_AROUND = 2  # frames before and behind, farther than `_smooth` and the blurs of `impressions` reach
_TINY = 1e-12
_ROUNDING = 1e-5  # of coherence: what a gain changes in an answer that is the mixture, 50 dB down, nobody hears
_LOWEST_BIN = 3  # 94 Hz: below are hum, rumble and what a constant offset leaks
_SCALE = 3.0  # natural logarithms of magnitudes per unit of a comparison


@dataclass(frozen=True, slots=True)
class Compared:
    """Rows of log-mel energies of mixture, answer and residual, and comparisons of each frame.

    Attributes:
        mixture: ``[B, R, M]``, or ``[1, R, M]`` for all answers.
        answer, residual: ``[B, R, M]``.
        comparisons: ``[B, F, K]``.
    """

    mixture: Tensor
    answer: Tensor
    residual: Tensor
    comparisons: Tensor

    def cut(self, rows: slice, frame: int) -> Compared:
        """Some of the rows, whole frames of them."""
        frames = slice(rows.start // frame, rows.stop // frame)
        return Compared(
            self.mixture[:, rows], self.answer[:, rows], self.residual[:, rows], self.comparisons[:, frames]
        )

    @classmethod
    def joined(cls, parts: Sequence[Compared]) -> Compared:
        """Parts of a clip as one."""
        fields = zip(*((one.mixture, one.answer, one.residual, one.comparisons) for one in parts), strict=True)
        return cls(*(torch.cat(found, dim=1) for found in fields))


def compare(mixtures: Tensor, answers: Tensor, frame: int) -> Compared:
    """Compares answers with their mixtures.

    Args:
        mixtures: ``[B, T]`` at `RATE`, T a multiple of a frame; or ``[1, T]`` for all answers.
        answers: ``[B, T]``, of any level.
        frame: rows per frame.
    """
    mixtures, answers = _unit_peak(mixtures), _unit_peak(answers)
    mixture = _levelled(spectra(mixtures))  # [B, R, Q]
    answer = _fitted(spectra(_align(mixtures, answers)), mixture)
    heard = mel_rows(_root(_power(mixture)))
    top = loudest(heard)
    parts = [
        _compared(mixture[:, around], answer[:, around], heard[:, around], top, frame).cut(kept, frame)
        for around, kept in _parts(heard.shape[1], frame)
    ]
    return parts[0] if len(parts) == 1 else Compared.joined(parts)


def _parts(rows: int, frame: int) -> Iterator[tuple[slice, slice]]:
    """Rows of a clip that are compared at once, with those around them that count, and which of them are kept."""
    step = max(rows, 1) if rows <= _AT_ONCE else _AT_ONCE // frame * frame
    for start in range(0, rows, step):
        stop, first = min(start + step, rows), max(start - _AROUND * frame, 0)
        yield slice(first, min(stop + _AROUND * frame, rows)), slice(start - first, stop - first)


def _compared(mixture: Tensor, answer: Tensor, heard: Tensor, top: Tensor, frame: int) -> Compared:
    """Compares spectra ``[B, R, Q]`` of some rows, given the mixture's log-mel rows and the level of all of them."""
    power, own = _power(mixture), _power(answer)
    cross = _smooth(mixture * answer.conj())
    mean_power, mean_own = _smooth(power), _smooth(own)
    coherence = (_power(cross) / (mean_power * mean_own + _TINY)).clamp(0, 1)
    linear = _power(mixture - cross / (mean_own + _TINY) * answer)
    subtracted = (power - own).clamp(min=0)
    stray = (1 - coherence - _ROUNDING).clamp(min=0)
    left = coherence * linear + stray * subtracted
    rows = [heard, *(mel_rows(_root(one)) for one in (own, left, stray * own))]
    alike = mel_rows(_root(coherence * own))
    wide = rows[0].expand_as(rows[1])
    sounds = impressions(heard, rows[1], (power, own, left), frame, top)
    told = torch.cat([sounds, _comparisons([wide, *rows[1:]], alike, frame)], dim=-1)
    return Compared(rows[0], rows[1], rows[2], told)


def mixture_rows(mixtures: Tensor) -> Tensor:
    """Log-mel rows of mixtures alone, those of `Compared.mixture`: ``[B, T] -> [B, R, M]``."""
    return mel_rows(_root(_power(_levelled(spectra(_unit_peak(mixtures))))))


def framed_pitch(comparisons: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Octaves above 165 Hz of mixture, answer and residual in each frame, ``[B, F]``; 0 where there is no pitch."""
    mixture, answer, residual = comparisons[..., IMPRESSIONS - PITCHES + 2 : IMPRESSIONS : 3].unbind(-1)
    return mixture, answer, residual


def framed_energy(comparisons: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean energy of mixture, answer and residual in each frame, ``[B, F, 1]``, by comparisons ``[B, F, K]``."""
    levels = comparisons[..., -_WHOLE : -_WHOLE + 3] * _SCALE - 4
    mixture, answer, residual = torch.split((2 * levels).exp(), 1, dim=-1)
    return mixture, answer, residual


def _unit_peak(signals: Tensor) -> Tensor:
    """Signals ``[B, T]`` without offset, divided by their peaks, so that float32 holds any level; silence stays."""
    signals = signals - signals.mean(dim=-1, keepdim=True)
    peak = signals.abs().amax(dim=-1, keepdim=True)
    return signals / torch.where(peak > 0, peak, 1.0)


def _align(mixtures: Tensor, answers: Tensor) -> Tensor:
    """Answers ``[B, T]`` moved by up to 20 ms to where they correlate best with their mixtures, either way up."""
    size = 2 ** math.ceil(math.log2(mixtures.shape[-1] + _LONGEST_LAG))
    cross = torch.fft.rfft(mixtures, size) * torch.fft.rfft(answers, size).conj()
    whitened = cross / (cross.abs() + _TINY).sqrt()
    found = torch.fft.irfft(whitened, size).abs()
    lags = torch.arange(-_LONGEST_LAG, _LONGEST_LAG + 1, device=found.device)
    likeness = found[:, lags % size]
    good = likeness >= _NEARER * likeness.amax(dim=-1, keepdim=True)
    distance = torch.where(good, lags.abs().to(likeness), math.inf)
    chosen = lags[distance.argmin(dim=-1)]
    return torch.stack([_moved(one, int(lag)) for one, lag in zip(answers, chosen, strict=True)])


def _moved(signal: Tensor, lag: int) -> Tensor:
    return F.pad(signal, (lag, -lag)) if lag else signal


def _levelled(mixture: Tensor) -> Tensor:
    """The spectrum of a mixture at `_LEVEL`."""
    size = 2 * (mixture.shape[-1] - 1)
    power = 2 * _power(mixture[..., _LOWEST_BIN:]).sum(dim=-1).mean(dim=-1) / (size * 150)  # 150: energy of the window
    return mixture * _gain(_LEVEL / power.sqrt())


def _fitted(answer: Tensor, mixture: Tensor) -> Tensor:
    """The spectrum of an answer at the level at which it fits into the mixture."""
    wide, own = (mel_rows(one.abs(), floor=0.0) for one in (mixture, answer))
    ratio = ((wide + _TINY) / (own + _TINY)).log().flatten(1)
    weight = own.square().flatten(1)
    order = ratio.argsort(dim=-1)
    reached = weight.gather(1, order).double().cumsum(dim=-1)
    place = (reached < _QUANTILE * reached[:, -1:]).sum(dim=-1, keepdim=True).clamp(max=ratio.shape[1] - 1)
    fitting = ratio.gather(1, order).gather(1, place)[:, 0].exp()
    return answer * _gain(torch.where(weight.sum(dim=-1) > 0, fitting, 0.0))


def _gain(values: Tensor) -> Tensor:
    return torch.nan_to_num(values, nan=0.0, posinf=0.0)[:, None, None]


def _power(spectrum: Tensor) -> Tensor:
    return spectrum.real.square() + spectrum.imag.square()


def _root(power: Tensor) -> Tensor:
    """Square root that has a gradient at 0."""
    return (power.clamp(min=0) + _TINY**2).sqrt()


def _smooth(rows: Tensor) -> Tensor:
    """Mean over neighbouring rows, ``[B, R, Q]``; at the ends over those that there are."""
    if rows.is_complex():
        return torch.complex(_smooth(rows.real), _smooth(rows.imag))
    return F.avg_pool1d(rows.transpose(1, 2), _SMOOTH, 1, _SMOOTH // 2, count_include_pad=False).transpose(1, 2)


def _comparisons(rows: list[Tensor], alike: Tensor, frame: int) -> Tensor:
    """Numbers per frame, ``[B, F, K]``.

    For each group of bands: levels of mixture and answer; how far answer, residual and the answer's incoherent part
    are below mixture or answer; coherence, weighted by the answer; how far the answer is above the mixture; how its
    level against the mixture changes from row to row, and how alike both envelopes are. Then, over all bands: levels
    of the three, their greatest rows, coherence, and likeness of envelopes.
    """
    mixture, answer, residual, stray = (_framed(one, frame) for one in rows)  # [B, F, frame, M]
    energy = [by_group((2 * one).exp()) for one in (mixture, answer, residual, stray, _framed(alike, frame))]
    levels = [0.5 * one.log() for one in energy]
    difference = answer - mixture
    weight = (2 * answer).exp()
    excess = by_group((weight - (2 * mixture).exp()).clamp(min=0)) / energy[1]
    rough = by_group((difference - difference.mean(dim=2, keepdim=True)).abs())
    likeness = _likeness(mixture, answer)
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


def _likeness(mixture: Tensor, answer: Tensor) -> Tensor:
    """Correlation of log-mel rows of a group over a frame, ``[B, F, G]``."""
    one, other = (_patches(rows) for rows in (mixture, answer))  # [B, F, G, frame * M / G]
    one, other = (part - part.mean(dim=-1, keepdim=True) for part in (one, other))
    norm = one.square().sum(dim=-1) * other.square().sum(dim=-1)
    found: Tensor = (one * other).sum(dim=-1) / (_root(norm) + 1e-3)
    return found


def _framed(rows: Tensor, frame: int) -> Tensor:
    return torch.unflatten(rows, 1, (-1, frame))


def _patches(framed: Tensor) -> Tensor:
    return torch.unflatten(framed, -1, (GROUPS, BANDS // GROUPS)).transpose(2, 3).flatten(3)
