"""BSS-eval metrics: compare the target estimate with the references of target and residual.

A score depends on the target estimate only, not on the residual estimate. The SDRs have separate classes: they need no
residual reference and are many times faster.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from sam_audio_bench import blocks
from sam_audio_bench.errors import UsageError
from sam_audio_bench.identity import Options
from sam_audio_bench.metrics import functional
from sam_audio_bench.metrics.base import Row
from sam_audio_bench.metrics.catalogue import metric_ids_of
from sam_audio_bench.metrics.functional.bss import Decomposition
from sam_audio_bench.metrics.functional.energy import is_silent, ratio_db
from sam_audio_bench.metrics.functional.frames import TAILS, frames
from sam_audio_bench.metrics.ratios import ReferenceMetric, improvement
from sam_audio_bench.types import Item, Separation, Status

__all__ = ["BACKENDS", "SIBSS", "TAPS", "BSSImages", "BSSImagesSDR", "BSSSources", "BSSSourcesSDR"]

TAPS = 512
BACKENDS = ("native", "mir_eval")


def _min_samples(signals: int) -> int:
    """Returns the length from which filters of ``signals`` references absorb at most half of a random error, 3 dB.

    They have ``signals * TAPS`` coefficients for ``samples + TAPS - 1`` equations, and absorb that share of any error.
    With as many coefficients as equations, they absorb all of it.
    """
    return 2 * signals * TAPS - (TAPS - 1)


class SIBSS(ReferenceMetric):
    """`functional.si_sir` and `functional.si_sar` of the target, one gain per source for all channels."""

    columns = metric_ids_of("sam_audio_bench.metrics.bss:SIBSS")
    sources = 2

    def measure(self, references: Tensor, estimates: Tensor, rate: int) -> Tensor:
        """Returns the ratios ``[systems, 2]``."""
        parts = _decompose(references.flatten(1)[:, None], estimates[:, 0].flatten(1)[:, None], taps=1)
        ratios = (parts.ratio(parts.target, part) for part in (parts.interference, parts.artifacts))
        return torch.cat(list(ratios), dim=1)


class _Sources(ReferenceMetric):
    """Base class of the metrics of BSS-eval v3.

    Args:
        stereo: as for `ReferenceMetric`; under "joint", all channels share one filter.
        backend: "native", or "mir_eval" to use that library, for comparison with published tables.
    """

    reported: ClassVar[slice]  # of SDR, SIR and SAR

    def __init__(self, stereo: str = "joint", backend: str = "native") -> None:
        super().__init__(stereo)
        if backend not in BACKENDS:
            raise UsageError(f"expected backend to be one of {', '.join(BACKENDS)}, found {backend!r}")
        self.backend = backend

    @property
    def options(self) -> Options:
        """Options that change the values, for ``run.json``."""
        return {**super().options, "backend": self.backend}

    def shortest(self, channels: int) -> int:
        """Returns the minimum number of samples for the filters of all references."""
        return _min_samples(self.sources)

    def measure(self, references: Tensor, estimates: Tensor, rate: int) -> Tensor:
        """Returns the ratios ``[systems, quantities]`` of concatenated channels, with room for the filter between."""
        truth, given = map(_concatenated_channels, (references, estimates[:, 0]))
        if self.backend == "mir_eval":
            return torch.stack([_mir_eval(truth, system) for system in given])[:, self.reported]
        parts = _decompose(truth[:, None], given[:, None])
        ratios = (
            parts.ratio(parts.target, parts.filtered_error),
            parts.ratio(parts.target, parts.interference),
            parts.ratio(parts.projection, parts.artifacts),
        )
        return torch.cat(ratios, dim=1)[:, self.reported]


class BSSSourcesSDR(_Sources):
    """`functional.bss_sources` of the target alone: its SDR does not depend on the other references."""

    columns = metric_ids_of("sam_audio_bench.metrics.bss:BSSSourcesSDR")
    reported = slice(0, 1)


class BSSSources(_Sources):
    """SIR and SAR of `functional.bss_sources` of the target, against the references of target and residual."""

    columns = metric_ids_of("sam_audio_bench.metrics.bss:BSSSources")
    sources = 2
    reported = slice(1, 3)


class _Images(ReferenceMetric):
    """Base class of the metrics of BSS-eval v4: the median of the defined frames of 1 s.

    If all sources of an item are known (``residual_sources``), each is a separate source, and frames in which one of
    them, or the estimate, is silent are excluded, as museval does for songs and hence for the tables of MUSDB18.

    Args:
        stereo: as for `ReferenceMetric`; under "joint", there is a filter from every channel to every channel.
        tail: one of `frames.TAILS`: treatment of samples after the last whole frame.
    """

    def __init__(self, stereo: str = "joint", tail: str = "drop") -> None:
        super().__init__(stereo)
        if tail not in TAILS:
            raise UsageError(f"expected tail to be one of {', '.join(TAILS)}, found {tail!r}")
        self.tail = tail

    @property
    def options(self) -> Options:
        """Options that change the values, for ``run.json``."""
        return {**super().options, "tail": self.tail}

    def _row(self, item: Item, separation: Separation) -> Row:
        if item.reference is None or not item.residual_sources:
            return super()._row(item, separation)
        improving = not set(self.requested).isdisjoint(self.columns[1::2])
        systems = [[separation.target], [item.query.mixture]][: 1 + improving]
        scores = self._rate([item.reference, *item.residual_sources], systems)
        gains = list(map(improvement, *scores)) if improving else [None] * len(scores[0])
        return tuple(score for pair in zip(scores[0], gains, strict=True) for score in pair)

    def _status(self, truth: Tensor | None, given: Tensor | None, rates: set[int]) -> Status:
        """Returns the usual status; other sources have no estimate, but the filters of all need enough samples."""
        if truth is None or given is None or len(truth) <= len(given):
            return super()._status(truth, given, rates)
        status = super()._status(truth[: len(given)], given, rates)
        shortest = 1 if self.sources == 1 else _min_samples(len(truth) * truth.shape[1])
        return Status.TOO_SHORT if status is Status.OK and truth.shape[2] < shortest else status

    def _median_over_frames(
        self, ratios: Tensor, references: Tensor, estimates: Tensor, cuts: Sequence[slice]
    ) -> Tensor:
        """Returns the median over frames ``[systems, frames]``; where all sources are known, over frames with each."""
        if len(references) > self.sources:
            silent = [[_has_silent_source(references[..., cut]) or _has_silent_source(system[:1, ..., cut])
                       for cut in cuts] for system in estimates]  # fmt: skip
            ratios = ratios.masked_fill(torch.tensor(silent, device=ratios.device), torch.nan)
        return _median(ratios)


class BSSImagesSDR(_Images):
    """`functional.framewise_sdr` of the target, median over frames."""

    columns = metric_ids_of("sam_audio_bench.metrics.bss:BSSImagesSDR")

    def measure(self, references: Tensor, estimates: Tensor, rate: int) -> Tensor:
        """Returns the ratio ``[systems, 1]``."""
        estimate = estimates[:, 0]
        reference = references[0].expand_as(estimate)
        ratios = functional.framewise_sdr(reference=reference, estimate=estimate, rate=rate, tail=self.tail)
        cuts = frames(references.shape[-1], rate, tail=self.tail)
        return self._median_over_frames(ratios, references, estimates, cuts)[:, None]


class BSSImages(_Images):
    """ISR, SIR and SAR of `functional.bss_images` of the target, median over frames."""

    columns = metric_ids_of("sam_audio_bench.metrics.bss:BSSImages")
    sources = 2

    def shortest(self, channels: int) -> int:
        """Returns the minimum number of samples for the filters of all channels of all references."""
        return _min_samples(self.sources * channels)

    def measure(self, references: Tensor, estimates: Tensor, rate: int) -> Tensor:
        """Returns the ratios ``[systems, 3]``."""
        cuts = frames(references.shape[-1], rate, tail=self.tail)
        parts, _ = functional.decompose(references, estimates[:, 0], [0] * len(estimates), cuts, taps=TAPS)
        ratios = (
            parts.ratio(parts.reference, parts.spatial),
            parts.ratio(parts.target, parts.interference),
            parts.ratio(parts.projection, parts.artifacts),
        )
        return torch.stack([self._median_over_frames(ratio, references, estimates, cuts) for ratio in ratios], dim=1)


def _has_silent_source(sources: Tensor) -> bool:
    """Returns whether the channels of any of ``[sources, channels, time]`` sum to silence, museval's criterion."""
    return bool((sources.sum(dim=1) == 0).all(dim=-1).any())


