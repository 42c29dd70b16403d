from __future__ import annotations

import pytest
import torch

from sam_audio_bench.separators.prompt_keywords import ACCOMPANIMENT, PERCUSSIVE, VOICE, first_mention, span_gain

RATE = 1000


@pytest.mark.parametrize(
    "text", ["tabla drums", "Snare Drum roll", "door closing", "crash", "hammering metal", "footsteps", "vinyl crackle"]
)
def test_percussive(text: str) -> None:
    assert first_mention(text, PERCUSSIVE) == 0


@pytest.mark.parametrize("text", ["violin", "a woman speaking", "tape hiss", "outdoors", "Beatles song", None, "太鼓"])
def test_not_percussive(text: str | None) -> None:
    assert first_mention(text, PERCUSSIVE) is None


@pytest.mark.parametrize(
    ("text", "table"),
    [
        ("woman speaking in a meeting", 0),
        ("vocals of a song", 0),
        ("music", 1),
        ("background music behind a singer", 1),
        ("mandolin", None),
        ("many dogs", None),
    ],
)
def test_first_mention_wins(text: str, table: int | None) -> None:
    assert first_mention(text, VOICE, ACCOMPANIMENT) == table


def test_no_spans_leave_everything() -> None:
    assert torch.equal(span_gain((), 10, RATE), torch.ones(10).double())


def test_present_spans_open_and_absent_spans_shut() -> None:
    gain = span_gain((("+", 0.2, 0.5), ("+", 0.4, 0.8), ("-", 0.6, 0.7)), 1000, RATE)
    assert (gain[200:590] == 1).all()
    assert (gain[600:701] == 0).all()
    assert (gain[711:801] == 1).all()
    assert (gain[:190] == 0).all()
    assert (gain[811:] == 0).all()


def test_absent_spans_alone_keep_the_rest() -> None:
    gain = span_gain((("-", 0.0, 0.5),), 1000, RATE)
    assert (gain[:501] == 0).all()
    assert (gain[511:] == 1).all()


def test_edges_are_raised_cosines_outside_the_span() -> None:
    gain = span_gain((("+", 0.5, 0.6),), 1000, RATE)
    assert gain[495] == pytest.approx(0.5)
    assert gain[605] == pytest.approx(0.5)
    assert (gain[490:501].diff() > 0).all()


def test_spans_beyond_the_clip() -> None:
    assert not span_gain((("+", 5.0, 6.0),), 100, RATE).any()
    assert span_gain((("+", 0.0, 6.0),), 100, RATE).all()
