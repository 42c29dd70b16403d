from __future__ import annotations

import torch
from separator_signals import answer, noise

from sam_audio_bench.separators.baselines import Mixture, Silence
from sam_audio_bench.types import Separator


def test_mixture_gives_back_the_mixture_bit_for_bit() -> None:
    mixture = noise(channels=2)
    found = answer(Mixture(), mixture.clone())
    assert torch.equal(found.target.samples, mixture)
    assert found.residual.samples.shape == mixture.shape
    assert not found.residual.samples.any()


def test_silence_leaves_everything_to_the_residual() -> None:
    mixture = noise(channels=2)
    found = answer(Silence(), mixture.clone(), rate=44_100)
    assert found.target.samples.shape == mixture.shape
    assert not found.target.samples.any()
    assert torch.equal(found.residual.samples, mixture)
    assert found.target.rate == found.residual.rate == 44_100


def test_both_are_separators() -> None:
    assert all(isinstance(kind(), Separator) for kind in (Mixture, Silence))
