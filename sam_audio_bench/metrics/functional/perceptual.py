"""What listeners would say of an answer beside its clean reference. docs/perceptual.md derives every step.

Shape legend: ``[C, N]`` channels and samples, ``[T, B]`` frames and bands (`hearing`), ``[K, B]`` cells of
several frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, maximum_filter1d
from torch import Tensor

from sam_audio_bench.blocks import all_finite, apply_blockwise, has_sound, is_long, iter_blocks, iter_blocks_if_long
from sam_audio_bench.errors import UsageError
from sam_audio_bench.metrics.functional.hearing import (
    HOP,
    SHORTEST,
    Aligner,
    excitation,
    loudness,
    prepared,
    row_blocks,
)
from sam_audio_bench.metrics.functional.selection import Weighted, percentile, weighted_median

__all__ = ["WORST", "Impressions", "Original", "Ratings", "perceptual"]

Cells = NDArray[np.float64]
Reals = NDArray[np.float32]

_BLOCK = 1200  # frames that share one blend of target and interference: 9.6 s, a whole number of cells
_SLOW, _FAST = 10, 3  # frames a cell: 80 and 24 ms
_SLOW_RANGE, _FAST_RANGE = 40.0, 50.0  # dB below the loudest cells that are still heard
_UPPER = 18  # the first band of the upper half, above 1.9 kHz
_HEARD = 5.0  # dB above the floor in some band: the reference sounds
_HEARD_FAST = 15.0
_BLUR = 0.8  # cells
_SOUNDING = 1e-5  # of the loudest frame: where levels are measured
_LOUD = 1e-3  # of a band's loudest frame
_DOMINANT = 4.0  # times the other source's energy: a cell is one source's
_LITTLE = 0.25  # dB: a mixture that rises less above its target is all but clean
_CLEAN_RISE = 5.0  # dB that count as a mixture's rise where there is nothing to remove
_LOST = 20.0  # dB below its place in the mixture: the target is gone
_CEILING = 1.5  # times the mixture's rise: more strangeness than that is not heard as more
_TINY = 1e-30


class Ratings(NamedTuple):
    """From 1, worst, to 5, best; floats, or tensors ``[...]``."""

    overall: Tensor | float
    recall: Tensor | float
    precision: Tensor | float
    faithfulness: Tensor | float


WORST = Ratings(1.0, 1.0, 1.0, 1.0)


class Impressions(NamedTuple):
    """What the ratings are made of; docs/perceptual.md has a letter for each."""

    slow: float  # Q: likeness of slow patterns to the reference's, 0…1
    fast: float  # U: likeness of fast patterns in the upper bands, 0…1
    blend: float  # F: likeness to the best blend of target and interference, 0…1
    holes: float  # H: dB by which the answer lies below that blend, weighted by the reference's loudness
    share: float  # R: share of the reference's loudness that is there, 0…1
    rise: float  # P: rise above the reference, over the mixture's
    leak: float  # I: the part of it that the interference explains
    presence: float  # 0…1: the target is there at all

    def ratings(self) -> Ratings:
        """The four ratings."""
        alike = 0.6 * self.slow + 0.4 * self.fast
        qualities = (
            1 - 1.25 * (1 - alike) - 0.4 * self.leak - 0.05 * self.holes,
            (self.share - 0.4) / 0.6,  # a sound that has nothing to do with the target shares some 40 %
            1 - (self.rise + self.leak) / 2,
            1 - 1.2 * (1 - self.blend) - 0.05 * self.holes,
        )
        return Ratings(*(1 + 4 * float(np.clip(quality, 0, 1)) * self.presence for quality in qualities))


def perceptual(
    *, reference: Tensor, estimate: Tensor, mixture: Tensor, rate: int, residual: Tensor | None = None
) -> Ratings:
    """Ratings as listeners would give them, from 1 to 5, of answers whose clean reference is known.

    Blind to phase, to a delay of up to 20 ms, and to the answer's level, polarity and constant offset. Channels are
    heard together. Source: docs/perceptual.md; ERB bands after Glasberg and Moore 1990, NSIM after Hines et al. 2015
    (ViSQOL), the split of errors after Emiya et al. 2011 (PEASS).

    Args:
        reference: ``[..., channels, time]``, what was asked for.
        estimate: ``[..., channels, time]``, the answer.
        mixture: ``[..., channels, time]``.
        rate: in Hz.
        residual: everything else in the mixture; None: the mixture less the reference at the gain that fits best.

    Returns:
        Four tensors ``[...]``, float64; NaN where the reference is silent or a sample is not finite, 1 where the
        estimate is silent.

    Raises:
        UsageError: shapes that differ, or signals below `hearing.SHORTEST`.
    """
    signals = [reference, estimate, mixture, *([] if residual is None else [residual])]
    if len({one.shape for one in signals}) > 1 or reference.ndim < 2 or reference.shape[-1] < SHORTEST * rate:
        found = ", ".join(str(list(one.shape)) for one in signals)
        expected = f"signals of one shape [..., channels, time], time at least {SHORTEST} s"
        raise UsageError(f"expected {expected}, found {found} at {rate} Hz")
    flat = [one.reshape(-1, *one.shape[-2:]) for one in signals]
    rated = [_one(*parts, rate=rate) for parts in zip(*flat, strict=True)]
    axes = torch.tensor(rated, dtype=torch.float64).reshape(*reference.shape[:-2], 4)
    return Ratings(*axes.unbind(-1))


def _one(reference: Tensor, estimate: Tensor, mixture: Tensor, residual: Tensor | None = None, *, rate: int) -> Ratings:
    parts = (reference, estimate, mixture, *([] if residual is None else [residual]))
    if not has_sound(reference) or not all(map(all_finite, parts)):
        return Ratings(*[float("nan")] * 4)
    return Original(reference, mixture, rate, residual).rate(estimate)


class Original:
    """One mixture whose target is known, beside which any number of answers can be rated.

    Args:
        reference: ``[channels, time]``, not silent.
        mixture: ``[channels, time]``.
        rate: in Hz.
        residual: as of `perceptual`.
    """

    def __init__(self, reference: Tensor, mixture: Tensor, rate: int, residual: Tensor | None = None) -> None:
        self._rate = rate
        own, given = _peak(reference), mixture if residual is None else residual
        peak = _peak(mixture) if residual is None else max(own, _peak(residual))
        sound, other = prepared(reference, rate, own), prepared(given, rate, peak)
        gain = own / peak
        if residual is None:
            product, power = _inner(sound, other), _inner(sound, sound)
            _scale(sound, product / power if product > 0 and power > 0 else gain)
            mixed, other = other, _elementwise(torch.sub, other, sound)
        else:
            _scale(sound, gain)
            mixed = _elementwise(torch.add, sound, other)
        self._aligned = Aligner(sound, mixed)
        energies = excitation(sound), excitation(other)
        frames = energies[0].sum(axis=1)
        sounding = frames > _SOUNDING * frames.max()
        level = float(np.percentile(frames[sounding], 95)) if sounding.any() else 1.0
        for energy in energies:
            energy /= np.float32(level)
        self._s, self._n = energies
        self._of_target, self._of_rest = _Own(self._s, self._n), _Own(self._n, self._s)
        self._ladder = tuple(
            self._tilt(one, self._of_target.level(one)) for one in (energies[0] + energies[1], self._n)
        )
        self._top = float(np.percentile(self._s[sounding], 99)) if sounding.any() else 1.0

    def rate(self, estimate: Tensor) -> Ratings:
        """Ratings of one answer ``[channels, time]``; a silent one gets 1 on every axis."""
        found = self.hear(estimate)
        return WORST if found is None else found.ratings()

    def hear(self, estimate: Tensor) -> Impressions | None:
        """What an answer sounds like beside the reference; None where it is silent."""
        if not has_sound(estimate):
            return None
        moved, lag = self._aligned(prepared(estimate, self._rate, _peak(estimate)))
        answer = excitation(moved)
        level = self._of_target.level(answer)
        if level is None:
            return None
        sums = _Sums()
        first, last = -(-max(0, -lag) // (HOP * _SLOW)) * _SLOW, len(answer) - -(-max(0, lag) // HOP)  # both sound
        edges = [*range(first, max(last - _BLOCK // 4, first + 1), _BLOCK), last]
        for start, stop in pairwise(edges):
            y = answer[start:stop].astype(np.float64) / 10 ** (level / 10)
            sums.add(self._s[start:stop].astype(np.float64), self._n[start:stop].astype(np.float64), y, self._top)
        return sums.impressions(self._kept(answer, level))

    def _tilt(self, answer: NDArray[np.float32], level: float | None) -> float | None:
        """By how many dB an answer of this ``level`` raises the rest over the target; None: one owns no cells."""
        other = self._of_rest.level(answer, gaps=True)
        return None if other is None or level is None else other - level

    def _kept(self, answer: NDArray[np.float32], level: float) -> float:
        """1: the target is at least as loud beside the rest as in the mixture; 0: there is only the rest."""
        mixture, rest = self._ladder
        found = self._tilt(answer, level)
        if mixture is None or rest is None or found is None or rest - mixture < 1:
            return 1.0
        return 1 - float(np.clip((found - mixture) / min(rest - mixture, _LOST), 0, 1))


def _peak(signal: Tensor) -> float:
    return max(float(max(part.max(), -part.min())) for (part,) in iter_blocks_if_long(signal)) or 1.0


def _inner(one: Reals, other: Reals) -> float:
    """Inner product of ``[C, N]``, of long ones in float64, so that it does not depend on the parts."""
    if not is_long(one):
        return float(np.vdot(one, other))
    pairs = iter_blocks(torch.from_numpy(one), torch.from_numpy(other))
    return sum(float(np.vdot(*(part.double().numpy() for part in pair))) for pair in pairs)


def _scale(sound: Reals, factor: float) -> None:
    for (part,) in iter_blocks_if_long(torch.from_numpy(sound)):
        part.mul_(float(np.float32(factor)))


def _elementwise(function: Callable[..., Tensor], one: Reals, other: Reals) -> Reals:
    found: Reals = apply_blockwise(function, torch.from_numpy(one), torch.from_numpy(other)).numpy()
    return found


class _Own:
    """The cells in which one of two sources dominates."""

    def __init__(self, one: NDArray[np.float32], other: NDArray[np.float32]) -> None:
        self._one = one
        self._cells = (one > _LOUD * one.max(axis=0)) & (one > 0)
        if self._cells.any():
            bound = min(_DOMINANT, percentile(lambda: (odds for _, odds in self._odds(other)), 90))
            for rows, odds in self._odds(other):
                cells = self._cells[rows]
                cells[cells] = odds >= bound

    def _odds(self, other: NDArray[np.float32]) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        for rows in row_blocks(self._one):
            cells = self._cells[rows]
            odds = other[rows][cells]
            np.maximum(odds, np.float32(_TINY), out=odds)
            np.divide(self._one[rows][cells], odds, out=odds)
            yield rows, odds

    def _ratios(self, answer: NDArray[np.float32]) -> Iterator[tuple[NDArray[np.float32], Cells]]:
        """Energies of the source in its cells, and the answer's over them."""
        for rows in row_blocks(self._one):
            cells = self._cells[rows]
            wanted, ratio = self._one[rows][cells], answer[rows][cells].astype(np.float64)
            ratio /= wanted
            np.maximum(ratio, 1e-12, out=ratio)
            yield wanted, ratio

    def level(self, answer: NDArray[np.float32], *, gaps: bool = False) -> float | None:
        """Median level of an answer over the source in dB, weighted by loudness.

        Gaps of the answer count where ``gaps``: a rest that is gone has a low level; a target with drop-outs has that
        of what is left. None: there are no such cells, or nothing sounds in them.
        """
        if not self._cells.any():
            return None
        floor = _LOUD * percentile(lambda: (ratio for _, ratio in self._ratios(answer)), 90)

        def kept() -> Iterator[Weighted]:
            for wanted, ratio in self._ratios(answer):
                kept = (ratio > floor) | gaps
                yield ratio[kept], loudness(wanted.astype(np.float64))[kept]

        median = weighted_median(kept)
        return None if median is None else float(10 * np.log10(median))


