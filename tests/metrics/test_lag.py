"""`lag_seconds`: known delays, their sign, polarity, noise, periodic sounds, and what has no lag."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sam_audio_bench.errors import UsageError
from sam_audio_bench.metrics.functional import lag_seconds

RATE = 16_000


def noise(seed: int, length: int = 2 * RATE, channels: int = 1) -> Tensor:
    return torch.randn(channels, length, generator=torch.Generator().manual_seed(seed))


def moved(signal: Tensor, samples: int) -> Tensor:
    """The signal that many samples later, or earlier where negative; silence moves in."""
    found = torch.zeros_like(signal)
    if samples >= 0:
        found[:, samples:] = signal[:, : signal.shape[1] - samples]
    else:
        found[:, :samples] = signal[:, -samples:]
    return found


@pytest.mark.parametrize("samples", [0, 1, -1, 17, 320, -320, 15_999, 16_000, -16_000])
@pytest.mark.parametrize("gain", [1.0, -0.01])
def test_known_delays(samples: int, gain: float) -> None:
    """Late is positive, whatever the gain and the polarity."""
    source = noise(0)
    assert lag_seconds(reference=source, estimate=gain * moved(source, samples), rate=RATE) == samples / RATE


@pytest.mark.parametrize("samples", [0, 960, -48])
def test_in_noise(samples: int) -> None:
    """Found in noise 10 dB above the sound; exchanging the two changes the sign."""
    source = noise(1)
    estimate = moved(source, samples) + math.sqrt(10) * noise(2)
    assert lag_seconds(reference=source, estimate=estimate, rate=RATE) == samples / RATE
    assert lag_seconds(reference=estimate, estimate=source, rate=RATE) == -samples / RATE


def test_against_the_sum_written_out() -> None:
    source, estimate = noise(3, 40), noise(4, 40)
    sums = {k: sum(float(source[0, n]) * float(estimate[0, n + k]) for n in range(40) if 0 <= n + k < 40)
            for k in range(-20, 21)}  # fmt: skip
    best = max(sums, key=lambda k: abs(sums[k]))
    assert lag_seconds(reference=source, estimate=estimate, rate=1, longest=20) == best


def test_the_longest_lag_is_a_limit() -> None:
    source = noise(5)
    assert lag_seconds(reference=source, estimate=moved(source, 800), rate=RATE, longest=0.05) == 0.05
    found = lag_seconds(reference=source, estimate=moved(source, 801), rate=RATE, longest=0.05)
    assert found is not None
    assert abs(found) <= 0.05


def test_of_periodic_sounds_the_smallest_lag_counts() -> None:
    """Two clicks 100 samples apart, against one of them and its echo: lags 0 and -100 fit alike."""
    pair = torch.zeros(1, 1000)
    pair[0, [500, 600]] = 1
    first, last = torch.zeros(1, 1000), torch.zeros(1, 1000)
    first[0, 500] = last[0, 600] = 1
    assert lag_seconds(reference=pair, estimate=first, rate=100, longest=10) == 0
    assert lag_seconds(reference=pair, estimate=last, rate=100, longest=10) == 0
    between = torch.zeros(1, 1000)
    between[0, 550] = 1  # 50 late for one click, 50 early for the other
    assert lag_seconds(reference=pair, estimate=between, rate=100, longest=10) == 0.5


def test_channels_have_one_lag() -> None:
    source = noise(6, channels=2)
    late = moved(source, 33)
    assert lag_seconds(reference=source, estimate=late, rate=RATE) == 33 / RATE
    quiet = late * torch.tensor([[1.0], [0.0]])
    assert lag_seconds(reference=source, estimate=quiet, rate=RATE) == 33 / RATE
    assert lag_seconds(reference=source[None], estimate=late[None], rate=RATE) == 33 / RATE


def test_alone_and_among_others() -> None:
    """Each item is asked alone: what a batch would hold beside it cannot matter; arguments stay as they are."""
    source = noise(7)
    late = moved(source, 40)
    before = source.clone(), late.clone()
    assert {lag_seconds(reference=source, estimate=late, rate=RATE) for _ in range(3)} == {40 / RATE}
    assert torch.equal(source, before[0])
    assert torch.equal(late, before[1])


@pytest.mark.parametrize("place", ["reference", "estimate"])
@pytest.mark.parametrize("value", [0.0, math.nan, math.inf])
def test_what_has_no_lag(place: str, value: float) -> None:
    signals = {"reference": noise(8, 100), "estimate": noise(9, 100)}
    signals[place] = torch.full((1, 100), value)
    assert lag_seconds(**signals, rate=RATE) is None


def test_nothing_and_one_sample() -> None:
    assert lag_seconds(reference=torch.zeros(1, 0), estimate=torch.zeros(1, 0), rate=RATE) is None
    assert lag_seconds(reference=torch.ones(1, 1), estimate=-torch.ones(1, 1), rate=RATE) == 0


def test_refused() -> None:
    with pytest.raises(UsageError, match="one shape"):
        lag_seconds(reference=noise(0, 10), estimate=noise(0, 11), rate=RATE)
    for rate, longest in ((0, 1.0), (RATE, 0.0), (RATE, math.inf)):
        with pytest.raises(UsageError, match="above 0"):
            lag_seconds(reference=noise(0, 10), estimate=noise(0, 10), rate=rate, longest=longest)
