"""Small judges: what they share with the released one, and what they hear, read and say on their own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from sam_audio_bench.errors import Precondition, UsageError
from sam_audio_bench.judge import SAJ, load
from sam_audio_bench.judge.front_end import frame_pitches
from sam_audio_bench.judge.prompt_features import (
    Prototypes,
    PrototypesConfig,
    SignalTriplet,
    event_features,
    text_familiarity,
    voice_features,
)
from sam_audio_bench.types import Audio


def given(judge: SAJ, seed: int = 1, rows: int = 3, frames: int = 6) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    hop = judge.processor.hop
    return {
        "input_ids": torch.randint(1, 8, (rows, 3), generator=generator),
        "input_values": torch.randn(rows, 1, frames * hop, generator=generator),
        "separated_values": torch.randn(rows, 1, frames * hop, generator=generator),
    }


def test_a_frame_is_160_ms_and_scores_are_four(small: SAJ, noise) -> None:
    assert small.frame_seconds == pytest.approx(0.16)
    scores = small.score(noise(1.0), [noise(1.0, 1), noise(1.0, 2)], "a dog barking")
    assert scores.values.shape == (2, 4)
    assert scores.frames.shape == (2, 7, 4)
    assert scores.spread is not None
    assert bool((scores.spread > 0).all())


def test_scores_do_not_depend_on_the_batch(small: SAJ, error) -> None:
    batch = given(small)
    lengths = torch.tensor([6, 2, 4]) * small.processor.hop
    mask = torch.arange(batch["input_values"].shape[-1]) < lengths[:, None]
    with torch.inference_mode():
        together = small(**batch, padding_mask=mask)
        for row, length in enumerate(lengths.tolist()):
            cut = {name: value[row : row + 1] for name, value in batch.items()}
            for name in ("input_values", "separated_values"):
                cut[name] = cut[name][..., :length]
            alone = small(**cut)
            assert error(alone.values, together.values[row : row + 1]) < 2e-6
            assert error(alone.spread, together.spread[row : row + 1]) < 2e-6


@pytest.mark.parametrize("gain", [1e-4, 0.1, 30.0])
def test_no_gain_changes_anything(small: SAJ, noise, gain: float) -> None:
    mixture, target = noise(1.0), noise(1.0, 1)
    plain = small.score(mixture, [target], "dog").values
    clips = [Audio(clip.samples * gain, clip.rate) for clip in (mixture, target)]
    for one, other in ((clips[0], clips[1]), (mixture, clips[1]), (clips[0], target)):
        assert torch.allclose(small.score(one, [other], "dog").values, plain, atol=1e-4)


@pytest.mark.bits
def test_estimates_are_rated_one_by_one(small: SAJ, noise) -> None:
    mixture, targets = noise(0.5), [noise(0.5, seed) for seed in (1, 2, 3)]
    alone = [small.score(mixture, [target], "dog").values for target in targets]
    assert torch.equal(small.score(mixture, targets, "dog").values, torch.cat(alone))


def test_batches_and_single_estimates_agree(small: SAJ, noise, error) -> None:
    mixture, target = noise(0.64, rate=16_000), noise(0.64, 1, rate=16_000)
    ids, mask = small.processor.tokens(["a dog"])
    with torch.inference_mode():
        found = small(
            input_ids=ids,
            attention_mask=mask,
            input_values=mixture.samples[None],
            separated_values=target.samples[None],
        )
    assert error(found.values, small.score(mixture, [target], "a dog").values) < 2e-6


def test_silence_is_rated(small: SAJ, noise) -> None:
    silence = Audio(torch.zeros(1, 16_000), 16_000)
    sound = noise(1.0, rate=16_000)
    for mixture, target in ((sound, silence), (silence, sound), (silence, silence)):
        scores = small.score(mixture, [target], "dog")
        assert torch.isfinite(scores.values).all()
        assert scores.spread is not None
        assert torch.isfinite(scores.spread).all()


@pytest.mark.bits
def test_texts_are_read_in_lower_case_and_unknown_ones_too(small: SAJ, noise) -> None:
    mixture, target = noise(0.5), noise(0.5, 1)
    plain = small.score(mixture, [target], "dog barking").values
    assert torch.equal(small.score(mixture, [target], " Dog BARKING ").values, plain)
    assert not torch.allclose(small.score(mixture, [target], "rain").values, plain, atol=1e-4)
    for text in ("", "xylophone", "犬"):
        assert torch.isfinite(small.score(mixture, [target], text).values).all()


def test_a_text_is_as_near_as_its_nearest_name() -> None:
    names = F.normalize(torch.randn(3, 7, generator=torch.Generator().manual_seed(0)), dim=-1)
    assert torch.equal(text_familiarity(names, names), torch.ones(3, 1))
    assert float(text_familiarity(F.normalize(-names.sum(0, keepdim=True), dim=-1), names)) == 0.0
    assert float(text_familiarity(names[:1], names[:0])) == 0.0


def test_trust_takes_what_is_known_of_a_class_and_no_more(small: SAJ) -> None:
    batch = given(small, frames=4)
    assert small.ear is not None
    with torch.inference_mode():
        pair = small.encode_pair(batch["input_values"], batch["separated_values"])
        features = small.ear.frame_features(*pair, small.encode_text(batch["input_ids"]))
        plain, trusted, blind = (
            small.rate_frame_features(features, text_trust=None if trust is None else torch.full((3, 1), trust))
            for trust in (None, 1.0, 0.0)
        )
    assert torch.equal(plain, trusted)
    assert not torch.allclose(plain, blind, atol=1e-4)


def test_calibration_interpolates(small: SAJ) -> None:
    values = torch.linspace(-1, 7, 41)[:, None].expand(-1, 4)
    knots = small.calibration
    assert knots is not None
    found = small._calibrated(values)[:, 2].numpy()
    inside = (values[:, 0] >= 0) & (values[:, 0] <= 6)
    expected = np.interp(values[:, 0].numpy(), knots[0, :, 2].numpy(), knots[1, :, 2].numpy())
    assert np.allclose(found[inside.numpy()], expected[inside.numpy()], atol=1e-5)
    assert bool((np.diff(found) > 0).all())  # beyond the knots too
    assert found[0] == pytest.approx(float(knots[1, 0, 2]) - 1, abs=1e-5)


@pytest.mark.bits
def test_saved_judges_say_the_same(small_folder: Path, small: SAJ, noise, tmp_path: Path) -> None:
    shutil.copytree(small_folder, tmp_path / "again")
    save_file(
        {name: value.contiguous() for name, value in small.state_dict().items()},
        tmp_path / "again" / "model.safetensors",
    )
    again = SAJ.from_pretrained(tmp_path / "again")
    mixture, target = noise(0.5), noise(0.5, 1)
    expected, found = (judge.score(mixture, [target], "a dog") for judge in (small, again))
    assert torch.equal(found.values, expected.values)
    assert torch.equal(found.spread, expected.spread)
    assert again.prompts == {"text", "spans"}


def test_version_1_is_named(small_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(small_folder, tmp_path / "old")
    config = json.loads((tmp_path / "old" / "config.json").read_text())
    config["small"]["evidence"] = {"hidden": 8}
    (tmp_path / "old" / "config.json").write_text(json.dumps(config))
    with pytest.raises(Precondition, match=r"found one of version 1.*train it again"):
        SAJ.from_pretrained(tmp_path / "old")


def test_a_judge_that_was_told_other_numbers_is_named(small_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(small_folder, tmp_path / "old")
    weights = load_file(tmp_path / "old" / "model.safetensors")
    save_file({**weights, "ear.usual": weights["ear.usual"][:-3].clone()}, tmp_path / "old" / "model.safetensors")
    with pytest.raises(Precondition, match=r"features per frame.*another version of sam-audio-bench; train it again"):
        SAJ.from_pretrained(tmp_path / "old")


def test_only_released_judges_have_a_reference(small_folder: Path) -> None:
    with pytest.raises(UsageError, match="expected parity exact, found upstream"):
        SAJ.from_pretrained(small_folder, parity="upstream")


def test_gradients_reach_what_is_trained_and_not_the_listener(small_folder: Path) -> None:
    judge = SAJ.from_pretrained(small_folder)
    for name, parameter in judge.named_parameters():
        parameter.requires_grad_(not name.startswith("ear.listener"))
    judge(**given(judge)).values.sum().backward()
    reached = {name.rpartition(".")[0] for name, value in judge.named_parameters() if value.grad is not None}
    assert {"head", "ear.evidence.1", "ear.evidence.4"} <= reached
    assert not any(name.startswith("ear.listener") for name in reached)


def sides(size: int, frames: int = 4, seed: int = 0) -> SignalTriplet:
    generator = torch.Generator().manual_seed(seed)
    return SignalTriplet(*(torch.randn(2, frames, size, generator=generator) for _ in range(3)))


def test_marks_follow_the_prompts_event() -> None:
    silence, bark = torch.zeros(2, 4, 3), torch.zeros(2, 4, 3)
    bark[..., 1] = 0.8
    weights = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    features = event_features(SignalTriplet(silence, bark, silence), sides(5), weights)
    estimate = features[:, 0, 3:6]  # mean and strongest of the prompt's events, strongest other, of the estimate
    assert torch.allclose(estimate, torch.tensor([[0.8, 0.8, 0.0], [0.0, 0.0, 0.8]]))
    assert features.shape == (2, 4, 12)


def known_classes() -> Prototypes:
    """Two classes along the axes: the first with two recordings, the second with one; the third text means both."""
    found = Prototypes(PrototypesConfig(count=3, classes=2, texts=4, width=2), embedding=2, text=2)
    found.projection.copy_(torch.eye(2))
    found.table.copy_(torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]]))
    found.owner.copy_(torch.tensor([0, 0, 1]))
    found.texts.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [-1.0, 0.0]]))
    found.meaning.copy_(torch.tensor([0, 1, 0, 1]))
    return found


def test_a_sound_is_as_like_a_class_as_its_likest_recording() -> None:
    sound = torch.tensor([[[3.0, 4.0]]])
    found = known_classes().likeness(sound, None)
    assert torch.allclose(found, torch.tensor([[[1.0, 0.8]]]))
    left = known_classes().likeness(sound, torch.tensor([[True, False, False]]))
    assert torch.allclose(left, torch.tensor([[[0.6, -1.0]]]))  # without its own recording


def test_rivals_are_the_classes_that_were_not_asked_for() -> None:
    sound, still = torch.tensor([[[1.0, 0.0]]]), torch.ones(1, 1, 1)
    for text, own, rival in ((0, 1.0, 0.0), (1, 0.0, 1.0)):
        texts = torch.eye(2)[text : text + 1]
        features = known_classes().features(
            SignalTriplet(sound, sound, sound), SignalTriplet(still, still, still), texts, torch.ones(1, 1), None
        )
        assert torch.allclose(features[0, 0, :2], torch.tensor([own, rival]), atol=1e-6)
    strange = known_classes().features(
        SignalTriplet(sound, sound, sound), SignalTriplet(still, still, still), texts, torch.zeros(1, 1), None
    )
    assert not strange.any()


def test_any_kind_of_what_is_asked_for_is_right() -> None:
    """As "speech" is a man's or a woman's: the likest counts, and neither is the other's rival."""
    both, still = torch.tensor([[-1.0, 0.0]]), torch.ones(1, 1, 1)
    assert torch.allclose(known_classes().weights(both), torch.ones(1, 2))
    for sound in ([1.0, 0.0], [0.0, 1.0]):
        one = torch.tensor([[sound]])
        features = known_classes().features(
            SignalTriplet(one, one, one), SignalTriplet(still, still, still), both, torch.ones(1, 1), None
        )
        assert torch.allclose(features[0, 0, :2], torch.tensor([1.0, -1.0]), atol=1e-6)


