"""The ``sabench`` command: parses options, calls the library, prints results.

    eval      evaluates separators on tasks
    separate  separates one file
    score     scores stored estimates, also by other metrics
    table     tables of run folders
    plot      figures of run folders
    compare   two runs on their common items
    slices    kinds of items in which a separator is worse
    distance  distance of the estimates of a run from a reference set
    merge     merges shards into one run
    reproduce  repeats a run from its record, and compares
    filter    selects estimates that are good enough for training
    cite      BibTeX of data, metrics and separators of runs
    listing   lists tasks, models, metrics
    models    makes checkpoints
    doctor    checks this installation
    judge     a package: ratings without a reference, training of judges
    data      a package: inspection and validation of data
    ratings   a package: listening tests
    leaderboard  a package: submissions, their validation, the site
    lazy      groups that import a command when it is called
    examples  the examples at the end of each command's help
    config    origins of option values: command line, environment, file
    arguments  types and parsers of arguments: runs, leaderboards, comma-separated names
    output    results on standard output, everything else on standard error

Importing this package imports click alone; each command imports its own needs.
"""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import click

from sam_audio_bench import __version__
from sam_audio_bench.cli.lazy import LazyGroup
from sam_audio_bench.cli.output import echo, note, open_closed_streams, print_json, replace_unwritable
from sam_audio_bench.errors import BenchError, Precondition, describe_error
from sam_audio_bench.files import cache_folder
from sam_audio_bench.run import interruption
from sam_audio_bench.run.process_exit import exit_despite_threads
from sam_audio_bench.run.provenance import commit

__all__ = ["FIRST_COMMANDS", "main"]

_COMMANDS = {
    "eval": (f"{__name__}.eval:evaluate", "Evaluate separators on tasks and print the table."),
    "separate": (f"{__name__}.separate:separate", "Separate one file by one prompt."),
    "list": (f"{__name__}.listing:listing", "List tasks, models or metrics."),
    "score": (f"{__name__}.score:score", "Score stored estimates again, or by other metrics."),
    "table": (f"{__name__}.table:table", "Print the table of finished runs."),
    "plot": (f"{__name__}.plot:plot", "Draw figures of finished runs."),
    "compare": (f"{__name__}.compare:compare", "Test whether one run is better than another, and where it is worse."),
    "slices": (f"{__name__}.slices:slices", "Find kinds of items in which a separator is surely worse than elsewhere."),
    "distance": (f"{__name__}.distance:distance", "Measure the distance of estimates from a set of sounds."),
    "merge": (f"{__name__}.merge:merge", "Merge the shards of a run."),
    "reproduce": (f"{__name__}.reproduce:reproduce", "Repeat a run from its record, and report differences."),
    "filter": (f"{__name__}.filter:filter_command", "Keep estimates that are good enough to train on, as a task."),
    "cite": (f"{__name__}.cite:cite", "Print BibTeX of data, metrics and separators of runs."),
    "models": (f"{__name__}.models:models", "Make checkpoints."),
    "judge": (f"{__name__}.judge:judge", "Rate estimates without a reference."),
    "data": (f"{__name__}.data:data", "Inspect data: what is present, where, and what is missing."),
    "ratings": (f"{__name__}.ratings:ratings", "Listening tests: agreement, correlation with metrics, reports."),
    "leaderboard": (f"{__name__}.leaderboard:leaderboard", "Leaderboards: submit, validate, build the site."),
    "doctor": (f"{__name__}.doctor:doctor", "Check this installation, and say what is missing."),
}

FIRST_COMMANDS = {
    "sabench list models": "what can be compared",
    "sabench eval --model hpss --task instrument --split mini": "a first table, offline",
    "sabench table runs --format md": "the same table again, for a paper or an issue",
}
"""The first commands for a new user, in this order, with their purpose."""

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
    """All commands; the help text is `_HELP`."""
    if asks_version:
        _print_version(as_json=as_json)
        context.exit()
    if as_json:
        raise click.UsageError("expected --json after a command or with --version, found neither", context)
    if context.invoked_subcommand is None:
        _greet()
        context.exit(2)


def _greet() -> None:
    """Shows the first commands, on standard error, since no result was requested."""
    width = max(map(len, FIRST_COMMANDS))
    lines = [f"  {command:{width}}  {purpose}" for command, purpose in FIRST_COMMANDS.items()]
    note("\n".join(["Benchmark promptable audio source separation. To begin with:", "", *lines, ""]))
    note("sabench --help names every command, sabench COMMAND --help its options.")


def _print_version(*, as_json: bool) -> None:
    """Prints the version; with ``as_json`` also the other facts of a bug report. Imports no torch."""
    if not as_json:
        echo(f"sabench, version {__version__}")
        return
    checkout = commit() or {}
    print_json({
        "version": __version__,
        "commit": checkout.get("commit"),
        "changed": checkout.get("dirty"),
        "python": platform.python_version(),
        "torch": _torch(),
        "platform": platform.platform(),
        "cache": _cache(),
    })  # fmt: skip


def _torch() -> str | None:
    try:
        return version("torch")
    except PackageNotFoundError:
        return None


def _cache() -> str | None:
    try:
        return str(cache_folder())
    except Precondition:  # there is no home folder
        return None


def main(arguments: list[str] | None = None) -> Any:
    """Runs a command; an error of the package is one sentence on standard error and exit code 2.

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
                if not isinstance(error, SystemExit):  # whatever exception the interruption became
                    note("sabench: stopped")
                interruption.exit_interrupted()
            if arguments is None:  # otherwise the process goes on
                exit_despite_threads(_exit_code(error), lambda text: note(f"sabench: {text}"))
            raise


def _exit_code(error: BaseException) -> int:
    """Returns the exit code of a process that an exception ends."""
    code = error.code if isinstance(error, SystemExit) else 1
    return code if isinstance(code, int) else int(code is not None)


def _run(words: list[str]) -> Any:
    stdout = sys.stdout
    try:
        return group.main(args=words, prog_name="sabench", standalone_mode=True)
    except SystemExit as end:
        if end.code == 1 and (sys.stdout is not stdout or isinstance(end.__context__, BrokenPipeError)):
            sys.exit(_CLOSED_PIPE)  # `| head`: the reader is gone; click replaces the stream, and rich raises again
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
    except UnicodeEncodeError as error:  # an unpaired surrogate, in a file name that libraries cannot open
        if "--debug" in words:
            raise
        note(f"sabench: expected names and texts that are valid UTF-8, found {error.object!r}; rename it")
        sys.exit(2)
