"""Distillation: folding, patches that belong together, changes of rows, and the measures of its report."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from judge.degrade import RATE
from judge.distill import CLIP, FEATURES, HOP, PATCH, Student, augment, batches, scene_clips
from judge.distill_report import average_precision, probe, roc_auc
from judge.stems import mini_pool
from sam_audio_bench.judge.audio_encoder import FLOOR, AudioEncoder, AudioEncoderConfig

TINY = AudioEncoderConfig(channels=(4, 8, 8, 8, 8), blocks=(2, 1, 1, 1), width=6, events=5)


def rows(clips: int = 4, count: int = 3 * HOP + PATCH, seed: int = 0) -> torch.Tensor:
    found = torch.randn(clips, count, 64, generator=torch.Generator().manual_seed(seed))
    return found.clamp(min=np.log(FLOOR) + 0.01)


def test_folding_changes_nothing() -> None:
    torch.manual_seed(0)
    student = Student(TINY)
    for _ in range(3):  # statistics that are not those of a new layer
        student(rows() * 2 - 1)
    for layer in student.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1, 0.3)
            nn.init.normal_(layer.bias)
    student.eval()
    folded = student.folded()
    assert folded.state_dict().keys() == AudioEncoder(TINY).state_dict().keys()
    with torch.no_grad():
        torch.testing.assert_close(folded.encode(rows()), student.listener.encode(rows()), atol=1e-5, rtol=1e-4)


def test_a_patch_is_the_mean_of_its_embeddings() -> None:
    torch.manual_seed(0)
    student = Student(TINY).eval()
    with torch.no_grad():
        logits, features = student(rows())
        steps = student.listener.encode(rows())
    assert logits.shape == (4, 4, 5)
    assert features.shape == (4, 4, FEATURES)
    wanted = student.listener.event_logits(steps[:, 3:9].mean(dim=1))  # 48 rows on, 96 rows long, 16 rows each
    torch.testing.assert_close(logits[:, 1], wanted, atol=1e-6, rtol=1e-5)


def test_batches_repeat_and_stay_finite() -> None:
    store = rows(6, CLIP).half().numpy()
    first, again = ([batch.clone() for batch in batches(store, 5, 4, seed=3)] for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    assert not torch.equal(first[0], first[1])
    silent = augment(torch.full((4, 9, 64), np.log(FLOOR)), torch.Generator().manual_seed(0))
    torch.testing.assert_close(silent, torch.full_like(silent, np.log(FLOOR)))


def test_clips_of_a_scene() -> None:
    stems = [stem for stem in mini_pool() if stem.split == "train"]
    for seed in range(3):
        mixture, estimate, rest = scene_clips(stems, np.random.default_rng(seed))
        assert {len(signal) for signal in (mixture, estimate, rest)} == {CLIP * RATE // 100}
        assert max(np.abs(signal).max() for signal in (mixture, estimate, rest)) <= 1
        assert 10 ** (-40 / 20) < np.sqrt(np.mean(mixture**2)) < 10 ** (-8 / 20)


def test_measures() -> None:
    scores, truth = np.array([0.9, 0.8, 0.7, 0.1]), np.array([True, False, True, False])
    assert average_precision(scores, truth) == pytest.approx((1 + 2 / 3) / 2)
    assert roc_auc(scores, truth) == pytest.approx(3 / 4)
    assert roc_auc(np.zeros(4), truth) == pytest.approx(1 / 2)


def test_a_probe_finds_what_a_line_can_tell() -> None:
    labels = ["dog", "cat", "owl"] * 20
    vectors = torch.eye(3).repeat(20, 1) + 0.1 * torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
    assert probe(vectors[:30], vectors[30:], labels[:30], labels[30:]) == (1.0, 1.0)
    assert probe(vectors[:30], vectors[30:], labels[:30], [*labels[30:-3], "new", "new", "new"]) == (1.0, 1.0)
