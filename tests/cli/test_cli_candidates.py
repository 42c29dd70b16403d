"""Candidates on the command line: the plan's words, exit codes, and the same numbers as in Python."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import sam_audio_bench as sab
from sam_audio_bench.cli import group, main

TOY = """
import torch
from sam_audio_bench.types import Audio, Separation

class Shifted:
    name = "shifted"

    def separate(self, queries, seeds):
        return [self.answer(query.mixture, seed) for query, seed in zip(queries, seeds)]

    def answer(self, mixture, seed):
        target = mixture.samples.clone()
        target[:, seed % mixture.length :] = 0
        return Separation(target=Audio(target, mixture.rate), residual=Audio(mixture.samples - target, mixture.rate))
"""
OPTIONS = [
    "--model",
    "shifted_toy:Shifted",
    "--split",
    "mini",
    "--limit",
    "2",
    "--metrics",
    "span_iou,reconstruction_db",
]
PICKING = ["--candidates", "3", "--picker", "activity"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a separator in it."""
    (tmp_path / "shifted_toy.py").write_text(TOY)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def invoke(*words: str, code: int = 0) -> Result:
    result = CliRunner().invoke(group, ["eval", *OPTIONS, *words], prog_name="sabench")
    assert result.exit_code == code, result.output
    return result


def test_the_plan_says_who_picks_where() -> None:
    shown = invoke("--task", "sfx,sfx-span", *PICKING, "--dry-run").stderr.splitlines()
    assert "plan: best of 3 by activity on sfx-span for shifted" in shown
    assert "plan: picker activity has no spans on sfx: k = 1 only" in shown
    assert "plan: mixture is deterministic: k = 1 only" in shown
    assert not any("k = 1" in line for line in invoke("--task", "sfx", "--dry-run").stderr.splitlines())


def test_python_and_shell_agree() -> None:
    shell = json.loads(invoke("--task", "sfx-span-only", *PICKING, "--json").stdout)
    python = sab.evaluate(
        "shifted_toy:Shifted", "sfx-span-only", split="mini", limit=2, metrics=["span_iou", "reconstruction_db"],
        candidates=3, output="elsewhere",
    )  # fmt: skip
    assert python.to_json()["rows"] == shell["rows"]
    best = [row for row in shell["rows"] if row["picked_by"] == "activity"]
    assert {(row["separator"], row["candidates"]) for row in best} == {("shifted", 3)}


def test_all_candidates_are_kept_on_request(here: Path) -> None:
    invoke("--task", "sfx-span", *PICKING, "--keep-candidates", "--picker-args", "measure=recall")
    folder = here / "runs" / "shifted" / "sfx-span@1-mini"
    assert len(list(folder.glob("audio/*.target.[0-2].flac"))) == 6
    assert json.loads((folder / "run.json").read_text())["picker"]["name"] == "activity-recall"


def test_missing_weights_exit_with_2_and_one_sentence(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["eval", *OPTIONS, "--task", "sfx", "--candidates", "2", "--picker", "clap"])
    shown = capsys.readouterr()
    assert caught.value.code == 2
    assert shown.out == ""
    assert shown.err.startswith(
        "sabench: expected picker clap to work on sfx, found that it cannot: expected laion/clap"
    )
    assert shown.err.count("\n") == 1
    assert not (here / "runs").exists()
