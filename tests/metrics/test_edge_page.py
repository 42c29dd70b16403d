"""docs/sdr.md says what the metrics say."""

from __future__ import annotations

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_our_rows_are_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("edge_cases", ROOT / "benchmarks" / "edge_cases.py")
    assert spec is not None
    assert spec.loader is not None
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    text = (ROOT / "docs" / "sdr.md").read_text(encoding="utf-8")
    assert text.startswith(maker.INTRODUCTION.partition("{versions}")[0])
    assert text.endswith("\n\n" + maker.CLOSING)
    page = text.splitlines()
    cases = maker.cases()
    assert len(cases) == 14
    for name in maker.OURS:
        assert maker.our_line(name, cases) in page, "run python benchmarks/edge_cases.py"
