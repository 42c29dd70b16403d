"""Figures, as bit-identical SVG and PNG for the same data, and the data as CSV.

    base       a figure with its files, the palette, the themes
    listening  of listening tests
    runs       of runs: means, distributions, one score against another, quality against cost
    slices     of runs: means in slices of the items

Colours are Okabe and Ito's, which most colour-blind readers tell apart; shapes repeat what colours say.
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
