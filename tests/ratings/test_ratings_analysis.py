"""From the tidy table to statistics: published numbers, undefined values, joins, and the order of rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from msgspec import structs

import sam_audio_bench as sab
from sam_audio_bench.errors import UsageError
from sam_audio_bench.ratings.agreement import agreement_rows, noise_ceilings, opinion_rows, stimulus_opinions
from sam_audio_bench.ratings.correlation import CorrelationSettings, add_run_scores, correlate_ratings
from sam_audio_bench.ratings.figure_data import (
    mean_opinions_with_metric,
    rater_deviations,
    reliability_curve_rows,
    select_strongest_metrics,
)
from sam_audio_bench.ratings.importing import import_ratings
from sam_audio_bench.ratings.matrices import item_system_matrices, rater_matrix, slices
from sam_audio_bench.ratings.power import power_rows, smallest_designs
from sam_audio_bench.ratings.preference import prefer
from sam_audio_bench.ratings.table import Ratings

PUBLISHED = {  # Spearman with DMOS over utterances, computed from the same file with scipy
    ("all", "emb_mse_clap_music_df"): -0.737,
    ("all", "fad_song2song_clap_music_df"): -0.730,
    ("all", "visqol"): 0.646,
    ("all", "multi_res_loss"): -0.639,
    ("all", "sdr"): 0.233,
    ("all", "sisdr"): 0.244,
    ("all", "ops"): 0.158,
    ("discriminative", "sdr"): 0.672,
    ("generative", "sdr"): 0.176,
    ("generative", "multi_res_loss"): -0.720,
}


@pytest.fixture(scope="module")
def imaginary(imaginary_ratings) -> Ratings:
    return import_ratings([imaginary_ratings]).ratings


def made(text: str, tmp_path: Path, **options) -> Ratings:
    path = tmp_path / "answers.csv"
    path.write_text(text)
    return import_ratings([path], **options).ratings


def test_published_correlations(published_ratings):
    ratings = import_ratings([published_ratings / "gensvs_eval_data.csv"]).ratings
    settings = CorrelationSettings(
        metrics=tuple({metric: None for _, metric in PUBLISHED}), by="model_type", levels=("utterance",),
        coefficients=("spearman",), resamples=100, compare=False,
    )  # fmt: skip
    values = {(row["by"], row["metric"]): row["value"] for row in correlate_ratings(ratings, settings).rows}
    assert {key: values[key] for key in PUBLISHED} == pytest.approx(PUBLISHED, abs=0.001)


def test_slices_are_those_of_scipy(imaginary, imaginary_ratings):
    found = correlate_ratings(
        imaginary, CorrelationSettings(by="model_type", levels=("utterance",), resamples=100, compare=False)
    )
    values = {(row["by"], row["metric"]): row["value"] for row in found.rows if row["coefficient"] == "spearman"}
    frame = pd.read_csv(imaginary_ratings)
    for by in ("all", "discriminative", "generative"):
        part = frame if by == "all" else frame[frame["model_type"] == by]
        for metric in imaginary.metrics:
            expected = scipy.stats.spearmanr(part["DMOS"], part[metric]).statistic
            assert values.pop((by, metric)) == pytest.approx(expected), (by, metric)
    assert values == {}
    assert {row["n"] for row in found.rows if row["by"] == "all"} == {250}
    assert len(found.warnings) == 3, "five, three and two systems are few"


def test_rows_are_those_of_scipy(imaginary):
    frame = imaginary.frame.groupby(["item", "system"]).agg({"score": "mean", "visqol": "first"})
    found = correlate_ratings(imaginary, CorrelationSettings(metrics=("visqol",), resamples=100))
    values = {(row["level"], row["coefficient"]): row["value"] for row in found.rows}
    for name, oracle in [
        ("pearson", scipy.stats.pearsonr),
        ("spearman", scipy.stats.spearmanr),
        ("kendall", scipy.stats.kendalltau),
    ]:
        assert values["utterance", name] == pytest.approx(oracle(frame["score"], frame["visqol"])[0])
        means = frame.groupby("system").mean()
        assert values["system", name] == pytest.approx(oracle(means["score"], means["visqol"])[0])
    within = [scipy.stats.spearmanr(part["score"], part["visqol"])[0] for _, part in frame.groupby("item")]
    assert values["within_item", "spearman"] == pytest.approx(np.nanmean(within))


def test_metrics_are_compared_and_lettered(imaginary):
    found = correlate_ratings(
        imaginary, CorrelationSettings(levels=("utterance",), coefficients=("spearman",), resamples=300)
    )
    assert len(found.differences) == 7 * 6 // 2
    assert all(row["group"] for row in found.rows)
    assert {row["first"] for row in found.differences} <= set(imaginary.metrics)
    quiet = correlate_ratings(imaginary, CorrelationSettings(levels=("utterance",), resamples=50, compare=False))
    assert quiet.differences == []
    assert {row["group"] for row in quiet.rows} == {""}


def test_a_known_metric_that_points_the_wrong_way_orders_few_pairs(tmp_path):
    """Its card says what is better."""
    cells = [(item, system) for item in range(4) for system in range(3)]
    rows = [f"ann,{item},{system},{1 + (item + system) % 5},{-item - system % 5}\n" for item, system in cells]
    text = "rater,item,system,score,{}\n" + "".join(rows)
    settings = CorrelationSettings(coefficients=("accuracy",), levels=("utterance",), resamples=20, compare=False)
    ((wrong,), (right,)) = (
        correlate_ratings(made(text.format(name), tmp_path), settings).rows for name in ("si_sdr", "mrstft")
    )
    assert wrong["value"] < 0.5 < right["value"]


def test_order_of_rows_does_not_matter(imaginary):
    shuffled = imaginary.with_frame(imaginary.frame.sample(frac=1, random_state=3))
    settings = CorrelationSettings(by="model_type", metrics=("sdr", "visqol"), resamples=50)
    assert correlate_ratings(shuffled, settings).rows == correlate_ratings(imaginary, settings).rows
    assert agreement_rows(shuffled, resamples=50) == agreement_rows(imaginary, resamples=50)
    assert opinion_rows(shuffled) == opinion_rows(imaginary)


@pytest.mark.parametrize(("name", "axis", "value"), [
    ("AES_natural_music", "Production_Quality", 0.93),
    ("AES_natural_speech", "Production_Complexity", 0.53),
    ("AES_natural_sound", "Production_Complexity", 0.72),
])  # fmt: skip
def test_published_reliability_of_lists(published_ratings, name, axis, value):
    ratings = import_ratings([published_ratings / "aesthetics" / f"{name}.jsonl"]).ratings
    rows = {row["statistic"]: row for row in agreement_rows(ratings, axis=axis, resamples=20)}
    assert rows["icc_1_k"]["value"] == pytest.approx(value, abs=0.01)
    assert rows["icc_1_k"]["raters"] == pytest.approx(10)
    assert rows["noise_ceiling"]["value"] == pytest.approx(np.sqrt(rows["icc_1_k"]["value"]))
    assert (rows["icc_2_k"]["value"], rows["icc_2_k"]["status"]) == (None, "anonymous")
    assert rows["leave_one_out"]["status"] == "anonymous"


def test_agreement_by_a_column(imaginary):
    rows = agreement_rows(imaginary, by="model_type", resamples=50)
    assert [row["by"] for row in rows[::10]] == ["all", "discriminative", "generative"]
    named = {row["statistic"]: row for row in rows if row["by"] == "all"}
    assert set(named) == {
        "icc_1_1", "icc_1_k", "icc_2_1", "icc_2_k", "alpha_nominal", "alpha_ordinal", "alpha_interval", "split_half",
        "leave_one_out", "noise_ceiling",
    }  # fmt: skip
    assert all(row["ci_low"] <= row["value"] <= row["ci_high"] for row in rows)
    assert named["icc_1_1"]["n"] == 250
    assert noise_ceilings(imaginary)["DMOS", "all"].value == pytest.approx(named["noise_ceiling"]["value"])


def test_opinions_side_by_side(imaginary):
    rows = opinion_rows(imaginary)
    raw = {row["system"]: row["value"] for row in rows if row["method"] == "raw"}
    expected = imaginary.frame.groupby("system")["score"].mean()  # every stimulus has twelve raters
    assert raw == pytest.approx(expected.to_dict())
    assert {row["method"] for row in rows} == {"raw", "z_scored", "bias_corrected"}
    each = stimulus_opinions(imaginary)
    assert len(each) == 250
    dmos = imaginary.frame.groupby(["item", "system"])["DMOS"].first()
    assert each["raw_value"].to_numpy() == pytest.approx(
        dmos.reindex(pd.MultiIndex.from_frame(each[["item", "system"]])).to_numpy(), abs=1e-6
    )


ONE_RATER = "rater,item,system,score,m\na,x,p,1,3\na,y,p,2,1\na,x,q,4,2\na,y,q,3,5\n"
CONSTANT = "rater,item,system,score,m\n" + "".join(
    f"{rater},{item},{system},3,{at}\n" for rater in "ab" for at, item in enumerate("xyz") for system in "pq"
)


def test_one_rater_has_no_agreement(tmp_path):
    from sam_audio_bench.ratings.formats import ColumnChoice

    ratings = made(ONE_RATER, tmp_path, choice=ColumnChoice(metrics=("m",)))
    rows = agreement_rows(ratings, resamples=20)
    assert all(row["value"] is None and row["status"] in ("too_few", "constant") for row in rows)
    assert not any(row["value"] == 0 for row in rows)
    found = correlate_ratings(ratings, CorrelationSettings(resamples=20))
    assert {row["ceiling"] for row in found.rows} == {None}
    assert next(row for row in found.rows if row["level"] == "utterance")["value"] is not None


def test_one_system_has_no_system_level(tmp_path):
    from sam_audio_bench.ratings.formats import ColumnChoice

    text = "rater,item,score,m\n" + "".join(f"{r},i{at},{at % 5 + 1},{at * 2}\n" for r in "ab" for at in range(9))
    found = correlate_ratings(
        made(text, tmp_path, choice=ColumnChoice(metrics=("m",))), CorrelationSettings(resamples=20)
    )
    by_level = {row["level"]: row for row in found.rows}
    assert by_level["utterance"]["status"] == "ok"
    assert by_level["utterance"]["method"] == "cluster"
    assert by_level["system"]["value"] is None
    assert by_level["system"]["status"] == "too_few"


def test_constant_ratings_are_undefined_not_zero(tmp_path):
    from sam_audio_bench.ratings.formats import ColumnChoice

    ratings = made(CONSTANT, tmp_path, choice=ColumnChoice(metrics=("m",)))
    for row in [
        *agreement_rows(ratings, resamples=20),
        *correlate_ratings(ratings, CorrelationSettings(resamples=20)).rows,
    ]:
        if row.get("statistic") == "alpha_nominal":
            continue  # nominal agreement of constants is its own question
        assert row["value"] is None, row
        assert row["status"] in ("constant", "too_few"), row


def test_repeated_answers_weigh_as_one(tmp_path):
    text = "rater,item,score,trial\na,x,1,1\na,x,3,2\na,x,2,3\nb,x,5,1\n"
    ((_, _, answers),) = slices(made(text, tmp_path))
    assert rater_matrix(answers).scores.tolist() == [[2, 5]]
    assert item_system_matrices(answers).human.tolist() == [[3.5]]


def test_controls_are_not_rated(tmp_path):
    text = "rater,item,score,kind,expected\na,x,1,rating,\na,t,5,trap,5\na,y,2,,\n"
    ((_, _, answers),) = slices(made(text, tmp_path))
    assert rater_matrix(answers).stimuli["item"].tolist() == ["x", "y"]


def test_equal_metrics_stay_equal(tmp_path):
    """The mean of n equal numbers may differ from them by rounding, which would break ties of ranks."""
    from sam_audio_bench.ratings.formats import ColumnChoice

    rows = [
        f"r{rater},{item},{rater % 5 + 1},0.1"
        for item, count in (("x", 3), ("y", 7), ("z", 10))
        for rater in range(count)
    ]
    ratings = made("rater,item,score,m\n" + "\n".join(rows) + "\n", tmp_path, choice=ColumnChoice(metrics=("m",)))
    ((_, _, answers),) = slices(ratings)
    assert item_system_matrices(answers, ("m",)).metrics["m"].tolist() == [[0.1]] * 3


def test_scores_of_a_run_join_on_item_and_system(small_task, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sab.evaluate("silence", str(small_task), metrics=["snr", "leak_db"])
    text = "rater,item,system,score\n" + "".join(
        f"{rater},item-{at},{system},{(at + len(rater) + len(system)) % 5 + 1}\n"
        for rater in ("a", "bb") for at in range(6) for system in ("silence", "mixture")
    )  # fmt: skip
    ratings = add_run_scores(made(text, tmp_path), [Path("runs")])
    frame = sab.Results.read([Path("runs")]).frame
    known = frame[frame["metric"] == "snr"].set_index(["item", "separator"])["value"]
    for row in ratings.frame.itertuples():
        assert row.snr == pytest.approx(known[row.item, row.system], nan_ok=True)
    assert set(ratings.metrics) == {"snr", "leak_db"}
    sealed = next(Path("runs").rglob("scores.parquet"))
    assert add_run_scores(made(text, tmp_path), [sealed]).frame["snr"].notna().sum() == 10
    found = correlate_ratings(ratings, CorrelationSettings(metrics=("snr",), levels=("utterance",), resamples=20))
    assert {row["n"] for row in found.rows} == {10}
    with pytest.raises(UsageError, match="'leak_db' in both"):
        add_run_scores(ratings, [Path("runs")])
    with pytest.raises(UsageError, match="items and systems that were rated"):
        add_run_scores(made(text.replace("item-", "clip-"), tmp_path), [Path("runs")])


def test_refusals(imaginary, tmp_path):
    votes = made("a,b,vote\np,q,p\n", tmp_path)
    for call, message in [
        (lambda: correlate_ratings(imaginary, CorrelationSettings(metrics=("pesq",))), "found pesq"),
        (lambda: correlate_ratings(imaginary, CorrelationSettings(by="genre")), "found 'genre'"),
        (lambda: agreement_rows(imaginary, axis="clarity"), "found 'clarity'"),
        (lambda: agreement_rows(votes), "found votes"),
        (lambda: prefer(imaginary), "found ratings"),
        (lambda: prefer(votes, by="mood"), "found 'mood'"),
        (lambda: power_rows(votes, raters=[5], items=[5], systems=[2], differences=[1]), "found votes"),
        (lambda: correlate_ratings(made(ONE_RATER.replace(",m\n", ",n_\n"), tmp_path)), "--scores"),
    ]:  # fmt: skip
        with pytest.raises(UsageError, match=message):
            call()


def test_preferences(tmp_path):
    votes = [("p", "q", "first")] * 8 + [("q", "p", "second")] * 6 + [("q", "p", "first")] * 3 + [("p", "q", "tie")] * 2
    lines = [f"r{at % 5},i{at},{first},{second},{choice}" for at, (first, second, choice) in enumerate(votes)]
    found = prefer(made("rater,item,first,second,choice\n" + "\n".join(lines), tmp_path), resamples=100)
    assert [row["system"] for row in found.rows] == ["p", "q"]
    best = found.rows[0]
    assert (best["wins"], best["losses"], best["ties"], best["n"]) == (14, 3, 2, 19)
    assert best["net_win_rate"] == pytest.approx((14 - 3) / 19)
    assert (best["rank"], found.rows[1]["rank"]) == (1, 2)
    assert best["strength"] == pytest.approx(-found.rows[1]["strength"])
    assert found.warnings == []


def test_systems_that_were_never_compared_are_named(tmp_path):
    text = "rater,item,first,second,choice\na,x,p,q,1\nb,x,q,p,1\na,x,v,w,1\nb,x,w,v,1\n"
    (warning,) = prefer(made(text, tmp_path), resamples=20).warnings
    assert "p, q; v, w" in warning


def test_power_grows_with_the_test(imaginary):
    components, rows, warnings = power_rows(
        imaginary, raters=[2, 12], items=[10, 50], systems=[2], differences=[0.5], simulations=200
    )
    power = {(row["raters"], row["items"]): row["power"] for row in rows}
    assert power[2, 10] < power[12, 50]
    assert components[0]["residual"] > 0
    assert warnings == []


def test_the_smallest_design_with_enough_power_has_the_fewest_ratings():
    """Of equally many ratings, the one with more items; beyond the table nothing is promised."""
    designs = [(2, 20, 0.7), (4, 10, 0.85), (2, 30, 0.8), (3, 20, 0.8), (4, 30, 0.99), (1, 40, 0.82)]
    head = {"axis": "overall", "systems": 3}
    rows = [{**head, "difference": 0.5, "raters": r, "items": i, "power": p} for r, i, p in designs]
    rows += [{**row, "difference": 0.2, "power": 0.1} for row in rows]
    assert smallest_designs(rows, 0.8) == [
        {**head, "difference": 0.5, "raters": 1, "items": 40, "ratings": 120, "power": 0.82},
        {**head, "difference": 0.2, "raters": None, "items": None, "ratings": None, "power": None},
    ]
    assert smallest_designs(rows, 0.9)[0]["ratings"] == 4 * 30 * 3


def test_power_of_what_a_test_cannot_show(tmp_path):
    design = {"raters": [5], "items": [10], "systems": [2], "differences": [0.5], "simulations": 20}
    with pytest.raises(UsageError, match="ratings of score that vary, found one score"):
        power_rows(made(CONSTANT, tmp_path), **design)
    (warning,) = power_rows(made("rater,item,score\na,x,1\na,y,2\na,z,4\n", tmp_path), **design)[2]
    assert warning.startswith("score: fewer than two systems and raters, whose variance counts as 0")


def test_raters_hear_what_a_picker_chose(small_task, tmp_path, monkeypatch):
    """Scores of the first candidate are not mixed with those of the chosen one."""
    monkeypatch.chdir(tmp_path)
    sab.evaluate("silence", str(small_task), metrics=["snr"])
    results = sab.Results.read([Path("runs")])
    frame = results.frame[results.frame["separator"] == "silence"]
    both = pd.concat([frame, frame.assign(candidate=1, picked_by="judge", value=frame["value"] + 7)], ignore_index=True)
    monkeypatch.setattr("sam_audio_bench.ratings.correlation._read_results", lambda paths: replace(results, frame=both))
    text = "rater,item,system,score\n" + "".join(f"a,item-{at},silence,{at % 5 + 1}\n" for at in range(5))
    found = add_run_scores(made(text, tmp_path), [Path("runs")]).frame
    known = frame.set_index("item")["value"]
    assert found["snr"].tolist() == [known[item] + 7 for item in found["item"]]
    metrics = {"snr": structs.replace(results.metrics["snr"], unit="")}
    far = replace(results, frame=frame.assign(value=1000 + frame["value"]), metrics=metrics)
    monkeypatch.setattr("sam_audio_bench.ratings.correlation._read_results", lambda paths: far)
    found = add_run_scores(made(text, tmp_path), [Path("runs")]).frame
    assert found["snr"].tolist() == [known[item] + 1000 for item in found["item"]], "no dB, no cap"


def test_reference_tests_of_differences(imaginary):
    chosen = {"metrics": ("sdr", "visqol"), "levels": ("utterance",), "resamples": 50}
    by_test = {}
    for test, interval in ((None, "two_way"), (None, "fisher"), ("williams", "two_way"), ("permutation", "two_way")):
        settings = CorrelationSettings(**chosen, coefficients=("pearson",), test=test, interval=interval)
        (by_test[test, interval],) = correlate_ratings(imaginary, settings).differences
    methods = [row["method"] for row in by_test.values()]
    assert methods == ["two_way", "zou", "williams", "permutation"]
    values = [row["value"] for row in by_test.values()]
    assert values == pytest.approx([values[0]] * 4)
    kendall = CorrelationSettings(**chosen, coefficients=("kendall",), interval="fisher")
    assert correlate_ratings(imaginary, kendall).differences[0]["method"] == "two_way"
    with pytest.raises(UsageError, match="for the test williams, found kendall"):
        correlate_ratings(imaginary, CorrelationSettings(**chosen, coefficients=("kendall",), test="williams"))


def test_what_figures_show(imaginary):
    points, noise = mean_opinions_with_metric(imaginary, "DMOS", "sdr")
    assert len(points) == 250
    scores = imaginary.frame.groupby(["item", "system"])["score"]
    assert noise["all"] == pytest.approx(np.sqrt((scores.var() / 12).mean()))
    table = rater_deviations(imaginary, "DMOS")
    assert table.shape == (30, 5)
    frame = imaginary.frame
    departures = frame["score"] - frame.groupby(["item", "system"])["score"].transform("mean")
    expected = departures.groupby(frame["rater"]).mean()
    assert set(table.index) == set(expected.index)
    assert (np.diff(expected[table.index]) <= 1e-12).all(), "the most lenient first"
    curves = reliability_curve_rows(imaginary)
    assert curves.loc[curves["here"], "raters"].tolist() == [12]
    rows = correlate_ratings(imaginary, CorrelationSettings(levels=("utterance",), resamples=20, compare=False)).rows
    assert select_strongest_metrics(rows, "DMOS", 2) == ["emb_mse_clap_music_df", "fad_song2song_clap_music_df"]
