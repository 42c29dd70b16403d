"""Coverage in results and tables: items with estimates, and the items on which separators are compared."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from make_bench import Made

import sam_audio_bench as sab
from sam_audio_bench import Prompt
from sam_audio_bench.errors import MediaError
from sam_audio_bench.files import read_journal
from sam_audio_bench.run.results import Results
from sam_audio_bench.tasks.load import load_task


def failing(*items: int) -> Callable[[torch.Tensor, int, Prompt], torch.Tensor]:
    """Returns silence, but raises for items whose text ends with one of the given numbers."""

    def separate(mixture: torch.Tensor, rate: int, prompt: Prompt) -> torch.Tensor:
        if str(prompt.text).endswith(tuple(map(str, items))):
            raise MediaError("no answer")
        return torch.zeros_like(mixture)

    separate.__name__ = "without_" + "_".join(map(str, items))
    return separate


def rows_of(results: Results, metric: str = "snr") -> dict[str, Any]:
    return {row.separator: row for row in results.rows if row.metric == metric}


def test_rows_have_their_coverage(small_task: Path, tmp_path: Path) -> None:
    small_task.with_name("mix3.wav").unlink()
    results = sab.evaluate(failing(0), str(small_task), metrics="snr", output=tmp_path / "runs", progress=False)
    rows = rows_of(results)
    found = {name: (row.covered, row.items, row.coverage, row.missing_media) for name, row in rows.items()}
    assert found == {"without_0": (4, 6, "partial", 1), "mixture": (5, 6, "partial", 1)}
    assert rows["without_0"].remark == "4 of 6 items (partial, 1 without media)"
    assert rows["without_0"].heading == ""
    shown = results.table("md")
    assert "mixture (5 of 6 items (partial, 1 without media))" in shown


def test_systems_of_a_class_are_compared_on_common_items(small_task: Path, tmp_path: Path) -> None:
    models = [failing(0), failing(1), "silence"]
    results = sab.evaluate(models, str(small_task), metrics="snr", output=tmp_path / "runs", progress=False)
    rows = rows_of(results)
    # item 5 has no sound to be found: snr is undefined there, so that its reference is silent
    assert {name: (row.n_ok, row.n, row.set_aside) for name, row in rows.items()} == {
        "without_0": (3, 5, 1),  # without 1, which is missing from the other one; its own failure counts in n
        "without_1": (3, 5, 1),
        "silence": (5, 6, 0),  # complete: compared with the mixture, on all
        "mixture": (5, 6, 0),
    }
    both = {item for item in load_task(str(small_task)).ids if item not in ("item-0", "item-1")}
    frame = results.frame.query("separator == 'without_0' and metric == 'snr'")
    assert rows["without_0"].value == pytest.approx(frame[frame["item"].isin(both)]["value"].mean())
    table = results.table("md")
    assert "means over the items that all separators of one class of coverage have answered" in table
    order = [line.split("|")[1].split()[0] for line in table.splitlines() if line.startswith("| ")][2:]
    assert order[:2] == ["mixture", "silence"]  # complete ones come first


def test_a_better_mean_on_fewer_items_is_not_bold(small_task: Path, tmp_path: Path) -> None:
    def perfect(mixture: torch.Tensor, rate: int, prompt: Prompt) -> torch.Tensor:
        if not str(prompt.text).endswith("0"):
            raise MediaError("too hard")
        return mixture * 0.5

    results = sab.evaluate(
        [perfect, "silence"], str(small_task), metrics="snr", output=tmp_path / "runs", progress=False
    )
    rows = rows_of(results)
    assert rows["perfect"].value > rows["mixture"].value
    bold = [line for line in results.table("md").splitlines() if "**" in line and line.startswith("|")]
    assert [line.split("|")[1].split()[0] for line in bold] == ["mixture", "silence"]  # too few items to tell


def test_a_separator_without_any_estimate_does_not_affect_others(small_task: Path, tmp_path: Path) -> None:
    models = [failing(0, 1, 2, 3, 4, 5), failing(0)]
    rows = rows_of(sab.evaluate(models, str(small_task), metrics="snr", output=tmp_path / "runs", progress=False))
    assert (rows["without_0"].n_ok, rows["without_0"].set_aside) == (4, 0)
    assert (rows["without_0_1_2_3_4_5"].n_ok, rows["without_0_1_2_3_4_5"].covered) == (0, 0)


@pytest.mark.parametrize("form", ["md", "csv", "tex", "html", "json"])
def test_every_format_shows_the_coverage(form: str, small_task: Path, tmp_path: Path) -> None:
    small_task.with_name("mix3.wav").unlink()
    results = sab.evaluate("silence", str(small_task), metrics="snr", output=tmp_path / "runs", progress=False)
    assert "5 of 6 items (partial, 1 without media)" in results.table(form)
    again = Results.read([tmp_path / "runs"])
    assert sorted(map(str, again.rows)) == sorted(map(str, results.rows))


def test_the_official_data_run_and_a_file_that_vanishes_costs_one_row(bench: Made, tmp_path: Path) -> None:
    """The file is deleted during the run, after the plan has found its items."""
    data = load_task("sfx", "test")
    victim = data.ids[10]
    path = bench.folder / bench.files[int(victim[-4:])]
    calls = 0

    def separate(mixture: torch.Tensor, rate: int, prompt: Prompt) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == 3:
            path.unlink()
        return mixture * 0.5

    results = sab.evaluate(separate, "sfx", metrics="reconstruction_db", output=tmp_path / "runs", progress=False)
    rows = rows_of(results, "reconstruction_db")
    assert {name: (row.covered, row.items, row.missing_media) for name, row in rows.items()} == {
        "separate": (49, 50, 1), "mixture": (49, 50, 1),
    }  # fmt: skip
    lost = results.frame[results.frame["status"] == "missing_media"]
    assert set(lost["item"]) == {victim}
    assert results.watermark == "PARTIAL n=98/100"
    revision = load_task("sfx", "test").revision[:8]
    assert f"sfx@1-test, data {revision}, 49 of 50 items (≥ 90 %, 1 without media)" in results.table("md")


def test_clamped_spans_are_in_the_journal(bench: Made, tmp_path: Path) -> None:
    sab.evaluate("silence", "sfx-span", metrics="span_recall", limit=4, output=tmp_path / "runs", progress=False)
    journal = read_journal(tmp_path / "runs" / "silence" / "sfx-span@1-test" / "items.jsonl", json.loads)
    remarks = {record["item"]: record.get("remarks") for record in journal}
    for item, remark in remarks.items():
        longer = bench.rows[int(item[-4:])]["spans"][1][1] > bench.rows[int(item[-4:])]["duration"]
        assert bool(remark) == longer
        assert remark is None or "clamped to" in remark[0]
    assert any(remarks.values())


def test_without_references_the_default_is_what_needs_none(bench: Made, tmp_path: Path) -> None:
    results = sab.evaluate("silence", ["sfx-span", "instr-pro"], limit=2, output=tmp_path / "runs", progress=False)
    metrics = {task: set(results.frame[results.frame["task"] == task]["metric"]) for task in ("sfx-span", "instr-pro")}
    judged = {"saj_overall", "saj_recall", "saj_precision", "saj_faithfulness"}
    assert metrics == {
        "sfx-span": judged | {"span_iou", "reconstruction_db"},
        "instr-pro": judged | {"perceptual_overall", "si_sdr", "si_sdr_i", "snr_i"},
    }
