"""Energy ratios of signal and error: SNR and scale-invariant variants, each ``[..., time] -> [...]`` in dB.

For all of them, a silent reference or a non-finite sample gives NaN, a silent estimate of a sound
`catalogue.FLOOR_DB`, an estimate without error +inf. Arguments are not modified.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sam_audio_bench.errors import UsageError
from sam_audio_bench.metrics.functional.energy import (
    Moments,
    centred,
    check_same_shape,
    moments,
    residual_energy,
    score_db,
)

__all__ = ["sa_sdr", "sd_sdr", "si_sdr", "si_snr", "snr"]


def snr(*, reference: Tensor, estimate: Tensor) -> Tensor:
    """Computes the signal-to-noise ratio ``|s|² / |s - ŝ|²``, known as uSDR, nSDR or "the SDR" of the MDX challenges.

    Source: Mitsufuji et al., "Music Demixing Challenge 2021", Frontiers in Signal Processing 2022.

    Args:
        reference: ``[..., time]``.
        estimate: ``[..., time]``.

    Returns:
        Decibels ``[...]``, float64.

    Raises:
        UsageError: the shapes differ.

    >>> snr(reference=torch.tensor([3.0, 4.0]), estimate=torch.tensor([3.0, 4.5]))
    tensor(20., dtype=torch.float64)
    """
    known = moments(reference, estimate)
    error = residual_energy(reference, estimate, torch.ones_like(known.product), known)
    return score_db(known.reference, known.estimate, known.reference, error)


def si_sdr(*, reference: Tensor, estimate: Tensor) -> Tensor:
    """Computes the scale-invariant SDR ``|αs|² / |αs - ŝ|²``, ``α = <ŝ, s> / |s|²``; keeps the mean. Shapes as `snr`.

    Source: Le Roux et al., "SDR - half-baked or well done?", ICASSP 2019.

    >>> si_sdr(reference=torch.tensor([1.0, 0.0]), estimate=torch.tensor([-5.0, 0.5]))
    tensor(20., dtype=torch.float64)
    """
    known = moments(reference, estimate)
    gain = _projection(known)
    error = residual_energy(reference, estimate, gain, known)
    return score_db(known.reference, known.estimate, gain.square() * known.reference, error)


def si_snr(*, reference: Tensor, estimate: Tensor) -> Tensor:
    """Computes `si_sdr` after removing the mean over time of both signals. Shapes as for `snr`.

    Source: Luo and Mesgarani, "Conv-TasNet", IEEE/ACM TASLP 2019.
    """
    check_same_shape(reference, estimate)
    return si_sdr(reference=centred(reference), estimate=centred(estimate))


def sd_sdr(*, reference: Tensor, estimate: Tensor) -> Tensor:
    """Computes the scale-dependent SDR ``|αs|² / |s - ŝ|²``, ``α`` as for `si_sdr`. Shapes as for `snr`.

    Source: Le Roux et al., "SDR - half-baked or well done?", ICASSP 2019.
    """
    known = moments(reference, estimate)
    error = residual_energy(reference, estimate, torch.ones_like(known.product), known)
    return score_db(known.reference, known.estimate, _projection(known).square() * known.reference, error)


def sa_sdr(*, reference: Tensor, estimate: Tensor) -> Tensor:
    """Computes the source-aggregated SDR ``Σ|s_j|² / Σ|s_j - ŝ_j|²``, which is defined unless all sources are silent.

    Source: von Neumann et al., "SA-SDR: a novel loss function for separation of meeting style data", ICASSP 2022.

    Args:
        reference: ``[..., sources, time]``.
        estimate: ``[..., sources, time]``.

    Returns:
        Decibels ``[...]``, float64.

    Raises:
        UsageError: the shapes differ, or there is no dimension of sources.
    """
    if reference.shape != estimate.shape or reference.ndim < 2:
        found = f"{list(reference.shape)} and {list(estimate.shape)}"
        raise UsageError(f"expected reference and estimate of one shape [..., sources, time], found {found}")
    return snr(reference=reference.flatten(-2), estimate=estimate.flatten(-2))


def _projection(known: Moments) -> Tensor:
    """Returns the gain of the projection on the reference; 0 for a silent reference."""
    return known.product / known.reference.masked_fill(known.reference == 0, 1.0)
