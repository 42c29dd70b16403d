"""Runs at URLs: incomplete copies are detected, and complete ones are read like local runs."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pandas as pd
import pytest
from click.testing import CliRunner
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import known_implementations

import sam_audio_bench as sab
from sam_audio_bench.cli import group
from sam_audio_bench.errors import Precondition, StoreError, UsageError
from sam_audio_bench.run.compare import compare_runs
from sam_audio_bench.run.merge import merge, merge_all
from sam_audio_bench.run.remote import RemoteFolder, fetch_runs, find_runs
from sam_audio_bench.run.rescore import rescore
from sam_audio_bench.run.results import Results
from sam_audio_bench.run.upload import upload_run

OPTIONS: dict[str, Any] = {"metrics": ("si_sdr", "snr_i"), "progress": False}


@pytest.fixture(params=["memory", "file"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty folder at a URL."""
    if request.param == "file":
        yield (tmp_path / "elsewhere").as_uri()
        return
    name = uuid.uuid4().hex
    yield f"memory://{name}/runs"
    memory = MemoryFileSystem()
    if memory.exists(f"/{name}"):
        memory.rm(f"/{name}", recursive=True)


@pytest.fixture
def place() -> str:
    """One in memory."""
    return f"memory://{uuid.uuid4().hex}/runs"


def names(url: str) -> set[str]:
    return set(RemoteFolder(url).files())


def evaluate(task: Path, output: Path, **options: Any) -> sab.Results:
    return sab.evaluate("mixture", str(task), output=output, **{**OPTIONS, **options})


def run_of(output: Path) -> Path:
    (path,) = find_runs([output])
    return path


def read(url: str, name: str) -> bytes:
    with fsspec.open(f"{url}/{name}") as file:
        content: bytes = file.read()
    return content


def test_a_finished_run_is_copied_whole_and_read_from_there(small_task: Path, tmp_path: Path, url: str) -> None:
    here = evaluate(small_task, tmp_path / "runs", copy_to=url)
    folder = run_of(tmp_path / "runs")
    below = folder.relative_to(tmp_path / "runs").as_posix()
    kept = {f"audio/{path.name}" for path in (folder / "audio").iterdir()} | {
        "run.json",
        "items.jsonl",
        "items.parquet",
        "scores.parquet",
    }
    assert {name for name in names(url) if not name.endswith("separator.log")} == {f"{below}/{name}" for name in kept}
    for name in kept:
        assert read(url, f"{below}/{name}") == (folder / name).read_bytes()
    shutil.rmtree(tmp_path / "runs")
    there = Results.read([url])
    pd.testing.assert_frame_equal(there.frame, here.frame)
    assert there.to_json()["runs"] == [f"{url}/{below}"], "it is called what it is, not by a temporary name"
    assert there.table().replace(str(url), "") == Results.read([f"{url}/{below}"]).table().replace(str(url), "")


def test_reading_fetches_audio_only_where_it_is_needed(small_task: Path, tmp_path: Path, place: str) -> None:
    evaluate(small_task, tmp_path / "runs", copy_to=place)
    (folder,) = find_runs([place], audio=False)
    assert not (folder / "audio").exists()
    (again,) = find_runs([place])
    assert again == folder
    assert {path.name for path in (folder / "audio").iterdir()} == {
        path.name for path in (run_of(tmp_path / "runs") / "audio").iterdir()
    }


def test_changed_remote_files_are_fetched_again(small_task: Path, tmp_path: Path, place: str) -> None:
    evaluate(small_task, tmp_path / "runs", copy_to=place, limit=1)
    first = Results.read([place])
    evaluate(small_task, tmp_path / "runs", copy_to=place)
    second = Results.read([place])
    assert 1 == first.frame["item"].nunique() < second.frame["item"].nunique()
    (folder,) = find_runs([place])
    (folder / "scores.parquet").write_bytes(b"somebody wrote over the temporary file")
    pd.testing.assert_frame_equal(Results.read([place]).frame, second.frame)


def test_every_command_takes_a_url(small_task: Path, tmp_path: Path) -> None:
    url = (tmp_path / "there").as_uri()
    sab.evaluate(["mixture", "hpss"], str(small_task), output=tmp_path / "runs", copy_to=url, **OPTIONS)
    shutil.rmtree(tmp_path / "runs")

    def said(*command: str) -> str:
        found = CliRunner().invoke(group, [*command])
        assert found.exit_code == 0, found.output
        return str(found.output)

    assert "hpss" in said("table", url, "--format", "md")
    compared = json.loads(said("compare", f"{url}/mixture", f"{url}/hpss", "--json"))
    assert (compared["a"], compared["b"]) == ("mixture", "hpss")
    assert "@" in said("cite", url)
    said("merge", f"{url}/hpss", "--output", str(tmp_path / "merged"), "--copy-to", f"{url}-merged")
    assert "hpss" in said("table", f"{url}-merged")
    said("merge", f"{url}/hpss", "--into", str(tmp_path / "into"), "--copy-to", f"{url}-into")
    assert (tmp_path / "there-into" / "run.json").is_file()
    assert run_of(tmp_path / "merged").parent.name == "hpss"
    assert json.loads(said("score", f"{url}/hpss", "--metrics", "leak_db", "--json"))["rows"]
    assert "leak_db" in said("table", f"{url}/hpss", "--format", "md")


