"""The loop: the same rows in every order, nothing done twice, one bad item costs one row."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pandas as pd
import pytest
import torch

import sam_audio_bench as sab
from sam_audio_bench.errors import Precondition, StoreError, UsageError
from sam_audio_bench.metrics import CARDS
from sam_audio_bench.metrics.levels import Leak, Reconstruction
from sam_audio_bench.metrics.ratios import SISDR, SNR
from sam_audio_bench.run.merge import merge, merge_all
from sam_audio_bench.run.remote import find_runs
from sam_audio_bench.run.rescore import rescore
from sam_audio_bench.run.settings import OPTIONS
from sam_audio_bench.run.store import RunFolder
from sam_audio_bench.types import Audio, Prompt, Query, Separation

TOY = ["si_sdr", "si_sdr_i", "snr", "leak_db", "reconstruction_db"]


class Counting:
    """Half the mixture plus noise from the seed; counts what it was asked."""

    name = "counting"

    def __init__(self) -> None:
        self.batches: list[int] = []

    def separate(self, queries: Sequence[Query], seeds: Sequence[int]) -> list[Separation]:
        """Depends on the seed, so that a wrong seed shows."""
        self.batches.append(len(queries))
        answers = []
        for query, seed in zip(queries, seeds, strict=True):
            noise = torch.randn(query.mixture.samples.shape, generator=torch.Generator().manual_seed(seed)) * 0.01
            target = query.mixture.samples * 0.5 + noise
            residual = query.mixture.samples - target
            rate = query.mixture.rate
            answers.append(Separation(target=Audio(target, rate), residual=Audio(residual, rate)))
        return answers


def frame_of(folder: Path) -> pd.DataFrame:
    """Sealed scores of a run folder."""
    return pd.read_parquet(folder / "scores.parquet")


def run(task: Path, output: Path, model: Any = None, **options: Any) -> sab.Results:
    """`evaluate` on the small task."""
    return sab.evaluate(model or Counting(), str(task), metrics=TOY, output=output, **options)


def test_the_docstring_of_evaluate_lists_all_options() -> None:
    """Docstrings of Python 3.13 and later have no indentation."""
    text = sab.evaluate.__doc__
    assert text is not None
    assert "\nArgs:\n    model:" in text
    assert all(f"\n    {name}: " in text for name in OPTIONS)


def test_rows_have_the_promised_columns_and_values(small_task: Path, tmp_path: Path) -> None:
    results = run(small_task, tmp_path / "runs")
    frame = results.to_frame()
    assert list(frame.columns) == [
        "task", "item", "group", "separator", "seed", "candidate", "picked_by", "metric", "value", "status",
    ]  # fmt: skip
    assert set(frame["separator"]) == {"counting", "mixture"}
    mixture = frame[frame["separator"] == "mixture"].set_index(["metric", "item"])
    assert (mixture.loc["si_sdr_i", "value"].dropna() == 0.0).all()
    assert mixture.loc[("si_sdr_i", "item-5"), "status"] == "silent_reference"
    assert mixture.loc[("leak_db", "item-5"), "value"] == 0.0
    assert set(mixture.loc["reconstruction_db", "status"]) == {"perfect"}
    assert len(frame[frame["metric"] == "leak_db"]) == 2
    rows = {(row.separator, row.metric): row for row in results.rows}
    assert (rows["mixture", "si_sdr"].n_ok, rows["mixture", "si_sdr"].n) == (5, 6)
    assert not results.partial


@pytest.mark.parametrize("size", [1, 4, 7])
def test_batch_size_changes_nothing(size: int, small_task: Path, tmp_path: Path) -> None:
    separator = Counting()
    run(small_task, tmp_path / "batched", separator, batch_size=size)
    run(small_task, tmp_path / "single")
    assert separator.batches == {1: [1] * 6, 4: [4, 2], 7: [6]}[size]
    name = "counting/small@1-file"
    pd.testing.assert_frame_equal(frame_of(tmp_path / "batched" / name), frame_of(tmp_path / "single" / name))


def test_order_and_subsets_change_nothing(small_task: Path, tmp_path: Path) -> None:
    whole = run(small_task, tmp_path / "whole").to_frame().set_index(["separator", "metric", "item"]).sort_index()
    header, *lines = small_task.read_text().split()[0:1] + small_task.read_text().splitlines()[1:]
    backwards = small_task.with_name("small.csv")
    backwards.write_text("\n".join([header, *reversed(lines)]) + "\n")
    turned = run(backwards, tmp_path / "turned").to_frame().set_index(["separator", "metric", "item"]).sort_index()
    pd.testing.assert_frame_equal(whole, turned)
    some = run(backwards, tmp_path / "some", sample_ids=["item-4", "item-1"]).to_frame()
    some = some.set_index(["separator", "metric", "item"]).sort_index()
    pd.testing.assert_frame_equal(some, whole.loc[some.index])


def test_second_run_does_nothing_and_says_the_same(small_task: Path, tmp_path: Path) -> None:
    first = run(small_task, tmp_path)
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    separator = Counting()
    second = run(small_task, tmp_path, separator)
    assert separator.batches == []
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == stamps
    assert second.table("md") == first.table("md")
    assert second.to_json() == first.to_json()


def test_stored_audio_scores_to_the_same_bits(small_task: Path, tmp_path: Path) -> None:
    """Fresh answers are scored from memory; scoring again reads the disk."""
    run(small_task, tmp_path)
    folder = tmp_path / "counting" / "small@1-file"
    before = frame_of(folder)
    records = [json.loads(line) for line in (folder / "items.jsonl").read_text().splitlines()]
    (folder / "items.jsonl").write_text("".join(json.dumps({**r, "scored": {}}) + "\n" for r in records))
    separator = Counting()
    run(small_task, tmp_path, separator)
    assert separator.batches == []
    pd.testing.assert_frame_equal(frame_of(folder), before)


def test_another_metric_separates_nothing_again(small_task: Path, tmp_path: Path) -> None:
    run(small_task, tmp_path)
    separator = Counting()
    results = sab.evaluate(separator, str(small_task), metrics=["sd_sdr"], output=tmp_path)
    assert separator.batches == []
    assert {row.metric for row in results.rows} == {"sd_sdr"}
    assert set(frame_of(tmp_path / "counting" / "small@1-file")["metric"]) == {*TOY, "sd_sdr"}


def test_another_seed_is_another_answer(small_task: Path, tmp_path: Path) -> None:
    run(small_task, tmp_path)
    separator = Counting()
    run(small_task, tmp_path, separator, seed=1)
    assert sum(separator.batches) == 6
    assert set(frame_of(tmp_path / "counting" / "small@1-file")["seed"]) == {1}


def test_overwrite(small_task: Path, tmp_path: Path) -> None:
    run(small_task, tmp_path, limit=2)
    with pytest.raises(Precondition, match="--overwrite never"):
        run(small_task, tmp_path, overwrite="never")
    separator = Counting()
    run(small_task, tmp_path, separator, overwrite="always")
    assert sum(separator.batches) == 6
    run(small_task, tmp_path, overwrite="never")
    with pytest.raises(UsageError, match="--overwrite to be one of"):
        run(small_task, tmp_path, overwrite="maybe")


def test_limit_is_partial_and_growing_it_keeps_what_is_there(small_task: Path, tmp_path: Path) -> None:
    some = run(small_task, tmp_path, limit=2)
    assert some.partial
    assert "PARTIAL n=4/12" in some.table("md")
    separator = Counting()
    whole = run(small_task, tmp_path, separator)
    assert sum(separator.batches) == 4
    assert not whole.partial


def test_inputs_are_not_modified(small_task: Path, tmp_path: Path) -> None:
    def destructive(mixture: torch.Tensor, rate: int, prompt: Prompt) -> torch.Tensor:
        return mixture.mul_(0.0)

    results = run(small_task, tmp_path, destructive)
    mixture = [row for row in results.rows if row.separator == "mixture" and row.metric == "si_sdr_i"]
    assert mixture[0].value == 0.0
    silent = results.to_frame().query("separator == 'destructive' and metric == 'si_sdr' and item != 'item-5'")
    assert set(silent["status"]) == {"silent_estimate"}


def moody(mixture: torch.Tensor, rate: int, prompt: Prompt) -> Any:
    """Fails in another way for each prompt."""
    number = int((prompt.text or "").split()[-1])
    if number == 0:
        raise RuntimeError("no strength left")
    if number == 1:
        return mixture[:, :-5]
    if number == 2:
        return mixture * float("nan")
    if number == 3:
        return "a string"
    return mixture * 0.5


@pytest.mark.parametrize("size", [1, 6])
def test_failures_cost_their_own_rows(size: int, small_task: Path, tmp_path: Path) -> None:
    results = run(small_task, tmp_path, moody, batch_size=size)
    frame = results.to_frame().query("separator == 'moody' and metric == 'si_sdr'").set_index("item")
    assert frame["status"].to_dict() == {
        "item-0": "error", "item-1": "length_mismatch", "item-2": "non_finite", "item-3": "error",
        "item-4": "ok", "item-5": "silent_reference",
    }  # fmt: skip
    assert (results.failures, results.partial) == (4, True)
    header = json.loads((tmp_path / "moody" / "small@1-file" / "run.json").read_text())
    assert header["status"] == "partial"
    message = "moody raised RuntimeError: no strength left"
    assert header["errors"][0] == {"item": "item-0", "status": "error", "message": message}


def test_failed_items_are_tried_again(small_task: Path, tmp_path: Path) -> None:
    strong = False

    def tired(mixture: torch.Tensor, rate: int, prompt: Prompt) -> torch.Tensor:
        if not strong and prompt.text == "noise 2":
            raise RuntimeError("tired")
        return mixture * 0.5

    assert run(small_task, tmp_path, tired).failures == 1
    strong = True
    again = run(small_task, tmp_path, tired)
    assert (again.failures, again.partial) == (0, False)
    run(small_task, tmp_path / "fresh", tired)
    name = "tired/small@1-file"
    pd.testing.assert_frame_equal(frame_of(tmp_path / name), frame_of(tmp_path / "fresh" / name))


def test_missing_media_is_a_status(small_task: Path, tmp_path: Path) -> None:
    small_task.with_name("mix3.wav").unlink()
    frame = run(small_task, tmp_path).to_frame().query("item == 'item-3'")
    assert set(frame["status"]) == {"missing_media"}
    assert frame["value"].isna().all()


def test_shards_merge_to_the_whole(small_task: Path, tmp_path: Path) -> None:
    whole = run(small_task, tmp_path / "whole")
    for index in (1, 2, 3, 4):
        part = run(small_task, tmp_path / "parts", shard=(index, 4))
        assert part.partial
    merged = merge([tmp_path / "parts" / "counting"], tmp_path / "merged")
    assert merged.header.status == "success"
    expected = frame_of(tmp_path / "whole" / "counting" / "small@1-file")
    pd.testing.assert_frame_equal(frame_of(tmp_path / "merged"), expected)
    again = sab.Results.read([tmp_path / "merged"])
    assert [row for row in whole.rows if row.separator == "counting"] == again.rows
    with pytest.raises(StoreError, match="found a run in it"):
        merge([tmp_path / "parts" / "counting"], tmp_path / "merged")


def test_shards_of_several_runs_merge_to_what_one_process_gives(small_task: Path, tmp_path: Path) -> None:
    """Separators, and a run that was never sharded, go where `evaluate` would have put them."""
    run(small_task, tmp_path / "whole", moody)
    run(small_task, tmp_path / "whole")
    for index in (1, 2):
        run(small_task, tmp_path / "parts", shard=(index, 2))
    merged = merge_all([tmp_path / "parts", tmp_path / "whole" / "moody"], tmp_path / "merged")
    names = {folder.path.relative_to(tmp_path / "merged").as_posix() for folder in merged}
    assert names == {f"{name}/small@1-file" for name in ("counting", "mixture", "moody")}
    for name in names:
        pd.testing.assert_frame_equal(frame_of(tmp_path / "merged" / name), frame_of(tmp_path / "whole" / name))
    peaks = [RunFolder.open(path).header.timing.peak_memory_mib for path in find_runs([tmp_path / "parts"])]
    assert merged[0].header.timing.peak_memory_mib in peaks
    (tmp_path / "again" / "mixture").mkdir(parents=True)
    shutil.copytree(tmp_path / "merged" / "mixture" / "small@1-file", tmp_path / "again" / "mixture" / "small@1-file")
    with pytest.raises(StoreError, match="found a run in it"):
        merge_all([tmp_path / "parts"], tmp_path / "again")
    assert not (tmp_path / "again" / "counting").exists()


def test_merging_what_differs_is_refused(small_task: Path, tmp_path: Path) -> None:
    run(small_task, tmp_path / "a", shard=(1, 2))
    run(small_task, tmp_path / "b", shard=(2, 2), seed=1)
    run(small_task, tmp_path / "c", shard=(1, 2))
    shards = [tmp_path / name / "counting" for name in "abc"]
    with pytest.raises(UsageError, match="found seed 1 instead of 0"):
        merge([shards[0], shards[1]], tmp_path / "merged")
    with pytest.raises(UsageError, match="each item in one shard"):
        merge([shards[0], shards[2]], tmp_path / "merged2")


def test_files_meet_their_schemas(small_task: Path, tmp_path: Path) -> None:
    run(small_task, tmp_path, moody)
    folder = tmp_path / "moody" / "small@1-file"
    schemas = {
        name: json.loads((files("sam_audio_bench.run") / "schemas" / f"{name}.schema.json").read_text())
        for name in ("run", "item", "score")
    }
    jsonschema.validate(json.loads((folder / "run.json").read_text()), schemas["run"])
    for line in (folder / "items.jsonl").read_text().splitlines():
        jsonschema.validate(json.loads(line), schemas["item"])
    frame = frame_of(folder)
    for row in frame.astype("object").where(frame.notna(), None).to_dict("records"):
        jsonschema.validate({**row, "value": "inf" if row["value"] == np.inf else row["value"]}, schemas["score"])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"schema_version": 1}, schemas["run"])


def test_another_schema_version_is_refused(small_task: Path, tmp_path: Path) -> None:
    run(small_task, tmp_path)
    path = tmp_path / "counting" / "small@1-file" / "run.json"
    path.write_text(path.read_text().replace('"schema_version": 2', '"schema_version": 99'))
    with pytest.raises(StoreError, match=r"schema version 2 .* found version 99; update sabench"):
        run(small_task, tmp_path)


@pytest.mark.parametrize(
    ("header", "message"),
    [("null", "found version None"), ("[]", "found version None"), ('{"schema_version": 1, "task": {}}', "no 'model'")],
)
def test_a_foreign_header_is_refused(tmp_path: Path, header: str, message: str) -> None:
    (tmp_path / "run.json").write_text(header)
    with pytest.raises(StoreError, match=message):
        RunFolder.open(tmp_path)


@pytest.mark.parametrize("torn", ['{"item": "item-2", "gro', '{"item": "item-2"}'])
def test_torn_journals_cost_the_torn_item(torn: str, small_task: Path, tmp_path: Path) -> None:
    run(small_task, tmp_path)
    folder = tmp_path / "counting" / "small@1-file"
    expected = frame_of(folder)
    lines = (folder / "items.jsonl").read_text().splitlines(keepends=True)
    kept = [line for line in lines if json.loads(line)["item"] != "item-2"]
    (folder / "items.jsonl").write_text("".join(kept) + torn)
    separator = Counting()
    run(small_task, tmp_path, separator)
    assert separator.batches == [1]
    pd.testing.assert_frame_equal(frame_of(folder), expected)


def test_two_processes_never_share_a_folder(small_task: Path, tmp_path: Path) -> None:
    def impatient(mixture: torch.Tensor, rate: int, prompt: Prompt) -> torch.Tensor:
        with pytest.raises(Precondition, match="another process"):
            run(small_task, tmp_path, impatient)
        return mixture

    assert run(small_task, tmp_path, impatient, limit=1).failures == 0


def test_unwritable_output(small_task: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file, not a folder")
    with pytest.raises(Precondition, match="a folder that can be written"):
        run(small_task, blocked)


SLOW_SEPARATOR = """
import time

