"""What was logged once stays as it was: `validate --since` compares with an earlier copy."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from sam_audio_bench.cli import group
from sam_audio_bench.errors import Precondition, StoreError, UsageError
from sam_audio_bench.leaderboard import log
from sam_audio_bench.leaderboard.submission import Submission, find_submissions
from sam_audio_bench.leaderboard.submit import submit
from sam_audio_bench.leaderboard.validate import validate


@pytest.fixture
def old(pristine_board: Path, tmp_path: Path) -> Path:
    """The leaderboard before the change."""
    return Path(shutil.copytree(pristine_board, tmp_path / "old"))


def said(board: Path, since: Path) -> str:
    """All problems as one text."""
    return "\n".join(f"{one.where}: {one.what}" for one in validate(board, share=None, since=since).problems)


def log_anew(board: Path) -> None:
    """A fresh log, valid in itself, of whatever submissions are there."""
    (board / log.LOG).unlink()
    log.append(board, [Submission.read(path) for path in find_submissions(board / "results")], event="submitted")


def test_a_log_that_grew(board: Path, old: Path, finished_runs: Path) -> None:
    assert said(board, old) == ""
    submit([finished_runs / "spectral-gate"], board, revision="v2")
    (folder,) = (board / "results" / "silence").iterdir()
    log.withdraw(board, Submission.read(folder), "it is silent")
    assert said(board, old) == ""
    assert said(board, old / log.LOG) == ""
    assert "line 4: expected the entry of the earlier log" in said(old, board), (
        "the other way round entries are missing"
    )


def test_a_history_written_anew(board: Path, old: Path, gate: Path, tamper: Callable[..., None]) -> None:
    """Scores, means, digests and the whole chain agree: nothing but an earlier log can tell."""
    tamper(header=lambda header: header["separator"].update(licence="proprietary"))
    log_anew(board)
    assert said(board, board) == ""
    assert "log.jsonl: line 3: expected the entry of the earlier log" in said(board, old)


def test_an_attempt_forgotten(board: Path, old: Path, gate: Path) -> None:
    shutil.rmtree(gate.parent)
    log_anew(board)
    assert validate(board, share=None).ok
    assert "line 3: expected the entry of the earlier log" in said(board, old)


def test_a_first_submission(board: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert said(board, tmp_path / "empty") == ""
    with pytest.raises(Precondition, match="expected an earlier leaderboard or its log"):
        said(board, tmp_path / "nowhere")
    (tmp_path / "broken.jsonl").write_text("{")
    with pytest.raises(StoreError, match="expected JSON in"):
        said(board, tmp_path / "broken.jsonl")


def test_a_single_submission_has_no_log(gate: Path, old: Path) -> None:
    with pytest.raises(UsageError, match="expected a leaderboard with --since"):
        validate(gate, share=None, since=old)


def test_the_command(board: Path, old: Path, gate: Path) -> None:
    def call(*words: Any) -> Any:
        return CliRunner().invoke(group, ["leaderboard", "validate", *map(str, words), "--no-audio", "--json"])

    assert call(board, "--since", old).exit_code == 0
    shutil.rmtree(gate.parent)
    log_anew(board)
    done = call(board, "--since", old)
    assert done.exit_code == 1
    assert [one["where"] for one in json.loads(done.stdout)["problems"]] == ["log.jsonl"]


def test_adding_a_submission_changes_no_other_files(board: Path, old: Path, finished_runs: Path) -> None:
    submit([finished_runs / "spectral-gate"], board, revision="v2", with_audio=True)
    for path in sorted(old.rglob("*")):
        if path.is_file() and path.name != log.LOG:
            assert (board / path.relative_to(old)).read_bytes() == path.read_bytes()
