"""Auditory representation of sounds: energies in bands of one ERB, loudness, and alignment. In numpy.

Shape legend: ``[C, N]`` channels and samples at `RATE`, ``[T, B]`` frames of 32 ms every 8 ms and `BANDS` bands.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache

import numpy as np
import soxr
import torch
from numpy.typing import NDArray
from scipy import fft
from torch import Tensor

from sam_audio_bench.audio import resampled_blocks
from sam_audio_bench.blocks import BlockAccumulator, count_accessed, is_long, iter_blocks, iter_blocks_if_long
from sam_audio_bench.types import Audio

__all__ = [
    "BANDS",
    "HOP",
    "MIN_SECONDS",
    "RATE",
    "Aligner",
    "erb_number",
    "excitation",
    "loudness",
    "prepare_signal",
    "row_blocks",
]

Reals = NDArray[np.float32]

RATE = 32_000
"""Sampling rate in Hz that signals are converted to: the highest band is centred on 14 kHz."""

BANDS = 36
"""Number of bands, equally spaced on the ERB-number scale from 80 Hz to 14 kHz."""

MIN_SECONDS = 0.2
"""Minimum duration in seconds; below, there are too few frames to compare patterns."""

HOP = 256
"""Samples between frames."""

_WINDOW = 1024

_LOWEST, _HIGHEST = 80.0, 14_000.0
_CORNER = 40.0  # Hz: high-pass cut-off, which also removes the leakage of a constant offset
_CHUNK = 4096  # frames per transform
_ROWS = 1 << 15  # rows per block of long arrays
_THRESHOLD = 1e-6  # energy at the threshold of hearing: 60 dB below the loud frames of the reference
_EXPONENT = 0.3

_LONGEST_LAG = 640  # samples: 20 ms
_REFINE = 96  # samples around the envelopes' lag: 3 ms
_COHERENT = 0.15  # correlation of waveforms below which the position of its maximum is random
_STEP = 32  # samples between values of envelopes: 1 ms
_SHORT = 256  # window length of envelopes in samples
_EDGES = np.geomspace(100, 14_000, 12)  # Hz, of the bands whose envelopes are compared


def prepare_signal(signal: Tensor, rate: int, peak: float) -> Reals:
    """Converts to ``[C, N]`` at `RATE`, divides by ``peak`` to suit float32, and removes the constant offset.

    In float32, one channel at a time, to save memory.
    """
    if is_long(signal):
        return _prepared_in_blocks(signal, rate, peak)
    channels = []
    for channel in signal:
        samples = channel.float().numpy()
        sound = samples.copy() if rate == RATE else soxr.resample(samples, rate, RATE, quality="HQ")
        sound /= np.float32(peak)
        sound -= sound.mean(dtype=np.float64).astype(np.float32)
        channels.append(sound)
    return channels[0][None] if len(channels) == 1 else np.stack(channels)


def _prepared_in_blocks(signal: Tensor, rate: int, peak: float) -> Reals:
    found, total = BlockAccumulator(len(signal)), np.zeros(len(signal))
    if rate == RATE:
        blocks: Iterator[NDArray[np.floating]] = (part.float().numpy().copy() for (part,) in iter_blocks(signal))
    else:
        blocks = resampled_blocks(Audio(signal, rate), RATE, torch.float32)
    for block in blocks:
        block /= np.float32(peak)
        total += block.sum(axis=1, dtype=np.float64)
        found.append(block)
    sound: Reals = found.to_array()
    mean = torch.from_numpy((total / found.length).astype(np.float32))[:, None]
    for (part,) in iter_blocks(torch.from_numpy(sound)):
        part -= mean
    return sound


def erb_number(hertz: NDArray[np.floating] | float) -> NDArray[np.floating]:
    """Returns the number of equivalent rectangular bandwidths below a frequency (Glasberg and Moore 1990)."""
    number: NDArray[np.floating] = 21.4 * np.log10(1 + 4.37e-3 * np.asarray(hertz))
    return number


@lru_cache(maxsize=1)
def _weights() -> Reals:
    """Returns ``[513, B]``: power responses of the bands, times that of the outer and middle ear.

    Bands are fourth-order gammatone filters, one ERB wide (Glasberg and Moore 1990; Patterson et al. 1992). The ear's
    response is that of PEAQ (ITU-R BS.1387), with an additional second-order high-pass.
    """
    numbers = np.linspace(erb_number(_LOWEST), erb_number(_HIGHEST), BANDS)
    centres = (10 ** (numbers / 21.4) - 1) / 4.37e-3
    hertz = np.fft.rfftfreq(_WINDOW, 1 / RATE)
    width = 1.019 * 24.7 * (4.37e-3 * centres + 1)
    bands = (1 + ((hertz[:, None] - centres) / width) ** 2) ** -4
    kilo = np.maximum(hertz, 1) / 1000
    ear = -0.6 * 3.64 * kilo**-0.8 + 6.5 * np.exp(-0.6 * (kilo - 3.3) ** 2) - 1e-3 * kilo**3.6
    weight = 10 ** (ear / 10) * hertz**4 / (hertz**4 + _CORNER**4)
    weight[:2] = 0
    found: Reals = (bands * weight[:, None]).astype(np.float32)
    return found


def _powers(signal: Reals, window: int, step: int) -> Iterator[Reals]:
    """Yields squared magnitudes ``[frames, bins]`` of one channel ``[N]``, in chunks."""
    frames = np.lib.stride_tricks.sliding_window_view(signal, window)[::step]
    taper = np.hanning(window + 1)[:-1].astype(np.float32)
    for start in range(0, len(frames), _CHUNK):
        spectrum = fft.rfft(frames[start : start + _CHUNK] * taper, axis=-1)
        yield spectrum.real**2 + spectrum.imag**2
        count_accessed(_CHUNK * step)


def excitation(signal: Reals) -> Reals:
    """Computes energies ``[T, B]``, summed over channels, as if both ears received all of them."""
    return _concatenated_rows(
        np.sum([power @ _weights() for power in powers], axis=0, dtype=np.float32)
        for powers in zip(*(_powers(one, _WINDOW, HOP) for one in signal), strict=True)
    )


def _concatenated_rows(blocks: Iterable[Reals]) -> Reals:
    """Concatenates blocks ``[T, B]``; a long array is kept in a file."""
    found, width = BlockAccumulator(1), 0
    for block in blocks:
        width = block.shape[1]
        found.append(block.reshape(1, -1))
    return found.to_array().reshape(-1, width)


def row_blocks(rows: Reals) -> Iterator[slice]:
    """Yields slices of rows of an array ``[rows, width]``: one, or several if it is long."""
    count, width = rows.shape
    step = _ROWS if is_long(rows) else max(1, count)
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))
        count_accessed(step * width)


def loudness(energy: NDArray[np.floating]) -> NDArray[np.floating]:
    """Computes specific loudness of energies relative to the loud frames of the reference (Zwicker's power law)."""
    found: NDArray[np.floating] = (energy + _THRESHOLD) ** _EXPONENT - _THRESHOLD**_EXPONENT
    return found


class Aligner:
    """Compensates a delay of up to 20 ms of an estimate, relative to the most similar of several reference signals.

    The delay is found from envelopes, because a vocoder's waveform is unrelated to the reference's; if the waveforms
    correlate, they refine it.

    Args:
        known: reference signals ``[C, N]``, of one shape.
    """

    def __init__(self, *known: Reals) -> None:
        self._known = known
        self._envelopes = [_envelopes(signal) for signal in known]

    def __call__(self, estimate: Reals) -> tuple[Reals, int]:
        """Returns the aligned estimate ``[C, N]``, and its delay in samples.

        It is padded with silence: at the end if the estimate was late, at the beginning if it was early.
        """
        envelopes = _envelopes(estimate)
        found = [_envelope_lag(one, envelopes) for one in self._envelopes]
        best = max(range(len(found)), key=lambda index: found[index][0])
        lag = found[best][1] * _STEP
        correlation = _waveform_correlation(self._known[best], estimate)
        near = np.arange(max(-_LONGEST_LAG, lag - _REFINE), min(_LONGEST_LAG, lag + _REFINE) + 1)
        values = np.abs(correlation[near + _LONGEST_LAG])
        if values.max() > _COHERENT:
            lag = int(near[values.argmax()])
        return _shifted(estimate, lag), lag


def _shifted(estimate: Reals, lag: int) -> Reals:
    """Moves ``[C, N]`` earlier by ``lag`` samples; returns the same array if that is 0."""
    if lag == 0:
        return estimate
    channels, length = estimate.shape
    found = BlockAccumulator(channels)
    found.append(np.zeros((channels, max(0, -lag)), np.float32))
    for (part,) in iter_blocks_if_long(torch.from_numpy(estimate)[:, max(0, lag) : length - max(0, -lag)]):
        found.append(part.numpy())
    found.append(np.zeros((channels, max(0, lag)), np.float32))
    moved: Reals = found.to_array()
    return moved


def _envelope_lag(one: Reals, other: Reals) -> tuple[float, int]:
    """Returns the highest mean correlation of envelopes ``[ms, bands]`` within ±20 ms, and its lag in ms."""
    lags = range(-_LONGEST_LAG // _STEP, _LONGEST_LAG // _STEP + 1)
    products, powers = [], []
    for rows in row_blocks(one):
        pairs = [(max(rows.start, -lag), min(rows.stop, len(one) - lag), lag) for lag in lags]
        products.append([np.einsum("tb,tb->b", one[a:b], other[a + lag : b + lag]) for a, b, lag in pairs])
        powers.append([np.square(part[rows]).sum(axis=0) for part in (one, other)])
    power, power_other = np.sum(powers, axis=0)
    norm = np.sqrt(power * power_other) + 1e-12
    correlations = (np.sum(products, axis=0) / norm).mean(axis=1)
    return max(zip(correlations.tolist(), lags, strict=True))


def _envelopes(signal: Reals) -> Reals:
    """Computes fourth roots of energies ``[ms, bands]``, summed over channels, without their means."""
    bins = np.maximum(np.round(_EDGES * _SHORT / RATE).astype(int), 1)
    stops = np.maximum(bins[1:], bins[:-1] + 1)
    root = _concatenated_rows(
        np.sqrt(np.sqrt(sum(_band_sums(power, bins[:-1], stops) for power in powers)))
        for powers in zip(*(_powers(one, _SHORT, _STEP) for one in signal), strict=True)
    )
    if not is_long(root):
        found: Reals = root - root.mean(axis=0)
        return found
    mean = np.sum([root[rows].sum(axis=0, dtype=np.float64) for rows in row_blocks(root)], axis=0) / len(root)
    for rows in row_blocks(root):
        root[rows] -= mean.astype(np.float32)
    return root


def _band_sums(power: Reals, starts: NDArray[np.int_], stops: NDArray[np.int_]) -> Reals:
    return np.stack([power[:, start:stop].sum(axis=1) for start, stop in zip(starts, stops, strict=True)], axis=1)


def _waveform_correlation(reference: Reals, estimate: Reals) -> NDArray[np.float64]:
    """Computes the normalised cross-correlation at lags of -20…20 ms, summed over channels, in blocks.

    Of the signals' differences, so that low notes with another phase do not shift its maximum.
    """
    size, reach = 1 << 16, _LONGEST_LAG
    total, energies = np.zeros(2 * reach + 1), np.zeros(2)
    length = reference.shape[1]
    for start in range(0, length, size):
        block = np.diff(reference[:, start : start + size + 1], axis=1)
        first, last = start - reach, start + block.shape[1] + reach + 1
        around = np.diff(estimate[:, max(first, 0) : last], axis=1)
        around = np.pad(around, ((0, 0), (max(-first, 0), max(last - length, 0))))
        count = fft.next_fast_len(around.shape[1], real=True)
        product = fft.rfft(around, count) * np.conj(fft.rfft(block, count))
        total += fft.irfft(product.sum(axis=0), count)[: 2 * reach + 1]
        given = around[:, reach : around.shape[1] - reach]
        energies += [np.square(part, dtype=np.float64).sum() for part in (block, given)]
        count_accessed(2 * block.size)
    found: NDArray[np.float64] = total / (np.sqrt(energies.prod()) + 1e-12)
    return found
