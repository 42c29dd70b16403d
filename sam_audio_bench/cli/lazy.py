"""A group of commands that imports one when it is called, so that --help stays fast."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import click

from sam_audio_bench.cli.output import note
from sam_audio_bench.errors import unknown_name
from sam_audio_bench.run.interruption import EXIT_CODE

__all__ = ["LazyGroup"]


class LazyGroup(click.Group):
    """Knows its commands by name: ``name -> ("module:attribute", summary)``."""

    def __init__(self, *arguments: Any, lazy: Mapping[str, tuple[str, str]], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._lazy = lazy

    def invoke(self, ctx: click.Context) -> Any:
        """Runs a command; one that is interrupted ends with exit code 3."""
        try:
            return super().invoke(ctx)
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
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Summaries without an import."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in self._lazy.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Raises UsageError with the nearest name for an unknown command."""
        if args and args[0] not in self._lazy:
            raise unknown_name("command", args[0], self._lazy)
        return super().resolve_command(ctx, args)