class _Sums:
    """Sums over blocks of what the impressions are means of."""

    def __init__(self) -> None:
        self._kept: dict[str, NDArray[np.float64]] = {}

    def _gather(self, name: str, value: float, count: float) -> None:
        self._kept.setdefault(name, np.zeros(2))
        self._kept[name] += (value, count)

    def _mean(self, name: str) -> float:
        value, count = self._kept[name]
        return float(value / count) if count else 0.0

    def add(self, s: Cells, n: Cells, y: Cells, top: float) -> None:
        """One block: energies ``[T, B]`` of target, interference and answer at the target's level."""
        a = _blend(s, n, y)
        explained = s + a * n
        slow = [_decibels(_cells(energy, _SLOW), top, _SLOW_RANGE) for energy in (s, y, explained)]
        fast = [_decibels(_cells(energy, _FAST), top, _FAST_RANGE) for energy in (s, y, explained, s + n)]
        masked = _decibels(_cells(maximum_filter1d(s, 3, axis=0), _FAST), top, _FAST_RANGE)
        heard, heard_fast = (slow[0] > _HEARD).any(axis=1), (fast[0] > _HEARD_FAST).any(axis=1)
        for name, first, second, span, frames, bands in (
            ("slow", slow[0], slow[1], _SLOW_RANGE, heard, 0),
            ("blend", slow[2], slow[1], _SLOW_RANGE, heard, 0),
            ("fast", fast[0], fast[1], _FAST_RANGE, heard_fast, _UPPER),
        ):
            likeness = _likeness(first, second, span)[frames, bands:]
            self._gather(name, likeness.sum(), likeness.size)
        weight = _cells(s, _SLOW) ** 0.3
        self._gather("holes", (np.maximum(slow[2] - slow[1], 0) * weight).sum(), weight.sum())
        wanted, found = loudness(s), loudness(y)
        self._gather("share", np.minimum(wanted, found).sum(), wanted.sum())
        for name, one in (("rise", fast[1]), ("leak", fast[2]), ("mixture", fast[3])):
            self._gather(name, np.maximum(one - masked, 0).sum(), one.size)

    def impressions(self, kept: float) -> Impressions:
        """The means; the target is present as far as it was ``kept`` and the answer is like it or a blend of it."""
        slow, blend, rise = (self._mean(name) for name in ("slow", "blend", "mixture"))
        full = rise + _LITTLE if rise > _LITTLE else 2 * rise + _CLEAN_RISE * (1 - rise / _LITTLE)
        return Impressions(
            slow,
            self._mean("fast"),
            blend,
            self._mean("holes"),
            self._mean("share"),
            min(self._mean("rise") / full, _CEILING),
            min(self._mean("leak") / full, _CEILING),
            kept * float(np.clip((max(slow, blend) - 0.3) / 0.25, 0, 1)),
        )


