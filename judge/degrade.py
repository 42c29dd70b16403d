"""Damage to signals: band-limiting, clipping, drop-outs, noise, swapped segments, resynthesis, reverberation.

Every function takes float32 samples ``[time]`` at `RATE` and a random generator, and returns as many samples.
"""

from __future__ import annotations

import numpy as np
import soxr
from numpy.typing import NDArray
from scipy.fft import irfft, rfft
from scipy.signal import butter, fftconvolve, sosfilt

from sam_audio_bench.tasks.mixing import rms, uniform_db

__all__ = [
    "RATE",
    "TRANSFORM",
    "band_limit",
    "clip",
    "coarse",
    "drop_out",
    "hiss",
    "modulated_noise",
    "musical_noise",
    "phase_noise",
    "pitch",
    "resynthesise",
    "reverberate",
    "swap",
]

RATE = 16_000
"""Hz."""

Signal = NDArray[np.float32]
Spectrum = NDArray[np.complex64]
Random = np.random.Generator


class _Transform:
    """Short-time Fourier transform ``[T, F]`` with a Hann window of 32 ms and a hop of a quarter, and its inverse."""

    size = 512
    hop = 128

    def __init__(self) -> None:
        self._window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(self.size) / self.size)).astype(np.float32)

    def forward(self, signal: Signal) -> Spectrum:
        """Returns the spectrum of the zero-padded signal; frame t is centred on sample ``hop * (t - 1)``."""
        frames = -(-len(signal) // self.hop) + 3
        padded = np.zeros(self.size + (frames - 1) * self.hop, np.float32)
        padded[self.size - self.hop :][: len(signal)] = signal
        windows = np.lib.stride_tricks.sliding_window_view(padded, self.size)[:: self.hop]
        spectrum: Spectrum = rfft(windows * self._window, axis=1)
        return spectrum

    def inverse(self, spectrum: NDArray[np.complexfloating], length: int) -> Signal:
        """Inverts by weighted overlap-add, which yields the least-squares signal (Griffin and Lim 1984)."""
        frames = irfft(spectrum.astype(np.complex64), self.size, axis=1) * (self._window / 1.5)
        blocks = np.zeros((len(frames) + 3, self.hop), np.float32)
        for part in range(4):  # 1.5 is the sum of squared windows at this hop
            blocks[part : part + len(frames)] += frames[:, part * self.hop : (part + 1) * self.hop]
        signal: Signal = blocks.ravel()[self.size - self.hop :][:length]
        return np.pad(signal, (0, length - len(signal)))


TRANSFORM = _Transform()


def band_limit(signal: Signal, random: Random) -> Signal:
    """Applies a low-pass at 0.8-5 kHz, a high-pass at 200-1500 Hz, or both."""
    kind = random.choice(["low", "low", "high", "band"])
    low, high = np.exp(random.uniform(np.log(200), np.log(1500))), np.exp(random.uniform(np.log(800), np.log(5000)))
    high = max(high, 1.5 * low) if kind == "band" else high
    edges = {"low": ("lowpass", high), "high": ("highpass", low), "band": ("bandpass", (low, high))}[kind]
    filtered: Signal = sosfilt(butter(int(random.integers(2, 7)), edges[1], edges[0], fs=RATE, output="sos"), signal)
    return filtered.astype(np.float32)


def clip(signal: Signal, random: Random) -> Signal:
    """Clips 0.5-40 % of the samples that are not silent, hard or softly."""
    magnitudes = np.abs(signal[np.abs(signal) > 1e-3 * np.abs(signal).max(initial=0)])
    if not len(magnitudes):
        return signal
    level = float(np.quantile(magnitudes, 1 - np.exp(random.uniform(np.log(0.005), np.log(0.4)))))
    soft = random.random() < 0.5
    cut: Signal = level * np.tanh(signal / level) if soft else np.clip(signal, -level, level)
    return cut


def coarse(signal: Signal, random: Random) -> Signal:
    """Quantises to 3-8 bits."""
    steps = 2.0 ** random.uniform(2, 7) / (np.abs(signal).max(initial=0) or 1.0)
    rounded: Signal = (np.round(signal * steps) / steps).astype(np.float32)
    return rounded


def drop_out(signal: Signal, random: Random, most: float = 0.6) -> Signal:
    """Inserts gaps of 20-600 ms, silent or 15-30 dB softer, over 5 % or more of the time (counting overlaps twice)."""
    gain = np.ones(len(signal), np.float32)
    share, length = random.uniform(0.05, most), np.exp(random.uniform(np.log(0.02), np.log(0.6))) * RATE
    depth = random.choice([0.0, uniform_db(random, -30, -15)])
    for start in random.integers(0, len(signal), max(1, round(share * len(signal) / length))):
        gain[start : start + int(length * random.uniform(0.5, 1.5))] = depth
    ramp = np.hanning(round(0.004 * RATE) | 1)
    return signal * np.convolve(gain, ramp / ramp.sum(), mode="same").astype(np.float32)


def hiss(signal: Signal, random: Random) -> Signal:
    """Adds noise 5-45 dB below the signal, white or falling by up to 6 dB per octave."""
    spectrum = np.fft.rfft(random.standard_normal(len(signal)))
    frequency = np.maximum(np.fft.rfftfreq(len(signal), 1 / RATE), 50)
    noise = np.fft.irfft(spectrum * frequency ** -random.uniform(0, 1), len(signal))
    level = (rms(signal) or 0.03) * uniform_db(random, -45, -5)
    return (signal + noise * (level / np.std(noise))).astype(np.float32)


def modulated_noise(signal: Signal, random: Random, levels: tuple[float, float] = (-40, 0)) -> Signal:
    """Adds signal-modulated noise at a relative level in dB: the modulated noise reference unit of ITU-T P.810."""
    noise = random.standard_normal(len(signal)).astype(np.float32)
    found: Signal = signal * (1 + noise * uniform_db(random, *levels))
    return found


def musical_noise(signal: Signal, random: Random) -> Signal:
    """Keeps or removes isolated patches of the spectrogram at random, as by a mask from noisy estimates."""
    spectrum = TRANSFORM.forward(signal)
    shape = -(-np.array(spectrum.shape) // (int(random.integers(2, 9)), int(random.integers(1, 5))))
    patches = random.standard_normal(tuple(shape)).astype(np.float32)
    repeat = -(-np.array(spectrum.shape) // shape)
    field = np.kron(patches, np.ones(tuple(repeat), np.float32))[: spectrum.shape[0], : spectrum.shape[1]]
    spread = random.uniform(2, 14)  # dB
    gain = 10 ** (np.clip(field * spread, -40, 6) / 20)
    if random.random() < 0.5:  # tones where there should be none
        floor = np.median(np.abs(spectrum), axis=0) + 1e-3 * np.abs(spectrum).mean()
        turns = np.exp(2j * np.pi * random.random(spectrum.shape))
        spectrum = spectrum + (field > random.uniform(1.8, 2.6)) * floor * uniform_db(random, 0, 12) * turns
    return TRANSFORM.inverse(spectrum * gain, len(signal))


def swap(signal: Signal, random: Random) -> Signal:
    """Exchanges segments of 0.2-0.8 s, at least a fifth of them."""
    size = int(random.uniform(0.2, 0.8) * RATE)
    starts = np.arange(0, len(signal) - size + 1, size)
    count = max(2, round(random.uniform(0.2, 1) * len(starts)))
    chosen = random.permutation(starts)[: min(count, len(starts))]
    moved, fade = signal.copy(), np.minimum(1, np.arange(size) / 80)
    window = (fade * fade[::-1]).astype(np.float32)
    for here, there in zip(chosen, np.roll(chosen, 1), strict=True):
        moved[here : here + size] = signal[there : there + size] * window
    return moved


def pitch(signal: Signal, random: Random) -> Signal:
    """Shifts the pitch by ±0.3-4 semitones at the same speed, by a phase vocoder and resampling."""
    factor = 2 ** (random.choice([-1, 1]) * random.uniform(0.3, 4) / 12)
    spectrum = TRANSFORM.forward(signal)
    places = np.arange(0, len(spectrum) - 1, 1 / factor)
    left = places.astype(int)
    share = (places - left).astype(np.float32)[:, None]
    magnitude = (1 - share) * np.abs(spectrum[left]) + share * np.abs(spectrum[left + 1])
    advance = np.angle(spectrum[left + 1]) - np.angle(spectrum[left])
    phase = np.cumsum(np.concatenate([np.angle(spectrum[:1]), advance[:-1]]), axis=0)
    stretched = TRANSFORM.inverse(magnitude * np.exp(1j * phase), int(len(signal) * factor))
    shifted = soxr.resample(stretched, RATE * factor, RATE, quality="HQ").astype(np.float32)[: len(signal)]
    return np.pad(shifted, (0, len(signal) - len(shifted)))


def resynthesise(signal: Signal, random: Random) -> Signal:
    """Resynthesises from magnitudes in 40-120 mel-like bands and inexact phases, as by a vocoder."""
    spectrum = TRANSFORM.forward(signal)
    bins = spectrum.shape[1]
    centres = 700 * (np.exp(np.linspace(0, np.log(1 + RATE / 2 / 700), int(random.integers(40, 121)))) - 1)
    places = np.arange(bins) * (RATE / 2) / (bins - 1)
    magnitude = np.abs(spectrum)
    smooth = magnitude @ _interpolation(places, centres) @ _interpolation(centres, places)
    share = random.uniform(0.3, 1)
    magnitude = magnitude ** (1 - share) * smooth**share
    turned = np.angle(spectrum) + random.uniform(0.2, 0.9) * random.standard_normal(bins)
    found = TRANSFORM.inverse(magnitude * np.exp(1j * turned), len(signal))
    for _ in range(int(random.integers(0, 3))):  # Griffin and Lim 1984
        phase = np.angle(TRANSFORM.forward(found))
        found = TRANSFORM.inverse(magnitude * np.exp(1j * phase), len(signal))
    return found


def _interpolation(known: NDArray[np.float64], requested: NDArray[np.float64]) -> NDArray[np.float32]:
    """Returns a matrix ``[known, requested]`` that interpolates linearly from known to requested positions."""
    return np.stack([np.interp(requested, known, unit) for unit in np.eye(len(known))]).astype(np.float32)


def phase_noise(signal: Signal, random: Random) -> Signal:
    """Rotates every value of the spectrogram by a random angle of 0.3-2 rad RMS."""
    spectrum = TRANSFORM.forward(signal)
    turns = random.uniform(0.3, 2) * random.standard_normal(spectrum.shape)
    return TRANSFORM.inverse(spectrum * np.exp(1j * turns), len(signal))


def reverberate(signal: Signal, random: Random) -> Signal:
    """Adds reverberation: noise that decays by 60 dB in 0.15-1.2 s, with 0-18 dB less energy than the direct sound."""
    decay = random.uniform(0.15, 1.2)
    time = np.arange(round(decay * RATE)) / RATE
    tail = random.standard_normal(len(time)) * 10 ** (-3 * time / decay)
    tail[: round(random.uniform(0.002, 0.02) * RATE)] = 0
    tail *= uniform_db(random, -18, 0) / np.sqrt(np.sum(tail**2))
    tail[0] = 1
    wet: Signal = fftconvolve(signal, tail.astype(np.float32))[: len(signal)]
    return wet.astype(np.float32)
