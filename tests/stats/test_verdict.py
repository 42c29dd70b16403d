"""The answer above a table: what is planted is found, what is not there is not, and p is that of `compare`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sam_audio_bench.errors import UsageError
from sam_audio_bench.render.verdict import sentence
from sam_audio_bench.stats.paired import holm, paired_difference
from sam_audio_bench.stats.ranking import Column
from sam_audio_bench.stats.verdict import Gap, Verdict, decide

Scores = Mapping[str, Mapping[str, Mapping[str, float]]]


def table(effects: Mapping[str, float], recordings: int, seed: int, *, tasks: int = 1, noise: str = "normal") -> Scores:
    """Two items a recording, as hard for all systems; ``effects`` are in standard deviations of a recording's noise."""
    rng = np.random.default_rng(seed)
    lines: dict[str, dict[str, dict[str, float]]] = {name: {} for name in effects}
    for task in range(tasks):
        hard = rng.normal(0, 3, recordings)
        for name, effect in effects.items():
            drawn = rng.normal(size=recordings) if noise == "normal" else rng.exponential(size=recordings) - 1
            values = np.repeat(hard + effect + drawn, 2) + rng.normal(0, 0.1, 2 * recordings)
            lines[name][f"t{task}"] = {f"i{place}": float(value) for place, value in enumerate(values)}
    return lines


def column(recordings: int, tasks: int = 1, **options: int) -> Column:
    names = tuple(f"t{task}" for task in range(tasks))
    groups = {name: {f"i{place}": f"{name}-r{place // 2}" for place in range(2 * recordings)} for name in names}
    return Column((names,), groups, **options)


@pytest.mark.parametrize(("noise", "tasks"), [("normal", 1), ("skewed", 1), ("normal", 3)])
def test_equal_systems_are_surely_better_in_five_percent_of_tables(noise: str, tasks: int) -> None:
    """Any of five, counted a table; and that any of them is told from the leader, who was chosen after looking."""
    better = told = 0
    where = column(12, tasks, resamples=300)
    for seed in range(300):
        lines = table(dict.fromkeys(["mixture", "a", "b", "c", "d", "e"], 0.0), 12, seed, tasks=tasks, noise=noise)
        found = decide(where, lines, higher_is_better=True)
        better += bool(found.surely_better)
        told += any(gap.ahead for gap in found.behind_best.values())
    assert better / 300 <= 0.07
    assert told / 300 <= 0.07


def test_without_care_equal_systems_are_told_from_the_leader_far_too_often() -> None:
    """The same tables fail the plain test: the bound above is earned."""
    told, groups = 0, [f"r{place // 2}" for place in range(24)]
    for seed in range(100):
        lines = table(dict.fromkeys("abcde", 0.0), 12, seed)
        best, *others = sorted(lines, key=lambda name: -sum(lines[name]["t0"].values()))
        values = [list(lines[name]["t0"].values()) for name in (best, *others)]
        found = [paired_difference(other, values[0], groups, resamples=300).p for other in values[1:]]
        told += min(p for p in found if p is not None) < 0.05
    assert told / 100 >= 0.15


def test_what_is_planted_is_found() -> None:
    best = better = worse = 0
    for seed in range(50):
        lines = table({"mixture": 0.0, "good": 2.5, "fair": 1.2, "bad": -1.5}, 30, seed)
        found = decide(column(30, resamples=300), lines, higher_is_better=True)
        assert found.leader == "good"
        best += found.best == {"good"}
        better += found.surely_better == ("good", "fair")
        worse += found.surely_worse == ("bad",)
    assert min(best, better, worse) >= 45


def test_two_systems_are_compared_as_compare_does() -> None:
    lines = table({"mixture": 0.0, "a": 0.4}, 10, 0)
    gap = decide(column(10), lines, higher_is_better=True).over_baseline["a"]
    first, second = ([lines[name]["t0"][item] for item in sorted(lines[name]["t0"])] for name in ("mixture", "a"))
    groups = [column(10).groups["t0"][item] for item in sorted(lines["a"]["t0"])]
    expected = paired_difference(first, second, groups)
    assert (gap.value, gap.low, gap.high, gap.p) == (expected.value, expected.low, expected.high, expected.p)
    assert (gap.items, gap.recordings) == (20, 10)


