"""Separators without learning: each makes a time-frequency mask from the mixture's magnitudes and the prompt.

Letters: C channels, F frequencies, T frames.

What the three share, and what they do with a prompt that they cannot understand:

* The target is the masked mixture, the residual is mixture - target; length, rate and channels are the mixture's.
* Spans of any sign gate the target (`span_gain`), whatever else the prompt says.
* A text without a known keyword, spans alone or a video alone select the default side that each class names.
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
    """Answers each query alone, with a mask on its spectrum and the gain of its spans."""

    def separate(self, queries: Sequence[Query], seeds: Sequence[int]) -> list[Separation]:
        """Answers in the order of the queries; nothing is drawn, so the seeds do not matter."""
        return [self._answer(query) for query in queries]

    @abstractmethod
    def mask(self, magnitude: Tensor, gain: Tensor, prompt: Prompt, grid: Grid) -> Tensor:
        """Mask ``[C, F, T]`` in 0…1 from magnitudes ``[C, F, T]`` and the spans' gain ``[time]``."""

    def _answer(self, query: Query) -> Separation:
        mixture, prompt = query.mixture, query.prompt
        gain = span_gain(prompt.spans, mixture.length, mixture.rate)

        def keep(transform: STFT, spectrum: Tensor, part: slice) -> Tensor:
            return spectrum * self.mask(spectrum.abs(), gain[part], prompt, Grid(transform, mixture.rate))

        return self._filtered(mixture, keep, gain)


@dataclass(frozen=True, slots=True)
class Grid:
    """Converts seconds and hertz to frames and bins."""

    transform: STFT
    rate: int

    def frames(self, seconds: float) -> int:
        """Number of frames nearest to a duration, at least 1."""
        return max(1, round(seconds * self.rate / self.transform.hop))

    def bins(self, hertz: float) -> int:
        """Number of bins nearest to a bandwidth, at least 1."""
        return max(1, round(hertz * self.transform.size / self.rate))


@dataclass(kw_only=True)
class HPSS(MaskSeparator):
    """Harmonic or percussive part of the mixture (Fitzgerald, DAFx 2010; Driedger, Müller and Disch, ISMIR 2014).

    A median over time keeps what is steady (harmonic), one over frequency what is broadband (percussive); a ratio mask
    of the two splits the mixture. With ``margin`` above 1 the wanted side must exceed the other that many times, and
    what belongs clearly to neither goes to the residual, as in the second paper.

    The prompt's text chooses the side: percussive when it holds a word of ``PERCUSSIVE``; harmonic otherwise, also for
    spans or a video without text.
    """

    name = "hpss"
    memory = 0.0
    window: float = 0.043  # seconds
    steady: float = 0.2  # seconds, the median over time
    broad: float = 500.0  # Hz, the median over frequency
    margin: float = 1.0
    power: float = 2.0  # of the magnitudes in the mask

    def reach(self, transform: STFT, rate: int) -> int:
        """The median over time."""
        return Grid(transform, rate).frames(self.steady)

    def mask(self, magnitude: Tensor, gain: Tensor, prompt: Prompt, grid: Grid) -> Tensor:
        """See `MaskSeparator`."""
        values = magnitude.numpy()
        harmonic = running_median(values, grid.frames(self.steady))
        percussive = running_median(values.swapaxes(1, 2), grid.bins(self.broad)).swapaxes(1, 2)
        sides = (percussive, harmonic) if first_mention(prompt.text, PERCUSSIVE) == 0 else (harmonic, percussive)
        wanted, other = (torch.from_numpy(side) for side in sides)
        return ratio_mask(wanted, self.margin * other, power=self.power)


def running_median(values: NDArray[np.floating], size: int) -> NDArray[np.floating]:
    """Median over the nearest odd number of at least ``size`` neighbours along the last axis, mirrored at its ends.

    The rows are laid end to end, mirrored margins between them: scipy's filter of one dimension is ten times as fast
    as the one of two.
    """
    from scipy.ndimage import median_filter  # not where finished runs are only read

    half = size // 2
    padded = np.pad(values, [(0, 0)] * (values.ndim - 1) + [(half, half)], mode="symmetric")
    medians: NDArray[np.floating] = median_filter(padded.ravel(), size=2 * half + 1).reshape(padded.shape)
    return medians[..., half : padded.shape[-1] - half]


