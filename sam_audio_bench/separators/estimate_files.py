"""Reads and checks estimates that a program wrote to files; computes a missing residual."""

from __future__ import annotations

from pathlib import Path

import torch

from sam_audio_bench import audio
from sam_audio_bench.blocks import apply_blockwise
from sam_audio_bench.errors import BadSeparation, MediaError
from sam_audio_bench.types import Audio, Separation

__all__ = ["check_rate", "compute_residual", "read_estimate"]


def compute_residual(mixture: Audio, target: Audio) -> Audio:
    """Returns mixture - target on their common part, in the shape of the mixture.

    The target may have a wrong length or channel count, which is reported elsewhere.
    """
    common = min(mixture.length, target.length)
    if target.samples.shape == mixture.samples.shape:
        return Audio(apply_blockwise(torch.sub, mixture.samples, target.samples), mixture.rate)
    rest = mixture.samples.clone()
    if target.channels in (1, mixture.channels):
        rest[:, :common] -= target.samples[:, :common]
    return Audio(rest, mixture.rate)


def check_rate(found: Audio, mixture: Audio, where: str) -> Audio:
    """Returns the sound; refuses another rate, since resampling here would change the estimate silently."""
    if found.rate != mixture.rate:
        raise BadSeparation(
            f"expected {where} at the mixture's {mixture.rate} Hz, found {found.rate} Hz; resample the estimate"
        )
    return found


def read_estimate(outcome: str, mixture: Audio, seconds: float, target: Path, residual: Path | None) -> Separation:
    """Reads an estimate that a program wrote; a missing residual is mixture - target.

    Args:
        outcome: what the program did, for messages: "NAME ended well".
        mixture: of the query.
        seconds: run time of the program.
        target: path of the target.
        residual: path of the residual; None: there is none.

    Raises:
        BadSeparation: a file is missing, unreadable, holds NaN, or has another rate than the mixture.
    """
    found = _read(outcome, mixture, target, "target")
    rest = compute_residual(mixture, found) if residual is None else _read(outcome, mixture, residual, "residual")
    return Separation(target=found, residual=rest, seconds=seconds)


def _read(outcome: str, mixture: Audio, path: Path, part: str) -> Audio:
    try:
        found = audio.read(path)
    except MediaError as error:
        status = error.status if error.status == "non_finite" else "error"
        raise BadSeparation(f"{outcome}, but: {error}", status=status) from error
    return check_rate(found, mixture, f"the {part} of {outcome.partition(' ')[0]}")
