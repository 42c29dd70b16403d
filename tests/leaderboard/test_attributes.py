"""Attributes of a submission's items: carried as the run knows them, in no rank, and never trusted."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET
from pyarrow import parquet

from sam_audio_bench.errors import Precondition, StoreError
from sam_audio_bench.files import load_json, sha256, write_json
from sam_audio_bench.leaderboard import parquet_sandbox, safe_io
from sam_audio_bench.leaderboard.attributes import ATTRIBUTES, filter_attributes, read, to_parquet
from sam_audio_bench.leaderboard.board import read_board
from sam_audio_bench.leaderboard.submission import HEADER, Submission
from sam_audio_bench.leaderboard.submit import submit
from sam_audio_bench.leaderboard.validate import validate

TASK = "music@1-mini"


def said(folder: Path) -> str:
    """All problems as one text."""
    return "\n".join(f"{problem.where}: {problem.what}" for problem in validate(folder, share=None).problems)


def put(folder: Path, table: pyarrow.Table | bytes) -> None:
    """Another table of attributes, whose digest agrees, as a careful cheat would."""
    if isinstance(table, bytes):
        (folder / ATTRIBUTES).write_bytes(table)
    else:
        parquet.write_table(table, folder / ATTRIBUTES)
    write_json(
        folder / HEADER, load_json(folder / HEADER) | {"attributes_sha256": safe_io.file_digest(folder / ATTRIBUTES)}
    )


def changed(folder: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    """The same table with other rows."""
    table = parquet.read_table(folder / ATTRIBUTES)
    put(folder, pyarrow.Table.from_pandas(change(table.to_pandas()), schema=table.schema, preserve_index=False))


@pytest.fixture
def old_runs(finished_runs: Path, tmp_path: Path) -> Path:
    """The same runs as if they were from before attributes were kept."""
    folder = shutil.copytree(finished_runs, tmp_path / "old")
    for header in folder.glob("*/*/run.json"):
        stated = load_json(header)
        del stated["items_sha256"]
        write_json(header, stated)
        (header.parent / "items.parquet").unlink()
    return Path(folder)


def test_a_submission_carries_what_the_run_knows(gate: Path, finished_runs: Path) -> None:
    own = pd.read_parquet(finished_runs / "spectral-gate" / TASK / "items.parquet").set_index("item")
    (known,) = [Submission.read(gate).attributes]
    assert list(known) == [TASK]
    frame = pd.DataFrame.from_dict(known[TASK], orient="index")
    assert set(frame) == set(own) - {"group"} >= {"snr", "seconds", "target_class"}
    for name in frame:
        pd.testing.assert_series_equal(frame[name].loc[own.index], own[name], check_names=False, check_dtype=False)
    assert said(gate) == ""


def test_a_submission_without_attributes_is_valid_and_said_to_have_none(old_runs: Path, tmp_path: Path) -> None:
    told: list[str] = []
    submit([old_runs], tmp_path / "board", tell=told.append)
    assert sum("submitted without attributes of its items" in one for one in told) == len(told) == 3
    assert said(tmp_path / "board") == ""
    for path in (tmp_path / "board").glob(f"results/*/*/{HEADER}"):
        assert "attributes_sha256" not in load_json(path)
        assert Submission.read(path.parent).attributes == {}


def test_attributes_can_be_added_to_what_was_submitted_once(
    old_runs: Path, finished_runs: Path, tmp_path: Path
) -> None:
    """Of baselines, too, which are else left as they are; then the same is refused again."""
    board = tmp_path / "board"
    submit([old_runs], board)
    before = read_board(board)
    done = submit([finished_runs], board)
    assert len(done) == 3
    assert all(one.written and one.header.separator.revision.endswith("+2") for one in done)
    after = read_board(board)
    assert {line.id.removesuffix("+2") for line in after.lines} == {line.id for line in before.lines}
    assert after.verdicts == before.verdicts
    cells = [
        {line.removesuffix("+2"): cell for line, cell in one.cells[TASK]["si_sdr_i"].items()} for one in (before, after)
    ]
    assert cells[0] == cells[1]
    with pytest.raises(Precondition, match="which was submitted already"):
        submit([finished_runs / "spectral-gate"], board)
    assert not any(one.written for one in submit([finished_runs / "mixture", finished_runs / "silence"], board))
    assert said(board) == ""


def test_a_changed_file_and_one_that_nobody_named(gate: Path) -> None:
    whole = (gate / ATTRIBUTES).read_bytes()
    (gate / ATTRIBUTES).write_bytes(whole[:-1] + b"!")
    assert f"{ATTRIBUTES}: expected the SHA-256 that submission.json states" in said(gate)
    (gate / ATTRIBUTES).unlink()
    assert f"{ATTRIBUTES}: expected this file, which submission.json lists, found none" in said(gate)
    (gate / ATTRIBUTES).write_bytes(whole)
    header = load_json(gate / HEADER)
    del header["attributes_sha256"]
    write_json(gate / HEADER, header)
    assert f"{ATTRIBUTES}: expected only files listed in submission.json" in said(gate)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda rows: rows.iloc[:1].assign(item="music-99"), "of items of the task, found some of music-99"),
        (lambda rows: rows.assign(task="sfx@1-mini"), "of the tasks of submission.json, found some of sfx@1-mini"),
        (lambda rows: rows.assign(number=1.0, text="a"), "expected a number or a text for"),
        (lambda rows: rows.assign(number=None, text=None), "expected a number or a text for"),
        (lambda rows: rows.assign(number=float("inf"), text=None), "expected finite numbers for"),
        (lambda rows: rows.assign(number=None, text="\x1b[2J"), "expected visible texts of 1 to 500 letters"),
        (lambda rows: rows.assign(number=None, text=" "), "expected visible texts of 1 to 500 letters"),
        (lambda rows: rows.assign(number=None, text="x" * 501), "expected texts of at most 500 letters"),
        (lambda rows: rows.iloc[[0, 0]], "expected each attribute of an item once"),
        (lambda rows: rows.iloc[:1].assign(name="group"), "expected a name of 1 to 100 visible letters"),
        (lambda rows: rows.iloc[:1].assign(name="\u202emoc"), "expected a name of 1 to 100 visible letters"),
        (lambda rows: rows.iloc[:1].assign(name="x" * 101), "expected a name of 1 to 100 visible letters"),
        (lambda rows: rows.iloc[[0] * 60].assign(name=[*map(str, range(60))]), "expected at most 20 attributes"),
        (lambda rows: rows.assign(item=None), "to name its item"),
    ],
)  # fmt: skip
def test_tables_that_say_what_no_run_would(
    gate: Path, change: Callable[[pd.DataFrame], pd.DataFrame], what: str
) -> None:
    changed(gate, change)
    assert what in said(gate)
    assert "\x1b" not in said(gate)


def test_a_text_among_numbers(gate: Path) -> None:
    def mixed(rows: pd.DataFrame) -> pd.DataFrame:
        (first, *_) = rows.index[rows["name"] == "snr"]
        return rows.assign(
            number=rows["number"].mask(rows.index == first), text=rows["text"].mask(rows.index == first, "loud")
        )

    changed(gate, mixed)
    assert "expected numbers alone or texts alone for 'snr', found both" in said(gate)


def test_tables_of_another_kind(gate: Path) -> None:
    put(gate, b"PAR1" + bytes(100) + b"PAR1")
    assert "expected a parquet file of attributes" in said(gate)
    put(gate, pyarrow.table({"task": pyarrow.array([pickle.dumps({})], type=pyarrow.binary())}))
    assert "expected the columns task string, item string, name string, number double, text string" in said(gate)


def test_a_table_that_takes_too_much_memory(gate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a table of scores: it is unpacked in another process first."""
    table = parquet.read_table(gate / ATTRIBUTES).slice(0, 1)
    rows = pyarrow.Table.from_pylist(table.to_pylist() * 300, schema=table.schema)
    rows = rows.set_column(1, "item", pyarrow.array(["x" * 10**6] * 300))
    parquet.write_table(rows, gate / ATTRIBUTES, use_dictionary=False, compression="zstd", data_page_size=2**30)
    put(gate, (gate / ATTRIBUTES).read_bytes())
    monkeypatch.setattr(parquet_sandbox, "MEMORY", 100 * 2**20)
    assert "expected a table that decodes in 100 MiB" in said(gate)


