"""The metric of spans: which spans it asks for, statuses, and independence of the batch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import sam_audio_bench as sab
from sam_audio_bench.metrics.activity import SpanOverlap
from sam_audio_bench.metrics.catalogue import CARDS
from sam_audio_bench.types import Audio, Item, Prompt, Query, Separation, Span, Status

RATE = 16_000


def item(*spans: Span, text: str | None = None) -> Item:
    mixture = Audio(torch.ones(1, 2 * RATE), RATE)
    return Item(id="a", group="a", query=Query(mixture=mixture, prompt=Prompt(text=text, spans=spans)))


def answer(*, spans: tuple[tuple[float, float], ...], gain: float = 0.5) -> Separation:
    samples = torch.zeros(1, 2 * RATE)
    for start, end in spans:
        samples[:, round(start * RATE) : round(end * RATE)] = gain
    return separation(samples)


def separation(samples: Tensor) -> Separation:
    return Separation(target=Audio(samples, RATE), residual=Audio(samples, RATE))


def values(asked: Item, given: Separation) -> dict[str, float | None]:
    row = SpanOverlap().score([asked], [given])[0]
    return {column: score.value for column, score in zip(SpanOverlap.columns, row, strict=True) if score is not None}


def test_columns_and_needs() -> None:
    assert SpanOverlap.columns == ("span_iou", "span_recall", "span_precision", "span_iou_upstream")
    assert all(CARDS[column].needs == {"spans"} and CARDS[column].unit == "" for column in SpanOverlap.columns)


def test_known_overlap() -> None:
    """0.5 s to 1.5 s found, 1 s to 2 s asked for; what is marked absent does not count."""
    found = values(item(("-", 0.0, 0.4), ("+", 1.0, 2.0)), answer(spans=((0.5, 1.5),)))
    expected = {"span_iou": 1 / 3, "span_recall": 0.5, "span_precision": 0.5, "span_iou_upstream": 1 / 3}
    assert found == pytest.approx(expected, abs=0.02)


def test_overlapping_prompt_spans_exceed_one_only_upstream() -> None:
    found = values(item(("+", 0.5, 1.25), ("+", 0.75, 1.5)), answer(spans=((0.5, 1.5),)))
    assert found["span_iou"] == pytest.approx(1.0, abs=0.02)
    assert found["span_iou_upstream"] == pytest.approx(1.5, abs=0.02)


def test_gain_does_not_matter() -> None:
    asked = item(("+", 1.0, 2.0))
    assert values(asked, answer(spans=((0.5, 1.5),), gain=0.01)) == values(asked, answer(spans=((0.5, 1.5),)))


@pytest.mark.parametrize("samples", [torch.zeros(2, 2 * RATE), torch.zeros(1, RATE // 10), torch.full((1, RATE), 1e-7)])
def test_silence_gets_nothing(samples: Tensor) -> None:
    """Also where it is shorter than a window, and where 16 bits do not hold it."""
    row = SpanOverlap().score([item(("+", 0.0, 2.0))], [separation(samples)])[0]
    assert [tuple(score) for score in row if score] == [(0.0, Status.SILENT_ESTIMATE)] * 4


def test_nothing_is_asked_without_positive_spans() -> None:
    metric = SpanOverlap()
    given = answer(spans=((0.5, 1.5),))
    assert metric.score([item(text="dog"), item(("-", 0.0, 1.0))], [given, given]) == [(None,) * 4] * 2


def test_broken_samples_are_not_scored() -> None:
    row = SpanOverlap().score([item(("+", 0.0, 2.0))], [separation(torch.full((1, RATE), torch.nan))])[0]
    assert [tuple(score) for score in row if score] == [(None, Status.NON_FINITE)] * 4


def test_rows_do_not_depend_on_the_batch() -> None:
    asked = [item(("+", 1.0, 2.0)), item(text="dog"), item(("+", 0.2, 0.7))]
    given = [answer(spans=((0.5, 1.5),)), answer(spans=()), answer(spans=((0.0, 0.4), (1.0, 2.0)))]
    together = SpanOverlap().score(asked, given)
    assert together == [SpanOverlap().score([one], [other])[0] for one, other in zip(asked, given, strict=True)]
    assert together[::-1] == SpanOverlap().score(asked[::-1], given[::-1])


def test_threshold_is_recorded() -> None:
    assert SpanOverlap(threshold=-20).options == {"threshold": -20.0}


def test_the_true_target_beats_the_mixture() -> None:
    """On the embedded items, whose spans were made from the target."""
    metric = SpanOverlap()
    for asked in list(sab.load_task("sfx-span", split="mini"))[:4]:
        assert asked.reference is not None
        row, baseline = metric.score([asked] * 2, [separation_of(asked.reference), separation_of(asked.query.mixture)])
        assert row[0] is not None
        assert baseline[0] is not None
        assert (row[0].value or 0) > max(0.5, baseline[0].value or 0)


def separation_of(audio: Audio) -> Separation:
    return Separation(target=audio, residual=audio)
