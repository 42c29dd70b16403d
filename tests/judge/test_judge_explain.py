"""What an explanation flags, and the picture of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import sam_audio_bench as sab
from sam_audio_bench.cli import group
from sam_audio_bench.errors import UsageError
from sam_audio_bench.judge import SAJ, JudgeScores
from sam_audio_bench.judge.explain import Explanation, Flag, draw, flags, write_explanation
from sam_audio_bench.judge.input_checks import check_prompt
from sam_audio_bench.judge.rationale import EventMatch, explain_ratings, fit_residual, match_events
from sam_audio_bench.types import Audio


def rated(*rows: tuple[float, float, float, float]) -> np.ndarray:
    return np.array(rows)


def test_flags_are_the_poor_stretches_of_each_axis() -> None:
    good, missing, noisy = (4.0, 4.0, 4.0, 4.0), (2.0, 1.0, 4.0, 4.0), (2.0, 4.0, 1.0, 2.4)
    frames = rated(good, missing, missing, good, noisy, noisy, noisy)
    assert flags(frames, 0.2, 1.3) == [
        Flag("recall", 0.2, 0.4 + 0.2),
        Flag("precision", 0.8, 1.3),  # ends with the clip, not with its last frame
        Flag("faithfulness", 0.8, 1.3),
    ]


def test_a_short_dip_is_no_flag_but_a_short_clip_can_be() -> None:
    good, missing = (4.0, 4.0, 4.0, 4.0), (2.0, 1.0, 4.0, 4.0)
    assert flags(rated(good, missing, good), 0.16, 0.48) == []
    assert flags(rated(missing), 0.16, 0.1) == [Flag("recall", 0.0, 0.1)]
    assert flags(rated(good, good), 0.16, 0.32) == []


def explanation(judge: SAJ, noise, seconds: float = 1.0) -> Explanation:
    mixture, target = noise(seconds), noise(seconds, 1)
    return Explanation(
        title="hpss on sfx, sfx-00",
        judge="small 12345678",
        mixture=mixture,
        target=target,
        text="a dog at $5 犬",
        spans=(("+", 0.1, 0.4),),
        scores=judge.score(mixture, [target], "a dog"),
        frame_seconds=judge.frame_seconds,
    )


@pytest.mark.parametrize("seconds", [1.0, 0.01])
def test_the_same_explanation_gives_the_same_picture(small: SAJ, noise, tmp_path: Path, seconds: float) -> None:
    found = explanation(small, noise, seconds)
    for name in ("a.png", "b.png"):
        write_explanation(found, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_judges_without_a_spread_are_drawn_too(tiny: SAJ, noise, tmp_path: Path) -> None:
    found = explanation(tiny, noise)
    assert found.scores.spread is None
    write_explanation(found, tmp_path / "a.png")


def test_silence_is_drawn(tmp_path: Path) -> None:
    silence = Audio(torch.zeros(1, 1600), 16_000)
    ones = torch.ones(1, 1, 4)
    scores = JudgeScores(values=ones[0], frames=ones, keep=torch.ones(1, 1, dtype=torch.bool))
    found = Explanation(
        title="t", judge="j", mixture=silence, target=silence, text="x", spans=(), scores=scores, frame_seconds=0.16
    )
    write_explanation(found, tmp_path / "a.png")
    assert [flag.axis for flag in found.flags] == ["recall", "precision", "faithfulness"]


def test_the_reason_is_the_lowest_axis_and_the_first_event() -> None:
    match = EventMatch(name="Dog", weight=0.8, mixture=0.9, answer=0.05, residual=0.7)
    assert explain_ratings([1.8, 1.4, 3.0, 2.0], [match]) == (
        "Overall 1.8: part of the target seems to be missing (recall 1.4); the judge takes the prompt for “Dog”, with "
        "a probability of 0.90 in the mixture, 0.05 in the estimate and 0.70 in the residual."
    )
    assert explain_ratings([2.5, 3.9, 2.6, 3.0], []) == "Overall 2.5: other sounds seem to be left in (precision 2.6)."
    assert "no axis is rated poor" in explain_ratings([4.0, 3.9, 3.6, 4.0], [])


def test_the_residual_is_what_no_gain_of_the_estimate_explains(noise) -> None:
    mixture, other = noise(0.5), noise(0.5, 1)
    both = Audio(mixture.samples + other.samples, mixture.rate)
    left = fit_residual(both, Audio(0.1 * mixture.samples, mixture.rate))
    assert float((left.samples - other.samples).abs().max()) < 0.02  # two noises are nearly orthogonal
    assert torch.equal(fit_residual(both, Audio(0 * both.samples, both.rate)).samples, both.samples)


def test_events_are_heard_where_they_are(small: SAJ, tiny: SAJ, noise) -> None:
    mixture = noise(1.0)
    found = match_events(small, "a dog", mixture, mixture)
    assert [one.weight for one in found] == sorted((one.weight for one in found), reverse=True)
    assert all(one.name.startswith("event ") and one.mixture == pytest.approx(one.answer, abs=1e-5) for one in found)
    assert match_events(tiny, "a dog", mixture, mixture) == []


@pytest.mark.parametrize("text", ["a dog", "собака", "dog собака"])
def test_the_figure_holds_residual_threshold_events_and_reason(small: SAJ, noise, text: str) -> None:
    plain = explanation(small, noise)
    matches = match_events(small, text, plain.mixture, plain.target)
    found = replace(plain, text=text, matches=matches, remark=check_prompt(small, text))
    figure = draw(found)
    labels = [panel.get_ylabel() for panel in figure.axes]
    assert "residual\nkHz" in labels
    assert any(one.get_text() == "poor below 2.5" for panel in figure.axes for one in panel.texts)
    understood = text != "собака"
    assert len(figure.axes) == 5 + understood
    assert found.reason.startswith("Overall") == understood
    assert ("Note" in found.reason) == (text == "dog собака")
    said = " ".join(figure.get_suptitle().split())
    assert " ".join(found.reason.split()) in said


def test_only_png(small: SAJ, noise, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"expected the name of a \.png file for the explanation, found .*a\.jpg"):
        write_explanation(explanation(small, noise), tmp_path / "a.jpg")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    tasks = ["sfx", "sfx-span-only"]
    sab.evaluate("hpss", tasks=tasks, split="mini", limit=1, metrics=["snr_i"], output=folder, progress=False)
    return folder / "hpss"


def test_the_command_draws_an_item_of_a_run(runs: Path, small_folder: Path) -> None:
    run = runs / "sfx@1-mini"
    item = json.loads((run / "items.jsonl").read_text().splitlines()[0])["item"]
    found = CliRunner().invoke(group, ["judge", "explain", str(run), item, "--judge", str(small_folder), "--json"])
    assert found.exit_code == 0, found.output
    said = json.loads(found.stdout)
    assert Path(said["picture"]).parent == run
    assert Path(said["picture"]).stat().st_size > 10_000
    assert {"overall", "recall", "precision", "faithfulness", "flags", "judge", "remark", "events"} <= set(said)
    assert said["poor_below"] == 2.5
    assert said["why"]
    assert said["judge"].startswith("saj-small ")


def test_the_command_names_the_events_of_the_prompt(runs: Path) -> None:
    run = runs / "sfx@1-mini"
    item = json.loads((run / "items.jsonl").read_text().splitlines()[0])["item"]
    found = CliRunner().invoke(group, ["judge", "explain", str(run), item, "--out", str(run / "a.png")])
    assert found.exit_code == 0, found.output
    lines = found.stdout.splitlines()
    assert lines[0].startswith("Overall ")
    assert lines[2].split() == ["event", "share", "mixture", "answer", "residual"]
    assert "event " not in lines[3]  # the shipped judge's events have names


@pytest.mark.parametrize(
    ("run", "item", "message"),
    [
        ("sfx@1-mini", "nothing", "expected an item with an estimate in .*, found none called nothing; it has "),
        ("sfx-span-only@1-mini", "", "expected an item with a text, found .* without one"),
    ],
)
def test_what_cannot_be_explained(runs: Path, small_folder: Path, run: str, item: str, message: str) -> None:
    folder = runs / run
    item = item or json.loads((folder / "items.jsonl").read_text().splitlines()[0])["item"]
    found = CliRunner().invoke(group, ["judge", "explain", str(folder), item, "--judge", str(small_folder)])
    assert isinstance(found.exception, UsageError)
    with pytest.raises(UsageError, match=message):
        raise found.exception
