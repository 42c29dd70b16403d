"""`sabench ratings`: from a file of answers to a report."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from click.testing import CliRunner, Result

from sam_audio_bench.cli import group
from sam_audio_bench.errors import BenchError
from sam_audio_bench.ratings.table import Ratings


@pytest.fixture(scope="session")
def answers(imaginary_ratings: Path) -> str:
    """The imaginary test's file, as a word of the command line."""
    return str(imaginary_ratings)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def invoke(*words: str) -> Result:
    result = CliRunner().invoke(group, ["ratings", *words], prog_name="sabench")
    if isinstance(result.exception, BenchError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


def found(*words: str) -> dict:
    return json.loads(invoke(*words, "--json").stdout)


@pytest.mark.parametrize("words", [["--help"], ["import", "--help"], ["correlate", "--help"], ["report", "--help"]])
def test_help_is_light(words: list[str]) -> None:
    code = (
        f"import sys\nfrom sam_audio_bench.cli import main\ntry:\n    main(['ratings', *{words!r}])\n"
        "except SystemExit:\n"
        "    sys.exit(bool({'torch', 'matplotlib', 'scipy', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Usage: sabench ratings" in done.stdout


def test_statistics_never_import_torch_or_matplotlib(here: Path, answers: str) -> None:
    invoke("import", answers, "--out", "r.parquet")
    code = (
        "import sys\nfrom sam_audio_bench.cli import main\nfor words in sys.argv[1:]:\n    try:\n"
        "        main(['ratings', *words.split()])\n    except SystemExit as done:\n        assert not done.code\n"
        "sys.exit(bool({'torch', 'matplotlib'} & set(sys.modules)))"
    )
    commands = ["describe r.parquet", "agreement r.parquet --resamples 20", "correlate r.parquet --resamples 20"]
    done = subprocess.run([sys.executable, "-c", code, *commands], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_import_says_what_it_guessed(here: Path, answers: str) -> None:
    shown = invoke("import", answers, "--out", "r.parquet")
    assert "format wide" in shown.stdout
    assert re.search(r"^item +file_id$", shown.stdout, re.MULTILINE)
    assert re.search(r"^rater +subject_rating_0 … subject_rating_11$", shown.stdout, re.MULTILINE)
    assert "Scale 1 to 5, higher is better." in shown.stdout
    assert "scale guessed" in shown.stderr
    assert "group_id decides who rates" in shown.stderr
    plain = found("import", answers, "--out", "r.parquet")
    assert (plain["rows"], plain["scale"], plain["votes"]) == (3000, [1, 5], False)
    assert plain["readings"][0]["columns"]["system"] == "model_name"


def test_options_of_import(here: Path, answers: str) -> None:
    options = [
        "--item",
        "trial_id",
        "--domain",
        "=vocals",
        "--scale",
        "0:10",
        "--direction",
        "lower",
        "--axis",
        "=ease",
    ]
    invoke("import", answers, "--out", "r.parquet", *options, "--metric-columns", "none", "--missing", "5")
    ratings = Ratings.read(Path("r.parquet"))
    assert (ratings.scale, ratings.direction, ratings.metrics, ratings.axes) == ((0, 10), "lower", (), ["ease"])
    assert ratings.frame["score"].max() == 4
    assert set(ratings.frame["domain"]) == {"vocals"}
    assert "trial1" in set(ratings.frame["item"])


def test_correlate_prints_the_promised_rows(here: Path, answers: str) -> None:
    invoke("import", answers, "--out", "r.parquet")
    result = found("correlate", "r.parquet", "--by", "model_type", "--metrics", "sdr,visqol", "--resamples", "100")
    keys = {"metric", "axis", "level", "by", "coefficient", "value", "ci_low", "ci_high", "n"}
    assert all(keys <= set(row) for row in result["rows"])
    assert len(result["rows"]) == 2 * 3 * 3 * 3, "metrics, values of by, levels, coefficients"
    wanted = {"metric": "sdr", "by": "discriminative", "level": "utterance", "coefficient": "spearman"}
    (row,) = [row for row in result["rows"] if wanted.items() <= row.items()]
    frame = pd.read_csv(answers).query("model_type == 'discriminative'")
    assert row["value"] == pytest.approx(scipy.stats.spearmanr(frame["DMOS"], frame["sdr"]).statistic)
    assert row["ci_low"] < row["value"] < row["ci_high"]
    assert (row["axis"], row["n"], row["method"]) == ("DMOS", 150, "two_way")
    one = found(
        "correlate", "r.parquet", "--level", "system", "--coefficient", "kendall", "--no-compare", "--metrics", "sdr"
    )
    assert [(row["level"], row["coefficient"]) for row in one["rows"]] == [("system", "kendall")]


def test_correlate_for_readers(here: Path, answers: str) -> None:
    invoke("import", answers, "--out", "r.parquet")
    shown = invoke("correlate", "r.parquet", "--resamples", "50")
    assert "warning: DMOS, all: 5 systems" in shown.stderr
    lines = shown.stdout.splitlines()
    frame = pd.read_csv(answers)
    scores = frame.filter(regex=r"^rating_\d+$").to_numpy()
    ceiling = np.sqrt(1 - scores.var(axis=1, ddof=1).mean() / (12 * scores.mean(axis=1).var(ddof=1)))
    assert lines[0].startswith(f"DMOS, all: spearman, noise ceiling {ceiling:.3f}")
    assert re.match(r"metric +utterance \(n=250\) +within_item \(n=50\) +system \(n=5\) +group", lines[1])
    strongest = scipy.stats.spearmanr(frame["DMOS"], frame["emb_mse_clap_music_df"]).statistic
    assert lines[2].startswith(f"emb_mse_clap_music_df        −{-strongest:.3f} [−0."), "the strongest first"


def test_correlate_shows_pairs(here: Path, answers: str) -> None:
    invoke("import", answers, "--out", "r.parquet")
    options = ["--metrics", "sdr,visqol", "--level", "utterance", "--resamples", "50", "--pairs"]
    shown = invoke("correlate", "r.parquet", *options).stdout
    assert "DMOS, all: differences of spearman, utterance, each metric turned so that more is better" in shown
    assert re.search(r"^sdr − visqol +−0\.\d+ \[.*\] .* two_way$", shown, re.MULTILINE)
    shown = invoke("correlate", "r.parquet", *options, "--interval", "fisher").stdout
    assert re.search(r"^sdr − visqol +−0\.\d+ \[.*\] .* zou$", shown, re.MULTILINE)
    assert "95 % intervals: fisher." in shown
    shown = invoke("correlate", "r.parquet", *options, "--test", "permutation").stdout
    assert re.search(r"^sdr − visqol +−0\.\d+ .* permutation$", shown, re.MULTILINE)


def test_seeds_are_not_negative(here: Path, answers: str) -> None:
    for name in ("agreement", "correlate", "prefer", "power", "report"):
        done = CliRunner().invoke(group, ["ratings", name, "r.parquet", "--seed", "-1"], prog_name="sabench")
        assert (done.exit_code, "-1 is not in the range x>=0" in done.stderr) == (2, True)


def test_outputs_that_cannot_be_written(here: Path, answers: str) -> None:
    invoke("import", answers, "--out", "r.parquet")
    Path("folder").mkdir()
    for words in (["import", answers, "--out", "folder"], ["screen", "r.parquet", "--speed", "--out", "folder"],
                  ["example", "--out", "folder"], ["agreement", "r.parquet", "--mos", "folder"],
                  ["report", "r.parquet", "--out", "r.parquet"]):  # fmt: skip
        done = CliRunner().invoke(group, ["ratings", *words], prog_name="sabench")
        assert done.exit_code == 2
        assert re.search(r"Error: Invalid value for '--(out|mos)': \w+ '[\w.]+' is a (directory|file)\.", done.stderr)
    with pytest.raises(BenchError, match="found a folder"):
        invoke("describe", "folder")


def test_published_table(here: Path, published_ratings: Path) -> None:
    invoke("import", str(published_ratings / "gensvs_eval_data.csv"), "--out", "r.parquet")
    options = ["--by", "model_type", "--level", "utterance", "--resamples", "50", "--no-compare"]
    metrics = ["--metrics", "emb_mse_clap_music_df,sdr"]
    lines = invoke("correlate", "r.parquet", *options, *metrics).stdout.splitlines()
    assert lines[0].startswith("DMOS, all: spearman, noise ceiling 0.96")
    assert lines[2].startswith("emb_mse_clap_music_df  −0.737 [−0."), "the strongest first"
    assert any(re.match(r"sdr +0\.672 \[", line) for line in lines), "of discriminative systems"


def test_agreement(here: Path, answers: str) -> None:
    invoke("import", answers, "--out", "r.parquet")
    result = found("agreement", "r.parquet", "--resamples", "50", "--mos", "mos.csv")
    keys = {"axis", "by", "statistic", "value", "ci_low", "ci_high"}
    assert all(keys <= set(row) for row in result["rows"])
    assert {row["by"] for row in result["rows"]} == {"all"}
    assert len(Path("mos.csv").read_text().splitlines()) == 251
    shown = invoke("agreement", "r.parquet", "--resamples", "50").stdout
    assert "DMOS, all: 250 stimuli, 12.0 raters each" in shown
    assert re.search(r"^icc_1_k +0\.\d+ \[0\.\d+, 0\.\d+\] +ok", shown, re.MULTILINE)
    assert re.search(r"^system +stimuli +raw +z_scored +bias_corrected$", shown, re.MULTILINE)


SESSIONS = """rater,session,item,score,kind,expected,seconds
ann,1,x,1,rating,,9
ann,1,y,4,rating,,9
ann,1,t,2,trap,2,9
bob,2,x,2,rating,,1
bob,2,y,5,rating,,1
bob,2,t,4,trap,2,1
"""


def test_screen(here: Path) -> None:
    Path("a.csv").write_text(SESSIONS)
    invoke("import", "a.csv", "--out", "r.parquet")
    shown = invoke("screen", "r.parquet", "--p808", "--out", "s.parquet")
    assert re.search(r"^bob +2 +trap +wrong answers to traps: 1 > 0$", shown.stdout, re.MULTILINE)
    assert "3 of 6 rows dropped, of 1 raters; 3 in s.parquet" in shown.stdout
    assert "note: gold is left out" in shown.stderr
    assert "note: playback is left out" in shown.stderr
    result = found("screen", "r.parquet", "--speed=5", "--out", "s.parquet")
    assert [(row["rater"], row["rule"], row["value"], row["limit"]) for row in result["dropped"]] == [
        ("bob", "speed", 1, 5)
    ]
    assert "History: screen dropped 3 rows" in invoke("describe", "s.parquet").stdout
    assert found("screen", "r.parquet", "--speed", "--out", "s.parquet")["dropped"][0]["limit"] == 2
    with pytest.raises(BenchError, match="a number for --straight-lining, found 'x'"):
        invoke("screen", "r.parquet", "--straight-lining=x", "--out", "s.parquet")
    with pytest.raises(BenchError, match="at least one rule"):
        invoke("screen", "r.parquet", "--out", "s.parquet")


VOTES = "rater,item,first,second,choice\n" + "".join(
    f"r{at % 4},i{at},{first},{second},{choice}\n"
    for at, (first, second, choice) in enumerate([("p", "q", 1), ("q", "p", 2), ("p", "w", 1), ("w", "q", 0)] * 4)
)


def test_prefer(here: Path) -> None:
    Path("v.csv").write_text(VOTES)
    assert "Next: sabench ratings prefer" in invoke("import", "v.csv", "--out", "v.parquet").stdout
    result = found("prefer", "v.parquet", "--resamples", "50")
    assert result["rows"][0]["system"] == "p"
    shown = invoke("prefer", "v.parquet", "--resamples", "50").stdout
    assert "preference, all: 16 votes" in shown
    assert re.search(r"^p +.*12-0-0", shown, re.MULTILINE)
    assert re.search(r"^first +8$", invoke("describe", "v.parquet").stdout, re.MULTILINE)
    invoke("report", "v.parquet", "--out", "report", "--resamples", "50")
    page = Path("report/index.html").read_text(encoding="utf-8")
    assert "preference, all: 16 votes; advantage of the first position" in page
    assert "12-0-0" in page
    assert "net win rate" in page


def test_power(here: Path, answers: str) -> None:
    invoke("import", answers, "--out", "r.parquet")
    options = ["--raters", "5", "--items", "20,40", "--systems", "2", "--difference", "0.5", "--simulations", "50"]
    result = found("power", "r.parquet", *options)
    assert len(result["rows"]) == 2
    assert result["components"][0]["item"] == pytest.approx(0.36, abs=0.15), "of the simulated items"
    item = result["components"][0]["item"]
    shown = invoke("power", "r.parquet", *options).stdout
    assert f"DMOS: variances item {item:.3f}" in shown
    assert re.search(r"^0\.5 between 2 systems, power 0\.8: 5 raters x 20 items, 200 ratings$", shown, re.MULTILINE)
    assert result["least"][0]["items"] == 20
    for word in ("none", "0", "2.5", ""):
        with pytest.raises(BenchError, match=r"positive whole numbers for --raters|comma-separated"):
            invoke("power", "r.parquet", "--raters", word)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, answers: str) -> Path:
    """One page with everything on it."""
    folder = tmp_path_factory.mktemp("report")
    invoke("import", answers, "--out", str(folder / "r.parquet"))
    title = "<script>alert(1)</script>"
    options = ["--by", "model_type", "--resamples", "50", "--scatters", "2", "--title", title]
    invoke("report", str(folder / "r.parquet"), "--out", str(folder), *options)
    return folder


def test_the_report_has_all_figures(report: Path) -> None:
    names = {path.name for path in (report / "figures").iterdir()}
    stems = {"forest-DMOS-utterance", "forest-DMOS-within_item", "forest-DMOS-system", "raters-DMOS", "reliability",
             "systems-DMOS", "scatter-DMOS-emb_mse_clap_music_df",
             "scatter-DMOS-fad_song2song_clap_music_df"}  # fmt: skip
    assert names == {f"{stem}.{suffix}" for stem in stems for suffix in ("svg", "png", "csv")}
    page = (report / "index.html").read_text(encoding="utf-8")
    assert page.count("<svg ") == len(stems)


def test_the_report_is_self_contained_and_escaped(report: Path) -> None:
    page = (report / "index.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    outside = re.findall(r"""(?:src|href)=["'](?!#|data:)([^"']*)""", page)
    assert outside == []
    assert "url(http" not in page


def test_the_report_s_ids_are_unique_and_links_lead_somewhere(report: Path) -> None:
    page = (report / "index.html").read_text(encoding="utf-8")
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    targets = {*re.findall(r'href="#([^"]+)"', page), *re.findall(r"url\(#([^)]+)\)", page)}
    assert targets <= set(ids)


def test_the_report_has_its_numbers_beside(report: Path) -> None:
    numbers = json.loads((report / "report.json").read_text(encoding="utf-8"))
    assert {"finding", "data", "systems", "agreement", "opinions", "correlations", "differences", "notes"} == set(
        numbers
    )
    assert numbers["data"]["counts"]["raters"] == 30


def test_report_of_anonymous_raters_without_metrics(here: Path) -> None:
    lines = [{"path": f"{at}.wav", "quality": [at % 5 + 1, at % 4 + 1, at % 5 + 1]} for at in range(12)]
    Path("a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    invoke("import", "a.jsonl", "--out", "r.parquet")
    invoke("report", "r.parquet", "--out", "report", "--resamples", "20")
    page = Path("report/index.html").read_text(encoding="utf-8")
    assert "anonymous" in page
    assert 'id="correlations"' not in page
    assert {path.stem for path in Path("report/figures").iterdir()} == {"reliability"}
    invoke("report", "r.parquet", "--out", "again", "--resamples", "20")
    for path in Path("report").rglob("*.*"):
        assert path.read_bytes() == (Path("again") / path.relative_to("report")).read_bytes()


def test_report_of_one_rater(here: Path) -> None:
    Path("a.csv").write_text("rater,item,score\na,x,1\na,y,3\n")
    invoke("import", "a.csv", "--out", "r.parquet")
    invoke("report", "r.parquet", "--out", "report")
    assert "too_few" in Path("report/index.html").read_text(encoding="utf-8")


def test_example(here: Path) -> None:
    """The careless rater falls into the trap, answers fast and agrees with nobody; SI-SDR is the better metric."""
    invoke("example", "--out", "a.csv")
    invoke("example", "--out", "b.csv")
    assert Path("a.csv").read_bytes() == Path("b.csv").read_bytes()
    plain = found("import", "a.csv", "--out", "r.parquet")
    assert plain["metrics"] == ["si_sdr", "estoi"]
    result = found("screen", "r.parquet", "--trap", "--agreement", "--speed", "--out", "s.parquet")
    assert [(row["rater"], row["rule"]) for row in result["dropped"]] == [
        ("rater-9", "trap"), ("rater-9", "agreement"), ("rater-9", "speed"),
    ]  # fmt: skip
    rows = found("correlate", "s.parquet", "--coefficient", "pearson", "--level", "utterance", "--resamples", "50")[
        "rows"
    ]
    values = {row["metric"]: row["value"] for row in rows}
    assert values["si_sdr"] > values["estoi"] > 0
    invoke("example", "--votes", "--out", "v.csv")
    assert found("import", "v.csv", "--out", "v.parquet")["votes"]
    assert found("prefer", "v.parquet", "--resamples", "20")["rows"][0]["system"] == "system-8"


def test_unknown_command() -> None:
    with pytest.raises(BenchError, match="did you mean 'correlate'"):
        invoke("corelate")
