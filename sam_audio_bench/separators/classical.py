"""Separators without learning, which compute a time-frequency mask from the mixture's magnitudes and the prompt.

Letters: C channels, F frequencies, T frames.

Common behaviour:

* The target is the masked mixture, the residual is mixture - target; length, rate and channels are the mixture's.
* Spans of any sign gate the target (`span_gain`), in addition to the rest of the prompt.
* A text without a known keyword, spans alone or a video alone select the default side of each class.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool1d, max_pool1d, normalize

from sam_audio_bench.separators.base import SpectrumSeparator
from sam_audio_bench.separators.prompt_keywords import ACCOMPANIMENT, PERCUSSIVE, VOICE, first_mention, span_gain
from sam_audio_bench.separators.stft import STFT, ratio_mask
from sam_audio_bench.types import Prompt, Query, Separation

__all__ = ["HPSS", "MaskSeparator", "RepetSim", "SpectralGate"]


class MaskSeparator(SpectrumSeparator, ABC):
    """Separates each query by a mask on its spectrum and the gain of its spans."""

    def separate(self, queries: Sequence[Query], seeds: Sequence[int]) -> list[Separation]:
        """Returns one estimate per query, in order; the seeds are ignored."""
        return [self._separate_one(query) for query in queries]

    @abstractmethod
    def mask(self, magnitude: Tensor, gain: Tensor, prompt: Prompt, grid: Grid) -> Tensor:
        """Computes the mask ``[C, F, T]`` in 0…1 from magnitudes ``[C, F, T]`` and the gain ``[time]`` of the spans."""

    def _separate_one(self, query: Query) -> Separation:
        mixture, prompt = query.mixture, query.prompt
        gain = span_gain(prompt.spans, mixture.length, mixture.rate)

        def apply_mask(transform: STFT, spectrum: Tensor, part: slice) -> Tensor:
            return spectrum * self.mask(spectrum.abs(), gain[part], prompt, Grid(transform, mixture.rate))

        return self._apply_filter(mixture, apply_mask, gain)


@dataclass(frozen=True, slots=True)
class Grid:
    """Converts seconds and hertz to frames and bins."""

    transform: STFT
    rate: int

    def frames(self, seconds: float) -> int:
        """Returns the number of frames nearest to a duration, at least 1."""
        return max(1, round(seconds * self.rate / self.transform.hop))

    def bins(self, hertz: float) -> int:
        """Returns the number of bins nearest to a bandwidth, at least 1."""
        return max(1, round(hertz * self.transform.size / self.rate))


@dataclass(kw_only=True)
class HPSS(MaskSeparator):
    """Harmonic or percussive part of the mixture (Fitzgerald, DAFx 2010; Driedger, Müller and Disch, ISMIR 2014).

    A median over time keeps steady (harmonic) sound, one over frequency keeps broadband (percussive) sound; a ratio
    mask of the two splits the mixture. With ``margin`` above 1 the target side must exceed the other by that factor, so
    that ambiguous sound goes to the residual, as in the second paper.

    The text of the prompt selects the side: percussive if it has a word of ``PERCUSSIVE``; otherwise harmonic, also for
    spans or a video without text.
    """

    name = "hpss"
    memory = 0.0
    window: float = 0.043  # seconds
    steady: float = 0.2  # seconds, the median over time
    broad: float = 500.0  # Hz, the median over frequency
    margin: float = 1.0
    power: float = 2.0  # of the magnitudes in the mask

    def context_frames(self, transform: STFT, rate: int) -> int:
        """Returns the length of the median over time."""
        return Grid(transform, rate).frames(self.steady)

    def mask(self, magnitude: Tensor, gain: Tensor, prompt: Prompt, grid: Grid) -> Tensor:
        """See `MaskSeparator`."""
        values = magnitude.numpy()
        harmonic = running_median(values, grid.frames(self.steady))
        percussive = running_median(values.swapaxes(1, 2), grid.bins(self.broad)).swapaxes(1, 2)
        sides = (percussive, harmonic) if first_mention(prompt.text, PERCUSSIVE) == 0 else (harmonic, percussive)
        target, other = (torch.from_numpy(side) for side in sides)
        return ratio_mask(target, self.margin * other, power=self.power)


def running_median(values: NDArray[np.floating], size: int) -> NDArray[np.floating]:
    """Returns running medians along the last axis over an odd window of at least ``size``, with mirrored ends.

    The rows are concatenated with mirrored margins, since the one-dimensional filter of scipy is ten times faster than
    the two-dimensional one.
    """
    from scipy.ndimage import median_filter  # imported late: not needed to read finished runs

    half = size // 2
    padded = np.pad(values, [(0, 0)] * (values.ndim - 1) + [(half, half)], mode="symmetric")
    medians: NDArray[np.floating] = median_filter(padded.ravel(), size=2 * half + 1).reshape(padded.shape)
    return medians[..., half : padded.shape[-1] - half]


@dataclass(kw_only=True)
class RepetSim(MaskSeparator):
    """Repeating background or non-repeating foreground (Rafii and Pardo, ISMIR 2012).

    Each frame is compared with all others; the median of the ``similar`` most similar ones, at least ``distance``
    seconds apart, limited to the frame itself, is its repeating part. The ratio of the two magnitudes is the soft mask
    of the background; below ``cutoff`` Hz, where voices have no energy, everything is background.

    The first keyword of the prompt selects: ``VOICE`` the foreground, ``ACCOMPANIMENT`` the background. Without a
    keyword it is the foreground, since a named sound is more often an event than a background.
    """

    name = "repet-sim"
    similar: int = 25  # frames
    distance: float = 0.5  # seconds; half of that in the paper, which used whole songs
    cutoff: float = 100.0  # Hz

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.similar < 1:
            self._reject_option("similar", "at least 1 frame")

    def mask(self, magnitude: Tensor, gain: Tensor, prompt: Prompt, grid: Grid) -> Tensor:
        """See `MaskSeparator`."""
        values = magnitude.numpy()
        repeating = np.empty_like(values)
        for frames, neighbours in similar_frames(magnitude.mean(dim=0), self.similar, grid.frames(self.distance)):
            near = np.sort(values[:, :, neighbours], axis=-1)
            count = neighbours.shape[1]
            repeating[:, :, frames] = (near[..., (count - 1) // 2] + near[..., count // 2]) / 2
        background = np.divide(repeating, values, out=np.ones_like(values), where=values > repeating)
        background[:, : grid.bins(self.cutoff)] = 1
        mask = background if first_mention(prompt.text, VOICE, ACCOMPANIMENT) == 1 else 1 - background
        return torch.from_numpy(mask)


_BLOCK = 64  # frames compared at a time: bounds memory for long clips


def similar_frames(
    magnitude: Tensor, similar: int, distance: int
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Yields groups of frames of ``[F, T]`` with equally many neighbours: ``(frames [n], neighbours [n, count])``.

    The neighbours of a frame are the ``similar`` highest local maxima of its cosine similarity to all frames, at least
    ``distance`` frames apart; they include the frame itself.
    """
    from scipy.ndimage import maximum_filter1d

    unit = normalize(magnitude.double(), dim=0, eps=1e-300)  # zeros stay zeros
    total = unit.shape[1]
    for start in range(0, total, _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, total))
        cosine = (unit[:, start : start + _BLOCK].T @ unit).numpy()
        cosine -= 1e-9 * np.arange(total)  # the earlier of equals wins, so that no two neighbours are too close
        cosine[np.arange(len(rows)), rows] = 2  # above all others: a frame is its own nearest neighbour
        peaks = cosine >= maximum_filter1d(cosine, 2 * distance - 1, axis=1, mode="nearest")
        order = np.argsort(np.where(peaks, -cosine, np.inf), axis=1, kind="stable")
        counts = np.minimum(peaks.sum(axis=1), similar)
        for count in np.unique(counts):
            chosen = counts == count
            yield rows[chosen], order[chosen, :count]


