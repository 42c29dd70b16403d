"""What the ear keeps of a sound: energies in bands of one ERB, loudness, and delays nobody hears. In numpy.

Shape legend: ``[C, N]`` channels and samples at `RATE`, ``[T, B]`` frames of 32 ms every 8 ms and `BANDS` bands.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import soxr
from numpy.typing import NDArray
from scipy import fft
from torch import Tensor

__all__ = ["BANDS", "HOP", "RATE", "SHORTEST", "Aligner", "erb_number", "excitation", "loudness", "prepared"]

Reals = NDArray[np.float32]

RATE = 32_000
"""Hz that everything is brought to: the highest band is centred on 14 kHz."""

BANDS = 36
"""Bands, equally spaced on the ERB-number scale from 80 Hz to 14 kHz."""

SHORTEST = 0.2
"""Seconds below which there are too few frames to compare patterns."""

HOP = 256
"""Samples from frame to frame."""

_WINDOW = 1024

_LOWEST, _HIGHEST = 80.0, 14_000.0
_CORNER = 40.0  # Hz below which sound does not count; also what a constant offset leaks into
_CHUNK = 4096  # frames under windows at once
_THRESHOLD = 1e-6  # energy at the threshold of hearing: 60 dB below the loud frames of the reference
_EXPONENT = 0.3

_LONGEST_LAG = 640  # samples: 20 ms
_REFINE = 96  # samples around the envelopes' lag: 3 ms
_COHERENT = 0.15  # correlation of waveforms below which their maximum is chance
_STEP = 32  # samples from envelope to envelope: 1 ms
_SHORT = 256  # samples under an envelope's window
_EDGES = np.geomspace(100, 14_000, 12)  # Hz, of the bands whose envelopes are compared


def prepared(signal: Tensor, rate: int, peak: float) -> Reals:
    """``[C, N]`` at `RATE`, divided by ``peak`` so that float32 holds any level, without its constant offset.

    In float32, a channel at a time: ten minutes take no more memory than they must.
    """
    channels = []
    for channel in signal:
        samples = channel.float().numpy()
        sound = samples.copy() if rate == RATE else soxr.resample(samples, rate, RATE, quality="HQ")
        sound /= np.float32(peak)
        sound -= sound.mean(dtype=np.float64).astype(np.float32)
        channels.append(sound)
    return channels[0][None] if len(channels) == 1 else np.stack(channels)


def erb_number(hertz: NDArray[np.floating] | float) -> NDArray[np.floating]:
    """Number of equivalent rectangular bandwidths below a frequency (Glasberg and Moore 1990)."""
    number: NDArray[np.floating] = 21.4 * np.log10(1 + 4.37e-3 * np.asarray(hertz))
    return number


@lru_cache(maxsize=1)
def _weights() -> Reals:
    """``[513, B]``: power responses of the bands times that of the outer and middle ear.

    Bands are fourth-order gammatone filters, one ERB wide (Glasberg and Moore 1990; Patterson et al. 1992). The ear is
    that of PEAQ (ITU-R BS.1387), with a second-order high-pass below it.
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
    """Squared magnitudes ``[frames, bins]`` of one channel ``[N]``, in chunks."""
    frames = np.lib.stride_tricks.sliding_window_view(signal, window)[::step]
    taper = np.hanning(window + 1)[:-1].astype(np.float32)
    for start in range(0, len(frames), _CHUNK):
        spectrum = fft.rfft(frames[start : start + _CHUNK] * taper, axis=-1)
        yield spectrum.real**2 + spectrum.imag**2


def excitation(signal: Reals) -> Reals:
    """Energies ``[T, B]``, summed over channels as if both ears heard all of them."""
    channels = [np.concatenate([power @ _weights() for power in _powers(one, _WINDOW, HOP)]) for one in signal]
    found: Reals = np.sum(channels, axis=0, dtype=np.float32)
    return found


def loudness(energy: NDArray[np.floating]) -> NDArray[np.floating]:
    """Specific loudness of energies relative to the loud frames of the reference (Zwicker's power law)."""
    found: NDArray[np.floating] = (energy + _THRESHOLD) ** _EXPONENT - _THRESHOLD**_EXPONENT
    return found


class Aligner:
    """Undoes a delay of up to 20 ms of an answer to whichever of some known signals it is most like.

    Envelopes find the delay, because a vocoder's waveform is no guide; waveforms refine it where they agree at all.

    Args:
        known: ``[C, N]`` each, of one shape.
    """

    def __init__(self, *known: Reals) -> None:
        self._known = known
        self._envelopes = [_envelopes(signal) for signal in known]

    def __call__(self, estimate: Reals) -> tuple[Reals, int]:
        """``estimate`` ``[C, N]`` in time, and by how many samples it was late.

        What moves in is silence: at the end where the estimate was late, at the beginning where it was early.
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
        moved = np.zeros_like(estimate)
        length = estimate.shape[1]
        moved[:, max(0, -lag) : length - max(0, lag)] = estimate[:, max(0, lag) : length - max(0, -lag)]
        return moved, lag


def _envelope_lag(one: Reals, other: Reals) -> tuple[float, int]:
    """The highest mean correlation of envelopes ``[ms, bands]`` within ±20 ms, and the lag in ms where it is."""
    norm = np.sqrt(np.square(one).sum(axis=0) * np.square(other).sum(axis=0)) + 1e-12
    found = []
    for lag in range(-_LONGEST_LAG // _STEP, _LONGEST_LAG // _STEP + 1):
        here = one[max(0, -lag) : len(one) - max(0, lag)]
        there = other[max(0, lag) : len(other) - max(0, -lag)]
        found.append((float((np.einsum("tb,tb->b", here, there) / norm).mean()), lag))
    return max(found)


def _envelopes(signal: Reals) -> Reals:
    """Fourth roots of energies ``[ms, bands]``, channels summed, without their means."""
    bins = np.maximum(np.round(_EDGES * _SHORT / RATE).astype(int), 1)
    stops = np.maximum(bins[1:], bins[:-1] + 1)
    energy = sum(
        np.concatenate([_sums(power, bins[:-1], stops) for power in _powers(one, _SHORT, _STEP)]) for one in signal
    )
    root = np.sqrt(np.sqrt(energy))
    found: Reals = root - root.mean(axis=0)
    return found


def _sums(power: Reals, starts: NDArray[np.int_], stops: NDArray[np.int_]) -> Reals:
    return np.stack([power[:, start:stop].sum(axis=1) for start, stop in zip(starts, stops, strict=True)], axis=1)


def _waveform_correlation(reference: Reals, estimate: Reals) -> NDArray[np.float64]:
    """Normalised cross-correlation at lags of -20…20 ms, channels summed; blocks bound the memory.

    Of the signals' slopes, so that low notes with another phase do not move what is above them.
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
    found: NDArray[np.float64] = total / (np.sqrt(energies.prod()) + 1e-12)
    return found
