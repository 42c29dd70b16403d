"""A leaderboard on a hub that answers as Hugging Face's does: pushed whole or not at all, and read from there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result
from fake_hub import FakeHub, running_hub
from huggingface_hub import EvalResultEntry
from huggingface_hub._eval_results import eval_result_entries_to_yaml, parse_eval_result_entries

from sam_audio_bench.cli import group
from sam_audio_bench.errors import BenchError, Precondition, StoreError, UsageError
from sam_audio_bench.leaderboard import log
from sam_audio_bench.leaderboard.hub import evaluation_results
from sam_audio_bench.leaderboard.submission import Submission

NAME = "me/board"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    """In the place of the Hub, for one who has its token."""
    from huggingface_hub import HfFileSystem

    with running_hub() as running:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", running.url)
        monkeypatch.setattr("huggingface_hub.constants.HF_URL_HOSTS", frozenset({"127.0.0.1"}))
        template = running.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub-cache"))
        monkeypatch.setenv("HF_TOKEN", running.token)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        HfFileSystem.clear_instance_cache()
        yield running
        HfFileSystem.clear_instance_cache()


def call(*words: str, code: int = 0) -> Result:
    """``sabench leaderboard``."""
    result = CliRunner().invoke(group, ["leaderboard", *words], prog_name="sabench")
    if isinstance(result.exception, BenchError):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def pushed_files(board: Path) -> dict[str, bytes]:
    """What of a leaderboard is to be on the hub."""
    found = [board / "log.jsonl", *(path for path in (board / "results").rglob("*") if path.is_file())]
    return {path.relative_to(board).as_posix(): path.read_bytes() for path in found}


def test_a_board_is_pushed_in_one_commit_and_read_from_there(board: Path, hub: FakeHub) -> None:
    (board / "notes.txt").write_text("not for others")
    with pytest.raises(Precondition, match=r"expected the dataset repository me/board, .*--create private makes one"):
        call("push", NAME, "--from", str(board))
    shown = call("push", NAME, "--from", str(board), "--create", "private", "--dry-run").stdout
    assert "nothing written" in shown
    assert not hub.repositories
    shown = call("push", NAME, "--from", str(board), "--create", "private")
    repository = hub.repositories["dataset", NAME]
    assert repository.private
    assert len(repository.commits) == 2
    assert repository.messages[-1] == "Add 3 entries to the log"
    card = repository.files["README.md"].decode()
    assert yaml.safe_load(card.split("---\n")[1])["configs"][0]["data_files"] == "results/*/*/scores.parquet"
    assert {name: data for name, data in repository.files.items() if name != "README.md"} == pushed_files(board)
    url = f"hf://datasets/{NAME}"
    assert url in shown.stderr
    assert call("validate", url, "--no-audio").stdout == "3 submissions, no problems\n"
    assert call("validate", str(board), "--no-audio", "--since", url).stdout == "3 submissions, no problems\n"
    assert call("log", url).stdout == call("log", str(board)).stdout
    with pytest.raises(UsageError, match="expected --out with a leaderboard at a URL"):
        call("build", url)
    with pytest.raises(Precondition, match=r"expected a leaderboard \(with results/\) at hf://datasets/me/board/log"):
        call("log", f"{url}/log.jsonl")


@pytest.mark.slow
def test_a_site_is_built_from_the_hub(board: Path, hub: FakeHub, tmp_path: Path) -> None:
    hub.add("dataset", NAME, pushed_files(board))
    call("build", f"hf://datasets/{NAME}", "--out", str(tmp_path / "site"))
    assert json.loads((tmp_path / "site" / "data.json").read_text())["log"] == [
        json.loads(line) for line in (board / "log.jsonl").read_text().splitlines()
    ]


def test_only_a_log_that_goes_on_is_pushed(board: Path, gate: Path, hub: FakeHub) -> None:
    repository = hub.add("dataset", NAME)
    before = pushed_files(board)
    call("push", NAME, "--from", str(board))
    log.withdraw(board, Submission.read(gate), "a bug")
    call("push", NAME, "--from", str(board))
    assert repository.messages[-1] == "Add 1 entry to the log"
    assert log.read(board)[-1].event == "withdrawn"
    (board / "log.jsonl").write_bytes(before["log.jsonl"])
    with pytest.raises(StoreError, match="expected a log that begins with that of datasets/me/board, found: line 4"):
        call("push", NAME, "--from", str(board))
    assert len(repository.commits) == 3


def test_what_somebody_pushes_meanwhile_is_not_written_over(board: Path, hub: FakeHub) -> None:
    repository = hub.add("dataset", NAME)
    hub.before_commit = lambda known: known.commits.append({"theirs": b"1"})
    with pytest.raises(Precondition, match=r"nothing was pushed.*If somebody pushed meanwhile, do it again"):
        call("push", NAME, "--from", str(board))
    assert repository.files == {"theirs": b"1"}


def test_what_does_not_validate_is_not_pushed(board: Path, gate: Path, hub: FakeHub) -> None:
    repository = hub.add("dataset", NAME)
    header = json.loads((gate / "submission.json").read_text())
    header["aggregates"][0]["value"] = 99.0
    (gate / "submission.json").write_text(json.dumps(header))
    with pytest.raises(StoreError, match=r"expected a leaderboard that validates, found .* pushed nothing: "):
        call("push", NAME, "--from", str(board))
    with pytest.raises(Precondition, match=r"expected a leaderboard with log.jsonl at .*, found none"):
        call("push", NAME, "--from", str(gate.parent.parent / "silence" / next(
            path.name for path in (gate.parent.parent / "silence").iterdir())))  # fmt: skip
    assert len(repository.commits) == 1


def test_rights_and_names_are_told(board: Path, hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = hub.add("dataset", NAME)
    for wrong in ("board", "a/b/c", "../x", "me/ board"):
        with pytest.raises(UsageError, match="expected a repository of the Hub, OWNER/NAME"):
            call("push", wrong, "--from", str(board))
    monkeypatch.setenv("HF_TOKEN", "hf_of_another")
    with pytest.raises(Precondition, match=r"on the Hub to be read and written, found: .*nothing was pushed"):
        call("push", NAME, "--from", str(board))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(Precondition, match=r"nothing was pushed. Is there a network"):
        call("push", NAME, "--from", str(board))
    assert len(repository.commits) == 1


def test_results_go_to_the_model_as_a_pull_request(board: Path, gate: Path, hub: FakeHub) -> None:
    hub.add("dataset", NAME)
    model = hub.add("model", "me/gate", {"README.md": b"# Mine\n"})
    with pytest.raises(UsageError, match=r"expected a separator of .*, found 'gate'"):
        call("push", NAME, "--from", str(board), "--results", "gate=me/gate")
    with pytest.raises(Precondition, match="expected the model repository me/none"):
        call("push", NAME, "--from", str(board), "--results", "spectral-gate=me/none")
    with pytest.raises(UsageError, match="expected --results SEPARATOR=OWNER/MODEL"):
        call("push", NAME, "--from", str(board), "--results", "spectral-gate")
    assert len(hub.repositories["dataset", NAME].commits) == 1
    call("push", NAME, "--from", str(board), "--results", "spectral-gate=me/gate")
    (pull,) = model.pulls
    assert model.files == {"README.md": b"# Mine\n"}
    text = pull[".eval_results/sam-audio-bench.yaml"].decode()
    assert text == evaluation_results(Submission.read(gate).header)


def test_results_are_what_the_hubs_library_reads_and_writes(gate: Path) -> None:
    """Against `huggingface_hub`, which knows the format."""
    plain = yaml.safe_load(evaluation_results(Submission.read(gate).header))
    entries = parse_eval_result_entries(plain)
    assert all(isinstance(one, EvalResultEntry) for one in entries)
    assert eval_result_entries_to_yaml(entries) == plain
    assert entries[0].task_id == "music@1-mini"


@pytest.mark.slow
def test_runs_are_read_from_the_hub(finished_runs: Path, hub: FakeHub, tmp_path: Path) -> None:
    files = {path.relative_to(finished_runs).as_posix(): path.read_bytes()
             for path in finished_runs.rglob("*") if path.is_file()}  # fmt: skip
    hub.add("dataset", "me/runs", {f"first/{name}": data for name, data in files.items()})
    hub.add("dataset", "me/none", {"README.md": b""})
    url = "hf://datasets/me/runs/first"

    def said(*words: str) -> str:
        result = CliRunner().invoke(group, [*words], prog_name="sabench", catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    assert said("table", url, "--format", "csv") == said("table", str(finished_runs), "--format", "csv")
    silence = f"{url}/silence/music@1-mini"
    compared = json.loads(said("compare", f"{url}/mixture", f"{url}/silence", "--json"))
    assert (compared["a"], compared["b"]) == ("mixture", "silence")
    shown = said("reproduce", silence, "--output", str(tmp_path / "again"))
    assert "The same within 0.001." in shown
    said("leaderboard", "submit", f"{url}/spectral-gate", "--to", str(tmp_path / "board"))
    shutil.rmtree(tmp_path / "board")
    with pytest.raises(Precondition, match="expected a run folder"):
        CliRunner().invoke(group, ["table", "hf://datasets/me/none"], catch_exceptions=False)