@dataclass(kw_only=True)
class RepetSim(MaskSeparator):
    """Repeating background against what does not repeat (Rafii and Pardo, ISMIR 2012).

    Each frame is compared with all others; the median of the ``similar`` most similar ones, at least ``distance``
    seconds apart, is what repeats in it, and never more than the frame itself. Its share of the magnitude is the
    background's soft mask; below ``cutoff`` Hz everything is background, for voices have nothing there.

    The prompt's first keyword chooses: ``VOICE`` what does not repeat, ``ACCOMPANIMENT`` what repeats. Without a
    keyword: what does not repeat, for a sound that is asked for by name is more often an event than a backdrop.
    """

    name = "repet-sim"
    similar: int = 25  # frames
    distance: float = 0.5  # seconds; half of the paper's, whose clips were whole songs
    cutoff: float = 100.0  # Hz

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.similar < 1:
            self._refuse("similar", "at least 1 frame")

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
        wanted = background if first_mention(prompt.text, VOICE, ACCOMPANIMENT) == 1 else 1 - background
        return torch.from_numpy(wanted)


_BLOCK = 64  # frames compared at a time: bounds memory for long clips


def similar_frames(
    magnitude: Tensor, similar: int, distance: int
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Groups frames of ``[F, T]`` that have equally many neighbours: ``(frames [n], neighbours [n, count])``.

    The neighbours of a frame are the ``similar`` highest local maxima of its cosine similarity to all frames, no two
    less than ``distance`` frames apart; the frame itself is always one.
    """
    from scipy.ndimage import maximum_filter1d

    unit = normalize(magnitude.double(), dim=0, eps=1e-300)  # zeros stay zeros
    total = unit.shape[1]
    for start in range(0, total, _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, total))
        cosine = (unit[:, start : start + _BLOCK].T @ unit).numpy()
        cosine -= 1e-9 * np.arange(total)  # of equal ones the earlier counts: no two neighbours come too close
        cosine[np.arange(len(rows)), rows] = 2  # above every other: a frame is its own nearest neighbour
        peaks = cosine >= maximum_filter1d(cosine, 2 * distance - 1, axis=1, mode="nearest")
        order = np.argsort(np.where(peaks, -cosine, np.inf), axis=1, kind="stable")
        counts = np.minimum(peaks.sum(axis=1), similar)
        for count in np.unique(counts):
            chosen = counts == count
            yield rows[chosen], order[chosen, :count]


@dataclass(kw_only=True)
class SpectralGate(MaskSeparator):
    """What stands out of the noise floor, by power subtraction with smoothed magnitudes (Boll, IEEE TASSP 1979).

    The floor of each frequency is the noise's root mean square: measured in the frames that the spans shut out, if
    there are any, and otherwise inferred, as of Gaussian noise, from a low quantile over the frames that are not
    digital silence. The gain ``1 - (reduction * floor / magnitude)^2``, at least 0, uses the mean of ``smooth`` seconds
    of magnitudes, which keeps lone noise peaks from passing as tones.

    Texts and videos are not understood: what rises above the floor is the target.
    """

    name = "spectral-gate"
    window: float = 0.043  # seconds
    quantile: float = 0.1
    reduction: float = 2.0  # times the floor
    smooth: float = 0.05  # seconds

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.quantile < 1:
            self._refuse("quantile", "between 0 and 1, both excluded")

    def mask(self, magnitude: Tensor, gain: Tensor, prompt: Prompt, grid: Grid) -> Tensor:
        """See `MaskSeparator`."""
        floor = self._floor(magnitude, gain, grid.transform)
        size = grid.frames(self.smooth) // 2 * 2 + 1
        smooth = avg_pool1d(magnitude, size, stride=1, padding=size // 2, count_include_pad=False)
        ratio = self.reduction * floor / torch.where(smooth > 0, smooth, 1)
        return (1 - ratio**2).clamp(min=0)

    def _floor(self, magnitude: Tensor, gain: Tensor, transform: STFT) -> Tensor:
        """Root mean square ``[C, F, 1]`` of the noise."""
        loudest = max_pool1d(gain[None], transform.size, stride=transform.hop, padding=transform.size // 2)[0]
        shut = loudest == 0  # not one sample of the frame may hold the target
        if shut.any():
            floor: Tensor = magnitude[:, :, shut].square().mean(dim=-1, keepdim=True).sqrt()
            return floor
        heard = magnitude.amax(dim=(0, 1)) > 0  # digital silence between sounds says nothing about the noise
        if heard.any():
            magnitude = magnitude[:, :, heard]
        rank = 1 + int(self.quantile * (magnitude.shape[-1] - 1))
        low = magnitude.kthvalue(rank, dim=-1, keepdim=True).values
        return low / math.sqrt(-math.log1p(-self.quantile))  # quantile of a Rayleigh distribution, in units of its RMS
