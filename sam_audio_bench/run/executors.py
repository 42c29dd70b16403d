"""Choice of the executor of a job by the options of the run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch

from sam_audio_bench.run.execution import Executor, LocalExecutor
from sam_audio_bench.run.job import Job
from sam_audio_bench.run.memory_limit import limits_memory
from sam_audio_bench.run.settings import BASELINE, Settings
from sam_audio_bench.run.worker_job import make_begin_job
from sam_audio_bench.run.worker_process import ProcessHandle
from sam_audio_bench.run.workers import WorkerExecutor, WorkerHandle, limits_itself

__all__ = ["count_cores", "list_worker_gpus", "open_executors", "open_workers"]

_AT_THE_END = 5.0  # seconds for workers to end by themselves


@contextmanager
def open_executors(
    settings: Settings, jobs: Sequence[Job], note: Callable[[str], None]
) -> Iterator[Callable[[Job], Executor]]:
    """Provides a function from a job to its executor; all workers are stopped at the end of the block.

    Raises:
        UsageError: a separator cannot be sent to a worker. Precondition: a requirement of the executor is missing.
    """
    if settings.memory is not None and not limits_memory():
        note(f"--memory {settings.memory:g} is ignored: this platform does not limit what a process allocates")
    with ExitStack() as stack:
        local = LocalExecutor()
        is_limited = settings.timeout is not None or settings.memory is not None
        if not jobs or (settings.executor == "local" and not is_limited):
            yield lambda job: local
            return
        workers = stack.enter_context(open_workers(settings, note))

        def executor(job: Job) -> Executor:
            return local if settings.executor == "local" and _needs_no_worker(job, settings) else workers

        for job in jobs:
            if executor(job) is workers and not isinstance(job.build_arguments.spec, str):
                make_begin_job(job, settings)  # raises before any work
        yield executor


@contextmanager
def open_workers(settings: Settings, note: Callable[[str], None]) -> Iterator[WorkerExecutor]:
    """Provides the workers that the options request; all are stopped at the end of the block.

    Raises:
        Precondition: a requirement of the executor is missing.
    """
    with ExitStack() as stack:
        workers = _start_workers(settings, stack, note)
        stack.callback(workers.close)
        yield workers
        workers.close(_AT_THE_END)


def _needs_no_worker(job: Job, settings: Settings) -> bool:
    """Whether a separator of a local run can stay in this process although time or memory is limited."""
    spec = job.build_arguments.spec
    is_stored = isinstance(spec, str) and (spec == BASELINE or spec.startswith("files:"))
    return is_stored or (limits_itself(job) and settings.memory is None)


def _start_workers(settings: Settings, stack: ExitStack, note: Callable[[str], None]) -> WorkerExecutor:
    gpus = list_worker_gpus(settings.device)
    count = settings.workers or len(gpus) or max(1, count_cores() // torch.get_num_threads())
    if settings.executor == "ray":
        from sam_audio_bench.run.ray_workers import ray_cluster

        uses_gpus = settings.device in ("auto", "cuda")
        actor, room = stack.enter_context(ray_cluster(settings.workers, local=count, uses_gpus=uses_gpus))
        if settings.workers is not None and room < settings.workers:
            note(f"--workers {settings.workers}: the Ray cluster has room for {room}, which work")
        return WorkerExecutor(actor, room)
    count = 1 if settings.executor == "local" else count

    def connect(number: int) -> WorkerHandle:
        return ProcessHandle(gpus[number % len(gpus)] if gpus and settings.executor != "local" else None)

    return WorkerExecutor(connect, count)


def list_worker_gpus(device: str) -> list[str]:
    """Returns the GPUs to distribute over workers, in the form of CUDA_VISIBLE_DEVICES; none if a device is set."""
    if device not in ("auto", "cuda"):
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    return [*map(str, range(count))] if visible is None else [name.strip() for name in visible.split(",")][:count]


def count_cores() -> int:
    """Returns the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
