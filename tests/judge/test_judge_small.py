"""Small judges: what they share with the released one, and what they hear, read and say on their own."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from sam_audio_bench.errors import UsageError
from sam_audio_bench.judge import SAJ
from sam_audio_bench.judge.event_features import EventFeatures, EventFeaturesConfig, Triplet
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
def test_a_common_gain_changes_nothing(small: SAJ, noise, gain: float) -> None:
    mixture, target = noise(1.0), noise(1.0, 1)
    plain = small.score(mixture, [target], "dog").values
    louder = [Audio(clip.samples * gain, clip.rate) for clip in (mixture, target)]
    assert torch.allclose(small.score(louder[0], louder[1:], "dog").values, plain, atol=1e-4)
    quieter = Audio(target.samples * 0.1, target.rate)
    assert not torch.allclose(small.score(mixture, [quieter], "dog").values, plain, atol=1e-3)


@pytest.mark.bits
def test_the_mixture_is_heard_once(small: SAJ, noise, monkeypatch: pytest.MonkeyPatch) -> None:
    mixture, targets = noise(0.5), [noise(0.5, seed) for seed in (1, 2, 3)]
    alone = [small.score(mixture, [target], "dog").values for target in targets]
    heard: list[int] = []
    hear = small.encode_audio

    def counted(values: torch.Tensor) -> torch.Tensor:
        heard.append(len(values))
        return hear(values)

    monkeypatch.setattr(small, "encode_audio", counted)
    assert torch.equal(small.score(mixture, targets, "dog").values, torch.cat(alone))
    assert sum(heard) == 1 + 2 * len(targets)  # answer and residual each


def test_batches_and_single_answers_agree(small: SAJ, noise, error) -> None:
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


def test_the_residual_has_nothing_of_the_answer(small: SAJ) -> None:
    batch = given(small)
    mixtures, answers = batch["input_values"], batch["separated_values"]
    residual = small.residual(mixtures, answers)
    assert residual is not None
    assert float((residual * answers).sum(-1).abs().max()) < 1e-2
    assert float(small.residual(mixtures, mixtures * 0.25).abs().max()) < 1e-6
    assert torch.equal(small.residual(mixtures, answers * 0), mixtures)


@pytest.mark.bits
def test_texts_are_read_in_lower_case_and_unknown_ones_too(small: SAJ, noise) -> None:
    mixture, target = noise(0.5), noise(0.5, 1)
    plain = small.score(mixture, [target], "dog barking").values
    assert torch.equal(small.score(mixture, [target], " Dog BARKING ").values, plain)
    assert not torch.allclose(small.score(mixture, [target], "rain").values, plain, atol=1e-4)
    for text in ("", "xylophone", "犬"):
        assert torch.isfinite(small.score(mixture, [target], text).values).all()


def test_words_count_as_far_as_they_are_familiar(small: SAJ) -> None:
    ear = small.ear
    assert ear is not None
    familiar = F.normalize(ear.familiar, dim=-1)
    assert torch.equal(ear.text_familiarity(familiar), torch.ones(3, 1))
    opposite = -familiar.sum(0, keepdim=True)
    assert float(ear.text_familiarity(F.normalize(opposite, dim=-1))) == 0.0
    batch = given(small, frames=4)
    with torch.inference_mode():
        states = small.encode_pair(batch["input_values"], batch["separated_values"])
        texts = small.encode_text(batch["input_ids"])
        rated = [
            small.rate_frames(states[1], states[0], vectors, residuals=states[2], text_trust=torch.full((3, 1), known))
            for vectors, known in ((texts, 0.0), (texts, 1.0))
        ]
    assert not torch.allclose(rated[0], rated[1], atol=1e-4)


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


def test_only_released_judges_have_a_reference(small_folder: Path) -> None:
    with pytest.raises(UsageError, match="expected parity exact, found upstream"):
        SAJ.from_pretrained(small_folder, parity="upstream")


def test_gradients_reach_the_evidence_and_not_the_listener(small_folder: Path) -> None:
    judge = SAJ.from_pretrained(small_folder).requires_grad_(True)
    judge(**given(judge)).values.sum().backward()
    reached = {name.rpartition(".")[0] for name, value in judge.named_parameters() if value.grad is not None}
    assert {"head", "ear.evidence.patches.stages.0", "ear.evidence.match", "ear.evidence.marks_in"} <= reached
    assert not any(name.startswith("ear.listener.layers") for name in reached)


def evidence(rows: int = 16) -> EventFeatures:
    torch.manual_seed(0)
    found = EventFeatures(EventFeaturesConfig(channels=(4, 6)), bands=64, rows=rows, embedding=5, text=7, width=9)
    return found.eval().requires_grad_(False)


def sides(size: int, frames: int = 4, seed: int = 0) -> Triplet:
    generator = torch.Generator().manual_seed(seed)
    return Triplet(*(torch.randn(2, frames, size, generator=generator) for _ in range(3)))


def test_marks_follow_the_prompts_event() -> None:
    network = evidence()
    mels, embeddings = sides(16 * 64), sides(5)
    silence, bark = torch.zeros(2, 4, 3), torch.zeros(2, 4, 3)
    bark[..., 1] = 0.8
    weights = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    event_statistics = network.event_statistics(mels, embeddings, Triplet(silence, bark, silence), weights)
    answer = event_statistics[:, 0, 4:7]  # mean and strongest of the prompt's events, strongest other, of the answer
    assert torch.allclose(answer, torch.tensor([[0.8, 0.8, 0.0], [0.0, 0.0, 0.8]]))
    assert event_statistics.shape == (2, 4, 17)


@pytest.mark.parametrize("rows", [8, 16])
def test_details_of_a_frame_are_where_it_is(rows: int) -> None:
    network = evidence(rows)
    mels = sides(rows * 64, frames=40)
    plain = network.spectral_features(mels)
    assert plain.shape[:2] == (2, 40)
    changed = Triplet(mels.mixture, mels.estimate.clone(), mels.residual)
    changed.estimate[:, 30] += 1
    moved = (network.spectral_features(changed) - plain).abs().amax(dim=(0, 2))
    assert float(moved[30]) > 1e-4
    moved[30] = 0
    assert float(moved.max()) == 0.0


def test_padding_is_no_evidence() -> None:
    network = evidence()
    mels, embeddings, events = sides(16 * 64, 6), sides(5, 6), Triplet(*(part.sigmoid() for part in sides(3, 6).all()))
    text, weights = torch.ones(2, 7), torch.full((2, 3), 1 / 3)
    keep = torch.arange(6).expand(2, -1) < 4
    whole = network(mels, embeddings, events, text, weights, torch.ones(2, 1), keep)
    changed = Triplet(events.mixture, torch.where(keep[..., None], events.estimate, 1.0), events.residual)
    other = network(mels, embeddings, changed, text, weights, torch.ones(2, 1), keep)
    assert torch.allclose(whole[:, :4], other[:, :4], atol=1e-6)
