"""Products of matrices by whichever library: the same numbers, whatever the shapes, and gradients where wanted."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from sam_audio_bench.nn.layers import Linear, linear

SHAPES = [(5,), (3, 5), (2, 3, 5), (2, 2, 3, 5), (2, 0, 5)]


@pytest.mark.parametrize("bias", [None, torch.arange(7.0)])
@pytest.mark.parametrize("shape", SHAPES)
@torch.inference_mode()
def test_products_are_torchs(shape: tuple[int, ...], bias: Tensor | None) -> None:
    x, weight = torch.randn(shape), torch.randn(7, 5)
    torch.testing.assert_close(linear(x, weight, bias), F.linear(x, weight, bias))


@torch.inference_mode()
def test_whatever_lies_between_the_numbers() -> None:
    """Views of larger tensors, as windows and transposed frames are."""
    views = [torch.randn(4, 5, 6).mT, torch.randn(6, 4, 5).transpose(0, 1), torch.randn(4, 6, 11)[..., 3:8]]
    for x in [*views, torch.randn(1, 1, 5).expand(4, 6, 5)]:
        for weight in (torch.randn(5, 7).T, torch.randn(7, 12)[:, 4:9], torch.randn(14, 5)[::2]):
            torch.testing.assert_close(linear(x, weight), F.linear(x, weight))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions_are_kept(dtype: torch.dtype) -> None:
    x, weight = torch.randn(3, 5, dtype=dtype), torch.randn(7, 5, dtype=dtype)
    assert torch.equal(linear(x, weight), F.linear(x, weight))


def test_gradients_flow() -> None:
    layer, x = Linear(5, 7), torch.randn(3, 5, requires_grad=True)
    layer(x).square().sum().backward()
    assert x.grad is not None
    assert layer.weight.grad is not None
    frozen = Linear(5, 7).requires_grad_(False)
    assert frozen(x).requires_grad
    assert not frozen(x.detach()).requires_grad