def _concatenated_channels(signals: Tensor) -> Tensor:
    """Concatenates channels, zeros for the filter after each: ``[sources, channels, time] -> [sources, samples]``."""
    if not blocks.is_long(signals):
        return pad(signals, (0, TAPS - 1)).flatten(-2)
    found = blocks.BlockAccumulator(len(signals))
    for channel in signals.unbind(1):
        for (part,) in blocks.iter_blocks(channel):
            found.append(part.cpu().numpy())
        found.append(np.zeros((len(signals), TAPS - 1), found.dtype))
    return torch.from_numpy(found.to_array())


def _decompose(references: Tensor, estimates: Tensor, taps: int = TAPS) -> Decomposition:
    return functional.decompose(references, estimates, [0] * len(estimates), taps=taps)[0]


def _median(ratios: Tensor) -> Tensor:
    """Returns the median over the defined frames: ``[..., frames] -> [...]``; NaN where there is none."""
    rows = [row[~np.isnan(row)] for row in ratios.flatten(0, -2).cpu().numpy()]
    medians = [float(np.median(row)) if len(row) else np.nan for row in rows]
    return torch.tensor(medians, dtype=torch.float64).reshape(ratios.shape[:-1])


def _mir_eval(references: Tensor, estimate: Tensor) -> Tensor:
    """Returns SDR, SIR and SAR ``[3]`` of an estimate of the first of ``references [sources, time]``, by mir_eval."""
    import mir_eval  # 0.8; needed by this backend only

    sounding = references[~is_silent(references)].double().cpu().numpy()
    given = np.concatenate([estimate.double().cpu().numpy()[None], sounding[1:]])  # the others' estimates do not matter
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # mir_eval announces the removal of its separation module
        scores = mir_eval.separation.bss_eval_sources(sounding, given, compute_permutation=False)[:3]
    ratios = torch.tensor([10 ** (float(score[0]) / 10) for score in scores], dtype=torch.float64)
    decibels = ratio_db(ratios, torch.ones_like(ratios))
    decibels[1] = decibels[1] if len(sounding) > 1 else torch.nan
    return decibels
