"""Percentiles and medians in parts, beside numpy's of everything at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from sam_audio_bench.metrics.functional import selection
from sam_audio_bench.metrics.functional.selection import percentile, weighted_median

Values = NDArray[np.float64]


def parted(values: Values, count: int) -> Callable[[], Iterator[Values]]:
    return lambda: iter(np.array_split(values, count))


def median(values: Values, weights: Values) -> float:
    order = np.argsort(values, kind="stable")
    sums = np.cumsum(weights[order])
    return float(values[order][sums >= sums[-1] / 2][0])


@pytest.mark.parametrize("few", [1, 50, 1 << 20])
@pytest.mark.parametrize("kind", ["normal", "wide", "ties", "equal"])
def test_parts_are_as_good_as_the_whole(kind: str, few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "_FEW", few)
    random = np.random.default_rng(0)
    values = {
        "normal": np.abs(random.standard_normal(3001)) + 1e-9,
        "wide": 10 ** random.uniform(-300, 300, 3001),
        "ties": random.integers(1, 5, 3001).astype(float),
        "equal": np.full(3001, 0.3),
    }[kind]
    weights = random.integers(1, 9, len(values)).astype(float)  # whose sums are exact
    for share in (0, 12.5, 50, 90, 100):
        for count in (1, 2, 7):
            assert percentile(parted(values, count), share) == pytest.approx(np.percentile(values, share), rel=1e-14)
    for count in (1, 2, 7):
        pairs = list(zip(*(np.array_split(one, count) for one in (values, weights)), strict=True))
        assert weighted_median(pairs.__iter__) == median(values, weights)


@given(st.lists(st.floats(1e-30, 1e30), min_size=2, max_size=40), st.integers(2, 5), st.floats(0, 100))
def test_any_values(values: list[float], count: int, share: float) -> None:
    found = percentile(parted(np.array(values), count), share)
    assert found == pytest.approx(float(np.percentile(values, share)), rel=1e-12)


def test_nothing_has_no_median() -> None:
    nothing = np.zeros(0)
    assert weighted_median(lambda: iter([(nothing, nothing)])) is None
    assert weighted_median(lambda: iter([(nothing, nothing)] * 2)) is None
