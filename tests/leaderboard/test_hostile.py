"""Submissions from strangers are data: refused with a reason, never executed, nothing written."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
import soundfile
from click.testing import CliRunner
from pyarrow import parquet

from sam_audio_bench.cli import group
from sam_audio_bench.errors import BenchError, StoreError, UsageError
from sam_audio_bench.files import load_json, write_json
from sam_audio_bench.leaderboard import parquet_sandbox, safe_io
from sam_audio_bench.leaderboard.site import build_site
from sam_audio_bench.leaderboard.submission import HEADER, SCORES, find_submissions
from sam_audio_bench.leaderboard.validate import validate
from sam_audio_bench.run.store import SCORE_TYPES

Tamper = Callable[..., None]


def said(folder: Path) -> str:
    """All problems as one text."""
    return "\n".join(f"{problem.where}: {problem.what}" for problem in validate(folder, share=None).problems)


def snapshot(folder: Path) -> set[Path]:
    """Every path below a folder."""
    return set(folder.rglob("*"))


def test_json_beyond_the_bound_is_not_read(gate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (gate / HEADER).open("r+b") as file:
        file.truncate(10 * 2**30)  # sparse: ten gigabytes that take no room
    assert "expected at most 32 MiB" in said(gate)


@pytest.mark.parametrize("depth", [25, 400, 100_000])
def test_json_that_is_too_deep(gate: Path, depth: int) -> None:
    """Where Python could still read it, whatever writes it again could not."""
    text = (gate / HEADER).read_text()
    (gate / HEADER).write_text(text.replace('"settings": {', '"settings": {"x": ' + "[" * depth + "]" * depth + ",", 1))
    assert "found none that can be accepted" in said(gate)


@pytest.mark.parametrize("number", ["1e999", "-1e999", "9" * 30, "9" * 5000])
def test_json_with_numbers_beyond_all_bounds(gate: Path, number: str) -> None:
    text = (gate / HEADER).read_text()
    (gate / HEADER).write_text(text.replace('"candidates": 1', f'"candidates": {number}'))
    assert "is not JSON" in said(gate)


@pytest.mark.parametrize("text", ["\\u001b[2J", "\\u202emoc", "\\u2028", "\\ud800", "\\u009b31m"])
def test_texts_that_steer_a_terminal_or_cannot_be_written(gate: Path, text: str) -> None:
    whole = (gate / HEADER).read_text()
    (gate / HEADER).write_text(whole.replace('"summary": "', f'"summary": "{text}', 1))
    assert "in a text" in said(gate)


@pytest.mark.parametrize(
    ("before", "after"),
    [('"date": "2', '"date": "2'), ('"name": "spectral-gate"', '"name": "spectral-gate\\n"')],
)
def test_a_line_break_at_the_end(gate: Path, before: str, after: str) -> None:
    """Python's ``$`` matches before it."""
    text = (gate / HEADER).read_text()
    after = text[text.index(before) :].split(",")[0][:-1] + '\\n"' if before == after else after
    before = after.replace("\\n", "")
    (gate / HEADER).write_text(text.replace(before, after, 1))
    assert "does not match" in said(gate)


def test_a_list_that_would_be_compared_each_with_each(gate: Path, tamper: Tamper) -> None:
    tamper(header=lambda header: header["tasks"][0].update(metrics=[*map(str, range(150)), *map(str, range(150))]))
    assert "$.tasks[0].metrics" in said(gate)
    tamper(header=lambda header: header["tasks"][0].update(metrics=["snr_i", "si_sdr", "si_sdr_i", "leak_db", "snr_i"]))
    assert "music@1-mini: expected each metric once, found one twice" in said(gate)


