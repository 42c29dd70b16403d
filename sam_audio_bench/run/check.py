"""The one boundary where answers are checked against the query; no later code checks again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from sam_audio_bench.errors import BadSeparation
from sam_audio_bench.types import Audio, Item, Query, Separation

__all__ = ["check", "cut"]


def check(answer: Separation, query: Query, *, align: str | None = None, stereo: str = "joint") -> Separation:
    """Returns the answer, aligned if that was chosen, or says what is wrong with it.

    Args:
        answer: what a separator gave.
        query: what it was asked; its mixture fixes rate, channels and length.
        align: "pad" fills short answers with zeros and cuts long ones to the mixture's length; "trim" cuts long answers
            and leaves short ones, to be scored on the part that both have; None accepts the exact length only.
        stereo: with "mono", a mono answer to a stereo mixture is accepted, since scores average the channels.

    Raises:
        BadSeparation: with status ``length_mismatch``, ``non_finite`` or ``error``.
    """
    if not isinstance(answer, Separation):
        raise BadSeparation(f"expected a Separation, found {type(answer).__name__}")
    target = _check_part("target", answer.target, query.mixture, align, stereo)
    residual = _check_part("residual", answer.residual, query.mixture, align, stereo)
    shortest = min(target.length, residual.length)
    return replace(answer, target=_resize(target, shortest), residual=_resize(residual, shortest))


def _check_part(name: str, found: Audio, mixture: Audio, align: str | None, stereo: str) -> Audio:
    if not isinstance(found, Audio):
        raise BadSeparation(f"expected the {name} as Audio, found {type(found).__name__}")
    if found.rate != mixture.rate:
        raise BadSeparation(f"expected the {name} at the mixture's {mixture.rate} Hz, found {found.rate} Hz")
    if found.channels != mixture.channels and not (stereo == "mono" and found.channels == 1):
        hint = "; `--stereo mono` scores the channels' average" if found.channels == 1 else ""
        raise BadSeparation(f"expected the {name} with {mixture.channels} channel(s), found {found.channels}{hint}")
    if found.length == 0 or (found.length != mixture.length and align is None):
        raise BadSeparation(
            f"expected the {name} with {mixture.length} samples, found {found.length}; `--align pad|trim` allows that",
            status="length_mismatch",
        )
    samples = found.samples.detach().cpu().float()
    if not np.isfinite(samples.numpy()).all():
        raise BadSeparation(f"expected finite samples in the {name}, found NaN or infinity", status="non_finite")
    keep = mixture.length if align == "pad" or found.length > mixture.length else found.length
    return _resize(Audio(samples, found.rate), keep)


def _resize(audio: Audio, length: int) -> Audio:
    if audio.length == length:
        return audio
    kept = audio.samples[:, :length]
    return Audio(torch.nn.functional.pad(kept, (0, length - kept.shape[1])), audio.rate)


def cut(item: Item, length: int) -> Item:
    """The first ``length`` samples of an item, for answers that `check` left short under "trim"."""
    if item.query.mixture.length == length:
        return item

    def shorten(audio: Audio | None) -> Audio | None:
        return None if audio is None else _resize(audio, length)

    return replace(
        item,
        query=replace(item.query, mixture=_resize(item.query.mixture, length)),
        reference=shorten(item.reference),
        residual_reference=shorten(item.residual_reference),
    )
