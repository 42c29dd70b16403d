"""Shared by all tests: a private cache, golden files, a small task, an imaginary listening test and published ones."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read as torch loads; threads of several processes wait for each other

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from hypothesis import settings
from safetensors.torch import load_file
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))  # helpers beside the tests, which pytest's importlib mode leaves to us

from browser import Browser
from make_bench import Made, make_bench

collect_ignore_glob = ["typing/*"]  # programs for type checkers, which would do what they say when imported

settings.register_profile("patient", deadline=None)  # a busy machine is no bug
settings.load_profile("patient")

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="session", autouse=True)
def private_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Nothing that a test renders lands in the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SABENCH_CACHE", str(folder))
        yield folder


@pytest.fixture
def one_thread() -> Iterator[None]:
    """On one thread, for equal bits in other processes, and for solving systems of equations.

    Once `torch.set_num_threads` has set more than one, whatever it was before, MKL factorizes a batch of large float64
    matrices on threads within torch's threads and gets pivots wrong ("Parameter 6 was incorrect on entry to DLASWP").
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def golden() -> Callable[[str], dict[str, Tensor]]:
    """Reads the tensors of a file by its stem."""
    return lambda name: load_file(GOLDEN / f"{name}.safetensors")


@pytest.fixture(scope="session")
def golden_json() -> Callable[[str], Any]:
    """Reads a JSON file by its stem."""
    return lambda name: json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def error() -> Callable[[Tensor, Tensor], float]:
    """Largest difference, relative to the largest expected magnitude; shapes must agree."""

    def relative(found: Tensor, expected: Tensor) -> float:
        assert found.shape == expected.shape
        return float((found.double() - expected.double()).abs().max() / expected.double().abs().max())

    return relative


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Started once."""
    started = Browser()
    yield started
    started.close()


@pytest.fixture
def browser(chromium: Browser) -> Iterator[Browser]:
    """The browser, as wide as a desk; a test that leaves errors or requests behind fails."""
    chromium.renew()
    chromium.page.set_viewport_size({"width": 1280, "height": 800})
    chromium.page.emulate_media(color_scheme="light")
    yield chromium
    chromium.open("about:blank")  # what was under way has been told by then
    assert chromium.trouble == []


@pytest.fixture
def small_task(tmp_path: Path) -> Path:
    """A CSV task of six short items in three songs; the target of the last one is absent."""
    folder = tmp_path / "small"
    folder.mkdir()
    generator = np.random.default_rng(0)
    lines = ["mixture,text,target,group,id"]
    for index in range(6):
        target, rest = generator.normal(size=(2, 2400)).astype(np.float32) * 0.1
        target *= index < 5
        for name, samples in (("mix", target + rest), ("target", target)):
            soundfile.write(folder / f"{name}{index}.wav", samples, 8000, subtype="FLOAT")
        lines.append(f"mix{index}.wav,noise {index},target{index}.wav,song{index % 3},item-{index}")
    path = folder / "small.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="session")
def made_bench(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A stand-in of the official data with clips of a second; not to be changed."""
    return make_bench(tmp_path_factory.mktemp("official") / "data", seconds=1.0, tracks=2)


@pytest.fixture
def bench(made_bench: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    """A stand-in of one's own, as the official data of this machine, which the hub does not reach."""
    folder = tmp_path / "data"
    shutil.copytree(made_bench.folder, folder, copy_function=os.link)
    monkeypatch.setenv("SABENCH_DATA", str(folder))
    monkeypatch.setattr("sam_audio_bench.nn.hub._is_hub_reachable", lambda: False)
    return Made(folder, [dict(row) for row in made_bench.rows], [*made_bench.files])


@pytest.fixture(scope="session")
def published_ratings() -> Path:
    """Published listening tests, which are not ours to hand on.

    The folder that SABENCH_RATINGS names holds ``gensvs_eval_data.csv`` and the four ``aesthetics/AES_*.jsonl``.
    """
    if "SABENCH_RATINGS" not in os.environ:
        pytest.skip("set SABENCH_RATINGS to a folder with gensvs_eval_data.csv and aesthetics/*.jsonl")
    folder = Path(os.environ["SABENCH_RATINGS"])
    assert (folder / "gensvs_eval_data.csv").is_file(), "SABENCH_RATINGS names a folder without gensvs_eval_data.csv"
    assert len(list((folder / "aesthetics").glob("AES_*.jsonl"))) == 4, "SABENCH_RATINGS names a folder without them"
    return folder


@pytest.fixture(scope="session")
def imaginary_ratings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wide CSV with the columns of gensvs_eval_data.csv and seven of its metrics; nobody ever listened.

    50 items, 3 discriminative and 2 generative systems; each of 250 stimuli belongs to one of 3 sessions, whose 12
    raters are 3 that all sessions share and 9 of its own. A score is quality + bias of the rater + noise, from 1 to 5.
    """
    generator = np.random.default_rng(7)
    item, system = np.indices((50, 5)).reshape(2, -1)[:, generator.permutation(250)]
    quality = (
        np.array([2.0, 2.7, 3.4, 3.1, 3.3])[system] + generator.normal(0, 0.6, 50)[item] + generator.normal(0, 0.4, 250)
    )
    session = np.arange(250) % 3
    raters = np.stack([generator.permutation([0, 1, 2, *range(3 + 9 * part, 12 + 9 * part)]) for part in range(3)])
    heard = quality[:, None] + generator.normal(0, 0.3, 30)[raters[session]] + generator.normal(0, 0.75, (250, 12))
    scores = np.clip(np.rint(heard), 1, 5)
    names = np.array(["masks_small", "masks_medium", "masks_large", "imagines", "paints"])[system]
    frame = pd.DataFrame(
        {
            "filepath": [f"./audio/{name}/vocals_fileid_{one}.wav" for name, one in zip(names, item, strict=True)],
            "file_id": [f"fileid_{one}" for one in item],
            "trial_id": [f"trial{at // 3 + 1}" for at in range(250)],
            "group_id": [f"group{one}" for one in session],
            "model_type": np.where(system < 3, "discriminative", "generative"),
            "model_name": names,
            **{f"subject_rating_{at}": [f"subject_{one}" for one in raters[session, at]] for at in range(12)},
            **{f"rating_{at}": scores[:, at] for at in range(12)},
            "DMOS": scores.mean(axis=1),
            **_imaginary_metrics(quality, system < 3, generator),
        }
    )
    path = tmp_path_factory.mktemp("ratings") / "imaginary.csv"
    frame.to_csv(path, index=False)
    return path


def _imaginary_metrics(
    quality: np.ndarray, discriminative: np.ndarray, generator: np.random.Generator
) -> dict[str, np.ndarray]:
    """From very telling to nearly useless; SDR tells something of discriminative systems alone."""
    noise = generator.normal(size=(7, len(quality)))
    sdr = np.where(discriminative, 4 * quality - 6 + 3 * noise[4], quality - 17 + 4 * noise[4])
    return {
        "emb_mse_clap_music_df": np.exp(-5 - 0.6 * quality + 0.25 * noise[0]).round(7),
        "fad_song2song_clap_music_df": 0.9 - 0.15 * quality + 0.09 * noise[1],
        "visqol": (3 + 0.3 * quality + 0.25 * noise[2]).round(2),  # with ties
        "multi_res_loss": 2 - 0.2 * quality + 0.2 * noise[3],
        "sdr": sdr,
        "sisdr": sdr - 3 + noise[5],
        "ops": 20 + quality + 5 * noise[6],
    }
