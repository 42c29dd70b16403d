"""Division into frames, and the SDR of BSS-eval v4, which needs no filters."""

from __future__ import annotations

import torch
from torch import Tensor

from sam_audio_bench.errors import UsageError
from sam_audio_bench.metrics.functional.energy import moments, residual_energy, score_db

__all__ = ["TAILS", "frames", "framewise_sdr"]

TAILS = ("drop", "keep")
"""drop: samples after the last whole frame are not scored, as in museval; keep: they form a shorter frame."""


def frames(length: int, rate: int, *, window: float = 1.0, hop: float = 1.0, tail: str = "drop") -> list[slice]:
    """Returns frames of ``window`` seconds, ``hop`` seconds apart; a signal no longer than a window is one frame.

    >>> frames(10, rate=4, tail="keep")
    [slice(0, 4, None), slice(4, 8, None), slice(8, 10, None)]
    """
    if tail not in TAILS:
        raise UsageError(f"expected tail to be one of {', '.join(TAILS)}, found {tail!r}")
    if not (window * rate >= 1 and hop * rate >= 1):
        raise UsageError(f"expected a window and a hop of at least one sample, found {window} s and {hop} s")
    if window * rate >= length:
        return [slice(0, length)]
    size, step = int(window * rate), int(min(hop * rate, length))
    whole = [slice(start, start + size) for start in range(0, length - size + 1, step)]
    end = whole[-1].start + step
    return [*whole, slice(end, length)] if tail == "keep" and whole[-1].stop < length and end < length else whole


def framewise_sdr(
    *, reference: Tensor, estimate: Tensor, rate: int, window: float = 1.0, hop: float = 1.0, tail: str = "drop"
) -> Tensor:
    """Computes the SDR of BSS-eval v4: `functional.snr` of all channels in every frame; it needs no filters.

    Source: Stöter, Liutkus and Ito, "The 2018 Signal Separation Evaluation Campaign", LVA/ICA 2018.

    Args:
        reference: ``[..., channels, time]``.
        estimate: ``[..., channels, time]``.
        rate: sampling rate in Hz.
        window: length of a frame in seconds; inf for one frame.
        hop: time between frames in seconds.
        tail: one of `TAILS`.

    Returns:
        Decibels ``[..., frames]``, float64.

    Raises:
        UsageError: the shapes differ, or a frame is impossible.
    """
    if reference.shape != estimate.shape or reference.ndim < 2:
        found = f"{list(reference.shape)} and {list(estimate.shape)}"
        raise UsageError(f"expected reference and estimate of one shape [..., channels, time], found {found}")
    cuts = frames(reference.shape[-1], rate, window=window, hop=hop, tail=tail)
    return torch.stack([_sdr(reference[..., cut], estimate[..., cut]) for cut in cuts], dim=-1)


def _sdr(reference: Tensor, estimate: Tensor) -> Tensor:
    known = moments(reference, estimate)
    error = residual_energy(reference, estimate, torch.ones_like(known.product), known).sum(dim=-1)
    signal = known.reference.sum(dim=-1)
    return score_db(signal, known.estimate.sum(dim=-1), signal, error)
