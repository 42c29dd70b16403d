"""Run folders: durability of their files, effects of damage, and independence of sizes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

import sam_audio_bench as sab
from sam_audio_bench.errors import Precondition, StoreError
from sam_audio_bench.files import sha256
from sam_audio_bench.identity import Identity
from sam_audio_bench.records import (
    ItemRecord,
    MetricRecord,
    ModelRecord,
    PartDigests,
    PartStats,
    RunRecord,
    ScoreRow,
    TaskRecord,
)
from sam_audio_bench.run import journal as journals
from sam_audio_bench.run.journal import ITEMS, SCORES, Journal, read_synced_bytes
from sam_audio_bench.run.score_table import ExpectedScores, ScoreTable
from sam_audio_bench.run.store import RunFolder
from sam_audio_bench.types import Status

NAMES = ("one", "two", "three")
METRICS = ("si_sdr", "leak_db")


def header(status: str = "started") -> RunRecord:
    """Of a run of three items by two metrics."""
    task = TaskRecord(
        id="small", version="1", split="file", subset="paper", source="small", data_revision="1", items=3,
        ids_sha256=sha256(b""),
    )  # fmt: skip
    return RunRecord(
        status=status, started="", model=ModelRecord(kind="separator", name="own"), task=task,  # type: ignore[arg-type]
        metrics=[MetricRecord(id=name, version=1, unit="dB", higher_is_better=True) for name in METRICS], seed=0,
        align=None, stereo="joint", shard=None, command=[], config={}, git=None, packages={}, hardware={},
        picker=Identity(kind="picker", name="clap"),
    )  # fmt: skip


def row(item: str, metric: str, value: float | None = 1.5) -> ScoreRow:
    """A score of the only candidate."""
    return ScoreRow(
        task="small", item=item, group="g", separator="own", seed=0, candidate=0, picked_by=None, metric=metric,
        value=value, status=Status.OK,
    )  # fmt: skip


def record(folder: RunFolder, item: str) -> ItemRecord:
    """The line of an item whose two files are written."""
    digests, stats = {}, {}
    for part in ("target", "residual"):
        path = folder.path / "audio" / f"{item}.{part}.flac"
        path.write_bytes(f"{item} {part}".encode())
        digests[part], stats[part] = sha256(path.read_bytes()), (path.stat().st_size, path.stat().st_mtime_ns)
    return ItemRecord(
        item=item, group="g", fingerprint="f", seed=0, status=Status.OK, target=f"{item}.target.flac",
        residual=f"{item}.residual.flac", sha256=PartDigests(**digests), stat=PartStats(**stats),
        scored=dict.fromkeys(METRICS, "m"),
    )  # fmt: skip


def write(path: Path, *, seal: bool = True) -> Path:
    """A run of three items, which ended normally or was killed after the last of them."""
    folder = RunFolder(path)
    with folder.writing():
        folder.write_header(header())
        folder.unseal()
        for item in NAMES:
            folder.add_scores([row(item, metric) for metric in METRICS])
            folder.add_item(record(folder, item))
        if seal:
            folder.seal(NAMES)
            folder.write_header(header("success"), durable=False)
    return path


def test_a_sealed_run_opens_as_it_was_written(tmp_path: Path) -> None:
    opened = RunFolder.open(write(tmp_path))
    assert list(opened.items) == list(NAMES)
    assert list(opened.score_rows()) == [row(item, metric) for item in NAMES for metric in METRICS]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".lock", "audio", "items.jsonl", "items.parquet", "run.json", "scores.parquet",
    ]  # fmt: skip
    assert not any(opened.damage(item) for item in NAMES)


def test_a_line_is_in_the_file_when_it_was_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Finished items must not wait for fsync: what a killed process wrote is kept."""
    monkeypatch.setattr(journals, "_INTERVAL", 3600.0)
    folder = RunFolder(tmp_path)
    with folder.writing():
        folder.write_header(header())
        folder.unseal()
        folder.add_scores([row("one", metric) for metric in METRICS])
        folder.add_item(record(folder, "one"))
        other = RunFolder.open(tmp_path)
        assert list(other.items) == ["one"]
        assert len(list(other.score_rows())) == 2
        assert read_synced_bytes(tmp_path) == 0  # not synchronized yet
    assert read_synced_bytes(tmp_path) == (tmp_path / ITEMS).stat().st_size


