"""Golden tensors of the reference, and how near an answer must come to them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="session")
def separator_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reference's tiny checkpoint, as a folder."""
    folder = tmp_path_factory.mktemp("separator")
    shutil.copy(GOLDEN / "separator.safetensors", folder / "model.safetensors")
    shutil.copy(GOLDEN / "separator_config.json", folder / "config.json")
    for name in ("pe_config.json", "t5_config.json"):
        shutil.copy(GOLDEN / name, folder / name)
    return folder
