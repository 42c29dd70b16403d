"""How far metrics agree with listeners, to be shown beside their names.

``listener_evidence.json`` is written by ``benchmarks/listener_evidence.py`` from the reports of the measurements.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
from msgspec import Struct

__all__ = ["FILE", "Evidence", "find_evidence"]

FILE = Path(__file__).with_name("listener_evidence.json")


class Evidence(Struct, frozen=True, forbid_unknown_fields=True):
    """Pearson's correlation of a metric with what the listeners of one test were asked, turned so that 1 agrees."""

    metric: str
    weights_sha256: str | None  # those that were held against the test
    test: str
    asked: str  # the question, such as DMOS
    n: int  # answers
    pcc: float  # over answers, with the 95 % interval that resamples items
    low: float
    high: float
    systems_pcc: float  # over the means of systems


def find_evidence(metric: str, weights_sha256: str | None) -> list[Evidence]:
    """What is known of a metric with these weights, by test; empty: it was not held against listeners."""
    known = msgspec.json.decode(FILE.read_bytes(), type=list[Evidence])
    return [one for one in known if (one.metric, one.weights_sha256) == (metric, weights_sha256)]
