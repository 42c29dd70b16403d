"""``sabench ratings``: listening tests, from a plan to a report, without torch."""

from __future__ import annotations

import click

from sam_audio_bench.cli.lazy import LazyGroup

__all__ = ["ratings"]

_HERE = "sam_audio_bench.cli"
_COMMANDS = {
    "example": (f"{_HERE}.ratings_data:example", "Write answers of an imaginary test, to try the commands on."),
    "import": (f"{_HERE}.ratings_data:import_", "Read listening-test data as one tidy table."),
    "describe": (f"{_HERE}.ratings_data:describe", "Count raters, items and scores."),
    "screen": (f"{_HERE}.ratings_data:screen", "Leave out unreliable raters, and say who and why."),
    "agreement": (f"{_HERE}.ratings_statistics:agreement", "Say how far raters agree, and their mean opinions."),
    "correlate": (f"{_HERE}.ratings_statistics:correlate", "Correlate metrics with raters."),
    "prefer": (f"{_HERE}.ratings_statistics:prefer", "Rank systems by pairwise votes."),
    "power": (f"{_HERE}.ratings_statistics:power", "Say how large the next test should be."),
    "report": (f"{_HERE}.ratings_report:report", "Write one HTML page with all of it."),
    "plan": (f"{_HERE}.ratings_plan:plan", "Make a listening test from a run."),
}

_HELP = """Listening tests: how far do raters agree, and which metric can be trusted?

\b
sabench ratings example --out answers.csv
sabench ratings import answers.csv --out r.parquet
sabench ratings agreement r.parquet
sabench ratings correlate r.parquet
sabench ratings report r.parquet --out report
"""  # \b keeps click from rewrapping the lines


@click.group(cls=LazyGroup, lazy=_COMMANDS, help=_HELP)
def ratings() -> None:
    """The commands above; `_HELP` is what a user reads."""
