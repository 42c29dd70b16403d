"""Tables of runs: their columns, their order, and the verdict above them, in Python and in the shell."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from click.testing import CliRunner

import sam_audio_bench as sab
from sam_audio_bench import Prompt
from sam_audio_bench.cli import group
from sam_audio_bench.errors import UsageError
from sam_audio_bench.run.compare import compare_runs

METRICS = ["snr_i", "si_sdr_i", "mrstft"]


def louder(mixture: torch.Tensor, rate: int, prompt: Prompt) -> torch.Tensor:
    """Doubles the mixture: no better by si_sdr_i, worse by snr_i."""
    return mixture * 2.0


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tasks of eight short items."""
    data = tmp_path_factory.mktemp("results")
    generator = np.random.default_rng(0)
    for task in ("music", "sfx"):
        lines = ["mixture,text,target"]
        for item in range(8):
            target, rest = generator.normal(size=(2, 2400)) * 0.1
            soundfile.write(data / f"{task}-{item}.wav", target + rest, 8000)
            soundfile.write(data / f"{task}-{item}-target.wav", target, 8000)
            lines.append(f"{task}-{item}.wav,noise {item},{task}-{item}-target.wav")
        (data / f"{task}.csv").write_text("\n".join(lines) + "\n")
    folder, tasks = data / "runs", [str(data / f"{task}.csv") for task in ("music", "sfx")]
    models = [louder, "spectral-gate", "oracle-irm"]
    sab.evaluate(models, tasks, metrics=METRICS, output=folder, progress=False)
    return folder


def table(runs: Path, *options: str) -> str:
    done = CliRunner().invoke(group, ["table", str(runs), *options])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_verdict_agrees_with_compare(runs: Path) -> None:
    """Differences on one task, their intervals and, before Holm, their p are the same to the bit."""
    found = sab.Results.read([runs]).answers("snr_i").verdicts["music", "snr_i"]
    (row,) = (
        row
        for row in compare_runs(runs / "mixture", runs / "louder", metrics=["snr_i"], worst=0).rows
        if row.task == "music"
    )
    gap = found.over_baseline["louder"]
    assert (gap.value, gap.low, gap.high) == (row.difference, row.ci_low, row.ci_high)
    assert gap.items == row.n_ok
    assert gap.p in (row.p, 2 * (row.p or 0))  # of two separators
    assert "oracle-irm" not in found.order
    assert sab.Results.read([runs]).answers() == sab.Results.read([runs]).answers()


def test_python_and_the_shell_show_the_same(runs: Path) -> None:
    results = sab.Results.read([runs])
    options = ["--metrics", "mrstft,snr_i", "--sort", "snr_i", "--pivot", "metric", "--digits", "1", "--no-interval"]
    for form in ("md", "tex", "html", "csv"):
        shown = results.table(
            form, metrics=["mrstft", "snr_i"], sort="snr_i", pivot="metric", digits=1, interval=False
        )  # fmt: skip
        assert table(runs, "--format", form, *options).rstrip("\n") == shown.rstrip("\n")
    assert table(runs, "--format", "latex") == table(runs, "--format", "tex")
    assert json.loads(table(runs, "--json")) == json.loads(results.table("json")) == results.to_json()


def test_columns_are_the_requested_ones_in_their_order(runs: Path) -> None:
    found = list(csv.DictReader(io.StringIO(table(runs, "--format", "csv", "--metrics", "mrstft,snr_i"))))
    assert list(dict.fromkeys(row["metric"] for row in found)) == ["mrstft", "snr_i"]
    head = next(line for line in table(runs, "--format", "md", "--metrics", "mrstft,snr_i").splitlines() if "|" in line)
    assert head == "| separator | snr_i (dB) ↑ ▾ | mrstft ↓ |"  # what they are sorted by comes first
    head = next(line for line in table(runs, "--format", "md", "--sort", "mrstft").splitlines() if "|" in line)
    assert head == "| separator | mrstft ↓ ▾ | snr_i (dB) ↑ | si_sdr_i (dB) ↑ |"


def test_json_is_sorted_by_the_requested_column(runs: Path) -> None:
    assert json.loads(table(runs, "--json", "--sort", "snr_i"))["answer"].startswith("Over 2 tasks, by snr_i, ")
    assert json.loads(table(runs, "--json"))["answer"].startswith("Over 2 tasks, by si_sdr_i, ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--metrics", "snr_ii"], "unknown column 'snr_ii': did you mean 'snr_i'"),
        (["--sort", "mrst"], "unknown column 'mrst': did you mean 'mrstft'"),
        (["--metrics", "snr_i", "--sort", "mrstft"], "sorted by one of its metrics snr_i, found mrstft"),
        (["--metrics", ","], "expected comma-separated names for --metrics"),
        (["--digits", "9"], "9 is not in the range"),
        (["--pivot", "row"], "'row' is not one of"),
    ],
)
def test_invalid_options_are_errors(runs: Path, options: list[str], message: str) -> None:
    done = CliRunner().invoke(group, ["table", str(runs), *options])
    assert done.exit_code != 0
    assert message in (done.output if done.exception is None or isinstance(done.exception, SystemExit)
                       else str(done.exception))  # fmt: skip


def test_a_column_without_a_score_is_not_dropped_without_a_word(runs: Path) -> None:
    results = sab.Results.read([runs])
    frame = results.frame[results.frame["metric"] != "mrstft"]  # as of a metric that no item is for
    results = replace(results, frame=frame)
    with pytest.raises(UsageError, match="some item of these runs is for, found mrstft"):
        results.table(metrics=["mrstft"])
    with pytest.raises(UsageError, match="a column to sort by with a mean and a better end, found mrstft"):
        results.to_json(sort="mrstft")
    table = results.table(metrics=["mrstft", "snr_i"])
    assert table.count("mrstft") == 1
    assert "no column mrstft: for no item of these runs" in table


def test_a_mean_over_tasks_has_no_interval_where_a_task_has_none(runs: Path) -> None:
    """The mean of a single recording has no interval, so neither has the mean over tasks."""
    whole = sab.Results.read([runs])
    groups = whole.frame["item"].where(whole.frame["task"] == "music", "one-recording")
    few = replace(whole, frame=whole.frame.assign(group=groups))
    assert all(row.ci_low is not None for row in whole.answers().overall)
    assert all(row.ci_low is None and row.ci_high is None and row.value is not None for row in few.answers().overall)


def test_python_refuses_what_no_run_has(runs: Path) -> None:
    with pytest.raises(UsageError, match="unknown column 'pesq'"):
        sab.Results.read([runs]).table(metrics=["pesq"])
