"""The share of the items and the GPU of a process on a cluster, from the variables that launchers set.

Importing this module imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping

from sam_audio_bench.errors import UsageError

__all__ = ["find_own_shard", "select_own_gpu"]

_EXPECTED = (
    "expected with --shard auto a job array of Slurm (SLURM_ARRAY_TASK_ID, SLURM_ARRAY_TASK_COUNT) or a process of "
    "torchrun (RANK, WORLD_SIZE)"
)


def find_own_shard(environment: Mapping[str, str]) -> tuple[tuple[int, int], str]:
    """Returns the shard (I, N) of this process, and its origin as text; each task of an array may have ranks.

    >>> find_own_shard({"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_MIN": "0", "SLURM_ARRAY_TASK_COUNT": "8"})
    ((4, 8), 'task 4 of 8 of a Slurm array')
    >>> find_own_shard({"RANK": "1", "WORLD_SIZE": "2"})
    ((2, 2), 'rank 1 of 2 of torchrun')

    Raises:
        UsageError: there are no such variables, or their values are invalid.
    """
    index, count, origin = 0, 1, []
    if "SLURM_ARRAY_TASK_ID" in environment:
        task, tasks = _array_task(environment)
        index, count, origin = task, tasks, [f"task {task + 1} of {tasks} of a Slurm array"]
    if "RANK" in environment:
        rank, ranks = _read_number(environment, "RANK"), _read_number(environment, "WORLD_SIZE")
        index, count = index * ranks + rank, count * ranks
        origin.append(f"rank {rank} of {ranks} of torchrun")
        _check_index(rank, ranks, "RANK")
    if not origin:
        raise UsageError(f"{_EXPECTED}, found neither; say --shard I/N")
    return (index + 1, count), ", ".join(origin)


def _array_task(environment: Mapping[str, str]) -> tuple[int, int]:
    """Returns the index of the task in its array, from 0, and the number of tasks."""
    task, count = _read_number(environment, "SLURM_ARRAY_TASK_ID"), _read_number(environment, "SLURM_ARRAY_TASK_COUNT")
    first = _read_number(environment, "SLURM_ARRAY_TASK_MIN", "0")
    last = _read_number(environment, "SLURM_ARRAY_TASK_MAX", str(first + count - 1))
    step = (last - first) // (count - 1) if count > 1 else 1
    if count > 1 and ((last - first) % (count - 1) or step < 1 or (task - first) % step):
        raise UsageError(
            f"expected the tasks of a Slurm array in even steps with --shard auto, found {count} of {first} to {last}; "
            "give an array as --array=1-N, or say --shard I/N"
        )
    _check_index((task - first) // step, count, "SLURM_ARRAY_TASK_ID")
    return (task - first) // step, count


def _read_number(environment: Mapping[str, str], name: str, default: str = "") -> int:
    text = environment.get(name, default)
    if not (text.isascii() and text.isdecimal()):
        raise UsageError(f"{_EXPECTED}, found {name}={text!r}; say --shard I/N" if text else
                         f"{_EXPECTED}, found no {name}; say --shard I/N")  # fmt: skip
    return int(text)


def _check_index(index: int, count: int, name: str) -> None:
    if not 0 <= index < count:
        raise UsageError(f"{_EXPECTED}, found number {index + 1} of {count} by {name}; say --shard I/N")


def select_own_gpu(environment: MutableMapping[str, str]) -> str:
    """Restricts a torchrun process to its own GPU, before CUDA is initialised; returns which as text, or ""."""
    if "LOCAL_RANK" not in environment:
        return ""
    rank, visible = _read_number(environment, "LOCAL_RANK"), environment.get("CUDA_VISIBLE_DEVICES")
    names = [name.strip() for name in (visible or "").split(",") if name.strip()]
    if visible is not None and not names:
        return ""
    chosen = names[rank % len(names)] if names else str(rank)
    environment["CUDA_VISIBLE_DEVICES"] = chosen
    return f"GPU {chosen}"
