"""``sabench data show``: an item on one sheet."""

from __future__ import annotations

from pathlib import Path

import click

from sam_audio_bench.cli.config import data_dir_option

__all__ = ["show"]


@click.command()
@click.argument("task")
@click.argument("item")
@click.option("--split", type=click.Choice(["test", "mini"]), default="test", show_default=True)
@click.option("--subset", type=click.Choice(["paper", "full"]), default="paper", show_default=True)
@data_dir_option()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The PNG file to write.")
@click.option("--frames", type=int, default=8, show_default=True, help="Frames of a video.")
def show(task: str, item: str, split: str, subset: str, out: Path, frames: int) -> None:
    """Draw an item of any task, or of anyone's data, on one sheet.

    Frames, masks and masked frames of a video; the waveform with its spans and, where there is one, the reference.
    """
    from sam_audio_bench.registry import load_task
    from sam_audio_bench.tasks.contact_sheet import contact_sheet

    data = load_task(task, split=split, subset=subset)
    contact_sheet(data[item], out, title=data.label, frames=frames)
    click.echo(out)
