"""`sabench data status|verify|where|missing`, the terms of the data, and runs on them."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from make_bench import Made, damage

from sam_audio_bench.cli import group
from sam_audio_bench.errors import BenchError
from sam_audio_bench.tasks.lock import LockFile


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def invoke(*words: str, code: int = 0) -> Result:
    result = CliRunner().invoke(group, list(words), prog_name="sabench")
    if isinstance(result.exception, BenchError):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def test_status_counts_by_task_and_source(bench: Made) -> None:
    deleted, damaged = damage(bench)
    found = json.loads(invoke("data", "status", "--json").stdout)
    assert len(found) == 19
    for name in ("sfx", "speaker-visual", "instr-wild-span"):
        record = found[name]
        rows = [bench.files[int(problem["item"][-4:])] for problem in record["problems"]]
        assert record["missing"] == sum(row in deleted for row in rows)
        assert record["corrupt"] == sum(row in damaged for row in rows)
        assert record["present"] + record["missing"] + record["corrupt"] == record["items"] == 50
        assert sum(source["present"] for source in record["sources"].values()) == record["present"]
        assert record["coverage"] in ("≥ 90 %", "partial")
    assert found["instr-pro"]["coverage"] == "complete"
    shown = invoke("data", "status", "sfx").stdout
    assert shown.splitlines()[0].split() == [
        "task", "source", "items", "present", "missing", "corrupt", "wrong_length", "coverage",
    ]  # fmt: skip
    assert all(problem["item"] in shown for problem in found["sfx"]["problems"])
    assert "what to get: `sabench data missing`" in invoke("data", "status").stdout


def test_missing_lists_what_to_get(bench: Made) -> None:
    deleted, _ = damage(bench)
    rows = list(csv.DictReader(io.StringIO(invoke("data", "missing", "--subset", "full", "--format", "csv").stdout)))
    assert {row["state"] for row in rows} == {"missing"}
    wanted = {
        (row["source_dataset"], row["video_id"]) for row, name in zip(bench.rows, bench.files, strict=True)
        if name in deleted and row["paper_eval_sets"]
    }  # fmt: skip
    assert {(row["source_dataset"], row["video_id"]) for row in rows} == wanted
    first = rows[0]
    assert Path(first["file"]).parent == bench.folder / "sam_audio_bench" / first["source_dataset"]
    assert float(first["end_offset"]) > float(first["start_offset"])
    urls = {row["source_dataset"]: row["url"] for row in rows}
    assert urls["condensed_movies"].startswith("https://youtu.be/")
    assert urls["music_avqa"] == ""
    assert any(len(row["tasks"].split()) > 2 for row in rows)

    invoke("data", "status", "sfx", "music", "--subset", "full")  # from now on, damage of these is known
    states = [
        record["state"]
        for record in json.loads(invoke("data", "missing", "--subset", "full", "--format", "json").stdout)
    ]
    assert set(states) == {"missing", "corrupt"}
    assert states.count("missing") == len(rows)
    assert f"{len(states)} recordings to get." in invoke("data", "missing", "--subset", "full").stdout


def test_where_names_the_file_and_the_seconds(bench: Made) -> None:
    found = json.loads(invoke("data", "where", "sfx", "--json").stdout)
    assert len(found) == 50
    for record in found:
        index = int(record["item"][-4:])
        assert record["file"] == str(bench.folder / bench.files[index])
        whole = Path(record["file"]).stem == bench.rows[index]["video_id"]
        assert record["start"] == (bench.rows[index]["start_offset"] if whole else 0)
    item = found[0]["item"]
    Path(found[0]["file"]).unlink()
    shown = invoke("data", "where", "sfx", item).stdout
    assert f"none; looked for {bench.folder}" in shown
    (record,) = json.loads(invoke("data", "where", "sfx", item, "--json").stdout)
    assert len(record["looked_for"]) == 24
    with pytest.raises(BenchError, match="unknown item 'sfx-9999'"):
        invoke("data", "where", "sfx", "sfx-9999")
    songs = json.loads(invoke("data", "where", "instr-pro", "--json").stdout)
    assert all(len(song["files"]) == 5 for song in songs)


def test_verify_writes_the_lock_and_tells_by_its_exit_code(bench: Made) -> None:
    done = invoke("data", "verify", "music", "instr-pro")
    assert f"files in {bench.folder / 'lock.json'}" in done.stdout
    lock = json.loads((bench.folder / "lock.json").read_text())
    assert all(len(record["sha256"]) == 64 for record in lock["files"].values())
    name = next(name for name in lock["files"] if name.startswith("sam_audio_bench"))
    (bench.folder / name).unlink()
    invoke("data", "verify", "music")  # what is missing is no fault of a file
    (bench.folder / name).write_bytes(b"no recording")
    found = json.loads(invoke("data", "verify", "music", "--json", code=1).stdout)
    assert found["tasks"]["music"]["corrupt"] == 1
    assert found["changed"] == [f"{bench.folder / name} is not what it was when it was verified last"]


def test_an_archive_with_another_checksum_is_told(bench: Made) -> None:
    path = bench.zip_songs()
    done = invoke("data", "verify", "instr-pro", code=1)
    assert "expected " + str(path) + " with SHA-256 baac80d0" in done.stdout
    digest = json.loads((bench.folder / "lock.json").read_text())["files"]["musdb18hq.zip"]["sha256"]
    invoke("data", "verify", "instr-pro", "--sha256", digest.upper())
    invoke("eval", "--model", "silence", "--task", "instr-pro", "--limit", "1")


def test_one_data_set_is_enough(bench: Made) -> None:
    bench.musdb_table.unlink()
    for name in set(bench.files):  # recordings that are not there need no look
        (bench.folder / name).unlink()
    done = invoke("data", "status", "--json")
    assert len(json.loads(done.stdout)) == 18
    assert "facebook/sam-audio-musdb18hq-test" in done.stderr
    bench.table.unlink()
    with pytest.raises(BenchError, match="facebook/sam-audio-bench"):
        invoke("data", "status")
    with pytest.raises(BenchError, match="facebook/sam-audio-musdb18hq-test"):
        invoke("data", "status", "instr-pro")


def test_data_dir_is_the_environment_variable(bench: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SABENCH_DATA", "/nowhere")
    for words in (
        ["data", "status", "music", "--json"],
        ["eval", "--model", "silence", "--task", "music", "--dry-run"],
    ):
        invoke(*words, "--data-dir", str(bench.folder))
        assert os.environ["SABENCH_DATA"] == str(bench.folder)
        monkeypatch.setenv("SABENCH_DATA", "/nowhere")
    shown = invoke("eval", "--model", "silence", "--task", "music", "--show-config").stdout
    assert "data_dir" in shown
    assert "/nowhere" in shown


def test_terms_are_said_once_and_acceptance_is_written_down(bench: Made) -> None:
    words = ["eval", "--model", "silence", "--task", "music,instr-pro", "--dry-run"]
    first, second = invoke(*words), invoke(*words)
    assert "facebook/sam-audio-bench: CC-BY-NC-4.0;" in first.stderr
    assert "facebook/sam-audio-musdb18hq-test: MUSDB18-HQ: educational use;" in first.stderr
    assert "CC-BY-NC" not in second.stderr
    known = LockFile.read().licences["facebook/sam-audio-bench"]
    assert (known["licence"], known["accepted"]) == ("CC-BY-NC-4.0", None)
    invoke("data", "status", "music", "--accept-license")
    known = LockFile.read().licences["facebook/sam-audio-bench"]
    assert known["accepted"] >= known["shown"]
    assert LockFile.read().licences["facebook/sam-audio-musdb18hq-test"]["accepted"] is None
    assert (
        invoke("eval", "--model", "silence", "--task", "sfx", "--split", "mini", "--dry-run").stderr.count("terms") == 0
    )


def test_a_folder_that_cannot_be_written_is_no_obstacle_to_looking(
    bench: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sam_audio_bench.errors import Precondition

    def refuse(self: LockFile) -> None:
        raise Precondition("expected a folder that can be written")

    monkeypatch.setattr(LockFile, "write", refuse)
    assert "not remembered" in invoke("data", "status", "music").stderr
    invoke("eval", "--model", "silence", "--task", "music", "--limit", "1")
    with pytest.raises(Precondition):
        invoke("data", "status", "music", "--accept-license")


def test_eval_shows_coverage(bench: Made) -> None:
    deleted, damaged = damage(bench)
    lost = {
        index for index, row in enumerate(bench.rows)
        if "others-50:text-only" in row["paper_eval_sets"] and bench.files[index] in deleted
    }  # fmt: skip
    tasks, metric = "sfx,sfx-span,sfx-visual,instr-pro", "reconstruction_db"
    done = invoke("eval", "--model", "silence", "--task", tasks, "--split", "test", "--metrics", metric, code=3)
    assert f"plan: sfx@1-test: recordings of {len(lost)} of 50 items are missing" in done.stderr
    answered = 50 - sum(
        "others-50:text-only" in row["paper_eval_sets"] and bench.files[index] in deleted | damaged
        for index, row in enumerate(bench.rows)
    )
    assert re.search(rf"sfx@1-test, data [0-9a-f]{{8}}, {answered} of 50 items \(", done.stdout)
    assert f"{len(lost)} without media)" in done.stdout
    assert re.search(r"instr-pro@1-test, data [0-9a-f]{8}, all 6 items", done.stdout)
    assert all(name in done.stdout for name in ("sfx-span@1-test, ", "sfx-visual@1-test, "))
    assert done.stderr.count("found none;") < len(lost)  # what the plan said is not said again for every item
    there = (
        index for index, row in enumerate(bench.rows)
        if "others-onscreen-50:visual-only" in row["paper_eval_sets"] and bench.files[index] not in deleted | damaged
    )  # fmt: skip
    item = next(there)
    invoke("data", "show", "sfx-visual", f"sfx-visual-{item:04d}", "--split", "test", "--out", "sheet.png")
    assert Path("sheet.png").stat().st_size > 1000