def test_the_thread_synchronizes_files_and_moves_the_mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journals, "_INTERVAL", 0.01)
    (tmp_path / "audio").mkdir()
    journal = Journal(tmp_path)
    journal.append(ITEMS, [{"item": 1}], ["gone.flac"])  # replaced meanwhile
    while read_synced_bytes(tmp_path) is None:
        pass
    assert read_synced_bytes(tmp_path) == len('{"item": 1}\n')
    journal.close()


@pytest.mark.parametrize("audio", [["a"], ["a", "b", "c"]], ids=["one by one", "all at once"])
def test_audio_is_forced_before_the_mark(audio: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forced: list[str] = []
    (tmp_path / "audio").mkdir()
    for name in audio:
        (tmp_path / "audio" / name).touch()
    monkeypatch.setattr(journals, "_sync_path", lambda path: forced.append(path.name))
    everything = journals._sync_file_system
    monkeypatch.setattr(
        journals, "_sync_file_system", lambda at: everything(at) and not forced.extend([*audio, "audio"])
    )
    marks: list[int] = []
    monkeypatch.setattr(journals, "_write_mark", lambda *_, **__: marks.append(len(forced)))
    journal = Journal(tmp_path)
    journal.append(ITEMS, [{}], audio)
    journal.close()
    assert forced == [*audio, "audio"]
    assert marks == [len(forced)]


@pytest.mark.parametrize("emptied", ["one.target.flac", "three.residual.flac"])
def test_audio_that_a_power_cut_emptied_is_found(emptied: str, tmp_path: Path) -> None:
    """Files with size and time of the journal but other samples are read if the mark does not cover their line."""
    write(tmp_path, seal=False)
    path = tmp_path / "audio" / emptied
    before = path.stat()
    path.write_bytes(b"\0" * before.st_size)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert not any(RunFolder.open(tmp_path).damage(item) for item in NAMES)  # everything was on the disk
    first = len((tmp_path / ITEMS).read_bytes().splitlines(keepends=True)[0])
    (tmp_path / "synced").write_bytes(b"%020d" % first)
    opened = RunFolder.open(tmp_path)
    damaged = [item for item in NAMES if opened.damage(item)]
    assert damaged == ([] if emptied.startswith("one") else ["three"])
    (tmp_path / "synced").unlink()
    opened = RunFolder.open(tmp_path)
    assert [item for item in NAMES if opened.damage(item)] == [emptied.split(".")[0]]


def test_files_stay_unsure_until_they_are_synchronized(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, seal=False)
    (tmp_path / "synced").write_bytes(b"%020d" % 0)
    monkeypatch.setattr(journals, "_INTERVAL", 3600.0)
    folder = RunFolder(tmp_path)
    with folder.writing():
        folder.unseal()
        assert read_synced_bytes(tmp_path) == 0
    assert read_synced_bytes(tmp_path) == (tmp_path / ITEMS).stat().st_size


@pytest.mark.parametrize("mark", [b"9" * 12, b"9" * 5000, b"-5", b"mark", b""])
def test_a_mark_of_another_journal_makes_nothing_sure(mark: bytes, tmp_path: Path) -> None:
    (tmp_path / "synced").write_bytes(mark)
    assert read_synced_bytes(tmp_path) == 0
    (tmp_path / ITEMS).write_text('{"item": 1}\n')
    assert read_synced_bytes(tmp_path) == 0


def test_a_record_that_is_a_broken_link_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "run.json").symlink_to("run.json")
    with pytest.raises(StoreError, match=r"run\.json, found none that can be read .*restore the file"):
        RunFolder.open(tmp_path)


def test_a_full_disk_leaves_a_journal_that_can_be_read(tmp_path: Path) -> None:
    """A partly written line is removed, and the next one is a line of its own."""
    code = (
        "import resource, signal, sys; from pathlib import Path; from sam_audio_bench.run.journal import Journal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "journal = Journal(Path(sys.argv[1])); journal.append('items.jsonl', [{'a': 1}])\n"
        "try: journal.append('items.jsonl', [{'a': 'x' * 200}])\n"
        "except OSError: journal.append('items.jsonl', [{'a': 2}])\n"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path], check=True)
    assert (tmp_path / ITEMS).read_text() == '{"a": 1}\n{"a": 2}\n'


