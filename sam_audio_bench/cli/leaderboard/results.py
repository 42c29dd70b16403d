"""``sabench leaderboard submit``, ``validate``, ``log`` and ``withdraw``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import click

from sam_audio_bench.cli.arguments import BOARD_OR_URL, RUN_OR_URL
from sam_audio_bench.cli.leaderboard import BOARD
from sam_audio_bench.cli.output import note, print_json, print_records
from sam_audio_bench.errors import BenchError, UsageError, describe_error
from sam_audio_bench.render.text import one_line, pluralize

__all__ = ["log", "submit", "validate", "withdraw"]


@click.command()
@click.argument("runs", nargs=-1, required=True, type=RUN_OR_URL)
@click.option("--to", "board", type=click.Path(path_type=Path), default=BOARD, show_default=True, help="Leaderboard.")
@click.option(
    "--card", type=click.Path(path_type=Path), help="TOML or JSON about the separator; built-in ones need none."
)
@click.option("--revision", help="Of the separator; default: from its model, its weights or its estimates.")
@click.option("--with-audio", is_flag=True, help="Submit the estimates too, so that anyone can score them again.")
@click.option("--hub", type=click.Path(path_type=Path), help="Also write .eval_results and a model-card block there.")
@click.option("--no-previews", is_flag=True, help="Make no small sound files for the site; `previews` can do it later.")
@click.option("--pr", is_flag=True, help="Leave the leaderboard as it is, and open a pull request, with gh.")
@click.option("--dry-run", is_flag=True, help="Check everything, write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def submit(
    runs: tuple[Path | str, ...],
    board: Path,
    card: Path | None,
    revision: str | None,
    with_audio: bool,
    hub: Path | None,
    no_previews: bool,
    pr: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Add the separators of RUNS to a leaderboard; RUNS are run folders or folders that hold them.

    Runs that are unfinished, or of a part of a task, are named and skipped. Then previews of the items are made for the
    site, as set in previews.json of the leaderboard, or of all items.
    """
    from sam_audio_bench.leaderboard.hub import write_hub_files
    from sam_audio_bench.leaderboard.submit import submit as add
    from sam_audio_bench.separators.catalogue import BASELINES

    submit_runs = partial(add, runs, card=card, revision=revision, with_audio=with_audio, tell=note)
    if pr:
        from sam_audio_bench.leaderboard.pull_request import open_pull_request

        if hub is not None or as_json:
            raise UsageError("expected --pr without --hub and --json, found one of them")
        proposed = open_pull_request(
            board, partial(submit_runs, tell=None), partial(submit_runs, board, dry_run=True), dry_run=dry_run
        )
        for step in proposed.steps if dry_run else ():
            click.echo(step)
        click.echo(proposed.url or f"nothing done; the branch would be {proposed.branch}")
        return
    done = submit_runs(board, dry_run=dry_run)
    own = [one for one in done if one.header.separator.name not in BASELINES]
    if hub is not None and not dry_run:
        if len(own) != 1:
            raise UsageError(f"expected runs of one separator with --hub, found {len(own)}")
        write_hub_files(hub, own[0].header)
    written = any(one.written for one in done)
    previewed = _make_previews(board, runs) if written and not no_previews else ""
    if as_json:
        print_json(
            [{"folder": str(one.folder), "written": one.written, "bytes": one.size, "note": one.note} for one in done]
        )
        return
    for one in done:
        what = one.note or f"{pluralize(len(one.header.tasks), 'task')}, {one.size / 2**20:.1f} MiB"
        click.echo(f"{one.folder}  {what}")
    if previewed:
        click.echo(previewed)
    if written:
        later = "" if previewed else f" sabench leaderboard previews {' '.join(map(str, runs))} --to {board};"
        note(
            f"Next:{later} sabench leaderboard validate {board} and build {board}; "
            f"then commit {board} on a branch and open a pull request."
        )


