"""The metadata of the official data: every count, every column that is read, every row that cannot be meant."""

from __future__ import annotations

import math
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from make_bench import COUNTS, MASKS, MUSDB_SCHEMA, SCHEMA, Made
from pyarrow import parquet

from sam_audio_bench.errors import Precondition, UsageError
from sam_audio_bench.tasks.annotations import BENCH, BENCH_ROWS, MUSDB, expected_counts, find_table, read_bench_table
from sam_audio_bench.tasks.annotations import read_masks as masks_of
from sam_audio_bench.tasks.catalogue import TASKS
from sam_audio_bench.tasks.load import load_task
from sam_audio_bench.tasks.lock import LockFile
from sam_audio_bench.tasks.official import read_official


def released_sets() -> dict[str, int]:
    """The 36 sets, spelled out from what the released data are known to hold."""
    found = {}
    for prefix, (textual, visual) in COUNTS.items():
        found |= {f"{prefix}:{mode}": textual for mode in ("text-only", "span-only", "text+span")}
        if visual:
            kind, fifty = prefix.removesuffix("-50"), "-50" * prefix.endswith("-50")
            found[f"{kind}-onscreen{fifty}:visual-only"] = visual
    return found


def test_the_catalogue_knows_every_set_of_the_released_data(bench: Made):
    assert len(released_sets()) == 36
    assert expected_counts() == released_sets()


def test_the_stand_in_has_every_count(bench: Made):
    rows, _ = read_bench_table(find_table(BENCH))
    assert len(rows) == BENCH_ROWS == 819
    assert Counter(name for row in rows for name in row.sets) == released_sets()
    assert Counter(row.source for row in rows) == {
        "condensed_movies": 310, "audioset": 158, "music_avqa": 154, "music_duets": 131, "avspeech": 49, "vggsound": 17,
    }  # fmt: skip
    assert sum(1 for _ in masks_of(find_table(BENCH), set(range(819)))) == MASKS == 610
    assert parquet.read_schema(bench.table).equals(SCHEMA)


@pytest.mark.parametrize("subset", ["paper", "full"])
def test_every_task_has_its_items(subset: str, bench: Made):
    for name, task in TASKS.items():
        data = load_task(name, "test", subset)
        expected = task.items if subset == "paper" else task.full_items
        assert len(data) == (6 if name == "instr-pro" else expected)
        assert (data.task, data.split, data.subset) == (name, "test", subset)
        assert all(identifier.startswith(f"{name}-") for identifier in data.ids)


def test_the_small_set_is_part_of_the_large_one_and_recordings_are_groups(bench: Made):
    small, large = (load_task("instr-wild", "test", subset) for subset in ("paper", "full"))
    assert set(small.groups.items()) < set(large.groups.items())
    assert len(set(large.groups.values())) < len(large)  # several questions about one recording


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[:-1], "expected 819 rows in .*, found 818"),
        (lambda rows: rows + rows, "expected 819 rows in .*, found 1638"),
        (lambda rows: with_set(rows, "others-50:text-only", None), "expected 50 rows of the set 'others-50:text-only'"),
        (lambda rows: with_set(rows, "others-50:text-only", None), "found 49; get the data again"),
        (lambda rows: with_set(rows, "instr:text-only", "odd:text-only"), "'instr:text-only' in .*, found 283"),
        (lambda rows: [{**rows[0], "paper_eval_sets": [*rows[0]["paper_eval_sets"], "odd"]}, *rows[1:]],
         "expected 0 rows of the set 'odd' in .*, found 1"),
    ],
)  # fmt: skip
def test_another_count_names_both(
    change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]], message: str, bench: Made
):
    bench.write_table(change(bench.rows))
    with pytest.raises(UsageError, match=message):
        load_task("sfx", "test")


