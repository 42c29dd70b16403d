"""Scoring in workers: the same bits as in one process; a metric that kills its worker loses only its own score."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from run_checks import assert_equal_runs, journal, scores, workers_alive

import sam_audio_bench as sab
from sam_audio_bench.cli import group
from sam_audio_bench.errors import Precondition, UsageError
from sam_audio_bench.run import rescore as rescore_module
from sam_audio_bench.run import scoring, worker_scoring
from sam_audio_bench.run.rescore import rescore

METRICS = """
import os, signal, weakref
from pathlib import Path
from sam_audio_bench import Metric, Score, Status
from sam_audio_bench.metrics import MetricCard

loaded = []

class Level(Metric):
    columns = ("level",)
    batch_size = 3

    @classmethod
    def cards(cls):
        return (MetricCard(id=cls.columns[0], target=f"{__name__}:{cls.__name__}", summary="level", unit=""),)

    def __init__(self):
        loaded.append(weakref.ref(self))

    def score(self, items, separations):
        return [(self.one(item, found),) for item, found in zip(items, separations)]

    def one(self, item, found):
        return Score(float(found.target.samples.square().mean()), Status.OK)

class Where(Level):
    columns = ("where",)
    weights_sha256 = "a" * 64

    def one(self, item, found):
        with Path(os.environ["WHERE"], f"{os.getpid()}").open("a") as file:
            file.write(" ".join(type(one()).__name__ for one in loaded if one() is not None) + "\\n")
        return Score(1.0, Status.OK)

class Other(Where):
    columns = ("other",)
    weights_sha256 = "b" * 64

class Deadly(Level):
    columns = ("deadly",)

    def one(self, item, found):
        if item.id in os.environ["DEADLY"].split(","):
            os.kill(os.getpid(), signal.SIGKILL)
        return Score(2.0, Status.OK)

class Unlucky(Level):
    columns = ("unlucky",)

    def one(self, item, found):
        there = Path(os.environ["WHERE"], "died")
        if not there.exists():
            there.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return Score(3.0, Status.OK)

class Refusing(Level):
    columns = ("refusing",)

    def score(self, items, separations):
        from sam_audio_bench.errors import Precondition
        raise Precondition("expected a licence, found none")
"""


@pytest.fixture
def stored(tmp_path: Path, small_task: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Runs of two separators, with metrics of a user's module at hand."""
    (tmp_path / "own_metrics.py").write_text(METRICS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "own_metrics", raising=False)
    monkeypatch.setenv("WHERE", str(tmp_path / "where"))
    monkeypatch.setenv("DEADLY", "")
    (tmp_path / "where").mkdir()
    sab.evaluate("hpss", str(small_task), metrics=["si_sdr"], output=tmp_path / "one", limit=4, progress=False)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    return tmp_path


def score(folder: Path, *metrics: str, workers: int | None = 2, **options: Any) -> sab.Results:
    own = {"executor": "processes", "workers": workers} if workers else {}
    return rescore([folder], metrics=metrics, progress=False, **own, **options)


def values(folder: Path, metric: str) -> dict[str, tuple[float | None, str]]:
    frame = scores(folder, "hpss")
    rows = frame[frame["metric"] == metric]
    return {row.item: (None if pd.isna(row.value) else row.value, row.status) for row in rows.itertuples()}


@pytest.mark.bits
def test_workers_give_the_scores_of_one_process(stored: Path) -> None:
    """Metrics without and with networks, some in batches; added ones, and all of them again."""
    metrics = ["si_sdr_i", "leak_db", "own_metrics:Level", "own_metrics:Where", "mrstft"]
    score(stored / "one", *metrics, workers=None)
    score(stored / "two", *metrics)
    for name in ("hpss", "mixture"):
        assert_equal_runs(stored / "one", stored / "two", name)
    assert not workers_alive()


def without_lag(folder: Path) -> None:
    """Removes the lags, as in a run of a version without them."""
    for path in folder.glob("*/*/items.jsonl"):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps({**line, "lag_ms": None}) + "\n" for line in lines))


def test_workers_measure_the_lag_of_one_process(stored: Path) -> None:
    known = {name: line["lag_ms"] for name, line in journal(stored / "one", "hpss").items()}
    assert None not in known.values()
    for name, workers in (("one", None), ("two", 2)):
        without_lag(stored / name)
        score(stored / name, "own_metrics:Level", "own_metrics:Where", workers=workers)
        assert {item: line["lag_ms"] for item, line in journal(stored / name, "hpss").items()} == known


