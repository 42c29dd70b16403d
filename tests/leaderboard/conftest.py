"""Finished runs on one task of the mini split, and a leaderboard made of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pyarrow import Table, parquet

from sam_audio_bench.files import load_json, write_json
from sam_audio_bench.leaderboard import reading
from sam_audio_bench.leaderboard.submission import HEADER, SCORES, aggregates, metric_records
from sam_audio_bench.leaderboard.submit import submit
from sam_audio_bench.run.evaluate import evaluate
from sam_audio_bench.run.store import SCORE_TYPES

METRICS = ("si_sdr", "si_sdr_i", "snr_i", "leak_db")


@pytest.fixture(scope="session")
def finished_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folders of mixture, silence and a gate on the mini split's music."""
    folder = tmp_path_factory.mktemp("leaderboard") / "runs"
    for model in ("spectral-gate", "silence"):
        evaluate(model, ["music"], split="mini", metrics=METRICS, output=folder, progress=False)
    return folder


@pytest.fixture(scope="session")
def pristine_board(finished_runs: Path) -> Path:
    """A leaderboard with all three, audio included; copy it before changing anything."""
    board = finished_runs.parent / "board"
    submit([finished_runs], board, with_audio=True)
    return board


@pytest.fixture
def board(pristine_board: Path, tmp_path: Path) -> Path:
    """A copy to tamper with."""
    return Path(shutil.copytree(pristine_board, tmp_path / "board"))


@pytest.fixture
def gate(board: Path) -> Path:
    """The folder of the only separator on that copy."""
    (folder,) = (board / "results" / "spectral-gate").iterdir()
    return folder


@pytest.fixture
def tamper(gate: Path) -> Callable[..., None]:
    """Changes the gate's scores and header, and makes digests and aggregates agree again, as a careful cheat would."""

    def change(
        rows: Callable[[pd.DataFrame], pd.DataFrame] | None = None, header: Callable[[Any], None] | None = None
    ) -> None:
        stated = load_json(gate / HEADER)
        scores = reading.scores(gate / SCORES)
        scores = scores if rows is None else rows(scores)
        table = Table.from_pandas(scores, schema=SCORE_TYPES, preserve_index=False)
        parquet.write_table(table, gate / SCORES)
        stated["scores_sha256"] = reading.digest(gate / SCORES)
        stated["aggregates"] = aggregates(scores, metric_records(stated["metrics"]))
        if header is not None:
            header(stated)
        write_json(gate / HEADER, stated)

    return change
