"""BSS-eval: decomposition of an estimate into filtered target, spatial distortion, interference and artifacts.

    S  sources      C  channels      F  frames

Both versions share one decomposition. Let ``P_j ŝ`` be the projection of an estimate on its own reference delayed by
0 ... 511 samples, and ``P ŝ`` that on all references so delayed. v3 ignores the filter, v4 counts it as spatial
distortion and evaluates the result in frames. Sources: Vincent, Gribonval and Févotte, "Performance measurement in
blind audio source separation", IEEE TASLP 2006; Vincent et al., "First stereo audio source separation evaluation
campaign", ICA 2007; Stöter, Liutkus and Ito, "The 2018 Signal Separation Evaluation Campaign", LVA/ICA 2018.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from sam_audio_bench.errors import UsageError
from sam_audio_bench.metrics.functional.energy import energy, score_db
from sam_audio_bench.metrics.functional.filters import Filters, LeastSquaresProjector, correlate
from sam_audio_bench.metrics.functional.frames import frames

__all__ = [
    "BSSImagesScores",
    "BSSSourcesScores",
    "Decomposition",
    "bss_images",
    "bss_sources",
    "decompose",
    "si_sar",
    "si_sir",
]


class BSSSourcesScores(NamedTuple):
    """Scores of BSS-eval v3, ``[S]`` each, dB."""

    sdr: Tensor
    sir: Tensor
    sar: Tensor
    condition: float


class BSSImagesScores(NamedTuple):
    """Scores of BSS-eval v4, ``[S, F]`` each, dB."""

    sdr: Tensor
    isr: Tensor
    sir: Tensor
    sar: Tensor
    condition: float


class Decomposition(NamedTuple):
    """Energies of the parts of each estimate ``ŝ`` of a reference ``s`` in one or more frames, ``[estimates, F]``."""

    reference: Tensor  # |s|²
    estimate: Tensor  # |ŝ|²
    target: Tensor  # |P_j ŝ|²
    projection: Tensor  # |P ŝ|²
    spatial: Tensor  # |P_j ŝ - s|²
    interference: Tensor  # |P ŝ - P_j ŝ|², NaN if all other references are silent
    artifacts: Tensor  # |ŝ - P ŝ|²
    filtered_error: Tensor  # |ŝ - P_j ŝ|²
    error: Tensor  # |ŝ - s|²

    def ratio(self, signal: Tensor, error: Tensor) -> Tensor:
        """Returns `score_db` of two of the parts."""
        return score_db(self.reference, self.estimate, signal, error)


def bss_sources(*, reference: Tensor, estimate: Tensor, taps: int = 512) -> BSSSourcesScores:
    """Computes BSS-eval v3 for single-channel sources, the estimates in the order of the references.

    ``SDR = |P_j ŝ|² / |ŝ - P_j ŝ|²``, ``SIR = |P_j ŝ|² / |P ŝ - P_j ŝ|²``, ``SAR = |P ŝ|² / |ŝ - P ŝ|²``: invariant
    to gain, polarity and any filter of ``taps`` taps, including delays. Source: Vincent et al. 2006.

    Args:
        reference: ``[S, time]``.
        estimate: ``[S, time]``.
        taps: length of the allowed filter.

    Returns:
        Scores ``[S]`` by the rules of `functional.snr`. The SIR is NaN if all other references are silent, SIR and SAR
        if the signals are too short to determine the references' filters (``time + taps - 1 < S * taps``). Slightly
        above that they are meaningless: the filters absorb ``S * taps / (time + taps - 1)`` of any random error.

    Raises:
        UsageError: the shapes differ or are not ``[sources, time]``.
    """
    _check(reference, estimate, "sources", "time")
    parts, condition = decompose(reference[:, None], estimate[:, None], range(len(reference)), taps=taps)
    return BSSSourcesScores(
        sdr=parts.ratio(parts.target, parts.filtered_error)[:, 0],
        sir=parts.ratio(parts.target, parts.interference)[:, 0],
        sar=parts.ratio(parts.projection, parts.artifacts)[:, 0],
        condition=condition,
    )


def bss_images(
    *,
    reference: Tensor,
    estimate: Tensor,
    rate: int,
    taps: int = 512,
    window: float = 1.0,
    hop: float = 1.0,
    tail: str = "drop",
) -> BSSImagesScores:
    """Computes BSS-eval v4 for multichannel images: filters of the whole signals, scores of each frame.

    ``SDR = |s|² / |ŝ - s|²``, ``ISR = |s|² / |P_j ŝ - s|²``, ``SIR = |P_j ŝ|² / |P ŝ - P_j ŝ|²``,
    ``SAR = |P ŝ|² / |ŝ - P ŝ|²``. Source: Vincent et al. 2007; Stöter et al. 2018 for the frames.
    Frames are cut before they are filtered, as in museval. Its silent frames are undefined for every source, while here
    a silent reference affects its own source only and a silent estimate scores `FLOOR_DB`.

    Args:
        reference: ``[S, C, time]``; float32 is converted to float64 in parts.
        estimate: ``[S, C, time]``.
        rate: sampling rate in Hz.
        taps: length of the projection's filters.
        window: length of a frame in seconds; inf for one frame.
        hop: time between frames in seconds.
        tail: see `functional.frames`.

    Returns:
        Scores ``[S, F]`` by the rules of `functional.snr` within each frame. The SIR is NaN if all other references
        are silent throughout, SIR and SAR if ``time + taps - 1 < S * C * taps``, and the ISR, whose filters are those
        of one source, if ``time + taps - 1 < C * taps``. Frames may be shorter than the filters, which are
        fitted to the whole signals.

    Raises:
        UsageError: the shapes differ or are not ``[sources, channels, time]``, or a frame is impossible.
    """
    _check(reference, estimate, "sources", "channels", "time")
    cuts = frames(reference.shape[-1], rate, window=window, hop=hop, tail=tail)
    parts, condition = decompose(reference, estimate, range(len(reference)), cuts, taps=taps)
    return BSSImagesScores(
        sdr=parts.ratio(parts.reference, parts.error),
        isr=parts.ratio(parts.reference, parts.spatial),
        sir=parts.ratio(parts.target, parts.interference),
        sar=parts.ratio(parts.projection, parts.artifacts),
        condition=condition,
    )


def si_sir(*, reference: Tensor, estimate: Tensor) -> Tensor:
    """Computes the scale-invariant SIR ``|P_j ŝ|² / |P ŝ - P_j ŝ|²`` with one tap: leakage of the other sources.

    Source: Le Roux et al., "SDR - half-baked or well done?", ICASSP 2019, section 3.2.

    Args:
        reference: ``[S, time]``.
        estimate: ``[S, time]``.

    Returns:
        Scores ``[S]`` as in `bss_sources`, dB.

    Raises:
        UsageError: the shapes differ or are not ``[sources, time]``.
    """
    return bss_sources(reference=reference, estimate=estimate, taps=1).sir


def si_sar(*, reference: Tensor, estimate: Tensor) -> Tensor:
    """Computes the scale-invariant SAR ``|P_j ŝ|² / |ŝ - P ŝ|²`` with one tap: what is in none of the sources.

    With this numerator the noise-to-signal ratios of `si_sir` and `si_sar` sum to that of `si_sdr`; fast_bss_eval uses
    ``|P ŝ|²`` instead, as BSS-eval does. Source and shapes as for `si_sir`.
    """
    _check(reference, estimate, "sources", "time")
    parts, _ = decompose(reference[:, None], estimate[:, None], range(len(reference)), taps=1)
    return parts.ratio(parts.target, parts.artifacts)[:, 0]


def decompose(
    reference: Tensor,
    estimate: Tensor,
    owners: Sequence[int],
    cuts: Sequence[slice] = (slice(None),),
    *,
    taps: int = 512,
) -> tuple[Decomposition, float]:
    """Decomposes each estimate of reference ``owners[e]``; factorises once for all estimates and frames.

    Args:
        reference: ``[S, C, time]``.
        estimate: ``[E, C, time]``.
        owners: index of the reference that each estimate is of.
        cuts: the frames.
        taps: length of the filters.

    Returns:
        The energies, and the condition number of the joint projection (`LeastSquaresProjector.condition`).
    """
    channels, length = reference.shape[1:]
    signals, projected = reference.flatten(0, 1), estimate.flatten(0, 1)
    own, cross = correlate(signals, signals, projected, taps=taps).split_with_sizes([len(signals), len(projected)], 1)
    joint = LeastSquaresProjector(own, length)
    filters = joint.filters(cross)
    alone = torch.zeros_like(filters) if len(reference) > 1 else filters
    for source in set(owners) if len(reference) > 1 else ():
        rows = slice(source * channels, (source + 1) * channels)
        mine = torch.tensor([owner == source for owner in owners for _ in range(channels)], device=cross.device)
        alone[rows, mine] = LeastSquaresProjector(own[rows, rows], length).filters(cross[rows, mine])
    apply = Filters(torch.cat([alone, filters], dim=1))
    energies = own.new_empty(len(Decomposition._fields), len(owners), len(cuts))
    for number, cut in enumerate(cuts):
        energies[..., number] = _energies(reference[..., cut], estimate[..., cut], owners, apply)
    parts = Decomposition(*energies.unbind(0))
    sounding = (own.diagonal()[0] != 0).reshape(-1, channels).any(dim=1)
    without_others = [not bool(sounding[torch.arange(len(sounding)) != owner].any()) for owner in owners]
    parts.interference[without_others] = math.nan
    return parts, joint.condition


def _energies(reference: Tensor, estimate: Tensor, owners: Sequence[int], apply: Filters) -> Tensor:
    """Returns the fields of a Decomposition in one frame, ``[fields, estimates]``."""
    energies: Tensor = estimate.new_zeros(len(Decomposition._fields), len(estimate), dtype=torch.float64)
    for part, filtered in apply(reference.flatten(0, 1)):
        target, projection = filtered.reshape(2, *estimate.shape[:2], -1)
        truth, given = _padded_part(reference, part)[list(owners)], _padded_part(estimate, part)
        parts = Decomposition(
            reference=truth,
            estimate=given,
            target=target,
            projection=projection,
            spatial=target - truth,
            interference=projection - target,
            artifacts=given - projection,
            filtered_error=given - target,
            error=given - truth,
        )
        energies += torch.stack([energy(signals.flatten(1)) for signals in parts])
    return energies


def _padded_part(signals: Tensor, part: slice) -> Tensor:
    """Returns samples ``[..., part]`` in float64, with zeros after the end."""
    found = signals[..., part]
    return pad(found, (0, part.stop - part.start - found.shape[-1])).double()


def _check(reference: Tensor, estimate: Tensor, *names: str) -> None:
    if reference.shape != estimate.shape or reference.ndim != len(names):
        found = f"{list(reference.shape)} and {list(estimate.shape)}"
        raise UsageError(f"expected reference and estimate of one shape [{', '.join(names)}], found {found}")