def test_a_moved_journal_is_an_error(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append(ITEMS, [{}])
    for gone in (lambda: (tmp_path / ITEMS).unlink(), lambda: (tmp_path / ITEMS).write_text("")):
        gone()
        with pytest.raises(FileNotFoundError):
            journal.append(ITEMS, [{}])
    journal.close()


LEFT = (".123.run.json", ".7-0a1b2c3d.scores.parquet", "audio/.99999.i3.target.flac", "audio/.5-ffffffff.i.wav")


def test_leftovers_of_killed_writers_are_removed(tmp_path: Path) -> None:
    write(tmp_path)
    for name in (*LEFT, ".DS_Store", "audio/.hidden"):
        (tmp_path / name).touch()
    folder = RunFolder(tmp_path)
    with folder.writing():
        other = RunFolder.open(tmp_path)
        (tmp_path / LEFT[0]).touch()
        other.remove_leftovers()  # another process is at work
        assert (tmp_path / LEFT[0]).exists()
    RunFolder.open(tmp_path).remove_leftovers()
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob(".*")}
    assert left == {".lock", ".DS_Store", "audio/.hidden"}


def test_a_finished_run_is_cleaned_too(small_task: Path, tmp_path: Path) -> None:
    options = {"metrics": ["si_sdr"], "output": tmp_path / "runs", "limit": 1, "progress": False}
    (place,) = sab.evaluate("mixture", str(small_task), **options).runs
    (place / "audio" / ".99999.i3.target.flac").touch()
    sab.evaluate("mixture", str(small_task), **options)
    assert not list((place / "audio").glob(".*"))


def edited(change: Callable[[dict[str, object]], object]) -> Callable[[str], str]:
    """Edits the object of a line."""

    def edit(line: str) -> str:
        found = json.loads(line)
        change(found)
        return json.dumps(found)

    return edit


DAMAGE: dict[str, Callable[[str], str]] = {
    "no object": lambda line: "[1]",
    "no JSON": lambda line: line[:-5],
    "nothing": lambda line: "",
    "no item": edited(lambda found: found.pop("item")),
    "an empty item": edited(lambda found: found.update(item="")),
    "a status that there is not": edited(lambda found: found.update(status="fine")),
    "a seed that is none": edited(lambda found: found.update(seed="0")),
    "a seed too large": edited(lambda found: found.update(seed=2**63)),
    "null": edited(lambda found: found.update(group=None)),
    "a name twice": lambda line: line.replace('"item":', '"item": "other", "item":'),
    "a name twice, below": lambda line: line.replace('"sha256": {', '"sha256": {"target": "' + "0" * 64 + '", '),
    "a file elsewhere": edited(lambda found: found.update(target="../../run.json")),
    "too deep": lambda line: "[" * 100_000,
}


@pytest.mark.parametrize("name", DAMAGE)
@pytest.mark.parametrize("number", [1, 3])
def test_a_damaged_line_is_reported_with_its_number(name: str, number: int, tmp_path: Path) -> None:
    write(tmp_path, seal=False)
    lines = (tmp_path / ITEMS).read_text().splitlines()
    lines[number - 1] = DAMAGE[name](lines[number - 1])
    (tmp_path / ITEMS).write_text("\n".join(lines) + "\n")
    with pytest.raises(StoreError, match=rf"record in line {number} of .*items\.jsonl, found .*; remove that line"):
        RunFolder.open(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        edited(lambda found: found.update(task="x")),
        edited(lambda found: found.pop("model")),
        edited(lambda found: found.update(schema_version=True)),
        edited(lambda found: found.update(schema_version=[2])),
        edited(lambda found: found.update(schema_version=1, model=3)),
        lambda text: text.replace('"seed":', '"seed": 1, "seed":'),
        lambda text: "",
        lambda text: "[" * 100_000,
    ],
)
def test_a_damaged_header_is_reported_with_its_file(change: Callable[[str], str], tmp_path: Path) -> None:
    path = write(tmp_path) / "run.json"
    path.write_text(change(path.read_text()))
    with pytest.raises(StoreError, match=r"expected .*found"):
        RunFolder.open(tmp_path)