def with_set(rows: list[dict[str, Any]], old: str, new: str | None) -> list[dict[str, Any]]:
    """One row less in a set, one more in another."""
    index = next(index for index, row in enumerate(rows) if old in row["paper_eval_sets"])
    names = [name for name in rows[index]["paper_eval_sets"] if name != old] + ([new] if new else [])
    return [*rows[:index], {**rows[index], "paper_eval_sets": names}, *rows[index + 1 :]]


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("start_offset", math.nan, r"0 <= start_offset < end_offset, found nan and"),
        ("end_offset", math.inf, "found .* and inf"),
        ("end_offset", None, "found .* and None"),
        ("start_offset", -1.0, "found -1.0 and"),
        ("start_offset", 1e6, "found 1000000.0 and"),
        ("video_id", "../../etc/passwd", "expected the name of a file in 'video_id', found '../../etc/passwd'"),
        ("video_id", "..", "expected the name of a file in 'video_id'"),
        ("video_id", "", "expected a text in 'video_id', found ''"),
        ("source_dataset", "/etc", "expected the name of a file in 'source_dataset', found '/etc'"),
        ("description", None, "expected a text in 'description', found None"),
        ("spans", [[0.0, math.nan]], r"expected spans \[start, end\] in seconds, found \[0.0, nan\]"),
        ("spans", [[1.0, 0.5]], r"found \[1.0, 0.5\]"),
        ("spans", [[1.0]], r"found \[1.0\]"),
    ],
)  # fmt: skip
def test_a_row_that_cannot_be_meant_is_named(column: str, value: Any, message: str, bench: Made):
    bench.rows[7][column] = value
    bench.write_table()
    with pytest.raises(UsageError, match=rf"^row 8 of .*test-00000-of-00001\.parquet: .*{message}"):
        load_task("sfx", "test")


def test_a_description_that_is_no_utf8_is_refused_with_its_row(bench: Made):
    table = parquet.read_table(bench.table)
    place = table.schema.get_field_index("description")
    texts = [row["description"].encode() for row in bench.rows]
    texts[4] = "Glocke läutet".encode("latin-1")
    column = pyarrow.array(texts, pyarrow.binary()).view(pyarrow.string())  # no check: as a careless writer does
    bench.table.unlink()
    parquet.write_table(table.set_column(place, "description", column), bench.table)
    with pytest.raises(UsageError, match=r"row 5 of .*: column 'description': expected UTF-8"):
        load_task("sfx", "test")


def test_spans_are_needed_where_they_are_asked_for(bench: Made):
    index = next(index for index, row in enumerate(bench.rows) if "others-50:text+span" in row["paper_eval_sets"])
    bench.rows[index]["spans"] = []
    bench.write_table()
    assert len(load_task("sfx", "test")) == 50
    with pytest.raises(UsageError, match=f"expected spans in row {index + 1} of"):
        load_task("sfx-span", "test")


def test_missing_columns_are_named(bench: Made):
    table = parquet.read_table(bench.table).drop_columns(["spans", "mask_bytes"])
    bench.table.unlink()
    parquet.write_table(table, bench.table)
    with pytest.raises(UsageError, match=r"expected the columns .* found no spans"):
        load_task("sfx", "test")


