"""What is there of the official data: exactly what was removed and damaged, looked at once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from make_bench import Made, damage

from sam_audio_bench.errors import MediaError, Precondition, StoreError
from sam_audio_bench.tasks import TASKS
from sam_audio_bench.tasks.inspection import InspectionReport, inspect_recordings, verify_files
from sam_audio_bench.tasks.lock import LockFile
from sam_audio_bench.tasks.media import BenchMedia
from sam_audio_bench.tasks.official import read_official

BENCH_TASKS = [name for name in TASKS if name != "instr-pro"]


def states(report: InspectionReport) -> Mapping[str, set[str]]:
    found: dict[str, set[str]] = {}
    for finding in report.findings:
        found.setdefault(finding.state, set()).add(finding.item)
    return found


def test_exactly_what_was_removed_and_damaged_is_found(bench: Made) -> None:
    deleted, damaged = damage(bench, delete=0.1, corrupt=0.05)
    assert (len(deleted), len(damaged)) == (round(0.1 * len(set(bench.files))), round(0.05 * len(set(bench.files))))
    lock = LockFile.read()
    for report in inspect_recordings([read_official(name, "full") for name in BENCH_TASKS], lock, workers=2):
        task = report.official.task
        rows = [index for index, row in enumerate(bench.rows) if task.full_subset in row["paper_eval_sets"]]
        expected: dict[str, set[str]] = {}
        for index in rows:
            name = bench.files[index]
            state = "missing" if name in deleted else "corrupt" if name in damaged else "present"
            expected.setdefault(state, set()).add(f"{task.id}-{index:04d}")
        assert states(report) == expected, task.id
        assert report.counts() == {
            state: len(expected.get(state, ())) for state in ("present", "missing", "corrupt", "wrong_length")
        }
        by_source = [report.counts(source) for source in report.sources]
        assert report.counts() == {state: sum(one[state] for one in by_source) for state in by_source[0]}
        assert {problem.item for problem in report.problems} == expected.get("missing", set()) | expected.get(
            "corrupt", set()
        )
        assert all(problem.what for problem in report.problems)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Recordings that are decoded, as they are."""
    seen: list[str] = []
    inspect_one = BenchMedia.inspect

    def counted(self: BenchMedia, row: Any, **options: Any) -> None:
        seen.append(row.recording)
        inspect_one(self, row, **options)

    monkeypatch.setattr(BenchMedia, "inspect", counted)
    return seen


def test_a_clip_is_decoded_once_for_all_tasks_and_remembered_until_it_changes(bench: Made, looks: list[str]) -> None:
    tasks = [read_official(name) for name in ("sfx", "sfx-span", "sfx-span-only")]
    lock = LockFile.read()
    reports = inspect_recordings(tasks, lock)
    assert sorted(looks) == sorted({row.recording for row in tasks[0].rows.values()})
    clips = len(looks)
    lock.write()
    again = inspect_recordings(tasks, LockFile.read())
    assert len(looks) == clips
    assert [report.record() for report in again] == [report.record() for report in reports]

    item, row = next(iter(tasks[0].rows.items()))
    (path,) = tasks[0].media.locate_files(row)
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:-1000])
    (changed, *_) = inspect_recordings(tasks, LockFile.read())
    assert looks[clips:] == [row.recording]
    assert item in [problem.item for problem in changed.problems]
    inspect_recordings(tasks, LockFile.read(), again=True)
    assert len(looks) == 2 * clips + 1


def test_another_file_that_serves_is_looked_at(bench: Made, looks: list[str]) -> None:
    task = read_official("sfx")
    lock = LockFile.read()
    inspect_recordings([task], lock)
    row = next(row for row in task.rows.values() if task.media.locate_files(row)[0].stem != row.recording)
    preferred = task.media.expected_paths(row)[0]
    preferred.touch()
    looks.clear()
    (report,) = inspect_recordings([task], lock)
    assert looks == [row.recording]
    assert [problem.files for problem in report.problems] == [(preferred,)]


def test_bad_masks_show_in_visual_tasks(bench: Made) -> None:
    index = next(i for i, row in enumerate(bench.rows) if "others-onscreen-50:visual-only" in row["paper_eval_sets"])
    bench.rows[index]["mask_bytes"] = b"no mask"
    bench.write_table()
    visual, textual = inspect_recordings([read_official("sfx-visual"), read_official("sfx", "full")], LockFile.read())
    assert [problem.item for problem in visual.problems] == [f"sfx-visual-{index:04d}"]
    assert textual.problems == []


def test_digests_are_kept_and_changes_are_told(bench: Made) -> None:
    tasks = [read_official("music"), read_official("instr-pro")]
    lock = LockFile.read()
    assert verify_files(tasks, lock, workers=2) == []
    lock.write()
    lock = LockFile.read()
    assert set(lock.metadata) == {"facebook/sam-audio-bench", "facebook/sam-audio-musdb18hq-test"}
    assert lock.metadata["facebook/sam-audio-bench"]["sha256"] == tasks[0].digest
    served = {path for row in tasks[0].rows.values() for path in tasks[0].media.locate_files(row)}
    assert {path for path in served if len(lock.file_entry(path)["sha256"]) == 64} == served
    path = min(served)
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content + b"x")
    assert verify_files(tasks, lock) == [f"{path} is not what it was when it was verified last"]
    assert verify_files(tasks, lock) == []


def test_a_damaged_or_foreign_lock_is_refused(bench: Made) -> None:
    path = bench.folder / "lock.json"
    path.write_text("{")
    with pytest.raises(StoreError, match=r"expected a JSON file at .*lock\.json"):
        LockFile.read()
    path.write_text('{"schema_version": 7}')
    with pytest.raises(StoreError, match=r"expected schema version 1 in .*, found 7; remove it and run `sabench data"):
        LockFile.read()


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Precondition, match="expected a folder that can be written"):
        LockFile(tmp_path / "file" / "below").write()


def test_what_vanishes_while_it_is_looked_at_is_missing(bench: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    def vanish(self: BenchMedia, row: Any, **options: Any) -> None:
        raise MediaError("expected a file, found none", status="missing_media")

    monkeypatch.setattr(BenchMedia, "inspect", vanish)
    lock = LockFile.read()
    (report,) = inspect_recordings([read_official("sfx")], lock)
    assert report.counts()["missing"] == 50
    assert lock.clips == {}
