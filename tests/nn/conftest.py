"""The reference's tiny checkpoint, and the way to the helpers beside these tests, left to us by importlib mode."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
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
