"""A metric, task or plugin that fails, ends the process or is none is told before any work, in a sentence."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import sam_audio_bench as sab
from sam_audio_bench.errors import BenchError, Precondition
from sam_audio_bench.plugins import plugin_cards
from sam_audio_bench.run.process_exit import prevent_exit
from sam_audio_bench.run.remote import find_runs
from sam_audio_bench.run.store import RunFolder

METRIC = """
import os, sys
from sam_audio_bench import Metric, Score, Status
from sam_audio_bench.metrics import MetricCard

class Level(Metric):
    columns = ("level",)
    @classmethod
    def cards(cls):
        return (MetricCard(id="level", target="here:Level", summary="", unit=""),)
    def score(self, items, separations):
        return [(Score(1.0, Status.OK),) for _ in items]
"""
BROKEN = {
    "def __init__(self): sys.exit(0)": "metric 'level' to be constructed from its options, found SystemExit: 0",
    "def __init__(self): os._exit(0)": "metric 'level' to be constructed from its options, found SystemExit: 0",
    "def __init__(self): raise GeneratorExit": "metric 'level' to be constructed from its options, found GeneratorExit",
    "def __init__(self): raise KeyError('x')": "to be constructed from its options, found KeyError: 'x'",
    "def missing(self): raise OSError('x')": "metric 'level' to say what it misses, found OSError: x",
    "def missing(self): sys.exit(0)": "metric 'level' to say what it misses, found SystemExit: 0",
    "cards = classmethod(lambda cls: 1 / 0)": "metric 'level' to return its cards, found ZeroDivisionError",
    "cards = classmethod(lambda cls: ())": r"cards\(\) of metric 'level' to include level, found \[\]",
    "batch_size = 0": "batch_size of metric 'level' to be a whole number above 0, found 0",
    "batch_size = 'x'": "batch_size of metric 'level' to be a whole number above 0, found 'x'",
    "columns = ()": r'a class of metrics at .*:Broken, with columns = \("name",\), found \(\)',
    "columns = 'level'": "with columns = .* found 'level'",
}
NUMBERS = itertools.count()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return tmp_path


def module(folder: Path, text: str) -> str:
    """The name of a new module."""
    name = f"third_party_metric_{next(NUMBERS)}"
    (folder / f"{name}.py").write_text(text)
    return name


def run(task: Path, metrics: str) -> sab.Results:
    return sab.evaluate("silence", str(task), metrics=metrics.split(","), progress=False, limit=1)


@pytest.mark.parametrize("line", BROKEN)
def test_a_metric_that_could_not_be_used_is_refused(line: str, here: Path, small_task: Path) -> None:
    name = module(here, f"{METRIC}\nclass Broken(Level):\n    {line}\n")
    with pytest.raises(BenchError, match=BROKEN[line]):
        run(small_task, f"{name}:Broken")
    assert not (here / "runs").exists()
    assert run(small_task, f"{name}:Level").failures == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import sys; sys.exit(0)", "SystemExit: 0"),
        ("import os; os._exit(0)", "SystemExit: 0"),
        ("raise GeneratorExit", "GeneratorExit"),
        ("import no_such_dependency", "No module named 'no_such_dependency'"),
        ("x = (", "SyntaxError"),
        ("raise ValueError('\\udcff')", r"ValueError: \\udcff"),
    ],
)
def test_a_module_that_cannot_be_imported_is_told(text: str, message: str, here: Path, small_task: Path) -> None:
    name = module(here, text)
    for models, metrics in (("silence", f"{name}:X"), (f"{name}:f", "snr")):
        with pytest.raises(Precondition, match=f"its module {name} cannot be imported .*{message}"):
            sab.evaluate(models, str(small_task), metrics=metrics, progress=False)
    assert not (here / "runs").exists()


def test_a_metric_that_ends_the_process_while_it_scores_costs_its_scores(here: Path, small_task: Path) -> None:
    for act in ("os._exit(0)", "sys.exit(0)"):
        name = module(here, f"{METRIC}\nclass Broken(Level):\n    def score(self, items, separations): {act}\n")
        assert run(small_task, f"{name}:Broken").failures == 2


ODD_ROWS = {
    "None": "each a tuple of 1 Score.*found NoneType",
    "[1.0 for _ in items]": r"each a tuple of 1 Score.*found \[1.0\]",
    "[(1.0,) for _ in items]": r"each a tuple of 1 Score.*found \[\(1.0,\)\]",
    "[(Score(1.0, Status.OK),)] * (len(items) + 1)": r"expected 1 row\(s\)",
    "(1 / 0 for _ in items)": "ZeroDivisionError",
    "[(Score(None, Status.OK),) for _ in items]": "expected a value with the status ok, found None",
}


@pytest.mark.parametrize("rows", ODD_ROWS)
def test_rows_that_are_none_cost_these_scores_alone(rows: str, here: Path, small_task: Path) -> None:
    name = module(here, f"{METRIC}\nclass Odd(Level):\n    def score(self, items, separations): return {rows}\n")
    found = run(small_task, f"{name}:Odd,leak_db,snr")
    records = [record for path in find_runs([here / "runs"]) for record in RunFolder.open(path).items.values()]
    assert [list(record.score_errors) for record in records] == [["level"], ["level"]]  # of silence and mixture
    (message,) = {record.score_errors["level"] for record in records}
    assert re.search(ODD_ROWS[rows], message)
    assert set(found.to_frame().query("metric == 'snr'")["status"]) == {"ok", "silent_estimate"}


def test_rows_may_come_one_by_one(here: Path, small_task: Path) -> None:
    text = f"{METRIC}\nclass Lazy(Level):\n    def score(self, *pairs): yield from Level.score(self, *pairs)\n"
    assert run(small_task, f"{module(here, text)}:Lazy").failures == 0


ERASING = """
    def score(self, items, separations):
        for item, separation in zip(items, separations):
            for sound in (item.query.mixture, item.reference, separation.target, separation.residual):
                sound.samples.zero_()
        return super().score(items, separations)
