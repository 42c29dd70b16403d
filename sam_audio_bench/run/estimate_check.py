"""The only place where estimates are checked against the query; later code relies on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor

from sam_audio_bench.blocks import BlockAccumulator, all_finite, is_long, iter_blocks
from sam_audio_bench.errors import BadSeparation
from sam_audio_bench.run.lag import lag_behind_mixture
from sam_audio_bench.separators.estimate_files import compute_residual
from sam_audio_bench.types import Audio, Item, Query, Separation

__all__ = ["check_estimate", "trim_item"]

_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 88200, 96000, 192000)  # common sampling rates
_TOLERANCE = 0.005  # relative, of a length: resampling and framing round it
_MANY_CHANNELS = 64  # more than any recording has
_LONGEST_NAME = 200
_LONGEST_TIME = 1e9
_MOST_OUTPUTS = 1 << 31
_ROUNDING = 1e-5  # relative to the mixture's energy, of the sum of two parts that add up to it


def check_estimate(
    estimate: Separation, query: Query, *, align: str | None = None, stereo: str = "joint"
) -> Separation:
    """Returns the estimate, aligned to the mixture if requested.

    Args:
        estimate: output of a separator.
        query: its input; the mixture determines rate, channels and length.
        align: "pad" fills short estimates with zeros and cuts long ones to the mixture's length; "trim" cuts long
            estimates and leaves short ones, which are scored on the common part; "lag" shifts both parts by the lag of
            the target behind the mixture and then trims; None accepts the exact length only.
        stereo: with "mono", a mono estimate of a stereo mixture is accepted, since scores average the channels.

    Raises:
        BadSeparation: with status ``length_mismatch``, ``non_finite`` or ``error``.
    """
    if not isinstance(estimate, Separation):
        raise BadSeparation(f"expected a Separation, found {type(estimate).__name__}")
    seconds = _check_metadata(estimate)
    target = _check_part("target", estimate.target, query.mixture, align, stereo)
    residual = _check_part("residual", estimate.residual, query.mixture, align, stereo)
    lag = lag_behind_mixture(target, query.mixture) if align == "lag" else 0
    if lag:
        target, residual = _shift(target, residual, query.mixture, lag)
    target, residual = (_resize(part, min(part.length, query.mixture.length)) for part in (target, residual))
    shortest = min(target.length, residual.length)
    return Separation(
        target=_resize(target, shortest), residual=_resize(residual, shortest), seconds=seconds,
        picked_by=estimate.picked_by, moved_ms=1000 * lag / query.mixture.rate, outputs=dict(estimate.outputs),
    )  # fmt: skip


def _check_metadata(estimate: Separation) -> float:
    """Checks what an estimate states besides its samples, which goes into the journal; returns its seconds."""
    seconds: Any = estimate.seconds
    picker: Any = estimate.picked_by
    if not isinstance(seconds, Real) or not 0 <= float(seconds) <= _LONGEST_TIME:
        raise BadSeparation(
            f"expected seconds as a number from 0, found {seconds!r}; leave them out to have them measured"
        )
    if picker is not None and not (
        isinstance(picker, str) and 0 < len(picker) <= _LONGEST_NAME and picker.isprintable()
    ):
        raise BadSeparation(
            f"expected picked_by as a name of up to {_LONGEST_NAME} letters or None, found {picker!r:.200}"
        )
    outputs: Any = estimate.outputs
    if not isinstance(outputs, Mapping) or not all(
        isinstance(item, str) and type(number) is int and 0 <= number < _MOST_OUTPUTS
        for item, number in outputs.items()
    ):
        raise BadSeparation(f"expected outputs as a mapping from items to numbers from 0, found {outputs!r:.200}")
    return float(seconds)


def _check_part(name: str, found: Audio, mixture: Audio, align: str | None, stereo: str) -> Audio:
    if not isinstance(found, Audio):
        raise BadSeparation(f"expected the {name} as Audio, found {type(found).__name__}")
    rate: Any = found.rate
    if isinstance(rate, bool) or not isinstance(rate, Integral):
        raise BadSeparation(f"expected the rate of the {name} as a whole number of Hz, found {rate!r}")
    if found.rate != mixture.rate:
        raise BadSeparation(
            f"expected the {name} at the mixture's {mixture.rate} Hz, found {found.rate} Hz; resample the estimate"
        )
    if found.samples.layout != torch.strided:
        raise BadSeparation(f"expected the {name} as a dense tensor, found {found.samples.layout}; call .to_dense()")
    if _is_transposed(found, mixture):
        raise BadSeparation(
            f"expected the {name} with {mixture.channels} channel(s), found {found.channels}, in a shape of "
            f"{list(found.samples.shape)}, which looks like [time, channels]; transpose it"
        )
    if found.channels != mixture.channels and not (stereo == "mono" and found.channels == 1):
        hint = "; `--stereo mono` scores the channels' average" if found.channels == 1 else ""
        raise BadSeparation(f"expected the {name} with {mixture.channels} channel(s), found {found.channels}{hint}")
    _check_length(name, found, mixture, align)
    length = found.length if align == "lag" else min(found.length, mixture.length)
    samples = found.samples[:, :length].detach().cpu().float()
    if not all_finite(samples):
        raise BadSeparation(f"expected finite samples in the {name}, found NaN or infinity", status="non_finite")
    return _resize(Audio(samples, mixture.rate), mixture.length if align == "pad" else length)


def _is_transposed(found: Audio, mixture: Audio) -> bool:
    """Whether time seems to be the first axis: many channels and few samples, or the mixture's shape transposed."""
    exchanged = (found.channels, found.length) == (mixture.length, mixture.channels) and found.channels != found.length
    return exchanged or (found.length in (1, mixture.channels) and found.channels >= _MANY_CHANNELS)