def test_p_is_by_holm_over_separators_and_over_pairs() -> None:
    lines = table({"mixture": 0.0, "a": 1.0, "b": 0.6, "c": 0.2}, 12, 3)
    where = column(12)
    found = decide(where, lines, higher_is_better=True)
    alone = {
        pair: decide(where, {name: lines[name] for name in pair}, higher_is_better=True, baseline=pair[1])
        for pair in [(name, "mixture") for name in "abc"] + [(str(found.leader), name) for name in found.behind_best]
    }
    over = [alone[name, "mixture"].over_baseline[name].p for name in found.over_baseline]
    assert [gap.p for gap in found.over_baseline.values()] == holm(over)
    small, large = sorted(
        alone[str(found.leader), name].over_baseline[str(found.leader)].p for name in found.behind_best
    )
    assert sorted(gap.p for gap in found.behind_best.values()) == [min(1, 3 * small), max(min(1, 3 * small), large)]


def test_tasks_count_alike_and_recordings_stay_whole() -> None:
    """A task of one item counts as much as one of four; a recording in both is swapped in both at once."""
    where = Column((("x", "y"),), {"x": {"1": "r1"}, "y": {"1": "r1", "2": "r2", "3": "r3", "4": "r4"}})
    lines = {
        "mixture": {"x": {"1": 0.0}, "y": dict.fromkeys("1234", 0.0)},
        "a": {"x": {"1": 8.0}, "y": {"1": -8.0, "2": 1.0, "3": 1.0, "4": 2.0}},
    }
    gap = decide(where, lines, higher_is_better=True).over_baseline["a"]
    assert gap.value == pytest.approx((8 - 1) / 2)
    assert (gap.items, gap.recordings) == (5, 4)
    # of 16 ways to swap r1 (8/2 - 8/8 = 3), r2, r3 (1/8 each) and r4 (2/8), two are as extreme as none and all
    assert gap.p == 2 / 16


@pytest.mark.parametrize("tasks", [1, 3])
def test_an_interval_leaves_out_zero_exactly_where_the_difference_is_significant(tasks: int) -> None:
    where = column(8, tasks, resamples=400)
    seen = set()
    for seed in range(60):
        gap = decide(where, table({"mixture": 0.0, "a": 0.5}, 8, seed, tasks=tasks), higher_is_better=True)
        found = gap.over_baseline["a"]
        assert found.low is not None
        assert found.high is not None
        assert found.value is not None
        assert found.low <= found.value <= found.high
        assert (not found.low <= 0 <= found.high) is ((found.p or 0) < 0.05)
        seen.add(found.ahead)
    assert seen == {True, False}


def test_lower_is_better_turns_the_sign() -> None:
    lines = table({"mixture": 0.0, "a": -3.0}, 12, 0)
    up, down = (decide(column(12), lines, higher_is_better=way) for way in (True, False))
    assert (up.leader, up.surely_worse, down.surely_better) == ("a", ("a",), ("a",))
    assert up.best == {"mixture"}
    assert down.best == {"a"}
    assert up.over_baseline["a"].value == pytest.approx(-float(down.over_baseline["a"].value or 0))


def test_what_cannot_be_told_from_the_baseline_shares_its_place() -> None:
    lines = {"mixture": {"t": dict.fromkeys("abcdefgh", 1.0)}, "x": {"t": dict.fromkeys("abcdefgh", 1.0)}}
    found = decide(Column((("t",),), {"t": {item: item for item in "abcdefgh"}}), lines, higher_is_better=True)
    assert found.best == {"mixture", "x"}
    assert (found.surely_better, found.surely_worse, found.over_baseline["x"].p) == ((), (), 1.0)


def test_what_no_separator_could_be_is_told() -> None:
    """Two separators on six recordings: 2 times 1/32 is no p below 5 %, however far they are ahead."""
    for recordings, told in ((6, ", nor could be with 6 recordings;"), (7, "")):
        lines = table({"mixture": 0.0, "a": 90.0, "b": 50.0}, recordings, 0)
        found = decide(column(recordings), lines, higher_is_better=True)
        assert found.too_few_with_baseline is bool(told)
        assert not found.too_few
        assert bool(found.surely_better) is not bool(told)
        assert told in sentence(found, "snr")
        assert ("nor could" in sentence(found, "snr")) is bool(told)


def test_a_line_without_a_task_is_left_out_and_named() -> None:
    lines = {**table({"mixture": 0, "a": 1}, 8, 0, tasks=2), **table({"b": 5}, 8, 1)}
    found = decide(column(8, 2), lines, higher_is_better=True)
    assert (found.left_out, found.order) == (("b",), ("a", "mixture"))
    assert "Left out, lacking a score or a task: b." in sentence(found, "snr")


