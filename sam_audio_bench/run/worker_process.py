"""Workers as processes of this machine: starting one, sending it requests, and ending it with all its descendants.

A worker leads a session of its own, so that Ctrl-C in the terminal reaches the run but not the worker; it ends itself
when the run has ended in any way. Its descendants are identified by an environment variable. Temporary files of a
worker are in a folder that is deleted with it.
"""

from __future__ import annotations

import faulthandler
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

from sam_audio_bench import platforms
from sam_audio_bench.errors import Precondition
from sam_audio_bench.separators.process_family import read_environment
from sam_audio_bench.separators.programs import describe_exit

__all__ = ["ProcessHandle", "WorkerLostError", "main"]

_MARK = "SABENCH_WORKER"
_CHECK_INTERVAL = 0.2  # seconds between checks that a worker is alive while it does not reply
_KILL_TIMEOUT = 5.0  # seconds for killed processes to disappear
_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv.pop(1)); "
    "from sam_audio_bench.run.worker_process import main; main()"
)


class WorkerLostError(Exception):
    """A worker ended without a reply.

    Args:
        cause: as a clause: "it was killed by SIGKILL".
        printed: its last output.
        is_timeout: it was killed because it took too long.
    """

    def __init__(self, cause: str, printed: str = "", *, is_timeout: bool = False) -> None:
        super().__init__(cause)
        self.printed, self.is_timeout = printed, is_timeout


class ProcessHandle:
    """One worker process, which handles one request at a time.

    Args:
        gpu: the only visible one, for CUDA_VISIBLE_DEVICES; None: as in this process.

    Raises:
        Precondition: this platform does not support worker processes.
    """

    def __init__(self, gpu: str | None = None) -> None:
        if platforms.IS_WINDOWS:
            raise Precondition(
                "expected a POSIX system for worker processes, found Windows; use --executor local, without --timeout "
                "and --memory, which are limits of workers (programs of cmd: and serve: have options timeout), or WSL"
            )
        self._folder = Path(tempfile.mkdtemp(prefix="sabench-worker-"))
        self._log, self._streams = self._folder / "separator.log", self._folder / "streams.log"
        self._mark, self._lock, self._output = uuid.uuid4().hex, threading.Lock(), ""
        self._is_waiting = self._timed_out = False
        self._pipe, theirs = multiprocessing.Pipe()
        read, self._lifeline = os.pipe()
        variables = {_MARK: self._mark, "TMPDIR": str(self._folder)}
        if gpu is not None:
            variables["CUDA_VISIBLE_DEVICES"] = gpu
        places = [json.dumps(sys.path), str(theirs.fileno()), str(read), str(self._log)]
        with self._streams.open("wb") as streams:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _START, *places], stdin=subprocess.DEVNULL, stdout=streams, stderr=streams,
                pass_fds=(theirs.fileno(), read), start_new_session=True, env={**os.environ, **variables},
            )  # fmt: skip
        theirs.close()
        os.close(read)

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def request(self, content: bytes, limit: float | None = None) -> bytes:
        """Returns the reply to a request, both as bytes.

        Args:
            content: the request.
            limit: seconds after which the worker is killed; None: no limit.

        Raises:
            WorkerLostError: the worker died, or was killed.
        """
        timer = None if limit is None else threading.Timer(limit, self._expire)
        with self._lock:
            self._is_waiting = True
        try:
            if timer is not None:
                timer.daemon = True
                timer.start()
            self._pipe.send_bytes(content)
            while not self._pipe.poll(_CHECK_INTERVAL):
                if self._process.poll() is not None and not self._pipe.poll(0):
                    raise EOFError
            return self._pipe.recv_bytes()
        except (EOFError, OSError):
            self.end()
            raise WorkerLostError(self._cause(), self._last_output(), is_timeout=self._timed_out) from None
        finally:
            with self._lock:
                self._is_waiting = False
            if timer is not None:
                timer.cancel()

    def _expire(self) -> None:
        with self._lock:
            if not self._is_waiting:
                return
            self._timed_out = True
        self._kill()

    def end(self, patience: float = 0.0) -> None:
        """Ends the process and its descendants; may be called by any thread, and repeatedly.

        Args:
            patience: seconds for it to end by itself.
        """
        if patience:
            self._pipe.close()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(patience)
        self._kill()
        with self._lock:
            if self._lifeline >= 0:
                os.close(self._lifeline)
                self._lifeline = -1
                self._output = "".join(map(_text, (self._streams, self._log)))
                shutil.rmtree(self._folder, ignore_errors=True)

    def _kill(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        _end_marked(self._mark)
        self._process.wait()

    def _cause(self) -> str:
        code = self._process.returncode
        return f"it {describe_exit(code)}{', perhaps for want of memory' if code == -signal.SIGKILL else ''}"

    def _last_output(self) -> str:
        return self._output


def _text(path: Path) -> str:
    with suppress(OSError):
        return path.read_text(encoding="utf-8", errors="replace")
    return ""


def _end_marked(mark: str) -> None:
    """Ends the processes with a mark in their environment, on Linux, until there are none; they may start others."""
    deadline = time.monotonic() + _KILL_TIMEOUT
    while sys.platform == "linux" and time.monotonic() < deadline:
        marked = [number for number in _processes() if read_environment(number, _MARK) == mark]
        if not marked:
            return
        for number in marked:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(number, signal.SIGKILL)
        time.sleep(0.002)


def _processes() -> list[int]:
    """Returns the ids of all other processes."""
    return [
        int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal() and int(path.name) != os.getpid()
    ]


def main() -> None:
    """Runs a worker: handles requests until the connection is closed."""
    pipe, lifeline, log = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    del sys.argv[1:]
    faulthandler.enable()
    threading.Thread(target=_end_with, args=(lifeline, log.parent), daemon=True).start()
    from sam_audio_bench.run.worker import Worker

    worker, connection = Worker(log), Connection(pipe)
    while True:
        try:
            content = connection.recv_bytes()
        except (EOFError, OSError):
            worker.release()
            return
        connection.send_bytes(worker.handle_request(content))


def _end_with(lifeline: int, folder: Path) -> None:
    """Waits for the end of the parent process, then ends this one with its descendants."""
    mark = os.environ[_MARK]
    os.read(lifeline, 1)
    _end_marked(mark)
    shutil.rmtree(folder, ignore_errors=True)
    os.kill(os.getpid(), signal.SIGKILL)
