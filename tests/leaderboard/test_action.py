"""What is new on a board, compared as `sabench compare` does; and the action, whose steps run here in their order."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from sam_audio_bench.errors import StoreError
from sam_audio_bench.files import load_json, write_json
from sam_audio_bench.leaderboard import comparison, log
from sam_audio_bench.leaderboard.comparison import compare_new, format_comment
from sam_audio_bench.leaderboard.submit import submit
from sam_audio_bench.run.compare import compare_runs

ACTION = Path(__file__).parents[2] / "action.yml"
_GH = """#!{python}
import json, os, sys
body = [word.removeprefix("body=@") for word in sys.argv if word.startswith("body=@")] + sys.argv[-1:]
text = open(body[0]).read() if os.path.isfile(body[0]) else ""
with open(os.environ["GH_LOG"], "a") as log:
    log.write(json.dumps({{"words": sys.argv[1:], "body": text, "token": os.environ.get("GH_TOKEN")}}) + "\\n")
if os.environ.get("GH_FAILS"):
    sys.exit(1)
print(os.environ.get("GH_KNOWN", "") if "--paginate" in sys.argv else "")
"""


@pytest.fixture(scope="module")
def before_and_after(finished_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A leaderboard of baselines, and the same with a separator; not to be changed."""
    folder = tmp_path_factory.mktemp("review")
    before = folder / "base" / "ours"
    submit([finished_runs / "mixture", finished_runs / "silence"], before)
    shutil.copytree(before, folder / "ours")
    submit([finished_runs / "spectral-gate"], folder / "ours")
    return before, folder / "ours"


def test_submissions_compare_as_their_runs_do(before_and_after: tuple[Path, Path], finished_runs: Path) -> None:
    before, after = before_and_after
    (found,) = compare_new(after, before)
    assert found.old is not None
    assert (found.new.separator, found.old.separator) == ("spectral-gate", "mixture")
    wanted = compare_runs(finished_runs / "mixture", finished_runs / "spectral-gate").rows
    plain = {row.metric: {**asdict(row), "task": "music"} for row in found.rows}
    assert plain == {row.metric: asdict(row) for row in wanted}
    text = format_comment([found])
    assert "### `spectral-gate answers-" in text
    assert "| `music@1-mini` | si_sdr_i (dB) ↑ |" in text.split("<details>")[0]
    assert compare_new(after, after) == []
    assert format_comment([]) == "No new submission.\n"
    with pytest.raises(StoreError, match="expected a log that goes on from"):
        compare_new(before, after)


