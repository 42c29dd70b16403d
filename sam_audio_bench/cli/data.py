"""``sabench data``: looking at data before a run meets them."""

from __future__ import annotations

import click

from sam_audio_bench.cli.lazy import LazyGroup

__all__ = ["data"]

_HERE = "sam_audio_bench.cli"
_COMMANDS = {
    "show": (f"{_HERE}.data_show:show", "Draw an item: frames, mask, waveform, spans."),
    "validate": (f"{_HERE}.data_validate:validate", "Check anyone's data before a run."),
}

_HELP = """Look at data before a run meets them.

\b
sabench data show sfx-visual sfx-visual-00 --split mini --out item.png
sabench data validate my/questions.csv
"""  # \b keeps click from rewrapping the lines


@click.group(cls=LazyGroup, lazy=_COMMANDS, help=_HELP)
def data() -> None:
    """The commands above; `_HELP` is what a user reads."""
