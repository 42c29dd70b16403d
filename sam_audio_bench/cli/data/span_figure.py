"""The figure of an item's activity: level, mel spectrogram, and spans."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.signal import stft
from transformers.audio_utils import mel_filter_bank

from sam_audio_bench.plots import COLOURS, INK, Plot, styled
from sam_audio_bench.tasks.span_table import FoundSpans, SpanRule

__all__ = ["draw_activity"]

Floats = NDArray[np.float64]
_FFT, _BANDS = 1024, 64
_HOP = 0.01  # seconds between levels and spectra
_FLOOR = 2.0**-30  # power of half a step of 16 bits, drawn for silence


@styled
def draw_activity(one: FoundSpans, rule: SpanRule, name: str) -> Plot:
    """Draws level and threshold, mel spectrogram, and the given and found spans.

    Args:
        one: spans of an item, with its target.
        rule: by which the spans were found.
        name: of the files.
    """
    assert one.target is not None
    times, level = _level(one.target.samples.double().numpy(), one.target.rate, rule.window)
    line = rule.threshold + (float(level.max()) if rule.mode == "rel_to_max" else 0.0)
    figure = Figure(figsize=(7.0, 4.4))
    FigureCanvasAgg(figure)
    above, middle, below = figure.subplots(3, 1, sharex=True, height_ratios=(2, 2, 0.8))
    above.plot(times, level, color=INK, linewidth=0.8)
    above.axhline(line, color=COLOURS[1], linewidth=0.8, linestyle="--")
    above.set_ylim(min(line, float(level.max())) - 30, max(line, float(level.max())) + 5)
    above.set_ylabel("RMS (dBFS)")
    middle.imshow(
        _mel(one.target.samples.double().mean(dim=0).numpy(), one.target.rate),
        aspect="auto", origin="lower", cmap="magma", extent=(0.0, one.target.seconds, 0, _BANDS),
        interpolation="nearest",
    )  # fmt: skip
    middle.set_ylabel("mel band")
    kinds = [("given", one.given, COLOURS[2])] if one.given else []
    kinds.append(("found", one.spans, COLOURS[0]))
    for height, (_, spans, colour) in enumerate(kinds):
        parts = [(start, end - start) for sign, start, end in spans if sign == "+"]
        below.broken_barh(parts, (height - 0.35, 0.7), color=colour)
    below.set_yticks(range(len(kinds)), [kind for kind, _, _ in kinds])
    below.set_ylim(-0.5, len(kinds) - 0.5)
    below.set_xlim(0, one.target.seconds)
    below.set_xlabel("seconds")
    active = {kind: [any(s <= t < e for sign, s, e in spans if sign == "+") for t in times] for kind, spans, _ in kinds}
    data = pd.DataFrame({"seconds": np.round(times, 3), "rms_dbfs": np.round(level, 2), **active})
    caption = (
        f"Level of the target in windows of {rule.window:g} s, threshold at {line:.1f} dBFS, and its active spans."
    )
    return Plot(name=name, title=f"Activity of {one.item}", caption=caption, figure=figure, data=data)


def _level(samples: Floats, rate: int, window: float) -> tuple[Floats, Floats]:
    """Returns centres of windows of ``[channels, time]`` in seconds, `_HOP` apart, and their RMS in dBFS."""
    size, hop = min(samples.shape[1], max(1, round(window * rate))), max(1, round(_HOP * rate))
    energies = np.concatenate([[0.0], np.square(samples).mean(axis=0).cumsum()])
    starts = np.arange(0, samples.shape[1] - size + 1, hop)
    power = np.maximum((energies[starts + size] - energies[starts]) / size, _FLOOR)
    return (starts + size / 2) / rate, 10 * np.log10(power)


def _mel(samples: Floats, rate: int) -> Floats:
    """Computes a mel spectrogram ``[bands, frames]`` in dB, down to 80 dB below its maximum."""
    size = min(_FFT, len(samples))
    hop = min(size, max(1, round(_HOP * rate)))
    spectra = np.abs(stft(samples, rate, nperseg=size, noverlap=size - hop)[2]) ** 2
    bands = mel_filter_bank(len(spectra), _BANDS, 0.0, rate / 2, rate, norm="slaney", mel_scale="slaney")
    power = np.maximum(bands.T @ spectra, 1e-20)
    found: Floats = np.maximum(10 * np.log10(power), 10 * np.log10(power.max()) - 80)
    return found