def test_a_damaged_table_is_named(bench: Made):
    content = bench.table.read_bytes()
    bench.table.unlink()
    bench.table.write_bytes(content[: len(content) // 2])
    with pytest.raises(UsageError, match=r"expected parquet files that can be read, found .*parquet damaged"):
        load_task("sfx", "test")


def test_masks_are_read_for_visual_tasks_alone(bench: Made):
    """Bytes of the column of masks are overwritten: only who reads them stumbles."""
    chunk = parquet.read_metadata(bench.table).row_group(0)
    (masks,) = (chunk.column(i) for i in range(chunk.num_columns) if chunk.column(i).path_in_schema == "mask_bytes")
    first = masks.dictionary_page_offset or masks.data_page_offset
    content = bytearray(bench.table.read_bytes())
    content[first : first + masks.total_compressed_size] = bytes(masks.total_compressed_size)
    bench.table.unlink()
    bench.table.write_bytes(content)
    assert load_task("sfx-span", "test")["sfx-span-" + first_row(bench, "others-50:text+span")].query.prompt.text
    with pytest.raises(UsageError, match="damaged"):
        list(load_task("sfx-visual", "test"))


def first_row(made: Made, name: str) -> str:
    return f"{next(index for index, row in enumerate(made.rows) if name in row['paper_eval_sets']):04d}"


def test_rows_may_lie_in_several_files_and_beside_the_sources(bench: Made):
    bench.table.unlink()
    for number, part in enumerate((bench.rows[:300], bench.rows[300:])):
        found = pyarrow.Table.from_pylist(part, schema=SCHEMA)
        parquet.write_table(found, bench.folder / "sam_audio_bench" / f"test-{number}.parquet")
    rows, _ = read_bench_table(find_table(BENCH))
    assert [row.recording for row in rows] == [row["video_id"] for row in bench.rows]
    assert dict(masks_of(find_table(BENCH), {400})) == (
        {400: bench.rows[400]["mask_bytes"]} if bench.rows[400]["mask_bytes"] else {}
    )


def test_the_revision_is_a_digest_of_what_the_rows_say(bench: Made):
    before = load_task("sfx", "test").revision
    bench.rows[0]["description_freeform"] = "something else"  # is not used
    bench.write_table()
    assert load_task("sfx", "test").revision == before
    bench.rows[0]["description"] = "Something else"
    bench.write_table()
    assert load_task("sfx", "test").revision != before


def hub_cache(bench: Made, place: Path, commit: str) -> None:
    """The metadata of the stand-in as the hub's cache would hold them, at a commit that ``main`` stands for."""
    repository = place / "datasets--facebook--sam-audio-bench"
    snapshot = repository / "snapshots" / commit / "data"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir(exist_ok=True)
    (repository / "refs" / "main").write_text(commit)
    shutil.copyfile(bench.table, snapshot / bench.table.name)


def test_the_hub_cache_works_offline_and_verifying_pins_its_revision(
    bench: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    old, new = "a" * 40, "b" * 40
    hub_cache(bench, tmp_path / "hub", old)
    hub_cache(bench, tmp_path / "hub", new)
    bench.table.unlink()
    assert read_official("sfx").table.commit == new
    lock = LockFile.read()
    lock.metadata[BENCH] = {"commit": old, "sha256": ""}
    lock.write()
    assert read_official("sfx").table.commit == old
    assert len(load_task("sfx", "test")) == 50


def test_first_use_pins_the_revision_of_the_hub(bench: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    old, new = "a" * 40, "b" * 40
    hub_cache(bench, tmp_path / "hub", old)
    copy = bench.table.read_bytes()
    bench.table.unlink()
    first = load_task("sfx", "test")
    assert first.notes[0] == f"the metadata of {BENCH} are those of commit {old}: pinned in {LockFile.read().path}"
    assert LockFile.read().metadata[BENCH] == {"commit": old, "sha256": first.revision}
    bench.table.write_bytes(copy)
    hub_cache(bench, tmp_path / "hub", new)  # main moves on
    bench.table.unlink()
    assert read_official("sfx").table.commit == old
    assert not any("commit" in note for note in load_task("sfx", "test").notes)


def test_excerpts_of_songs_are_counted_once(bench: Made):
    rows = parquet.read_table(bench.musdb_table).to_pylist()
    bench.musdb_table.unlink()
    parquet.write_table(pyarrow.Table.from_pylist([*rows, rows[0]], schema=MUSDB_SCHEMA), bench.musdb_table)
    with pytest.raises(
        UsageError, match=r"expected each excerpt once in .*, found 'bass' of Band 0 - Song at 0.25 s 2"
    ):
        load_task("instr-pro", "test")
    parquet.write_table(pyarrow.Table.from_pylist([], schema=MUSDB_SCHEMA), bench.musdb_table)
    with pytest.raises(UsageError, match=r"expected excerpts in .*, found no row"):
        load_task("instr-pro", "test")


def test_nothing_there_names_the_repository_and_the_folder(bench: Made):
    shutil.rmtree(bench.musdb_table.parent)
    with pytest.raises(Precondition, match=f"{MUSDB}.*{bench.folder / 'sam_audio_musdb18hq_test'}"):
        load_task("instr-pro", "test")
