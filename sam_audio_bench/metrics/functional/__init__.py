"""Metrics as pure functions on tensors, with keyword-only arguments; float64, dB; on CPU and CUDA.

    energy       energy, the definition of silence, decibels, statuses
    ratios       snr, si_sdr, si_snr, sd_sdr, sa_sdr
    frames       framewise_sdr
    filters      correlation, least-squares projection and filtering in blocks
    bss          bss_sources, bss_images, si_sir, si_sar
    permutation  assignment of estimates to references
    spectral     mrstft
    hearing      auditory band energies, loudness and alignment, in numpy
    perceptual   predicted listener ratings given the reference: 1-5 instead of dB
    modulation   srmr: modulation spectrum of envelopes; no unit
    music        scores from 0 to 100 that are reported in music separation
    selection    exact percentiles and medians of data in parts, in numpy
    activity     active_spans, span_overlap: in numpy, seconds instead of dB
    lag          lag_seconds: delay of an estimate
    distributions  distances of sets of vectors, in numpy
    loudness     integrated loudness of BS.1770-4: in numpy, LUFS

No argument is modified.
"""

from sam_audio_bench.metrics.functional.activity import active_spans, merge_spans, span_overlap
from sam_audio_bench.metrics.functional.bss import bss_images, bss_sources, decompose, si_sar, si_sir
from sam_audio_bench.metrics.functional.energy import centred, classify, energy, is_silent, ratio_db
from sam_audio_bench.metrics.functional.frames import framewise_sdr
from sam_audio_bench.metrics.functional.lag import lag_seconds
from sam_audio_bench.metrics.functional.modulation import srmr
from sam_audio_bench.metrics.functional.perceptual import perceptual
from sam_audio_bench.metrics.functional.permutation import best_assignment, permuted
from sam_audio_bench.metrics.functional.ratios import sa_sdr, sd_sdr, si_sdr, si_snr, snr
from sam_audio_bench.metrics.functional.spectral import mrstft

__all__ = [
    "active_spans",
    "best_assignment",
    "bss_images",
    "bss_sources",
    "centred",
    "classify",
    "decompose",
    "energy",
    "framewise_sdr",
    "is_silent",
    "lag_seconds",
    "merge_spans",
    "mrstft",
    "perceptual",
    "permuted",
    "ratio_db",
    "sa_sdr",
    "sd_sdr",
    "si_sar",
    "si_sdr",
    "si_sir",
    "si_snr",
    "snr",
    "span_overlap",
    "srmr",
]
