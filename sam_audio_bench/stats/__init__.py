"""How sure the numbers are.

bootstrap   intervals of a mean and of a paired difference, resampling whole groups
summary     from scores of items to one row a task, separator and metric

Importing this package does not import torch.
"""

from sam_audio_bench.stats.bootstrap import Interval, Method, cluster_interval, paired_interval
from sam_audio_bench.stats.summary import MetricInfo, Row, summarise, to_json

__all__ = ["Interval", "Method", "MetricInfo", "Row", "cluster_interval", "paired_interval", "summarise", "to_json"]
