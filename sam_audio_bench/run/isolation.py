"""Calls of a separator's code: what it prints, changes, or ends is its own, and an interruption always gets through."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sam_audio_bench.errors import describe_error
from sam_audio_bench.run.exits import no_exit
from sam_audio_bench.run.global_state import GlobalState, seed_generators
from sam_audio_bench.run.interruption import deferred, interruptible
from sam_audio_bench.run.output_log import capture_output
from sam_audio_bench.run.progress import print_note
from sam_audio_bench.types import AnySeparator

__all__ = ["Isolation", "released"]


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
    def entered(self, heading: str, seed: int) -> Iterator[None]:
        """One call: the global state is put back at its end, and shared generators begin with the seed.

        Args:
            heading: of what is printed, in the log.
            seed: of the first item of the call.
        """
        ours = GlobalState.now()
        try:
            with capture_output(self.log, heading):
                if self.own is not None:
                    self.own.put_settings_back()
                seed_generators(seed)
                with no_exit(), interruptible():
                    yield
        finally:
            ours.put_back()


@contextmanager
def released(separators: Iterable[tuple[AnySeparator, Path | None]]) -> Iterator[None]:
    """At the end of this block, however it ends, separators end the processes that they hold.

    Args:
        separators: with the log for what they print then; None: that is not captured. Each is released once.
    """
    try:
        yield
    finally:
        with deferred():
            for separator, log in {id(one): (one, log) for one, log in separators}.values():
                release = getattr(separator, "release_processes", None)
                if callable(release):
                    try:
                        with capture_output(log, "at the end"):
                            release()
                    except Exception as error:  # costs nothing that is done
                        print_note(f"{separator.name} could not end its processes: {describe_error(error)}")
