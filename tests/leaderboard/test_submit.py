"""Submitting: all or nothing, nothing asked that can be found out, every attempt counted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from msgspec import UNSET
from pyarrow import Table, parquet

from sam_audio_bench.cli import group
from sam_audio_bench.errors import BenchError, Precondition, StoreError, UsageError
from sam_audio_bench.files import load_json, sha256, write_json
from sam_audio_bench.leaderboard import log, safe_io
from sam_audio_bench.leaderboard import submit as submitting
from sam_audio_bench.leaderboard.card import build_card
from sam_audio_bench.leaderboard.hub import evaluation_results, results_block, write_hub_files
from sam_audio_bench.leaderboard.site import build_site
from sam_audio_bench.leaderboard.submission import Submission, find_submissions
from sam_audio_bench.leaderboard.submit import submit
from sam_audio_bench.leaderboard.validate import validate
from sam_audio_bench.run.evaluate import evaluate
from sam_audio_bench.run.rescore import rescore
from sam_audio_bench.run.store import SCORE_TYPES
from sam_audio_bench.separators.catalogue import SUPPRESSOR_PACKAGES
from sam_audio_bench.types import Prompt


@pytest.fixture
def runs(finished_runs: Path, tmp_path: Path) -> Path:
    """A copy of the finished runs, to damage."""
    return Path(shutil.copytree(finished_runs, tmp_path / "runs"))


def run_of(runs: Path, separator: str = "spectral-gate") -> Path:
    """The run folder of a separator."""
    return runs / separator / "music@1-mini"


def call(*words: str) -> Result:
    """A command of the command line."""
    return CliRunner().invoke(group, list(words))


def test_what_a_submission_holds(pristine_board: Path) -> None:
    folders = find_submissions(pristine_board / "results")
    assert [folder.parent.name for folder in folders] == ["mixture", "silence", "spectral-gate"]
    header = Submission.read(folders[-1]).header
    assert header.separator.licence == "Apache-2.0"
    assert "Boll" in header.separator.summary
    (task,) = header.tasks
    assert (task.id, task.items, task.answered, task.seed) == ("music", 14, 14, 0)
    assert task.real_time_factor is not None
    assert task.real_time_factor > 0
    assert (task.lag_ms, task.device_memory_mib) == (0.0, UNSET)
    assert header.separator.parameters == 0  # as its card says
    assert len(header.answers["music@1-mini"]) == 28
    found = sorted(path.name for path in folders[-1].iterdir())
    assert found == ["attributes.parquet", "audio", "scores.parquet", "submission.json"]


def test_a_card_that_leaves_parameters_out_gets_those_that_were_counted(tmp_path: Path) -> None:
    """3 weights and a bias."""
    network = torch.nn.Linear(3, 1)

    def halves(mixture: torch.Tensor, rate: int, prompt: Prompt) -> torch.Tensor:
        return mixture * (0.5 if network.bias is not None else 1.0)

    results = evaluate(halves, ["music"], split="mini", metrics=["si_sdr"], output=tmp_path / "runs", progress=False)
    card = {"summary": "half", "authors": ["A. Author"], "licence": "MIT", "training_data": []}
    write_json(tmp_path / "card.json", card)
    (own,) = submit([results.runs[0]], tmp_path / "board", card=tmp_path / "card.json")
    assert own.header.separator.parameters == 4
    write_json(tmp_path / "card.json", card | {"parameters": 5})
    (own,) = submit([results.runs[0]], tmp_path / "other", card=tmp_path / "card.json")
    assert own.header.separator.parameters == 5


def test_without_audio_only_digests_are_handed_in(runs: Path, tmp_path: Path) -> None:
    (done,) = submit([run_of(runs)], tmp_path / "board")
    found = sorted(path.name for path in done.folder.iterdir())
    assert found == ["attributes.parquet", "scores.parquet", "submission.json"]
    report = validate(tmp_path / "board", share=1.0, audio=runs)
    assert report.ok
    assert report.rescored["si_sdr_i"]["scores"] == 14
    (run_of(runs) / "audio" / "music-03.target.flac").write_bytes(b"another")
    report = validate(tmp_path / "board", share=1.0, audio=runs)
    assert "music-03: expected the estimate music-03.target.flac that was scored" in "".join(
        f"{problem.where.rpartition(' ')[2]}: {problem.what}" for problem in report.problems
    )


def test_dry_run_writes_nothing(runs: Path, tmp_path: Path) -> None:
    (done,) = submit([run_of(runs)], tmp_path / "board", dry_run=True)
    assert (done.written, done.note) == (False, "dry run")
    assert not (tmp_path / "board").exists()


def test_nothing_is_left_when_a_later_separator_cannot_be_submitted(runs: Path, tmp_path: Path) -> None:
    board = tmp_path / "board"
    submit([run_of(runs, "silence")], board)
    before = {path: path.read_bytes() for path in board.rglob("*") if path.is_file()}
    write_json(run_of(runs) / "run.json", load_json(run_of(runs) / "run.json"))
    (run_of(runs) / "audio" / "music-00.target.flac").write_bytes(b"not what was scored")
    with pytest.raises(StoreError, match=r"expected the estimate that was scored .*; run the evaluation again"):
        submit([run_of(runs, "mixture"), run_of(runs)], board)
    assert {path: path.read_bytes() for path in board.rglob("*") if path.is_file()} == before


def test_nothing_is_left_when_the_log_cannot_be_written(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(submitting.log, "append", fail)
    with pytest.raises(OSError, match="disk full"):
        submit([run_of(runs)], tmp_path / "new" / "board")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["copyfile", "rename", "atomic_write"])
def test_nothing_is_left_when_any_step_is_interrupted(
    runs: Path, pristine_board: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Ctrl-C while sound is copied, after the first of two folders was moved, and before the log is replaced."""
    rename(run_of(runs), "theirs")
    card = tmp_path / "card.toml"
    card.write_text('summary = "s"\nauthors = ["A"]\nlicence = "MIT"\ntraining_data = []\n')
    board = Path(shutil.copytree(pristine_board, tmp_path / "board"))
    (taken,) = (board / "results" / "mixture").iterdir()
    taken.rename(taken.with_name("another"))  # so that the baseline is submitted, too
    shutil.rmtree(board / "results" / "mixture")
    (board / ".lock").unlink()
    before = {path: path.read_bytes() for path in board.rglob("*") if path.is_file()}
    count = 0

    def stop(*_: Any, **__: Any) -> Any:
        nonlocal count
        count += 1
        if count == (2 if name == "rename" else 1):
            raise KeyboardInterrupt
        return moving(*_, **__)

    place = {"copyfile": submitting.shutil, "rename": Path, "atomic_write": log}[name]
    moving = getattr(place, name)
    monkeypatch.setattr(place, name, stop)
    with pytest.raises(KeyboardInterrupt):
        submit([run_of(runs), run_of(runs, "mixture")], board, card=card, with_audio=True)
    after = {path: path.read_bytes() for path in board.rglob("*") if path.is_file() and path.name != ".lock"}
    assert after == before
    assert not (board / "results" / "theirs").exists()


