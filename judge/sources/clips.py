"""Converts audio files to clips of the pool: 16 kHz, mono, trimmed, levelled, cut."""

from __future__ import annotations

import io
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from sam_audio_bench.errors import MediaError

__all__ = ["LONGEST", "RATE", "SHORTEST", "Wave", "cut", "decode", "encode", "joined", "level", "trim"]

Wave = NDArray[np.float32]
RATE = 16_000
SHORTEST, LONGEST = 1.0, 20.0  # seconds of a clip
_FRAME = 320  # 20 ms
_LOUDNESS, _PEAK = 10 ** (-23 / 20), 10 ** (-1 / 20)  # active RMS and highest peak of a clip


def decode(source: Path | bytes) -> Wave:
    """Decodes a file (or its bytes) to mono at 16 kHz; channels are averaged.

    Raises:
        MediaError: it cannot be decoded.
    """
    try:
        samples, rate = soundfile.read(io.BytesIO(source) if isinstance(source, bytes) else source, dtype="float32")
    except (soundfile.LibsndfileError, RuntimeError):
        samples, rate = _decode_with_av(source)
    mono = samples.mean(axis=1) if samples.ndim == 2 else samples
    return resample(mono, rate)


def resample(mono: Wave, rate: float) -> Wave:
    """Resamples mono audio of any rate to 16 kHz."""
    return np.asarray(soxr.resample(mono, rate, RATE), dtype=np.float32)


def _decode_with_av(source: Path | bytes) -> tuple[Wave, int]:
    opened: Any = io.BytesIO(source) if isinstance(source, bytes) else str(source)
    name = "bytes" if isinstance(source, bytes) else source.name
    try:
        with av.open(opened, format="g722" if name.endswith(".g722") else None) as container:
            resampler = av.AudioResampler(format="flt", layout="mono")
            frames = [part for frame in container.decode(audio=0) for part in resampler.resample(frame)]
            frames += resampler.resample(None)
            samples = np.concatenate([frame.to_ndarray()[0] for frame in frames])
            return samples.astype(np.float32), frames[0].sample_rate
    except (av.FFmpegError, ValueError, IndexError) as error:
        raise MediaError(f"{name} should be an audio file, but cannot be decoded: {error}") from error


def loudness(wave: Wave) -> NDArray[np.float64]:
    """Returns the RMS of every 20 ms frame."""
    frames = np.pad(wave, (0, -len(wave) % _FRAME)).astype(np.float64).reshape(-1, _FRAME)
    return np.asarray(np.sqrt((frames**2).mean(axis=1)))


def trim(wave: Wave) -> Wave:
    """Trims silence at both ends: frames 45 dB below the loudest one, or below -70 dBFS."""
    rms = loudness(wave)
    active = np.flatnonzero(rms > max(rms.max(initial=0) * 10 ** (-45 / 20), 10 ** (-70 / 20)))
    if not len(active):
        return wave[:0]
    return wave[active[0] * _FRAME : (active[-1] + 1) * _FRAME]


def level(wave: Wave) -> Wave:
    """Sets the RMS of active frames to -23 dBFS, with no peak above -1 dBFS, and fades the ends over 5 ms."""
    rms = loudness(wave)
    active = rms[rms > rms.max(initial=0) * 10 ** (-30 / 20)]
    if not len(active):
        return wave
    gain = min(_LOUDNESS / np.sqrt((active**2).mean()), _PEAK / np.abs(wave).max())
    fade = np.minimum(1, np.arange(1, len(wave) + 1) / 80).astype(np.float32)
    return np.asarray(wave * np.float32(gain) * fade * fade[::-1], dtype=np.float32)


def cut(wave: Wave, seconds: float, most: int) -> list[Wave]:
    """Cuts a long recording into at most ``most`` evenly spaced pieces of at most ``seconds``.

    Pieces that are 25 dB softer than the loudest are left out.
    """
    count = max(1, min(most, round(len(wave) / (seconds * RATE))))
    length = min(len(wave), round(seconds * RATE))
    starts = np.linspace(0, len(wave) - length, count).round().astype(int)
    pieces = [trim(wave[start : start + length]) for start in starts]
    levels = [float(np.sqrt((piece.astype(np.float64) ** 2).mean())) if len(piece) else 0.0 for piece in pieces]
    return [piece for piece, rms in zip(pieces, levels, strict=True) if rms > max(levels) * 10 ** (-25 / 20)]


def joined(parts: Sequence[Wave], rng: random.Random, gap: tuple[float, float], seconds: float) -> list[Wave]:
    """Concatenates short sounds, in random order with random pauses, to clips of about ``seconds`` or more.

    Every part is used once; if all of them together are too short, they are repeated.
    """
    order = [part for part in parts if len(part)]
    if not order:
        return []
    rng.shuffle(order)
    made: list[list[Wave]] = []
    clip: list[Wave] = []
    length = 0
    for part in order:
        pause = round(rng.uniform(*gap) * RATE) if clip else 0
        if clip and length + pause + len(part) > LONGEST * RATE:
            made.append(clip)
            clip, length, pause = [], 0, 0
        clip += [np.zeros(pause, np.float32), part[: round(LONGEST * RATE)]]
        length += pause + len(part)
        if length >= seconds * RATE:
            made.append(clip)
            clip, length = [], 0
    if clip and not made:  # all together are too short: repeat them
        repeats = -(-round(seconds * RATE) // max(length, 1))
        for _ in range(min(repeats, 8) - 1):
            for part in order:
                clip += [np.zeros(round(rng.uniform(*gap) * RATE), np.float32), part]
        made.append(clip)
    return [np.concatenate(pieces)[: round(LONGEST * RATE)] for pieces in made]


def encode(wave: Wave) -> bytes:
    """Encodes as 16-bit FLAC."""
    buffer = io.BytesIO()
    soundfile.write(buffer, wave, RATE, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def pitch(wave: Wave) -> float:
    """Returns the median fundamental frequency of voiced frames in Hz; NaN if fewer than eight frames are voiced.

    Uses normalised autocorrelation of 48 ms windows, at the shortest lag with a peak within 15 % of the highest.
    """
    size, hop, low, high = 768, 320, RATE // 450, RATE // 65
    if len(wave) < size:
        return float("nan")
    frames = np.lib.stride_tricks.sliding_window_view(wave, size)[::hop][:1500].astype(np.float64)
    frames = frames - frames.mean(axis=1, keepdims=True)
    energy = (frames**2).sum(axis=1)
    spectra = np.abs(np.fft.rfft(frames * np.hanning(size), 2 * size, axis=1)) ** 2
    lags = np.fft.irfft(spectra, axis=1)[:, : high + 2]
    window = np.fft.irfft(np.abs(np.fft.rfft(np.hanning(size), 2 * size)) ** 2)[: high + 2]
    shape = lags / np.maximum(lags[:, :1], 1e-12) / (window / window[0])
    found = []
    for row in shape[energy > 0.05 * energy.max()]:
        inner = row[low:high]
        peaks = np.flatnonzero((inner >= row[low - 1 : high - 1]) & (inner >= row[low + 1 : high + 1]))
        if len(peaks) and inner[peaks].max() > 0.6:
            found.append(RATE / (low + peaks[inner[peaks] >= 0.85 * inner[peaks].max()][0]))
    return float(np.median(found)) if len(found) >= 8 else float("nan")
