"""What a report begins with: who is best, how sure that is, which metric follows listeners; p and intervals agree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from browser import Browser, needs_browser
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from sam_audio_bench.cli import group
from sam_audio_bench.files import load_json
from sam_audio_bench.ratings.agreement import opinion_rows
from sam_audio_bench.ratings.correlation import CorrelationSettings, correlate_ratings
from sam_audio_bench.ratings.example import example_ratings, example_votes
from sam_audio_bench.ratings.finding import (
    differences_of_systems,
    metric_findings,
    preference_findings,
    system_findings,
)
from sam_audio_bench.ratings.importing import import_ratings
from sam_audio_bench.ratings.preference import prefer
from sam_audio_bench.ratings.table import Ratings


def study(opinions: np.ndarray, **options) -> Ratings:
    """Ratings by one rater of [items, systems]; systems are a, b, …; columns of metrics are [items, systems]."""
    metrics = options.pop("metrics", {})
    items, systems = (axis.ravel() for axis in np.indices(opinions.shape))
    columns = {name: values[items, systems] for name, values in metrics.items()}
    frame = pd.DataFrame(
        {
            "rater": "r", "item": [f"i{at}" for at in items], "group": [f"i{at}" for at in items],
            "system": ["abcdefghijkl"[at] for at in systems], "domain": None, "axis": "overall",
            "score": opinions[items, systems], **columns,
        }
    )  # fmt: skip
    return Ratings(frame=frame, metrics=tuple(metrics), **options)


def systems_of(ratings: Ratings) -> str:
    (text,) = system_findings(ratings, opinion_rows(ratings), differences_of_systems(ratings))
    return text


STEPS = np.arange(8.0)[:, None] / 10  # difficulty of eight items


@pytest.mark.parametrize("direction", ["higher", "lower"])
def test_the_best_system_by_the_direction_of_the_scale(direction: str) -> None:
    """Three systems that are a constant apart: eight recordings of one sign, p = 2 / 2**8, by Holm 3 times that."""
    ratings = study(STEPS + np.array([1.0, 2.0, 3.0]), scale=(1, 5), direction=direction)
    best = {"higher": "c is rated best, 3.35", "lower": "a is rated best, 1.35"}[direction]
    text = systems_of(ratings)
    assert text.startswith(f"overall: {best}")
    assert "on a scale from 1 to 5, and is better than every other system" in text
    assert text.endswith("(paired over 8 recordings; Holm over 3 pairs, 5 %).")
    pairs = differences_of_systems(ratings)
    assert [(row["first"], row["second"], row["value"]) for row in pairs] == [
        ("a", "b", pytest.approx(-1)), ("a", "c", pytest.approx(-2)), ("b", "c", pytest.approx(-1)),
    ]  # fmt: skip
    assert [row["p_holm"] for row in pairs] == [3 * 2 / 2**8] * 3


def test_than_whom_the_best_was_not_shown_to_be_better() -> None:
    rng = np.random.default_rng(0)
    near = STEPS + np.array([3.0, 3.0, 1.0]) + np.array([0.5, 0.5, 0.0]) * rng.normal(size=(8, 3))
    text = systems_of(study(near))
    assert "but was not shown to be better than" in text
    assert "it is better than all others" in text
    equal = systems_of(study(rng.normal(size=(8, 3))))
    assert "but was not shown to be better than any other system" in equal


def test_few_recordings_and_one_system() -> None:
    text = systems_of(study(STEPS[:5] + np.array([1.0, 3.0])))
    assert "was not shown to be better than any other system (paired over 5 recordings; Holm over 1 pair, 5 %)." in text
    assert text.endswith(
        " No two could be, whatever raters say: that takes more recordings, or from 14 on more resamples."
    )
    many = systems_of(study(STEPS + np.arange(12.0)))
    assert "than any other system" in many, "of 66 pairs and 8 recordings the least p by Holm is 0.52"
    assert "No two could be" in many
    assert systems_of(study(STEPS)) == "overall: ratings of 1 system, so that there is no order."


def test_a_mean_over_easier_items_is_no_lead() -> None:
    """One has the higher mean since it was spared the hard items, and is worse on all that both were rated on."""
    opinions = np.concatenate([np.full((8, 2), [3.0, 2.0]) + STEPS, np.full((12, 2), [1.0, np.nan])])
    whole = study(opinions)
    ratings = whole.with_frame(whole.frame.dropna(subset=["score"]))
    assert systems_of(ratings).startswith("overall: b is rated best, 2.35")
    assert "but was not shown to be better than any other system" in systems_of(ratings)


def metrics_of(ratings: Ratings, **options) -> list[str]:
    chosen = {"coefficients": ("spearman",), "resamples": 500, **options}
    return metric_findings(ratings, correlate_ratings(ratings, CorrelationSettings(**chosen)).rows)


@pytest.mark.parametrize("direction", ["higher", "lower"])
def test_metrics_that_follow_listeners_and_those_that_do_not(direction: str) -> None:
    """SI-SDR is right, noise is not, and a STOI that falls where opinions rise runs against its direction."""
    rng = np.random.default_rng(1)
    truth = rng.normal(size=(30, 10)) + np.linspace(0, 3, 10)
    metrics = {
        "si_sdr": truth + 0.1 * rng.normal(size=truth.shape),
        "snr": truth + 2 * rng.normal(size=truth.shape),
        "pesq_wb": rng.normal(size=truth.shape),
        "stoi": -truth + rng.normal(size=truth.shape),
        "mrstft": -truth + 2 * rng.normal(size=truth.shape),
    }
    ratings = study(truth if direction == "higher" else -truth, metrics=metrics, direction=direction)
    single, within, overall = metrics_of(ratings)
    sign = "" if direction == "higher" else "−"
    assert single.startswith(
        f"overall, to tell how good a single answer is: si_sdr follows listeners most closely, ρ = {sign}1.00"
    )
    assert "follow less closely: snr and mrstft" in single or "follow less closely: mrstft and snr" in single
    assert "not shown for: pesq_wb" in single
    assert "against their direction: stoi" in single
    assert "to tell which system did better on an item: si_sdr" in within
    assert "to tell which system is better overall" in overall


def test_nothing_follows_and_nothing_can_be_said() -> None:
    rng = np.random.default_rng(2)
    ratings = study(rng.normal(size=(20, 3)), metrics={"si_sdr": rng.normal(size=(20, 3))})
    single, _, overall = metrics_of(ratings)
    assert single.endswith("no metric was shown to follow listeners; not shown for: si_sdr.")
    assert overall.endswith("nothing can be said; no interval for: si_sdr."), "three systems have no order to resample"


def test_a_scale_of_errors_turns_the_comparison_of_metrics() -> None:
    """The difference of two metrics is that of how closely they follow, whichever end of the scale is better."""
    rng = np.random.default_rng(3)
    truth = rng.normal(size=(20, 8))
    metrics = {"si_sdr": truth + 0.1 * rng.normal(size=truth.shape), "snr": truth + 3 * rng.normal(size=truth.shape)}
    options = CorrelationSettings(coefficients=("spearman",), levels=("utterance",), resamples=100)
    (up,) = correlate_ratings(study(truth, metrics=metrics), options).differences
    (down,) = correlate_ratings(study(-truth, metrics=metrics, direction="lower"), options).differences
    assert up["value"] > 0.3
    assert (down["value"], down["p"]) == (pytest.approx(up["value"]), pytest.approx(up["p"], abs=0.03))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.integers(6, 14), st.integers(2, 4), st.booleans())
def test_no_row_contradicts_itself(seed: int, items: int, systems: int, rounded: bool) -> None:
    """Of systems and of metrics: p is below 5 % exactly where the interval leaves 0 out; Holm's p is never smaller."""
    rng = np.random.default_rng(seed)
    opinions = rng.normal(size=(items, systems)) + rng.uniform(0, 1) * np.arange(systems)
    opinions = np.round(opinions) if rounded else opinions
    noise = rng.uniform(0.1, 3, 2)
    metrics = {name: opinions + s * rng.normal(size=opinions.shape) for name, s in zip("mn", noise, strict=True)}
    ratings = study(opinions, metrics=metrics)
    options = CorrelationSettings(coefficients=("spearman",), levels=("utterance",), resamples=60)
    for row in [*differences_of_systems(ratings, resamples=99), *correlate_ratings(ratings, options).differences]:
        if row["p"] is None:
            assert row["ci_low"] is None
            continue
        assert (row["p"] < 0.05) == (row["ci_low"] is not None and not row["ci_low"] <= 0 <= row["ci_high"])
        assert row["p_holm"] >= row["p"]


