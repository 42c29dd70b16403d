"""The chain of stages behind saj-mini, and the recordings that it keeps of each class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from judge import chain
from judge.prototypes import discriminant, representatives


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> chain.Stage:
    """A stage that was run: an input file, and a folder of products."""
    monkeypatch.setattr(chain, "ROOT", tmp_path)
    (tmp_path / "input").write_text("1")
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "product").write_text("2")
    return chain.Stage("one", (), ("input",), ("made",))


def note(stage: chain.Stage) -> dict[str, dict[str, str]]:
    return {stage.name: {place: chain.digest(chain.ROOT / place) for place in (*stage.inputs, *stage.products)}}


def test_a_stage_is_done_until_something_changes(stage: chain.Stage, tmp_path: Path) -> None:
    noted = note(stage)
    assert chain.is_done(stage, noted)
    assert not chain.is_done(stage, {})
    for place, old in (("input", "1"), ("made/product", "2")):
        (tmp_path / place).write_text("3")
        assert not chain.is_done(stage, noted)
        (tmp_path / place).write_text(old)
        assert chain.is_done(stage, noted)
    (tmp_path / "made" / "product").rename(tmp_path / "made" / "other")
    assert not chain.is_done(stage, noted)


def test_a_stage_without_its_products_is_not_done(stage: chain.Stage, tmp_path: Path) -> None:
    (tmp_path / "made" / "product").unlink()
    assert not chain.is_done(stage, note(stage))


def test_stages_need_only_what_earlier_ones_make_or_the_repository_holds() -> None:
    made: set[str] = set()
    for stage in chain.STAGES:
        for place in stage.inputs:
            if place.startswith("judge/made/"):
                assert any(place == one or one.startswith(f"{place}/") for one in made), (stage.name, place)
            else:
                assert (chain.ROOT / place).exists(), (stage.name, place)
        made |= set(stage.products)
    assert len({stage.name for stage in chain.STAGES}) == len(chain.STAGES)


def test_directions_tell_classes_apart_and_not_recordings() -> None:
    """Classes differ along one axis, recordings of a class much more along another."""
    random = np.random.default_rng(0)
    labels = ["a", "b", "c"] * 40
    values = 0.1 * random.standard_normal((120, 6))
    values[:, 0] += [labels.index(label) for label in labels]
    values[:, 3] += 5 * random.standard_normal(120)
    centre, found = discriminant(values, labels, width=1)
    direction = np.abs(found[:, 0]) / np.linalg.norm(found[:, 0])
    assert direction.argmax() == 0
    assert direction[3] < 0.1
    assert centre[0] == pytest.approx(1.0, abs=0.1)


def test_representatives_are_of_different_recordings_and_cover_the_rest() -> None:
    angles = np.radians([0, 2, 4, 90, 92, 180])
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    groups = ["a", "a", "a", "b", "b", "c"]
    chosen = representatives(directions, groups, most=3)
    assert sorted(groups[row] for row in chosen) == ["a", "b", "c"]
    assert chosen[0] in (0, 1, 2)  # the largest heap first
    assert len(representatives(directions, groups, most=8)) == 3