def test_several_passes_measure_the_lag_once(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For every item, whichever metrics are missing."""
    measured: list[str] = []
    monkeypatch.setattr(scoring, "measure_lag", lambda item, sound: measured.append(item.id))

    def passes(executor: object, metrics: list[Any], log: Path, note: object) -> list[scoring._LocalPass]:
        return [scoring._LocalPass([one]) for one, _ in metrics]

    monkeypatch.setattr(rescore_module, "worker_passes", passes)
    score(stored / "one", "own_metrics:Level", "own_metrics:Where", "leak_db")
    assert len(measured) == len(set(measured)) * 2 == 8  # four items of each of two runs
    score(stored / "one", "own_metrics:Level", "mrstft")
    assert len(measured) == 16


@pytest.mark.bits
def test_the_judge_is_scored_alike(stored: Path) -> None:
    """A network with weights of its own, in batches."""
    score(stored / "one", "saj_overall", workers=None)
    score(stored / "two", "saj_overall")
    assert_equal_runs(stored / "one", stored / "two", "hpss")


def test_a_worker_holds_one_network_at_a_time(stored: Path, capsys: pytest.CaptureFixture[str]) -> None:
    metrics = "own_metrics:Where,own_metrics:Other,own_metrics:Level"
    options = ["--metrics", metrics, "--executor", "processes", "--workers", "2", "--json"]
    group(["score", str(stored / "two" / "hpss"), *options], standalone_mode=False)
    assert json.loads(capsys.readouterr().out)["rows"]
    files = [*(stored / "where").iterdir()]
    assert str(os.getpid()) not in {path.name for path in files}
    assert {line for path in files for line in path.read_text().splitlines()} == {"Where", "Other"}, "never both"
    assert set(values(stored / "two", "other").values()) == {(1.0, "ok")}


def test_a_metric_that_kills_its_worker_costs_its_score_of_that_item(
    stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But one that dies only once loses nothing."""
    monkeypatch.setenv("DEADLY", "item-1")
    done = score(stored / "two" / "hpss", "own_metrics:Deadly", "own_metrics:Level", "own_metrics:Unlucky")
    found = values(stored / "two", "deadly")
    assert found.pop("item-1") == (None, "error")
    assert set(found.values()) == {(2.0, "ok")}
    assert set(values(stored / "two", "unlucky").values()) == {(3.0, "ok")}
    assert {status for _, status in values(stored / "two", "level").values()} == {"ok"}
    assert done.failures == 1
    message = journal(stored / "two", "hpss")["item-1"]["score_errors"]["deadly"]
    assert message.startswith("its worker died: it was ended by SIGKILL")
    monkeypatch.setenv("DEADLY", "")
    score(
        stored / "two" / "hpss", "own_metrics:Deadly", changed=True, workers=None
    )  # failed scores are computed again, others are kept
    assert set(values(stored / "two", "deadly").values()) == {(2.0, "ok")}


def test_a_metric_that_kills_on_every_item_is_given_up(
    stored: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DEADLY", "item-0,item-1,item-2,item-3")
    monkeypatch.setattr(worker_scoring, "GIVEN_UP_AFTER", 2)
    monkeypatch.setattr(worker_scoring, "_TRIES", 1)
    score(stored / "two" / "hpss", "own_metrics:Deadly", "own_metrics:Level", workers=1)
    assert {status for _, status in values(stored / "two", "deadly").values()} == {"error"}
    assert {status for _, status in values(stored / "two", "level").values()} == {"ok"}
    assert "deadly was given up: workers died on 2 items in a row" in capfd.readouterr().err


def test_a_metric_that_cannot_work_ends_the_pass_as_in_one_process(stored: Path) -> None:
    with pytest.raises(Precondition, match="expected a licence, found none"):
        score(stored / "two" / "hpss", "own_metrics:Refusing")
    assert not workers_alive()
    assert values(stored / "two", "si_sdr") == values(stored / "one", "si_sdr")


@pytest.mark.bits
def test_a_missing_estimate_costs_that_item(stored: Path) -> None:
    for name in ("one", "two"):
        (target,) = (stored / name / "hpss").glob("*/audio/item-2.target.flac")
        target.unlink()
    score(stored / "one" / "hpss", "own_metrics:Where", "leak_db", workers=None)
    score(stored / "two" / "hpss", "own_metrics:Where", "leak_db")
    frames = [scores(stored / name, "hpss") for name in ("one", "two")]
    pd.testing.assert_frame_equal(*frames, check_exact=True)
    assert values(stored / "two", "where")["item-2"] == (None, "error")


def test_workers_of_one_process_are_refused(stored: Path) -> None:
    with pytest.raises(UsageError, match="--executor processes or ray with --workers 2, found local"):
        group(["score", str(stored / "two"), "--workers", "2"], standalone_mode=False)
