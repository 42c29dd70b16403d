"""Submissions from strangers are data: refused with a reason, never executed, nothing written."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from sam_audio_bench.errors import StoreError
from sam_audio_bench.files import load_json, write_json
from sam_audio_bench.leaderboard import reading
from sam_audio_bench.leaderboard.submission import HEADER, SCORES
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


def test_json_that_is_too_deep(gate: Path) -> None:
    (gate / HEADER).write_text("[" * 100_000 + "]" * 100_000)
    assert "found none that can be accepted" in said(gate)


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
        reading.digest(gate / SCORES)


def test_a_link_to_a_folder_and_a_pipe(gate: Path, tmp_path: Path) -> None:
    (gate / "more").symlink_to(tmp_path)
    assert "found 'more', which is neither" in said(gate)
    (gate / "more").unlink()
    os.mkfifo(gate / "more")
    assert "found 'more', which is neither" in said(gate)


def test_files_that_nobody_named(gate: Path) -> None:
    (gate / "run_me.py").write_text("print('hello')")
    assert "run_me.py: expected only files that submission.json names" in said(gate)


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
    assert "as separator and revision say, found another" in said(board)


def test_a_table_with_a_pickle(gate: Path) -> None:
    header = load_json(gate / HEADER)
    payload = pyarrow.array([pickle.dumps(header)], type=pyarrow.binary())
    parquet.write_table(pyarrow.table({"task": payload}), gate / SCORES)
    header["scores_sha256"] = reading.digest(gate / SCORES)
    write_json(gate / HEADER, header)
    assert "expected the columns task string, item string" in said(gate)


def test_a_table_that_unpacks_to_far_more(gate: Path) -> None:
    """One text of a million letters in every row: kilobytes on disk, sixty gigabytes if each row got its own."""
    table = reading.scores(gate / SCORES).iloc[[0] * 60_000]
    bomb = pyarrow.Table.from_pandas(table, schema=SCORE_TYPES, preserve_index=False)
    text = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * len(table), pyarrow.int32()), ["x" * 10**6])
    bomb = bomb.set_column(bomb.column_names.index("item"), "item", text)
    parquet.write_table(bomb, gate / SCORES, compression="zstd", store_schema=False)
    assert (gate / SCORES).stat().st_size < 2**16
    with pytest.raises(StoreError, match="expected texts of at most 500 letters"):
        reading.scores(gate / SCORES)


def test_a_table_with_too_many_rows(gate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_MOST_ROWS", 10)
    with pytest.raises(StoreError, match="expected at most 10 rows"):
        reading.scores(gate / SCORES)


def test_a_table_that_is_no_table(gate: Path) -> None:
    (gate / SCORES).write_bytes(b"PAR1" + os.urandom(100) + b"PAR1")
    with pytest.raises(StoreError, match="found a damaged one"):
        reading.scores(gate / SCORES)


def test_values_that_are_no_values(gate: Path, tamper: Tamper) -> None:
    def absurd(scores: Any) -> Any:
        first = scores.index[(scores["metric"] == "si_sdr") & (scores["status"] == "ok")]
        values = scores["value"].copy()
        values[first[0]], values[first[1]], values[first[2]] = 9999.0, float("inf"), float("nan")
        return scores.assign(value=values)

    tamper(absurd)
    text = said(gate)
    assert "si_sdr: expected values from -400 to 400" in text
    assert "expected a finite value where the status is ok" in text


def test_rows_of_someone_else(gate: Path, tamper: Tamper) -> None:
    tamper(lambda scores: scores.assign(separator=["<b>other</b>", *scores["separator"][1:]]))
    assert "expected rows of spectral-gate, found some of <b>other</b>" in said(gate)


def test_a_schema_is_itself_valid() -> None:
    import jsonschema

    for name in ("submission", "log", "reported", "boards"):
        jsonschema.Draft202012Validator.check_schema(reading.schema(name))


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
