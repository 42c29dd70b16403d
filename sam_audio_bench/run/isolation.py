"""Isolated calls of a separator: its output is captured, global state restored and exits prevented.

An interruption always gets through.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sam_audio_bench.errors import describe_error
from sam_audio_bench.run.global_state import GlobalState, seed_generators
from sam_audio_bench.run.interruption import allow_interruption, defer_signals
from sam_audio_bench.run.output_log import capture_output
from sam_audio_bench.run.process_exit import prevent_exit
from sam_audio_bench.run.progress import print_note
from sam_audio_bench.types import AnySeparator

__all__ = ["Isolation", "releasing_processes"]


@dataclass(frozen=True)
class Isolation:
    """The environment in which a separator is called.

    Args:
        own: global state after its construction, with which each call begins; None: that of the process.
        log: file for its output; None: output is not captured.
    """

    own: GlobalState | None = None
    log: Path | None = None

    @contextmanager
    def around_call(self, heading: str, seed: int) -> Iterator[None]:
        """Encloses one call: seeds the global generators, and restores the global state at the end.

        Args:
            heading: heading of the output in the log.
            seed: seed of the first item of the call.
        """
        ours = GlobalState.capture()
        try:
            with capture_output(self.log, heading):
                if self.own is not None:
                    self.own.restore_settings()
                seed_generators(seed)
                with prevent_exit(), allow_interruption():
                    yield
        finally:
            ours.restore()


@contextmanager
def releasing_processes(separators: Iterable[tuple[AnySeparator, Path | None]]) -> Iterator[None]:
    """Calls ``release_processes`` of each separator that has it, at the end of the block, however it ends.

    Args:
        separators: each with the log for its output; None: output is not captured. Each is called once.
    """
    try:
        yield
    finally:
        with defer_signals():
            for separator, log in {id(one): (one, log) for one, log in separators}.values():
                release = getattr(separator, "release_processes", None)
                if callable(release):
                    try:
                        with capture_output(log, "at the end"):
                            release()
                    except Exception as error:  # loses no finished work
                        print_note(f"{separator.name} could not end its processes: {describe_error(error)}")
