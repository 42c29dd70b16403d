"""A module imports only from layers to its left, docs/design says; nothing imports the checkout's entrances."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "sam_audio_bench"
LAYERS = [
    {"errors", "types", "files", "deprecated", "notebook", "platforms"},
    {"digests"},
    {"parsed_code"},
    {"loaded_code"},
    {"code_digests"},
    {"identity"},
    {"options", "tabular", "parameters"},
    {"records", "cards"},
    {"blocks"},
    {"decoding"},
    {"audio", "video", "devices"},
    {"nn"},
    {"metrics"},
    {"judge"},
    {"separators", "tasks"},
    {"stats"},
    {"render", "plugins", "construction"},
    {"names", "plots"},
    {"columns"},
    {"registry"},
    {"run"},
    {"ratings"},
    {"leaderboard", "filtering"},
    {"judge.training", "judge.listeners"},
    {"cli"},
]
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def imported(path: Path) -> set[str]:
    """Absolute names of everything that a module imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def layer(names: list[str]) -> str:
    """The layer of a module, by the names below the package: that of its own sub-package where that is one."""
    return ".".join(names[:2]) if ".".join(names[:2]) in RANK else names[0]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_left(path: Path) -> None:
    here = layer([part.removesuffix(".py") for part in path.relative_to(PACKAGE).parts])
    assert here in RANK, f"{here} has no layer"
    for name in imported(path):
        assert name.split(".")[0] not in {"tasks", "judge", "leaderboards", "torchaudio", "torchvision", "torchcodec"}
        there = layer(name.split(".")[1:]) if name.startswith("sam_audio_bench.") else ""
        if there in RANK and there != here:
            left = RANK[there] < RANK[here] or (RANK[here] == 0 and RANK[there] == 0)
            assert left, f"{here} imports {name}, which is not to its left"


def test_package_docstring_is_the_map() -> None:
    """One line a module, and no module without a line."""
    text = ast.get_docstring(ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))) or ""
    named = set(re.findall(r"^    ([a-z_]+)  ", text, re.MULTILINE))
    modules = [path for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()]
    there = {path.stem for path in modules if not path.stem.startswith("_")}
    assert named == there
