"""The ``sabench`` command: reads options, calls the library, prints.

    eval      the main job
    separate  one file
    score     kept audio by other metrics
    table     tables of run folders
    plot      figures of run folders
    compare   two runs on the items that both have
    slices    where a separator is worse than elsewhere
    distance  how far all answers of a run are from a reference set
    merge     shards become one run
    reproduce  a run made again from its record
    filter    estimates that are good enough to train on
    cite      BibTeX of what runs used
    listing   tasks, models, metrics
    models    checkpoints on this machine
    doctor    what this machine has
    judge     a package: answers rated without a reference, judges trained
    data      a package: what is there of the data, what is wrong with them
    ratings   a package: listening tests
    leaderboard  a package: submissions, their validation, the site
    lazy      groups that import a command when it is called
    examples  what the help of each command ends with
    config    where an option's value comes from
    greeting  what is shown without a command: the version, how to begin
    words     lists that a user writes with commas
    output    results on standard output, everything else on standard error

Importing this package imports click alone; each command imports its own needs.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from sam_audio_bench.cli.greeting import FIRST_COMMANDS, greet, print_version
from sam_audio_bench.cli.lazy import LazyGroup
from sam_audio_bench.cli.output import note, open_closed_streams, replace_unwritable
from sam_audio_bench.errors import BenchError, describe_error
from sam_audio_bench.run import interruption
from sam_audio_bench.run.process_exit import exit_despite_threads

__all__ = ["main"]

_COMMANDS = {
    "eval": (f"{__name__}.eval:evaluate", "Evaluate separators on tasks and print the table."),
    "separate": (f"{__name__}.separate:separate", "Separate one file by one prompt."),
    "list": (f"{__name__}.listing:listing", "List tasks, models or metrics."),
    "score": (f"{__name__}.score:score", "Score kept audio again, or by other metrics."),
    "table": (f"{__name__}.table:table", "Print the table of finished runs."),
    "plot": (f"{__name__}.plot:plot", "Draw figures of finished runs."),
    "compare": (f"{__name__}.compare:compare", "Say whether one run is better than another, and where it is worse."),
    "slices": (f"{__name__}.slices:slices", "Say in which kinds of items a separator is surely worse than elsewhere."),
    "distance": (f"{__name__}.distance:distance", "Say how far all answers of runs are from a set of sounds."),
    "merge": (f"{__name__}.merge:merge", "Put the shards of a run together."),
    "reproduce": (f"{__name__}.reproduce:reproduce", "Make a run again from its record, and say what differs."),
    "filter": (f"{__name__}.filter:filter_command", "Keep estimates that are good enough to train on, as a task."),
    "cite": (f"{__name__}.cite:cite", "Print BibTeX of what runs used."),
    "models": (f"{__name__}.models:models", "Make checkpoints."),
    "judge": (f"{__name__}.judge:judge", "Rate answers without a reference."),
    "data": (f"{__name__}.data:data", "Look at data: what is there, where, what is missing."),
    "ratings": (f"{__name__}.ratings:ratings", "Listening tests: agreement, correlation with metrics, reports."),
    "leaderboard": (f"{__name__}.leaderboard:leaderboard", "Leaderboards: submit, validate, build the site."),
    "doctor": (f"{__name__}.doctor:doctor", "Say what this machine has and what is missing."),
}

_CLOSED_PIPE = 128 + 13  # as of a program that SIGPIPE ends

_HELP = "\n".join(["Benchmark promptable audio source separation.", "", "\b", *FIRST_COMMANDS])
"""\\b keeps click from rewrapping the lines."""


@click.group(
    cls=LazyGroup,
    lazy=_COMMANDS,
    help=_HELP,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "SABENCH"},
)
@click.option("--version", "asks_version", is_flag=True, allow_from_autoenv=False, help="Show the version and exit.")
@click.option("--json", "as_json", is_flag=True, allow_from_autoenv=False, help="With --version: all of a bug report.")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.pass_context
def group(context: click.Context, asks_version: bool, as_json: bool, debug: bool) -> None:
    """Every command; `_HELP` is what a user reads."""
    if asks_version:
        print_version(as_json=as_json)
        context.exit()
    if as_json:
        raise click.UsageError("expected --json behind a command or beside --version, found neither", context)
    if context.invoked_subcommand is None:
        greet()
        context.exit(2)


def main(arguments: list[str] | None = None) -> Any:
    """Runs a command; an error of ours is one sentence on standard error and exit code 2.

    Ctrl-C, SIGTERM and SIGHUP end it with exit code 3, whatever they interrupt.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # idle threads of torch would take a core from the encoder
    open_closed_streams()
    replace_unwritable()
    with interruption.handle_signals():
        try:
            return _run(sys.argv[1:] if arguments is None else arguments)
        except BaseException as error:
            if interruption.was_interrupted():
                if not isinstance(error, SystemExit):  # whatever was made of the interruption
                    note("sabench: stopped")
                interruption.exit_interrupted()
            if arguments is None:  # else the process has something else to do
                exit_despite_threads(_exit_code(error), lambda text: note(f"sabench: {text}"))
            raise


def _exit_code(error: BaseException) -> int:
    """Of a process that an exception ends."""
    code = error.code if isinstance(error, SystemExit) else 1
    return code if isinstance(code, int) else int(code is not None)


def _run(words: list[str]) -> Any:
    stdout = sys.stdout
    try:
        return group.main(args=words, prog_name="sabench", standalone_mode=True)
    except SystemExit as end:
        if end.code == 1 and (sys.stdout is not stdout or isinstance(end.__context__, BrokenPipeError)):
            sys.exit(_CLOSED_PIPE)  # `| head`: nobody reads on; click replaces the stream, and rich raises anew
        raise
    except BenchError as error:
        if "--debug" in words:
            raise
        note(f"sabench: {describe_error(error)}")
        sys.exit(2)
    except OSError as error:
        if "--debug" in words:
            raise
        note(f"sabench: expected files that can be read and written, found: {error}")
        sys.exit(2)
    except UnicodeEncodeError as error:  # half a letter, in the name of a file that libraries cannot reach
        if "--debug" in words:
            raise
        note(f"sabench: expected names and texts that are valid UTF-8, found {error.object!r}; rename it")
        sys.exit(2)
