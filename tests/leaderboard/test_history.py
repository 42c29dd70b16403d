"""What was logged once stays as it was: `validate --since` compares with an earlier copy."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from sam_audio_bench.cli import group
from sam_audio_bench.errors import Precondition, StoreError, UsageError
from sam_audio_bench.files import load_json, write_json
from sam_audio_bench.leaderboard import log
from sam_audio_bench.leaderboard.site import build_site, outdated_files
from sam_audio_bench.leaderboard.submission import HEADER, Submission, find_submissions
from sam_audio_bench.leaderboard.submit import submit
from sam_audio_bench.leaderboard.validate import validate
from sam_audio_bench.metrics.catalogue import CARDS


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


def newer_version(gate: Path, metric: str = "", *, other: bool = False, revision: str = "v2") -> Path:
    """Another revision, with other answers or not, scored by the next version of a metric; the log knows of it."""
    newer = gate.with_name(revision)
    shutil.copytree(gate, newer)
    header = load_json(newer / HEADER)
    header["separator"]["revision"] = revision
    if other:
        header["answers"] = {task: dict.fromkeys(names, "0" * 64) for task, names in header["answers"].items()}
    for record in header["metrics"]:
        record["version"] += record["id"] == metric
    write_json(newer / HEADER, header)
    log.append(gate.parents[2], [Submission.read(newer)], event="submitted")
    return newer


def test_a_metric_gets_another_version(board: Path, gate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everyone is scored again; what was handed in before stays valid as history, without the column."""
    card = CARDS["si_sdr_i"]
    monkeypatch.setitem(CARDS, "si_sdr_i", replace(card, version=card.version + 1))
    for folder in find_submissions(board / "results"):
        assert f"{folder.name}: submission.json: si_sdr_i: expected version 2, found 1" in said(board, board)
        newer_version(folder, "si_sdr_i")
    report = validate(board, share=1.0)
    assert report.problems == []
    assert report.skipped == {"si_sdr_i": "version 1 is not what is computed here"}
    assert {"si_sdr", "si_sdr_i", "snr_i"} <= report.rescored.keys()
    build_site(board)
    data = load_json(board / "site" / "data.json")
    assert {name.partition("/")[2] for name in data["lines"]} == {"v2"}  # answers that were scored again stand once


@pytest.mark.parametrize("withdrawn", [False, True])
def test_earlier_audio_is_shown_once_however_often_it_was_scored(board: Path, gate: Path, withdrawn: bool) -> None:
    """The first audio was scored twice, then other audio took its place; a withdrawn scoring hides no other."""
    again = newer_version(gate, revision="again")
    newer_version(gate, other=True, revision="other")
    if withdrawn:
        log.withdraw(board, Submission.read(again), "wrong settings")
    build_site(board)
    lines = load_json(board / "site" / "data.json")["lines"].values()
    shown = {line["revision"]: line["why"] for line in lines if line["kind"] == "separator"}
    earlier = {gate.name: "superseded", "again": "withdrawn"} if withdrawn else {"again": "superseded"}
    assert shown == {**earlier, "other": ""}


@pytest.mark.parametrize("withdrawn", [False, True])
def test_history_is_shown_without_what_is_computed_in_another_way(board: Path, gate: Path, withdrawn: bool) -> None:
    for folder in find_submissions(board / "results"):
        newer_version(folder, "si_sdr_i", other=True)
    if withdrawn:
        log.withdraw(board, Submission.read(gate), "wrong settings")
    build_site(board)
    data = load_json(board / "site" / "data.json")
    assert data["metrics"]["si_sdr_i"]["version"] == 2
    cells = data["cells"]["music@1-mini"]
    old, new = f"spectral-gate/{gate.name}", "spectral-gate/v2"
    assert new in cells["si_sdr_i"]
    assert old not in cells["si_sdr_i"]
    assert cells["snr_i"][old]["why"] == ("withdrawn" if withdrawn else "superseded")
    assert cells["snr_i"][old]["value"] == cells["snr_i"][new]["value"]


def test_history_is_not_from_the_future(board: Path, gate: Path) -> None:
    newer_version(gate, "si_sdr_i")
    shutil.copytree(gate, gate.with_name("v3"))
    header = load_json(gate / HEADER)
    header["separator"]["revision"] = "v3"
    write_json(gate.with_name("v3") / HEADER, header)
    log.append(board, [Submission.read(gate.with_name("v3"))], event="submitted")
    assert "v2: submission.json: si_sdr_i: expected version 1, found 2" in said(board, board)


def with_crlf(board: Path) -> None:
    """As Git checks a repository out on Windows where it takes files for text."""
    for path in board.rglob("*"):
        if path.suffix in (".json", ".jsonl", ".html", ".js", ".css"):
            path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))


def test_line_ends_of_windows_change_nothing(board: Path, old: Path, finished_runs: Path) -> None:
    build_site(board)
    with_crlf(board)
    assert said(board, old) == ""
    assert outdated_files(board) == []
    submit([finished_runs / "spectral-gate"], board, revision="v2")
    assert said(board, old) == ""
    assert b"\r" not in (board / log.LOG).read_bytes()
    (folder,) = (board / "results" / "silence").iterdir()
    header = (folder / HEADER).read_bytes()
    (folder / HEADER).write_bytes(header.replace(b'"summary": "', b'"summary": "x'))
    assert "as it was submitted" in said(board, old)
    (folder / HEADER).write_bytes(header)
    with_crlf(old)
    assert said(board, old) == ""


def test_git_is_told_to_keep_the_bytes(board: Path, finished_runs: Path) -> None:
    assert "* -text\n" in (board / log.ATTRIBUTES).read_text()
    (board / log.ATTRIBUTES).write_text("* text eol=lf\n")
    submit([finished_runs / "spectral-gate"], board, revision="v2")
    assert (board / log.ATTRIBUTES).read_text() == "* text eol=lf\n"
    submit([finished_runs / "silence"], board.parent / "fresh")
    ours = Path(__file__).parents[2] / "leaderboards"
    assert (ours / log.ATTRIBUTES).read_bytes() == (board.parent / "fresh" / log.ATTRIBUTES).read_bytes()