"""
ERASER = """
import torch
from torchmetrics.audio import SignalNoiseRatio
class Eraser(SignalNoiseRatio):
    def update(self, preds, target):
        super().update(preds, target)
        preds.zero_(), target.zero_()
"""


def test_a_metric_that_changes_sounds_changes_no_other_score(here: Path, small_task: Path) -> None:
    name = module(here, f"{METRIC}\nclass Erasing(Level):{ERASING}{ERASER}")
    plain = run(small_task, "snr,si_sdr_i,reconstruction_db").to_frame()
    metrics = f"{name}:Erasing,torchmetrics:{name}.Eraser,snr,si_sdr_i,reconstruction_db"
    found = sab.evaluate(
        "silence", str(small_task), metrics=metrics.split(","), progress=False, limit=1, output=here / "other"
    ).to_frame()
    columns = ["separator", "item", "metric", "value", "status"]
    ours = found[found["metric"].isin(plain["metric"])][columns].reset_index(drop=True)
    assert ours.equals(plain[columns].reset_index(drop=True))
    assert set(ours["status"]) != {"both_silent"}


PLUGIN = "[sam_audio_bench.metrics]\nbroken = broken_plugin:X\n[sam_audio_bench.tasks]\nbells = bells_plugin:bells\n"


def test_a_plugin_that_ends_the_process_costs_its_card(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    about = here / "broken-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1\n")
    (about / "entry_points.txt").write_text(PLUGIN)
    (here / "broken_plugin.py").write_text("import os\nprint('noise')\nos._exit(0)\n")
    (here / "bells_plugin.py").write_text("import sys\ndef bells(split, subset): return sys.exit(0)\n")
    monkeypatch.syspath_prepend(str(here))
    with prevent_exit():
        assert plugin_cards("metrics").failures == {"broken": "broken_plugin:X cannot be imported: SystemExit: 0"}
    with pytest.raises(Precondition, match="expected bells_plugin:bells to load bells, found SystemExit: 0"):
        sab.evaluate("silence", "bells", progress=False)
    start = "from sam_audio_bench.cli import main; main(['list', 'metrics', '--json'])"
    done = subprocess.run(
        [sys.executable, "-c", start], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(here), *sys.path])},
    )  # fmt: skip
    assert '"summary": "broken_plugin:X cannot be imported: SystemExit: 0"' in done.stdout
    assert (done.stdout[0], done.stderr) == ("[", "noise\n")