def _check_length(name: str, found: Audio, mixture: Audio, align: str | None) -> None:
    if found.length == mixture.length or (found.length and align is not None):
        return
    hint = "; `--align pad|trim` allows that" if found.length else ""
    if rate := _rate_of_length(found.length, mixture):
        hint = f", as many as the mixture has at {rate} Hz instead of {mixture.rate} Hz; resample the estimate"
    raise BadSeparation(
        f"expected the {name} with {mixture.length} samples, found {found.length}{hint}", status="length_mismatch"
    )


def _rate_of_length(length: int, mixture: Audio) -> int | None:
    """Returns the common rate at which the mixture would have that many samples, within half a percent, or None."""
    for rate in _RATES:
        expected = mixture.length * rate / mixture.rate
        if rate != mixture.rate and abs(length - expected) <= max(1.0, _TOLERANCE * expected):
            return rate
    return None


def _shift(target: Audio, residual: Audio, mixture: Audio, lag: int) -> tuple[Audio, Audio]:
    """Returns both parts without their first ``lag`` samples, or with that much leading silence if they are early.

    A residual that equals mixture minus target is not late itself: it is computed again from the shifted target.
    """
    shifted = _shift_sound(target, lag)
    if _adds_up(target, residual, mixture):
        length = min(shifted.length, mixture.length)
        shifted = _resize(shifted, length)
        return shifted, compute_residual(_resize(mixture, length), shifted)
    return shifted, _shift_sound(residual, lag)


def _shift_sound(sound: Audio, lag: int) -> Audio:
    """Returns a sound from sample ``lag`` on, which may be negative."""
    if lag >= 0:
        return Audio(sound.samples[:, lag:], sound.rate)
    return Audio(torch.nn.functional.pad(sound.samples, (-lag, 0)), sound.rate)


def _adds_up(target: Audio, residual: Audio, mixture: Audio) -> bool:
    """Whether target and residual, as returned, add up to the mixture, except for rounding."""
    length = min(target.length, residual.length, mixture.length)
    error = total = 0.0
    for one, other, both in iter_blocks(*(sound.samples[:, :length] for sound in (target, residual, mixture))):
        error += float((one + other - both).square().sum())
        total += float(both.square().sum())
    return error <= _ROUNDING * total


def _resize(audio: Audio, length: int) -> Audio:
    if audio.length == length:
        return audio
    kept = audio.samples[:, :length]
    if is_long(kept):
        return Audio(_resize_long(kept, length), audio.rate)
    return Audio(torch.nn.functional.pad(kept, (0, length - kept.shape[1])), audio.rate)


def _resize_long(samples: Tensor, length: int) -> Tensor:
    """Resizes a long sound into a new file, in which its channels are contiguous again."""
    found = BlockAccumulator(len(samples))
    for (part,) in iter_blocks(samples):
        found.append(part.numpy())
    if missing := length - samples.shape[1]:
        found.append(torch.zeros(len(samples), missing, dtype=samples.dtype).numpy())
    return torch.from_numpy(found.to_array())


def trim_item(item: Item, length: int) -> Item:
    """Returns the first ``length`` samples of an item, for a shorter estimate accepted under ``align="trim"``."""
    if item.query.mixture.length == length:
        return item

    def shorten(audio: Audio | None) -> Audio | None:
        return None if audio is None else _resize(audio, length)

    return replace(
        item,
        query=replace(item.query, mixture=_resize(item.query.mixture, length)),
        reference=shorten(item.reference),
        residual_reference=shorten(item.residual_reference),
        residual_sources=tuple(_resize(source, length) for source in item.residual_sources),
    )
