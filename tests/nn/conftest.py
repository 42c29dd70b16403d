"""Golden tensors of the reference, and how near an answer must come to them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from torch import Tensor

GOLDEN = Path(__file__).parents[1] / "golden"


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
def separator_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reference's tiny checkpoint, as a folder."""
    folder = tmp_path_factory.mktemp("separator")
    shutil.copy(GOLDEN / "separator.safetensors", folder / "model.safetensors")
    shutil.copy(GOLDEN / "separator_config.json", folder / "config.json")
    for name in ("pe_config.json", "t5_config.json"):
        shutil.copy(GOLDEN / name, folder / name)
    return folder
