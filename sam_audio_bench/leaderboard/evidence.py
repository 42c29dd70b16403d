"""Agreement of metrics with listeners, as shown beside their names.

``listener_evidence.json`` is written by ``benchmarks/listener_evidence.py`` from the reports of the measurements.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
from msgspec import Struct

__all__ = ["FILE", "Evidence", "find_evidence"]

FILE = Path(__file__).with_name("listener_evidence.json")


class Evidence(Struct, frozen=True, forbid_unknown_fields=True):
    """Pearson's correlation of a metric with the ratings of one listening test; 1 is full agreement."""

    metric: str
    weights_sha256: str | None  # weights that were compared with the test
    test: str
    asked: str  # the rating scale, such as DMOS
    n: int  # stimuli
    pcc: float  # over stimuli, with a 95 % interval from resampling items
    low: float
    high: float
    systems_pcc: float  # over means of systems


def find_evidence(metric: str, weights_sha256: str | None) -> list[Evidence]:
    """Finds the evidence for a metric with these weights, one per test; empty if it was not compared with listeners."""
    known = msgspec.json.decode(FILE.read_bytes(), type=list[Evidence])
    return [one for one in known if (one.metric, one.weights_sha256) == (metric, weights_sha256)]
