"""Detection of the spans in which a sound is active, and agreement of two lists of spans.

`active_spans` returns the same spans as the reference implementation of SAM Audio (pydub's detection of non-silence),
from prefix sums over 16-bit samples instead of a loop over windows. Times are whole milliseconds until the end.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sam_audio_bench.blocks import count_accessed
from sam_audio_bench.errors import UsageError

__all__ = ["MODES", "Overlap", "active_spans", "merge_spans", "span_overlap"]

MODES = ("rel_to_max", "abs")
"""rel_to_max: the threshold is relative to the loudest window; abs: to full scale."""

_RATE = 24_000  # sampling rate of the reference implementation
_MS = _RATE // 1000  # samples per millisecond
_STEP = 10  # ms between windows that are tested for silence
_AT_ONCE = 1 << 20  # samples that are converted per block
_PEAK_STEP = 100  # ms between windows that the loudest is chosen from
_FULL_SCALE = 32_768

Times = Sequence[tuple[float, float]]


class Overlap(NamedTuple):
    """Agreement of two lists of spans, each at least 0; at most 1 for merged spans."""

    iou: float
    recall: float
    precision: float


def active_spans(
    samples: Tensor, rate: int, *, threshold: float = -40.0, mode: str = "rel_to_max", window: float = 0.25
) -> list[tuple[float, float]]:
    """Detects where a signal is active: what remains without all windows, 10 ms apart, at or below the threshold.

    The RMS of a window is over all channels together, so that anti-phase channels do not cancel. The resolution is
    10 ms at best; pauses shorter than a window are not detected; a signal shorter than a window is one span.

    Args:
        samples: ``[channels, time]``, full scale ±1; values beyond it are clipped.
        rate: sampling rate in Hz.
        threshold: dB relative to the loudest window (of those 100 ms apart) or to full scale, depending on ``mode``.
        mode: one of `MODES`.
        window: length of a window, and hence of the shortest silence, in seconds; rounded to milliseconds.

    Returns:
        Spans ``(start, end)`` in seconds, disjoint and sorted; empty for digital silence.

    Raises:
        UsageError: samples have another shape or are not finite, the mode is unknown, or the window is below 10 ms.

    >>> import torch
    >>> burst = torch.zeros(1, 24_000)
    >>> burst[:, 6_000:18_000] = 0.5
    >>> active_spans(burst, 24_000)
    [(0.25, 0.75)]
    """
    if mode not in MODES:
        raise UsageError(f"expected mode to be one of {', '.join(MODES)}, found {mode!r}")
    if samples.ndim != 2:
        raise UsageError(f"expected samples [channels, time], found {list(samples.shape)}")
    size = round(1000 * window)
    if size < _STEP:
        raise UsageError(f"expected a window of at least {_STEP} ms, found {window} s")
    energies = _energies(samples, rate)
    length = len(energies) - 1
    if length < size:
        return [(0.0, length / 1000)] if length else []

    def rms(starts: NDArray[np.int64]) -> NDArray[np.int64]:
        sums = energies[starts + size] - energies[starts]
        return np.floor(np.sqrt(sums / (len(samples) * _MS * size))).astype(np.int64)

    last = length - size
    if mode == "rel_to_max":
        peak = int(rms(np.arange(0, last + 1, _PEAK_STEP)).max())
        threshold += 20 * math.log10(peak / _FULL_SCALE) if peak else -math.inf
    starts = np.unique(np.append(np.arange(0, last + 1, _STEP), last))
    silent = starts[rms(starts) <= 10 ** (threshold / 20) * _FULL_SCALE]
    return _gaps(silent, length, size)


def merge_spans(spans: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Merges spans that overlap or touch; returns disjoint spans in order.

    >>> merge_spans([(2.0, 3.0), (0.0, 1.0), (1.0, 1.5)])
    [(0.0, 1.5), (2.0, 3.0)]
    """
    merged: list[tuple[float, float]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    return merged


def span_overlap(*, reference: Times, estimate: Times, merge: bool = True) -> Overlap:
    """Computes intersection over union, recall and precision of estimated spans.

    With I the summed intersections of all pairs of spans, R and E the summed lengths: ``I / (R + E - I)``, ``I / R``
    and ``I / E``; 0 where the denominator is 0.

    Args:
        reference: true spans ``(start, end)``, seconds.
        estimate: estimated spans ``(start, end)``, seconds.
        merge: merge the spans of each list first, so that no time counts twice. False: the formula of the reference
            implementation of SAM Audio, which exceeds 1 where the spans of one list overlap.

    >>> span_overlap(reference=[(0.5, 2.0)], estimate=[(0.0, 1.0)])
    Overlap(iou=0.25, recall=0.3333333333333333, precision=0.5)
    >>> span_overlap(reference=[(0.0, 0.75), (0.25, 1.0)], estimate=[(0.0, 1.0)], merge=False)
    Overlap(iou=1.5, recall=1.0, precision=1.5)
    """
    if merge:
        reference, estimate = merge_spans(reference), merge_spans(estimate)
    common = 0.0
    for start, end in estimate:
        for other_start, other_end in reference:
            common += max(0.0, min(end, other_end) - max(start, other_start))
    true = [end - start for start, end in reference]
    found = [end - start for start, end in estimate]
    wholes = sum(found + true) - common, sum(true), sum(found)  # one running sum: bitwise as in the reference
    shares = (_share(common, whole) for whole in wholes)
    return Overlap(*(min(1.0, share) if merge else share for share in shares))  # rounding can lift a share above 1


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _energies(samples: Tensor, rate: int) -> NDArray[np.int64]:
    """Returns the cumulative energy of all channels per millisecond, ``[milliseconds + 1]``.

    Integers, so that it does not depend on the division into blocks. As in the reference implementation, the length is
    rounded to whole milliseconds, and the last one padded with zeros.
    """
    found, total = [], 0
    for block in _blocks(samples, rate):
        total += block.shape[1]
        squares = np.square(block, dtype=np.int64).sum(axis=0)
        found.append(np.add.reduceat(squares, np.arange(0, len(squares), _MS)) if len(squares) else squares)
    length = round(total / _MS)
    energies = np.zeros(length + 1, np.int64)
    if length:
        np.cumsum(np.concatenate(found)[:length], out=energies[1:])
    return energies


def _blocks(samples: Tensor, rate: int) -> Iterator[NDArray[np.int16]]:
    """Yields samples at 24 kHz, in blocks of whole milliseconds except for the last."""
    divisor = math.gcd(rate, _RATE)
    up, down = _RATE // divisor, rate // divisor
    periods = max(1, _AT_ONCE // (_MS * max(up, down))) * _MS
    for start in range(0, samples.shape[1], periods * down):
        part = samples[:, start : start + periods * down + 1]  # one more sample, for the interpolation of the last ones
        last = start + periods * down >= samples.shape[1]
        yield _resample(_pcm16(part), rate)[:, : None if last else periods * up]
        count_accessed(part.numel())


def _pcm16(samples: Tensor) -> NDArray[np.int16]:
    """Converts to 16 bits, rounding half to even and clipping; the product with a power of two is exact in float32."""
    scaled = samples.detach().cpu().float().numpy() * np.float32(_FULL_SCALE)
    if not np.isfinite(scaled).all():
        raise UsageError("expected finite samples, found NaN or infinity")
    np.rint(scaled, out=scaled)
    return np.clip(scaled, -_FULL_SCALE, _FULL_SCALE - 1, out=scaled).astype(np.int16)


def _resample(pcm: NDArray[np.int16], rate: int) -> NDArray[np.int16]:
    """Interpolates linearly at 24 kHz in integers, rounding down; without a filter, as in the reference.

    Sample j lies at ``j * rate / 24000`` of the input; the last one is at or before the input's last sample.
    """
    divisor = math.gcd(rate, _RATE)
    up, down = _RATE // divisor, rate // divisor
    if up == 1 or pcm.shape[1] == 0:
        return pcm[:, ::down]
    count = (pcm.shape[1] - 1) * up // down + 1
    periods = -(-count // up)
    step, part = np.divmod(np.arange(up) * down, up)  # the positions repeat: a division for each would be slow
    whole = (np.arange(periods)[:, None] * down + step).ravel()[:count]
    weight = np.tile(part.astype(np.int32), periods)[:count]
    after = np.minimum(whole + 1, pcm.shape[1] - 1)  # clipped indices have weight 0
    before = pcm[:, whole].astype(np.int32)
    return (before + (pcm[:, after] - before) * weight // up).astype(np.int16)  # below 2^16 * 24000 < 2^31


def _gaps(silent: NDArray[np.int64], length: int, size: int) -> list[tuple[float, float]]:
    """Returns the spans of ``length`` outside windows of ``size`` that start at ``silent``; ms in, seconds out."""
    apart = np.diff(silent) > size
    first = np.append(True, apart)[: len(silent)]
    final = np.append(apart, True)[: len(silent)]
    starts = np.append(0, silent[final] + size)
    ends = np.append(silent[first], length)
    return [
        (start / 1000, end / 1000) for start, end in zip(starts.tolist(), ends.tolist(), strict=True) if start < end
    ]
