"""Whatever happens to a file of a leaderboard, validation tells of it and reading ends in a sentence."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from damage import damage, damaged, exchange, exchanged
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sam_audio_bench.errors import BenchError
from sam_audio_bench.leaderboard import log, safe_io
from sam_audio_bench.leaderboard.board import BOARDS, read_board
from sam_audio_bench.leaderboard.submission import HEADER, SCORES
from sam_audio_bench.leaderboard.validate import validate

MANY = settings(
    max_examples=60, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
OURS = Path(__file__).parents[2] / "leaderboards"


@pytest.fixture(scope="module")
def records(pristine_board: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    """A leaderboard of one submission without its audio, and the JSON in it."""
    board = tmp_path_factory.mktemp("fuzz") / "board"
    shutil.copytree(pristine_board, board, ignore=shutil.ignore_patterns("audio", "mixture", "silence"))
    shutil.copy(OURS / BOARDS, board)
    shutil.copytree(OURS / "results" / "reported", board / "results" / "reported")
    files = [board / log.LOG, board / BOARDS, *board.rglob(HEADER), *(board / "results" / "reported").glob("*.json")]
    return board, files


@MANY
@given(place=st.integers(0, 50), how=st.one_of(damage, exchange))
def test_damaged_records(records: tuple[Path, list[Path]], place: int, how: Any) -> None:
    board, files = records
    path = files[place % len(files)]
    content = path.read_bytes()
    path.write_bytes(damaged(content, how) if isinstance(how, dict) else exchanged(content, how))
    try:
        for problem in validate(board, share=None).problems:
            assert problem.what
            f"{problem.where}: {problem.what}".encode()
        read_board(board)
    except BenchError as error:
        told = str(error)
        assert told
    finally:
        path.write_bytes(content)


@MANY
@given(how=damage)
def test_damaged_scores(records: tuple[Path, list[Path]], tmp_path: Path, how: dict[str, Any]) -> None:
    board, _ = records
    (scores,) = board.rglob(SCORES)
    (tmp_path / SCORES).write_bytes(damaged(scores.read_bytes(), how))
    try:
        safe_io.read_scores(tmp_path / SCORES)
    except BenchError as error:
        told = str(error)
        assert SCORES in told
