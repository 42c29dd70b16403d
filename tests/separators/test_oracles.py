from __future__ import annotations

import dataclasses

import pytest
import torch
from separator_signals import RATE, clicks, item, noise, si_sdr, sine

from sam_audio_bench.errors import BadSeparation, UsageError
from sam_audio_bench.separators.oracles import IBM, IRM, MWF, Oracle
from sam_audio_bench.types import Audio, Item, OracleSeparator, Separation, Separator

ORACLES = [IBM, IRM, MWF]


def ask(oracle: Oracle, asked: Item) -> Separation:
    return oracle.separate_oracle([asked], [0])[0]


def overlapping() -> Item:
    return item(sine(500) + clicks(), noise(amplitude=0.2) + sine(620))


@pytest.mark.parametrize("kind", ORACLES)
def test_disjoint_sources_come_apart(kind: type[Oracle]) -> None:
    target, rest = sine(500), sine(3000)
    found = ask(kind(), item(target, rest))
    assert si_sdr(reference=target, estimate=found.target.samples) > 40
    assert si_sdr(reference=rest, estimate=found.residual.samples) > 40


@pytest.mark.parametrize("kind", ORACLES)
def test_oracles_beat_the_mixture(kind: type[Oracle]) -> None:
    asked = overlapping()
    reference, mixture = asked.reference.samples, asked.query.mixture.samples
    found = ask(kind(), asked)
    assert (
        si_sdr(reference=reference, estimate=found.target.samples) > si_sdr(reference=reference, estimate=mixture) + 5
    )
    torch.testing.assert_close(found.target.samples + found.residual.samples, mixture, rtol=0, atol=1e-7)


@pytest.mark.parametrize("kind", ORACLES)
def test_silent_reference_gives_exact_silence(kind: type[Oracle]) -> None:
    rest = noise(channels=2)
    found = ask(kind(), item(torch.zeros_like(rest), rest))
    assert not found.target.samples.any()
    assert torch.equal(found.residual.samples, rest)


@pytest.mark.parametrize("kind", ORACLES)
def test_silent_rest_gives_the_mixture(kind: type[Oracle]) -> None:
    target = noise(channels=2)
    found = ask(kind(), item(target, torch.zeros_like(target)))
    torch.testing.assert_close(found.target.samples, target, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ORACLES)
@pytest.mark.parametrize("length", [1, 2, 100, RATE])
def test_any_length_and_zeros(kind: type[Oracle], length: int) -> None:
    for samples in (noise(1, length, channels=2), torch.zeros(2, length)):
        found = ask(kind(), item(samples, samples.flip(0)))
        assert found.target.samples.shape == found.residual.samples.shape == (2, length)
        assert found.target.samples.isfinite().all()


def test_mono_wiener_filter_is_the_ratio_mask_of_powers() -> None:
    asked = overlapping()
    torch.testing.assert_close(
        ask(MWF(), asked).target.samples, ask(IRM(power=2.0), asked).target.samples, rtol=0, atol=1e-6
    )


def test_directions_come_apart_where_frequencies_do_not() -> None:
    """Two noises panned to different places overlap in every bin: no mask can tell them apart, the filter can."""
    target = noise(seed=1) * torch.tensor([[1.0], [0.2]])
    rest = noise(seed=2) * torch.tensor([[0.3], [1.0]])
    asked = item(target, rest)
    scores = {kind: si_sdr(reference=target, estimate=ask(kind(), asked).target.samples) for kind in (IRM, MWF)}
    assert scores[MWF] > 40
    assert scores[IRM] < 15


def test_identical_channels_are_as_good_as_one() -> None:
    mono = overlapping()
    stereo = item(*(audio.samples.expand(2, -1).clone() for audio in (mono.reference, mono.residual_reference)))
    found = ask(MWF(), stereo).target.samples
    torch.testing.assert_close(found[:1], ask(MWF(), mono).target.samples, rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", ORACLES)
@pytest.mark.parametrize("missing", ["reference", "residual_reference"])
def test_missing_reference(kind: type[Oracle], missing: str) -> None:
    asked = dataclasses.replace(overlapping(), **{missing: None})
    with pytest.raises(BadSeparation, match=f"{kind.name} expected references .* for one, found no {missing};"):
        ask(kind(), asked)


def test_reference_of_another_shape() -> None:
    asked = dataclasses.replace(overlapping(), reference=Audio(noise(1), RATE))
    with pytest.raises(BadSeparation, match="expected references of 1 x 32000 samples for one, found 1 x 16000"):
        ask(IBM(), asked)


@pytest.mark.bits
@pytest.mark.parametrize("kind", ORACLES)
def test_batches_do_not_matter_and_inputs_stay(kind: type[Oracle]) -> None:
    asked = [
        overlapping(),
        item(sine(500, 1.3), noise(1.3)),
        item(noise(0.7, channels=2), noise(0.7, channels=2, seed=3)),
    ]
    before = [one.query.mixture.samples.clone() for one in asked]
    together = kind().separate_oracle(asked, [0, 1, 2])
    backwards = kind().separate_oracle(asked[::-1], [2, 1, 0])[::-1]
    for one, found, again, samples in zip(asked, together, backwards, before, strict=True):
        alone = ask(kind(), one)
        assert torch.equal(found.target.samples, alone.target.samples)
        assert torch.equal(found.target.samples, again.target.samples)
        assert torch.equal(one.query.mixture.samples, samples)


def test_oracles_are_no_plain_separators() -> None:
    for kind in ORACLES:
        assert isinstance(kind(), OracleSeparator)
        assert not isinstance(kind(), Separator)


def test_settings_and_refused_options() -> None:
    assert IRM(power=1).settings == {"window": 0.085, "power": 1}
    with pytest.raises(UsageError, match="expected power of oracle-irm to be a finite number that is not negative"):
        IRM(power=-1)
    with pytest.raises(UsageError, match="expected window of oracle-ibm to be a window of more than 0"):
        IBM(window=0)
