"""Estimates whose quality can be heard: tones in noise, cleaner or less clean, as archives and as a table."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
from safetensors.torch import load_file, save_file

RATE = 16_000
SYSTEMS = {
    "ideal": (1.0, 0.0),
    "light": (0.9, 0.3),
    "mixture": (1.0, 1.0),
    "muffled": (0.3, 0.2),
    "nothing": (0.0, 0.0),
}
"""Shares of tone and noise in the estimates."""
TEXTS = ("dog barking", "rain", "a guitar", "the woman")


def scores(tone: float, noise: float) -> dict[str, float]:
    """What the imaginary listeners say."""
    recall, precision = tone, 1 - noise
    return {
        "overall": 1 + 4 * recall * (0.3 + 0.7 * precision),
        "recall": 1 + 4 * recall,
        "precision": 1 + 4 * precision * (tone > 0),
        "faithfulness": 1 + 4 * recall**0.5,
    }


def sounds(number: int, seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """A tone and noise."""
    generator = np.random.default_rng(number)
    time = np.arange(round(seconds * RATE)) / RATE
    tone = 0.3 * np.sin(2 * np.pi * generator.uniform(300, 3000) * time)
    return tone, 0.2 * generator.normal(size=len(time))


def flac(samples: np.ndarray) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, np.clip(samples, -0.99, 0.99), RATE, format="FLAC", subtype="PCM_16")
    return stream.getvalue()


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


@pytest.fixture(scope="session")
def write_shards() -> Callable[..., Path]:
    """Writes archives of mixtures ``first … first + count``; two a recording."""

    def written(folder: Path, count: int = 8, first: int = 0, shards: int = 2, prefix: str = "") -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for shard in range(shards):
            with tarfile.open(folder / f"shard-{shard:05d}.tar", "w") as archive:
                for number in range(first + shard, first + count, shards):
                    key = f"{prefix}{number:04d}"
                    tone, noise = sounds(number, 0.24 + 0.08 * (number % 3))
                    add(archive, f"{key}.mixture.flac", flac(tone + noise))
                    rows: list[dict[str, Any]] = []
                    text = TEXTS[number % len(TEXTS)]
                    for place, (system, (kept, left)) in enumerate(SYSTEMS.items()):
                        add(archive, f"{key}.{place}.target.flac", flac(kept * tone + left * noise))
                        rows.append(
                            {"target": place, "text": text, "kind": "intended", "query": f"{key}/{text}",
                             "system": system, "scores": scores(kept, left), "raters": 1}
                        )  # fmt: skip
                    facts = {"key": key, "domain": ("sfx", "music")[number % 2], "group": f"{prefix}g{number // 2}",
                             "classes": [text], "seconds": len(tone) / RATE, "rows": rows}  # fmt: skip
                    add(archive, f"{key}.json", json.dumps(facts).encode())
        return folder

    return written


@pytest.fixture(scope="session")
def shards(write_shards: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen mixtures of eight recordings, five estimates each."""
    return write_shards(tmp_path_factory.mktemp("shards") / "train", count=16)


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tidy table of two raters' opinions of the same kind of estimates, with spans."""
    folder = tmp_path_factory.mktemp("table")
    records = []
    for number in range(8):
        tone, noise = sounds(number, 0.32)
        soundfile.write(folder / f"{number}.wav", tone + noise, RATE)
        for system, (kept, left) in SYSTEMS.items():
            soundfile.write(folder / f"{number}-{system}.wav", kept * tone + left * noise, RATE)
            for rater, bias in (("ann", 0.0), ("ben", -0.2)):
                for axis, score in scores(kept, left).items():
                    records.append(
                        {"rater": rater, "item": f"item-{number}", "group": f"g{number // 2}", "system": system,
                         "domain": "sfx", "axis": axis, "score": max(1.0, score + bias), "time": 1.0, "trial": "",
                         "session": "", "mixture": f"{number}.wav", "target": f"{number}-{system}.wav",
                         "text": TEXTS[number % 4], "spans": "+0.1:0.2" if number % 2 else ""}
                    )  # fmt: skip
    pd.DataFrame(records).to_parquet(folder / "ratings.parquet")
    return folder / "ratings.parquet"


SMALL = {
    "bottleneck_dim": 16,
    "small": {"hidden": 8},
    "finetune_transformer": {
        "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
    },
}  # fmt: skip
"""``[judge]`` of a recipe."""


@pytest.fixture(scope="session")
def parts(small_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Listener, word vectors and prototypes of the small judge, in folders of their own."""
    config = json.loads((small_folder / "config.json").read_text())["small"]
    tensors = load_file(small_folder / "model.safetensors")
    found = {}
    for part in ("listener", "words", "prototypes"):
        folder = tmp_path_factory.mktemp("parts") / part
        folder.mkdir()
        prefix = f"ear.{part}."
        own = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
        save_file(own, folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps(config[part]))
        shutil.copy(small_folder / "tokenizer.json", folder)
        found[part] = str(folder)
    return found


@pytest.fixture
def recipe(shards: Path, parts: dict[str, str]) -> dict[str, Any]:
    """A recipe's tables: a small judge, from scratch, in a few steps."""
    return {
        "name": "small",
        **parts,
        "judge": SMALL,
        "data": {"train": [str(shards)], "hold_out_groups": 0.4},
        "optimizer": {"epochs": 6, "max_frames": 60, "learning_rate": 0.01, "ema": 0.9},
        "stop": {"checkpoint": 1},
    }
