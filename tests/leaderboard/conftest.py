"""Finished runs on one task of the mini split, and a leaderboard made of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from msgspec import convert
from pyarrow import Table, parquet

from sam_audio_bench.files import load_json, write_json
from sam_audio_bench.leaderboard import parquet_sandbox, safe_io
from sam_audio_bench.leaderboard.records import SubmittedMetric, to_builtins
from sam_audio_bench.leaderboard.submission import HEADER, SCORES, compute_aggregates, metric_records
from sam_audio_bench.leaderboard.submit import submit
from sam_audio_bench.run.evaluate import evaluate
from sam_audio_bench.run.store import SCORE_TYPES
from sam_audio_bench.types import Audio, Query, Separation

METRICS = ("si_sdr", "si_sdr_i", "snr_i", "leak_db")


@pytest.fixture(scope="session", autouse=True)
def unpacked_once() -> Iterator[None]:
    """A table that unpacked within the limits needs no second process; most tests read copies of the same few."""
    known: set[tuple[str, int, int]] = set()
    check = safe_io.check_decoding

    def once(path: Path) -> None:
        table = (safe_io.file_digest(path), parquet_sandbox.MEMORY, parquet_sandbox.SECONDS)
        if table not in known:
            check(path)
            known.add(table)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(safe_io, "check_decoding", once)
        yield


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


@pytest.fixture(scope="session")
def pristine_picked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A leaderboard with the best of three answers; copy it before changing anything."""
    folder = tmp_path_factory.mktemp("picked")
    evaluate(
        Noisy(), ["instr-wild-span"], split="mini", metrics=("si_sdr", "si_sdr_i"), candidates=3, picker="activity",
        output=folder / "runs", progress=False,
    )  # fmt: skip
    card = folder / "card.toml"
    card.write_text('summary = "s"\nauthors = ["A"]\nlicence = "MIT"\ntraining_data = []\n')
    submit([folder / "runs" / "noisy"], folder / "board", card=card, with_audio=True)
    return folder / "board"


@pytest.fixture
def picked(pristine_picked: Path, tmp_path: Path) -> Path:
    """The folder of the only submission on a copy of it."""
    board = shutil.copytree(pristine_picked, tmp_path / "picked")
    (folder,) = (board / "results" / "noisy").iterdir()
    return Path(folder)


class Noisy:
    """The mixture with a gain and noise that the seed decides."""

    name = "noisy"

    def separate(self, queries: Sequence[Query], seeds: Sequence[int]) -> list[Separation]:
        answers = []
        for query, seed in zip(queries, seeds, strict=True):
            drawn = torch.Generator().manual_seed(seed)
            sound = query.mixture.samples
            target = sound * torch.rand(1, generator=drawn) + 0.01 * torch.randn(sound.shape, generator=drawn)
            rate = query.mixture.rate
            answers.append(Separation(target=Audio(target, rate), residual=Audio(sound - target, rate)))
        return answers


@pytest.fixture
def edit() -> Callable[..., None]:
    """Changes the scores and the header of a submission, and makes digests and aggregates agree again."""

    def change(
        folder: Path,
        rows: Callable[[pd.DataFrame], pd.DataFrame] | None = None,
        header: Callable[[Any], None] | None = None,
    ) -> None:
        stated = load_json(folder / HEADER)
        scores = safe_io.read_scores(folder / SCORES)
        scores = scores if rows is None else rows(scores)
        table = Table.from_pandas(scores, schema=SCORE_TYPES, preserve_index=False)
        parquet.write_table(table, folder / SCORES)
        stated["scores_sha256"] = safe_io.file_digest(folder / SCORES)
        metrics = metric_records(convert(stated["metrics"], list[SubmittedMetric]))
        stated["aggregates"] = [to_builtins(one) for one in compute_aggregates(scores, metrics)]
        if header is not None:
            header(stated)
        write_json(folder / HEADER, stated)

    return change


@pytest.fixture
def tamper(gate: Path, edit: Callable[..., None]) -> Callable[..., None]:
    """`edit` of the gate, as a careful cheat would."""
    return partial(edit, gate)
