"""Figures, as bit-identical SVG and PNG for the same data, and the data as CSV.

    base       a figure with its files, the palette, the themes
    listening  figures of listening tests
    lines      data of figures of runs, and shared parts: lines, axes, panels
    intervals  means, distributions, and means in slices of the items
    planes     one score against another, quality against cost
    runs       the kinds of figures of runs, by name

Colours are Okabe and Ito's, which most colour-blind readers can distinguish; shapes repeat the colours' meaning.
"""

from __future__ import annotations

from sam_audio_bench.plots.base import COLOURS, INK, THEMES, Plot, ink, panels, styled
from sam_audio_bench.plots.listening import forest, rater_heat_map, reliability_curves, scatter, system_means

__all__ = [
    "COLOURS",
    "INK",
    "THEMES",
    "Plot",
    "forest",
    "ink",
    "panels",
    "rater_heat_map",
    "reliability_curves",
    "scatter",
    "styled",
    "system_means",
]
