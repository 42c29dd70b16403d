"""Calls of a separator's code: what it prints, changes, or ends is its own, and an interruption always gets through."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sam_audio_bench.errors import describe_error
from sam_audio_bench.run.global_state import GlobalState, seed_generators
from sam_audio_bench.run.interruption import allow_interruption, defer_signals
from sam_audio_bench.run.output_log import captured
from sam_audio_bench.run.process_exit import prevent_exit
from sam_audio_bench.run.progress import say
from sam_audio_bench.types import AnySeparator

__all__ = ["Isolation", "releasing_processes"]


@dataclass(frozen=True)
class Isolation:
    """The surroundings in which a separator is called.

    Args:
        own: the global state as its constructor left it, with which each call begins; None: that of everybody.
        log: file for what it prints; None: that is not captured.
    """

    own: GlobalState | None = None
    log: Path | None = None

    @contextmanager
    def around_call(self, heading: str, seed: int) -> Iterator[None]:
        """One call: the global state is put back at its end, and shared generators begin with the seed.

        Args:
            heading: of what is printed, in the log.
            seed: of the first item of the call.
        """
        ours = GlobalState.capture()
        try:
            with captured(self.log, heading):
                if self.own is not None:
                    self.own.restore_settings()
                seed_generators(seed)
                with prevent_exit(), allow_interruption():
                    yield
        finally:
            ours.restore()


@contextmanager
def releasing_processes(separators: Iterable[tuple[AnySeparator, Path | None]]) -> Iterator[None]:
    """At the end of this block, however it ends, separators end the processes that they hold.

    Args:
        separators: with the log for what they print then; None: that is not captured. Each is released once.
    """
    try:
        yield
    finally:
        with defer_signals():
            for separator, log in {id(one): (one, log) for one, log in separators}.values():
                release = getattr(separator, "release_processes", None)
                if callable(release):
                    try:
                        with captured(log, "at the end"):
                            release()
                    except Exception as error:  # costs nothing that is done
                        say(f"{separator.name} could not end its processes: {describe_error(error)}")
