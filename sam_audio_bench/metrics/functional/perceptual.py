"""Predicted listener ratings of an estimate given its clean reference. docs/perceptual.md derives every step.

Shape legend: ``[C, N]`` channels and samples, ``[T, B]`` frames and bands (`hearing`), ``[K, B]`` cells of
several frames and bands.
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
    MIN_SECONDS,
    Aligner,
    excitation,
    loudness,
    prepare_signal,
    row_blocks,
)
from sam_audio_bench.metrics.functional.selection import Weighted, percentile, weighted_median

__all__ = ["WORST", "PerceptualFeatures", "PerceptualReference", "Ratings", "perceptual"]

Cells = NDArray[np.float64]
Reals = NDArray[np.float32]

_BLOCK = 1200  # frames that share one blend of target and interference: 9.6 s, a whole number of cells
_SLOW, _FAST = 10, 3  # frames per cell: 80 and 24 ms
_SLOW_RANGE, _FAST_RANGE = 40.0, 50.0  # dB below the loudest cells that are still audible
_UPPER = 18  # the first band of the upper half, above 1.9 kHz
_AUDIBLE = 5.0  # dB above the floor in any band for the reference to count as audible
_AUDIBLE_FAST = 15.0
_BLUR = 0.8  # cells
_SOUNDING = 1e-5  # energy relative to the loudest frame, from which frames are used to measure levels
_LOUD = 1e-3  # energy relative to a band's loudest frame
_DOMINANT = 4.0  # energy ratio to the other source for a source to dominate a cell
_LITTLE = 0.25  # dB: a mixture that rises less above its target is almost clean
_CLEAN_RISE = 5.0  # dB that replace the mixture's rise if there is nothing to remove
_LOST = 20.0  # dB that the target is lower, relative to the residual, than in the mixture when it counts as missing
_CEILING = 1.5  # maximum, relative to the mixture's rise: larger deviations are not perceived as worse
_TINY = 1e-30


class Ratings(NamedTuple):
    """Ratings from 1, worst, to 5, best; floats, or tensors ``[...]``."""

    overall: Tensor | float
    recall: Tensor | float
    precision: Tensor | float
    faithfulness: Tensor | float


WORST = Ratings(1.0, 1.0, 1.0, 1.0)


class PerceptualFeatures(NamedTuple):
    """Features that the ratings are computed from, with their letters in docs/perceptual.md."""

    slow: float  # Q: similarity of slow patterns to the reference's, 0…1
    fast: float  # U: similarity of fast patterns in the upper bands, 0…1
    blend: float  # F: similarity to the best-fitting blend of target and interference, 0…1
    holes: float  # H: dB by which the estimate lies below that blend, weighted by the reference's loudness
    share: float  # R: share of the reference's loudness that is preserved, 0…1
    rise: float  # P: rise above the reference, relative to the mixture's
    leak: float  # I: the part of the rise that the interference explains
    presence: float  # degree to which the target is present at all, 0…1

    def ratings(self) -> Ratings:
        """Computes the four ratings."""
        similarity = 0.6 * self.slow + 0.4 * self.fast
        qualities = (
            1 - 1.25 * (1 - similarity) - 0.4 * self.leak - 0.05 * self.holes,
            (self.share - 0.4) / 0.6,  # a sound unrelated to the target shares about 40 %
            1 - (self.rise + self.leak) / 2,
            1 - 1.2 * (1 - self.blend) - 0.05 * self.holes,
        )
        return Ratings(*(1 + 4 * float(np.clip(quality, 0, 1)) * self.presence for quality in qualities))


def perceptual(
    *, reference: Tensor, estimate: Tensor, mixture: Tensor, rate: int, residual: Tensor | None = None
) -> Ratings:
    """Predicts listener ratings, from 1 to 5, of estimates whose clean reference is known.

    Invariant to phase, to a delay of up to 20 ms, and to the estimate's level, polarity and constant offset. Channels
    are combined. Source: docs/perceptual.md; ERB bands after Glasberg and Moore 1990, NSIM after Hines et al. 2015
    (ViSQOL), the decomposition of errors after Emiya et al. 2011 (PEASS).

    Args:
        reference: ``[..., channels, time]``.
        estimate: ``[..., channels, time]``.
        mixture: ``[..., channels, time]``.
        rate: sampling rate in Hz.
        residual: reference of everything else in the mixture; None: the mixture minus the reference at the gain that
            fits best.

    Returns:
        Four tensors ``[...]``, float64; NaN if the reference is silent or a sample is not finite, 1 if the estimate is
        silent.

    Raises:
        UsageError: the shapes differ, or the signals are shorter than `hearing.MIN_SECONDS`.
    """
    signals = [reference, estimate, mixture, *([] if residual is None else [residual])]
    if len({one.shape for one in signals}) > 1 or reference.ndim < 2 or reference.shape[-1] < MIN_SECONDS * rate:
        found = ", ".join(str(list(one.shape)) for one in signals)
        expected = f"signals of one shape [..., channels, time], time at least {MIN_SECONDS} s"
        raise UsageError(f"expected {expected}, found {found} at {rate} Hz")
    flat = [one.reshape(-1, *one.shape[-2:]) for one in signals]
    rated = [_rate_one(*parts, rate=rate) for parts in zip(*flat, strict=True)]
    axes = torch.tensor(rated, dtype=torch.float64).reshape(*reference.shape[:-2], 4)
    return Ratings(*axes.unbind(-1))


def _rate_one(
    reference: Tensor, estimate: Tensor, mixture: Tensor, residual: Tensor | None = None, *, rate: int
) -> Ratings:
    parts = (reference, estimate, mixture, *([] if residual is None else [residual]))
    if not has_sound(reference) or not all(map(all_finite, parts)):
        return Ratings(*[float("nan")] * 4)
    return PerceptualReference(reference, mixture, rate, residual).rate(estimate)


class PerceptualReference:
    """Precomputed references of one mixture, with which any number of estimates can be rated.

    Args:
        reference: ``[channels, time]``, not silent.
        mixture: ``[channels, time]``.
        rate: sampling rate in Hz.
        residual: as for `perceptual`.
    """

    def __init__(self, reference: Tensor, mixture: Tensor, rate: int, residual: Tensor | None = None) -> None:
        self._rate = rate
        own, given = _peak(reference), mixture if residual is None else residual
        peak = _peak(mixture) if residual is None else max(own, _peak(residual))
        sound, other = prepare_signal(reference, rate, own), prepare_signal(given, rate, peak)
        gain = own / peak
        if residual is None:
            product, power = _inner(sound, other), _inner(sound, sound)
            _scale(sound, product / power if product > 0 and power > 0 else gain)
            mixed, other = other, _elementwise(torch.sub, other, sound)
        else:
            _scale(sound, gain)
            mixed = _elementwise(torch.add, sound, other)
        self._align = Aligner(sound, mixed)
        energies = excitation(sound), excitation(other)
        frames = energies[0].sum(axis=1)
        sounding = frames > _SOUNDING * frames.max()
        level = float(np.percentile(frames[sounding], 95)) if sounding.any() else 1.0
        for energy in energies:
            energy /= np.float32(level)
        self._s, self._n = energies
        self._target_cells, self._residual_cells = _DominantCells(self._s, self._n), _DominantCells(self._n, self._s)
        self._residual_levels = tuple(
            self._residual_level(one, self._target_cells.level(one)) for one in (energies[0] + energies[1], self._n)
        )
        self._top = float(np.percentile(self._s[sounding], 99)) if sounding.any() else 1.0

    def rate(self, estimate: Tensor) -> Ratings:
        """Rates one estimate ``[channels, time]``; a silent one is rated 1 on every axis."""
        found = self.extract_features(estimate)
        return WORST if found is None else found.ratings()

    def extract_features(self, estimate: Tensor) -> PerceptualFeatures | None:
        """Computes the features of an estimate; None if it is silent."""
        if not has_sound(estimate):
            return None
        aligned, lag = self._align(prepare_signal(estimate, self._rate, _peak(estimate)))
        energies = excitation(aligned)
        level = self._target_cells.level(energies)
        if level is None:
            return None
        sums = _FeatureSums()
        # neither end has padding
        first, last = -(-max(0, -lag) // (HOP * _SLOW)) * _SLOW, len(energies) - -(-max(0, lag) // HOP)
        edges = [*range(first, max(last - _BLOCK // 4, first + 1), _BLOCK), last]
        for start, stop in pairwise(edges):
            y = energies[start:stop].astype(np.float64) / 10 ** (level / 10)
            sums.add(self._s[start:stop].astype(np.float64), self._n[start:stop].astype(np.float64), y, self._top)
        return sums.features(self._target_presence(energies, level))

    def _residual_level(self, energies: Reals, level: float | None) -> float | None:
        """Returns the level of the residual relative to the target's, ``level``, in dB; None if either has no cells."""
        other = self._residual_cells.level(energies, gaps=True)
        return None if other is None or level is None else other - level

    def _target_presence(self, energies: Reals, level: float) -> float:
        """Returns 1 if the target is as loud relative to the residual as in the mixture, or louder, 0 if missing."""
        mixture, residual = self._residual_levels
        found = self._residual_level(energies, level)
        if mixture is None or residual is None or found is None or residual - mixture < 1:
            return 1.0
        return 1 - float(np.clip((found - mixture) / min(residual - mixture, _LOST), 0, 1))