@dataclass(kw_only=True)
class SpectralGate(MaskSeparator):
    """Sound above the noise floor, by power subtraction with smoothed magnitudes (Boll, IEEE TASSP 1979).

    The floor of each frequency is the root mean square of the noise: measured in the frames outside the spans, if there
    are any, and otherwise estimated, assuming Gaussian noise, from a low quantile over the frames that are not digital
    silence. The gain ``1 - (reduction * floor / magnitude)^2``, at least 0, uses magnitudes averaged over ``smooth``
    seconds, which suppresses musical noise.

    Texts and videos are ignored: the target is all sound above the floor.
    """

    name = "spectral-gate"
    window: float = 0.043  # seconds
    quantile: float = 0.1
    reduction: float = 2.0  # times the floor
    smooth: float = 0.05  # seconds

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.quantile < 1:
            self._reject_option("quantile", "between 0 and 1, both excluded")

    def mask(self, magnitude: Tensor, gain: Tensor, prompt: Prompt, grid: Grid) -> Tensor:
        """See `MaskSeparator`."""
        floor = self._floor(magnitude, gain, grid.transform)
        size = grid.frames(self.smooth) // 2 * 2 + 1
        smooth = avg_pool1d(magnitude, size, stride=1, padding=size // 2, count_include_pad=False)
        ratio = self.reduction * floor / torch.where(smooth > 0, smooth, 1)
        return (1 - ratio**2).clamp(min=0)

    def _floor(self, magnitude: Tensor, gain: Tensor, transform: STFT) -> Tensor:
        """Returns the root mean square ``[C, F, 1]`` of the noise."""
        loudest = max_pool1d(gain[None], transform.size, stride=transform.hop, padding=transform.size // 2)[0]
        outside_spans = loudest == 0  # no sample of the frame is inside a span
        if outside_spans.any():
            floor: Tensor = magnitude[:, :, outside_spans].square().mean(dim=-1, keepdim=True).sqrt()
            return floor
        has_sound = magnitude.amax(dim=(0, 1)) > 0  # digital silence between sounds says nothing about the noise
        if has_sound.any():
            magnitude = magnitude[:, :, has_sound]
        rank = 1 + int(self.quantile * (magnitude.shape[-1] - 1))
        low = magnitude.kthvalue(rank, dim=-1, keepdim=True).values
        return low / math.sqrt(-math.log1p(-self.quantile))  # quantile of a Rayleigh distribution, in units of its RMS