def _cells(energy: Cells, frames: int) -> Cells:
    """Means ``[K, B]`` over cells of ``frames``; what is left at the end is dropped, a shorter block is one cell."""
    count = max(1, len(energy) // frames)
    cells: Cells = energy[: count * frames].reshape(count, -1, energy.shape[1]).mean(axis=1)
    return cells


def _decibels(energy: Cells, top: float, span: float) -> Cells:
    """Decibels above a floor ``span`` dB below ``top``, at least 0."""
    return np.maximum(10 * np.log10(energy / top + 1e-12) + span, 0)


def _blend(s: Cells, n: Cells, y: Cells) -> Cells:
    """Gain ``[B]`` of the interference in the non-negative least squares ``y ~ a s + b n``, errors being relative."""
    weight = (s + n + 1e-4) ** -1.4
    ss, nn, sn, ys, yn = ((weight * product).sum(axis=0) for product in (s * s, n * n, s * n, y * s, y * n))
    determinant = ss * nn - sn * sn
    solved = determinant > 1e-9 * ss * nn
    safe = np.where(solved, determinant, 1)
    gain = np.where(solved, (yn * ss - ys * sn) / safe, 0)
    alone = np.where(solved, (ys * nn - yn * sn) / safe, 0) < 0
    gain = np.where(alone, yn / np.maximum(nn, _TINY), gain)
    return np.maximum(gain, 0)


def _likeness(one: Cells, other: Cells, span: float) -> Cells:
    """NSIM of two maps in dB, ``[K, B]``, at most 1: ViSQOL's product of intensity and structure."""

    def blurred(values: Cells) -> Cells:
        smooth: Cells = gaussian_filter(values, _BLUR, mode="nearest")
        return smooth

    mean, mean_other = blurred(one), blurred(other)
    spread, spread_other = (
        np.maximum(blurred(values * values) - middle * middle, 0)
        for values, middle in ((one, mean), (other, mean_other))
    )
    shared = blurred(one * other) - mean * mean_other
    c1, c3 = (0.01 * span) ** 2, (0.03 * span) ** 2 / 2
    intensity = (2 * mean * mean_other + c1) / (mean**2 + mean_other**2 + c1)
    likeness: Cells = intensity * (shared + c3) / (np.sqrt(spread * spread_other) + c3)
    return likeness
