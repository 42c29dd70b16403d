"""Activity as the reference implementation finds it, spans of bursts at known times, and the overlap of spans."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sam_audio_bench.errors import UsageError
from sam_audio_bench.metrics.functional.activity import MODES, active_spans, merge_spans, span_overlap

GOLDEN = Path(__file__).parents[1] / "golden"
CASES = json.loads((GOLDEN / "activity.json").read_text(encoding="utf-8"))
SIGNALS = np.load(GOLDEN / "activity.npz")
RUNS = [(case, run) for case in CASES["cases"] for run in case["runs"]]

Spans = list[tuple[float, float]]


def pairs(spans: list[list[float]]) -> Spans:
    return [(start, end) for start, end in spans]


@pytest.mark.parametrize(
    ("case", "run"), RUNS, ids=[f"{case['name']}-{run['mode']}{run['sil_threshold']}" for case, run in RUNS]
)
def test_equals_the_reference_implementation(case: dict[str, Any], run: dict[str, Any]) -> None:
    """Spans to the bit, and the scores that its formula gives for them."""
    samples = torch.from_numpy(SIGNALS[case["name"]])
    spans = active_spans(samples, case["sample_rate"], threshold=run["sil_threshold"], mode=run["mode"])
    assert spans == pairs(run["spans"])
    found = span_overlap(reference=pairs(CASES["ref_spans"]), estimate=spans, merge=False)
    assert found._asdict() == run["metrics"]


@pytest.mark.parametrize("case", CASES["iou_cases"], ids=str)
def test_upstream_formula(case: dict[str, Any]) -> None:
    found = span_overlap(reference=pairs(case["ref"]), estimate=pairs(case["hyp"]), merge=False)
    assert found._asdict() == {name: case[name] for name in ("iou", "recall", "precision")}


def test_samples_equal_the_reference_implementation() -> None:
    """16-bit rounding and the resampling, which the spans alone would not pin down."""
    from sam_audio_bench.metrics.functional.activity import _pcm16, _resample

    assert np.array_equal(_pcm16(torch.from_numpy(SIGNALS["pcm.in"])[None])[0], SIGNALS["pcm.out"])
    for rate in (16_000, 44_100, 48_000):
        assert np.array_equal(_resample(SIGNALS[f"ratecv.{rate}.in"][None], rate)[0], SIGNALS[f"ratecv.{rate}.out"])


def slow_spans(samples: Tensor, rate: int, threshold: float, mode: str) -> Spans:
    """The rule word by word: a loop over samples, then one over windows."""
    pcm = np.clip(np.rint(samples.float().numpy() * 32768), -32768, 32767).astype(int)
    count = (pcm.shape[1] - 1) * 24_000 // rate + 1
    resampled = np.zeros((len(pcm), count + 24), int)
    for channel, j in itertools.product(range(len(pcm)), range(count)):
        i, rest = divmod(j * rate, 24_000)
        following = pcm[channel, i + 1] if rest else 0
        resampled[channel, j] = (pcm[channel, i] * (24_000 - rest) + following * rest) // 24_000
    length = round(count / 24)

    def rms(start: int) -> int:
        return int(math.sqrt(np.square(resampled[:, 24 * start : 24 * (start + 250)]).sum() / (6000 * len(pcm))))

    starts = range(0, length - 249)
    limit = 10 ** (threshold / 20)
    if mode == "rel_to_max":
        limit *= max((rms(start) for start in starts[::100]), default=0) / 32768
    active = np.ones(length, bool)
    for start in {*starts[::10], *starts[-1:]}:
        if rms(start) <= limit * 32768:
            active[start : start + 250] = False
    edges = np.flatnonzero(np.diff(np.concatenate([[0], active.astype(int), [0]])))
    return [(start / 1000, end / 1000) for start, end in edges.reshape(-1, 2).tolist()]


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    rate=st.sampled_from([8000, 11_025, 16_000, 22_050, 24_000, 44_100]),
    length=st.integers(1, 9000),
    channels=st.integers(1, 2),
    mode=st.sampled_from(MODES),
    threshold=st.sampled_from([-60.0, -40.0, -20.0, -6.0]),
)
def test_equals_the_slow_version(seed: int, rate: int, length: int, channels: int, mode: str, threshold: float) -> None:
    """Noise whose level jumps about, at any rate and length; levels away from the threshold's rounding."""
    generator = np.random.default_rng(seed)
    levels = np.repeat(generator.choice([0.0, 0.003, 0.1, 1.2], size=length // 900 + 1), 900)[:length]
    samples = torch.from_numpy(generator.normal(size=(channels, length)) * levels)
    assert active_spans(samples, rate, threshold=threshold, mode=mode) == slow_spans(samples, rate, threshold, mode)


def bursts(spans: Spans, seconds: float, rate: int = 48_000, channels: int = 1) -> Tensor:
    """A 1 kHz tone that sounds in the spans."""
    times = torch.arange(round(seconds * rate), dtype=torch.float64) / rate
    sounding = sum(((times >= start) & (times < end)).double() for start, end in spans)
    return (0.3 * torch.sin(2 * torch.pi * 1000 * times) * sounding).expand(channels, -1)


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100, 48_000, 96_000])
def test_bursts_at_known_times(rate: int) -> None:
    spans = [(0.5, 1.2), (1.7, 1.8), (2.5, 3.0)]
    found = active_spans(bursts(spans, 3.0, rate), rate)
    assert len(found) == len(spans)
    for expected, (start, end) in zip(spans, found, strict=True):
        assert start == pytest.approx(expected[0], abs=0.0101)
        assert end == pytest.approx(expected[1], abs=0.0101)