def votes(tmp_path: Path, rows: list[tuple[str, str, str]]) -> Ratings:
    lines = [f"r{at % 5},i{at},{first},{second},{choice}" for at, (first, second, choice) in enumerate(rows)]
    path = tmp_path / "votes.csv"
    path.write_text("rater,item,first,second,choice\n" + "\n".join(lines) + "\n")
    return import_ratings([path]).ratings


def test_preferences_in_a_sentence(tmp_path: Path) -> None:
    sure = [("p", "q", "first"), ("q", "p", "second")] * 20
    (text,) = preference_findings(prefer(votes(tmp_path, sure), resamples=100))
    assert text.startswith("preference: p is preferred most, strength ")
    assert text.endswith("(40 wins, 0 ties and 0 losses), and is first in 97.5 % of the resamples or more.")
    toss = [("p", "q", "first"), ("q", "p", "first"), ("p", "q", "second"), ("q", "p", "second"), ("p", "q", "tie")] * 3
    (text,) = preference_findings(prefer(votes(tmp_path, toss[:-2]), resamples=100))
    assert "but its rank may be anything from 1 to 2; " in text
    assert text.endswith(" may be first as well.")
    first = [("p", "q", "first"), ("q", "p", "first")] * 40
    (text,) = preference_findings(prefer(votes(tmp_path, first), resamples=100))
    assert "What is heard first has an advantage, " in text
    apart = [("p", "q", "first"), ("v", "w", "first")] * 5
    (text,) = preference_findings(prefer(votes(tmp_path, apart), resamples=100))
    assert text == "preference: the votes give no order (disconnected)."


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the example, and in the folder votes that of its votes."""
    folder = tmp_path_factory.mktemp("finding")
    for name, table in (("ratings", example_ratings()), ("votes", example_votes())):
        table.to_csv(folder / f"{name}.csv", index=False)
        import_ratings([folder / f"{name}.csv"]).ratings.write(folder / f"{name}.parquet")
        words = ["ratings", "report", str(folder / f"{name}.parquet"), "--out", str(folder / name)]
        words += ["--resamples", "50", "--scatters", "1"]
        done = CliRunner().invoke(group, words, prog_name="sabench")
        assert done.exit_code == 0, done.output
        (folder / f"{name}.txt").write_text(done.stdout, encoding="utf-8")
    return folder


def test_a_report_begins_with_the_finding(report: Path) -> None:
    for name, first in (("ratings", "score: system-8 is rated best"), ("votes", "preference: system-8 is preferred")):
        page = (report / name / "index.html").read_text(encoding="utf-8")
        finding = load_json(report / name / "report.json")["finding"]
        assert finding[0].startswith(first)
        assert page.index("<h2>") == page.index("<h2>Finding</h2>")
        assert page.rindex("<h2>") == page.rindex("<h2>Data</h2>")
        shown = (report / f"{name}.txt").read_text(encoding="utf-8").splitlines()
        assert shown[: len(finding)] == finding
        for text in finding:
            assert f"<li>{text}</li>" in page


@needs_browser
@pytest.mark.parametrize("width", [380, 1280])
@pytest.mark.parametrize("name", ["ratings", "votes"])
def test_the_page_fits_its_window(browser: Browser, report: Path, name: str, width: int) -> None:
    """Wide tables and figures scroll in their own boxes, and captions are not cut."""
    browser.page.set_viewport_size({"width": width, "height": 800})
    browser.open((report / name / "index.html").as_uri())
    assert browser.evaluate("document.documentElement.scrollWidth") == width
    wide = "[...document.querySelectorAll('p, li, h3, figcaption, dd')].filter(e => e.scrollWidth > e.clientWidth + 1)"
    assert browser.evaluate(f"{wide}.map(e => e.textContent)") == []
    narrow = "[...document.querySelectorAll('figure svg')].map(e => e.getBoundingClientRect().width)"
    assert min(browser.evaluate(narrow)) >= 300
    assert browser.trouble == []
