"""PNG files of spectrograms and frames, written without a drawing library: the same input gives the same bytes."""

from __future__ import annotations

import struct
import zlib
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.signal import ShortTimeFFT
from scipy.signal.windows import hann

__all__ = ["LEVELS", "encode_png", "spectrogram"]

LEVELS = 32
"""Number of colours in a spectrogram: fewer colours make a smaller file."""

_COLUMNS, _ROWS = 256, 80
_LOWEST, _HIGHEST = 60.0, 11_000.0  # Hz, the ends of the logarithmic axis
_DYNAMIC = 75.0  # dB below the loudest bin
_COLOURS = ((4, 5, 20), (59, 15, 112), (140, 41, 129), (222, 73, 104), (254, 159, 109), (252, 253, 191))


def spectrogram(samples: NDArray[np.float64], rate: int, top: float | None = None) -> tuple[bytes, float]:
    """PNG of a sound over a logarithmic frequency axis, and its loudest bin in dB.

    Args:
        samples: ``[time]``.
        rate: Hz.
        top: dB of the brightest colour, for example the loudest bin of the mixture, so that images compare; None: the
            loudest bin of this sound.
    """
    window = round(0.046 * rate)
    transform = ShortTimeFFT(hann(window, sym=False), hop=max(1, len(samples) // _COLUMNS), fs=rate, scale_to="psd")
    power = np.abs(transform.stft(samples)) ** 2
    edges = np.geomspace(_LOWEST, min(_HIGHEST, rate / 2), _ROWS + 1)
    bins = np.clip(np.searchsorted(transform.f, edges), 0, len(transform.f) - 1)
    rows = np.stack([power[low : max(high, low + 1)].mean(axis=0) for low, high in pairwise(bins)])
    level = 10 * np.log10(np.maximum(rows[::-1], 1e-20))
    loudest = float(level.max())
    scaled = (level - ((loudest if top is None else top) - _DYNAMIC)) / _DYNAMIC
    indices = np.clip(np.rint(scaled * (LEVELS - 1)), 0, LEVELS - 1).astype(np.uint8)
    return encode_png(indices, _palette()), loudest


def encode_png(pixels: NDArray[np.uint8], palette: NDArray[np.uint8] | None = None) -> bytes:
    """A PNG file.

    Args:
        pixels: ``[height, width, 3]`` of red, green and blue, or with a palette its indices ``[height, width]``.
        palette: ``[colours, 3]``.
    """
    height, width = pixels.shape[:2]
    rows = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, -1)], axis=1)
    kind = 2 if palette is None else 3
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0))]
    parts += [] if palette is None else [(b"PLTE", palette.tobytes())]
    parts += [(b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in parts
    )


def _palette() -> NDArray[np.uint8]:
    """Dark to light through violet and orange, evenly between the colours named above."""
    known = np.array(_COLOURS, float)
    positions = np.linspace(0, len(known) - 1, LEVELS)
    found = np.stack([np.interp(positions, np.arange(len(known)), known[:, channel]) for channel in range(3)], axis=1)
    colours: NDArray[np.uint8] = np.rint(found).astype(np.uint8)
    return colours