def _peak(signal: Tensor) -> float:
    return max(float(max(part.max(), -part.min())) for (part,) in iter_blocks_if_long(signal)) or 1.0


def _inner(one: Reals, other: Reals) -> float:
    """Computes the inner product of ``[C, N]``; long signals in float64, so that it does not depend on the parts."""
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


class _DominantCells:
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

    def _ratios(self, energies: Reals) -> Iterator[tuple[NDArray[np.float32], Cells]]:
        """Yields energies of the source in its cells, and the estimate's divided by them."""
        for rows in row_blocks(self._one):
            cells = self._cells[rows]
            source, ratio = self._one[rows][cells], energies[rows][cells].astype(np.float64)
            ratio /= source
            np.maximum(ratio, 1e-12, out=ratio)
            yield source, ratio

    def level(self, energies: Reals, *, gaps: bool = False) -> float | None:
        """Returns the median level of an estimate relative to the source in dB, weighted by loudness.

        With ``gaps``, gaps of the estimate are included, so that a removed residual has a low level; without, a target
        with drop-outs has the level of the remainder. None: there are no such cells, or all of them are silent.
        """
        if not self._cells.any():
            return None
        floor = _LOUD * percentile(lambda: (ratio for _, ratio in self._ratios(energies)), 90)

        def kept() -> Iterator[Weighted]:
            for source, ratio in self._ratios(energies):
                kept = (ratio > floor) | gaps
                yield ratio[kept], loudness(source.astype(np.float64))[kept]

        median = weighted_median(kept)
        return None if median is None else float(10 * np.log10(median))