@pytest.mark.parametrize(("column", "cells"), [("status", ["fine"] * 6), ("item", [None] * 6), ("seed", ["x"] * 6)])
def test_a_table_of_invalid_scores_is_an_error(column: str, cells: list[object], tmp_path: Path) -> None:
    path = write(tmp_path) / "scores.parquet"
    table = parquet.read_table(path)
    parquet.write_table(table.set_column(table.column_names.index(column), column, pyarrow.array(cells)), path)
    with pytest.raises(StoreError, match="a damaged file"):  # the header of these runs has no digest
        RunFolder.open(tmp_path)


FUZZED = ("items.jsonl", "aside.jsonl", "run.json", "scores.jsonl", "scores.parquet", "synced")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """A sealed run, and one that was killed."""
    found = {seal: write(tmp_path_factory.mktemp("whole"), seal=seal) for seal in (True, False)}
    for path in found.values():
        shutil.copy(path / ITEMS, path / "aside.jsonl")
    return found


@settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_flipped_and_cut_bytes_end_in_a_sentence_or_cost_what_they_hit(
    data: st.DataObject, whole: dict[bool, Path], tmp_path: Path
) -> None:
    source = whole[data.draw(st.booleans())]
    name = data.draw(st.sampled_from([name for name in FUZZED if (source / name).exists()]))
    place = tmp_path / "run"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(source, place)
    content = bytearray((place / name).read_bytes())
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (place / name).write_bytes(
        content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content
    )
    folder = RunFolder(place)
    try:
        with folder.writing():
            lacking = [item for item in NAMES if item not in folder.items or folder.damage(item)]
            folder.forget(lacking)
            for item in folder.items:
                assert folder.damage(item) is None
            folder.seal(NAMES)
            folder.frame()
    except (StoreError, Precondition) as error:
        told = str(error)
        assert told.startswith("expected")


def test_later_rows_replace_earlier_ones_in_any_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sam_audio_bench.run.score_table._MAX_ADDED", 2)
    table = ScoreTable()
    for value in (1.0, 2.0, None):
        table.add(row(item, metric, value) for item in ("b", "a", "c") for metric in METRICS)
    table.add([row("b", "leak_db", 7.0)])
    table.sort(["a", "b"], ["leak_db", "si_sdr"])
    found = [(one.item, one.metric, one.value) for one in table.rows()]
    assert found == [
        ("a", "leak_db", None), ("a", "si_sdr", None), ("b", "leak_db", 7.0), ("b", "si_sdr", None),
        ("c", "leak_db", None), ("c", "si_sdr", None),
    ]  # fmt: skip
    part = table.select(["c", "b"], ["si_sdr"]).to_frame()
    assert part["item"].tolist() == ["c", "b"]
    assert part["value"].isna().all()


def test_promises_and_rows_are_held_against_each_other() -> None:
    """By hand: a is missing one of two rows, b has one too many, c failed, d is not in the journal."""
    table = ScoreTable()
    table.add(row(item, "m") for item in "abcd")
    table.add(row(item, "n") for item in "bc")
    both = frozenset((0, "", metric) for metric in "mn")
    first = frozenset({(0, "", "m")})
    lacking = table.reconcile(
        [ExpectedScores("a", both, both), ExpectedScores("b", first, first), ExpectedScores("c", frozenset(), None)]
    )
    assert lacking == {"a": {"n"}}
    assert sorted((one.item, one.metric) for one in table.rows()) == [("a", "m"), ("b", "m"), ("c", "m"), ("c", "n")]


def test_without_any_rows_every_required_row_is_missing(tmp_path: Path) -> None:
    (write(tmp_path) / "scores.parquet").unlink()
    opened = RunFolder.open(tmp_path)
    assert opened.lost == set(NAMES)
    assert not any(one.scored for one in opened.items.values())


def test_scores_of_an_interrupted_run_are_read_from_its_lines(tmp_path: Path) -> None:
    write(tmp_path, seal=False)
    with (tmp_path / SCORES).open("a") as lines:
        lines.write(json.dumps({**json.loads((tmp_path / SCORES).read_text().splitlines()[0]), "value": "-inf"}) + "\n")
    assert [one.value for one in RunFolder.open(tmp_path).score_rows()].count(float("-inf")) == 1
