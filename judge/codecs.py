"""Round trips through lossy codecs, by PyAV's encoders and libsndfile's for Ogg Vorbis."""

from __future__ import annotations

import io
from dataclasses import dataclass

import av
import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray
from scipy.signal import correlate

__all__ = ["CODECS", "Codec", "round_trip"]

Signal = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Codec:
    """An encoder with its container, sampling rates, and bit rates per second."""

    encoder: str
    container: str
    rates: tuple[int, ...]
    bits: tuple[int, ...]


CODECS = {
    "aac": Codec("aac", "adts", (16_000,), (8_000, 12_000, 16_000, 24_000, 32_000)),
    "opus": Codec("libopus", "ogg", (16_000,), (5_000, 6_000, 8_000, 12_000, 16_000, 24_000)),
    "opus-narrow": Codec("libopus", "ogg", (8_000,), (4_500, 5_500)),
    "g723": Codec("g723_1", "nut", (8_000,), (6_300,)),
    "amr": Codec("libopencore_amrnb", "amr", (8_000,), (4_750, 6_700, 12_200)),
    "mp3": Codec("libmp3lame", "mp3", (16_000,), (8_000, 16_000, 24_000, 32_000)),
    "vorbis": Codec("vorbis", "ogg", (16_000,), (1, 2, 3, 4)),  # quality of libsndfile's encoder in quarters
}

_LEVEL = 0.5  # peak at which signals are encoded
_DELAY = 0.1  # maximum delay of a codec in seconds


def round_trip(signal: Signal, name: str, rate: int, bits: int) -> Signal:
    """Encodes and decodes a signal ``[time]``; the result is aligned with the original and has its level.

    Args:
        signal: the signal; silence is returned unchanged.
        name: one of `CODECS`.
        rate: sampling rate of the signal in Hz.
        bits: bits per second, such as one of the codec's.
    """
    codec = CODECS[name]
    peak = float(np.abs(signal).max(initial=0.0))
    if peak == 0:
        return signal
    coded_rate = codec.rates[0]
    given = soxr.resample(signal * (_LEVEL / peak), rate, coded_rate, quality="HQ").astype(np.float32)
    coded = _vorbis(given, coded_rate, bits) if name == "vorbis" else _coded(given, codec, coded_rate, bits)
    coded = soxr.resample(coded, coded_rate, rate, quality="HQ") * (peak / _LEVEL)
    return _align(coded.astype(np.float32), signal, round(_DELAY * rate))


def _vorbis(signal: Signal, rate: int, quality: int) -> Signal:
    with io.BytesIO() as file:
        soundfile.write(file, signal, rate, format="OGG", subtype="VORBIS", compression_level=1 - (quality - 1) / 4)
        file.seek(0)
        decoded: Signal = soundfile.read(file, dtype="float32")[0]
    return decoded


def _coded(signal: Signal, codec: Codec, rate: int, bits: int) -> Signal:
    file = io.BytesIO()
    with av.open(file, "w", format=codec.container) as container:
        stream = container.add_stream(codec.encoder, rate=rate)
        assert isinstance(stream, av.AudioStream)
        stream.layout, stream.bit_rate = "mono", bits
        frame = av.AudioFrame.from_ndarray(signal[None], format="fltp", layout="mono")
        frame.sample_rate = rate
        convert = av.AudioResampler(
            format=stream.format, layout="mono", rate=rate, frame_size=stream.frame_size or None
        )
        for part in [*convert.resample(frame), *convert.resample(None)]:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    file.seek(0)
    with av.open(file, "r") as container:
        convert = av.AudioResampler(format="fltp", layout="mono", rate=rate)
        frames = [part for frame in container.decode(audio=0) for part in convert.resample(frame)]
        blocks = [part.to_ndarray()[0] for part in [*frames, *convert.resample(None)]]
    return np.concatenate(blocks) if blocks else np.zeros_like(signal)


def _align(coded: Signal, signal: Signal, most: int) -> Signal:
    """Shifts by the lag of the highest correlation, within ``most`` samples, and fits the length to the original."""
    size = min(len(coded), len(signal))
    product = correlate(coded[:size], signal[:size], mode="full", method="fft")
    lags = np.arange(-size + 1, size)
    near = np.abs(lags) <= most
    lag = int(lags[near][np.argmax(product[near])])
    moved = coded[lag:] if lag >= 0 else np.concatenate([np.zeros(-lag, np.float32), coded])
    return np.pad(moved[: len(signal)], (0, max(0, len(signal) - len(moved))))
