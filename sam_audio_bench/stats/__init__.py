"""How sure the numbers are.

bootstrap           intervals of a mean and of a paired difference, resampling whole groups
summary             from scores of items to one row a task, separator and metric
estimate            a number with its interval and status; orders that make seeded resampling independent of the input's
reliability         intraclass correlation, split half, leave one out, noise ceiling
krippendorff        Krippendorff's alpha
opinion             mean opinion scores: plain, by z-scores, with bias and inconsistency of raters
coefficients        Pearson, Spearman, Kendall and pair agreement for many resamples at once
mapping             error after mapping a metric to the scale of the raters
levels              a metric against the raters by utterance, within items and by system
design              the resamples of a crossed design
paired              two systems on the same items
correlation         metrics against raters, with intervals
correlation_tests   two metrics compared; Williams, Zou, permutation, Holm, letters
reference_tests     two metrics compared as if observations were independent
preference          Bradley-Terry with ties and order effect, transitivity, Elo
components          variance components of ratings
power               raters, items and systems that a listening test needs

Importing this package imports neither torch nor scipy: what is not used by every table is in its module.
"""

from sam_audio_bench.stats.bootstrap import Interval, Method, cluster_interval, paired_interval
from sam_audio_bench.stats.summary import MetricInfo, Row, summarise, to_json

__all__ = ["Interval", "Method", "MetricInfo", "Row", "cluster_interval", "paired_interval", "summarise", "to_json"]
