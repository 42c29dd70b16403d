"""Handing in a submission as a pull request: branch, submission, commit, push, pull request, or nothing of it.

Everything happens in a working tree of its own beside the checkout, from the newest state of the remote's main branch.
So what lies uncommitted in the checkout is not touched, and what fails is undone by removing that tree and the branch.
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
_SHOWN = 500  # letters of what a step said


@dataclass(frozen=True, kw_only=True)
class PullRequest:
    """A pull request that was opened, or would be."""

    url: str  # "": nothing was done
    branch: str
    submitted: tuple[SubmitResult, ...]
    steps: tuple[str, ...]  # commands, as one would type them


class _Steps:
    """Runs commands one after another, or only tells them."""

    def __init__(self, *, dry_run: bool) -> None:
        self.dry_run = dry_run
        self.told: list[str] = []

    def run(self, *words: str, at: Path, given: str = "") -> str:
        """What a command prints; raises Precondition where it fails."""
        self.told.append(shlex.join(words))
        return "" if self.dry_run else _called(words, at, given)


def open_pull_request(
    board: Path, submit: Callable[[Path], Sequence[SubmitResult]], check: Callable[[], Sequence[SubmitResult]], *,
    dry_run: bool = False,
) -> PullRequest:  # fmt: skip
    """Submits to a fresh copy of a leaderboard in a Git repository, and opens a pull request with ``gh``.

    Args:
        board: the leaderboard in the checkout.
        submit: adds submissions to the leaderboard at a path, as `sam_audio_bench.leaderboard.submit.submit` does.
        check: the same of ``board``, of which it writes nothing: what is wrong is wrong before anything is done.
        dry_run: check everything that can be checked here, and say the steps.

    Raises:
        Precondition: no Git repository, no ``gh`` or no account in it, or a step that failed; all before it is undone.
        UsageError: nothing new to hand in.
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
            steps.told.append(shlex.join(["sabench", "leaderboard", "submit", "…", "--to", str(place / inside)]))
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
            undo.pop_all()  # it is done
    return PullRequest(url=url.strip(), branch=branch, submitted=tuple(submitted), steps=tuple(steps.told))


def _own(found: Sequence[SubmitResult]) -> list[SubmitResult]:
    """Those of separators; raises UsageError where there is none."""
    own = [one for one in found if one.header.separator.name not in BASELINES]
    if not own:
        raise UsageError("expected runs of a separator to hand in with --pr, found baselines alone")
    return own


def _checkout(board: Path) -> Path:
    """The root of the Git repository that a leaderboard lies in."""
    for name in ("git", "gh"):
        if shutil.which(name) is None:
            raise Precondition(f"expected the program {name} for --pr, found none; install it, or submit without --pr")
    if not board.is_dir():
        raise Precondition(
            f"expected a leaderboard in a clone of its repository at {board}, found none; clone it first"
        )
    return Path(_called(("git", "rev-parse", "--show-toplevel"), board).strip())


def _main_branch(tree: Path) -> str:
    """The branch that pull requests are for."""
    told = _called(("git", "ls-remote", "--symref", _REMOTE, "HEAD"), tree)
    found = re.search(r"^ref: refs/heads/(\S+)\s+HEAD$", told, re.MULTILINE)
    if found is None:
        raise Precondition(f"expected a main branch of the remote {_REMOTE}, found none: {one_line(told)[:_SHOWN]}")
    return found[1]


def _word(text: str) -> str:
    """A part of the name of a branch.

    >>> _word("my net+2: a/b")
    'my-net-2-a-b'
    """
    return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-.")


def _called(words: Sequence[str], at: Path, given: str = "") -> str:
    try:
        done = subprocess.run(
            words, cwd=at, input=given, capture_output=True, text=True, encoding="utf-8", errors="replace",
            timeout=_SECONDS, env={**os.environ, "GIT_TERMINAL_PROMPT": "0", "GH_PROMPT_DISABLED": "1"},
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Precondition(f"expected `{shlex.join(words)}` to run, found: {describe_error(error)}") from error
    if done.returncode:
        told = one_line(done.stderr or done.stdout)[-_SHOWN:]
        raise Precondition(
            f"expected `{shlex.join(words)}` to succeed, found exit code {done.returncode}: {told}; what was done "
            "before it is undone"
        )
    return done.stdout


def _quietly(steps: _Steps, at: Path, *words: str) -> None:
    """Undoes a step; that there is nothing to undo is no error."""
    if not steps.dry_run:
        with suppress(Precondition):
            _called(words, at)
