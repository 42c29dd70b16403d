"""A submission as a pull request: with Git and a bare repository as they are, and a `gh` that writes down its words."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sam_audio_bench.cli import group
from sam_audio_bench.errors import BenchError, Precondition, UsageError
from sam_audio_bench.leaderboard.submit import submit
from sam_audio_bench.leaderboard.validate import validate

_GH = """#!{python}
import json, os, sys
with open(os.environ["GH_LOG"], "a") as log:
    log.write(json.dumps({{"words": sys.argv[1:], "given": sys.stdin.read(), "at": os.getcwd()}}) + "\\n")
if " ".join(sys.argv[1:3]) == os.environ.get("GH_FAILS"):
    sys.exit("no account")
print("https://github.com/o/r/pull/7" if sys.argv[1] == "pr" else "")
"""


def git(at: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=at, check=True, capture_output=True, text=True).stdout.strip()


def executable(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def clone(finished_runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone with a leaderboard in `boards/ours` that knows baselines alone, and something uncommitted."""
    executable(tmp_path / "bin" / "gh", _GH.format(python=sys.executable))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("GH_LOG", str(tmp_path / "gh.jsonl"))
    for name in ("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"):
        monkeypatch.setenv(name, "a@example.org")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    git(tmp_path, "init", "--bare", "--initial-branch", "trunk", "bare")
    git(tmp_path, "clone", "bare", "clone")
    here = tmp_path / "clone"
    git(here, "checkout", "-b", "trunk")
    submit([finished_runs / "mixture", finished_runs / "silence"], here / "boards" / "ours")
    git(here, "add", "--all")
    git(here, "commit", "-m", "A board")
    git(here, "push", "origin", "trunk")
    git(here, "checkout", "-b", "of-mine")
    (here / "boards" / "ours" / "boards.json").write_text("being edited")
    git(here, "add", "--all")
    (here / "boards" / "ours" / "results" / "draft.txt").write_text("not added")
    return here


def propose(clone: Path, runs: Path, *words: str) -> Result:
    """``sabench leaderboard submit --pr``."""
    place = ["--to", str(clone / "boards" / "ours")]
    result = CliRunner().invoke(group, ["leaderboard", "submit", str(runs), *place, "--pr", *words])
    if isinstance(result.exception, BenchError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


def state(clone: Path) -> dict[str, str]:
    """What nobody may change: branches here and there, working trees, and what is not committed."""
    bare = clone.with_name("bare")
    listing = ("for-each-ref", "--format", "%(refname) %(objectname)", "refs/heads")
    return {"here": git(clone, *listing), "there": git(bare, *listing), "trees": git(clone, "worktree", "list"),
            "status": git(clone, "status", "--porcelain"), "head": git(clone, "symbolic-ref", "HEAD"),
            "edited": (clone / "boards/ours/boards.json").read_text()}  # fmt: skip


def asked_of_gh(clone: Path) -> list[dict[str, str]]:
    path = clone.with_name("gh.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_a_pull_request_holds_the_submission_and_the_checkout_is_untouched(
    clone: Path, finished_runs: Path, tmp_path: Path
) -> None:
    before = state(clone)
    shown = propose(clone, finished_runs / "spectral-gate", "--with-audio").stdout
    assert shown == "https://github.com/o/r/pull/7\n"
    after = state(clone)
    kept = ("trees", "status", "head", "edited")
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    (branch,) = {line.split()[0] for line in after["there"].splitlines()} - {"refs/heads/trunk"}
    assert branch.startswith("refs/heads/submit-spectral-gate-")
    git(tmp_path, "clone", "--branch", branch.removeprefix("refs/heads/"), "bare", "looked-at")
    changed = git(tmp_path / "looked-at", "diff", "--name-only", "origin/trunk", "HEAD").splitlines()
    assert {name.split("/")[2] for name in changed} == {"results", "log.jsonl"}
    assert all(name.startswith(("boards/ours/results/spectral-gate/", "boards/ours/log.jsonl")) for name in changed)
    assert any(name.endswith(".flac") for name in changed)
    report = validate(tmp_path / "looked-at" / "boards" / "ours", share=None)
    assert (report.problems, report.submissions) == ([], 3)
    auth, create = asked_of_gh(clone)
    assert auth["words"] == ["auth", "status"]
    assert create["words"][:6] == ["pr", "create", "--base", "trunk", "--head", branch.removeprefix("refs/heads/")]
    assert "| music@1-mini | si_sdr_i |" in create["given"]


@pytest.mark.parametrize("broken", ["gh auth", "push", "gh pr"])
def test_whatever_fails_is_undone(
    broken: str, clone: Path, finished_runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if broken.startswith("gh"):
        monkeypatch.setenv("GH_FAILS", {"gh auth": "auth status", "gh pr": "pr create"}[broken])
    else:
        executable(clone.with_name("bare") / "hooks" / "pre-receive", "#!/bin/sh\necho no right >&2\nexit 1\n")
    before = state(clone)
    with pytest.raises(Precondition, match=r"to succeed, found exit code 1: .*what was done before it is undone"):
        propose(clone, finished_runs / "spectral-gate")
    assert state(clone) == before


def test_a_dry_run_prints_the_steps(clone: Path, finished_runs: Path) -> None:
    before = state(clone)
    lines = propose(clone, finished_runs / "spectral-gate", "--dry-run").stdout.splitlines()
    assert state(clone) == before
    assert asked_of_gh(clone) == []
    wanted = ["gh auth status", "git fetch origin", "git worktree add", "sabench leaderboard submit", "git add"]
    wanted += ["git commit", "git push", "gh pr create", "nothing done; the branch would be submit-spectral-gate-"]
    assert len(lines) == len(wanted)
    assert all(line.startswith(start) for line, start in zip(lines, wanted, strict=True))


def test_what_cannot_be_handed_in_is_told_before_anything_is_done(
    clone: Path, finished_runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = state(clone)
    with pytest.raises(UsageError, match="found baselines alone"):
        propose(clone, finished_runs / "mixture")
    with pytest.raises(UsageError, match="expected --pr without --hub"):
        propose(clone, finished_runs / "spectral-gate", "--json")
    (tmp_path / "plain" / "boards" / "ours").mkdir(parents=True)
    with pytest.raises(Precondition, match=r"`git rev-parse --show-toplevel` to succeed, found .*not a git repository"):
        propose(tmp_path / "plain", finished_runs / "spectral-gate")
    monkeypatch.setenv("PATH", str(tmp_path / "bin-without"))
    with pytest.raises(Precondition, match="expected the program git for --pr, found none"):
        propose(clone, finished_runs / "spectral-gate")
    monkeypatch.undo()
    assert state(clone) == before