def _make_previews(board: Path, runs: Sequence[Path | str]) -> str:
    """Makes previews, and returns how many; "" on an error, which is shown and does not affect the submission."""
    from sam_audio_bench.leaderboard.preview_rendering import make_previews
    from sam_audio_bench.run.progress import Progress

    try:
        with Progress(0) as bar:
            found = make_previews(board, runs, tell=note, progress=bar.step_callback("previews"))
    except (BenchError, OSError) as error:
        note(f"submitted, but without previews: {describe_error(error)}")
        return ""
    done, known = (sum(counts) for counts in zip(*found.values(), strict=True))
    return f"{done} of {known} items can be heard, in {board / 'site' / 'listen'}"


@click.command()
@click.argument("folder", type=BOARD_OR_URL, default=BOARD)
@click.option("--share", type=click.FloatRange(0, 1), default=0.05, show_default=True,
              help="Share of each task's items to score again, if their audio is available.")  # fmt: skip
@click.option("--all", "everything", is_flag=True, help="Score every item again.")
@click.option("--no-audio", is_flag=True, help="Score nothing again.")
@click.option(
    "--audio", type=click.Path(path_type=Path), help="Run folders with the audio that is missing in submissions."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the sample.")
@click.option("--since", type=BOARD_OR_URL,
              help="An earlier copy of the leaderboard or its log, which must be contained unchanged.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def validate(
    folder: Path, share: float, everything: bool, no_audio: bool, audio: Path | None, seed: int, since: Path | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Check one submission, or a leaderboard with everything in it; exit code 1 if anything is wrong."""
    from sam_audio_bench.leaderboard.validate import validate as check
    from sam_audio_bench.run.progress import Progress

    with Progress(0) as bar:

        def progress(what: str, done: int, total: int) -> None:
            bar.step_callback(what)(done, total)

        share_again = None if no_audio else 1.0 if everything else share
        report = check(folder, share=share_again, seed=seed, audio=audio, since=since, progress=progress)
    if as_json:
        print_json(report.to_json())
    else:
        for problem in report.problems:
            click.echo(one_line(f"{problem.where}: {problem.what}"))
        for name, found in report.rescored.items():
            click.echo(
                f"{name}: {found['scores']:.0f} scores computed again, at most {found['largest']:.2g} apart, "
                f"allowed {found['tolerance']:g}"
            )
        for name, why in report.skipped.items():
            click.echo(one_line(f"{name}: not scored again: {why}"))
        problems = pluralize(len(report.problems), "problem") if report.problems else "no problems"
        click.echo(f"{pluralize(report.submissions, 'submission')}, {problems}")
    sys.exit(0 if report.ok else 1)


@click.command()
@click.argument("folder", type=BOARD_OR_URL, default=BOARD)
@click.option("--json", "as_json", is_flag=True, help="Print a list of entries.")
def log(folder: Path, as_json: bool) -> None:
    """Print every submission and withdrawal of a leaderboard, in order."""
    from sam_audio_bench.leaderboard.log import read
    from sam_audio_bench.records import to_builtins

    entries = [to_builtins(entry) for entry in read(folder)]
    if as_json:
        print_json(entries)
    else:
        print_records(entries, ["number", "date", "event", "separator", "revision", "attempt", "reason"])


@click.command()
@click.argument("separator")
@click.argument("revision")
@click.option("--reason", required=True, help="Why; it is shown.")
@click.option("--from", "board", type=click.Path(path_type=Path), default=BOARD, show_default=True, help="Leaderboard.")
def withdraw(separator: str, revision: str, reason: str, board: Path) -> None:
    """Remove a submission from the ranks; its row and its attempt stay."""
    from sam_audio_bench.leaderboard.log import withdraw as take_out
    from sam_audio_bench.leaderboard.submission import HEADER, Submission, submission_folder

    folder = submission_folder(board / "results", separator, revision)
    if not (folder / HEADER).is_file():
        raise UsageError(
            f"expected a submission in {board}, found no {separator} {revision}; `sabench leaderboard log {board}` "
            "names them"
        )
    entry = take_out(board, Submission.read(folder), reason)
    click.echo(f"{separator} {revision} withdrawn, entry {entry.number} of the log")
