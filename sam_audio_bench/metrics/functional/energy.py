"""Energy, silence and decibels, as defined for all functions of this package.

Everything is float64 and nothing is added to a denominator, so that scaling both signals by the same factor changes no
value. Shape legend: ``[..., time]``, leading dimensions are kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from sam_audio_bench.blocks import apply_blockwise, is_long, iter_blocks
from sam_audio_bench.errors import UsageError
from sam_audio_bench.metrics.catalogue import FLOOR_DB
from sam_audio_bench.types import Status

__all__ = [
    "RESOLUTION_DB",
    "Moments",
    "centred",
    "check_same_shape",
    "classify",
    "energy",
    "is_silent",
    "moments",
    "ratio_db",
    "residual_energy",
    "score_db",
    "status_codes",
]

RESOLUTION_DB = 250.0
"""Limit of sums in double precision: a ratio above it is perfect, a remainder that far below is rounding error."""


_CHUNK = 1 << 17  # samples that are converted to float64 at once, so that they stay in the cache
_STATUSES = tuple(Status)
_CANCELLED = (
    1e-4  # if a difference of energies is below this share of its terms, it is summed from the samples' differences
)


def check_same_shape(reference: Tensor, estimate: Tensor) -> None:
    """Raises UsageError unless both have one shape ``[..., time]``."""
    if reference.shape != estimate.shape or reference.ndim == 0:
        found = f"{list(reference.shape)} and {list(estimate.shape)}"
        raise UsageError(f"expected reference and estimate of one shape [..., time], found {found}")


class Moments(NamedTuple):
    """Sums over time of the products of two signals, ``[...]`` each, float64."""

    reference: Tensor  # |s|²
    estimate: Tensor  # |ŝ|²
    product: Tensor  # <s, ŝ>


def moments(reference: Tensor, estimate: Tensor) -> Moments:
    """Computes energies and inner product of two signals ``[..., time]``; raises UsageError unless of one shape."""
    check_same_shape(reference, estimate)
    total = reference.new_zeros(3, *reference.shape[:-1], dtype=torch.float64)
    for s, e in _chunks(reference, estimate):
        total += torch.stack([_power(s), _power(e), torch.linalg.vecdot(s, e)])
    return Moments(*total.unbind(0))


def residual_energy(reference: Tensor, estimate: Tensor, gain: Tensor, known: Moments) -> Tensor:
    """Computes ``|ŝ - gain s|²`` in full precision: ``[..., time]``, ``[...] -> [...]``, float64.

    Computed from the moments unless the terms cancel; then the samples are subtracted.
    """
    terms = known.estimate + gain.square() * known.reference
    difference = terms - 2 * gain * known.product
    cancelled = difference < _CANCELLED * terms
    if not bool(cancelled.any()):
        return difference
    exact = torch.zeros_like(difference)
    for s, e in _chunks(reference, estimate):
        exact += _power(torch.addcmul(e, s, gain[..., None], value=-1))
    return torch.where(cancelled, exact, difference)


def _chunks(*signals: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Yields parts of signals of one shape, in float64."""
    for some in iter_blocks(*signals, size=_CHUNK):
        yield tuple(part.double() for part in some)


def energy(signal: Tensor) -> Tensor:
    """Sums squares over time in float64: ``[..., time] -> [...]``."""
    total: Tensor = signal.new_zeros(signal.shape[:-1], dtype=torch.float64)
    for (part,) in _chunks(signal):
        total += _power(part)
    return total


def _power(part: Tensor) -> Tensor:
    """Sums squares over time by a norm, which needs no second array, unlike a product."""
    norm: Tensor = torch.linalg.vector_norm(part, dim=-1)
    return norm.square()


def is_silent(signal: Tensor) -> Tensor:
    """Returns whether signals are digital silence, every sample exactly zero: ``[..., time] -> [...]``, bool.

    >>> is_silent(torch.tensor([[0.0, 0.0], [0.0, 1e-9]]))
    tensor([ True, False])
    """
    return energy(signal) == 0


def centred(signal: Tensor) -> Tensor:
    """Removes the mean over time, in float64 ``[..., time]``; a constant signal becomes exactly zero.

    A remainder `RESOLUTION_DB` below the signal is rounding error and set to zero, so that it counts as silence.
    """
    if is_long(signal):
        return _centred_in_blocks(signal)
    signal = signal.double()
    rest = signal - signal.mean(dim=-1, keepdim=True)
    rounding = energy(rest) <= energy(signal) * 10 ** (-RESOLUTION_DB / 10)
    return rest.masked_fill(rounding[..., None], 0.0)


def _centred_in_blocks(signal: Tensor) -> Tensor:
    total = signal.new_zeros(signal.shape[:-1], dtype=torch.float64)
    for (part,) in _chunks(signal):
        total += part.sum(dim=-1)
    mean = (total / signal.shape[-1]).flatten()[:, None]
    flat = signal.reshape(-1, signal.shape[-1])
    rest = apply_blockwise(lambda part: part.double() - mean, flat).reshape(signal.shape)
    rounding = energy(rest) <= energy(signal) * 10 ** (-RESOLUTION_DB / 10)
    return rest.masked_fill_(rounding[..., None], 0.0) if bool(rounding.any()) else rest


def ratio_db(signal_energy: Tensor, error_energy: Tensor) -> Tensor:
    """Computes ``10 log10(signal / error)``: at least `FLOOR_DB`, +inf above `RESOLUTION_DB`, NaN for 0/0."""
    decibels = 10 * (signal_energy.log10() - error_energy.log10())
    return decibels.masked_fill(decibels > RESOLUTION_DB, torch.inf).clamp(min=FLOOR_DB)


def score_db(reference: Tensor, estimate: Tensor, signal_energy: Tensor, error_energy: Tensor) -> Tensor:
    """Computes `ratio_db` with the rules for silence: ``[...]``, dB.

    NaN if the reference is silent or any sample is not finite; `FLOOR_DB` if only the estimate is silent.

    Args:
        reference: energies of the references ``[...]``.
        estimate: energies of the estimates ``[...]``.
        signal_energy: numerator ``[...]``.
        error_energy: denominator ``[...]``.
    """
    decibels = ratio_db(signal_energy, error_energy).masked_fill(estimate == 0, FLOOR_DB)
    undefined = (reference == 0) | ~torch.isfinite(reference + estimate)
    return decibels.masked_fill(undefined, torch.nan)


def status_codes(reference: Tensor, estimate: Tensor) -> Tensor:
    """Returns the status of each estimate and its reference: ``[..., time] -> [...]``.

    Indices into ``tuple(Status)``, int64. `Status.OK` if neither is silent; a ratio is then finite, or +inf with
    `Status.PERFECT`.
    """
    energies = energy(reference), energy(estimate)
    silent = (energies[0] == 0).long() + 2 * (energies[1] == 0).long()
    kinds = (Status.OK, Status.SILENT_REFERENCE, Status.SILENT_ESTIMATE, Status.BOTH_SILENT)
    codes = torch.tensor([_STATUSES.index(kind) for kind in kinds], device=silent.device)[silent]
    infinite = ~torch.isfinite(energies[0] + energies[1])  # one sample that is not finite makes the sum so
    return codes.masked_fill(infinite, _STATUSES.index(Status.NON_FINITE))


def classify(reference: Tensor, estimate: Tensor) -> Status:
    """Returns the status of one estimate and its reference, of any common shape, see `status_codes`."""
    return _STATUSES[int(status_codes(reference.flatten(), estimate.flatten()))]
