"""``sabench data``: looking at data before a run meets them."""

from __future__ import annotations

import click

from sam_audio_bench.cli.lazy import LazyGroup

__all__ = ["data"]

_HERE = "sam_audio_bench.cli"
_COMMANDS = {
    "status": (f"{_HERE}.data_official:status", "Say what is there of the official data."),
    "verify": (f"{_HERE}.data_official:verify", "Decode it all and write down checksums."),
    "where": (f"{_HERE}.data_official:where", "Print which file serves an item."),
    "missing": (f"{_HERE}.data_official:missing", "List the recordings to get."),
    "show": (f"{_HERE}.data_show:show", "Draw an item: frames, mask, waveform, spans."),
    "validate": (f"{_HERE}.data_validate:validate", "Check anyone's data before a run."),
}

_HELP = """Look at data before a run meets them.

\b
sabench data status
sabench data missing sfx --format csv
sabench data show sfx-visual sfx-visual-00 --split mini --out item.png
sabench data validate my/questions.csv
"""  # \b keeps click from rewrapping the lines


@click.group(cls=LazyGroup, lazy=_COMMANDS, help=_HELP)
def data() -> None:
    """The commands above; `_HELP` is what a user reads."""
