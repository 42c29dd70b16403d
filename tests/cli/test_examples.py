"""Every command's help ends with examples, which name options and commands that there are; shells complete commands."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from sam_audio_bench.cli import group
from sam_audio_bench.cli.examples import EXAMPLES


def commands(above: click.Group, context: click.Context) -> Iterator[str]:
    """Names of all commands and groups below a group."""
    for name in above.list_commands(context):
        command = above.get_command(context, name)
        assert command is not None
        below = click.Context(command, parent=context, info_name=name)
        yield below.command_path.removeprefix("sabench ")
        if isinstance(command, click.Group):
            yield from commands(command, below)


NAMES = [*commands(group, click.Context(group, info_name="sabench"))]


@pytest.mark.parametrize("name", NAMES)
def test_help_has_two_examples(name: str) -> None:
    shown = CliRunner().invoke(group, [*name.split(), "--help"], prog_name="sabench").stdout
    lines = [line.strip() for line in shown.splitlines() if line.strip().startswith("sabench ")]
    assert len(lines) >= 2
    if name in EXAMPLES:
        assert lines == [*EXAMPLES[name]]  # whole, not wrapped


def test_every_example_belongs_to_a_command() -> None:
    assert set(EXAMPLES) <= set(NAMES)
    assert all(len(lines) >= 2 for lines in EXAMPLES.values())


@pytest.mark.parametrize(("name", "line"), [(name, line) for name, lines in EXAMPLES.items() for line in lines])
def test_examples_can_be_parsed(name: str, line: str) -> None:
    """Commands and options exist, choices are known, numbers are numbers; files need not be there."""
    sabench, *words = shlex.split(line.partition(" > ")[0])
    assert sabench == "sabench"
    context = click.Context(group, info_name="sabench", resilient_parsing=True)
    command: click.Command = group
    while isinstance(command, click.Group):
        found, *words = words
        below = command.get_command(context, found)
        assert below is not None, line
        command = below
        context = click.Context(command, parent=context, info_name=found, resilient_parsing=True)
    path = context.command_path.removeprefix("sabench ")
    assert path == name or name in ("models", "judge"), "an example of another command"
    values, rest, order = command.make_parser(context).parse_args(words)
    assert rest == []
    for parameter in order:
        if isinstance(parameter.type, click.Choice):
            given = values[parameter.name]
            for value in given if parameter.multiple else [given]:
                parameter.type.convert(value, parameter, context)


def test_shells_complete_commands_and_options() -> None:
    def completed(line: str) -> list[str]:
        environment = {**os.environ, "_SABENCH_COMPLETE": "bash_complete", "COMP_WORDS": line}
        environment["COMP_CWORD"] = str(len(line.split()) - 1)
        code = "from sam_audio_bench.cli import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
        )  # fmt: skip
        return done.stdout.split()

    assert completed("sabench ev") == ["plain,eval"]
    assert "plain,--shard" in completed("sabench eval --sh")
