"""Features of how an estimate sounds: similarity to the mixture where it is audible in it, noisiness and pitch.

Coherence (`sam_audio_bench.judge.front_end`) measures which part of a mixture an estimate explains. It does not
distinguish altered phases, which are inaudible, from noise that follows the sound, which is audible. These features do:
similarity of spectral patterns as in ViSQOL (NSIM, Hines et al. 2015), spectral flatness within bands, changes of the
estimate from row to row, comodulation of bands, and periodicity. They are also independent of phase, delay and level.

Letters: B pairs, R rows of 10 ms, Q bins, M mel bands, F frames, G groups of bands, C cells of some rows.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from sam_audio_bench.judge.audio_encoder import FLOOR, NUM_BANDS, RATE, mel_rows

__all__ = [
    "NUM_GROUPS",
    "NUM_PITCH_FEATURES",
    "NUM_SPECTRAL_FEATURES",
    "group_means",
    "peak_level",
    "spectral_features",
]

NUM_GROUPS = 16
"""Groups of neighbouring mel bands."""

_PER_GROUP = 8

NUM_PITCH_FEATURES = 9
"""Pitch features, the last of `spectral_features`: three each for mixture, estimate and residual."""

NUM_SPECTRAL_FEATURES = NUM_GROUPS * _PER_GROUP + NUM_PITCH_FEATURES
"""Features per frame, see `spectral_features`."""

_SLOW, _FAST = 8, 2  # rows per cell: 80 and 20 ms
_SPANS = {_SLOW: 40.0, _FAST: 50.0}  # dB below the loudest cells that are still audible
_LOUDEST = 0.99  # quantile of a mixture's cells
_AUDIBLE = 5.0  # dB above the floor
_MASKED = 6.0  # dB below the mixture, at which an estimate is masked in it
_BLUR = (0.239, 0.522, 0.239)  # a Gaussian of 0.8 cells
_NATS = 8.685889638  # dB
_SHORTEST, _LONGEST = 40, 200  # samples of a period: 400 to 80 Hz
_VOICE_BINS = slice(3, 64)  # 94 to 2000 Hz: where pitch is searched
_NEAR = 5  # samples around a period in which high frequencies may repeat
_STEADY = 5  # rows over which periodicity is averaged
_MIDDLE = 165.0  # Hz, between most men's and most women's voices
_TINY = 1e-12


def peak_level(mixture: Tensor) -> Tensor:
    """Returns the 99th percentile of a mixture's levels from its log-mel rows: ``[B, R, M] -> [B, 1, 1]``."""
    found: Tensor = (2 * mixture.flatten(1)).quantile(_LOUDEST, dim=1)[:, None, None]
    return found


def spectral_features(
    mixture: Tensor, estimate: Tensor, powers: tuple[Tensor, Tensor, Tensor], frame: int, top: Tensor
) -> Tensor:
    """Returns features per frame, ``[B, F, NUM_SPECTRAL_FEATURES]``.

    Per group of bands: similarity of slow patterns of estimate and mixture, everywhere and where the estimate is
    audible in the mixture; the share of such cells; similarity of fast patterns there; flatness of the spectra of
    estimate and mixture; changes of the estimate from row to row; and correlation of the group's level with that of the
    whole estimate. Then for mixture, estimate and residual: periodicity below and above 2 kHz, and pitch in octaves
    above 165 Hz times how voiced the frame is.

    Args:
        mixture: log-mel rows ``[B, R, M]``, or ``[1, R, M]`` for all estimates.
        estimate: log-mel rows ``[B, R, M]``.
        powers: power spectra of mixture, estimate and residual, ``[B, R, Q]``.
        frame: rows per frame.
        top: `peak_level` of the whole mixtures, of which the rows may be a part.
    """
    mixture = mixture.expand_as(estimate)
    slow, fast = (_patterns(mixture, estimate, top, rows, frame) for rows in (_SLOW, _FAST))
    steps = F.pad((estimate[:, 1:] - estimate[:, :-1]).abs(), (0, 0, 1, 0))
    parts = [
        *slow,
        fast[1],
        _flatness(powers[1], frame),
        _flatness(powers[0], frame).expand(len(estimate), -1, -1),
        group_means(torch.unflatten(steps, 1, (-1, frame))),
        _comodulation(torch.unflatten(estimate, 1, (-1, frame))),
        *(_pitch(power, frame).expand(len(estimate), -1, -1) for power in powers),
    ]
    return torch.cat(parts, dim=-1)


