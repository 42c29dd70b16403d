"""``sabench`` without a command: its version, for people and for bug reports, and how to begin."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

from sam_audio_bench import __version__
from sam_audio_bench.cli.output import echo, note, print_json
from sam_audio_bench.errors import Precondition
from sam_audio_bench.files import cache_folder
from sam_audio_bench.run.provenance import commit

__all__ = ["FIRST_COMMANDS", "greet", "print_version"]

FIRST_COMMANDS = {
    "sabench list models": "what can be compared",
    "sabench eval --model hpss --task instrument --split mini": "a first table, offline",
    "sabench table runs --format md": "the same table again, for a paper or an issue",
}
"""What a newcomer runs, in this order, and what for."""


def greet() -> None:
    """Shows the first commands, on standard error: nobody asked for a result."""
    width = max(map(len, FIRST_COMMANDS))
    lines = [f"  {command:{width}}  {purpose}" for command, purpose in FIRST_COMMANDS.items()]
    note("\n".join(["Benchmark promptable audio source separation. To begin with:", "", *lines, ""]))
    note("sabench --help names every command, sabench COMMAND --help its options.")


def print_version(*, as_json: bool) -> None:
    """Prints the version; ``as_json`` with what else a bug report needs. Imports no torch."""
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
