"""A group of commands that imports one when it is called, so that --help stays fast."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Mapping
from typing import Any

import click

from sam_audio_bench.cli.examples import with_examples
from sam_audio_bench.cli.output import note
from sam_audio_bench.errors import unknown_name
from sam_audio_bench.files import expand_home, expand_homes
from sam_audio_bench.render.text import printable
from sam_audio_bench.run.interruption import EXIT_CODE

__all__ = ["HomePath", "HomeText", "LazyGroup"]


class HomePath(click.ParamType[Any]):
    """A path whose ``~`` is the home folder: no shell expands that of ``--out=~/x``, a file or a variable.

    Args:
        path: the type that makes a value of it.
    """

    envvar_list_splitter = click.Path.envvar_list_splitter

    def __init__(self, path: click.Path) -> None:
        self.name, self._path = path.name, path

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path; raises Precondition where there is no home folder."""
        return self._path.convert(expand_home(value), param, ctx)


class HomeText(click.ParamType[str]):
    """A name, or a path as `HomePath`, also behind ``:`` or ``=``."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text; raises Precondition where there is no home folder."""
        return expand_homes(str(value))


def _expanding(command: click.Command) -> click.Command:
    """The command with `HomePath` for each option and argument that is a path, and so those below it."""
    for parameter in command.params:
        if isinstance(parameter.type, click.Path):
            parameter.type = HomePath(parameter.type)
    for below in command.commands.values() if isinstance(command, click.Group) else ():
        _expanding(below)
    return command


def _refuse_repeats(command: click.Command, ctx: click.Context, args: list[str]) -> None:
    """Raises UsageError for an option of one value that is given twice, of which click would drop the first."""
    _, _, order = command.make_parser(ctx).parse_args(list(args))
    for parameter, count in Counter(order).items():
        if isinstance(parameter, click.Option) and count > 1 and not (parameter.multiple or parameter.is_flag):
            name = max(parameter.opts, key=len)
            raise click.UsageError(f"expected {name} once, with commas in it if it takes several; found {count}", ctx)


class LazyGroup(click.Group):
    """Knows its commands by name: ``name -> ("module:attribute", summary)``."""

    def __init__(self, *arguments: Any, lazy: Mapping[str, tuple[str, str]], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._lazy = lazy
        self._path = ""  # from sabench to here

    def invoke(self, ctx: click.Context) -> Any:
        """Runs a command; one that is interrupted ends with exit code 3."""
        try:
            return super().invoke(ctx)
        except click.UsageError as error:  # it may quote what a file or a variable says
            text = error.format_message()
            if text == printable(text):
                raise
            raise click.UsageError(printable(text), ctx=error.ctx) from error
        except KeyboardInterrupt:
            note("sabench: stopped")
            ctx.exit(EXIT_CODE)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the mapping."""
        return list(self._lazy)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Imports the module of one command."""
        if name not in self._lazy:
            return None
        module, _, attribute = self._lazy[name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        path = f"{self._path} {name}".strip()
        if isinstance(command, LazyGroup):
            command._path = path
        return with_examples(_expanding(command), path)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Summaries without an import."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in self._lazy.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Raises UsageError with the nearest name for an unknown command, and for an option that is given twice."""
        if args and args[0] not in self._lazy:
            raise unknown_name("command", args[0], self._lazy)
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None and not isinstance(command, click.Group):
            _refuse_repeats(command, click.Context(command, parent=ctx, info_name=name), rest)
        return name, command, rest
