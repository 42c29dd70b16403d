"""Classes of coverage, and which items systems are compared on."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sam_audio_bench.stats.item_coverage import (
    CoverageClass,
    classify_coverage,
    common_items,
    coverage_class_rank,
    format_coverage,
)


@given(st.integers(0, 300), st.integers(1, 300))
def test_ninety_percent_is_exact(answered: int, items: int) -> None:
    answered = min(answered, items)
    expected = "complete" if answered == items else "≥ 90 %" if answered * 100 >= items * 90 else "partial"
    assert classify_coverage(answered, items) == expected


def test_borders_and_ranks() -> None:
    assert [classify_coverage(answered, 49).value for answered in (49, 45, 44)] == ["complete", "≥ 90 %", "partial"]
    assert classify_coverage(0, 0) is CoverageClass.PARTIAL
    assert [coverage_class_rank(name) for name in ("complete", "≥ 90 %", "partial", "")] == [0, 1, 2, 0]
    assert format_coverage(49, 50) == "49 of 50 items (≥ 90 %)"


SYSTEMS = st.dictionaries(st.sampled_from("abcd"), st.frozensets(st.integers(0, 9)), min_size=1)


@given(SYSTEMS)
def test_systems_of_a_class_are_compared_on_the_same_items(answered: dict[str, frozenset[int]]) -> None:
    named = {name: frozenset(map(str, items)) for name, items in answered.items()}
    common = common_items(named, 10)
    for name, items in named.items():
        assert common[name] <= items
        alike = [
            other
            for other in named
            if named[other] and classify_coverage(len(named[other]), 10) == classify_coverage(len(items), 10)
        ]
        assert all(common[other] == common[name] for other in alike) or not items


@given(SYSTEMS, st.frozensets(st.integers(0, 9), max_size=8))
def test_a_partial_system_never_changes_what_complete_ones_are_compared_on(
    answered: dict[str, frozenset[int]], partial: frozenset[int]
) -> None:
    named = {name: frozenset(map(str, items)) for name, items in answered.items()}
    named["whole"] = frozenset(map(str, range(10)))
    before = common_items(named, 10)
    after = common_items({**named, "new": frozenset(map(str, partial))}, 10)
    for name, items in named.items():
        if classify_coverage(len(items), 10) is not CoverageClass.PARTIAL:
            assert after[name] == before[name]
