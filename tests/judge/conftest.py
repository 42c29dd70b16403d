"""Golden tensors of the reference judge, and small judges in folders."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from sam_audio_bench.judge import SAJ
from sam_audio_bench.judge.tiny import write_tiny_judge
from sam_audio_bench.types import Audio

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="session")
def reference_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reference's tiny judge, as a folder."""
    folder = tmp_path_factory.mktemp("judge")
    shutil.copy(GOLDEN / "judge.safetensors", folder / "model.safetensors")
    shutil.copy(GOLDEN / "judge_config.json", folder / "config.json")
    return folder


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny judge of our own, with a tokenizer."""
    return write_tiny_judge(tmp_path_factory.mktemp("models") / "sam-audio-judge", seed=1)


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path) -> SAJ:
    return SAJ.from_pretrained(tiny_folder)


@pytest.fixture(scope="session")
def noise() -> Callable[..., Audio]:
    """Noise of some seconds."""

    def made(seconds: float = 0.25, seed: int = 0, rate: int = 48_000, channels: int = 1) -> Audio:
        generator = torch.Generator().manual_seed(seed)
        return Audio(0.1 * torch.randn(channels, round(seconds * rate), generator=generator), rate)

    return made
