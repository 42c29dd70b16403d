"""Stored scores, most of them by the libraries that define them; see tests/golden/make_metrics.py."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import torch

GOLDEN = Path(__file__).parents[1] / "golden"


def test_scores_equal_the_stored_ones() -> None:
    spec = importlib.util.spec_from_file_location("make_metrics", GOLDEN / "make_metrics.py")
    assert spec is not None
    assert spec.loader is not None
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    stored = json.loads((GOLDEN / "metrics.json").read_text(encoding="utf-8"))["scores"]
    found = maker.ours()
    assert found.keys() == stored.keys()
    for name, values in found.items():
        expected = torch.tensor(stored[name]["values"], dtype=torch.float64)
        assert torch.tensor(values, dtype=torch.float64).numpy() == pytest.approx(expected.numpy(), abs=1e-6), name
