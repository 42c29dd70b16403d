"""Pickers: the reference implementation's scores, ties, undefined candidates, and which picker a prompt gets."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from sam_audio_bench import registry
from sam_audio_bench.errors import UsageError
from sam_audio_bench.files import sha256
from sam_audio_bench.metrics import CARDS
from sam_audio_bench.metrics.clap import Clap
from sam_audio_bench.separators.pickers import PICKERS, default_picker, families_of_picker
from sam_audio_bench.separators.rerank import (
    ActivityPicker,
    ClapPicker,
    EnsemblePicker,
    Picker,
    SAJPicker,
    best_candidate,
    weighted_sum,
)
from sam_audio_bench.types import Audio, Prompt, Query, Separation, Span

GOLDEN = Path(__file__).parents[1] / "golden"
RATE = 48_000


def separation(samples: Tensor, rate: int = RATE) -> Separation:
    return Separation(target=Audio(samples, rate), residual=Audio(samples, rate))


def query(*spans: Span, text: str | None = None) -> Query:
    return Query(mixture=Audio(torch.ones(1, 2 * RATE), RATE), prompt=Prompt(text=text, spans=spans))


@pytest.mark.parametrize("measure", ["iou", "recall", "precision"])
def test_activity_equals_the_reference_implementation(measure: str) -> None:
    cases = json.loads((GOLDEN / "activity.json").read_text(encoding="utf-8"))
    signals = np.load(GOLDEN / "activity.npz")
    rates = {case["name"]: case["sample_rate"] for case in cases["cases"]}
    candidates = [separation(torch.from_numpy(signals[name]), rates[name]) for name in cases["ranker_inputs"]]
    asked = query(*(("+", start, end) for start, end in cases["ref_spans"]))
    found = ActivityPicker(measure=measure).scores(asked, candidates)
    assert np.float32(found).tolist() == cases["ranker"][measure]  # the reference's scores are float32


def test_the_ensemble_equals_the_reference_implementation() -> None:
    """Scores of three candidates for two items, and their sum with weights 5 and 1, both members being one model."""
    single = np.float32([[1.7807166576, 1.8697005510, 1.4736974239], [2.7004101276, 2.4696865082, 2.6150622368]])
    together = np.float32([[10.6843004227, 11.2182035446, 8.8421850204], [16.2024612427, 14.8181190491, 15.6903743744]])
    for scores, expected, index in zip(single.tolist(), together.tolist(), (1, 0), strict=True):
        found = weighted_sum([(5.0, scores), (1.0, scores)])
        assert found == pytest.approx(expected, rel=1e-7)
        assert best_candidate(found) == index


@given(st.lists(st.sampled_from([math.nan, -math.inf, -1.0, 0.0, 0.5, math.inf]), min_size=1))
def test_best_is_the_first_highest_number(scores: list[float]) -> None:
    numbers = [score for score in scores if not math.isnan(score)]
    assert best_candidate(scores) == (scores.index(max(numbers)) if numbers else 0)


def test_undefined_members_make_the_sum_undefined() -> None:
    found = weighted_sum([(5.0, [math.nan, 0.1]), (1.0, [5.0, 1.0])])
    assert math.isnan(found[0])
    assert best_candidate(found) == 1


def test_a_silent_candidate_has_no_activity() -> None:
    """Also where it is shorter than a window, which counts as active otherwise."""
    short = torch.zeros(1, RATE // 10)
    assert ActivityPicker().scores(query(("+", 0.0, 0.1)), [separation(short), separation(short + 0.1)]) == [0.0, 1.0]


def test_activity_asks_for_a_span_that_is_present() -> None:
    picker = ActivityPicker()
    assert picker.applies_to(Prompt(spans=(("-", 0.0, 1.0), ("+", 1.0, 2.0))))
    assert not picker.applies_to(Prompt(spans=(("-", 0.0, 1.0),)))
    assert not picker.applies_to(Prompt(text="dog"))


class Listener:
    """Stands in for CLAP's encoders: the angle between text and audio is the audio's mean level."""

    def text(self, text: str) -> Tensor:
        return torch.tensor([1.0, 0.0], dtype=torch.float64)

    def audio(self, pieces: Sequence[Tensor]) -> Tensor:
        angles = torch.stack([piece.double().abs().mean() for piece in pieces])
        return torch.stack([angles.cos(), angles.sin()], dim=1)


@pytest.fixture
def clap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Clap, "_load_network", lambda self: Listener())


def test_clap_scores_are_those_of_the_metric_and_silence_is_last(clap: None) -> None:
    picker = ClapPicker(device="cpu")
    levels = (0.0, 0.5, 0.25)
    candidates = [separation(torch.full((1, RATE), level)) for level in levels]
    found = picker.scores(query(text="dog"), candidates)
    assert math.isnan(found[0])
    assert found[1:] == pytest.approx([math.cos(0.5), math.cos(0.25)], abs=1e-6)
    assert best_candidate(found) == 2
    assert picker.applies_to(Prompt(text="dog"))
    assert not picker.applies_to(Prompt(video="a.mp4"))


class Judge:
    """Stands in for the judge: the overall score is the peak, whatever the text."""

    def score(self, mixture: Audio, targets: Sequence[Audio], text: str) -> Any:
        assert (mixture.seconds, text) == (2.0, "dog")
        return type("Scores", (), {"overall": torch.stack([target.samples.max() for target in targets])})


def test_the_ensemble_weighs_its_members(clap: None) -> None:
    picker = EnsemblePicker(device="cpu")
    picker.members[1]._judge = Judge()  # type: ignore[attr-defined]
    candidates = [separation(torch.full((1, RATE), level)) for level in (0.5, 0.25)]
    expected = [5 * math.cos(level) + level for level in (0.5, 0.25)]
    assert picker.scores(query(text="dog"), candidates) == pytest.approx(expected, abs=1e-5)
    assert (picker.name, EnsemblePicker(1.0, 0.5).name) == ("ensemble", "ensemble-1-0.5")
    assert picker.settings["weights"] == {"clap": 5.0, "saj": 1.0}


def test_missing_weights_name_the_remedy(tmp_path: Path) -> None:
    for picker in (ClapPicker(path=str(tmp_path)), SAJPicker(path=str(tmp_path)), EnsemblePicker(path=str(tmp_path))):
        reason = picker.missing()
        assert reason is not None
        assert "hf download" in reason
        assert "--picker-args path=DIR" in reason
        assert "--metric-args" not in reason
    assert (EnsemblePicker(path=str(tmp_path)).missing() or "").count("hf download") == 2


def test_the_judge_is_known_by_its_files(tmp_path: Path) -> None:
    folder = tmp_path / "sam-audio-judge"
    folder.mkdir()
    (folder / "config.json").write_text('{"finetune_transformer": {}, "audio_codec": {}}')
    (folder / "model.safetensors").write_bytes(b"weights")
    picker = SAJPicker(path=str(tmp_path))
    assert picker.missing() is None
    assert picker.weights_sha256 == {"saj": sha256(b"weights")}


@pytest.mark.parametrize("name", sorted(PICKERS))
def test_every_card_has_its_picker(name: str) -> None:
    picker = registry.load_picker(name)
    assert isinstance(picker, Picker)
    assert picker.name == name
    families = {identifier.split("_")[0] for identifier in CARDS} | {"saj"}
    assert PICKERS[name].families <= families


def test_options_are_checked() -> None:
    assert registry.load_picker("activity", {"measure": "recall"}).name == "activity-recall"
    with pytest.raises(UsageError, match="expected measure to be one of iou, recall, precision, found 'f1'"):
        registry.load_picker("activity", {"measure": "f1"})
    with pytest.raises(UsageError, match=r"picker arguments among \[measure, threshold\] for 'activity', found path"):
        registry.load_picker("activity", {"path": "x"})
    with pytest.raises(UsageError, match="finite weights"):
        registry.load_picker("ensemble", {"clap_weight": math.inf})


def test_default_pickers() -> None:
    """A video before a text before spans alone."""
    offers = {"text": {"text"}, "text+span": {"text", "spans"}, "span": {"spans"}, "video": {"video"}}
    found = {name: default_picker(frozenset(offered)) for name, offered in offers.items()}
    assert found == {"text": "ensemble", "text+span": "ensemble", "span": "activity", "video": "imagebind"}
    assert default_picker({"text", "spans", "video"}) == "imagebind"


def test_families_of_what_picked() -> None:
    assert {"clap", "saj"} <= families_of_picker("ensemble-1-0.5")
    assert "span" in families_of_picker("activity-recall")
    assert families_of_picker("x") == {"x"}
