"""Each rule drops whom it should, says why, and sees the whole table."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from sam_audio_bench.errors import UsageError
from sam_audio_bench.ratings.screening import PRESETS, RULES, applicable_rules, screen
from sam_audio_bench.ratings.table import COLUMNS, Ratings


def table(rows: list[dict], **options) -> Ratings:
    """A tidy table of rows that say only what matters."""
    frame = pd.DataFrame(rows)
    rest = {
        "group": "g",
        "system": "p",
        "domain": None,
        "axis": "quality",
        "time": np.nan,
        "trial": None,
        "session": None,
    }
    for name, value in rest.items():
        if name not in frame:
            frame[name] = value
    others = [name for name in frame if name not in COLUMNS]
    return Ratings(frame=frame[[*COLUMNS, *others]], scale=options.pop("scale", (1.0, 5.0)), **options)


def control(kind: str, raters: dict[str, list[float]], expected: float = np.nan) -> list[dict]:
    """Answers of one kind, after an ordinary one of each rater and session."""
    rows = []
    for name, scores in raters.items():
        rater, _, session = name.partition("/")
        who = {"rater": rater, "session": session or None}
        rows += [{**who, "item": f"i{at}", "score": at + 1.0, "kind": "rating", "expected": np.nan} for at in range(3)]
        rows += [
            {**who, "item": f"c{at}", "score": s, "kind": kind, "expected": expected} for at, s in enumerate(scores)
        ]
    return rows


def dropped(ratings: Ratings, **limits) -> set[tuple[str, str | None]]:
    named = {name.replace("_", "-"): limit for name, limit in limits.items()}
    return {(drop.rater, drop.session) for drop in screen(ratings, named).exclusions}


def test_trap_drops_the_session_not_the_rater():
    ratings = table(control("trap", {"ann/1": [2, 2], "ann/2": [2, 3], "bob/3": [2, 2]}, expected=2))
    result = screen(ratings, {"trap": None})
    assert [(d.rater, d.session, d.rule) for d in result.exclusions] == [("ann", "2", "trap")]
    assert "wrong answers to traps: 1 > 0" in result.exclusions[0].why
    left = result.ratings.frame
    assert set(zip(left["rater"], left["session"], strict=True)) == {("ann", "1"), ("bob", "3")}
    assert result.rows_before - result.rows_after == 5


def test_gold_allows_one_step():
    ratings = table(control("gold", {"ann/1": [5, 4], "bob/2": [3, 5], "eve/3": [5, 5]}, expected=5))
    assert dropped(ratings, gold=None) == {("bob", "2")}
    assert dropped(ratings, gold=0.5) == {("ann", "1"), ("bob", "2")}
    assert dropped(ratings, gold=2) == set()


def test_variance_is_the_population_variance_of_a_session():
    """[3, 3, 3, 4] has the population variance 3/16, and 1/4 with n − 1; [3, 3, 3] has none."""
    rows = [{"rater": "ann", "session": "1", "item": str(at), "score": s} for at, s in enumerate([3, 3, 3, 4])]
    rows += [{"rater": "bob", "session": "2", "item": str(at), "score": 3} for at in range(3)]
    ratings = table(rows)
    assert dropped(ratings, variance=None) == {("bob", "2")}
    assert dropped(ratings, variance=3 / 16) == {("bob", "2")}
    rows.append({"rater": "eve", "session": "3", "item": "0", "score": 1})
    rows.append({"rater": "eve", "session": "3", "item": "1", "score": 5})
    assert dropped(table(rows), variance=3 / 16 + 1e-9) == {("ann", "1"), ("bob", "2")}


def test_playback():
    rows = [{"rater": "ann", "session": "1", "item": "x", "score": 2, "played": True},
            {"rater": "ann", "session": "2", "item": "x", "score": 2, "played": False},
            {"rater": "bob", "session": "3", "item": "x", "score": 2, "played": True}]  # fmt: skip
    assert dropped(table(rows), playback=None) == {("ann", "2")}


@pytest.mark.parametrize(("scale", "direction"), [((0, 100), "higher"), ((1, 5), "higher"), ((0, 100), "lower")])
def test_hidden_reference_allows_fifteen_per_cent(scale, direction):
    """One slip in twenty is 5 %, three are 15 %, four are 20 %: only the last is too many."""
    low, high = scale if direction == "higher" else scale[::-1]
    best, slip = float(high), low + 0.89 * (high - low)
    raters = {name: [slip] * slips + [best] * (20 - slips) for name, slips in (("one", 1), ("three", 3), ("four", 4))}
    ratings = table(control("hidden_reference", raters), scale=scale, direction=direction)
    assert dropped(ratings, hidden_reference=None) == {("four", None)}
    assert dropped(ratings, hidden_reference=0.1) == {("three", None), ("four", None)}


def test_anchor_that_is_praised():
    raters = {"ann": [20.0] * 10, "bob": [20.0] * 8 + [95.0] * 2}
    ratings = table(control("anchor", raters), scale=(0, 100))
    assert dropped(ratings, anchor=None) == {("bob", None)}


def test_an_anchor_may_be_perfect_in_recall():
    """Where raters were asked about the whole, that axis decides; else all axes do."""
    rows = control("anchor", {"ann": [1.0] * 4, "bob": [5.0] * 4})
    asked = [{**row, "axis": axis, "score": 5 if axis == "recall" and row["kind"] == "anchor" else row["score"]}
             for row in rows for axis in ("overall", "recall")]  # fmt: skip
    assert dropped(table(asked), anchor=None) == {("bob", None)}
    assert dropped(table([{**row, "axis": "recall"} for row in rows]), anchor=None) == {("bob", None)}


def panel(scores: dict[str, list[float]], **more) -> Ratings:
    return table(
        [{"rater": r, "item": f"i{at:02}", "score": s, **more} for r, own in scores.items() for at, s in enumerate(own)]
    )


def test_agreement_leaves_the_rater_out_of_the_mean():
    """With the rater in the mean, the contrarian would still correlate with it a little less badly."""
    rng = np.random.default_rng(0)
    truth = rng.uniform(1, 5, 40)
    good = {f"good{at}": list(truth + rng.normal(0, 0.3, 40)) for at in range(4)}
    ratings = panel({**good, "noise": list(rng.uniform(1, 5, 40)), "contrary": list(6 - truth)})
    result = screen(ratings, {"agreement": None})
    assert {drop.rater for drop in result.exclusions} == {"noise", "contrary"}
    values = {drop.rater: drop.value for drop in result.exclusions}
    others = np.mean([*good.values(), ratings.frame[ratings.frame["rater"] == "noise"]["score"]], axis=0)
    assert values["contrary"] == pytest.approx(np.corrcoef(6 - truth, others)[0, 1])


def test_who_cannot_be_judged_stays_and_is_counted():
    ratings = panel({"ann": [1, 2, 3, 4, 5, 4], "bob": [1, 3, 3, 4, 5, 5], "flat": [3] * 6, "short": [5, 1]})
    result = screen(ratings, {"agreement": None})
    assert result.exclusions == ()
    assert result.notes == ("agreement: 2 of 4 could not be judged and stay",)


def test_straight_lining_and_speed():
    ratings = panel({"ann": [1, 2, 3, 4, 5], "line": [4] * 5}, time=3.0)
    assert dropped(ratings, straight_lining=None) == {("line", None)}
    assert dropped(ratings, speed=None) == set()
    slow = ratings.frame["time"].mask(ratings.frame["rater"] == "ann", 9.0)
    assert dropped(ratings.with_frame(ratings.frame.assign(time=slow)), speed=3.5) == {("line", None)}


def test_rules_see_the_whole_table_and_leave_a_record():
    ratings = panel({"ann": [1, 2, 3, 4, 5], "bob": [1, 2, 3, 4, 4], "line": [4] * 5})
    result = screen(ratings, {"straight-lining": 0.9, "variance": None})
    assert [(d.rule, d.rater) for d in result.exclusions] == [("straight-lining", "line"), ("variance", "line")]
    (record,) = result.ratings.history
    assert record["rules"] == {"straight-lining": 0.9, "variance": 0.1}
    assert record["dropped_rows"] == 5
    assert "straight-lining" in record["dropped"][0]


def test_row_order_does_not_matter():
    ratings = panel({"ann": [1, 2, 3, 4, 5], "bob": [5, 1, 2, 3, 2], "line": [4] * 5, "eve": [2, 2, 3, 5, 5]})
    shuffled = ratings.with_frame(ratings.frame.sample(frac=1, random_state=1))
    limits = dict.fromkeys(("agreement", "straight-lining", "variance"))
    assert screen(ratings, limits).exclusions == screen(shuffled, limits).exclusions


def test_refusals():
    ratings = panel({"ann": [1, 2], "bob": [2, 2]})
    for limits, message in [
        ({}, "at least one rule"),
        ({"mood": None}, "found 'mood'"),
        ({"trap": None}, "answers of kind trap"),
        ({"speed": None}, "the column time"),
        ({"playback": None}, "the column played"),
        ({"variance": 99}, "all would be dropped: 2 by variance"),
    ]:
        with pytest.raises(UsageError, match=message):
            screen(ratings, limits)
    with pytest.raises(UsageError, match="anonymous"):
        screen(Ratings(frame=ratings.frame, anonymous=True), {"variance": None})
    with pytest.raises(UsageError, match="found votes"):
        screen(Ratings(frame=ratings.frame, votes=True), {"variance": None})


def test_presets_are_rules_and_say_what_applies():
    assert {name for names in PRESETS.values() for name in names} <= set(RULES)
    assert applicable_rules(panel({"ann": [1, 2]}), PRESETS["p808"]) == ["variance"]
    assert applicable_rules(table(control("gold", {"a": [1]}, expected=1)), PRESETS["p808"]) == ["gold", "variance"]
