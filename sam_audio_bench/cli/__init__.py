"""The ``sabench`` command: reads options, calls the library, prints.

    eval      the main job
    score     kept audio by other metrics
    table     tables of run folders
    merge     shards become one run
    cite      BibTeX of what runs used
    listing   tasks, models, metrics
    doctor    what this machine has
    config    where an option's value comes from
    output    results on standard output, everything else on standard error

Importing this package imports click alone; each command imports its own needs.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import click

from sam_audio_bench import __version__
from sam_audio_bench.errors import BenchError

__all__ = ["main"]

_COMMANDS = {
    "eval": ("eval:evaluate", "Evaluate separators on tasks and print the table."),
    "list": ("listing:listing", "List tasks, models or metrics."),
    "score": ("score:score", "Score kept audio again, or by other metrics."),
    "table": ("table:table", "Print the table of finished runs."),
    "merge": ("merge:merge", "Put the shards of a run together."),
    "cite": ("cite:cite", "Print BibTeX of what runs used."),
    "doctor": ("doctor:doctor", "Say what this machine has and what is missing."),
}


class _Lazy(click.Group):
    """A group that knows its commands by name and imports one when it is called, so that --help stays fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        module, _, attribute = _COMMANDS[name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(f"{__name__}.{module}"), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in _COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in _COMMANDS:
            from sam_audio_bench.errors import unknown_name

            raise unknown_name("command", args[0], _COMMANDS)
        return super().resolve_command(ctx, args)


_HELP = """Benchmark promptable audio source separation.

\b
sabench list tasks
sabench eval --model hpss --task instrument --split mini
sabench table runs --format md
"""  # \b keeps click from rewrapping the lines


@click.group(
    cls=_Lazy, help=_HELP, context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "SABENCH"}
)
@click.version_option(__version__, prog_name="sabench")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def group(debug: bool) -> None:
    """Every command; `_HELP` is what a user reads."""


def main(arguments: list[str] | None = None) -> Any:
    """Runs a command; an error of ours is one sentence on standard error and exit code 2."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # idle threads of torch would take a core from the encoder
    words = sys.argv[1:] if arguments is None else arguments
    try:
        return group.main(args=words, prog_name="sabench", standalone_mode=True)
    except BenchError as error:
        if "--debug" in words:
            raise
        click.echo(f"sabench: {error}", err=True)
        sys.exit(2)