def test_files_and_folders_beyond_the_bounds(gate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = next((gate / "audio").rglob("*.flac"))
    with sound.open("r+b") as file:
        file.truncate(2**40)
    assert "expected at most 200000 files of 64 GiB" in said(gate)
    with sound.open("r+b") as file:
        file.truncate(2**31)
    assert "expected at most 1024 MiB" in said(gate)
    monkeypatch.setattr(safe_io, "_MOST_FILES", 10)
    assert "expected at most 10 files" in said(gate)


def test_file_names_that_are_no_text(board: Path, gate: Path) -> None:
    name = os.fsdecode(b"\xff\x1b[31m.txt")
    (gate / name).write_text("x")
    for options in ([], ["--json"]):
        done = CliRunner().invoke(group, ["leaderboard", "validate", str(gate), "--no-audio", *options])
        assert done.exit_code == 1
        assert "expected only files listed in submission.json" in done.stdout
        assert "\x1b" not in done.stdout
        assert "\\udcff" in done.stdout
    assert json.loads(done.stdout)["problems"]


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_json_that_says_nan(gate: Path, constant: str) -> None:
    text = (gate / HEADER).read_text()
    (gate / HEADER).write_text(text.replace('"has_audio": true', f'"has_audio": {constant}'))
    assert f"{constant} is not JSON" in said(gate)


def test_json_with_a_name_twice(gate: Path) -> None:
    """The second one would win, and a reader would see the first."""
    text = (gate / HEADER).read_text()
    (gate / HEADER).write_text(text.replace('"schema_version": 1,', '"schema_version": 1, "schema_version": 1,', 1))
    assert "a name occurs twice" in said(gate)


def test_a_link_in_the_place_of_a_file(gate: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.parquet"
    secret.write_bytes((gate / SCORES).read_bytes())
    (gate / SCORES).unlink()
    (gate / SCORES).symlink_to(secret)
    assert "expected plain files and folders" in said(gate)
    with pytest.raises(StoreError, match="expected a plain file"):
        safe_io.file_digest(gate / SCORES)


def test_a_link_to_a_folder_and_a_pipe(gate: Path, tmp_path: Path) -> None:
    (gate / "more").symlink_to(tmp_path)
    assert "found 'more', which is neither" in said(gate)
    (gate / "more").unlink()
    os.mkfifo(gate / "more")
    assert "found 'more', which is neither" in said(gate)


def test_files_that_nobody_named(gate: Path) -> None:
    (gate / "run_me.py").write_text("print('hello')")
    assert "run_me.py: expected only files listed in submission.json" in said(gate)


@pytest.mark.parametrize("name", ["../../../escaped.flac", "/etc/passwd.flac", "..\\escaped.flac", ".hidden.flac"])
def test_names_that_leave_the_folder(gate: Path, tamper: Tamper, name: str) -> None:
    before = snapshot(gate.parents[2])
    tamper(header=lambda header: header["answers"]["music@1-mini"].update({name: "0" * 64}))
    assert "answers" in said(gate)
    assert snapshot(gate.parents[2]) == before


@pytest.mark.parametrize("field", ["name", "revision"])
@pytest.mark.parametrize("text", ["<script>alert(1)</script>", "line\nbreak", "", "x" * 300])
def test_names_that_are_no_names(gate: Path, tamper: Tamper, field: str, text: str) -> None:
    tamper(header=lambda header: header["separator"].update({field: text}))
    assert f"separator.{field}" in said(gate)


def test_links_that_run_something(gate: Path, tamper: Tamper) -> None:
    tamper(header=lambda header: header["separator"].update(links=["javascript:alert(1)"]))
    assert "separator.links" in said(gate)


def test_a_folder_that_is_called_otherwise(board: Path, gate: Path) -> None:
    gate.rename(gate.parent / "another")
    assert "by separator and revision, found another" in said(board)


def test_a_table_with_a_pickle(gate: Path) -> None:
    header = load_json(gate / HEADER)
    payload = pyarrow.array([pickle.dumps(header)], type=pyarrow.binary())
    parquet.write_table(pyarrow.table({"task": payload}), gate / SCORES)
    header["scores_sha256"] = safe_io.file_digest(gate / SCORES)
    write_json(gate / HEADER, header)
    assert "expected the columns task string, item string" in said(gate)


def test_a_table_that_unpacks_to_far_more(gate: Path) -> None:
    """One text of a million letters in every row: kilobytes on disk, sixty gigabytes if each row got its own."""
    table = safe_io.read_scores(gate / SCORES).iloc[[0] * 60_000]
    bomb = pyarrow.Table.from_pandas(table, schema=SCORE_TYPES, preserve_index=False)
    text = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * len(table), pyarrow.int32()), ["x" * 10**6])
    bomb = bomb.set_column(bomb.column_names.index("item"), "item", text)
    parquet.write_table(bomb, gate / SCORES, compression="zstd", store_schema=False)
    assert (gate / SCORES).stat().st_size < 2**16
    with pytest.raises(StoreError, match="expected texts of at most 500 letters"):
        safe_io.read_scores(gate / SCORES)


