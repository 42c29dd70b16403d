"""The same questions in every format, and the mistakes of each."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from sam_audio_bench import audio
from sam_audio_bench.errors import MediaError, UsageError
from sam_audio_bench.tabular import has_lone_surrogates
from sam_audio_bench.tasks.attributes import is_empty, typed_columns
from sam_audio_bench.tasks.load import is_path, load_task
from sam_audio_bench.tasks.manifest import load_manifest, read_questions
from sam_audio_bench.tasks.manifest_rows import questions_to_task
from sam_audio_bench.types import Audio

RATE = 8000
ROWS: list[dict[str, Any]] = [
    {"mixture": "a.wav", "text": "dog", "spans": "+0:0.5 -0.5:0.75", "target": "t.wav", "group": "g", "id": "one"},
    {"mixture": "a.wav", "text": "cat", "spans": "+0.25:1", "target": "t.wav", "group": "g", "id": "two"},
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    generator = torch.Generator().manual_seed(0)
    for name in ("a", "t"):
        audio.write_wav(tmp_path / f"{name}.wav", Audio(torch.rand((1, RATE), generator=generator) - 0.5, RATE))
    return tmp_path


def lines(path: Path, *rows: object) -> Path:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
    return path


def saved(folder: Path, rows: list[dict[str, Any]]) -> Path:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    datasets.Dataset.from_list(rows).save_to_disk(folder / "saved")
    return folder / "saved"


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_every_format_says_the_same(folder: Path, form: str):
    path = folder / f"mine.{form}"
    frame = pd.DataFrame(ROWS)
    if form == "csv":
        frame.to_csv(path, index=False)
    elif form == "jsonl":
        lines(path, *ROWS)
    else:
        frame.to_parquet(path)
    assert is_path(str(path))
    data = load_task(str(path))
    assert (data.label, data.ids, set(data.groups.values())) == ("mine@1-file", ("one", "two"), {"g"})
    assert data.provides == {"speech", "text", "spans", "reference", "residual_reference"}
    assert data["one"].query.prompt.spans == (("+", 0.0, 0.5), ("-", 0.5, 0.75))
    assert torch.equal(data["two"].query.mixture.samples, audio.read(folder / "a.wav").samples)


def test_a_datasets_folder_holds_sounds_or_names_them(folder: Path):
    content = (folder / "t.wav").read_bytes()
    rows = [
        {**ROWS[0], "mixture": {"bytes": content, "path": "inside.wav"}, "target": "../t.wav"},
        {**ROWS[1], "mixture": {"bytes": None, "path": "../a.wav"}, "target": "../t.wav"},
        {**ROWS[1], "mixture": {"bytes": content, "path": None}, "target": None, "id": None, "group": None},
    ]
    path = saved(folder, rows)
    with pytest.raises(UsageError, match=r"row 1 of .*inside the folder"):
        load_manifest(path)
    data = load_task(str(path), allow_outside=True)
    assert (data.task, data.ids) == ("saved", ("one", "two", "row-3"))
    assert data.groups["row-3"] == "row-3"
    assert torch.equal(data["one"].query.mixture.samples, audio.read(folder / "t.wav").samples)
    assert torch.equal(data["row-3"].query.mixture.samples, audio.read(folder / "t.wav").samples)
    assert torch.equal(data["two"].query.mixture.samples, audio.read(folder / "a.wav").samples)


def test_a_filtered_datasets_folder_keeps_rows_and_sounds_together(folder: Path):
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    sounds = [{"bytes": (folder / f"{name}.wav").read_bytes(), "path": f"{name}.wav"} for name in "at"]
    table = datasets.Dataset.from_dict({"mixture": sounds, "text": ["dog", "cat"]})
    table = table.cast_column("mixture", datasets.Audio(decode=False)).select([1])
    table.save_to_disk(folder / "saved")
    data = load_manifest(folder / "saved")
    assert (data.ids, data.texts) == (("t",), {"t": "cat"})
    assert torch.equal(data["t"].query.mixture.samples, audio.read(folder / "t.wav").samples)


def test_a_damaged_sound_in_a_datasets_folder_is_called_by_its_name(folder: Path):
    data = load_manifest(saved(folder, [{"mixture": {"bytes": b"hello", "path": "x.wav"}, "text": "dog"}]))
    with pytest.raises(MediaError, match=r"libsndfile can read at x\.wav"):
        data["x"]


def test_several_splits_want_a_choice(folder: Path):
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    datasets.DatasetDict(test=datasets.Dataset.from_list(ROWS)).save_to_disk(folder / "saved")
    with pytest.raises(UsageError, match=r"name one of .*saved/test"):
        load_manifest(folder / "saved")
    (folder / "saved" / "test" / "state.json").write_text("{")
    with pytest.raises(UsageError, match="found a damaged one"):
        load_manifest(folder / "saved" / "test")


@pytest.mark.parametrize("name", ["manifest.csv", "metadata.jsonl", "manifest.parquet"])
def test_a_folder_with_a_table_is_a_task(folder: Path, name: str):
    if name.endswith("csv"):
        pd.DataFrame(ROWS).to_csv(folder / name)
    elif name.endswith("jsonl"):
        lines(folder / name, *ROWS)
    else:
        pd.DataFrame(ROWS).to_parquet(folder / name)
    data = load_task(str(folder))
    assert (data.task, data.ids) == (folder.name, ("one", "two"))
    (folder / "metadata.csv").write_text("mixture,text\n")
    with pytest.raises(UsageError, match="expected one table in"):
        load_task(str(folder))


def test_spans_and_paraphrases_may_be_lists(folder: Path):
    row = {
        "mixture": "a.wav",
        "spans": [["+", 0, 0.5], ["-", 0.5, 1]],
        "text": None,
        "paraphrases": ["x", " "],
        "id": 7,
    }
    data = load_manifest(lines(folder / "mine.jsonl", row, "", "  "))
    assert data["7"].query.prompt.spans == (("+", 0.0, 0.5), ("-", 0.5, 1.0))
    assert data.paraphrases == {"7": ("x",)}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "row 2 of .*damaged line"),
        ("[1]", "row 2 of .*expected a JSON object, found"),
        ("[" * 100_000, "row 2 of .*damaged line"),
        ({"mixture": "a.wav", "text": "dog", "taget": "t.wav"}, "row 2 of .*did you mean 'target'"),
        ({"mixture": float("nan"), "text": "dog"}, "row 2 of .*path of a mixture, found an empty cell"),
        ({"mixture": "a.wav", "text": float("nan")}, "row 2 of .*neither a text nor a span nor a video"),
        ({"mixture": "a.wav", "text": 1.5}, "row 2 of .*expected text, found 1.5"),
        ({"mixture": "a.wav", "text": True}, "row 2 of .*expected text, found True"),
        ({"mixture": ["a.wav"], "text": "dog"}, "row 2 of .*expected text, found"),
        ({"mixture": "a.wav", "spans": [["+", float("nan"), 1]]}, "row 2 of .*expected a span such as"),
        ({"mixture": "a.wav", "spans": [["+", 2, 1]]}, "row 2 of .*expected a span such as"),
        ({"mixture": "a.wav", "spans": [[0, 1]]}, "row 2 of .*expected a span such as"),
        ({"mixture": "a.wav", "text": "dog", "id": "x"}, "row 2 of .*an id of its own, found 'x', which row 1 has"),
        ({"mixture": "a\0.wav", "text": "dog"}, "row 2 of .*inside the folder"),
        ({"mixture": "C:/../a.wav", "text": "dog"}, "row 2 of .*inside the folder"),
    ],
)
def test_a_mistake_in_json_lines_names_its_row(folder: Path, line: object, message: str):
    with pytest.raises(UsageError, match=message):
        load_manifest(lines(folder / "mine.jsonl", {"mixture": "a.wav", "text": "dog", "id": "x"}, line))


def test_all_mistakes_are_found_and_good_rows_stay(folder: Path):
    found = read_questions(
        lines(folder / "mine.jsonl", "{", *ROWS, {"text": "dog"}, {"mixture": "/x.wav", "text": "dog"})
    )
    assert list(found.rows) == ["one", "two"]
    assert [problem.where for problem in found.problems] == [1, 4, 5]
    with pytest.raises(UsageError, match=r"row 1 of .*\(2 more: `sabench data validate`\)"):
        load_manifest(found.path)


def test_bytes_that_are_no_utf8_name_their_row(folder: Path):
    bad = "Hündin".encode("latin-1")
    (folder / "mine.jsonl").write_bytes(
        b'{"mixture": "a.wav", "text": "dog"}\n{"mixture": "t.wav", "text": "' + bad + b'"}\n'
    )
    with pytest.raises(UsageError, match=r"row 2 of .*expected UTF-8"):
        load_manifest(folder / "mine.jsonl")
    text = pyarrow.array([b"dog", bad], pyarrow.binary()).view(pyarrow.string())
    parquet.write_table(pyarrow.table({"mixture": ["a.wav", "t.wav"], "text": text}), folder / "mine.parquet")
    with pytest.raises(UsageError, match=r"row 2 of .*expected UTF-8"):
        load_manifest(folder / "mine.parquet")
    (folder / "mine.csv").write_text("mixture,text\na.wav,dog\n", encoding="utf-16")
    with pytest.raises(UsageError, match=r"row 1 of .*expected UTF-8"):
        load_manifest(folder / "mine.csv")


def test_a_broken_byte_in_a_column_of_the_owner_is_no_matter(folder: Path):
    (folder / "mine.csv").write_bytes("mixture,text,note\na.wav,dog,schön\n".encode("latin-1"))
    assert load_manifest(folder / "mine.csv").texts == {"a": "dog"}


def test_damaged_and_unsuitable_parquet(folder: Path):
    (folder / "mine.parquet").write_bytes(b"hello")
    with pytest.raises(UsageError, match="expected a parquet file"):
        load_manifest(folder / "mine.parquet")
    sounds = pyarrow.table({"mixture": [{"bytes": b"x", "path": "a.wav"}], "text": ["dog"]})
    parquet.write_table(sounds, folder / "mine.parquet")
    with pytest.raises(UsageError, match=r"expected paths in column 'mixture', found sounds: .*save_to_disk"):
        load_manifest(folder / "mine.parquet")
    parquet.write_table(pyarrow.table({"sound": ["a.wav"], "text": ["dog"]}), folder / "mine.parquet")
    with pytest.raises(UsageError, match="expected columns 'mixture'"):
        load_manifest(folder / "mine.parquet")


def test_names_of_tasks_win_over_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "sfx").mkdir()
    monkeypatch.chdir(tmp_path)
    assert not is_path("sfx")
    assert is_path("./sfx")
    assert is_path("stems:sfx")
    assert not is_path("unknown:sfx")


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
@pytest.mark.parametrize("name", ["mine.csv", "mine.tsv"])
def test_other_delimiters(folder: Path, delimiter: str, name: str):
    header, row = ("mixture", "text", "target"), ("a.wav", "dog, loud", "t.wav")
    (folder / name).write_text(f"{delimiter.join(header)}\r\n{delimiter.join(row)}\r\n", encoding="utf-8-sig")
    data = load_task(str(folder / name))
    assert (data.ids, data.texts) == (("a",), {"a": "dog, loud"})


def test_empty_rows_are_left_out_and_counted(folder: Path):
    (folder / "mine.csv").write_text("sep=,\nmixture,text\n,,\na.wav,dog\n\n , \nt.wav,cat\n")
    found = read_questions(folder / "mine.csv")
    assert list(found.rows) == ["a", "t"]
    (told,) = found.problems
    assert (told.where, told.severity) == (3, "warning")
    assert told.what == "2 rows (3, 6) have no text in any cell: left out"
    assert load_manifest(folder / "mine.csv").notes == (told.what,)
    (folder / "mine.csv").write_text("mixture,text\n,\n")
    with pytest.raises(UsageError, match="at least one question, found none"):
        load_manifest(folder / "mine.csv")


def test_rows_are_counted_as_an_editor_counts_lines(folder: Path):
    (folder / "mine.csv").write_text('mixture,text\na.wav,"a\ndog"\n\nt.wav,\n', newline="")
    with pytest.raises(UsageError, match=r"row 5 of .*found neither a text"):
        load_manifest(folder / "mine.csv")


def test_rows_with_too_few_cells_are_told(folder: Path):
    (folder / "mine.csv").write_text('mixture,text,target\na.wav,"a\ndog",t.wav\n\nt.wav,cat\n')
    found = read_questions(folder / "mine.csv")
    (told,) = found.problems
    assert (told.where, told.severity) == (5, "warning")
    assert told.what == "1 row (5) ends before the last column: the missing cells count as empty"
    assert load_manifest(folder / "mine.csv").notes == (told.what,)
    (folder / "mine.csv").write_text("mixture,text,target\na.wav,dog,t.wav\nt.wav,cat,\n")  # said, and not forgotten
    assert read_questions(folder / "mine.csv").problems == ()


def test_a_file_that_is_broken_off_is_told(folder: Path):
    (folder / "mine.csv").write_text("mixture,text,target\na.wav,dog,t.wav\nt.wav,ca")
    assert "1 row (3) ends before the last column, and the file without a line end" in load_manifest(
        folder / "mine.csv"
    ).notes[0]  # fmt: skip


def test_names_of_hugging_face(folder: Path):
    (folder / "metadata.csv").write_text("file_name,text,target_file_name,speaker\na.wav,dog,t.wav,x\n")
    data = load_manifest(folder)
    assert (data.ids, data["a"].reference is not None) == (("a",), True)
    (folder / "metadata.csv").unlink()
    lines(folder / "metadata.jsonl", {"file_name": "a.wav", "text": "dog\u2028\u0085"}, {"file_name": "", "text": "x"})
    with pytest.raises(UsageError, match=r"row 2 of .*path of a mixture"):
        load_manifest(folder)
    pd.DataFrame({"file_name": ["a.wav"], "text": ["dog"]}).to_parquet(folder / "mine.parquet")
    assert load_manifest(folder / "mine.parquet").ids == ("a",)
    assert load_manifest(lines(folder / "m.jsonl", {"mixture": "t.wav", "file_name": "a.wav", "text": "dog"})).ids == (
        "t",
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"mixture": "a.wav", "text": "dog", "text": "cat"}', "row 2 of .*the name 'text' twice"),
        ('[{"mixture": "a.wav", "text": "dog"}]', "row 2 of .*put every object of a list in a line of its own"),
        ({"mixture": "a.wav", "text": "x" * 9, "spans": ["y" * 900]}, r"found 'y{70,79}$"),
    ],
)
def test_other_mistakes_in_json_lines(folder: Path, line: object, message: str):
    with pytest.raises(UsageError, match=message):
        load_manifest(lines(folder / "mine.jsonl", {"mixture": "a.wav", "text": "dog", "id": "x"}, line))


def test_spreadsheets_and_archives_are_told_apart(folder: Path):
    (folder / "mine.csv").write_bytes(b"PK\x03\x04...")
    with pytest.raises(UsageError, match="a spreadsheet or another zip archive; save it as CSV"):
        load_manifest(folder / "mine.csv")


@pytest.mark.parametrize("kind", ["file", "folder", "chain", "target"])
def test_a_link_that_leads_out_is_outside(tmp_path: Path, folder: Path, kind: str):
    inner = folder / "inner"
    inner.mkdir()
    name = {"folder": "far/a.wav"}.get(kind, "far.wav")
    if kind == "folder":
        (inner / "far").symlink_to(folder)
    elif kind == "chain":
        (inner / "next.wav").symlink_to(folder / "a.wav")
        (inner / "far.wav").symlink_to("next.wav")
    else:
        (inner / "far.wav").symlink_to(folder / "a.wav")
    (inner / "near.wav").symlink_to("real.wav")
    (folder / "t.wav").rename(inner / "real.wav")
    column = "target" if kind == "target" else "mixture"
    row = {"mixture": "near.wav", "text": "dog", column: name}
    with pytest.raises(UsageError, match=f"inside the folder .*'{name}', which is linked to .*--allow-outside"):
        load_manifest(lines(inner / "mine.jsonl", row))
    assert len(load_manifest(inner / "mine.jsonl", allow_outside=True)) == 1
    (folder / "linked").symlink_to(inner)
    assert len(load_manifest(lines(folder / "linked" / "mine.jsonl", {"mixture": "near.wav", "text": "dog"}))) == 1


def test_links_in_a_circle_are_no_file_of_that_row_alone(folder: Path) -> None:
    for name, goal in (("one.wav", "two.wav"), ("two.wav", "one.wav"), ("self", "self")):
        (folder / name).symlink_to(goal)
    rows = [{"mixture": name, "text": "dog"} for name in ("a.wav", "one.wav", "self/a.wav")]
    found = load_manifest(lines(folder / "mine.jsonl", *rows))
    assert found["a"].id == "a"
    for name in ("one", "self/a"):
        with pytest.raises(MediaError, match="found none"):
            found[name]


def test_names_of_files_that_are_no_utf8(folder: Path):
    song = folder / "songs" / "song\udcff"  # the byte 0xff
    song.mkdir(parents=True)
    for stem in ("vocals", "drums"):
        shutil.copy(folder / "a.wav", song / f"{stem}.wav")
    with pytest.raises(UsageError, match=r"song\\udcff/drums of .*expected names in UTF-8.*: rename"):
        load_task(f"stems:{folder / 'songs'}")
    bad = folder / "bad\udcff"
    bad.mkdir()
    lines(bad / "mine.jsonl", *ROWS)
    with pytest.raises(UsageError, match=r"expected a path in UTF-8, found .*bad\\udcff.*rename it"):
        load_manifest(bad / "mine.jsonl")


# --- further columns


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet", "datasets"])
def test_further_columns_are_attributes_in_every_format(folder: Path, form: str):
    further = [
        {"snr": -5.0, "takes": 3, "site": "007", "near": True, "note": "a, b", "empty": None},
        {"snr": None, "takes": 4, "site": "12", "near": False, "note": None, "empty": None},
    ]
    rows = [{**row, **more} for row, more in zip(ROWS, further, strict=True)]
    path = folder / f"mine.{form}"
    if form == "csv":
        pd.DataFrame(rows).to_csv(path, index=False)
    elif form == "jsonl":
        lines(path, *rows)
    elif form == "parquet":
        pd.DataFrame(rows).to_parquet(path)
    else:
        path = saved(folder, [{**row, **{key: f"../{row[key]}" for key in ("mixture", "target")}} for row in rows])
        data = questions_to_task(read_questions(path, allow_outside=True))
    if form != "datasets":
        data = load_task(str(path))
    true, false = ("True", "False") if form == "csv" else ("true", "false")  # a text is left as it is
    assert data.attributes_of("one") == {"snr": -5.0, "takes": 3.0, "site": "007", "near": true, "note": "a, b"}
    assert data.attributes_of("two") == {"takes": 4.0, "site": "12", "near": false}
    assert data.notes == ()


def test_attributes_are_in_no_digest_of_an_item(folder: Path):
    path = folder / "mine.jsonl"
    lines(path, *ROWS)
    plain = load_task(str(path))
    lines(path, *({**row, "snr": 3, "site": "x"} for row in ROWS))
    described = load_task(str(path))
    assert described.attributes_of("one") == {"snr": 3.0, "site": "x"}
    assert [described.content_sha256(item) for item in described.ids] == [
        plain.content_sha256(item) for item in plain.ids
    ]


def test_what_cannot_be_an_attribute_is_told_and_costs_nothing_else(folder: Path):
    path = folder / "mine.jsonl"
    lines(path, {**ROWS[0], "tags": ["a"], "item": "x", "good": 1}, {**ROWS[1], "tags": "b"})
    data = load_task(str(path))
    assert data.attributes_of("one") == {"good": 1.0}
    assert sorted(data.notes) == [
        "column 'item' is no attribute: items.parquet has a column 'item' already: rename it",
        "column 'tags' is no attribute: expected a number or a text in each cell, found list in that of one",
    ]
    rows = [{**row, "embedding": [0.5, 0.25], "good": 1} for row in ROWS]
    pd.DataFrame(rows).to_parquet(folder / "other.parquet")
    data = load_task(str(folder / "other.parquet"))
    assert data.attributes_of("one") == {"good": 1.0}
    assert data.notes == (
        "column 'embedding' is no attribute: expected a number or a text in each cell, found list<element: double>",
    )
    (folder / "bad.csv").write_bytes(b"mixture,text,site,good\na.wav,dog,caf\xe9,1\n")
    data = load_task(str(folder / "bad.csv"))
    assert data.attributes_of("a") == {"good": 1.0}
    assert data.notes == ("column 'site' is no attribute: expected UTF-8, found something else in the cell of a",)


@given(
    cells=st.lists(
        st.none() | st.booleans() | st.integers(-(10**400), 10**400) | st.floats() | st.text(max_size=6), max_size=5
    )
)
def test_a_column_is_of_numbers_if_all_its_cells_are(cells: list[object]):
    found, refused = typed_columns({str(at): {"x": cell} for at, cell in enumerate(cells)})
    values = [row["x"] for row in found.values() if "x" in row]
    there = [cell for cell in cells if not is_empty(cell)]
    if refused:
        assert any(isinstance(cell, str) and has_lone_surrogates(cell) for cell in cells)
        assert not values
        return
    assert len(values) == len(there), "no cell is dropped"
    assert len({type(value) for value in values}) <= 1
    if values and isinstance(values[0], float):
        assert all(math.isfinite(value) for value in values)  # type: ignore[arg-type]
        assert [float(cell) for cell in there] == values  # type: ignore[arg-type]
    else:
        assert all(isinstance(value, str) and value.strip() for value in values)


@pytest.mark.parametrize("text", ["007", "1_000", "1,5", "٣", "0x10", "inf", "nan", "--1", "1 2", "1e"])
def test_what_only_looks_like_a_number_is_a_text(text: str):
    assert typed_columns({"a": {"x": text}})[0] == {"a": {"x": text}}


@pytest.mark.parametrize(("text", "value"), [("-5", -5.0), (" 1.5 ", 1.5), (".5", 0.5), ("2.", 2.0), ("+1e-3", 0.001)])
def test_numbers_are_read_as_people_write_them(text: str, value: float):
    assert typed_columns({"a": {"x": text}})[0] == {"a": {"x": value}}
