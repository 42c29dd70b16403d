"""What the package promises at its surface: names, light imports, entrances of the checkout."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import sam_audio_bench
import tasks as entrance
from sam_audio_bench.deprecated import DEPRECATED
from sam_audio_bench.tasks import TASKS

MODULES = sorted(module.name for module in pkgutil.walk_packages(sam_audio_bench.__path__, "sam_audio_bench."))


@pytest.mark.parametrize("name", ["sam_audio_bench", *MODULES])
def test_all_is_sorted_and_importable(name: str) -> None:
    module = importlib.import_module(name)
    names = getattr(module, "__all__", [])
    assert list(names) == sorted(names, key=lambda text: (not text.isupper(), not text[0].isupper(), text))
    for attribute in names:
        assert hasattr(module, attribute)


@pytest.mark.parametrize(
    ("module", "old", "new"), [(module, old, new) for module, names in DEPRECATED.items() for old, new in names.items()]
)
def test_an_old_name_warns_and_is_the_new_one(module: str, old: str, new: str) -> None:
    home, _, name = new.partition(":")
    with pytest.warns(DeprecationWarning, match=rf"{module}\.{old} is now {home}\.{name}"):
        found = getattr(importlib.import_module(module), old)
    assert found is getattr(importlib.import_module(home), name)
    with pytest.raises(AttributeError, match="no attribute 'Rwo'"):
        _ = importlib.import_module(module).Rwo


def test_unknown_attribute_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'evaluat'"):
        _ = sam_audio_bench.evaluat  # type: ignore[attr-defined]


def run_python(code: str, folder: Path) -> str:
    """Standard output of a fresh interpreter."""
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


HEAVY = "import sys; print(sorted({'torch', 'matplotlib', 'transformers'} & set(sys.modules)))"


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["eval", "--help"],
        ["list", "tasks"],
        ["list", "layouts", "--format", "md"],
        ["list", "models", "--json"],
        ["list", "metrics"],
        ["leaderboard", "log"],
    ],
)
def test_light_commands_never_import_torch(words: list[str], tmp_path: Path) -> None:
    code = f"from sam_audio_bench.cli import main\ntry:\n    main({words!r})\nexcept SystemExit:\n    {HEAVY}"
    assert run_python(code, tmp_path).endswith("[]\n")


def test_importing_is_light_and_leaves_no_trace(tmp_path: Path) -> None:
    assert run_python(f"import sam_audio_bench, sam_audio_bench.tasks; {HEAVY}", tmp_path) == "[]\n"
    assert list(tmp_path.iterdir()) == []


def test_entrance_is_the_same_object() -> None:
    assert entrance.TASKS is TASKS
