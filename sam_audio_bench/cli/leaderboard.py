"""``sabench leaderboard``: submissions, their validation and the site, without torch unless audio is touched."""

from __future__ import annotations

import click

from sam_audio_bench.cli.lazy import LazyGroup

__all__ = ["leaderboard"]

_HERE = "sam_audio_bench.cli"
_COMMANDS = {
    "submit": (f"{_HERE}.leaderboard_results:submit", "Add finished runs as submissions."),
    "validate": (f"{_HERE}.leaderboard_results:validate", "Say everything that is wrong with a submission."),
    "log": (f"{_HERE}.leaderboard_results:log", "Print every submission and withdrawal."),
    "withdraw": (f"{_HERE}.leaderboard_results:withdraw", "Take a submission out of the ranks; its row stays."),
    "previews": (f"{_HERE}.leaderboard_site:previews", "Make small sound files of some items for the site."),
    "build": (f"{_HERE}.leaderboard_site:build", "Write the site."),
}

_HELP = """Leaderboards: submissions that anyone can score again, and a site without a server.

\b
sabench eval --model hpss --task instrument --split mini
sabench leaderboard submit runs --to board
sabench leaderboard validate board
sabench leaderboard build board
"""  # \b keeps click from rewrapping the lines


@click.group(cls=LazyGroup, lazy=_COMMANDS, help=_HELP)
def leaderboard() -> None:
    """The commands above; `_HELP` is what a user reads."""
