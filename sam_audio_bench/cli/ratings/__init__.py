"""``sabench ratings``: listening tests, from a plan to a report.

    data        import, description and screening of ratings
    statistics  agreement, correlation with metrics, votes, power
    report      an HTML report
    plan        a listening test from runs

None of them imports torch.
"""

from __future__ import annotations

import click

from sam_audio_bench.cli.lazy import LazyGroup

__all__ = ["ratings"]

_COMMANDS = {
    "example": (f"{__name__}.data:example", "Write ratings of a simulated test, to try the commands."),
    "import": (f"{__name__}.data:import_", "Read listening-test data as one tidy table."),
    "describe": (f"{__name__}.data:describe", "Count raters, items and scores."),
    "screen": (f"{__name__}.data:screen", "Exclude unreliable raters, and report who and why."),
    "agreement": (f"{__name__}.statistics:agreement", "Measure agreement of raters, and mean opinions."),
    "correlate": (f"{__name__}.statistics:correlate", "Correlate metrics with ratings."),
    "prefer": (f"{__name__}.statistics:prefer", "Rank systems by pairwise votes."),
    "power": (f"{__name__}.statistics:power", "Find the size of the next test by simulation."),
    "report": (f"{__name__}.report:report", "Write one HTML page with all of it."),
    "plan": (f"{__name__}.plan:plan", "Make a listening test from a run."),
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
    """The commands above; the help text is `_HELP`."""
