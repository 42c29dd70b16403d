"""load_task: names, splits, and what is said when something is missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sam_audio_bench.errors import Precondition, UsageError
from sam_audio_bench.tasks import TASKS
from sam_audio_bench.tasks.folders import cache_folder, data_folder
from sam_audio_bench.tasks.load import is_path, load_task


@pytest.mark.parametrize("name", TASKS)
def test_the_mini_split_has_every_task(name: str):
    data = load_task(name)
    assert (data.task, data.version, data.split) == (name, TASKS[name].version, "mini")
    assert len(data) >= 10


@pytest.mark.parametrize("name", ["sfx", "speaker-visual", "instr-pro"])
def test_the_test_split_says_what_is_missing_where_it_belongs_and_what_works(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("SABENCH_DATA", str(tmp_path))
    monkeypatch.setattr("sam_audio_bench.nn.hub._is_hub_reachable", lambda: False)
    with pytest.raises(Precondition) as caught:
        load_task(name, "test")
    message = str(caught.value)
    assert TASKS[name].repository in message
    assert str(tmp_path / TASKS[name].repository.split("/")[1].replace("-", "_")) in message
    assert "--split mini" in message
    assert "\n" not in message


def test_an_unknown_task_suggests_the_nearest():
    with pytest.raises(UsageError, match="unknown task 'spech': did you mean 'speech'"):
        load_task("spech")


def test_a_group_is_no_task():
    with pytest.raises(UsageError, match="group 'instrument': load instr-wild, instr-pro"):
        load_task("instrument")


@pytest.mark.parametrize(("split", "subset", "message"), [("dev", "paper", "--split"), ("mini", "tiny", "--subset")])
def test_an_unknown_split_or_subset_is_refused(split: str, subset: str, message: str):
    with pytest.raises(UsageError, match=message):
        load_task("sfx", split, subset)


def test_a_name_with_the_ending_of_a_csv_is_a_path():
    assert is_path("data/Mine.CSV")
    assert not is_path("sfx")


def test_folders_follow_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("SABENCH_DATA", raising=False)
    monkeypatch.setenv("SABENCH_CACHE", "/a")
    assert (cache_folder(), data_folder()) == (Path("/a"), Path("/a/data"))
    monkeypatch.delenv("SABENCH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    assert cache_folder() == Path("/b/sam-audio-bench")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "sam-audio-bench"
    monkeypatch.setenv("SABENCH_DATA", "~/media")
    assert data_folder() == Path.home() / "media"


def test_importing_the_loader_brings_neither_torch_nor_a_decoder():
    code = (
        "import sys, sam_audio_bench.tasks, sam_audio_bench.tasks.load, sam_audio_bench.tasks.recipes as r\n"
        "r.load_recipes(), r.compute_revision()\n"
        "print([m for m in ('torch', 'numpy', 'soundfile', 'av') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