def test_two_at_once(runs: Path, board: Path) -> None:
    with log.write_lock(board), pytest.raises(Precondition, match="for this process alone, found another one writing"):
        submit([run_of(runs)], board, revision="v2")
    submit([run_of(runs)], board, revision="v2", dry_run=True)
    submit([run_of(runs)], board, revision="v2")


def test_the_order_of_runs_changes_nothing(tmp_path: Path) -> None:
    for task in ("music", "instr-pro"):
        evaluate("silence", [task], split="mini", metrics=["snr"], output=tmp_path / task, progress=False)
    paths = [tmp_path / task / "silence" for task in ("music", "instr-pro")]
    one, other, twice = (
        submit(chosen, tmp_path / "board", dry_run=True)[0]
        for chosen in (paths, paths[::-1], [*paths, paths[0] / ".." / "silence"])
    )
    assert one.header == other.header == twice.header
    assert one.folder == other.folder == twice.folder


def test_one_run_a_task(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(run_of(runs), tmp_path / "again" / "music@1-mini")
    with pytest.raises(
        UsageError, match=r"expected one run of music@1-mini by spectral-gate, found .* and .*; choose one"
    ):
        submit([run_of(runs), tmp_path / "again"], tmp_path / "board")
    assert not (tmp_path / "board").exists()


def reseal(run: Path, **columns: str) -> None:
    """Writes other columns into the scores of a run, and the digest of the table that a run would have written."""
    frame = safe_io.read_scores(run / "scores.parquet").assign(**columns)
    parquet.write_table(Table.from_pandas(frame, schema=SCORE_TYPES, preserve_index=False), run / "scores.parquet")
    digest = sha256((run / "scores.parquet").read_bytes())
    write_json(run / "run.json", load_json(run / "run.json") | {"scores_sha256": digest})


def test_scores_that_were_edited_are_not_submitted(runs: Path, tmp_path: Path) -> None:
    run = run_of(runs)
    sealed = load_json(run / "run.json")["scores_sha256"]
    reseal(run, separator="another")
    write_json(run / "run.json", load_json(run / "run.json") | {"scores_sha256": sealed})
    with pytest.raises(StoreError, match="found 14 items without; run it again"):
        submit([run], tmp_path / "board")


def test_a_separator_that_picks_on_its_own(runs: Path, tmp_path: Path) -> None:
    """Its estimates say who picked them, in the journal and the scores; the run had no picker."""
    run = run_of(runs, "mixture")
    records = [json.loads(line) for line in (run / "items.jsonl").read_text().splitlines()]
    lines = [json.dumps({**record, "picked_by": "clap"}) + "\n" for record in records]
    (run / "items.jsonl").write_text("".join(lines))
    reseal(run, picked_by="clap")
    (done,) = submit([run], tmp_path / "board")
    assert done.header.tasks[0].picker == "clap"
    assert validate(tmp_path / "board", share=None).ok


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"status": "cancelled"}, "expected a finished run, found status cancelled"),
        ({"shard": [1, 2]}, "expected a whole run, found a shard"),
    ],
)
def test_runs_that_cannot_be_submitted(runs: Path, tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = run_of(runs) / "run.json"
    write_json(path, load_json(path) | change)
    with pytest.raises(UsageError, match=message):
        submit([run_of(runs)], tmp_path / "board")


def test_a_part_of_a_task_is_no_submission(tmp_path: Path) -> None:
    evaluate("silence", ["music"], split="mini", metrics=["snr"], limit=2, output=tmp_path / "runs", progress=False)
    with pytest.raises(UsageError, match="expected all 14 items of music, found 2"):
        submit([tmp_path / "runs" / "silence"], tmp_path / "board")


def test_a_part_of_a_task_is_named_and_stops_nothing_else(runs: Path, tmp_path: Path) -> None:
    path = run_of(runs) / "run.json"
    write_json(path, load_json(path) | {"status": "cancelled"})
    told: list[str] = []
    done = submit([runs], tmp_path / "board", tell=told.append)
    assert done
    assert all(one.written for one in done)
    (sentence,) = told
    assert sentence.startswith("not submitted: expected a finished run, found status cancelled in ")
    for other in runs.rglob("run.json"):
        write_json(other, load_json(other) | {"status": "cancelled"})
    with pytest.raises(UsageError, match=r"found status cancelled in .*; nor can \d+ other runs? be submitted$"):
        submit([runs], tmp_path / "board")


def test_a_site_of_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(Precondition, match=r"expected a leaderboard with submissions in .*, found none; `sabench"):
        build_site(tmp_path / "board")
    assert not (tmp_path / "board" / "site").exists()


def test_anyones_data_are_no_task_of_a_leaderboard(small_task: Path, tmp_path: Path) -> None:
    evaluate("silence", [str(small_task)], metrics=["snr"], output=tmp_path / "runs", progress=False)
    with pytest.raises(
        UsageError,
        match="expected a task of the catalogue or of an installed plugin, with its own prompts, found small",
    ):
        submit([tmp_path / "runs" / "silence"], tmp_path / "board")


def test_a_revision_is_submitted_once_and_baselines_stay(runs: Path, pristine_board: Path) -> None:
    with pytest.raises(Precondition, match="which was submitted already; state it with --revision"):
        submit([run_of(runs)], pristine_board)
    (done,) = submit([run_of(runs, "mixture")], pristine_board)
    assert (done.written, done.note) == (False, "mixture is on the leaderboard already")


def test_the_same_answers_with_other_scores_are_a_revision_of_their_own(runs: Path, tmp_path: Path) -> None:
    """As after `sabench score`: the revision is found out, so the number behind it is too."""
    (first,) = submit([run_of(runs)], tmp_path / "board")
    rescore([run_of(runs)], metrics=["snr"], progress=False)
    (second,) = submit([run_of(runs)], tmp_path / "board")
    assert second.folder.name == f"{first.folder.name}+2"
    assert validate(tmp_path / "board", share=None).ok
    with pytest.raises(Precondition, match="which was submitted already"):
        submit([run_of(runs)], tmp_path / "board")


def rename(run: Path, name: str) -> None:
    """Lets a run be one of a stranger's separator."""
    header = load_json(run / "run.json")
    header["model"] |= {"name": name, "class": "theirs:Model"}
    write_json(run / "run.json", header)
    reseal(run, separator=name)


def test_a_strangers_separator_needs_a_card(runs: Path, tmp_path: Path) -> None:
    rename(run_of(runs), "their-model")
    with pytest.raises(UsageError, match=r"expected summary, authors, licence, training_data of their-model in a file"):
        submit([run_of(runs)], tmp_path / "board")
    card = tmp_path / "card.toml"
    card.write_text('summary = "s"\nauthors = ["A"]\nlicence = "MIT"\ntraining_data = ["FSD50K"]\n')
    (done,) = submit([run_of(runs)], tmp_path / "board", card=card, revision="v1")
    assert done.folder == tmp_path / "board" / "results" / "their-model" / "v1"
    assert done.header.separator.parameters is None
    card.write_text('auhtors = ["A"]\n')
    with pytest.raises(UsageError, match="found auhtors"):
        submit([run_of(runs)], tmp_path / "board", card=card, revision="v2")


def test_names_cannot_leave_the_leaderboard(runs: Path, tmp_path: Path) -> None:
    rename(run_of(runs), "../../evil")
    card = tmp_path / "card.json"
    card.write_text(json.dumps({"summary": "s", "authors": ["A"], "licence": "MIT", "training_data": []}))
    (done,) = submit([run_of(runs)], tmp_path / "board", card=card, revision="../up")
    assert done.folder.resolve().is_relative_to((tmp_path / "board" / "results").resolve())
    assert validate(tmp_path / "board", share=None).ok
    rename(run_of(runs), "reported")
    with pytest.raises(UsageError, match="expected another name"):
        submit([run_of(runs)], tmp_path / "board", card=card)


def test_withdrawing_keeps_the_row_and_counts_the_attempt(board: Path) -> None:
    (folder,) = (board / "results" / "spectral-gate").iterdir()
    with pytest.raises(UsageError, match="expected a reason"):
        log.withdraw(board, Submission.read(folder), " ")
    log.withdraw(board, Submission.read(folder), "a bug in the gate")
    entries = log.read(board)
    assert [entry.event for entry in entries] == ["submitted"] * 3 + ["withdrawn"]
    assert ("spectral-gate", folder.name) not in log.active_submissions(entries)
    assert log.count_attempts(entries)["spectral-gate"] == 1
    assert validate(board, share=None).ok
    with pytest.raises(UsageError, match="expected a submission that stands"):
        log.withdraw(board, Submission.read(folder), "again")


@pytest.mark.parametrize("reason", ["x" * 501, "red \x1b[31m", "turned \u202e"])
def test_a_reason_cannot_break_the_log(board: Path, reason: str) -> None:
    before = (board / log.LOG).read_bytes()
    (folder,) = (board / "results" / "spectral-gate").iterdir()
    with pytest.raises(UsageError, match="found that it would break the log"):
        log.withdraw(board, Submission.read(folder), reason)
    assert (board / log.LOG).read_bytes() == before
    log.withdraw(board, Submission.read(folder), 'wrong:\n"<b>" \x85'.replace("\x85", "…"))
    assert validate(board, share=None).ok


def test_whom_one_can_withdraw(board: Path) -> None:
    done = call("leaderboard", "withdraw", "nobody", "v1", "--reason", "x", "--from", str(board))
    assert "expected a submission in" in str(done.exception)
    assert "found no nobody v1; `sabench leaderboard log" in str(done.exception)


@pytest.mark.parametrize("damage", ["changed", "removed", "moved"])
def test_the_log_cannot_be_rewritten(board: Path, damage: str) -> None:
    path = board / log.LOG
    lines = path.read_text().splitlines(keepends=True)
    lines = {
        "changed": [lines[0].replace("submitted", "submitted "), *lines[1:]],
        "removed": lines[1:],
        "moved": [lines[1], lines[0], *lines[2:]],
    }[damage]
    path.write_text("".join(lines))
    with pytest.raises(StoreError, match="expected an unbroken log"):
        log.read(board)
    assert not validate(board, share=None).ok


def test_hub_files_are_yaml_and_replace_their_own_block(pristine_board: Path, tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml")
    (folder,) = (pristine_board / "results" / "spectral-gate").iterdir()
    header = Submission.read(folder).header
    (result,) = yaml.safe_load(evaluation_results(header))
    wanted = next(record for record in header.aggregates if record.metric == "si_sdr_i")
    assert result["value"] == wanted.value
    assert result["dataset"]["task_id"] == "music@1-mini"
    (tmp_path / "README.md").write_text("# Mine\n")
    for _ in range(2):
        write_hub_files(tmp_path, header)
    assert (tmp_path / "README.md").read_text() == "# Mine\n\n" + results_block(header)


def test_the_command_line(runs: Path, tmp_path: Path) -> None:
    board = str(tmp_path / "board")
    write_json(tmp_path / "board" / "previews.json", {"items": 1, "kbits": 12.0, "residuals": False})
    done = call("leaderboard", "submit", str(runs), "--to", board, "--with-audio", "--hub", str(tmp_path / "hub"))
    assert done.exit_code == 0, done.output
    assert "1 of 14 items can be heard" in done.stdout
    (heard,) = (tmp_path / "board" / "site" / "listen").glob("*/*")
    assert not list(heard.glob("*.residual.*"))
    assert f"Next: sabench leaderboard validate {board} and build {board}" in done.stderr
    assert (tmp_path / "hub" / ".eval_results" / "sam-audio-bench.yaml").exists()
    done = call("leaderboard", "validate", board, "--all", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["ok"] is True
    (folder,) = (tmp_path / "board" / "results" / "silence").iterdir()
    (folder / "scores.parquet").write_bytes(b"")
    done = call("leaderboard", "validate", board, "--json")
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    assert found["ok"] is False
    assert {"where", "what"} == set(found["problems"][0])
    done = call("leaderboard", "withdraw", "silence", folder.name, "--reason", "it is silent", "--from", board)
    assert done.exit_code == 0, done.output
    assert "it is silent" in call("leaderboard", "log", board).stdout
    assert isinstance(call("leaderboard", "validate", str(tmp_path)).exception, BenchError)


def test_what_cannot_be_heard_is_submitted_all_the_same(runs: Path, tmp_path: Path) -> None:
    """And said: a rule that means nothing, and whoever wants no sounds."""
    board = tmp_path / "board"
    write_json(board / "previews.json", {"items": 0, "kbits": 24.0, "residuals": True})
    done = call("leaderboard", "submit", str(run_of(runs)), "--to", str(board))
    assert done.exit_code == 0, done.output
    assert "submitted, but without previews: expected a rule of previews that meets its schema in" in done.stderr
    assert (
        f"Next: sabench leaderboard previews {run_of(runs)} --to {board}; sabench leaderboard validate" in done.stderr
    )
    assert "previews.json: expected a rule of previews" in call("leaderboard", "validate", str(board)).stdout
    (board / "previews.json").unlink()
    done = call("leaderboard", "submit", str(run_of(runs, "silence")), "--to", str(board), "--no-previews", "--json")
    assert [one["written"] for one in json.loads(done.stdout)] == [True]
    assert not (board / "site").exists()
    assert call("leaderboard", "validate", str(board)).exit_code == 0


def test_the_noise_suppressors_have_cards() -> None:
    """All that `submit` asks of them; what they do stands in the catalogue."""
    folder = Path(__file__).parents[2] / "leaderboards" / "cards"
    assert {path.stem for path in folder.iterdir()} == set(SUPPRESSOR_PACKAGES)
    for path in folder.iterdir():
        card = build_card(path.stem, path)
        assert card["summary"].startswith("noise suppressor, for prompts that ask for speech")
        assert card["licence"]
        assert any(link.startswith("https://") for link in card["links"])
