"""`sabench data mix` into a folder that is there, by other pools and after interruptions. All clips are noise."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from sam_audio_bench.cli import group
from sam_audio_bench.errors import MediaError, StoreError, UsageError
from sam_audio_bench.tasks import mixing_write
from sam_audio_bench.tasks.load import load_task
from sam_audio_bench.tasks.mixing_plan import Planner
from sam_audio_bench.tasks.mixing_pool import read_pool
from sam_audio_bench.tasks.mixing_recipe import parse_recipe
from sam_audio_bench.tasks.mixing_write import MixReport, write_mixtures

RATE = 8000
SHORT = {"count": 4, "seconds": 1, "rate": RATE, "sources": 2}


def clip(path: Path, seed: int, sign: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).normal(0, 0.1, RATE).astype(np.float32)
    soundfile.write(path, sign * noise, RATE, subtype="FLOAT")


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    for seed, label in enumerate(("dog", "rain", "horn")):
        clip(tmp_path / "pool" / label / "a.wav", seed)
    return tmp_path / "pool"


def mixed(pool: Path, out: Path, shard: tuple[int, int] = (1, 1), **changes: object) -> MixReport:
    recipe = parse_recipe({**SHORT, **changes})
    return write_mixtures(Planner(read_pool(pool), recipe), out, shard=shard)


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_shards_of_other_pools_make_no_table(pool: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    mixed(pool, out)
    shutil.rmtree(pool / "horn")
    clip(pool / "bee" / "a.wav", 9)
    found = mixed(pool, out, shard=(2, 2))
    assert (found.made, found.foreign, found.missing, found.tables) == (2, 2, 2, [])
    assert not (out / "manifest.csv").exists()  # it told of mixtures that are others now
    result = CliRunner().invoke(group, ["data", "mix", str(pool), "--out", str(out), "--shard", "2/2",
                                        *(f"--set={name}={value}" for name, value in SHORT.items())])  # fmt: skip
    assert "2 mixtures of other shards made of another pool: run these shards again" in result.output
    whole = mixed(pool, out, shard=(1, 2))
    assert (whole.made, whole.foreign, whole.questions) == (2, 0, 4)
    mixed(pool, tmp_path / "new")
    assert content(out) == content(tmp_path / "new")


def test_sounds_without_their_description_are_made_again(
    pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the clip is as it was before the command that was ended."""
    mixed(pool, tmp_path / "out")
    before = content(tmp_path / "out")
    kept = (pool / "dog" / "a.wav").read_bytes()
    clip(pool / "dog" / "a.wav", 50)

    def stopped(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(mixing_write, "write_json", stopped)
        with pytest.raises(KeyboardInterrupt):
            mixed(pool, tmp_path / "out")
    (pool / "dog" / "a.wav").write_bytes(kept)
    mixed(pool, tmp_path / "out")
    assert content(tmp_path / "out") == before
    next((tmp_path / "out" / "mixtures").rglob("source1.flac")).write_bytes(b"")
    assert mixed(pool, tmp_path / "out").made == 1
    assert content(tmp_path / "out") == before


@pytest.mark.parametrize("unit", ["LUFS", "dBFS"])
@pytest.mark.parametrize("sources", [2, 3])
def test_clips_that_cancel_each_other_are_named(sources: int, unit: str, tmp_path: Path) -> None:
    clip(tmp_path / "pool" / "a" / "a.wav", 1)
    clip(tmp_path / "pool" / "b" / "b.wav", 1, sign=-1)
    if sources == 3:
        clip(tmp_path / "pool" / "c" / "c.wav", 2)
    with pytest.raises(MediaError, match=r"found some that cancel each other among .*[ab]\.wav"):
        mixed(tmp_path / "pool", tmp_path / "out", sources=sources, levels=0, snr=0, unit=unit, count=12)


def test_a_text_with_a_carriage_return_comes_back(tmp_path: Path) -> None:
    for name in ("a", "b"):
        clip(tmp_path / f"{name}.wav", ord(name))
    (tmp_path / "clips.csv").write_text('path,label,text\na.wav,x,"p\rq"\nb.wav,y,z\n', newline="")
    mixed(tmp_path / "clips.csv", tmp_path / "out")
    assert {*load_task(str(tmp_path / "out" / "manifest.csv")).texts.values()} == {"p\rq", "z"}
    with (tmp_path / "out" / "licences.csv").open(newline="") as stream:
        assert [row["clip"] for row in csv.DictReader(stream)] == ["a.wav", "b.wav"]


def test_what_cannot_be_meant_is_a_sentence(pool: Path, tmp_path: Path) -> None:
    clip(pool / "loose.wav", 5)
    with pytest.raises(UsageError, match=r"in a folder that is named by its class, found loose\.wav beside them"):
        mixed(pool, tmp_path / "out")
    (pool / "loose.wav").unlink()
    result = CliRunner().invoke(group, ["data", "mix", str(pool), "--out", str(tmp_path / "out"), "--shard", "1/0"])
    assert "expected --shard K/N with 1 <= K <= N, found 1/0" in str(result.exception)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "recipe.json").write_text("[]")
    with pytest.raises(StoreError, match="to be begun with this recipe and format"):
        mixed(pool, tmp_path / "out")
