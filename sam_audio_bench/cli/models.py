"""``sabench models``: makes checkpoints."""

from __future__ import annotations

from pathlib import Path

import click

from sam_audio_bench.cli.output import echo

__all__ = ["models"]


@click.group()
def models() -> None:
    """Make checkpoints."""


@models.command("make-tiny")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--seed", type=int, default=0, show_default=True)
def make_tiny(folder: Path, seed: int) -> None:
    """Write a small random SAM Audio checkpoint in the official format to FOLDER.

    It has every layer and does not separate: for tests, demonstrations and dry runs.
    """
    from sam_audio_bench.nn.tiny import write_tiny_checkpoint

    write_tiny_checkpoint(folder, seed)
    echo(f"Random weights in {folder}: they separate nothing.")
    echo(f"Next: sabench eval --model sam-audio:{folder} --task sfx --split mini --limit 2")
