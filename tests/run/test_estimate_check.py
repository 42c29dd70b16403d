"""Checks of estimates against the query."""

from __future__ import annotations

import pytest
import torch

from sam_audio_bench.errors import BadSeparation
from sam_audio_bench.run.estimate_check import check_estimate, trim_item
from sam_audio_bench.types import Audio, Item, Prompt, Query, Separation


def sound(length: int = 100, rate: int = 8000, channels: int = 1, fill: float = 0.1) -> Audio:
    """Constant samples."""
    return Audio(torch.full((channels, length), fill), rate)


def query(channels: int = 1) -> Query:
    """A mixture of 100 samples at 8 kHz."""
    return Query(mixture=sound(channels=channels), prompt=Prompt(text="dog"))


@pytest.mark.parametrize(
    ("target", "message", "status"),
    [
        (sound(rate=16000), "8000 Hz, found 16000 Hz", "error"),
        (sound(99), "100 samples, found 99", "length_mismatch"),
        (sound(0), "100 samples, found 0", "length_mismatch"),
        (sound(channels=2), r"1 channel\(s\), found 2", "error"),
        (sound(fill=float("nan")), "found NaN", "non_finite"),
        (sound(fill=float("inf")), "found NaN or infinity", "non_finite"),
        ("sound", "as Audio, found str", "error"),
    ],
)
def test_bad_estimates(target: Audio, message: str, status: str) -> None:
    with pytest.raises(BadSeparation, match=message) as caught:
        check_estimate(Separation(target=target, residual=sound()), query())
    assert caught.value.status == status


@pytest.mark.parametrize("shape", [(100, 1), (100, 2), (90, 1), (90, 2)])
def test_a_transposed_estimate_is_recognised(shape: tuple[int, int]) -> None:
    answer = Separation(target=Audio(torch.zeros(shape), 8000), residual=sound(channels=shape[1]))
    with pytest.raises(BadSeparation, match=r"which looks like \[time, channels\]; transpose it"):
        check_estimate(answer, query(channels=shape[1]), align="pad")


@pytest.mark.parametrize(
    ("length", "rate"), [(200, 16000), (199, 16000), (138, 11025), (551, 44100), (600, 48000), (603, 48000)]
)
def test_another_rate_is_recognised_by_its_length(length: int, rate: int) -> None:
    with pytest.raises(
        BadSeparation, match=f"as many as the mixture has at {rate} Hz instead of 8000 Hz; resample"
    ) as e:
        check_estimate(Separation(target=sound(length), residual=sound()), query())
    assert "--align" not in str(e.value)
    assert e.value.status == "length_mismatch"


def test_another_length_may_be_aligned() -> None:
    for length in (99, 101, 110, 170):
        with pytest.raises(BadSeparation, match=r"`--align pad\|trim` allows that"):
            check_estimate(Separation(target=sound(length), residual=sound()), query())


def test_residual_is_checked_too() -> None:
    with pytest.raises(BadSeparation, match="the residual with 100 samples, found 7"):
        check_estimate(Separation(target=sound(), residual=sound(7)), query())


def test_not_a_separation() -> None:
    with pytest.raises(BadSeparation, match="expected a Separation, found NoneType"):
        check_estimate(None, query())  # type: ignore[arg-type]


def test_mono_estimate_of_a_stereo_mixture() -> None:
    mono = Separation(target=sound(), residual=sound())
    with pytest.raises(BadSeparation, match=r"2 channel\(s\), found 1; `--stereo mono`"):
        check_estimate(mono, query(channels=2))
    assert check_estimate(mono, query(channels=2), stereo="mono").target.channels == 1


@pytest.mark.parametrize(
    ("align", "length", "expected"), [("pad", 90, 100), ("pad", 110, 100), ("trim", 110, 100), ("trim", 90, 90)]
)
def test_alignment(align: str, length: int, expected: int) -> None:
    found = check_estimate(Separation(target=sound(length), residual=sound()), query(), align=align)
    assert (found.target.length, found.residual.length) == (expected, expected)
    assert found.target.samples[0, :90].eq(0.1).all()
    assert found.target.samples[0, length:].eq(0).all()


def test_trim_item_shortens_every_part() -> None:
    item = Item(id="a", group="a", query=query(), reference=sound(), residual_reference=sound())
    short = trim_item(item, 40)
    assert short.reference is not None
    assert short.residual_reference is not None
    assert {short.query.mixture.length, short.reference.length, short.residual_reference.length} == {40}
    assert trim_item(item, 100) is item
