"""The plan warns, from file headers alone, of items that need more memory or disk space than there is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from sam_audio_bench.decoding import declared_size
from sam_audio_bench.run import memory
from sam_audio_bench.run.plan import make_plan

RATE, MINUTES = 8_000, 20  # 9.6 million values, 37 MiB in float32
SIZE = RATE * MINUTES * 60


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("long")
    with soundfile.SoundFile(folder / "long.wav", "w", RATE, 1, "PCM_U8") as file:
        file.write(np.zeros(SIZE, np.float32))
    soundfile.write(folder / "short.wav", [0.1] * RATE, RATE)
    (folder / "t.csv").write_text("mixture,text,target\nlong.wav,dog,long.wav\nshort.wav,dog,short.wav\n", "utf-8")
    return folder / "t.csv"


def needs(table: Path, tmp_path: Path, *models: str, metrics: tuple[str, ...] = ("si_sdr",)) -> tuple[str, ...]:
    return make_plan(models, [str(table)], output=tmp_path, metrics=metrics).needs


def test_there_is_no_warning_if_everything_fits(table: Path, tmp_path: Path) -> None:
    assert needs(table, tmp_path, "mixture") == ()


def test_too_little_memory_and_the_advice(table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = (
        memory.BASE_BYTES + 6 * 4 * SIZE
    )  # more than the baseline's estimates take, less than a spectral separator's
    monkeypatch.setattr(memory, "total_memory", lambda: limit)
    (text,) = needs(table, tmp_path, "spectral-gate")
    assert text == (
        "spectral-gate on t@1-file: long, 37 MiB as float32, will need about 2.1 GiB of memory, found 1.2 GiB; "
        "cut it into shorter items"
    )


def test_room_for_temporary_files(table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_free", lambda folder: 1 << 28)
    (text,) = needs(table, tmp_path, "mixture")
    assert "will need about 366 MiB in" in text
    assert text.endswith("found 256 MiB; set TMPDIR to a folder that has them, or cut it into shorter items")


def test_what_files_claim(table: Path, tmp_path: Path) -> None:
    assert declared_size(table.with_name("long.wav")) == SIZE
    assert declared_size(table.with_name("short.wav")) is None  # too few bytes to be long
    assert declared_size(tmp_path / "absent.wav") is None
    (tmp_path / "text.wav").write_bytes(b"no sound" * 200_000)
    assert declared_size(tmp_path / "text.wav") is None


def test_the_limit_of_a_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = memory.total_memory()
    (tmp_path / "max").write_text("1048576\n", "ascii")
    monkeypatch.setattr(memory, "_CGROUP_LIMIT", tmp_path / "max")
    assert memory.total_memory() == 1 << 20
    (tmp_path / "max").write_text("max\n", "ascii")
    unlimited = memory.total_memory()
    assert unlimited is not None
    assert machine is not None
    assert unlimited >= machine
