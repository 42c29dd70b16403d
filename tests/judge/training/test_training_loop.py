"""Whole runs: they learn, go on after a kill to the same bits, run as several processes; what they write is read."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from sam_audio_bench import audio
from sam_audio_bench.cli import group
from sam_audio_bench.errors import Precondition, StoreError, UsageError
from sam_audio_bench.judge import SAJ, load
from sam_audio_bench.judge.scores import AXES
from sam_audio_bench.judge.training import finish, loop
from sam_audio_bench.judge.training.checkpoint import NAME, write_state
from sam_audio_bench.judge.training.export import export
from sam_audio_bench.judge.training.loop import train
from sam_audio_bench.judge.training.rating import rate_examples
from sam_audio_bench.judge.training.recipe import recipe_of
from sam_audio_bench.judge.training.tables import read_examples
from sam_audio_bench.judge.training_mixtures import TrainingMixtures
from sam_audio_bench.registry import load_metric
from sam_audio_bench.types import Audio

ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.usefixtures("one_thread")


def train_on_gpu(recipe: dict[str, Any], folder: Path, precision: str, **options: Any) -> None:
    """Trains where accelerate wants to; it keeps device and precision of a process's first run, which is forgotten."""
    from accelerate.state import AcceleratorState

    told = {**recipe, "optimizer": {**recipe["optimizer"], "precision": precision}}
    AcceleratorState._reset_state(reset_partial_state=True)
    try:
        train(recipe_of(told), folder, **options)
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What all runs of the small judge hear, once."""
    return str(tmp_path_factory.mktemp("heard"))


@pytest.fixture
def recipe(recipe: dict[str, Any], heard: str) -> dict[str, Any]:
    return {**recipe, "data": {**recipe["data"], "cache": heard}}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture
def run(recipe: dict[str, Any], runs: Path) -> Path:
    """A finished run of many epochs; made once."""
    folder = runs / "whole"
    if not folder.exists():
        train(recipe_of(longer(recipe)), folder, device="cpu")
    return folder


@pytest.fixture
def undrawn(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No figures, which take longer than a short training; those of the run that all share are drawn before."""
    monkeypatch.setattr("sam_audio_bench.plots.Plot.save", lambda plot, folder: [])


def longer(recipe: dict[str, Any]) -> dict[str, Any]:
    return {**recipe, "optimizer": {**recipe["optimizer"], "epochs": 25}}


def toml(value: dict[str, Any], prefix: str = "") -> str:
    """Tables as TOML."""
    plain = [f"{name} = {json.dumps(one)}" for name, one in value.items() if not isinstance(one, dict)]
    tables = [
        f"[{prefix}{name}]\n{toml(one, f'{prefix}{name}.')}" for name, one in value.items() if isinstance(one, dict)
    ]
    return "\n".join([*plain, *tables]) + "\n"


def test_a_run_learns(run: Path) -> None:
    report = json.loads((run / "report" / "report.json").read_text())
    first, last = report["looks"][0], report["looks"][-1]
    assert last["pcc_precision"] > 0.8 > first["pcc_precision"]
    assert last["rmse_overall"] < 0.8 * first["rmse_overall"]
    assert report["scores"] == "simulated ratings"
    assert report["coverage_80"] == {}  # of so few mixtures it is not known
    assert "Fewer than 20 mixtures were held out" in report["calibration"]
    assert report["calibration"] in (run / "judge" / "README.md").read_text()
    assert report["dropped"] == {}
    for name in ("scatter", "mean_calibration", "spread_calibration", "learning_curve"):
        assert all((run / "report" / f"{name}.{kind}").stat().st_size for kind in ("svg", "png", "csv"))
    assert list((run / "tensorboard").glob("events*"))
    assert "simulated ratings" in (run / "judge" / "README.md").read_text()