def test_a_new_revision_is_compared_with_the_one_before(
    before_and_after: tuple[Path, Path], finished_runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, after = before_and_after
    board = Path(shutil.copytree(after, tmp_path / "board"))
    submit([finished_runs / "spectral-gate"], board, revision="second")
    (found,) = compare_new(board, after)
    assert found.old is not None
    assert (found.old.separator, found.new.revision) == ("spectral-gate", "second")
    assert {row.difference for row in found.rows} <= {0.0, None}
    assert all(row.wins == row.losses == 0 for row in found.rows)
    log.withdraw(board, found.new, "by mistake")
    assert compare_new(board, after) == []
    monkeypatch.setattr(comparison, "_LONGEST", 10)
    short = format_comment([found])
    assert short.endswith("Other metrics are left out: too long.\n")
    assert "si_sdr_i" in short
    assert "leak_db" not in short


def test_the_first_of_all_has_nothing_to_compare_with(finished_runs: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    submit([finished_runs / "spectral-gate"], tmp_path / "board")
    (found,) = compare_new(tmp_path / "board", tmp_path / "empty")
    assert found.old is None
    assert "Nothing to compare with" in format_comment([found])


def test_the_name_of_a_task_mentions_nobody_and_is_no_link(before_and_after: tuple[Path, Path]) -> None:
    before, after = before_and_after
    (found,) = compare_new(after, before)
    rows = tuple(replace(row, task="a|b` @octocat https://example.org") for row in found.rows)
    for line in format_comment([replace(found, rows=rows)]).splitlines():
        if "octocat" in line:
            assert line.startswith("| `a\\|b' @octocat https://example.org` | ")


def obeyed(printed: str) -> list[str]:
    """What a runner of GitHub would take for commands, as its `ActionCommand` finds them."""
    found, token = [], ""
    for line in printed.splitlines():
        if token:
            token = "" if line.strip() == f"::{token}::" else token
        elif stop := re.match(r"\s*::stop-commands::(.{16,})", line):
            token = stop[1]
        elif re.match(r"\s*::\S+.*::", line) or "##[" in line:
            found.append(line)
    assert not token  # later steps are heard again
    return found


class Job:
    """Runs the shell steps of the action as a runner does: values through the environment, files for outputs."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder, self.outputs, self.printed = folder, folder / "outputs", ""
        self.action = yaml.safe_load(ACTION.read_text(encoding="utf-8"))
        self.values = {f"inputs.{name}": str(one["default"]) for name, one in self.action["inputs"].items()}
        self.values |= {"inputs.board": "ours", "inputs.token": "secret", "runner.temp": str(folder / "temp"),
                        "github.event.pull_request.number": "12"}  # fmt: skip
        (folder / "temp").mkdir()
        programs = {"gh": _GH.format(python=sys.executable), "pip": '#!/bin/sh\necho "$@" > pip.log\n'}
        run = f"{sys.executable} -c 'from sam_audio_bench.cli import main; main()'"
        programs["sabench"] = f'#!/bin/sh\nexec {run} "$@"\n'
        for name, text in programs.items():
            path = folder / "bin" / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
            path.chmod(path.stat().st_mode | stat.S_IXUSR)
        self.environment = {
            **os.environ, "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}", "GITHUB_REPOSITORY": "o/r",
            "GITHUB_OUTPUT": str(self.outputs), "GITHUB_STEP_SUMMARY": str(folder / "summary"),
            "GH_LOG": str(folder / "gh.jsonl"), "PYTHONPATH": str(ACTION.parent), **environment,
        }  # fmt: skip

    def resolve(self, text: str) -> str:
        """Expressions by their values; an unknown one is a KeyError."""
        return re.sub(r"\$\{\{ (.+?) \}\}", lambda match: self.values[match[1]], str(text))

    def run(self, first: str = "Install") -> int:
        """Exit code of the first step that fails, 0 of none; begins with the step of a name."""
        steps = [step for step in self.action["runs"]["steps"] if "run" in step]
        for step in steps[[step["name"] for step in steps].index(first) :]:
            own = {name: self.resolve(value) for name, value in step.get("env", {}).items()}
            done = subprocess.run(
                ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]], cwd=self.folder,
                env={**self.environment, **own}, capture_output=True, text=True, check=False,
            )  # fmt: skip
            self.printed += done.stdout
            if done.returncode:
                return done.returncode
            if "id" in step:
                pairs = (line.partition("=") for line in self.outputs.read_text().splitlines())
                self.values |= {f"steps.{step['id']}.outputs.{name}": value for name, _, value in pairs}
        return 0

    @property
    def asked(self) -> list[dict[str, Any]]:
        """What gh was called with."""
        return [json.loads(line) for line in (self.folder / "gh.jsonl").read_text().splitlines()]


def test_the_action_takes_no_text_into_its_scripts() -> None:
    """A name of a branch or an input cannot become a command; every output and input that is used exists."""
    action = yaml.safe_load(ACTION.read_text(encoding="utf-8"))
    steps = action["runs"]["steps"]
    assert action["runs"]["using"] == "composite"
    for step in steps:
        assert "${{" not in step.get("run", "")
        assert "run" not in step or step["shell"] == "bash"
    used = set(re.findall(r"inputs\.([\w-]+)", ACTION.read_text(encoding="utf-8")))
    assert used == set(action["inputs"])
    assert all("description" in one for one in (*action["inputs"].values(), *action["outputs"].values()))


def test_a_valid_submission_is_commented(before_and_after: tuple[Path, Path], tmp_path: Path) -> None:
    before, after = before_and_after
    shutil.copytree(before, tmp_path / "base" / "ours")
    shutil.copytree(after, tmp_path / "ours")
    job = Job(tmp_path)
    assert job.run() == 0
    listing, comment_call = job.asked
    assert listing["words"][:3] == ["api", "--paginate", "repos/o/r/issues/12/comments"]
    assert comment_call["words"][:5] == ["pr", "comment", "12", "--repo", "o/r"]
    assert comment_call["token"] == "secret"
    assert comment_call["body"] == (tmp_path / "summary").read_text()
    assert "## The leaderboard validates\n" in comment_call["body"]
    assert comment_call["body"].endswith(format_comment(compare_new(after, before)))
    assert (tmp_path / "pip.log").read_text().startswith("install --quiet sam-audio-bench ")


def test_the_first_pull_request_brings_the_leaderboard(before_and_after: tuple[Path, Path], tmp_path: Path) -> None:
    shutil.copytree(before_and_after[1], tmp_path / "ours")
    job = Job(tmp_path)
    assert job.run() == 2  # there is no checkout of the base, which is no empty one
    (tmp_path / "base").mkdir()
    assert job.run() == 0
    assert "Beside `mixture answers-" in job.asked[-1]["body"]


@pytest.mark.slow
def test_an_invalid_one_fails_and_its_comment_is_renewed(before_and_after: tuple[Path, Path], tmp_path: Path) -> None:
    before, after = before_and_after
    shutil.copytree(before, tmp_path / "base" / "ours")
    board = Path(shutil.copytree(after, tmp_path / "ours"))
    (path,) = (board / "results" / "spectral-gate").glob("*/submission.json")
    header: Any = load_json(path)
    header["aggregates"][0]["value"] = 99.0
    write_json(path, header)
    (path.parent / "x\n::set-output name=code::0\n##[error]y").touch()  # as git lets a file be called
    job = Job(tmp_path, GH_KNOWN="41\n42")
    assert job.run() == 1
    assert "set-output" in job.printed
    assert obeyed(job.printed) == []
    _, renewed = job.asked
    assert renewed["words"][:4] == ["api", "--method", "PATCH", "repos/o/r/issues/comments/42"]
    assert "## The leaderboard does not validate\n" in renewed["body"]
    assert "spectral-gate" in renewed["body"]
    assert renewed["body"].count("```") == 2
    job.environment["GH_FAILS"] = "1"  # a token of a fork writes nothing; the answer is the same
    assert job.run("Comment") == 1
    job.values["steps.validate.outputs.code"] = "0"
    assert job.run("Comment") == 0
