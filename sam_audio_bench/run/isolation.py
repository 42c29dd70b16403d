"""Calls of a separator's code: what it prints, changes, or ends is its own, and an interruption always gets through."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sam_audio_bench.run.exits import no_exit
from sam_audio_bench.run.global_state import GlobalState, seed_generators
from sam_audio_bench.run.interruption import interruptible
from sam_audio_bench.run.output_log import captured

__all__ = ["Isolation"]


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
            with captured(self.log, heading):
                if self.own is not None:
                    self.own.put_settings_back()
                seed_generators(seed)
                with no_exit(), interruptible():
                    yield
        finally:
            ours.put_back()
