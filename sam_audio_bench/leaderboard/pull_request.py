"""Submission by pull request: branch, submission, commit, push and pull request, all or nothing.

Everything happens in a separate working tree, from the newest state of the remote's main branch. Uncommitted changes in
the checkout are therefore not touched, and a failure is undone by removing that tree and the branch.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from sam_audio_bench.errors import Precondition, UsageError, describe_error
from sam_audio_bench.leaderboard.hub import results_block
from sam_audio_bench.leaderboard.log import ATTRIBUTES, LOG
from sam_audio_bench.leaderboard.submit import SubmitResult
from sam_audio_bench.render.text import one_line
from sam_audio_bench.separators.catalogue import BASELINES

__all__ = ["PullRequest", "open_pull_request"]

_REMOTE = "origin"
_SECONDS = 600.0  # for one step
_SHOWN = 500  # characters of a command's output in a message


@dataclass(frozen=True, kw_only=True)
class PullRequest:
    """A pull request that was opened, or would be."""

    url: str  # "": a dry run
    branch: str
    submitted: tuple[SubmitResult, ...]
    steps: tuple[str, ...]  # commands, as one would type them


class _Steps:
    """Runs commands one after another, or only records them."""

    def __init__(self, *, dry_run: bool) -> None:
        self.dry_run = dry_run
        self.recorded: list[str] = []

    def run(self, *words: str, at: Path, given: str = "") -> str:
        """Runs a command and returns what it prints; raises Precondition if it fails."""
        self.recorded.append(shlex.join(words))
        return "" if self.dry_run else _run(words, at, given)


def open_pull_request(
    board: Path, submit: Callable[[Path], Sequence[SubmitResult]], check: Callable[[], Sequence[SubmitResult]], *,
    dry_run: bool = False,
) -> PullRequest:  # fmt: skip
    """Submits to a fresh copy of a leaderboard in a Git repository, and opens a pull request with ``gh``.

    Args:
        board: the leaderboard in the checkout.
        submit: adds submissions to the leaderboard at a path, as `sam_audio_bench.leaderboard.submit.submit` does.
        check: a dry run of the same on ``board``, so that invalid submissions fail before anything is done.
        dry_run: check everything that can be checked locally, and only list the steps.

    Raises:
        Precondition: no Git repository, no ``gh``, no account in it, or a step that failed; the steps before it are
            undone. UsageError: nothing new to submit.
    """
    tree = _checkout(board)
    inside = board.resolve().relative_to(tree)
    own = _own(check())
    names = [one.header.separator.name for one in own]
    branch = "-".join(
        ["submit", *(_word(f"{one.header.separator.name}-{one.header.separator.revision}") for one in own)]
    )
    steps = _Steps(dry_run=dry_run)
    steps.run("gh", "auth", "status", at=tree)
    base = "MAIN" if dry_run else _main_branch(tree)
    steps.run("git", "fetch", _REMOTE, base, at=tree)
    with tempfile.TemporaryDirectory(prefix="sabench-pull-request-") as temporary, ExitStack() as tidy:
        place = Path(temporary) / "tree"
        steps.run("git", "worktree", "add", "-b", branch, str(place), "FETCH_HEAD", at=tree)
        tidy.callback(_quietly, steps, tree, "git", "worktree", "remove", "--force", str(place))
        with ExitStack() as undo:  # from the last to the first
            undo.callback(_quietly, steps, tree, "git", "branch", "-D", branch)
            undo.callback(_quietly, steps, place, "git", "checkout", "--detach")
            steps.recorded.append(shlex.join(["sabench", "leaderboard", "submit", "…", "--to", str(place / inside)]))
            submitted = own if dry_run else _own(submit(place / inside))
            added = [str(inside / name) for name in ("results", LOG, ATTRIBUTES)]
            steps.run("git", "add", "--force", "--", *added, at=place)
            steps.run("git", "commit", "-m", f"Submit {', '.join(names)}", at=place)
            undo.callback(_quietly, steps, tree, "git", "push", _REMOTE, "--delete", branch)
            steps.run("git", "push", "--set-upstream", _REMOTE, branch, at=place)
            url = steps.run(
                "gh", "pr", "create", "--base", base, "--head", branch, "--title", f"Submit {', '.join(names)}",
                "--body-file", "-", at=place, given="\n".join(results_block(one.header) for one in submitted),
            )  # fmt: skip
            undo.pop_all()  # succeeded
    return PullRequest(url=url.strip(), branch=branch, submitted=tuple(submitted), steps=tuple(steps.recorded))


def _own(found: Sequence[SubmitResult]) -> list[SubmitResult]:
    """Returns the submissions of separators, without baselines; raises UsageError if there is none."""
    own = [one for one in found if one.header.separator.name not in BASELINES]
    if not own:
        raise UsageError("expected runs of a separator to hand in with --pr, found baselines alone")
    return own


def _checkout(board: Path) -> Path:
    """Returns the root of the Git repository that contains a leaderboard."""
    for name in ("git", "gh"):
        if shutil.which(name) is None:
            raise Precondition(f"expected the program {name} for --pr, found none; install it, or submit without --pr")
    if not board.is_dir():
        raise Precondition(
            f"expected a leaderboard in a clone of its repository at {board}, found none; clone it first"
        )
    return Path(_run(("git", "rev-parse", "--show-toplevel"), board).strip())


def _main_branch(tree: Path) -> str:
    """Returns the branch that pull requests are opened against."""
    output = _run(("git", "ls-remote", "--symref", _REMOTE, "HEAD"), tree)
    found = re.search(r"^ref: refs/heads/(\S+)\s+HEAD$", output, re.MULTILINE)
    if found is None:
        raise Precondition(f"expected a main branch of the remote {_REMOTE}, found none: {one_line(output)[:_SHOWN]}")
    return found[1]


def _word(text: str) -> str:
    """Converts a text to a part of a branch name.

    >>> _word("my net+2: a/b")
    'my-net-2-a-b'
    """
    return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-.")


def _run(words: Sequence[str], at: Path, given: str = "") -> str:
    try:
        done = subprocess.run(
            words, cwd=at, input=given, capture_output=True, text=True, encoding="utf-8", errors="replace",
            timeout=_SECONDS, env={**os.environ, "GIT_TERMINAL_PROMPT": "0", "GH_PROMPT_DISABLED": "1"},
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Precondition(f"expected `{shlex.join(words)}` to run, found: {describe_error(error)}") from error
    if done.returncode:
        output = one_line(done.stderr or done.stdout)[-_SHOWN:]
        raise Precondition(
            f"expected `{shlex.join(words)}` to succeed, found exit code {done.returncode}: {output}; what was "
            "done before it is undone"
        )
    return done.stdout


def _quietly(steps: _Steps, at: Path, *words: str) -> None:
    """Undoes a step; it is no error if there is nothing to undo."""
    if not steps.dry_run:
        with suppress(Precondition):
            _run(words, at)
