"""Metrics of separated sounds, with or without a clean reference.

    catalogue    one card per score: unit, direction, requirements, and the class that computes it
    speech_cards cards of the speech metrics
    base         Metric, the base class
    bridge       adapters for torchmetrics, in both directions
    functional   pure functions: one definition of silence, float64, no additive epsilon
    ratios       the SDR family as Metrics
    bss          BSS-eval v3 (sources) and v4 (images), si_sir and si_sar as Metrics
    permutation  si_sdr_pit: permutation-invariant SI-SDR of target and residual
    levels       leak_db and reconstruction_db
    spectral     mrstft and log_wmse
    music        bleedless, fullness and other scores reported in music separation
    improvement  improvement over the mixture for any other metric
    activity     span_iou and its variants
    perceptual   predicted listener ratings, given the reference
    speech       PESQ, STOI and DNSMOS, through their libraries
    narrowband   narrowband PESQ
    reverberation  SRMR
    speaker      speaker_similarity, by Resemblyzer
    recognition  wer and dwer, by a speech recogniser
    weights      base classes of metrics that use pretrained networks
    clap         similarity of the prompt's text and the estimate
    aesthetics   predicted quality of the estimate, independent of the prompt
    imagebind    similarity of the masked video and the estimate
    distance_catalogue  cards of distances, which are computed for whole runs
    distributions  fad and kad: distance of all estimates from a reference set
    embedding    embeddings of sounds, which fad and kad compare

Importing this package does not import torch.
"""

from sam_audio_bench.metrics.catalogue import CARDS, DEFAULT, MetricCard

__all__ = ["CARDS", "DEFAULT", "MetricCard"]
