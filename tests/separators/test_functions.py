from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from separator_signals import RATE, TEXT, answer, noise, query

from sam_audio_bench.errors import BadSeparation, MediaError, UsageError
from sam_audio_bench.separators.external import FunctionSeparator
from sam_audio_bench.types import Prompt, Separator


def test_a_plain_function_is_a_separator() -> None:
    seen = []

    def half(mixture: torch.Tensor, rate: int, prompt: Prompt) -> torch.Tensor:
        seen.append((mixture.dtype, tuple(mixture.shape), rate, prompt))
        return 0.5 * mixture

    mixture = noise(channels=2)
    separator = FunctionSeparator(half, "half")
    found = answer(separator, mixture)
    assert isinstance(separator, Separator)
    assert seen == [(torch.float32, (2, 2 * RATE), RATE, TEXT)]
    assert torch.equal(found.target.samples, 0.5 * mixture)
    assert torch.equal(found.residual.samples, mixture - 0.5 * mixture)
    assert found.target.rate == RATE
    assert separator.settings == {"function": f"{__name__}:test_a_plain_function_is_a_separator.<locals>.half"}


@pytest.mark.parametrize(
    "convert",
    [
        lambda x: x[0],
        lambda x: x.numpy(),
        lambda x: x.numpy()[0],
        lambda x: x.double(),
        lambda x: x.numpy().astype(np.float64),
        lambda x: x.clone().requires_grad_(),
        lambda x: x.numpy()[:, ::-1][:, ::-1],
    ],
)
def test_tensor_or_array_mono_squeezed_or_not(convert: Any) -> None:
    mixture = noise()
    found = answer(FunctionSeparator(lambda x, rate, prompt: convert(x), "same"), mixture)
    assert found.target.samples.dtype == torch.float32
    assert torch.equal(found.target.samples, mixture)
    assert not found.residual.samples.any()


def test_a_function_that_edits_its_argument_harms_nobody() -> None:
    def mute(mixture: torch.Tensor, rate: int, prompt: Prompt) -> torch.Tensor:
        return mixture.zero_()

    mixture = noise()
    before = mixture.clone()
    found = answer(FunctionSeparator(mute, "mute"), mixture)
    assert torch.equal(mixture, before)
    assert torch.equal(found.residual.samples, before)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "expected bad to return floats .*, found NoneType"),
        ([0.0], "found list"),
        (np.zeros((1, 9), np.int16), "found ndarray of int16"),
        (np.zeros((1, 9), complex), "found ndarray of complex128"),
        (torch.zeros(1, 9, dtype=torch.int64), r"found torch.int64 \[1, 9\]"),
        (torch.zeros(1, 1, 9), r"found torch.float32 \[1, 1, 9\]"),
        (torch.tensor(1.0), r"found torch.float32 \[\]"),
    ],
)
def test_wrong_returns(value: Any, message: str) -> None:
    with pytest.raises(BadSeparation, match=message):
        answer(FunctionSeparator(lambda mixture, rate, prompt: value, "bad"), noise())


def test_one_dimension_is_no_stereo() -> None:
    with pytest.raises(BadSeparation, match=r"found torch.float32 \[32000\]"):
        answer(FunctionSeparator(lambda mixture, rate, prompt: mixture[0], "bad"), noise(channels=2))


@pytest.mark.parametrize("change", [-10, 10])
def test_wrong_length_is_left_to_the_check_with_a_sane_residual(change: int) -> None:
    mixture = noise(1, 100)
    wrong = noise(1, 100 + change, seed=1)
    found = answer(FunctionSeparator(lambda *_: wrong, "wrong"), mixture)
    common = min(100, 100 + change)
    assert torch.equal(found.target.samples, wrong)
    assert torch.equal(found.residual.samples[:, :common], mixture[:, :common] - wrong[:, :common])
    assert torch.equal(found.residual.samples[:, common:], mixture[:, common:])


def test_wrong_channels_are_left_to_the_check() -> None:
    mixture = noise(channels=2)
    mono = answer(FunctionSeparator(lambda x, rate, prompt: x.mean(0, keepdim=True), "mono"), mixture)
    assert mono.target.channels == 1
    assert torch.equal(mono.residual.samples, mixture - mono.target.samples)
    many = answer(FunctionSeparator(lambda x, rate, prompt: torch.cat([x, x]), "many"), mixture)
    assert many.target.channels == 4
    assert torch.equal(many.residual.samples, mixture)


def test_an_exception_is_named() -> None:
    def broken(mixture: torch.Tensor, rate: int, prompt: Prompt) -> torch.Tensor:
        raise KeyError("weights")

    with pytest.raises(BadSeparation, match="broken raised KeyError: 'weights'"):
        answer(FunctionSeparator(broken, "broken"), noise())


def test_own_errors_keep_their_status() -> None:
    def missing(mixture: torch.Tensor, rate: int, prompt: Prompt) -> torch.Tensor:
        raise MediaError("no video", status="missing_media")

    with pytest.raises(MediaError, match="no video"):
        FunctionSeparator(missing, "missing").separate([query(noise())], [0])


@pytest.mark.parametrize("function", [lambda mixture: mixture, lambda a, b, c, d: a, 3])
def test_a_function_with_other_arguments(function: Any) -> None:
    with pytest.raises(UsageError, match=r"expected odd to be a function \(mixture, rate, prompt\), found"):
        FunctionSeparator(function, "odd")


def test_a_function_that_does_not_tell_its_arguments() -> None:
    with pytest.raises(BadSeparation, match="range raised TypeError"):
        answer(FunctionSeparator(range, "range"), noise())