class _FeatureSums:
    """Sums over blocks, of whose means the features consist."""

    def __init__(self) -> None:
        self._kept: dict[str, NDArray[np.float64]] = {}

    def _accumulate(self, name: str, value: float, count: float) -> None:
        self._kept.setdefault(name, np.zeros(2))
        self._kept[name] += (value, count)

    def _mean(self, name: str) -> float:
        value, count = self._kept[name]
        return float(value / count) if count else 0.0

    def add(self, s: Cells, n: Cells, y: Cells, top: float) -> None:
        """Adds a block: energies ``[T, B]`` of target, interference, and of the estimate at the target's level."""
        a = _interference_gain(s, n, y)
        explained = s + a * n
        slow = [_decibels(_cells(energy, _SLOW), top, _SLOW_RANGE) for energy in (s, y, explained)]
        fast = [_decibels(_cells(energy, _FAST), top, _FAST_RANGE) for energy in (s, y, explained, s + n)]
        masked = _decibels(_cells(maximum_filter1d(s, 3, axis=0), _FAST), top, _FAST_RANGE)
        audible, audible_fast = (slow[0] > _AUDIBLE).any(axis=1), (fast[0] > _AUDIBLE_FAST).any(axis=1)
        for name, first, second, span, frames, bands in (
            ("slow", slow[0], slow[1], _SLOW_RANGE, audible, 0),
            ("blend", slow[2], slow[1], _SLOW_RANGE, audible, 0),
            ("fast", fast[0], fast[1], _FAST_RANGE, audible_fast, _UPPER),
        ):
            similarity = _nsim(first, second, span)[frames, bands:]
            self._accumulate(name, similarity.sum(), similarity.size)
        weight = _cells(s, _SLOW) ** 0.3
        self._accumulate("holes", (np.maximum(slow[2] - slow[1], 0) * weight).sum(), weight.sum())
        target, estimate = loudness(s), loudness(y)
        self._accumulate("share", np.minimum(target, estimate).sum(), target.sum())
        for name, one in (("rise", fast[1]), ("leak", fast[2]), ("mixture", fast[3])):
            self._accumulate(name, np.maximum(one - masked, 0).sum(), one.size)

    def features(self, presence: float) -> PerceptualFeatures:
        """Computes the means; lowers ``presence`` if the estimate resembles neither the target nor a blend of it."""
        slow, blend, rise = (self._mean(name) for name in ("slow", "blend", "mixture"))
        full = rise + _LITTLE if rise > _LITTLE else 2 * rise + _CLEAN_RISE * (1 - rise / _LITTLE)
        return PerceptualFeatures(
            slow,
            self._mean("fast"),
            blend,
            self._mean("holes"),
            self._mean("share"),
            min(self._mean("rise") / full, _CEILING),
            min(self._mean("leak") / full, _CEILING),
            presence * float(np.clip((max(slow, blend) - 0.3) / 0.25, 0, 1)),
        )


