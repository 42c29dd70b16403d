"""Rows: what counts in a mean, what counts in n, and what order may not change."""

import json
import math
import random

import numpy as np
import pandas as pd
import pytest

from sam_audio_bench.errors import UsageError
from sam_audio_bench.metrics.catalogue import CARDS
from sam_audio_bench.stats import cluster_interval, summarise, to_json

COLUMNS = ["task", "item", "group", "separator", "seed", "candidate", "picked_by", "metric", "value", "status"]


def scores(*changes):
    """A frame of scores.parquet; each row changes a default one."""
    default = {
        "task": "sfx@1", "item": "i0", "group": "g0", "separator": "hpss", "seed": 0, "candidate": 0,
        "picked_by": None, "metric": "si_sdr", "value": 1.0, "status": "ok",
    }  # fmt: skip
    frame = pd.DataFrame([{**default, **change} for change in changes], columns=COLUMNS, dtype="object")
    return frame.astype({"value": "float64"})


def items(*values, **common):
    return [{"item": f"i{k}", "group": f"g{k}", "value": value, **common} for k, value in enumerate(values)]


def only(frame, **options):
    (row,) = summarise(frame, CARDS, **options)
    return row


def test_mean_interval_and_counts():
    row = only(scores(*items(1.0, 2.0, 6.0)))
    assert (row.task, row.separator, row.metric) == ("sfx@1", "hpss", "si_sdr")
    assert (row.value, row.n_ok, row.n) == (3.0, 3, 3)
    assert (row.ci_low, row.ci_high) == cluster_interval([1.0, 2.0, 6.0], ["g0", "g1", "g2"])
    assert (row.unit, row.higher_is_better, row.oracle, row.capped) == ("dB", True, False, 0)


def test_undefined_items_count_in_n_only():
    row = only(scores(*items(1.0, None, 6.0, math.nan, status="silent_reference")))
    assert (row.value, row.n_ok, row.n) == (3.5, 2, 4)


def test_no_value_at_all_is_none_never_zero():
    row = only(scores(*items(None, None, status="error")))
    assert (row.value, row.ci_low, row.ci_high, row.n_ok, row.n) == (None, None, None, 0, 2)


def test_one_group_has_a_mean_but_no_interval():
    row = only(scores(*items(1.0, 2.0, group="g")))
    assert (row.value, row.ci_low, row.ci_high) == (1.5, None, None)


def test_seeds_and_candidates_are_averaged_before_items():
    values = ((0, 0, 0.0), (0, 1, 3.0), (1, 0, 6.0))
    tries = [{"seed": seed, "candidate": candidate, "value": value} for seed, candidate, value in values]
    row = only(scores(*tries, {"item": "i1", "group": "g1", "value": 1.0}))
    assert (row.value, row.n_ok, row.n) == (2.0, 2, 2)


def test_an_item_with_one_defined_seed_has_a_value():
    row = only(scores({"seed": 0, "value": None}, {"seed": 1, "value": 4.0}))
    assert (row.value, row.n_ok, row.n) == (4.0, 1, 1)


def test_infinity_counts_as_the_cap_and_is_counted():
    row = only(scores(*items(math.inf, -math.inf, 30.0)))
    assert (row.value, row.capped, row.n_ok) == (10.0, 2, 3)


def test_a_perfect_answer_is_not_worth_less_than_a_nearly_perfect_one():
    perfect, nearly = (only(scores(*items(value, value))) for value in (math.inf, 140.0))
    assert perfect.value == nearly.value == 100.0
    assert nearly.capped == 2


def test_only_decibels_have_a_cap_below_infinity():
    row = only(scores(*items(250.0, 150.0, metric="seconds")))
    assert (row.value, row.capped, row.unit, row.higher_is_better) == (200.0, 0, "", None)


def test_oracles_are_marked():
    rows = summarise(scores({}, {"separator": "oracle-irm"}), CARDS, {"oracle-irm"})
    assert [row.oracle for row in rows] == [False, True]


def test_order_of_first_appearance():
    names = [("t2", "b", "snr"), ("t2", "a", "snr"), ("t1", "b", "si_sdr"), ("t2", "b", "si_sdr")]
    frame = scores(*[dict(zip(("task", "separator", "metric"), name, strict=True)) for name in names])
    rows = [(row.task, row.separator, row.metric) for row in summarise(frame, CARDS)]
    assert rows == [("t2", "b", "snr"), ("t2", "b", "si_sdr"), ("t2", "a", "snr"), ("t1", "b", "si_sdr")]


def test_order_of_scores_changes_no_bit():
    rng = np.random.default_rng(0)
    changes = [
        {"item": f"i{k}", "group": f"g{k // 3}", "seed": seed, "value": value}
        for k in range(20)
        for seed, value in enumerate(rng.normal(0, 1e3, 3))
    ]
    expected = only(scores(*changes))
    for seed in range(5):
        random.Random(seed).shuffle(changes)
        assert only(scores(*changes)) == expected


def test_what_a_reranker_picked_is_not_averaged_with_the_rest():
    best = items(5.0, 7.0, picked_by="saj")
    rows = summarise(scores(*items(1.0, 2.0), *best, {"item": "i2", "value": None, "status": "error"}), CARDS)
    assert [(row.picked_by, row.value, row.n_ok, row.n) for row in rows] == [(None, 1.5, 2, 3), ("saj", 6.0, 2, 3)]


def test_a_failed_answer_belongs_to_its_separators_line():
    row = only(scores(*items(5.0, 7.0, picked_by="saj"), {"item": "i2", "value": None, "status": "error"}))
    assert (row.picked_by, row.n_ok, row.n) == ("saj", 2, 3)


def test_no_scores_no_rows():
    assert summarise(scores(), CARDS) == []


def test_method_and_level_reach_the_interval():
    frame, groups = scores(*items(1.0, 2.0, 9.0)), ["g0", "g1", "g2"]
    row = only(frame, method="bca", level=0.8, resamples=300, seed=5)
    expected = cluster_interval([1.0, 2.0, 9.0], groups, method="bca", level=0.8, resamples=300, seed=5)
    assert (row.ci_low, row.ci_high) == expected


def test_missing_columns_are_named():
    with pytest.raises(UsageError, match="found none of group, value"):
        summarise(scores().drop(columns=["group", "value"]), CARDS)


def test_json_has_the_contract():
    record = to_json(summarise(scores(*items(math.inf, None)), CARDS), ["runs/hpss/sfx@1-mini"], partial=True)
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert (record["runs"], record["partial"]) == (["runs/hpss/sfx@1-mini"], True)
    contract = {"task", "separator", "metric", "value", "ci_low", "ci_high", "n_ok", "n", "oracle"}
    assert contract <= set(record["rows"][0])


def test_the_input_is_left_alone():
    frame = scores(*items(math.inf, None, 3.0))
    before = frame.copy()
    summarise(frame, CARDS)
    pd.testing.assert_frame_equal(frame, before)
