"""`si_sdr_pit` and `pit_swapped`."""

from __future__ import annotations

import math

import pytest
import torch

from sam_audio_bench.metrics.functional import si_sdr
from sam_audio_bench.metrics.permutation import PermutedSISDR
from sam_audio_bench.types import Audio, Item, Prompt, Query, Score, Separation, Status

generator = torch.Generator().manual_seed(0)
one, two, noise = torch.randn(3, 2, 4000, generator=generator, dtype=torch.float64)


def rows(target: torch.Tensor, residual: torch.Tensor, rest: torch.Tensor = two) -> tuple[Score | None, ...]:
    """Scores of an answer to a mixture of `one` and `rest`."""
    item = Item(
        id="a", group="a", query=Query(mixture=Audio(one + rest, 8000), prompt=Prompt(text="a")),
        reference=Audio(one, 8000), residual_reference=Audio(rest, 8000),
    )  # fmt: skip
    return PermutedSISDR().score([item], [Separation(target=Audio(target, 8000), residual=Audio(residual, 8000))])[0]


def test_exchanged_outputs_score_alike_and_say_so() -> None:
    first, second = one + 0.1 * noise, two - 0.3 * noise
    straight, swapped = rows(first, second), rows(second, first)
    expected = [float(si_sdr(reference=r.flatten(), estimate=e.flatten())) for r, e in ((one, first), (two, second))]
    assert straight[0] is not None
    assert straight[0].value == pytest.approx(sum(expected) / 2, abs=1e-9)
    assert swapped[0] == straight[0]
    assert (straight[1], swapped[1]) == (Score(0.0, Status.OK), Score(1.0, Status.OK))


def test_edges() -> None:
    silence = torch.zeros_like(one)
    assert rows(one, two) == (Score(math.inf, Status.PERFECT), Score(0.0, Status.OK))
    assert rows(silence, silence) == (Score(-100.0, Status.SILENT_ESTIMATE), Score(None, Status.SILENT_ESTIMATE))
    assert rows(one, two, rest=silence) == (Score(None, Status.SILENT_REFERENCE),) * 2
    assert rows(one * math.nan, two) == (Score(None, Status.NON_FINITE),) * 2
    assert rows(one[:, :-1], two[:, :-1]) == (Score(None, Status.LENGTH_MISMATCH),) * 2


def test_without_references_nothing_is_asked() -> None:
    sound = Audio(one, 8000)
    item = Item(id="a", group="a", query=Query(mixture=sound, prompt=Prompt(text="a")), reference=sound)
    assert PermutedSISDR().score([item], [Separation(target=sound, residual=sound)]) == [(None, None)]
