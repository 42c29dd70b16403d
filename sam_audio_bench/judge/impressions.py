"""What an answer sounds like: how like its mixture where it is heard in it, how noisy, and at what pitch.

Coherence (`sam_audio_bench.judge.front_end`) tells what of a mixture an answer explains. It cannot tell new phases,
which nobody hears, from noise that follows the sound, which everybody hears. These numbers can: likeness of spectral
patterns as in ViSQOL (NSIM, Hines et al. 2015), flatness of the spectrum inside bands, the answer's own changes from
row to row, bands that move together, and periodicity. They know no phase, delay or level either.

Letters: B pairs, R rows of 10 ms, Q bins, M mel bands, F frames, G groups of bands, C cells of some rows.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from sam_audio_bench.judge.audio_encoder import BANDS, FLOOR, RATE, mel_rows

__all__ = ["GROUPS", "IMPRESSIONS", "PITCHES", "by_group", "impressions", "loudest"]

GROUPS = 16
"""Groups of neighbouring mel bands."""

_PER_GROUP = 8

PITCHES = 9
"""Numbers about pitch, the last of `impressions`: of mixture, answer and residual each three."""

IMPRESSIONS = GROUPS * _PER_GROUP + PITCHES
"""Numbers of a frame, see `impressions`."""

_SLOW, _FAST = 8, 2  # rows a cell: 80 and 20 ms
_SPANS = {_SLOW: 40.0, _FAST: 50.0}  # dB below the loudest cells that are still heard
_LOUDEST = 0.99  # quantile of a mixture's cells
_HEARD = 5.0  # dB above the floor
_HIDDEN = 6.0  # dB below the mixture at which an answer is not what is heard there
_BLUR = (0.239, 0.522, 0.239)  # a Gaussian of 0.8 cells
_NATS = 8.685889638  # dB
_SHORTEST, _LONGEST = 40, 200  # samples of a period: 400 to 80 Hz
_VOICE_BINS = slice(3, 64)  # 94 to 2000 Hz: where pitch is looked for
_NEAR = 5  # samples about a period in which short waves may find it again
_STEADY = 5  # rows over which periodicity is averaged
_MIDDLE = 165.0  # Hz, between most men's and most women's voices
_TINY = 1e-12


def loudest(mixture: Tensor) -> Tensor:
    """The level below which nearly all cells of a mixture are, from its log-mel rows: ``[B, R, M] -> [B, 1, 1]``."""
    found: Tensor = (2 * mixture.flatten(1)).quantile(_LOUDEST, dim=1)[:, None, None]
    return found


def impressions(
    mixture: Tensor, answer: Tensor, powers: tuple[Tensor, Tensor, Tensor], frame: int, top: Tensor
) -> Tensor:
    """Numbers per frame, ``[B, F, IMPRESSIONS]``.

    For each group of bands: likeness of slow patterns of answer and mixture, everywhere and where the answer is what
    is heard in the mixture; how much of it that is; likeness of fast patterns there; flatness of the spectra of answer
    and mixture; changes of the answer from row to row; and how far the group moves with the whole answer. Then for
    mixture, answer and residual: periodicity below and above 2 kHz, and pitch in octaves above 165 Hz as far as there
    is one.

    Args:
        mixture: log-mel rows ``[B, R, M]``, or ``[1, R, M]`` for all answers.
        answer: log-mel rows ``[B, R, M]``.
        powers: spectra of mixture, answer and residual, ``[B, R, Q]``.
        frame: rows per frame.
        top: `loudest` of the mixtures; the rows may be a part of theirs.
    """
    mixture = mixture.expand_as(answer)
    slow, fast = (_patterns(mixture, answer, top, rows, frame) for rows in (_SLOW, _FAST))
    steps = F.pad((answer[:, 1:] - answer[:, :-1]).abs(), (0, 0, 1, 0))
    parts = [
        *slow,
        fast[1],
        _flatness(powers[1], frame),
        _flatness(powers[0], frame).expand(len(answer), -1, -1),
        by_group(torch.unflatten(steps, 1, (-1, frame))),
        _together(torch.unflatten(answer, 1, (-1, frame))),
        *(_pitch(power, frame).expand(len(answer), -1, -1) for power in powers),
    ]
    return torch.cat(parts, dim=-1)


def by_group(framed: Tensor) -> Tensor:
    """Mean over rows of a frame and bands of a group: ``[B, F, rows, M] -> [B, F, G]``."""
    return torch.unflatten(framed.mean(dim=2), -1, (GROUPS, BANDS // GROUPS)).mean(dim=-1)


def _patterns(mixture: Tensor, answer: Tensor, top: Tensor, rows: int, frame: int) -> tuple[Tensor, Tensor, Tensor]:
    """Likeness ``[B, F, G]`` everywhere, and where the answer is heard, and the share of cells where it is."""
    span, count = _SPANS[rows], frame // rows
    one, other = (
        ((_NATS / 2) * (torch.unflatten((2 * part).exp(), 1, (-1, rows)).mean(dim=2).log() - top) + span).clamp(min=0)
        for part in (mixture, answer)
    )
    likeness = _nsim(one, other, span)
    heard = ((other - one + _HIDDEN) / _HIDDEN).clamp(0, 1) * (other > _HEARD)
    whole, kept, share = (
        by_group(torch.unflatten(part, 1, (-1, count))) for part in (likeness, likeness * heard, heard)
    )
    return whole, (kept + 0.02) / (share + 0.02), share


def _nsim(one: Tensor, other: Tensor, span: float) -> Tensor:
    """NSIM of maps in dB ``[B, C, M]``: the product of intensity and structure of ViSQOL."""
    one, other = one.double(), other.double()  # differences of squares
    mean, mean_other = _blurred(one), _blurred(other)
    spread, spread_other = (
        (_blurred(values * values) - middle * middle).clamp(min=0)
        for values, middle in ((one, mean), (other, mean_other))
    )
    shared = _blurred(one * other) - mean * mean_other
    c1, c3 = (0.01 * span) ** 2, (0.03 * span) ** 2 / 2
    intensity = (2 * mean * mean_other + c1) / (mean.square() + mean_other.square() + c1)
    return (intensity * (shared + c3) / ((spread * spread_other + _TINY).sqrt() + c3)).float()


def _blurred(maps: Tensor) -> Tensor:
    kernel = torch.tensor(_BLUR, device=maps.device, dtype=maps.dtype)
    padded = F.pad(maps[:, None], (1, 1, 1, 1), mode="replicate")
    return F.conv2d(F.conv2d(padded, kernel[None, None, :, None]), kernel[None, None, None])[:, 0]


def _flatness(power: Tensor, frame: int) -> Tensor:
    """Mean logarithm less logarithm of the mean of the bins of each group: 0 for a flat spectrum, ``[B, F, G]``."""
    power = power + FLOOR**2
    owner = _owners().to(power.device)
    logs, means = (one @ owner for one in (power.log(), power))
    found: Tensor = torch.unflatten(logs - means.log(), 1, (-1, frame)).mean(dim=2) / 2
    return found


@lru_cache(maxsize=1)
def _owners() -> Tensor:
    """Which group a bin belongs to most, ``[Q, G]``, divided by the number of such bins."""
    with torch.inference_mode(False):
        bands = mel_rows(torch.eye(257)[None], floor=0.0)[0]  # [Q, M]
        grouped = torch.unflatten(bands, -1, (GROUPS, BANDS // GROUPS)).sum(dim=-1)
        owner = F.one_hot(grouped.argmax(dim=-1), GROUPS).float() * (grouped.sum(dim=-1, keepdim=True) > 0)
        return owner / owner.sum(dim=0).clamp(min=1)


def _together(framed: Tensor) -> Tensor:
    """Correlation of each group's level with that of all bands over a frame: ``[B, F, rows, M] -> [B, F, G]``."""
    groups = torch.unflatten(framed, -1, (GROUPS, BANDS // GROUPS)).mean(dim=-1)
    groups = groups - groups.mean(dim=2, keepdim=True)
    whole = groups.mean(dim=-1, keepdim=True)
    norm = groups.square().sum(dim=2) * whole.square().sum(dim=2)
    return (groups * whole).sum(dim=2) / ((norm + _TINY).sqrt() + 1e-2)


def _pitch(power: Tensor, frame: int) -> Tensor:
    """Periodicity below and above 2 kHz, and octaves above 165 Hz times periodicity, ``[B, F, 3]``.

    Rows count by their energy below 2 kHz.
    """
    low = torch.zeros_like(power)
    low[..., _VOICE_BINS] = power[..., _VOICE_BINS]
    likeness = _autocorrelation(low)
    best, place = likeness.max(dim=-1)
    near = F.max_pool1d(_autocorrelation(power - low), _NEAR, 1, _NEAR // 2)
    high = near.gather(-1, place[..., None])[..., 0]
    octaves = (RATE / _MIDDLE / (place + _SHORTEST)).log2()
    weight = torch.unflatten(low.sum(dim=-1) + FLOOR**2, 1, (-1, frame))
    weight = weight / weight.sum(dim=2, keepdim=True)
    voiced = ((best - 0.4) / 0.4).clamp(0, 1)
    found = torch.unflatten(torch.stack([best, high, octaves * voiced], dim=-1), 1, (-1, frame))
    return (found * weight[..., None]).sum(dim=2)


def _autocorrelation(power: Tensor) -> Tensor:
    """Normalised, of periods from `_SHORTEST` to `_LONGEST` samples, averaged over rows: ``[B, R, periods]``."""
    found = torch.fft.irfft(power, dim=-1)[..., : _LONGEST + 1]
    likeness = (found / (found[..., :1] + FLOOR**2) / _of_window().to(power.device)).clamp(-1, 1)
    smooth = F.avg_pool1d(likeness.transpose(1, 2), _STEADY, 1, _STEADY // 2, count_include_pad=False)
    return smooth.transpose(1, 2)[..., _SHORTEST:]


@lru_cache(maxsize=1)
def _of_window() -> Tensor:
    """What the window of a row makes of the autocorrelation of any sound, ``[_LONGEST + 1]``."""
    with torch.inference_mode(False):
        own: Tensor = torch.fft.irfft(torch.fft.rfft(torch.hann_window(400), 1024).abs().square())[: _LONGEST + 1]
        return own / own[0]
