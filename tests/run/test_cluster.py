"""`--shard auto`: the shard from the environment variables of a launcher."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

import sam_audio_bench as sab
from sam_audio_bench.errors import UsageError
from sam_audio_bench.run.cluster import find_own_shard, select_own_gpu


def array(task: int, first: int, last: int, count: int) -> dict[str, str]:
    values = {"ID": task, "MIN": first, "MAX": last, "COUNT": count}
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in values.items()}


@pytest.mark.parametrize(
    ("environment", "shard"),
    [
        (array(1, 1, 8, 8), (1, 8)),
        (array(8, 1, 8, 8), (8, 8)),
        (array(0, 0, 7, 8), (1, 8)),
        (array(9, 5, 9, 3), (3, 3)),  # --array=5-9:2
        (array(4, 4, 4, 1), (1, 1)),
        ({"SLURM_ARRAY_TASK_ID": "2", "SLURM_ARRAY_TASK_COUNT": "4"}, (3, 4)),
        ({"RANK": "0", "WORLD_SIZE": "16"}, (1, 16)),
        ({**array(2, 1, 3, 3), "RANK": "1", "WORLD_SIZE": "4"}, (6, 12)),  # tasks of four ranks: 1-4, 5-8, 9-12
    ],
)
def test_shard_from_variables(environment: Mapping[str, str], shard: tuple[int, int]) -> None:
    assert find_own_shard(environment)[0] == shard


def test_the_ranks_of_an_array_are_a_partition() -> None:
    found = [
        find_own_shard({**array(task, 0, 4, 3), "RANK": str(rank), "WORLD_SIZE": "2"})[0]
        for task in (0, 2, 4) for rank in (0, 1)
    ]  # fmt: skip
    assert found == [(index, 6) for index in range(1, 7)]


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({}, "found neither; say --shard I/N"),
        ({"WORLD_SIZE": "4"}, "found neither"),
        ({"RANK": "1"}, "found no WORLD_SIZE"),
        ({"RANK": "4", "WORLD_SIZE": "4"}, "found number 5 of 4 by RANK"),
        ({"RANK": "-1", "WORLD_SIZE": "4"}, "found RANK='-1'"),
        ({"SLURM_ARRAY_TASK_ID": "x", "SLURM_ARRAY_TASK_COUNT": "4"}, "found SLURM_ARRAY_TASK_ID='x'"),
        ({"SLURM_ARRAY_TASK_ID": "3"}, "found no SLURM_ARRAY_TASK_COUNT"),
        (array(7, 1, 9, 4), "in even steps"),  # --array=1,4,7,9
        (array(12, 1, 8, 8), "found number 12 of 8"),
    ],
)
def test_invalid_variables(environment: Mapping[str, str], found: str) -> None:
    with pytest.raises(UsageError) as caught:
        find_own_shard(environment)
    assert found in str(caught.value)


@pytest.mark.parametrize(
    ("before", "rank", "after"), [(None, "3", "3"), ("4, 6", "1", "6"), ("GPU-a,GPU-b", "2", "GPU-a"), ("", "1", "")]
)
def test_a_rank_sees_its_own_gpu(before: str | None, rank: str, after: str) -> None:
    environment = {"LOCAL_RANK": rank} | ({} if before is None else {"CUDA_VISIBLE_DEVICES": before})
    said = select_own_gpu(environment)
    assert environment["CUDA_VISIBLE_DEVICES"] == after
    assert said == (f"GPU {after}" if after else "")


def test_shard_only_with_auto(
    small_task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in array(2, 1, 3, 3).items():
        monkeypatch.setenv(name, value)
    options = {"metrics": "snr", "progress": False}
    assert sab.evaluate("mixture", str(small_task), output=tmp_path / "all", **options).asked == 6
    found = sab.evaluate("mixture", str(small_task), output=tmp_path / "part", shard="auto", **options)
    assert found.asked == 2
    assert (tmp_path / "part/mixture/small@1-file.shard-2-of-3").is_dir()
    assert "shard 2/3: task 2 of 3 of a Slurm array" in capsys.readouterr().err


def test_the_command_prints_its_shard(small_task: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from sam_audio_bench.cli import main; main()", "eval", "--model", "mixture",
               "--task", str(small_task), "--metrics", "snr", "--shard", "auto", "--dry-run"]  # fmt: skip
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "RANK"))}
    environment |= {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert "shard 2/2: rank 1 of 2 of torchrun, GPU 1" in done.stderr
    assert "small@1-file: 3 items for mixture: 3 to do" in done.stderr