def test_scores_go_back_to_where_the_run_came_from(small_task: Path, tmp_path: Path, url: str) -> None:
    evaluate(small_task, tmp_path / "runs", copy_to=url)
    before = {name: read(url, name) for name in names(url)}
    done = rescore([url], metrics=["leak_db"], progress=False)
    assert set(done.metrics) == {"si_sdr", "snr_i", "leak_db"}
    pd.testing.assert_frame_equal(Results.read([url]).frame, done.frame)
    changed = {Path(name).name for name in names(url) if read(url, name) != before.get(name)}
    assert changed == {"run.json", "items.jsonl", "scores.parquet"}
    rescore([run_of(tmp_path / "runs")], metrics=["leak_db"], progress=False)
    pd.testing.assert_frame_equal(Results.read([tmp_path / "runs"]).frame, done.frame, check_exact=True)


def test_shards_at_urls_become_one_run(small_task: Path, tmp_path: Path, url: str) -> None:
    whole = evaluate(small_task, tmp_path / "whole")
    for index in (1, 2):
        evaluate(small_task, tmp_path / f"part{index}", shard=(index, 2), copy_to=url)
    (merged,) = merge_all([url], tmp_path / "merged")
    assert merged.path.name == run_of(tmp_path / "whole").name
    found = Results.read([tmp_path / "merged"]).frame.sort_values(["metric", "item"], ignore_index=True)
    pd.testing.assert_frame_equal(found, whole.frame.sort_values(["metric", "item"], ignore_index=True))


# --- copies that are there


def test_a_copy_that_is_up_to_date_is_left_alone(small_task: Path, tmp_path: Path, place: str) -> None:
    evaluate(small_task, tmp_path / "runs", copy_to=place)
    folder = run_of(tmp_path / "runs")
    store = RemoteFolder(place).below(*folder.relative_to(tmp_path / "runs").parts)
    assert upload_run(folder, store) == 0
    before = store.files()
    evaluate(small_task, tmp_path / "runs", copy_to=place)  # all kept
    assert store.files() == before


def test_a_run_that_went_on_replaces_its_earlier_copy(small_task: Path, tmp_path: Path, place: str) -> None:
    evaluate(small_task, tmp_path / "runs", copy_to=place, limit=1)
    audio = {name: about for name, about in RemoteFolder(place).files().items() if "/audio/" in name}
    done = evaluate(small_task, tmp_path / "runs", copy_to=place)
    after = RemoteFolder(place).files()
    assert {name: after[name] for name in audio} == audio, "what was there was copied again"
    pd.testing.assert_frame_equal(Results.read([place]).frame, done.frame)


def test_another_run_is_not_written_over(small_task: Path, tmp_path: Path, place: str) -> None:
    evaluate(small_task, tmp_path / "one", copy_to=place)
    before = {name: read(place, name) for name in names(place)}
    with pytest.raises(StoreError, match=r"expected an earlier copy .* found a run of seed 0 instead of 1.*not copied"):
        evaluate(small_task, tmp_path / "two", seed=1, copy_to=place)
    with pytest.raises(StoreError, match=r"items there that it lacks"):
        evaluate(small_task, tmp_path / "three", limit=1, copy_to=place)
    assert {name: read(place, name) for name in names(place)} == before
    assert Results.read([tmp_path / "two"]).asked, "what was run is lost"


def test_an_interrupted_copy_is_detected_and_completed(small_task: Path, tmp_path: Path, place: str) -> None:
    evaluate(small_task, tmp_path / "runs", copy_to=place)
    folder = run_of(tmp_path / "runs")
    store = RemoteFolder(place).below(*folder.relative_to(tmp_path / "runs").parts)
    store.remove("run.json")
    with pytest.raises(Precondition, match=r"expected whole run folders .* without run.json, which is copied last"):
        Results.read([place])
    evaluate(small_task, tmp_path / "runs", copy_to=place)
    assert Results.read([place]).asked


def test_messages_name_the_url(small_task: Path, tmp_path: Path, place: str) -> None:
    for seed, below in ((0, "a"), (1, "b")):
        evaluate(small_task, tmp_path / below, seed=seed, copy_to=f"{place}/{below}")
    Results.read([f"{place}/a", f"{place}/b"])  # different seeds may be combined
    (name,) = (name for name in names(f"{place}/b") if name.endswith("items.jsonl"))
    with fsspec.open(f"{place}/b/{name}", "wb") as file:
        file.write(b"no record\n")
    with pytest.raises(StoreError) as caught:
        compare_runs(f"{place}/a", f"{place}/b")
    assert f"{place}/b/{name}" in str(caught.value)
    assert "sabench-fetched-" not in str(caught.value)


