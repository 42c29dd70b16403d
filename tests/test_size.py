"""Functions and files stay small enough to be read: p95 of bodies <= 40 lines, none > 80, files <= 400."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILES = [*(ROOT / "sam_audio_bench").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py"), ROOT / "tasks.py"]


def bodies() -> dict[str, int]:
    """Lines of every function without its signature and docstring."""
    found = {}
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
                found[f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"] = lines
    return found


def test_functions() -> None:
    sizes = bodies()
    ordered = sorted(sizes.values())
    assert {name: lines for name, lines in sizes.items() if lines > 80} == {}
    assert ordered[int(0.95 * len(ordered))] <= 40


def test_files() -> None:
    long = {str(path.relative_to(ROOT)): n for path in FILES if (n := len(path.read_text("utf-8").splitlines())) > 400}
    assert long == {}