def group_means(framed: Tensor) -> Tensor:
    """Returns means over the rows of a frame and the bands of a group: ``[B, F, rows, M] -> [B, F, G]``."""
    return torch.unflatten(framed.mean(dim=2), -1, (NUM_GROUPS, NUM_BANDS // NUM_GROUPS)).mean(dim=-1)


def _patterns(mixture: Tensor, estimate: Tensor, top: Tensor, rows: int, frame: int) -> tuple[Tensor, Tensor, Tensor]:
    """Returns similarity everywhere, similarity where the estimate is audible, and the share of such cells."""
    span, count = _SPANS[rows], frame // rows
    one, other = (
        ((_NATS / 2) * (torch.unflatten((2 * part).exp(), 1, (-1, rows)).mean(dim=2).log() - top) + span).clamp(min=0)
        for part in (mixture, estimate)
    )
    similarity = _nsim(one, other, span)
    audible = ((other - one + _MASKED) / _MASKED).clamp(0, 1) * (other > _AUDIBLE)
    whole, kept, share = (
        group_means(torch.unflatten(part, 1, (-1, count))) for part in (similarity, similarity * audible, audible)
    )
    return whole, (kept + 0.02) / (share + 0.02), share


def _nsim(one: Tensor, other: Tensor, span: float) -> Tensor:
    """Returns NSIM of maps in dB ``[B, C, M]``: the product of intensity and structure, as in ViSQOL."""
    one, other = one.double(), other.double()  # for the precision of differences of squares
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
    """Returns spectral flatness per group, ``[B, F, G]``: mean of logarithms minus logarithm of the mean, 0 if flat."""
    power = power + FLOOR**2
    owner = _bin_weights().to(power.device)
    logs, means = (one @ owner for one in (power.log(), power))
    found: Tensor = torch.unflatten(logs - means.log(), 1, (-1, frame)).mean(dim=2) / 2
    return found


@lru_cache(maxsize=1)
def _bin_weights() -> Tensor:
    """Returns weights ``[Q, G]`` that average the bins of each group; a bin belongs to its strongest group."""
    with torch.inference_mode(False):
        bands = mel_rows(torch.eye(257)[None], floor=0.0)[0]  # [Q, M]
        grouped = torch.unflatten(bands, -1, (NUM_GROUPS, NUM_BANDS // NUM_GROUPS)).sum(dim=-1)
        owner = F.one_hot(grouped.argmax(dim=-1), NUM_GROUPS).float() * (grouped.sum(dim=-1, keepdim=True) > 0)
        return owner / owner.sum(dim=0).clamp(min=1)


def _comodulation(framed: Tensor) -> Tensor:
    """Returns the correlation of each group's level with that of all bands: ``[B, F, rows, M] -> [B, F, G]``."""
    groups = torch.unflatten(framed, -1, (NUM_GROUPS, NUM_BANDS // NUM_GROUPS)).mean(dim=-1)
    groups = groups - groups.mean(dim=2, keepdim=True)
    whole = groups.mean(dim=-1, keepdim=True)
    norm = groups.square().sum(dim=2) * whole.square().sum(dim=2)
    return (groups * whole).sum(dim=2) / ((norm + _TINY).sqrt() + 1e-2)


def _pitch(power: Tensor, frame: int) -> Tensor:
    """Returns periodicity below and above 2 kHz, and octaves above 165 Hz times voicing, ``[B, F, 3]``.

    Rows are weighted by their energy below 2 kHz.
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
    """Returns normalised autocorrelation at `_SHORTEST` to `_LONGEST` samples, averaged over rows: ``[B, R, lags]``."""
    found = torch.fft.irfft(power, dim=-1)[..., : _LONGEST + 1]
    likeness = (found / (found[..., :1] + FLOOR**2) / _window_autocorrelation().to(power.device)).clamp(-1, 1)
    smooth = F.avg_pool1d(likeness.transpose(1, 2), _STEADY, 1, _STEADY // 2, count_include_pad=False)
    return smooth.transpose(1, 2)[..., _SHORTEST:]


@lru_cache(maxsize=1)
def _window_autocorrelation() -> Tensor:
    """Returns the normalised autocorrelation of the analysis window, ``[_LONGEST + 1]``."""
    with torch.inference_mode(False):
        own: Tensor = torch.fft.irfft(torch.fft.rfft(torch.hann_window(400), 1024).abs().square())[: _LONGEST + 1]
        return own / own[0]
