"""Workers as Ray actors, in an existing cluster (RAY_ADDRESS) or in a local one that is started for the run.

An actor handles the same requests as a worker process. Ray ends the processes that an actor started, except detached
ones.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import os
import signal
import socket
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from sam_audio_bench.errors import Precondition, describe_error
from sam_audio_bench.run.worker_process import WorkerLostError

__all__ = ["ray_cluster"]

_MEMORY = 256 << 20  # bytes of a local cluster's object store; each worker is sent one batch at a time
_CONNECT_TIMEOUT = 10.0  # seconds for a cluster to accept a connection
_CHECK_INTERVAL = 5.0  # seconds between checks that the cluster is reachable
_START_TIMEOUT = 300.0  # seconds for the cluster to have resources for an actor


class _Actor:
    """A worker; its class is imported in the process of the actor."""

    def __init__(self) -> None:
        from sam_audio_bench.run.worker import Worker

        self._worker = Worker(_log_folder() / f"sabench-worker-{uuid.uuid4().hex}.log")

    def process_id(self) -> int:
        """Returns the id of the actor's process."""
        return os.getpid()

    def handle_request(self, content: bytes) -> bytes:
        """Returns the reply to a request."""
        return self._worker.handle_request(content)


def _log_folder() -> Path:
    """Returns the folder of Ray's logs, which Ray cleans up; on Linux it is known from the path of standard output."""
    try:
        folder = Path("/proc/self/fd/1").readlink().parent
    except OSError:
        return Path(tempfile.gettempdir())
    return folder if folder.is_dir() and os.access(folder, os.W_OK) else Path(tempfile.gettempdir())


class _Cluster:
    """The cluster that this process is connected to.

    Args:
        ray: the imported module.
        options: Ray options of each actor.
    """

    def __init__(self, ray: Any, options: dict[str, Any]) -> None:
        self.ray, self.options, self.is_gone = ray, options, False
        self._address = str(ray.get_runtime_context().gcs_address)

    def get(self, reference: Any, limit: float | None) -> Any:
        """Returns an actor's result; raises Ray's errors, and Precondition if the cluster cannot be reached any more.

        Ray itself would end this process a minute later.
        """
        end = math.inf if limit is None else time.monotonic() + limit
        while not self.ray.wait([reference], timeout=max(0.0, min(_CHECK_INTERVAL, end - time.monotonic())))[0]:
            if time.monotonic() >= end:
                break
            if not _is_reachable(self._address):
                self.is_gone = True
                raise Precondition(
                    f"expected the Ray cluster at {self._address} to stay, found that it cannot be reached any more; "
                    "what is finished is kept: the same command continues, with another cluster or --executor processes"
                )
        return self.ray.get(reference, timeout=0 if limit is not None else None)


class RayHandle:
    """One actor, which handles one request at a time."""

    def __init__(self, cluster: _Cluster) -> None:
        self._cluster, self._ray = cluster, cluster.ray
        self._actor: Any = self._ray.remote(_Actor).options(**cluster.options).remote()
        self._is_ready = False

    def request(self, content: bytes, limit: float | None = None) -> bytes:
        """As `ProcessHandle.request`; raises Precondition if the cluster is gone."""
        errors = self._ray.exceptions
        try:
            if not self._is_ready:
                self._cluster.get(self._actor.process_id.remote(), _START_TIMEOUT)
                self._is_ready = True
            found: bytes = self._cluster.get(self._actor.handle_request.remote(content), limit)
        except errors.GetTimeoutError:
            self.end()
            cause = (
                "it took too long"
                if self._is_ready
                else f"the cluster had no room for it in {_START_TIMEOUT:g} seconds"
            )
            raise WorkerLostError(cause, is_timeout=self._is_ready) from None
        except errors.RayError as error:
            self.end()
            raise WorkerLostError(f"Ray lost it ({describe_error(error).splitlines()[0]})") from None
        return found

    def end(self, patience: float = 0.0) -> None:
        """Ends the actor at once; an actor cannot end by itself."""
        if self._cluster.is_gone:
            return
        try:
            self._ray.kill(self._actor, no_restart=True)
        except (ValueError, self._ray.exceptions.RayError):  # the cluster is gone already
            return


@contextmanager
def ray_cluster(
    workers: int | None, *, local: int, uses_gpus: bool
) -> Iterator[tuple[Callable[[int], RayHandle], int]]:
    """Yields a function that starts an actor, and the number of workers; a cluster started here ends with the block.

    Args:
        workers: requested number of actors; None: as many as the cluster has resources for.
        local: default number if a cluster has to be started on this machine.
        uses_gpus: reserve one GPU per actor if there are any.

    Raises:
        Precondition: Ray is not installed, or there is no cluster at RAY_ADDRESS.
    """
    if importlib.util.find_spec("ray") is None:
        raise Precondition(
            "expected Ray for --executor ray, found none; pip install 'sam-audio-bench[ray]', or use --executor "
            "processes"
        )
    ray: Any = importlib.import_module("ray")
    is_ours, threads = not ray.is_initialized(), torch.get_num_threads()
    if is_ours:
        _connect(ray, (workers or local) * threads)
    there = ray.cluster_resources()
    gpus = int(there.get("GPU", 0)) if uses_gpus else 0
    room = gpus or max(1, int(there.get("CPU", 1)) // threads)
    cluster = _Cluster(ray, {
        "num_cpus": threads, "num_gpus": min(gpus, 1), "max_restarts": 0, "max_concurrency": 1,
        "runtime_env": {"env_vars": _environment()},
    })  # fmt: skip
    try:
        yield lambda number: RayHandle(cluster), min(workers or room, room)
    finally:
        if is_ours and not cluster.is_gone:
            ray.shutdown()


def _connect(ray: Any, cores: int) -> None:
    """Connects to the cluster of RAY_ADDRESS or to a new one, and restores the signal handlers that Ray replaces."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    address = os.environ.get("RAY_ADDRESS")
    if address and not _is_reachable(address):
        raise Precondition(
            f"expected a Ray cluster at RAY_ADDRESS={address}, found none that can be reached; start one with `ray "
            "start --head`, or unset RAY_ADDRESS for one of this run"
        )
    local = {} if address else {"num_cpus": cores, "include_dashboard": False, "object_store_memory": _MEMORY}
    try:
        ray.init(address=address, log_to_driver=False, configure_logging=False, logging_level="ERROR", **local)
    except Exception as error:  # of many kinds
        where = f"at RAY_ADDRESS={address}" if address else "that can be started on this machine"
        raise Precondition(f"expected a Ray cluster {where}, found: {describe_error(error)}") from error
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _is_reachable(address: str) -> bool:
    """Returns whether a server listens at ``host:port`` or ``ray://host:port``; Ray resolves other addresses itself.

    Ray itself would wait there for minutes.
    """
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if not (colon and port.isdecimal()):
        return True
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_TIMEOUT).close()
    except OSError:
        return False
    return True


def _environment() -> dict[str, str]:
    """Returns environment variables of an actor: this process's module path and number of threads."""
    threads = os.environ.get("OMP_NUM_THREADS", str(torch.get_num_threads()))
    return {"PYTHONPATH": os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path), "OMP_NUM_THREADS": threads}
