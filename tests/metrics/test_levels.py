"""Leak and reconstruction, with everything silence can do to them."""

from __future__ import annotations

import math

import pytest
import torch
from metric_signals import RATE, answer, item, noise, orthonormal, sound

from sam_audio_bench.metrics.catalogue import CARDS, FLOOR_DB
from sam_audio_bench.metrics.levels import Leak, Reconstruction
from sam_audio_bench.types import Item, Score, Separation, Status

first, second = orthonormal(2)[:, None]
silence = torch.zeros_like(first)
absent = item(silence, first)


def leak(question: Item, given: Separation) -> Score | None:
    """The leak of one item."""
    return Leak().score([question], [given])[0][0]


def reconstruction(question: Item, given: Separation) -> Score | None:
    """The reconstruction of one item."""
    return Reconstruction().score([question], [given])[0][0]


@pytest.mark.parametrize("gain", [1e-3, 0.1, 1.0, 2.0])
@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e3])
def test_leak_in_closed_form(gain: float, scale: float) -> None:
    found = leak(item(silence, scale * first), answer(scale * gain * second))
    assert found is not None
    assert found.status is Status.OK
    assert found.value == pytest.approx(20 * math.log10(gain), abs=1e-9)


def test_leak_is_asked_of_absent_targets_only() -> None:
    assert leak(item(first, second), answer(first)) is None
    assert leak(item(None, None, first), answer(first)) is None
    assert not CARDS["leak_db"].higher_is_better


def test_statuses_of_leak() -> None:
    assert leak(absent, answer(silence)) == Score(-math.inf, Status.BOTH_SILENT)
    assert leak(absent, answer(1e-20 * second)) == Score(FLOOR_DB, Status.OK)
    assert leak(item(silence, silence), answer(second)) == Score(None, Status.SILENT_REFERENCE)
    assert leak(item(silence, silence), answer(silence)) == Score(None, Status.SILENT_REFERENCE)
    assert leak(absent, answer(second[:, 1:])) == Score(None, Status.LENGTH_MISMATCH)
    assert leak(absent, answer(second * math.nan)) == Score(None, Status.NON_FINITE)


def test_leak_of_a_mono_answer_is_measured_against_the_average() -> None:
    pair = torch.cat([first, first])
    found = leak(item(torch.zeros_like(pair), pair), answer(0.1 * second))
    assert found is not None
    assert found.value == pytest.approx(-20, abs=1e-9)


@pytest.mark.parametrize("loss", [1e-6, 0.1, 3.0])
def test_reconstruction_in_closed_form(loss: float) -> None:
    found = reconstruction(item(first, silence), answer(0.3 * first, 0.7 * first + loss * second))
    assert found is not None
    assert found.status is Status.OK
    assert found.value == pytest.approx(-20 * math.log10(loss), abs=1e-6)


def test_statuses_of_reconstruction() -> None:
    question = item(first, second)
    assert reconstruction(question, answer(first, second)) == Score(math.inf, Status.PERFECT)
    assert reconstruction(question, answer(silence)) == Score(FLOOR_DB, Status.SILENT_ESTIMATE)
    assert reconstruction(item(silence, silence), answer(first)) == Score(None, Status.SILENT_REFERENCE)
    assert reconstruction(item(silence, silence), answer(silence)) == Score(None, Status.BOTH_SILENT)
    assert reconstruction(question, answer(first[:, 1:])) == Score(None, Status.LENGTH_MISMATCH)
    assert reconstruction(question, answer(first, second * math.inf)) == Score(None, Status.NON_FINITE)
    faster = Separation(target=sound(first, 2 * RATE), residual=sound(second, 2 * RATE))
    assert reconstruction(question, faster) == Score(None, Status.LENGTH_MISMATCH)


def test_reconstruction_needs_no_reference_and_takes_mono_answers() -> None:
    mixture = noise(2, 1000)
    halves = answer(0.5 * mixture.mean(0, keepdim=True), 0.5 * mixture.mean(0, keepdim=True))
    assert reconstruction(item(None, None, mixture), halves) == Score(math.inf, Status.PERFECT)