def patient(mixture, rate, prompt):
    time.sleep(0.4)
    return mixture * 0.5
"""


def test_kill_and_resume(small_task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kill -9 in the middle, then rerun: nothing redone, the same scores as an uninterrupted run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "patience.py").write_text(SLOW_SEPARATOR)
    start = "from sam_audio_bench.cli import main; main()"
    options = ["eval", "--model", "patience:patient", "--task", str(small_task), "--metrics", "si_sdr,snr"]
    options += ["--output", "killed"]
    command = [sys.executable, "-c", start, *options]
    journal = tmp_path / "killed" / "patient" / "small@1-file" / "items.jsonl"
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and (not journal.exists() or journal.read_text().count('"scored"') < 2):
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (journal.parent / "scores.parquet").exists()
    before = {json.loads(line)["item"] for line in journal.read_text().splitlines() if line.endswith("}")}
    assert 2 <= len(before) < 6
    stored = journal.parent / "audio"
    audio = {path: path.stat().st_mtime_ns for item in before for path in stored.glob(f"{item}.*")}

    for output in ("killed", "whole"):
        sab.evaluate("patience:patient", str(small_task), metrics=["si_sdr", "snr"], output=output, progress=False)
    assert {path: path.stat().st_mtime_ns for path in audio} == audio
    expected = frame_of(tmp_path / "whole" / "patient" / "small@1-file")
    pd.testing.assert_frame_equal(frame_of(journal.parent), expected)
    assert not (journal.parent / "scores.jsonl").exists()


def test_precondition_stops_the_run(small_task: Path, tmp_path: Path) -> None:
    def unready(mixture: torch.Tensor, rate: int, prompt: Prompt) -> torch.Tensor:
        raise Precondition("expected weights, found none")

    with pytest.raises(Precondition, match="expected weights"):
        run(small_task, tmp_path, unready)
    header = json.loads((tmp_path / "unready" / "small@1-file" / "run.json").read_text())
    assert header["status"] == "error"


def test_score_adds_a_metric_without_separating_again(small_task: Path, tmp_path: Path) -> None:
    run(small_task, tmp_path)
    folder = tmp_path / "counting" / "small@1-file"
    before, stored = frame_of(folder), stamps_of(folder / "audio")
    results = rescore([tmp_path], metrics=["sd_sdr"])
    assert stamps_of(folder / "audio") == stored
    after = frame_of(folder)
    pd.testing.assert_frame_equal(after[after["metric"] != "sd_sdr"].reset_index(drop=True), before)
    assert {(row.separator, row.metric) for row in results.rows} >= {("counting", "sd_sdr"), ("mixture", "sd_sdr")}
    fresh = sab.evaluate(Counting(), str(small_task), metrics=["sd_sdr"], output=tmp_path / "fresh").to_frame()
    ours = after[after["metric"] == "sd_sdr"].reset_index(drop=True)
    fresh = fresh[fresh["separator"] == "counting"].reset_index(drop=True)
    pd.testing.assert_frame_equal(ours.drop(columns="picked_by"), fresh.drop(columns="picked_by"), check_dtype=False)


def test_score_again_gives_the_same_bits(small_task: Path, tmp_path: Path) -> None:
    run(small_task, tmp_path)
    before = frame_of(tmp_path / "counting" / "small@1-file")
    rescore([tmp_path])
    pd.testing.assert_frame_equal(frame_of(tmp_path / "counting" / "small@1-file"), before)


def test_score_changed_redoes_exactly_what_was_raised(
    small_task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(small_task, tmp_path)
    folder = tmp_path / "counting" / "small@1-file"
    stamps = stamps_of(folder)
    rescore([folder], changed=True)
    assert stamps_of(folder) == stamps

    card = CARDS["snr"]
    monkeypatch.setitem(CARDS, "snr", replace(card, version=card.version + 1))
    asked: list[str] = []
    score = SNR.score
    monkeypatch.setattr(SNR, "score", lambda self, items, answers: asked.extend(["snr"]) or score(self, items, answers))
    for kind in (SISDR, Leak, Reconstruction):
        monkeypatch.setattr(kind, "score", lambda self, items, answers: pytest.fail("scored an unchanged metric"))
    rescore([folder], changed=True)
    assert asked == ["snr"] * 6
    versions = {record["id"]: record["version"] for record in json.loads((folder / "run.json").read_text())["metrics"]}
    assert versions == {**dict.fromkeys(TOY, 1), "snr": 2}
    with pytest.raises(UsageError, match="snr with version"):
        sab.Results.read([tmp_path])


def test_scoring_against_other_data_is_refused(small_task: Path, tmp_path: Path) -> None:
    run(small_task, tmp_path)
    small_task.write_text(small_task.read_text().replace("noise 1", "noise one"))
    with pytest.raises(UsageError, match="with data_revision"):
        rescore([tmp_path], metrics=["sd_sdr"])


def stamps_of(folder: Path) -> dict[Path, int]:
    """When each file was last written."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_a_failing_metric_costs_its_own_scores(
    small_task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    score = SNR.score

    def fragile(self: SNR, items: Sequence[sab.Item], answers: Sequence[Separation]) -> list[Any]:
        if items[0].id == "item-2":
            raise ArithmeticError("out of numbers")
        return score(self, items, answers)

    with monkeypatch.context() as patch:
        patch.setattr(SNR, "score", fragile)
        results = run(small_task, tmp_path)
    assert results.failures == 2  # counting and the baseline
    frame = results.to_frame().query("separator == 'counting' and item == 'item-2'")
    assert dict(zip(frame["metric"], frame["status"], strict=True)) == {
        "si_sdr": "ok", "si_sdr_i": "ok", "snr": "error", "reconstruction_db": "ok",
    }  # fmt: skip
    header = json.loads((tmp_path / "counting" / "small@1-file" / "run.json").read_text())
    assert header["errors"] == [
        {"item": "item-2", "status": "error", "message": "snr failed: ArithmeticError: out of numbers"}
    ]
    rescore([tmp_path], metrics=["sd_sdr"])  # another metric does not hide the failure
    header = json.loads((tmp_path / "counting" / "small@1-file" / "run.json").read_text())
    assert [error["message"] for error in header["errors"]] == ["snr failed: ArithmeticError: out of numbers"]
    separator = Counting()
    again = run(small_task, tmp_path, separator).to_frame()
    assert separator.batches == []
    assert set(again.query("metric == 'snr'")["status"]) == {"ok", "silent_reference"}


def test_runs_that_must_not_be_mixed_are_told_apart(small_task: Path, tmp_path: Path) -> None:
    run(small_task, tmp_path / "one")
    run(small_task, tmp_path / "two")
    with pytest.raises(UsageError, match="found item-0 in two"):
        sab.Results.read([tmp_path / "one", tmp_path / "two"])
    run(small_task, tmp_path / "three", seed=1)
    pooled = sab.Results.read([tmp_path / name / "counting" for name in ("one", "three")])
    assert {row.n for row in pooled.rows if row.metric == "snr"} == {6}  # seeds of an item are averaged
    small_task.write_text(small_task.read_text().replace("noise 1", "noise one"))
    run(small_task, tmp_path / "four", seed=2)
    with pytest.raises(UsageError, match="expected small with data_revision"):
        sab.Results.read([tmp_path / "one", tmp_path / "four"])


def test_tables_name_the_split(tmp_path: Path) -> None:
    results = sab.evaluate("silence", "sfx", split="mini", limit=1, metrics=["snr"], output=tmp_path, progress=False)
    assert "### sfx@1-mini" in results.table("md")
    assert {row["task"] for row in results.to_json()["rows"]} == {"sfx"}
