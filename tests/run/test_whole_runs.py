"""No run ends well without its files, whatever happens to the disk and to the folder; what is left is taken up."""

from __future__ import annotations

import json
import os
import pwd
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

import sam_audio_bench as sab
from sam_audio_bench import audio
from sam_audio_bench.errors import Precondition, StoreError, UsageError
from sam_audio_bench.files import safe_name
from sam_audio_bench.run.merge import merge, merge_all
from sam_audio_bench.run.results import Results
from sam_audio_bench.run.store import RunFolder
from sam_audio_bench.types import Audio, Prompt

Function = Callable[[torch.Tensor, int, Prompt], torch.Tensor]


def run(task: Path, output: Path, separator: object, **options: object) -> sab.Results:
    return sab.evaluate(separator, str(task), metrics="snr", output=output, progress=False, **options)


def half(mixture: torch.Tensor, rate: int, prompt: Prompt) -> torch.Tensor:
    return mixture * 0.5


def half_and(act: Callable[[], None], call: int = 4) -> Function:
    """`half`, with something that happens in one of its calls, once."""
    calls: list[None] = []

    def half(mixture: torch.Tensor, rate: int, prompt: Prompt) -> torch.Tensor:
        calls.append(None)
        if len(calls) == call:
            act()
        return mixture * 0.5

    return half


def folder_of(output: Path, name: str = "half") -> Path:
    return output / name / "small@1-file"


def header(output: Path, name: str = "half") -> dict[str, object]:
    found: dict[str, object] = json.loads((folder_of(output, name) / "run.json").read_text())
    return found


