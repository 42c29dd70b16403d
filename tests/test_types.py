"""The central types refuse what cannot be meant."""

from __future__ import annotations

import math

import pytest
import torch

from sam_audio_bench.types import Audio, Prompt


@pytest.mark.parametrize("samples", [torch.zeros(10), torch.zeros(1, 1, 10), torch.zeros(1, 10, dtype=torch.int16)])
def test_audio_wants_float_channels_by_time(samples: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"expected float samples \[channels, time\]"):
        Audio(samples, 48000)


def test_audio_wants_a_rate() -> None:
    with pytest.raises(ValueError, match="rate in Hz"):
        Audio(torch.zeros(1, 10), 0)


def test_audio_tells_its_size() -> None:
    sound = Audio(torch.zeros(2, 24000), 48000)
    assert (sound.channels, sound.length, sound.seconds) == (2, 24000, 0.5)


@pytest.mark.parametrize("prompt", [{}, {"text": ""}, {"text": "  "}, {"text": "", "spans": (("+", 0.0, 1.0),)}])
def test_prompt_must_say_something(prompt: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"expected a .*prompt"):
        Prompt(**prompt)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "span",
    [("*", 0.0, 1.0), ("+", 1.0, 1.0), ("+", 2.0, 1.0), ("+", -1.0, 1.0), ("-", 0.0, math.inf), ("+", math.nan, 1.0)],
)
def test_prompt_refuses_impossible_spans(span: tuple[str, float, float]) -> None:
    with pytest.raises(ValueError, match="expected a span"):
        Prompt(spans=(span,))
