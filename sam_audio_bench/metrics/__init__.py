"""Scores of answers, with or without a clean reference.

    catalogue    one card a score: unit, direction, what it needs, which class computes it
    base         Metric: keeps one row of scores an item, on torchmetrics.Metric
    functional   the pure functions: one definition of silence, float64, no additive epsilon
    ratios       the SDR family as Metrics
    levels       leak_db and reconstruction_db

Importing this package does not import torch.
"""

from sam_audio_bench.metrics.catalogue import CARDS, DEFAULT, MetricCard

__all__ = ["CARDS", "DEFAULT", "MetricCard"]