class Forgetful(MemoryFileSystem):  # type: ignore[misc]
    """A store that fails after some files."""

    protocol = "forgetful"
    left = 0

    def put_file(self, lpath: str, rpath: str, **kwargs: Any) -> None:
        """Copies a file, while it does."""
        if not type(self).left:
            raise ConnectionError("the line was cut")
        type(self).left -= 1
        super().put_file(lpath, rpath, **kwargs)


def test_a_connection_lost_at_any_file_leaves_no_copy_that_looks_complete(small_task: Path, tmp_path: Path) -> None:
    fsspec.register_implementation("forgetful", Forgetful, clobber=True)
    done = evaluate(small_task, tmp_path / "runs")
    files = sum(path.is_file() and path.name != ".lock" for path in run_of(tmp_path / "runs").rglob("*"))
    for count in range(files):
        url = f"forgetful://{uuid.uuid4().hex}"
        Forgetful.left = count
        with pytest.raises(Precondition, match=r"the line was cut.*the same command copies them again"):
            evaluate(small_task, tmp_path / "runs", copy_to=url)
        with pytest.raises(Precondition):
            Results.read([url])
    Forgetful.left = files
    evaluate(small_task, tmp_path / "runs", copy_to=url)
    pd.testing.assert_frame_equal(Results.read([url]).frame, done.frame)


# --- URLs that cannot be used


class Locked(MemoryFileSystem):  # type: ignore[misc]
    """A read-only store."""

    protocol = "locked"

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> None:
        """Raises."""
        raise PermissionError(f"Access Denied: {path}")

    def find(self, path: str, *args: Any, **kwargs: Any) -> Any:
        """Raises for one folder."""
        if "secret" in path:
            raise PermissionError("Access Denied")
        return super().find(path, *args, **kwargs)


def test_missing_permissions_are_errors_before_any_work(small_task: Path, tmp_path: Path) -> None:
    fsspec.register_implementation("locked", Locked, clobber=True)
    with pytest.raises(Precondition, match=r"can be written at locked://b/runs, found: PermissionError: Access Denied"):
        evaluate(small_task, tmp_path / "runs", copy_to="locked://b/runs")
    assert not list(tmp_path.glob("runs/*/*/run.json"))
    with pytest.raises(Precondition, match=r"can be read at locked://secret, found: PermissionError"):
        find_runs(["locked://secret"])


def test_invalid_urls(small_task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(known_implementations, "far",
                        {"class": "no_such_package.Far", "err": "Install no_such_package"})  # fmt: skip
    with pytest.raises(Precondition, match=r"package for far:// URLs, found none \(Install no_such_package\)"):
        find_runs(["far://bucket/runs"])
    with pytest.raises(UsageError, match=r"expected a URL that fsspec reads, found nosuch://x"):
        find_runs(["nosuch://x"])
    with pytest.raises(UsageError, match="without a password") as caught:
        find_runs(["ftp://me:tulip@host/runs"])
    assert "tulip" not in str(caught.value)
    with pytest.raises(Precondition, match=r"expected a run folder .* found none"):
        find_runs([f"memory://{uuid.uuid4().hex}"])
    with pytest.raises(UsageError, match=r"URL s3:/b/runs; give it as a text"):
        find_runs([Path("s3://b/runs")])
    for options in ({"output": "s3://b/runs"}, {"copy_to": str(tmp_path)}):
        with pytest.raises(UsageError, match=r"copied there with --copy-to URL|--copy-to as a URL"):
            evaluate(small_task, **{"output": tmp_path / "runs", **options})  # type: ignore[arg-type]
    evaluate(small_task, tmp_path / "runs")
    for call in (merge, merge_all):
        with pytest.raises(UsageError, match="merge into a folder here"):
            call([tmp_path / "runs"], Path("memory://b/runs"))
    assert not {path.name for path in tmp_path.iterdir()} & {"s3:", "memory:"}


def test_names_that_lead_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    class Sly(MemoryFileSystem):  # type: ignore[misc]
        protocol = "sly"

        def find(self, path: str, *args: Any, **kwargs: Any) -> Any:
            return {f"{path}/a/run.json": {"type": "file"}, f"{path}/a/audio/../../../x": {"type": "file"}}

    fsspec.register_implementation("sly", Sly, clobber=True)
    with pytest.raises(StoreError, match="expected names of files below"):
        fetch_runs("sly://b", audio=True)


def test_runs_in_an_archive_are_read(small_task: Path, tmp_path: Path) -> None:
    """URLs may be chained."""
    done = evaluate(small_task, tmp_path / "runs")
    shutil.make_archive(str(tmp_path / "runs"), "zip", tmp_path / "runs")
    url = f"zip://mixture::{(tmp_path / 'runs.zip').as_uri()}"
    found = Results.read([url])
    pd.testing.assert_frame_equal(found.frame, done.frame)
    assert str(found.runs[0]).startswith("zip://mixture/")
    assert compare_runs(url, tmp_path / "runs").rows