def scores(output: Path) -> pd.DataFrame:
    return pd.read_parquet(folder_of(output) / "scores.parquet")


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """A disk that is full once a file has so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("level", [0.3, 3.0])  # FLAC, float WAV
def test_a_sound_that_does_not_fit_on_the_disk_is_an_error_of_the_system(level: float, tmp_path: Path) -> None:
    sound = Audio(level * torch.randn(1, 48_000, generator=torch.Generator().manual_seed(0)), 48_000)
    for limit in (0, 10_000, 100_000):
        with pytest.raises(OSError, match="File too large"), files_of_at_most(limit):
            audio.write(tmp_path / "sound", sound)
    with pytest.raises(OSError, match="File too large"), files_of_at_most(1000):
        audio.write_ogg(tmp_path / "sound.ogg", sound)
    assert list(tmp_path.iterdir()) == []
    assert audio.read(audio.write(tmp_path / "sound", sound)).length == 48_000


def test_a_full_disk_ends_the_run_in_a_sentence_and_a_rerun_completes_it(small_task: Path, tmp_path: Path) -> None:
    run(small_task, tmp_path / "expected", half)
    with (
        pytest.raises(StoreError, match=r"found: .*File too large.*the same command continues"),
        files_of_at_most(6000),
    ):
        run(small_task, tmp_path / "o", half)
    assert header(tmp_path / "o")["status"] in ("started", "error")
    assert run(small_task, tmp_path / "o", half).failures == 0
    assert header(tmp_path / "o")["status"] == "success"
    pd.testing.assert_frame_equal(scores(tmp_path / "o"), scores(tmp_path / "expected"))


def remove(path: Path) -> None:
    while path.exists():
        shutil.rmtree(path, ignore_errors=True)  # which others are writing to


@pytest.mark.parametrize(
    ("vanish", "call"),
    [
        (lambda one, other: one.rename(other), 1),
        (lambda one, other: one.rename(other), 4),
        (lambda one, other: remove(one), 6),
    ],
)
def test_an_output_that_vanishes_ends_the_run(
    vanish: Callable[[Path, Path], None], call: int, small_task: Path, tmp_path: Path
) -> None:
    output, away = tmp_path / "o", tmp_path / "away"
    with pytest.raises(StoreError, match="found it moved or removed"):
        run(small_task, output, half_and(lambda: vanish(output, away), call))
    assert not (folder_of(output) / "run.json").exists()
    if away.exists():
        shutil.rmtree(output, ignore_errors=True)
        away.rename(output)
    assert run(small_task, output, half).failures == 0
    assert {path.name for path in (folder_of(output) / "audio").iterdir()} == {
        f"item-{index}.{part}.flac" for index in range(6) for part in ("target", "residual")
    }


def test_an_estimate_that_is_removed_meanwhile_costs_itself(small_task: Path, tmp_path: Path) -> None:
    lost = folder_of(tmp_path) / "audio" / "item-1.residual.flac"
    results = run(small_task, tmp_path, half_and(lost.unlink))
    assert results.failures == 1
    assert header(tmp_path)["status"] == "partial"
    (error,) = header(tmp_path)["errors"]
    assert error["item"] == "item-1"
    assert "found it removed meanwhile; the same command makes it again" in error["message"]
    assert scores(tmp_path).query("item == 'item-1'")["value"].isna().all()
    assert run(small_task, tmp_path, half).failures == 0
    assert lost.is_file()


def careless(mixture: torch.Tensor, rate: int, prompt: Prompt) -> torch.Tensor:
    """Removes the file that the environment names."""
    Path(os.environ["FILE"]).unlink(missing_ok=True)
    return mixture * 0.5


def test_an_estimate_beside_those_of_a_run_is_missed_too(
    small_task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_of(tmp_path, "careless")
    monkeypatch.setenv("FILE", str(tmp_path / "none"))
    run(small_task, tmp_path, careless, sample_ids=["item-5"])
    monkeypatch.setenv("FILE", str(folder / "audio" / "item-5.target.flac"))
    assert run(small_task, tmp_path, careless, limit=3).failures == 0
    found = pd.read_parquet(folder / "scores.parquet").set_index("item")["value"]
    assert found.isna().to_dict() == {"item-0": False, "item-1": False, "item-2": False, "item-5": True}
    monkeypatch.setenv("FILE", str(tmp_path / "none"))
    assert run(small_task, tmp_path, careless).failures == 0
    assert header(tmp_path, "careless")["status"] == "success"


def test_a_journal_that_is_removed_meanwhile_is_written_anew(small_task: Path, tmp_path: Path) -> None:
    journal = folder_of(tmp_path) / "items.jsonl"
    assert run(small_task, tmp_path, half_and(journal.unlink)).failures == 0
    assert {json.loads(line)["item"] for line in journal.read_text().splitlines()} == {f"item-{i}" for i in range(6)}
    assert not RunFolder.open(folder_of(tmp_path)).lost


def test_what_a_killed_run_left_is_removed_and_its_end_is_told(small_task: Path, tmp_path: Path) -> None:
    run(small_task, tmp_path, half)
    folder, picture = folder_of(tmp_path), folder_of(tmp_path) / ".1-00000000.item-1.saj.png"
    left = [folder / "audio" / ".99999.item-3.target.flac", folder / ".99999-01234567.scores.parquet"]
    for path in (*left, picture):
        path.touch()
    run(small_task, tmp_path, half)
    assert [path.exists() for path in left] == [False, False]
    assert picture.exists()  # somebody may be drawing it
    record = {**header(tmp_path), "status": "started"}  # killed between the scores and the last line
    (folder / "run.json").write_text(json.dumps(record))
    run(small_task, tmp_path, half)
    assert header(tmp_path)["status"] == "success"


def task_of(folder: Path, names: list[str]) -> Path:
    folder.mkdir()
    generator, rows = np.random.default_rng(0), ["id,mixture,text,target"]
    for index, name in enumerate(names):
        soundfile.write(folder / f"{index}.wav", 0.1 * generator.normal(size=800), 8000)
        rows.append(f"{name},{index}.wav,a sound,{index}.wav")
    path = folder / "small.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def test_items_that_differ_in_case_have_files_that_differ_without_it(tmp_path: Path) -> None:
    task = task_of(tmp_path / "d", ["Dog", "dog", "DOG", "Cat"])
    run(task, tmp_path / "o", half)
    names = [path.name for path in (folder_of(tmp_path / "o") / "audio").iterdir()]
    assert len({name.casefold() for name in names}) == 8
    assert {"dog.target.flac", "Cat.target.flac", f"{safe_name('Dog')}.target.flac"} <= set(names)
    again = run(task, tmp_path / "again", f"files:{folder_of(tmp_path / 'o') / 'audio'}")
    assert again.failures == 0
    values = [
        frame.query("separator != 'mixture'")["value"].tolist() for frame in (again.frame, scores(tmp_path / "o"))
    ]
    assert values[0] == values[1]


def test_a_folder_of_before_keeps_its_names(tmp_path: Path) -> None:
    task = task_of(tmp_path / "d", ["Dog", "dog"])
    run(task, tmp_path / "o", half)
    folder = folder_of(tmp_path / "o")
    marked = safe_name("Dog")
    for path in (folder / "audio").glob(f"{marked}*"):
        path.rename(path.with_name(path.name.replace(marked, "Dog")))
    journal = folder / "items.jsonl"
    journal.write_text(journal.read_text().replace(marked, "Dog"))
    stamps = {path: path.stat().st_mtime_ns for path in (folder / "audio").iterdir()}
    run(task, tmp_path / "o", half)
    assert {path: path.stat().st_mtime_ns for path in (folder / "audio").iterdir()} == stamps


def test_separators_that_differ_in_case_have_folders_that_differ_without_it(small_task: Path, tmp_path: Path) -> None:
    def named(name: str) -> Function:
        def separate(mixture: torch.Tensor, rate: int, prompt: Prompt) -> torch.Tensor:
            return mixture * 0.5

        separate.__name__ = name
        return separate

    run(small_task, tmp_path, named("Net"), limit=1)
    run(small_task, tmp_path, named("net"), limit=1)
    names = [path.name for path in tmp_path.iterdir() if path.name.casefold().startswith("net")]
    assert "Net" in names
    assert len({name.casefold() for name in names}) == 2
    assert {row.separator for row in Results.read([tmp_path]).rows} >= {"Net", "net"}


def test_a_shard_without_items_is_done_at_once(small_task: Path, tmp_path: Path) -> None:
    for index in range(1, 9):
        results = run(small_task, tmp_path / "parts", half, shard=(index, 8))
        assert results.failures == 0
        assert len(results.rows) == (2 if index <= 6 else 0)
    results.print()
    found = Results.read([tmp_path / "parts" / "half"])
    assert found.watermark is None  # of six items there are six, once each
    whole = merge([tmp_path / "parts" / "half"], tmp_path / "whole")
    assert whole.header.status == "success"
    assert len(whole.items) == 6


def test_an_item_of_other_data_makes_no_merge_whole(small_task: Path, tmp_path: Path) -> None:
    """Six lines are not the six items of the task where one of them is somebody else's."""
    small_task.with_name("mix3.wav").write_text("no sound")
    run(small_task, tmp_path / "parts", half)
    journal = folder_of(tmp_path / "parts") / "items.jsonl"
    journal.write_text(journal.read_text().replace("item-3", "item-9"))
    told: list[str] = []
    merged = merge([journal.parent], tmp_path / "whole", note=told.append)
    assert merged.header.status == "partial"
    assert told[0] == f"{tmp_path / 'whole'}: the shards hold 6 items, but not those of the task: item-3"