def test_pauses_below_a_window_are_not_found() -> None:
    assert len(active_spans(bursts([(0.5, 1.0), (1.2, 1.7)], 2.0), 48_000)) == 1
    assert len(active_spans(bursts([(0.5, 1.0), (1.3, 1.7)], 2.0), 48_000)) == 2


def test_silence_short_clips_and_gain() -> None:
    assert active_spans(torch.zeros(2, 48_000), 48_000) == []
    assert active_spans(torch.zeros(1, 0), 48_000) == []
    assert active_spans(torch.zeros(1, 2400), 48_000) == [(0.0, 0.05)]  # shorter than a window: no silence is found
    tone = bursts([(0.3, 0.9)], 1.5)
    assert active_spans(tone * 0.1, 48_000) == active_spans(tone, 48_000)
    assert active_spans(tone * 0.01, 48_000, mode="abs") == []
    assert active_spans(tone * 1e-7, 48_000) == []  # below 16 bits


def test_channels_do_not_cancel() -> None:
    tone = bursts([(0.3, 0.9)], 1.5)
    assert active_spans(torch.cat([tone, -tone]), 48_000) == active_spans(tone, 48_000)


def test_input_is_unchanged_and_checked() -> None:
    tone = bursts([(0.3, 0.9)], 1.5).float()
    before = tone.clone()
    active_spans(tone, 44_100)
    assert torch.equal(tone, before)
    with pytest.raises(UsageError, match="expected mode to be one of rel_to_max, abs, found 'relative'"):
        active_spans(tone, 48_000, mode="relative")
    with pytest.raises(UsageError, match=r"expected samples \[channels, time\], found \[72000\]"):
        active_spans(tone[0], 48_000)
    with pytest.raises(UsageError, match="expected finite samples, found NaN or infinity"):
        active_spans(tone * torch.inf, 48_000)


ends = st.integers(0, 400).map(lambda hundredth: hundredth / 100)
span = st.tuples(ends, ends).filter(lambda pair: pair[0] < pair[1])
some_spans = st.lists(span, max_size=6)


@given(some_spans, some_spans)
def test_merged_overlap_is_a_share(reference: Spans, estimate: Spans) -> None:
    overlap = span_overlap(reference=reference, estimate=estimate)
    assert all(0 <= share <= 1 for share in overlap)
    assert overlap.iou <= min(overlap.recall, overlap.precision) + 1e-9
    assert bool(overlap.iou) == bool(overlap.recall) == bool(overlap.precision)


@given(some_spans, some_spans)
def test_merged_overlap_is_symmetric(reference: Spans, estimate: Spans) -> None:
    forth = span_overlap(reference=reference, estimate=estimate)
    back = span_overlap(reference=estimate, estimate=reference)
    assert forth.iou == pytest.approx(back.iou, abs=1e-9)
    assert (forth.recall, forth.precision) == pytest.approx((back.precision, back.recall), abs=1e-9)


@given(some_spans, st.permutations(range(6)))
def test_order_does_not_matter(spans: Spans, order: list[int]) -> None:
    shuffled = [spans[i] for i in order if i < len(spans)]
    assert span_overlap(reference=[(1.0, 2.0)], estimate=shuffled) == span_overlap(
        reference=[(1.0, 2.0)], estimate=spans
    )


@given(some_spans, span, st.floats(0.1, 0.9))
def test_splitting_or_doubling_a_span_changes_nothing(reference: Spans, whole: tuple[float, float], at: float) -> None:
    start, end = whole
    cut = start + at * (end - start)
    expected = span_overlap(reference=reference, estimate=[whole])
    assert span_overlap(reference=reference, estimate=[(start, cut), (cut, end)]) == expected
    assert span_overlap(reference=reference, estimate=[whole, (start, cut), whole]) == expected


@given(some_spans)
def test_merging_keeps_the_times(spans: Spans) -> None:
    merged = merge_spans(spans)
    assert merge_spans(merged) == merged
    assert all(before[1] < after[0] for before, after in itertools.pairwise(merged))
    for time in (hundredth / 100 + 0.005 for hundredth in range(400)):
        assert any(start < time < end for start, end in spans) == any(start < time < end for start, end in merged)


@given(some_spans)
def test_agreement_with_itself_is_perfect(spans: Spans) -> None:
    expected = (1.0, 1.0, 1.0) if spans else (0.0, 0.0, 0.0)
    assert span_overlap(reference=spans, estimate=spans) == pytest.approx(expected, abs=1e-9)
