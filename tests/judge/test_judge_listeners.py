"""A judge beside listening tests: tables, controls, what is left out, the command, the bars."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner

from judge.listeners import limited_correlations, listener_criteria
from sam_audio_bench import audio
from sam_audio_bench.cli.judge.listeners import listeners, print_test
from sam_audio_bench.errors import Precondition, UsageError
from sam_audio_bench.judge import JudgeScores
from sam_audio_bench.judge.listeners import COLUMNS, WORSE, agreement, find_tests, rate_test, system_means
from sam_audio_bench.judge.scores import AXES
from sam_audio_bench.judge.training_mixtures import TrainingMixtures
from sam_audio_bench.ratings.correlation import CorrelationRow
from sam_audio_bench.types import Audio

RATE = 8000
LEVELS = {"a": 0.1, "b": 0.2, "c": 0.3, "d": 0.4}


class Loud:
    """Rates an estimate by its RMS: 0.5 is a 5; or, turned round, a 1."""

    def __init__(self, sign: float = 1.0) -> None:
        self.sign, self.calls = sign, 0

    def score(self, mixture: Audio, targets: Sequence[Audio], text: str) -> JudgeScores:
        assert all(target.length == mixture.length for target in targets)
        self.calls += len(targets)
        values = [3 + self.sign * (8 * float(target.samples.std()) - 2) for target in targets]
        rated = torch.tensor(values)[:, None].expand(-1, len(AXES))
        return JudgeScores(values=rated, frames=rated[:, None], keep=torch.ones(len(values), 1, dtype=torch.bool))


Estimator = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Estimator:
    def made(name: str = "gensvs60", axes: Sequence[str] = ("DMOS",), scale: tuple[int, int] = (1, 5)) -> Path:
        """Three items by four systems of known level, two raters; each rater says what the level is, nearly."""
        folder, random, rows = tmp_path / name, np.random.default_rng(0), []
        for item in ("x", "y", "z"):
            for file, level in {"mixture": 0.05, "ref": 0.5, **LEVELS}.items():
                noise = torch.from_numpy(random.standard_normal((1, RATE)).astype(np.float32))
                (folder / item).mkdir(parents=True, exist_ok=True)
                audio.write_wav(folder / item / f"{file}.wav", Audio(noise / noise.std() * level / 2, RATE))
            for system, level in LEVELS.items():
                for axis in axes:
                    for rater in ("r", "s"):
                        share = level + random.uniform(-0.01, 0.01)
                        score = scale[0] + (scale[1] - scale[0]) * share
                        files = [f"{item}/{file}.wav" for file in ("mixture", system, "ref")]
                        rows.append((item, system, rater, axis, score, *scale, *files, "noise"))
        pd.DataFrame(rows, columns=list(COLUMNS)).to_csv(folder / "ratings.csv", index=False)
        return folder

    return made


def value(rows: Sequence[CorrelationRow], axis: str, level: str = "utterance") -> float:
    (row,) = [row for row in rows if (row["axis"], row["level"], row["coefficient"]) == (axis, level, "pearson")]
    assert row["value"] is not None
    return row["value"]


def test_every_estimate_is_rated_once_and_compared(make: Estimator) -> None:
    judge = Loud()
    test = rate_test(judge, make(axes=("DMOS", "BAK")))
    assert judge.calls == 3 * 6
    rows = agreement(test, resamples=50)
    assert value(rows, "DMOS") > 0.98
    assert value(rows, "BAK", "system") > 0.98
    assert {row["metric"] for row in rows} == {"saj_overall", "saj_precision"}
    assert {row["n"] for row in rows} == {12, 4}
    assert value(agreement(test, without=["a"], resamples=50), "DMOS") > 0.95


def test_controls_are_rated_and_are_no_systems(make: Estimator) -> None:
    folder = make()
    table = pd.read_csv(folder / "ratings.csv")
    hidden = table[table.system == "a"].assign(system="ideal", score=1.0)
    hidden["answer"] = hidden["reference"]
    pd.concat([table, hidden]).to_csv(folder / "ratings.csv", index=False)
    test = rate_test(Loud(), folder)
    means = system_means(test).set_index("system")
    assert list(means.index) == ["(clean target)", "(mixture)", "a", "b", "c", "d"]
    assert means.loc["(clean target)", "saj_overall"] == pytest.approx(3, abs=0.01)
    assert means.loc["(clean target)", "n"] == 3
    assert value(agreement(test, resamples=50), "DMOS") > 0.98
    assert value(agreement(test, with_reference=True, resamples=50), "DMOS") < 0.6


def test_scales_are_mapped_and_may_be_turned_round(make: Estimator) -> None:
    for name, scale in (("up", (0, 100)), ("down", (5, 1))):
        test = rate_test(Loud(), make(name, scale=scale))
        assert value(agreement(test, resamples=50), "DMOS") > 0.98
        assert system_means(test).set_index("system").loc["a", "DMOS"] == pytest.approx(1.4, abs=0.05)


def test_what_cannot_be_used_is_counted(make: Estimator, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make()
    (folder / "x" / "a.wav").unlink()
    audio.write_wav(folder / "y" / "b.wav", Audio(torch.full((1, 2 * RATE), 0.1), RATE))
    table = pd.read_csv(folder / "ratings.csv")
    table.loc[table.item == "z", "score"] = [9.0, *table.score[table.item == "z"][1:]]
    table.to_csv(folder / "ratings.csv", index=False)
    test = rate_test(Loud(), folder)
    assert test.left_out == {
        "no score, or one outside its scale": 1,
        "no file of the answer": 2,
        "files whose answer is not as long as its mixture": 1,
        "the answer was not rated by the judge": 2,
    }
    print_test(test, agreement(test, resamples=50))
    assert "left out 2: no file of the answer" in capsys.readouterr().err


def test_interference_and_quality_make_a_third_axis(make: Estimator) -> None:
    test = rate_test(Loud(), make("singing", axes=("interference", "quality")))
    rows = limited_correlations(test, resamples=50)
    assert {row["axis"]: row["metric"] for row in rows} == {
        "interference": "saj_precision", "quality": "saj_faithfulness", WORSE: "saj_overall",
    }  # fmt: skip
    bars = list(listener_criteria(test, rows))
    assert [bar.wanted for bar in bars if bar.met] == [0.5, 0.5, 0.6]


def test_a_good_judge_meets_the_bars_and_a_bad_one_does_not(make: Estimator) -> None:
    folder = make()
    good, bad = (
        [*listener_criteria(test, limited_correlations(test, 50))]
        for test in (rate_test(Loud(s), folder) for s in (1, -1))
    )
    assert [bar.met for bar in good] == [True, True, False, True]  # its clean targets get 3
    assert [bar.met for bar in bad] == [False] * 4


def test_tests_are_found(make: Estimator, tmp_path: Path) -> None:
    with pytest.raises(Precondition, match=r"expected ratings\.csv in"):
        find_tests(tmp_path)
    first, second = make("one"), make("two")
    assert find_tests(tmp_path) == [first, second]
    assert find_tests(first) == [first]


def test_a_table_without_a_column_or_without_audio_is_refused(make: Estimator) -> None:
    folder = make()
    table = pd.read_csv(folder / "ratings.csv")
    table.assign(answer="nowhere.wav").to_csv(folder / "ratings.csv", index=False)
    with pytest.raises(UsageError, match="found 24 without"):
        rate_test(Loud(), folder)
    table.drop(columns="text").to_csv(folder / "ratings.csv", index=False)
    with pytest.raises(UsageError, match="found no text"):
        rate_test(Loud(), folder)


def test_the_command_takes_anyones_judge(make: Estimator, small_folder: Path) -> None:
    arguments = [str(make()), "--judge", str(small_folder), "--resamples", "20"]
    shown = CliRunner().invoke(listeners, arguments)
    assert shown.exit_code == 0, shown.output
    assert "(clean target)" in shown.output
    found = json.loads(CliRunner().invoke(listeners, [*arguments, "--json"]).stdout)
    assert found["tests"]["gensvs60"]["rows"][0]["axis"] == "DMOS"
    assert found["tests"]["gensvs60"]["systems"][0]["DMOS"] is None
    assert found["tests"]["gensvs60"]["trained_on"] == 0
    assert "was trained on" not in shown.stderr


def test_the_command_says_what_a_judge_was_trained_on(make: Estimator, small_folder: Path, tmp_path: Path) -> None:
    test, folder = make(), Path(shutil.copytree(small_folder, tmp_path / "ours"))
    TrainingMixtures().extended(audio.read(test / item / "mixture.wav") for item in "xz").write(folder)
    told = CliRunner().invoke(listeners, [str(test), "--judge", str(folder), "--resamples", "20", "--json"])
    assert "was trained on 2 mixtures of gensvs60; its ratings of them are biased" in told.stderr
    assert json.loads(told.stdout)["tests"]["gensvs60"]["trained_on"] == 2