@pytest.mark.bits
@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_bits(run: Path, recipe: dict[str, Any], tmp_path: Path) -> None:
    """Kill -9 at some step, which differs from one execution of this test to the next."""
    (tmp_path / "recipe.toml").write_text(toml(longer(recipe)))
    command = [
        "-m",
        "sam_audio_bench.cli",
        "judge",
        "train",
        "--config",
        str(tmp_path / "recipe.toml"),
        "--out",
        str(tmp_path / "run"),
        "--device",
        "cpu",
    ]
    code = "from sam_audio_bench.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *command[2:]], cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    while not (tmp_path / "run" / NAME).exists():
        assert process.poll() is None
        time.sleep(0.02)
    time.sleep(random.uniform(0, 0.5))
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    state = torch.load(tmp_path / "run" / NAME, weights_only=True)
    total = torch.load(run / NAME, weights_only=True)["step"]
    assert 0 < state["step"] < total
    with pytest.raises(UsageError, match="continue with --resume"):
        train(recipe_of(longer(recipe)), tmp_path / "run", device="cpu")
    train(recipe_of(longer(recipe)), tmp_path / "run", resume=True, device="cpu")
    for name in ("judge/model.safetensors", "judge/README.md", "report/report.json", "report/scatter.csv"):
        assert (tmp_path / "run" / name).read_bytes() == (run / name).read_bytes()
    ours, theirs = (torch.load(folder / NAME, weights_only=True) for folder in (tmp_path / "run", run))
    for kind in ("weights", "average", "best"):
        assert all(torch.equal(ours[kind][name], theirs[kind][name]) for name in theirs[kind])
    assert ours["looks"] == theirs["looks"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_gpu_learns_the_same(run: Path, recipe: dict[str, Any], tmp_path: Path, precision: str) -> None:
    train_on_gpu(longer(recipe), tmp_path / "gpu", precision)
    here, there = (json.loads((path / "report" / "report.json").read_text()) for path in (run, tmp_path / "gpu"))
    assert there["looks"][-1]["pcc_precision"] > 0.8
    assert there["looks"][-1]["rmse_overall"] == pytest.approx(here["looks"][-1]["rmse_overall"], abs=0.1)
    if precision == "float32":
        rows = [pd.read_parquet(path / "predictions.parquet") for path in (run, tmp_path / "gpu")]
        assert float((rows[0]["saj_overall"] - rows[1]["saj_overall"]).abs().mean()) < 0.1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_killed_run_on_a_gpu_goes_on(recipe: dict[str, Any], tmp_path: Path) -> None:
    """What a checkpoint holds is put back where it was: the second half of a run ends where the whole one does."""
    train_on_gpu(recipe, tmp_path / "whole", "float32")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "write_state", _killed_after(3))
        with pytest.raises(KeyboardInterrupt):
            train_on_gpu(recipe, tmp_path / "cut", "float32")
    train_on_gpu(recipe, tmp_path / "cut", "float32", resume=True)
    whole, cut = (load_file(tmp_path / name / "judge" / "model.safetensors") for name in ("whole", "cut"))
    assert all(torch.allclose(whole[name].float(), cut[name].float(), atol=1e-4) for name in whole)


def _killed_after(saves: int) -> Callable[..., None]:
    """Writes as many checkpoints, then stops the run."""
    left = [saves]

    def write(folder: Path, state: Any) -> None:
        write_state(folder, state)
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt

    return write


@pytest.mark.usefixtures("undrawn")
def test_enough_mixtures_are_calibrated_in_folds(
    recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finish, "MIN_MIXTURES", 4)
    told = {**recipe, "optimizer": {**recipe["optimizer"], "epochs": 1}}
    train(recipe_of(told), tmp_path / "run", device="cpu")
    report = json.loads((tmp_path / "run" / "report" / "report.json").read_text())
    assert set(report["coverage_80"]) == set(AXES)
    assert "on held-out recordings, in" in report["calibration"]


@pytest.mark.usefixtures("undrawn")
def test_a_judge_goes_on_from_a_run_and_knows_what_both_were_trained_on(
    run: Path, recipe: dict[str, Any], table: Path, tmp_path: Path
) -> None:
    options = {
        "name": "ours",
        "init": str(run),  # the run stands for its judge
        "data": {"train": [str(table)], "hold_out_groups": 0.6},
        "optimizer": {"epochs": 1},
    }
    (tmp_path / "recipe.toml").write_text(toml(options))
    words = ["judge", "train", "--config", str(tmp_path / "recipe.toml"), "--out", str(tmp_path / "ours")]
    result = CliRunner().invoke(group, [*words, "--device", "cpu"])
    assert result.exit_code == 0, result.output
    assert "rows trained on and" in result.stderr
    assert "sabench: fewer than 20 mixtures were held out" in result.stderr
    ours, theirs = (TrainingMixtures.of_folder(folder / "judge") for folder in (tmp_path / "ours", run))
    assert theirs.digests < ours.digests
    exported = export(tmp_path / "ours", tmp_path / "exported")
    assert TrainingMixtures.of_folder(exported) == ours
    metric = load_metric("saj_overall", judge=str(tmp_path / "ours"), device="cpu")
    assert metric.options["model"] == "ours"
    evaluated = CliRunner().invoke(
        group, ["judge", "evaluate", "--judge", str(tmp_path / "ours"), "--ratings", str(table), "--resamples", "5"]
    )
    assert evaluated.exit_code == 0, evaluated.output
    assert f"was trained on {len(ours) - len(theirs)} of these mixtures" in evaluated.stderr