def test_a_table_that_takes_too_much_memory(gate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty kilobytes that one page unpacks to 300 MB; what it states of itself is within the bounds."""
    table = pyarrow.Table.from_pandas(
        safe_io.read_scores(gate / SCORES).iloc[[0] * 300], schema=SCORE_TYPES, preserve_index=False
    )
    table = table.set_column(table.column_names.index("item"), "item", pyarrow.array(["x" * 10**6] * 300))
    safe_io.check_decoding(gate / SCORES)
    parquet.write_table(table, gate / SCORES, use_dictionary=False, compression="zstd", data_page_size=2**30)
    assert (gate / SCORES).stat().st_size < 2**16
    monkeypatch.setattr(parquet_sandbox, "MEMORY", 100 * 2**20)
    with pytest.raises(StoreError, match="expected a table that decodes in 100 MiB and 60 s"):
        safe_io.check_decoding(gate / SCORES)


def test_a_table_that_takes_too_long(gate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_sandbox, "SECONDS", 0)
    with pytest.raises(StoreError, match="expected a table that decodes"):
        safe_io.check_decoding(gate / SCORES)


def test_far_more_rows_than_a_task_has(gate: Path, tamper: Tamper) -> None:
    tamper(lambda scores: scores.iloc[[0] * 1000])
    assert "music@1-mini: expected at most 56 rows, found 1000" in said(gate)


def test_a_table_with_too_many_rows(gate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safe_io, "_MOST_ROWS", 10)
    with pytest.raises(StoreError, match="expected at most 10 rows"):
        safe_io.read_scores(gate / SCORES)


def test_a_table_that_is_no_table(gate: Path) -> None:
    (gate / SCORES).write_bytes(b"PAR1" + os.urandom(100) + b"PAR1")
    with pytest.raises(StoreError, match="found a damaged one"):
        safe_io.read_scores(gate / SCORES)


def test_values_that_are_no_values(gate: Path, tamper: Tamper) -> None:
    def absurd(scores: Any) -> Any:
        first = scores.index[(scores["metric"] == "si_sdr") & (scores["status"] == "ok")]
        values = scores["value"].copy()
        values[first[0]], values[first[1]], values[first[2]] = 9999.0, float("inf"), float("nan")
        return scores.assign(value=values)

    tamper(absurd)
    text = said(gate)
    assert "si_sdr: expected values from -100 to 400" in text
    assert "expected a finite value where the status is ok" in text


def test_answers_that_no_item_can_have(gate: Path, tamper: Tamper) -> None:
    """Hours of silence in a small file, another rate, more channels, another length: nothing of it is decoded far."""
    (folder,) = (gate / "audio").iterdir()
    sounds = sorted(folder.glob("*.target.flac"))
    _, rate = soundfile.read(sounds[0])
    soundfile.write(sounds[0], np.zeros(10 * 3600 * 1000, "int16"), 1000)
    soundfile.write(sounds[1], np.zeros((1000, 8), "int16"), rate)
    soundfile.write(sounds[2], np.zeros(3600 * rate, "int16"), rate)
    sounds[3].write_bytes(b"fLaC" + bytes(100))
    (folder / "music-04.target.flac").write_bytes(b"RIFF" + bytes(40))

    def adapt(header: Any) -> None:
        header["answers"]["music@1-mini"] |= {path.name: safe_io.file_digest(path) for path in folder.iterdir()}

    tamper(header=adapt)
    report = validate(gate, share=1.0)
    what = {problem.where.rpartition(" ")[2]: problem.what for problem in report.problems}
    assert "found 1 at 1000 Hz" in what["music-00"]
    assert "found 8 at" in what["music-01"]
    assert "expected the target with" in what["music-02"]
    assert "expected an audio file that libsndfile can read" in what["music-03"]
    assert "expected an audio file that libsndfile can read" in what["music-04"]


def test_rows_of_someone_else(gate: Path, tamper: Tamper) -> None:
    tamper(lambda scores: scores.assign(separator=["<b>other</b>", *scores["separator"][1:]]))
    assert "expected rows of spectral-gate, found some of <b>other</b>" in said(gate)


def test_numbers_of_papers_are_explained(board: Path) -> None:
    folder = board / "results" / "reported"
    folder.mkdir()
    source = {
        "schema_version": 1, "title": "T", "authors": "A", "link": "https://example.org", "date": "2026-01-01",
        "about": "separators", "note": "n", "marks": {"V": "verified"},
        "quantities": {"snr": {"summary": "s", "unit": "dB", "higher_is_better": True}},
        "rows": [{"task": "musik", "system": "S", "quantity": "snr", "value": 1.0, "mark": "?", "where": "Table 1"}],
    }  # fmt: skip
    (folder / "paper.json").write_text(json.dumps(source))
    text = said(board)
    assert "expected a mark that is explained, found ?" in text
    assert "expected a task of the catalogue, found musik" in text


def test_strangers_among_the_submissions(board: Path, tmp_path: Path) -> None:
    results = board / "results"
    (results / "notes.txt").write_text("x")
    (results / "hollow" / "v1").mkdir(parents=True)
    (results / "spectral-gate" / "more.json").write_text("{}")
    (results / "linked").symlink_to(results / "silence")
    (results / "reported").mkdir()
    (results / "reported" / "run.py").write_text("x")
    text = said(board)
    for name in ("notes.txt", "hollow/v1", "spectral-gate/more.json", "linked", "reported/run.py"):
        assert f"results/{name}: expected folders of submissions" in text
    shutil.rmtree(results / "hollow")
    outside = tmp_path / "outside"
    shutil.copytree(board / "results" / "silence", outside)
    (results / "another").symlink_to(outside)
    assert "results/another: expected folders" in said(board)
    assert all(path.parent.name != "another" for path in find_submissions(results))


def test_rules_are_checked_too(board: Path) -> None:
    rule = {"id": "x", "title": "t", "metric": "snr", "split": "mini", "subset": "paper", "parts": {"a": ["music"] * 2}}
    write_json(board / "boards.json", [rule])
    assert "boards.json: expected tasks of the catalogue or of installed plugins, each once per board" in said(board)
    write_json(board / "boards.json", [{**rule, "title": "<script>"}])
    assert "boards.json: expected" in said(board)


PREVIEW = {"item": "music-00", "text": "piano", "spans": [], "seconds": 1.0, "frames": [], "credits": [], "answers": {}}


@pytest.mark.parametrize(
    "change",
    [
        {"answers": {"x/y": {"stem": "../../x", "over_time": None}}},
        {"answers": {"x/y": {"stem": "x", "over_time": {"step": "1"}}}},
        {"frames": [{"file": "https://example.org/x.png", "time": 0}]},
        {"item": '"><script>'},
        {"answers": {64 * "0": {"stem": "x", "over_time": None, "residual": "../../x"}}},
        {"loudness": {"../x": -20.0}},
        {"loudness": {"x": '-20" autofocus'}},
        {"seconds": "long"},
        {"spans": [["+", "0", 1]]},
        {"more": 1},
    ],
)
def test_previews_that_are_none(board: Path, change: dict[str, Any]) -> None:
    place = board / "site" / "listen" / "music@1-mini" / "music-00"
    place.mkdir(parents=True)
    write_json(place / "item.json", PREVIEW)
    assert said(board) == ""
    write_json(place / "item.json", PREVIEW | change)
    assert "site/listen: expected a preview that meets its schema" in said(board)
    with pytest.raises(StoreError, match="expected a preview"):
        build_site(board)


def test_files_beside_previews(board: Path, tmp_path: Path) -> None:
    """Browsers get whatever lies there."""
    place = board / "site" / "listen" / "music@1-mini" / "music-00"
    place.mkdir(parents=True)
    (place / "login.html").write_text("<script>")
    (place / "mixture.ogg").write_bytes(b"MZ")
    text = said(board)
    assert "login.html: expected item.json, .ogg and .png files, found another" in text
    assert "mixture.ogg: expected a .ogg file" in text
    (place / "mixture.ogg").write_bytes(b"OggS" + bytes(200_000))
    assert "mixture.ogg: expected a .ogg file of at most 200 kB" in said(board)
    (place / "reference.png").symlink_to(tmp_path)
    assert "site/listen: expected plain files and folders" in said(board)


def test_the_site_is_not_written_through_links(board: Path, tmp_path: Path) -> None:
    """A link in a pull request would let `build` write, and clear away, wherever it leads."""
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("x")
    (board / "site").symlink_to(mine)
    assert "site: expected a plain file or folder, found a link" in said(board)
    with pytest.raises(BenchError, match="links are not followed"):
        build_site(board)
    (board / "site").unlink()
    build_site(board)
    shutil.rmtree(board / "site" / "tasks")
    (board / "site" / "tasks").symlink_to(mine)
    with pytest.raises(BenchError, match="expected plain files and folders"):
        build_site(board)
    assert [path.name for path in mine.iterdir()] == ["thesis.txt"]


def test_the_site_takes_no_folder_that_holds_something_else(board: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("x")
    with pytest.raises(UsageError, match="expected an empty folder or an earlier site"):
        build_site(board, mine)
    assert [path.name for path in mine.iterdir()] == ["thesis.txt"]
