"""What is installed: our package alone, with its data, and small."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Built from a copy, so that the checkout stays clean."""
    source = tmp_path_factory.mktemp("source") / "checkout"
    shutil.copytree(
        ROOT, source, ignore=shutil.ignore_patterns(".git", "runs", "made", "*.egg-info", "__pycache__", "*venv*")
    )
    out = tmp_path_factory.mktemp("wheel")
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        str(out),
    ]
    subprocess.run([*build, str(source)], check=True, capture_output=True)
    return zipfile.ZipFile(next(out.glob("*.whl")))


def test_installs_one_name(wheel: zipfile.ZipFile) -> None:
    (top_level,) = (name for name in wheel.namelist() if name.endswith("top_level.txt"))
    assert wheel.read(top_level).decode().split() == ["sam_audio_bench"]
    assert {name.split("/")[0] for name in wheel.namelist() if ".dist-info/" not in name} == {"sam_audio_bench"}


def test_holds_its_data(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    assert sum(name.endswith(".ogg") for name in names) == 75
    for needed in (
        "py.typed",
        "bibliography.bib",
        "tasks/mini_data/ATTRIBUTION.md",
        "tasks/mini_data/items.json",
        "run/schemas/run.schema.json",
        "ratings/report.html",
        "ratings/page/page.html",
        "ratings/page/page.css",
        "ratings/page/player.js",
        "ratings/page/test.js",
    ):
        assert f"sam_audio_bench/{needed}" in names


def test_lacks_nothing_of_the_package(wheel: zipfile.ZipFile) -> None:
    files = (path for path in (ROOT / "sam_audio_bench").rglob("*") if path.is_file())
    here = {path.relative_to(ROOT).as_posix() for path in files if path.suffix != ".pyc" and path.name[0] != "."}
    assert here - set(wheel.namelist()) == set()


def test_the_wheel_is_small(wheel: zipfile.ZipFile) -> None:
    assert wheel.filename is not None
    assert Path(wheel.filename).stat().st_size <= 13 * 2**20


def test_mini_is_small(wheel: zipfile.ZipFile) -> None:
    size = sum(entry.file_size for entry in wheel.infolist() if "/mini_data/" in entry.filename)
    assert size <= 4 * 2**20
