"""The test split on a leaderboard: not everyone has every recording, and who checks may have none."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from make_bench import Made

from sam_audio_bench.errors import Precondition
from sam_audio_bench.leaderboard import item_lists
from sam_audio_bench.leaderboard.board import read_board
from sam_audio_bench.leaderboard.records import Selection
from sam_audio_bench.leaderboard.site import build_site, outdated_files
from sam_audio_bench.leaderboard.submit import submit
from sam_audio_bench.leaderboard.validate import validate
from sam_audio_bench.run.evaluate import evaluate


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Item lists are kept for a process, and these are of stand-ins."""
    item_lists._items.cache_clear()
    yield
    item_lists._items.cache_clear()


def lose(bench: Made, task: str, count: int) -> None:
    """Deletes the recordings of some items of a task."""
    rows = [index for index, row in enumerate(bench.rows) if task in row["paper_eval_sets"]]
    for index in rows[:count]:
        (bench.folder / bench.files[index]).unlink()


@pytest.mark.parametrize(("lost", "why"), [(3, ""), (9, "items missing")])
def test_a_submission_with_missing_media(bench: Made, tmp_path: Path, lost: int, why: str) -> None:
    lose(bench, "others-50:text+span", lost)
    evaluate(
        "repet-sim", ["sfx-span"], split="test", metrics=["reconstruction_db", "span_iou"], output=tmp_path / "runs",
        progress=False,
    )  # fmt: skip
    done = submit([tmp_path / "runs"], tmp_path / "board", with_audio=True)
    task = done[-1].header.tasks[0]
    assert (task.split, task.items, task.answered) == ("test", 50, 50 - lost)
    report = validate(tmp_path / "board", share=1.0)
    assert report.problems == []
    assert report.rescored["span_iou"]["scores"] == 2 * (50 - lost)
    cells = read_board(tmp_path / "board").cells["sfx-span@1-test"]["span_iou"]
    line = next(name for name in cells if name.startswith("repet-sim"))
    assert (cells[line]["n_ok"], cells[line]["n"], cells[line]["why"]) == (50 - lost, 50, why)
    build_site(tmp_path / "board")
    assert outdated_files(tmp_path / "board") == []
    assert (
        json.loads((tmp_path / "board" / "site" / "data.json").read_text())["tasks"]["sfx-span@1-test"]["items"] == 50
    )


def test_whoever_checks_needs_the_metadata_alone(bench: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluate(
        "silence", ["speech"], split="test", metrics=["reconstruction_db"], output=tmp_path / "runs", progress=False
    )
    submit([tmp_path / "runs"], tmp_path / "board")
    for name in set(bench.files):
        (bench.folder / name).unlink()
    report = validate(tmp_path / "board", share=1.0, audio=tmp_path / "runs")
    assert report.ok
    assert "expected recordings of speech" in report.skipped["speech@1-test"]
    shutil.rmtree(bench.folder)
    item_lists._items.cache_clear()
    with pytest.raises(Precondition):
        item_lists.load_item_list(Selection(id="speech", version="1", split="test", subset="paper"))
    assert not validate(tmp_path / "board", share=None).ok


def test_items_that_the_test_split_does_not_have(bench: Made, tmp_path: Path) -> None:
    """Another table of questions is another digest."""
    evaluate(
        "silence", ["speech"], split="test", metrics=["reconstruction_db"], output=tmp_path / "runs", progress=False
    )
    submit([tmp_path / "runs"], tmp_path / "board")
    index = next(index for index, row in enumerate(bench.rows) if "speech-clean-50:text-only" in row["paper_eval_sets"])
    bench.rows[index]["description"] = "something easier"
    bench.write_table()
    item_lists._items.cache_clear()
    assert "data_revision" in "".join(problem.where for problem in validate(tmp_path / "board", share=None).problems)