def test_another_recipe_cannot_go_on(run: Path, recipe: dict[str, Any]) -> None:
    with pytest.raises(StoreError, match="found one of others"):
        train(recipe_of({**longer(recipe), "seed": 1}), run, resume=True, device="cpu")


@pytest.mark.bits
def test_what_is_exported_is_what_was_trained(run: Path, tmp_path: Path, shards: Path) -> None:
    result = CliRunner().invoke(group, ["judge", "export", str(run), "--out", str(tmp_path / "mine")])
    assert result.exit_code == 0, result.output
    tensors = load_file(tmp_path / "mine" / "model.safetensors")
    state = load(tmp_path / "mine").state_dict()
    assert tensors.keys() == state.keys()
    assert all(torch.equal(tensors[name], state[name]) for name in state)
    assert (tmp_path / "mine" / "README.md").is_file()
    with pytest.raises(Precondition, match="without a judge"):
        export(run, tmp_path / "mine")


def test_half_a_judge_says_nearly_the_same(run: Path, tmp_path: Path, shards: Path) -> None:
    half = export(run, tmp_path / "half", half=True)
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (half, run / "judge")]
    assert sizes[0] < 0.7 * sizes[1]
    examples = read_examples(shards)
    ours, theirs = (rate_examples(load(folder), examples).values for folder in (half, run / "judge"))
    np.testing.assert_allclose(ours, theirs, atol=0.02)
    assert not np.array_equal(ours, theirs)


def test_predictions_are_what_the_judge_says(run: Path, shards: Path) -> None:
    """The run hears once, in float16; the judge in use hears in float32, estimate by estimate."""
    judge = load(run / "judge")
    told = pd.read_parquet(run / "predictions.parquet").set_index(["query", "system"])
    examples = read_examples(shards)
    rated = rate_examples(judge, examples)
    chosen = examples.rows[examples.rows["group"] == told["group"].iloc[0]]
    assert len(chosen) == 10
    for place, row in chosen.iterrows():
        clips = [Audio(examples.clips[at].read_mono(16_000, 9)[None], 16_000) for at in (row["mixture"], row["answer"])]
        scores = judge.score(clips[0], clips[1:], row["text"])
        np.testing.assert_allclose(rated.values[place], scores.values[0], atol=2e-4)
        assert rated.spreads is not None
        assert scores.spread is not None
        np.testing.assert_allclose(rated.spreads[place], scores.spread[0], rtol=1e-3)
        expected = [told.loc[(row["query"], row["system"]), f"saj_{axis}"] for axis in AXES]
        np.testing.assert_allclose(rated.values[place], expected, atol=0.03)


