"""``sabench leaderboard push`` and ``compare``: publishing on the Hugging Face Hub, and review of new submissions."""

from __future__ import annotations

from pathlib import Path

import click

from sam_audio_bench.cli.arguments import BOARD_OR_URL
from sam_audio_bench.cli.leaderboard import BOARD
from sam_audio_bench.cli.output import echo, note
from sam_audio_bench.errors import UsageError
from sam_audio_bench.render.text import pluralize

__all__ = ["compare", "push"]


@click.command()
@click.argument("repository")
@click.option("--from", "board", type=click.Path(path_type=Path), default=BOARD, show_default=True, help="Leaderboard.")
@click.option("--create", type=click.Choice(["private", "public"]), help="Create the repository if it does not exist.")
@click.option("--pull-request", is_flag=True, help="Open one, instead of writing to the main branch.")
@click.option("--results", multiple=True, metavar="SEPARATOR=MODEL",
              help="Also open a pull request with a separator's .eval_results in its model's repository.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Check everything, write nothing.")
def push(
    repository: str, board: Path, create: str | None, pull_request: bool, results: tuple[str, ...], dry_run: bool
) -> None:
    """Push a leaderboard that validates to the dataset REPOSITORY, OWNER/NAME, of the Hugging Face Hub.

    All in one commit, and only if the log of the repository is the beginning of this one.

    \b
    sabench leaderboard push me/separation-board --from board --create private
    sabench leaderboard push me/separation-board --from board --results my-net=me/my-net
    """  # noqa: D301 - \b keeps click from rewrapping the lines
    models = [one.partition("=") for one in results]
    if wrong := [text for text, (name, _, model) in zip(results, models, strict=True) if not (name and model)]:
        raise UsageError(f"expected --results SEPARATOR=OWNER/MODEL, found {wrong[0]!r}")
    from sam_audio_bench.leaderboard.push import push_board, push_results

    for name, _, model in models:  # errors are raised before anything is written
        push_results(board, name, model, dry_run=True)
    done = [push_board(board, repository, create=create, pull_request=pull_request, dry_run=dry_run)]
    done += [push_results(board, name, model, dry_run=dry_run) for name, _, model in models]
    for one in done:
        place = one.url or f"{one.repository}, nothing written"
        entries = f", {pluralize(one.entries, 'new line')} of the log" if one is done[0] else ""
        click.echo(f"{pluralize(len(one.files), 'file')}{entries}: {place}")
    if not dry_run:
        note(f"Next: sabench leaderboard validate hf://datasets/{repository}")


@click.command()
@click.argument("board", type=BOARD_OR_URL, default=BOARD)
@click.option("--since", type=BOARD_OR_URL, required=True, help="An earlier copy of the leaderboard or its log.")
def compare(board: Path, since: Path) -> None:
    """Compare new submissions of a leaderboard with earlier ones, as Markdown for a review.

    A new revision is compared with the one before it, a new separator with mixture, as by `sabench compare`.

    \b
    sabench leaderboard compare leaderboards --since ../main/leaderboards
    sabench leaderboard compare board --since hf://datasets/me/separation-board
    """  # noqa: D301 - \b keeps click from rewrapping the lines
    from sam_audio_bench.leaderboard.comparison import compare_new, format_comment

    echo(format_comment(compare_new(board, since)), nl=False)
