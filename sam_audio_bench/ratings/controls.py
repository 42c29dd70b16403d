"""Stimuli with a known rating: the low anchor, and traps that show whether a rater listens."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from sam_audio_bench.errors import UsageError

__all__ = ["TRAP_ANSWERS", "fit_length", "low_anchor", "make_trap"]

Floats = NDArray[np.float64]

TRAP_ANSWERS = (2, 4, 1, 5)
"""Numbers of beeps, in the order in which traps are made; without 3, a frequent rating of inattentive raters."""

_PASS, _STOP, _ATTENUATION = 3500.0, 4000.0, 60.0  # Hz, Hz, dB
_LOWEST_RATE = 16000
_LEAD, _PAUSE, _BEEP, _PERIOD = 2.0, 0.5, 0.2, 0.5  # seconds
_BEEP_FREQUENCY, _BEEP_LEVEL = 1000.0, 0.1
_FADE = 0.01  # seconds


def low_anchor(mixture: NDArray[np.floating], rate: int) -> Floats:
    """The low anchor: the mixture through the 3.5 kHz low-pass of BS.1534-3 (25 dB at 4 kHz, 50 dB at 4.5 kHz).

    BS.1534-3 filters the reference. That would have perfect precision and recall; the filtered mixture is poor on
    every axis but recall, and needs no reference.

    Args:
        mixture: [channels, time].
        rate: Hz, at least 16000.

    Returns:
        [channels, time], aligned with the mixture (linear phase).

    Raises:
        UsageError: a lower sampling rate, at which the anchor would hardly differ from the mixture.
    """
    if rate < _LOWEST_RATE:
        raise UsageError(f"expected recordings at {_LOWEST_RATE} Hz or more for the low anchor, found {rate} Hz")
    length, beta = signal.kaiserord(_ATTENUATION, 2 * (_STOP - _PASS) / rate)
    taps = signal.firwin(length | 1, (_PASS + _STOP) / 2, window=("kaiser", beta), fs=rate)
    return np.asarray(signal.oaconvolve(mixture.astype(np.float64), taps[None], mode="same", axes=1))


def make_trap(mixture: NDArray[np.floating], rate: int, answer: int) -> Floats:
    """Two seconds of a mixture, then ``answer`` beeps, the rating that an attentive rater gives.

    Args:
        mixture: [channels, time], after loudness matching.
        rate: Hz.
        answer: number of beeps.
    """
    lead = mixture[:, : round(_LEAD * rate)].astype(np.float64)
    lead = lead * _ramps(lead.shape[1], rate)
    time = np.arange(round(_BEEP * rate)) / rate
    beep = np.zeros(round(_PERIOD * rate))
    beep[: time.size] = _BEEP_LEVEL * np.sin(2 * np.pi * _BEEP_FREQUENCY * time) * _ramps(time.size, rate)
    beeps = np.concatenate([np.zeros(round(_PAUSE * rate)), np.tile(beep, answer)])
    return np.concatenate([lead, np.broadcast_to(beeps, (lead.shape[0], beeps.size))], axis=1)


def _ramps(length: int, rate: int) -> Floats:
    """Ones with a linear fade at both ends."""
    steps = max(1, min(round(_FADE * rate), length // 2))
    distance = np.minimum(np.arange(length), np.arange(length)[::-1])
    return np.asarray(np.minimum(1.0, distance / steps))


def fit_length(samples: NDArray[np.floating], length: int) -> Floats:
    """Samples [channels, time] cut or zero-padded to ``length``."""
    kept = samples[:, :length].astype(np.float64)
    return np.pad(kept, ((0, 0), (0, length - kept.shape[1])))
