"""``sabench leaderboard``: submissions, their validation and the site, without torch unless audio is touched.

    results     submissions: add, validate, list, withdraw
    hub         push to the Hugging Face Hub; what is new, for a review

The site, ``previews``, ``build`` and ``space``, is here.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import click

from sam_audio_bench.cli.arguments import BOARD_OR_URL, RUN_OR_URL, is_fetched
from sam_audio_bench.cli.lazy import HomeText, LazyGroup
from sam_audio_bench.cli.output import note
from sam_audio_bench.errors import UsageError

__all__ = ["BOARD", "build", "leaderboard", "previews", "space"]

BOARD = Path("leaderboards")
"""Default leaderboard of the commands."""

_COMMANDS = {
    "submit": (f"{__name__}.results:submit", "Add finished runs as submissions."),
    "validate": (f"{__name__}.results:validate", "Report every problem of a submission."),
    "log": (f"{__name__}.results:log", "Print every submission and withdrawal."),
    "withdraw": (f"{__name__}.results:withdraw", "Take a submission out of the ranks; its row stays."),
    "previews": (f"{__name__}:previews", "Make small sound files of some items for the site."),
    "build": (f"{__name__}:build", "Write the site."),
    "compare": (f"{__name__}.hub:compare", "Compare new submissions with earlier ones, for a review."),
    "push": (f"{__name__}.hub:push", "Push the leaderboard to a dataset repository of the Hugging Face Hub."),
    "space": (f"{__name__}:space", "Write the site as a static Space of the Hugging Face Hub."),
}

_HELP = """Leaderboards: submissions that anyone can score again, and a site without a server.

\b
sabench eval --model hpss --task instrument --split mini
sabench leaderboard submit runs --to board
sabench leaderboard validate board
sabench leaderboard build board
"""  # \b keeps click from rewrapping the lines


@click.group(cls=LazyGroup, lazy=_COMMANDS, help=_HELP)
def leaderboard() -> None:
    """The commands above; the help text is `_HELP`."""


@click.command()
@click.argument("runs", nargs=-1, required=True, type=RUN_OR_URL)
@click.option("--to", "board", type=click.Path(path_type=Path), default=BOARD, show_default=True, help="Leaderboard.")
@click.option("--items", metavar="N|all",
              help="Items per task; all: as many as keep the sounds of a submission within 30 MB. Default: as in "
              "previews.json of the leaderboard, or else all.")  # fmt: skip
@click.option("--kbits", type=click.FloatRange(6, 256), help="Per second of sound; default: as there, or else 48.")
@click.option("--residuals/--no-residuals", default=None,
              help="With or without residuals; default: as there, or else with them.")  # fmt: skip
@click.option(
    "--judge", type=HomeText(), help="A judge's folder or name, whose ratings over time are shown; default: none."
)
def previews(
    runs: tuple[Path | str, ...], board: Path, items: str | None, kbits: float | None, residuals: bool | None,
    judge: str | None,
) -> None:  # fmt: skip
    """Make small sound files and spectrograms of the items for the site; RUNS are those that were submitted.

    `submit` does this too; this command has more options.
    """
    if items not in (None, "all") and not (items.isdecimal() and int(items) > 0):
        raise UsageError(f"expected a number of items from 1, or all, for --items, found {items!r}")
    from sam_audio_bench.leaderboard.preview_rendering import PreviewOptions, make_previews
    from sam_audio_bench.run.progress import Progress

    loaded = None
    if judge is not None:
        from sam_audio_bench.judge import load

        loaded = load(judge)
    options = replace(PreviewOptions.of_board(board), judge=loaded)
    if items is not None:
        options = replace(options, items=None if items == "all" else int(items))
    options = options if kbits is None else replace(options, kbits=kbits)
    options = options if residuals is None else replace(options, residuals=residuals)
    with Progress(0) as bar:
        found = make_previews(board, runs, options, tell=note, progress=bar.step_callback("previews"))
    for label, (previewed, known) in found.items():
        click.echo(f"{label}  {previewed} of {known} items")
    click.echo(f"{sum(previewed for previewed, _ in found.values())} items in {board / 'site' / 'listen'}")


@click.command()
@click.argument("board", type=BOARD_OR_URL, default=BOARD)
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the site; default: site/ in the leaderboard.")
@click.option("--check", is_flag=True, help="Write nothing; exit with 1 if the site is out of date.")
def build(board: Path, out: Path | None, check: bool) -> None:
    """Write the site of a leaderboard: static pages that open from a disk; one at a URL needs --out."""
    if out is None and not check and is_fetched(board):
        raise UsageError("expected --out with a leaderboard at a URL, whose site would be written there, found none")
    from sam_audio_bench.leaderboard.site import build_site, outdated_files

    if check:
        different = outdated_files(board)
        for name in different:
            click.echo(name)
        if different:
            note(f"{len(different)} files are out of date: sabench leaderboard build {board}")
        sys.exit(1 if different else 0)
    pages = build_site(board, out)
    click.echo(f"{len(pages)} files; open {(out or board / 'site') / 'index.html'}")


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--from", "board", type=click.Path(path_type=Path), default=BOARD, show_default=True, help="Leaderboard.")
def space(folder: Path, board: Path) -> None:
    """Write the site into FOLDER, empty or a clone, as a static Space of the Hugging Face Hub."""
    from sam_audio_bench.leaderboard.hub import write_space

    written = write_space(board, folder)
    click.echo(f"{len(written)} files in {folder}")
    note(f"Next: hf upload NAME/SPACE {folder} --repo-type space")