def test_evaluate_prints_levels_and_ceilings(run: Path, table: Path, tmp_path: Path) -> None:
    options = ["--judge", str(run / "judge"), "--ratings", str(table), "--resamples", "50"]
    result = CliRunner().invoke(group, ["judge", "evaluate", *options, "--json", "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["trained_on"] == 0
    found = pd.DataFrame(told["rows"])
    assert set(found["level"]) == {"utterance", "within_item", "system"}
    assert set(found["coefficient"]) == {"pcc", "srcc", "tau", "pair_accuracy", "rmse"}
    overall = found[(found["axis"] == "overall") & (found["level"] == "utterance")].set_index("coefficient")
    assert overall.loc["pcc", "n"] == 40
    assert 0.9 < overall.loc["pcc", "ceiling"] < 1
    predictions = pd.read_parquet(tmp_path / "out" / "predictions.parquet")
    expected = np.corrcoef(predictions["overall"], predictions["saj_overall"])[0, 1]
    assert overall.loc["pcc", "value"] == pytest.approx(expected)
    error = np.sqrt(np.mean((predictions["overall"] - predictions["saj_overall"]) ** 2))
    assert overall.loc["rmse", "value"] == pytest.approx(error)
    assert (tmp_path / "out" / "scatter.svg").is_file()
    shown = CliRunner().invoke(group, ["judge", "evaluate", *options])
    assert shown.exit_code == 0
    assert "utterance" in shown.stdout


@pytest.mark.usefixtures("undrawn")
def test_a_released_judge_is_fine_tuned_and_hears_of_spans(table: Path, tiny_folder: Path, tmp_path: Path) -> None:
    recipe = recipe_of(
        {
            "init": str(tiny_folder), "train": ["fusion", "head"], "extend": {"spans": True},
            "data": {"train": [str(table)], "hold_out_groups": 0.4},
            "optimizer": {"epochs": 3, "max_frames": 100, "learning_rate": 0.01},
        }
    )  # fmt: skip
    folder = train(recipe, tmp_path / "run", device="cpu")
    assert folder is not None
    before, after = load_file(tiny_folder / "model.safetensors"), load_file(folder / "model.safetensors")
    assert after.keys() - before.keys() == {"span_proj.weight", "spread_head.weight", "spread_head.bias"}
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"cat_audio_proj", "text_proj1", "text_proj2", "layer_norm", "proj_audio_and_text",
                       "finetune_data_proj", "finetune_transformer", "head"}  # fmt: skip
    assert after["span_proj.weight"].any()
    judge = SAJ.from_pretrained(folder)
    mixture = audio.read(table.parent / "1.wav")
    plain, told = (judge.score(mixture, [mixture], "rain", spans=spans) for spans in ((), [("+", 0.1, 0.2)]))
    assert not torch.equal(plain.values, told.values)


@pytest.mark.usefixtures("undrawn")
def test_a_backbone_learns(table: Path, tiny_folder: Path, tmp_path: Path) -> None:
    recipe = recipe_of(
        {
            "init": str(tiny_folder), "train": ["backbone"], "data": {"train": [str(table)], "hold_out_groups": 0.4},
            "extend": {"spread": False}, "optimizer": {"epochs": 1, "max_frames": 200},
        }
    )  # fmt: skip
    folder = train(recipe, tmp_path / "run", device="cpu")
    assert folder is not None
    before, after = load_file(tiny_folder / "model.safetensors"), load_file(folder / "model.safetensors")
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"data_proj", "transformer"}
    rated = rate_examples(SAJ.from_pretrained(folder), read_examples(table))
    told = pd.read_parquet(tmp_path / "run" / "predictions.parquet").set_index(["query", "system"])
    rows = rated.frame().set_index(["query", "system"]).loc[told.index]
    np.testing.assert_allclose(rows["saj_overall"], told["saj_overall"], atol=0.05)


@pytest.mark.usefixtures("undrawn")
def test_patience_ends_a_run(recipe: dict[str, Any], tmp_path: Path) -> None:
    still = {**recipe, "optimizer": {**recipe["optimizer"], "learning_rate": 0.0}, "stop": {"patience": 2}}
    train(recipe_of(still), tmp_path / "run", device="cpu")
    looks = torch.load(tmp_path / "run" / NAME, weights_only=True)["looks"]
    assert len(looks) == 3


def test_hearing_alone(recipe: dict[str, Any], tmp_path: Path) -> None:
    options = {**recipe, "data": {**recipe["data"], "cache": str(tmp_path / "cache")}}
    assert train(recipe_of(options), tmp_path / "run", device="cpu", encode_only=True) is None
    found = {path.name: path.read_bytes() for path in (tmp_path / "cache").iterdir()}
    assert found
    assert not (tmp_path / "run" / NAME).exists()
    train(recipe_of(options), tmp_path / "run", device="cpu", encode_only=True)
    assert found == {path.name: path.read_bytes() for path in (tmp_path / "cache").iterdir()}


@pytest.mark.slow
def test_two_processes_agree(recipe: dict[str, Any], tmp_path: Path, write_shards: Callable[..., Path]) -> None:
    """The run itself refuses to end where processes have come to different weights."""
    (tmp_path / "recipe.toml").write_text(toml(longer(recipe)))
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "judge.train", "--config",
               str(tmp_path / "recipe.toml"), "--out", str(tmp_path / "run"), "--device", "cpu"]  # fmt: skip
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "run" / "report" / "report.json").read_text())
    assert report["looks"][-1]["pcc_precision"] > 0.8