def test_lines_are_compared_on_the_items_that_both_have() -> None:
    lines = table({"mixture": 0.0, "a": 3.0, "b": 0.0}, 12, 0)
    easy = {**lines, "b": {"t0": {"i0": 99.0, "i1": 99.0}}}
    found = decide(column(12), easy, higher_is_better=True, classes={"b": 2})
    assert found.order[-1] == "b"  # a partial line leads nothing, whatever its mean is
    assert set(found.behind_best) == set()
    assert (found.over_baseline["b"].items, found.over_baseline["b"].recordings, found.over_baseline["b"].p) == (
        2,
        1,
        None,
    )
    apart = decide(column(12), {**lines, "b": {"t0": {}}}, higher_is_better=True)
    assert apart.left_out == ("b",)


@pytest.mark.parametrize(
    ("recordings", "names", "few"), [(5, "a", True), (6, "a", False), (6, "ab", False), (5, "", False)]
)
def test_few_recordings_tell_nothing(recordings: int, names: str, few: bool) -> None:
    lines = table({"mixture": 0.0, **dict.fromkeys(names, 50.0)}, recordings, 0)
    found = decide(column(recordings), lines, higher_is_better=True)
    assert found.too_few is few
    assert bool(found.surely_better) is (names == "a" and not few)


@settings(max_examples=20)
@given(st.integers(0, 10_000))
def test_order_changes_no_bit(seed: int) -> None:
    rng = np.random.default_rng(seed)
    lines = table({"mixture": 0.0, "a": 0.5, "b": 0.5, "c": 0.0}, 9, seed, tasks=2)
    names = list(lines)
    rng.shuffle(names)
    moved = {name: {task: dict(reversed(lines[name][task].items())) for task in ("t1", "t0")} for name in names}
    where = column(9, 2, resamples=100)
    assert decide(where, moved, higher_is_better=True) == decide(where, lines, higher_is_better=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"i0": math.inf}, "finite scores, found others of a on t0"), ({"new": 1.0}, "with a known recording")],
)
def test_what_cannot_be_meant_is_refused(change: dict[str, float], message: str) -> None:
    lines = table({"mixture": 0.0, "a": 0.0}, 6, 0)
    with pytest.raises(UsageError, match=message):
        decide(column(6), {**lines, "a": {"t0": {**lines["a"]["t0"], **change}}}, higher_is_better=True)


SURE = Gap(value=0.31, low=0.1, high=0.52, p=0.01, items=9, recordings=9)
WORSE = replace(SURE, value=-0.31, low=-0.52, high=-0.1)
UNSURE = replace(SURE, p=0.4, low=-0.1)
BEHIND = replace(WORSE, p=0.4, high=0.1)


def verdict(order: str, behind: Mapping[str, Gap] | None = None, over: Mapping[str, Gap] | None = None) -> Verdict:
    names = tuple(order.split())
    return Verdict(
        order=names, tasks=("t",), baseline="mixture" if over else None, behind_best=behind or {},
        over_baseline=over or {}, rivals=frozenset(names),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (
            verdict("x mixture", over={"x": SURE}),
            "By snr, x is surely better than the mixture, by 0.31 [0.10, 0.52] dB.",
        ),
        (
            verdict("mixture x", over={"x": WORSE}),
            "By snr, x is surely worse than the mixture, by 0.31 [0.10, 0.52] dB.",
        ),
        (
            verdict("x mixture", over={"x": UNSURE}),
            "By snr, x is not surely better than the mixture (ahead by 0.31 [−0.10, 0.52] dB).",
        ),
        (
            verdict("mixture x", over={"x": BEHIND}),
            "By snr, x is not surely better than the mixture (behind by 0.31 [−0.10, 0.52] dB).",
        ),
        (
            verdict("x y mixture", {"y": SURE}, {"x": SURE, "y": SURE}),
            "By snr, x is best, by 0.31 [0.10, 0.52] dB over the next, y; all are surely better than the mixture.",
        ),
        (
            verdict("x y mixture", {"y": UNSURE}, {"x": SURE, "y": UNSURE}),
            "By snr, x leads, and y cannot be told from it; not surely better than the mixture: y.",
        ),
        (
            verdict("mixture x y", {"y": SURE}, {"x": BEHIND, "y": WORSE}),
            "By snr, no separator is surely better than the mixture; the best, x, is behind by 0.31 [−0.10, 0.52] dB.",
        ),
        (verdict("x y", {"y": UNSURE}), "By snr, x leads, and y cannot be told from it."),
        (verdict("mixture"), ""),
    ],
)
def test_sentences(found: Verdict, expected: str) -> None:
    assert sentence(found, "snr", "dB") == expected


def test_few_recordings_are_said_so() -> None:
    found = decide(column(4), table({"mixture": 0.0, "a": 9.0}, 4, 0), higher_is_better=True)
    assert sentence(found, "snr", "dB") == "By snr, nothing is sure with 4 recordings: too few to tell 2 systems apart."
