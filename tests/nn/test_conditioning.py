"""Anchors: every index of the reference's tables, and the kindness where the reference crashes."""

from __future__ import annotations

from fractions import Fraction
from math import ceil

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sam_audio_bench.errors import UsageError
from sam_audio_bench.nn.conditioning import AnchorEmbedding, VideoAlignment, anchor_tables, frame_count, frame_mask


def test_tables_are_the_references(golden_json) -> None:
    for case in golden_json("anchors")["cases"]:
        sizes = [frame_count(samples, case["hop"]) for samples in case["wav_sizes"]]
        assert sizes == [int(size) for size in case["sizes"]]
        assert frame_mask(sizes).int().tolist() == case["audio_pad_mask"]
        anchors = case["anchors"] if case["anchors"] is not None else [[] for _ in sizes]
        ids, alignment = anchor_tables(anchors, sizes, hop=case["hop"], rate=case["sr"])
        assert ids.tolist() == case["anchor_ids"]
        assert alignment.tolist() == case["anchor_alignment"]


@pytest.mark.parametrize(("seconds", "frame"), [(0.28, 8), (0.56, 15), (0.68, 18), (1.36, 35), (2.2, 56)])
def test_frames_are_computed_in_float64_from_left_to_right(seconds, frame) -> None:
    """0.28 s in float32 would be frame 7; t * (sr / hop) gives 17 for 0.68 s."""
    _, alignment = anchor_tables([[("+", seconds, 10.0)]], [100], hop=1920, rate=48_000)
    assert int(alignment[0].nonzero()[0]) == frame


SPAN = st.tuples(st.sampled_from("+-"), st.integers(0, 600), st.integers(0, 600))


@given(sizes=st.lists(st.integers(1, 14), min_size=1, max_size=3), spans=st.lists(SPAN, max_size=4), data=st.data())
def test_a_frame_is_told_by_the_last_span_that_reaches_it(sizes, spans, data) -> None:
    """Times in milliseconds, frames of 32: float64 hits every border that has a name in decimals."""
    where = [data.draw(st.integers(0, len(sizes) - 1)) for _ in spans]
    anchors = [[(s, a / 1000, b / 1000) for (s, a, b), at in zip(spans, where, strict=True) if at == item]
               for item in range(len(sizes))]  # fmt: skip
    ids, alignment = anchor_tables(anchors, sizes, hop=512, rate=16_000)
    for item, size in enumerate(sizes):
        for frame in range(max(sizes)):
            expected = 0 if frame < size else 3
            for (sign, start, end), at in zip(spans, where, strict=True):
                if at == item and ceil(Fraction(start, 32)) <= frame < ceil(Fraction(end, 32)):
                    expected = "+-".index(sign) + 1
            assert ids[item, alignment[item, frame]] == expected


def test_unknown_signs_and_missing_lists_are_refused() -> None:
    with pytest.raises(UsageError, match=r"sign of a span to be \+ or -"):
        anchor_tables([[("*", 0.1, 0.2)]], [25], hop=1920, rate=48_000)
    with pytest.raises(UsageError, match="one list of spans per item"):
        anchor_tables([], [25], hop=1920, rate=48_000)


def test_a_shut_gate_adds_nothing() -> None:
    anchors, video = AnchorEmbedding(3, 4, 6), VideoAlignment(5, 6)
    ids, alignment = anchor_tables([[("+", 0.0, 0.1)]], [4], hop=1920, rate=48_000)
    assert not anchors(ids, alignment).any()
    assert not video(torch.randn(1, 5, 4)).any()
