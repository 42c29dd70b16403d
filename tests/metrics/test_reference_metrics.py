"""The SDR family as Metrics: statuses, improvements, stereo policies."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from metric_signals import RATE, answer, item, noise, sound
from torch import Tensor

from sam_audio_bench.errors import UsageError
from sam_audio_bench.metrics.bss import SIBSS, BSSImages, BSSImagesSDR, BSSSources, BSSSourcesSDR
from sam_audio_bench.metrics.catalogue import CAP_DB, CARDS, FLOOR_DB, STEREO
from sam_audio_bench.metrics.functional import bss_images, bss_sources, sa_sdr, si_sdr, snr
from sam_audio_bench.metrics.ratios import SASDR, SDSDR, SISDR, SISNR, SNR, ReferenceMetric
from sam_audio_bench.types import Item, Score, Separation, Status

LIGHT: list[type[ReferenceMetric]] = [SNR, SISDR, SISNR, SDSDR, SASDR, SIBSS, BSSSourcesSDR, BSSImagesSDR]
ALL: list[type[ReferenceMetric]] = [*LIGHT, BSSSources, BSSImages]
LENGTH = 4000

target, other, error = noise(3, 2, LENGTH)
mixture = target + other


def rows(
    metric: ReferenceMetric, items: Sequence[Item], answers: Sequence[Separation]
) -> list[dict[str, Score | None]]:
    """Scores of each item by column."""
    return [dict(zip(metric.columns, row, strict=True)) for row in metric.score(items, answers)]


def one(metric: ReferenceMetric, question: Item, given: Separation) -> dict[str, Score | None]:
    """Scores of one item by column."""
    return rows(metric, [question], [given])[0]


def statuses(metric: ReferenceMetric, question: Item, given: Separation) -> set[tuple[float | None, Status]]:
    """Every different score of one item."""
    scores = one(metric, question, given).values()
    assert all(score is not None for score in scores)
    return {(score.value, score.status) for score in scores if score is not None}


def test_columns_are_pairs_of_the_catalogue() -> None:
    for kind in ALL:
        assert all(CARDS[column].target.endswith(f":{kind.__name__}") for column in kind.columns)
        assert all(gain == f"{plain}_i" for plain, gain in zip(kind.columns[::2], kind.columns[1::2], strict=True))


@pytest.mark.parametrize("kind", ALL)
def test_the_mixture_improves_by_exactly_zero(kind: type[ReferenceMetric]) -> None:
    scores = one(kind(), item(target, other), answer(mixture, mixture))
    for column in kind.columns[1::2]:
        assert scores[column] == Score(0.0, Status.OK)


@pytest.mark.parametrize("kind", ALL)
def test_silence_gets_the_floor(kind: type[ReferenceMetric]) -> None:
    silence = torch.zeros_like(target)
    assert statuses(kind(), item(target, other), answer(silence)) == {(FLOOR_DB, Status.SILENT_ESTIMATE)}


@pytest.mark.parametrize("kind", ALL)
def test_perfection_is_infinite(kind: type[ReferenceMetric]) -> None:
    question = item(target, other, mixture + error)
    assert statuses(kind(), question, answer(target, other)) == {(math.inf, Status.PERFECT)}


@pytest.mark.parametrize("kind", [kind for kind in ALL if kind is not SASDR])
def test_an_absent_target_is_undefined(kind: type[ReferenceMetric]) -> None:
    absent = item(torch.zeros_like(target), other)
    assert statuses(kind(), absent, answer(0.1 * error)) == {(None, Status.SILENT_REFERENCE)}
    assert statuses(kind(), absent, answer(torch.zeros_like(error))) == {(None, Status.BOTH_SILENT)}


def test_sa_sdr_is_defined_for_an_absent_target() -> None:
    absent = item(torch.zeros_like(target), other)
    found = one(SASDR(), absent, answer(0.1 * error, other))["sa_sdr"]
    pair = torch.stack([torch.zeros_like(other), other]).flatten(1), torch.stack([0.1 * error, other]).flatten(1)
    expected = float(sa_sdr(reference=pair[0], estimate=pair[1]))
    assert found is not None
    assert found.value == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("kind", ALL)
def test_wrong_shapes_rates_and_samples(kind: type[ReferenceMetric]) -> None:
    question = item(target, other)
    mismatch = {(None, Status.LENGTH_MISMATCH)}
    assert statuses(kind(), question, answer(target[:, 1:], other[:, 1:])) == mismatch
    assert statuses(kind(), question, answer(target[:1], other[:1])) == mismatch
    faster = Separation(target=sound(target, 2 * RATE), residual=sound(other, 2 * RATE))
    assert statuses(kind(), question, faster) == mismatch
    broken = target.clone()
    broken[0, 5] = math.nan
    assert statuses(kind(), question, answer(broken, other)) == {(None, Status.NON_FINITE)}


@pytest.mark.parametrize("kind", ALL)
def test_a_broken_mixture_concerns_the_improvement_only(kind: type[ReferenceMetric]) -> None:
    broken = mixture.clone()
    broken[0, 5] = math.inf
    scores = one(kind(), item(target, other, broken), answer(target + 0.1 * error, other))
    for plain, gain in zip(kind.columns[::2], kind.columns[1::2], strict=True):
        assert scores[plain] is not None
        assert scores[gain] == Score(None, Status.NON_FINITE)


def test_an_item_without_references_is_not_asked() -> None:
    assert SNR().score([item(None, None, mixture)], [answer(target)]) == [(None, None)]
    assert SNR().score([item(target, None, mixture)], [answer(target)])[0][0] is not None
    assert SASDR().score([item(target, None, mixture)], [answer(target)]) == [(None, None)]


def test_a_silent_residual_leaves_nothing_to_interfere() -> None:
    question = item(target, torch.zeros_like(other))
    scores = one(BSSSources(), question, answer(target + 0.1 * error))
    assert scores["bss_sources_sir"] == Score(None, Status.SILENT_REFERENCE)
    assert scores["bss_sources_sar"] is not None
    assert scores["bss_sources_sar"].status is Status.OK


@pytest.mark.parametrize(("kind", "least"), [(BSSSourcesSDR, 513), (BSSSources, 1537), (BSSImages, 3585)])
def test_bss_needs_enough_samples(kind: type[ReferenceMetric], least: int) -> None:
    """Where filters would forgive more than half of a random error there is no value, but a status."""
    assert kind().shortest(2) == least
    for length, status in ((least - 1, Status.TOO_SHORT), (least, Status.OK)):
        truth, rest, noise = torch.randn(3, 2, length, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        found = one(kind(), item(truth, rest), answer(truth + 0.1 * rest + 0.3 * noise))
        columns = [column for column in kind.columns if not column.endswith("_i")]
        assert {found[column].status for column in columns if found[column] is not None} == {status}


@pytest.mark.parametrize("samples", [600, 1537, 4000, 16_000])
def test_how_much_of_a_random_error_filters_forgive(samples: int) -> None:
    """The share that the cards state, 1024 of samples + 511, and at the edges a little more."""
    share, found = 1024 / (samples + 511), []
    for seed in range(6):
        generator = torch.Generator().manual_seed(seed)
        signals = torch.randn(4, samples, generator=generator, dtype=torch.float64)
        given = signals[:2] + 0.1 * signals[:2].flip(0) + 0.01 * signals[2:]
        scores = bss_sources(reference=signals[:2], estimate=given)
        found += [float(value) for value in scores.sar]
    true = 10 * math.log10(1.01 / 0.01**2)
    assert sum(found) / len(found) == pytest.approx(true - 10 * math.log10(1 - share), abs=0.5)


def test_improvements_over_a_perfect_mixture() -> None:
    alone = item(target, torch.zeros_like(target))
    assert one(SISDR(), alone, answer(target + error))["si_sdr_i"] == Score(None, Status.PERFECT)
    assert one(SISDR(), alone, answer(target))["si_sdr_i"] == Score(0.0, Status.OK)
    assert one(SISDR(), alone, answer(target))["si_sdr"] == Score(math.inf, Status.PERFECT)


def value(scores: dict[str, Score | None], column: str) -> float:
    """The number of a defined score."""
    score = scores[column]
    assert score is not None
    assert score.value is not None
    return score.value


def test_classes_give_what_the_functions_give() -> None:
    estimate = target + 0.2 * other + 0.1 * error
    question, given = item(target, other), answer(estimate, other)
    references, estimates = torch.stack([target, other]), torch.stack([estimate, other])
    images = bss_images(reference=references, estimate=estimates, rate=RATE)
    assert value(one(BSSImagesSDR(), question, given), "bss_images_sdr") == pytest.approx(float(images.sdr[0, 0]))
    for name, expected in (("isr", images.isr), ("sir", images.sir), ("sar", images.sar)):
        assert value(one(BSSImages(), question, given), f"bss_images_{name}") == pytest.approx(float(expected[0, 0]))
    mono = item(target[:1], other[:1])
    sources = bss_sources(reference=references[:, 0], estimate=estimates[:, 0])
    sdr = value(one(BSSSourcesSDR(), mono, answer(estimate[:1], other[:1])), "bss_sources_sdr")
    assert sdr == pytest.approx(float(sources.sdr[0]))
    rest = one(BSSSources(), mono, answer(estimate[:1], other[:1]))
    assert value(rest, "bss_sources_sir") == pytest.approx(float(sources.sir[0]))
    assert value(rest, "bss_sources_sar") == pytest.approx(float(sources.sar[0]))


@pytest.mark.parametrize("stereo", STEREO)
@pytest.mark.parametrize("kind", [BSSSourcesSDR, BSSSources])
def test_the_mir_eval_backend_agrees(kind: type[BSSSources], stereo: str) -> None:
    pytest.importorskip("mir_eval")
    question, given = item(target, other), answer(target + 0.2 * other.roll(5) + 0.1 * error)
    native, theirs = (one(kind(stereo, backend), question, given) for backend in ("native", "mir_eval"))
    for column in kind.columns:
        if column.endswith("sar_i"):  # the mixture has no artefacts
            assert native[column] == theirs[column] == Score(None, Status.PERFECT)
        else:
            assert value(native, column) == pytest.approx(value(theirs, column), abs=1e-6)
    assert kind(backend="mir_eval").options == {"stereo": "joint", "backend": "mir_eval"}


@pytest.mark.parametrize("kind", ALL)
def test_opposite_channels_score_like_one(kind: type[ReferenceMetric]) -> None:
    estimate = target + 0.2 * other + 0.1 * error
    alone = one(kind(), item(target[:1], other[:1]), answer(estimate[:1], other[:1]))
    pair = [torch.cat([signal[:1], -signal[:1]]) for signal in (target, other, estimate)]
    found = one(kind(), item(pair[0], pair[1]), answer(pair[2], pair[1]))
    for column in kind.columns:
        if not column.endswith("sar_i"):  # the mixture's is infinite, at times up to rounding only
            assert value(found, column) == pytest.approx(value(alone, column), abs=2e-3)


@pytest.mark.parametrize("stereo", STEREO)
@pytest.mark.parametrize("kind", LIGHT)
def test_swapping_channels_changes_nothing(kind: type[ReferenceMetric], stereo: str) -> None:
    estimate = target + 0.2 * other + torch.tensor([[0.1], [0.3]]) * error
    found = one(kind(stereo), item(target, other), answer(estimate, other))
    swapped = one(kind(stereo), item(target.flip(0), other.flip(0)), answer(estimate.flip(0), other.flip(0)))
    for column in kind.columns[::2]:
        assert value(swapped, column) == pytest.approx(value(found, column), abs=1e-9)


def test_stereo_policies() -> None:
    estimate = target + torch.tensor([[0.1], [0.5]]) * error
    scores = {stereo: value(one(SNR(stereo), item(target, other), answer(estimate)), "snr") for stereo in STEREO}
    channels = snr(reference=target, estimate=estimate)
    assert scores["joint"] == pytest.approx(float(snr(reference=target.flatten(), estimate=estimate.flatten())))
    assert scores["mean"] == pytest.approx(float(channels.mean()))
    assert scores["mono"] == pytest.approx(float(snr(reference=target.mean(0), estimate=estimate.mean(0))))
    left = torch.cat([target[:1], torch.zeros_like(target[:1])])
    given = answer(torch.cat([estimate[:1], error[:1]]))
    assert value(one(SNR("mean"), item(left, other), given), "snr") == pytest.approx(float(channels[0]))
    half = one(SNR("mean"), item(target, other), answer(torch.cat([target[:1], estimate[1:]])))
    assert value(half, "snr") == pytest.approx((CAP_DB + float(channels[1])) / 2)
    with pytest.raises(UsageError, match="expected stereo"):
        SNR("left")


def test_mono_accepts_a_mono_answer_to_stereo() -> None:
    mono = (target + 0.1 * error).mean(dim=0, keepdim=True)
    expected = float(si_sdr(reference=target.mean(0), estimate=mono[0]))
    assert value(one(SISDR("mono"), item(target, other), answer(mono)), "si_sdr") == pytest.approx(expected)


def test_the_mixture_is_not_scored_when_no_improvement_is_wanted() -> None:
    metric = SNR()
    metric.requested = ("snr",)
    row: tuple[Score | None, ...] = metric.score([item(target, other)], [answer(target)])[0]
    assert row == (Score(math.inf, Status.PERFECT), None)


def test_options_that_do_not_exist_are_refused() -> None:
    with pytest.raises(UsageError, match="expected backend"):
        BSSSources(backend="matlab")
    with pytest.raises(UsageError, match="expected tail"):
        BSSImages(tail="pad")
    assert BSSImages(tail="keep").options == {"stereo": "joint", "tail": "keep"}


def test_the_tail_policy_changes_what_is_scored() -> None:
    long = noise(2, 1, 2 * RATE + RATE // 2)
    bad_end = long[0].clone()
    bad_end[:, 2 * RATE :] += long[1][:, 2 * RATE :]
    bad_end[:, :RATE] += 0.1 * long[1][:, :RATE]
    question, given = item(long[0], long[1]), answer(bad_end)
    kept, dropped = (one(BSSImagesSDR(tail=tail), question, given)["bss_images_sdr"] for tail in ("keep", "drop"))
    assert dropped == Score(math.inf, Status.PERFECT)
    assert kept is not None
    assert kept.value == pytest.approx(20, abs=1)


def test_inputs_are_not_modified() -> None:
    before: list[Tensor] = [signal.clone() for signal in (target, other, error)]
    for kind in ALL:
        one(kind(), item(target, other), answer(error, other))
    assert all(torch.equal(*pair) for pair in zip(before, (target, other, error), strict=True))
