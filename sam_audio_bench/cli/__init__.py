"""The ``sabench`` command: reads options, calls the library, prints.

    eval      the main job
    separate  one file
    score     kept audio by other metrics
    table     tables of run folders
    plot      figures of run folders
    compare   two runs on the items that both have
    slices    where a separator is worse than elsewhere
    slice_figure  its figure
    merge     shards become one run
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
    words     lists that a user writes with commas
    output    results on standard output, everything else on standard error

Importing this package imports click alone; each command imports its own needs.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from sam_audio_bench import __version__
from sam_audio_bench.cli.lazy import LazyGroup
from sam_audio_bench.cli.output import note, open_closed_streams, replace_unwritable
from sam_audio_bench.errors import BenchError, describe_error
from sam_audio_bench.run import interruption
from sam_audio_bench.run.exits import outlive_threads

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
    "merge": (f"{__name__}.merge:merge", "Put the shards of a run together."),
    "cite": (f"{__name__}.cite:cite", "Print BibTeX of what runs used."),
    "models": (f"{__name__}.models:models", "Make checkpoints."),
    "judge": (f"{__name__}.judge:judge", "Rate answers without a reference."),
    "data": (f"{__name__}.data:data", "Look at data: what is there, where, what is missing."),
    "ratings": (f"{__name__}.ratings:ratings", "Listening tests: agreement, correlation with metrics, reports."),
    "leaderboard": (f"{__name__}.leaderboard:leaderboard", "Leaderboards: submit, validate, build the site."),
    "doctor": (f"{__name__}.doctor:doctor", "Say what this machine has and what is missing."),
}

_CLOSED_PIPE = 128 + 13  # as of a program that SIGPIPE ends

_HELP = """Benchmark promptable audio source separation.

\b
sabench list tasks
sabench eval --model hpss --task instrument --split mini
sabench table runs --format md
"""  # \b keeps click from rewrapping the lines


@click.group(
    cls=LazyGroup,
    lazy=_COMMANDS,
    help=_HELP,
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "SABENCH"},
)
@click.version_option(__version__, prog_name="sabench")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def group(debug: bool) -> None:
    """Every command; `_HELP` is what a user reads."""


def main(arguments: list[str] | None = None) -> Any:
    """Runs a command; an error of ours is one sentence on standard error and exit code 2.

    Ctrl-C, SIGTERM and SIGHUP end it with exit code 3, whatever they interrupt.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # idle threads of torch would take a core from the encoder
    open_closed_streams()
    replace_unwritable()
    with interruption.handled():
        try:
            return _run(sys.argv[1:] if arguments is None else arguments)
        except BaseException as error:
            if interruption.was_interrupted():
                if not isinstance(error, SystemExit):  # whatever was made of the interruption
                    note("sabench: stopped")
                interruption.exit_interrupted()
            if arguments is None:  # else the process has something else to do
                outlive_threads(_exit_code(error), lambda text: note(f"sabench: {text}"))
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
