"""Workers that are actors of Ray, in a cluster that exists (RAY_ADDRESS) or in one of this machine for the run.

An actor answers the requests that a worker process answers. What it started is ended by Ray, but for what left it.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import signal
import socket
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from sam_audio_bench.errors import Precondition, describe_error
from sam_audio_bench.run.worker_process import Lost

__all__ = ["ray_cluster"]

_MEMORY = 256 << 20  # bytes of a local cluster's object store: what is sent is one batch for each worker
_ANSWERS = 10.0  # seconds in which a cluster must take a connection
_STARTS = 300.0  # seconds in which the cluster must have room for an actor


class _Actor:
    """A worker; its class is imported in the process of the actor."""

    def __init__(self) -> None:
        from sam_audio_bench.run.worker import Worker

        self._worker = Worker(Path(tempfile.gettempdir(), f"sabench-worker-{uuid.uuid4().hex}.log"))

    def number(self) -> int:
        """Of the process."""
        return os.getpid()

    def answer(self, content: bytes) -> bytes:
        """The reply to a request."""
        return self._worker.answer(content)


class RayLink:
    """One actor, which answers one request at a time.

    Raises:
        Lost: it did not start.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        import ray

        self._ray = ray
        self._actor: Any = ray.remote(_Actor).options(**options).remote()
        self._is_ready = False

    def ask(self, content: bytes, limit: float | None = None) -> bytes:
        """As `ProcessLink.ask`."""
        errors = self._ray.exceptions
        try:
            if not self._is_ready:
                self._ray.get(self._actor.number.remote(), timeout=_STARTS)
                self._is_ready = True
            found: bytes = self._ray.get(self._actor.answer.remote(content), timeout=limit)
        except errors.GetTimeoutError:
            self.end()
            cause = "it took too long" if self._is_ready else f"the cluster had no room for it in {_STARTS:g} seconds"
            raise Lost(cause, is_late=self._is_ready) from None
        except errors.RayError as error:
            self.end()
            raise Lost(f"Ray lost it ({describe_error(error).splitlines()[0]})") from None
        return found

    def end(self, patience: float = 0.0) -> None:
        """Ends the actor; it cannot end by itself."""
        try:
            self._ray.kill(self._actor, no_restart=True)
        except (ValueError, self._ray.exceptions.RayError):  # the cluster is gone already
            return


@contextmanager
def ray_cluster(workers: int, *, with_gpus: bool) -> Iterator[Callable[[int], RayLink]]:
    """A function that starts an actor; a cluster that was started for it ends with the block.

    Args:
        workers: how many actors are wanted.
        with_gpus: each has a GPU of its own.

    Raises:
        Precondition: Ray is not installed, or there is no cluster at RAY_ADDRESS.
    """
    if importlib.util.find_spec("ray") is None:
        raise Precondition(
            "expected Ray for --executor ray, found none; pip install 'sam-audio-bench[ray]', or use --executor "
            "processes"
        )
    ray: Any = importlib.import_module("ray")
    is_ours = not ray.is_initialized()
    if is_ours:
        _connect(ray, workers)
    try:
        gpus = with_gpus and ray.cluster_resources().get("GPU", 0) > 0
        options = {
            "num_cpus": 1, "num_gpus": int(gpus), "max_restarts": 0, "max_concurrency": 1,
            "runtime_env": {"env_vars": _variables()},
        }  # fmt: skip
        yield lambda number: RayLink(options)
    finally:
        if is_ours:
            ray.shutdown()


def _connect(ray: Any, workers: int) -> None:
    """To the cluster of RAY_ADDRESS, or to a new one; Ray's handlers of signals are not kept."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    address = os.environ.get("RAY_ADDRESS")
    if address and not _answers(address):
        raise Precondition(
            f"expected a Ray cluster at RAY_ADDRESS={address}, found nobody who answers there; start one with `ray "
            "start --head`, or unset RAY_ADDRESS for one of this run"
        )
    local = {} if address else {"num_cpus": workers, "include_dashboard": False, "object_store_memory": _MEMORY}
    try:
        ray.init(address=address, log_to_driver=False, configure_logging=False, logging_level="ERROR", **local)
    except Exception as error:  # of many kinds
        where = f"at RAY_ADDRESS={address}" if address else "that can be started on this machine"
        raise Precondition(f"expected a Ray cluster {where}, found: {describe_error(error)}") from error
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _answers(address: str) -> bool:
    """Whether somebody listens at ``host:port`` or ``ray://host:port``; other addresses are for Ray to look up.

    Ray itself would wait there for minutes.
    """
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if not (colon and port.isdecimal()):
        return True
    try:
        socket.create_connection((host, int(port)), timeout=_ANSWERS).close()
    except OSError:
        return False
    return True


def _variables() -> dict[str, str]:
    """Of an actor: the modules that this process finds, and its number of threads."""
    threads = os.environ.get("OMP_NUM_THREADS", str(torch.get_num_threads()))
    return {"PYTHONPATH": os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path), "OMP_NUM_THREADS": threads}