def test_what_shards_lack_is_named(small_task: Path, tmp_path: Path) -> None:
    small_task.with_name("mix2.wav").write_text("no sound")
    for index in (1, 3):
        run(small_task, tmp_path / "parts", half, shard=(index, 3))
    told: list[str] = []
    merged = merge_all([tmp_path / "parts" / "half"], tmp_path / "runs", note=told.append)
    assert merged[0].header.status == "partial"
    place = tmp_path / "runs" / "half" / "small@1-file"
    assert told == [
        f"{place}: shards that are not there: 2/3",
        f"{place}: 2 of 6 items are in no shard: item-1, item-4",
        f"{place}: items without an estimate: item-2",
    ]
    small_task.rename(tmp_path / "elsewhere.csv")  # the names of items are not known without the data
    told.clear()
    merge([tmp_path / "parts" / "half"], tmp_path / "again", note=told.append)
    assert f"{tmp_path / 'again'}: 2 of 6 items are in no shard" in told


def test_a_merge_that_fails_leaves_nothing(small_task: Path, tmp_path: Path) -> None:
    for shard in ((1, 2), (2, 2), (3, 4)):
        run(small_task, tmp_path / "o", half, shard=shard)
    with pytest.raises(UsageError, match="expected each item in one shard, found item-2 of "):
        merge([tmp_path / "o" / "half"], tmp_path / "m")
    assert not (tmp_path / "m").exists()
    shards = [folder_of(tmp_path / "o").with_name(f"small@1-file.shard-{index}-of-2") for index in (1, 2)]
    (shards[1] / "audio" / "item-1.target.flac").write_bytes(b"another sound")
    (tmp_path / "m").mkdir()
    with pytest.raises(StoreError, match="run that shard again"):
        merge(shards, tmp_path / "m")
    assert list((tmp_path / "m").iterdir()) == []
    (tmp_path / "m" / "items.jsonl").touch()  # of one that was killed
    with pytest.raises(StoreError, match=r"a new or empty folder at .*, found items.jsonl in it"):
        merge(shards[:1], tmp_path / "m")


def test_runs_are_found_through_links(small_task: Path, tmp_path: Path) -> None:
    run(small_task, tmp_path / "disk", half)
    (tmp_path / "runs").mkdir()
    for name in ("half", "twice"):
        (tmp_path / "runs" / name).symlink_to("../disk/half")
    assert [row.separator for row in Results.read([tmp_path / "runs"]).rows] == ["half"]


def test_a_run_needs_no_home_folder(small_task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(user: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {user}")

    for name in ("HOME", "XDG_CACHE_HOME", "SABENCH_CACHE", "SABENCH_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)  # as with `docker run --user 12345`
    assert run(small_task, tmp_path, half).failures == 0
    with pytest.raises(Precondition, match="set SABENCH_CACHE to a folder"):
        run(Path("sfx"), tmp_path, half, split="test")


def test_names_of_files_that_are_no_text(tmp_path: Path) -> None:
    """A folder of stems, as an old archive leaves it, is refused before any work, and the message can be printed."""
    song = os.fsdecode(os.fsencode(tmp_path) + b"/stems/song\xff")
    Path(song).mkdir(parents=True)
    for index, name in enumerate(("vocals", "drums")):
        soundfile.write(tmp_path / "t.wav", 0.1 * np.random.default_rng(index).normal(size=800), 8000)
        (tmp_path / "t.wav").rename(Path(song, f"{name}.wav"))
    with pytest.raises(UsageError, match=r"expected names in UTF-8, found .*: rename the file or folder") as found:
        run(tmp_path / "stems", tmp_path / "o", half)
    str(found.value).encode()
    assert not (tmp_path / "o").exists()
