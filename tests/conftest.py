"""Shared by all tests: a private cache, and a small task that needs no media."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import settings

settings.register_profile("patient", deadline=None)  # a busy machine is no bug
settings.load_profile("patient")


@pytest.fixture(scope="session", autouse=True)
def private_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Nothing that a test renders lands in the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SABENCH_CACHE", str(folder))
        yield folder


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
