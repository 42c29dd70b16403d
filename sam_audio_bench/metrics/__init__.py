"""Scores of answers, with or without a clean reference.

    catalogue    one card a score: unit, direction, what it needs, which class computes it
    speech_cards those of metrics of speech
    base         Metric: what every score is computed by
    bridge       metrics of torchmetrics as ours, and ours in a training loop
    functional   the pure functions: one definition of silence, float64, no additive epsilon
    ratios       the SDR family as Metrics
    bss          BSS-eval v3 (sources) and v4 (images), si_sir and si_sar as Metrics
    permutation  si_sdr_pit: the outputs in the better of both orders
    levels       leak_db and reconstruction_db
    spectral     mrstft and log_wmse
    music        bleedless, fullness and other scores that music separation quotes
    improvement  any other score of the target minus that of the mixture
    activity     span_iou and its relatives
    perceptual   what listeners would say beside the reference
    speech       PESQ, STOI and DNSMOS, through their libraries
    narrowband   PESQ of telephones
    reverberation  SRMR
    speaker      speaker_similarity, by Resemblyzer
    recognition  wer and dwer, by a speech recogniser
    weights      what metrics that are networks share: where the weights come from, windows, statuses
    clap         the prompt's text against the answer
    aesthetics   how good the answer sounds, whatever was asked
    imagebind    the masked video against the answer
    distance_catalogue  cards of distances, which are numbers of whole runs
    distributions  fad and kad: all answers against a reference set
    embedding    sounds as vectors, which these are of

Importing this package does not import torch.
"""

from sam_audio_bench.metrics.catalogue import CARDS, DEFAULT, MetricCard

__all__ = ["CARDS", "DEFAULT", "MetricCard"]
