"""Answers that a program wrote to files: what is read, what is refused, and the residual that it left out."""

from __future__ import annotations

from pathlib import Path

import torch

from sam_audio_bench import audio
from sam_audio_bench.blocks import apply_blockwise
from sam_audio_bench.errors import BadSeparation, MediaError
from sam_audio_bench.types import Audio, Separation

__all__ = ["at_rate", "difference", "written_answer"]


def difference(mixture: Audio, target: Audio) -> Audio:
    """Mixture - target on the part that both have, in the mixture's shape; what is wrong with the target is its own."""
    common = min(mixture.length, target.length)
    if target.samples.shape == mixture.samples.shape:
        return Audio(apply_blockwise(torch.sub, mixture.samples, target.samples), mixture.rate)
    rest = mixture.samples.clone()
    if target.channels in (1, mixture.channels):
        rest[:, :common] -= target.samples[:, :common]
    return Audio(rest, mixture.rate)


def at_rate(found: Audio, mixture: Audio, where: str) -> Audio:
    """Refuses another rate: resampling would change the answer behind its author's back."""
    if found.rate != mixture.rate:
        raise BadSeparation(
            f"expected {where} at the mixture's {mixture.rate} Hz, found {found.rate} Hz; resample the answer"
        )
    return found


def written_answer(said: str, mixture: Audio, seconds: float, target: Path, residual: Path | None) -> Separation:
    """Reads what a program wrote; without a residual it is mixture - target.

    Args:
        said: what the program made of the query, for messages: "NAME ended well".
        mixture: of the query.
        seconds: that the program took.
        target: path of the target.
        residual: path of the residual; None: there is none.

    Raises:
        BadSeparation: a file that is absent, cannot be read, holds NaN, or has another rate than the mixture.
    """
    found = _read(said, mixture, target, "target")
    rest = difference(mixture, found) if residual is None else _read(said, mixture, residual, "residual")
    return Separation(target=found, residual=rest, seconds=seconds)


def _read(said: str, mixture: Audio, path: Path, part: str) -> Audio:
    try:
        found = audio.read(path)
    except MediaError as error:
        status = error.status if error.status == "non_finite" else "error"
        raise BadSeparation(f"{said}, but: {error}", status=status) from error
    return at_rate(found, mixture, f"the {part} of {said.partition(' ')[0]}")
