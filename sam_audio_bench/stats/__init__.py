"""Statistics: intervals, tests, agreement and correlation.

bootstrap           intervals of a mean and of differences, resampling whole groups
cost                real-time factor, memory and lag of a run
summary             one row per task, separator and metric from the scores of items
item_coverage       for how many items of a task a system has an estimate, and common items
estimate            a statistic with interval and status; canonical orders, so that resampling ignores the input's order
reliability         intraclass correlation, split half, leave one out, noise ceiling
krippendorff        Krippendorff's alpha
opinion             mean opinion scores: plain, by z-scores, with bias and inconsistency of raters
coefficients        Pearson, Spearman, Kendall and pair agreement for many resamples at once
mapping             error after mapping a metric to the scale of the raters
levels              a metric against the raters by utterance, within items and by system
design              the resamples of a crossed design
paired              two systems on the same items; Holm
slices              slices of the items by an attribute, and whether a system is worse in some of them
ranking             ranks, their intervals, and groups of lines that do not differ significantly
verdict             which system is best, and which are surely better than the mixture
findings            means over tasks and verdicts, shown with a table of results
correlation         metrics against raters, with intervals
correlation_tests   two metrics compared; Williams, Zou, permutation, letters
reference_tests     two metrics compared as if observations were independent
preference          Bradley-Terry with ties and order effect, transitivity, Elo
components          variance components of ratings
power               power of listening tests by simulation

Importing this package imports neither torch nor scipy: statistics of ratings are imported from their modules.
"""

from sam_audio_bench.deprecated import deprecated_names
from sam_audio_bench.stats.bootstrap import Interval, Method, cluster_interval, paired_interval
from sam_audio_bench.stats.summary import MetricInfo, SummaryRow, summarise, to_json

__all__ = [
    "Interval",
    "Method",
    "MetricInfo",
    "SummaryRow",
    "cluster_interval",
    "paired_interval",
    "summarise",
    "to_json",
]

__getattr__ = deprecated_names(__name__)