def _cells(energy: Cells, frames: int) -> Cells:
    """Averages over cells of ``frames``, ``[K, B]``; drops an incomplete last cell; a shorter block is one cell."""
    count = max(1, len(energy) // frames)
    cells: Cells = energy[: count * frames].reshape(count, -1, energy.shape[1]).mean(axis=1)
    return cells


def _decibels(energy: Cells, top: float, span: float) -> Cells:
    """Converts to decibels above a floor ``span`` dB below ``top``, at least 0."""
    return np.maximum(10 * np.log10(energy / top + 1e-12) + span, 0)


def _interference_gain(s: Cells, n: Cells, y: Cells) -> Cells:
    """Fits ``y ~ a s + b n`` by non-negative least squares of relative errors; returns the gains b ``[B]``."""
    weight = (s + n + 1e-4) ** -1.4
    ss, nn, sn, ys, yn = ((weight * product).sum(axis=0) for product in (s * s, n * n, s * n, y * s, y * n))
    determinant = ss * nn - sn * sn
    solved = determinant > 1e-9 * ss * nn
    safe = np.where(solved, determinant, 1)
    gain = np.where(solved, (yn * ss - ys * sn) / safe, 0)
    alone = np.where(solved, (ys * nn - yn * sn) / safe, 0) < 0
    gain = np.where(alone, yn / np.maximum(nn, _TINY), gain)
    return np.maximum(gain, 0)


def _nsim(one: Cells, other: Cells, span: float) -> Cells:
    """Computes the NSIM of two maps in dB, ``[K, B]``, at most 1: ViSQOL's product of intensity and structure."""

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
    similarity: Cells = intensity * (shared + c3) / (np.sqrt(spread * spread_other) + c3)
    return similarity