def test_only_a_text_that_names_a_voice_is_held_against_the_pitch() -> None:
    judge = load("saj-mini")
    assert judge.ear is not None
    texts = (
        "vocals",
        "singing",
        "speech",
        "human voice",
        "manual saw",
        "man speaking",
        "female vocals",
        "a child laughing",
    )
    with torch.inference_mode():
        vectors = judge.encode_text(*judge.processor.tokens(texts))
        high = torch.ones(len(texts), 2)
        features = voice_features(vectors, judge.ear.prototypes.voices, SignalTriplet(high, high, high))[:, 0]
    assert not features[:5].any()
    assert features[5, 0] == -1
    assert features[6, 0] == features[7, 1] == 1
    assert torch.allclose(features[5, 2:], -torch.ones(3))  # an octave above the middle speaks against a man


def test_voices_are_moved_as_a_whole() -> None:
    """All pitches that there are, and their products with who is asked for; nothing else."""
    judge = load("saj-mini")
    assert judge.ear is not None
    phase = 2 * torch.pi * 120 / 16000 * torch.arange(20480)
    sound = torch.stack([torch.sin(partial * phase) for partial in range(1, 6)]).sum(dim=0)
    quiet = torch.cat([sound, torch.zeros(20480)])[None, None]
    with torch.inference_mode():
        texts = judge.encode_text(*judge.processor.tokens(["man speaking"]))
        features = judge.ear.frame_features(*judge.ear.encode_pair(quiet, quiet), texts)
        moved = judge.ear.shift_pitch(features, torch.tensor([0.5]))
    assert torch.equal(judge.ear.shift_pitch(features, torch.zeros(1)), features)
    for before, after in zip(frame_pitches(features), frame_pitches(moved), strict=True):
        assert torch.allclose(after, before + 0.5 * (before != 0))
    assert int((moved != features).any(dim=1).sum()) <= 6  # three pitches, and three products with the prompt
    assert bool((frame_pitches(features)[1] != 0).any())


def test_padding_is_no_evidence(small: SAJ) -> None:
    batch = given(small)
    assert small.ear is not None
    keep = torch.arange(6).expand(3, -1) < 4
    with torch.inference_mode():
        pair = small.encode_pair(batch["input_values"], batch["separated_values"])
        features = small.ear.frame_features(*pair, small.encode_text(batch["input_ids"]), keep=keep)
        changed = torch.where(keep[..., None], features, features + 1)
        whole, other = (small.ear.project_features(one, text_trust=None, keep=keep) for one in (features, changed))
    assert torch.allclose(whole[:, :4], other[:, :4], atol=1e-6)
