"""A command group that imports a command only when it is called, so that --help stays fast."""

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
    """A path with ``~`` for the home folder, which shells do not expand in ``--out=~/x``, files and variables.

    Args:
        path: the type that converts the expanded value.
    """

    envvar_list_splitter = click.Path.envvar_list_splitter

    def __init__(self, path: click.Path) -> None:
        self.name, self._path = path.name, path

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Returns the path; raises Precondition if there is no home folder."""
        return self._path.convert(expand_home(value), param, ctx)


class HomeText(click.ParamType[str]):
    """A name, or a path as for `HomePath`, also after ``:`` or ``=``."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Returns the text; raises Precondition if there is no home folder."""
        return expand_homes(str(value))


def _expand_home_paths(command: click.Command) -> click.Command:
    """Replaces the type of path options and arguments by `HomePath`, also in subcommands."""
    for parameter in command.params:
        if isinstance(parameter.type, click.Path):
            parameter.type = HomePath(parameter.type)
    for below in command.commands.values() if isinstance(command, click.Group) else ():
        _expand_home_paths(below)
    return command


def _refuse_repeats(command: click.Command, ctx: click.Context, args: list[str]) -> None:
    """Raises UsageError for a repeated option that takes one value; click would ignore the first value."""
    _, _, order = command.make_parser(ctx).parse_args(list(args))
    for parameter, count in Counter(order).items():
        if isinstance(parameter, click.Option) and count > 1 and not (parameter.multiple or parameter.is_flag):
            name = max(parameter.opts, key=len)
            raise click.UsageError(f"expected {name} once, with commas in it if it takes several; found {count}", ctx)


class LazyGroup(click.Group):
    """A group with commands by name: ``name -> ("module:attribute", summary)``."""

    def __init__(self, *arguments: Any, lazy: Mapping[str, tuple[str, str]], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._lazy = lazy
        self._path = ""  # from sabench to here

    def invoke(self, ctx: click.Context) -> Any:
        """Runs a command; exits with code 3 if it is interrupted."""
        try:
            return super().invoke(ctx)
        except click.UsageError as error:  # it may quote a file or a variable
            text = error.format_message()
            if text == printable(text):
                raise
            raise click.UsageError(printable(text), ctx=error.ctx) from error
        except KeyboardInterrupt:
            note("sabench: stopped")
            ctx.exit(EXIT_CODE)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Returns the names in the order of the mapping."""
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
        return with_examples(_expand_home_paths(command), path)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes summaries without importing commands."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in self._lazy.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Finds a command; raises UsageError for an unknown one, with the nearest name, and for a repeated option."""
        if args and args[0] not in self._lazy:
            raise unknown_name("command", args[0], self._lazy)
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None and not isinstance(command, click.Group):
            _refuse_repeats(command, click.Context(command, parent=ctx, info_name=name), rest)
        return name, command, rest