def test_what_a_leaderboard_would_refuse_is_left_out_by_name() -> None:
    items: dict[str, dict[str, Any]] = {"a": {"snr": 1.0, "note": "x" * 501}, "b": {"snr": float("nan"), "site": "x"}}
    kept, refused = filter_attributes(items)
    assert kept == {"a": {}, "b": {"site": "x"}}
    assert set(refused) == {"snr", "note"}


WORDS = st.text("abcß–<>&\"'= \n", min_size=1, max_size=20)
VALUES = st.floats(allow_nan=False, allow_infinity=False) | WORDS.filter(str.strip)


@given(st.dictionaries(WORDS, st.dictionaries(WORDS, st.dictionaries(WORDS, VALUES, min_size=1), min_size=1)))
def test_what_is_packed_is_read(tasks: dict[str, dict[str, dict[str, Any]]]) -> None:
    import tempfile

    content = to_parquet(tasks)
    assert bool(content) is bool(tasks)
    if content:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / ATTRIBUTES
            path.write_bytes(content)
            assert read(path) == tasks
            assert sha256(content) == sha256(to_parquet(tasks))


def test_nothing_is_read_through_a_link(gate: Path, tmp_path: Path) -> None:
    (gate / ATTRIBUTES).rename(tmp_path / "table")
    (gate / ATTRIBUTES).symlink_to(tmp_path / "table")
    assert Submission.read(gate).header.attributes_sha256 is not UNSET
    with pytest.raises(StoreError, match="expected a plain file"):
        read(gate / ATTRIBUTES)
