"""`Adapted`: what lies between a mixture and a model of another rate, delay, length or number of channels."""

from __future__ import annotations

import copy
import math
import pickle
import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from separator_signals import TEXT, noise, query, si_sdr, sine
from torch import Tensor

import sam_audio_bench as sab
from sam_audio_bench import Adapted
from sam_audio_bench.errors import BadSeparation, UsageError
from sam_audio_bench.registry import build, load_separator
from sam_audio_bench.run.contract import prepare_separator
from sam_audio_bench.separators.adaptation import Adaptation
from sam_audio_bench.separators.adapted import shift_spans
from sam_audio_bench.types import Audio, CandidateSeparator, Prompt, Query, Separation


class Half:
    """Half of the mixture is the target; remembers what it was given."""

    name = "half"
    batch_size = 3
    deterministic = False

    def __init__(self) -> None:
        self.given: list[Query] = []
        self.seeds: list[int] = []
        self.calls: list[int] = []

    def separate(self, queries: Sequence[Query], seeds: Sequence[int]) -> list[Separation]:
        """Half of it each."""
        self.given += queries
        self.seeds += seeds
        self.calls.append(len(queries))
        return [self.one(query.mixture) for query in queries]

    def one(self, mixture: Audio) -> Separation:
        """Half of one mixture."""
        target = Audio(mixture.samples * 0.5, mixture.rate)
        return Separation(target=target, residual=Audio(mixture.samples - target.samples, mixture.rate), seconds=1.0)


class Identity(Half):
    """The mixture is the target."""

    def one(self, mixture: Audio) -> Separation:
        """All of one mixture."""
        return Separation(target=mixture, residual=Audio(torch.zeros_like(mixture.samples), mixture.rate))


def late(samples: Tensor, delay: int) -> Tensor:
    return torch.nn.functional.pad(samples, (delay, 0))[:, : samples.shape[1]]


class Late(Half):
    """As `Half`, and late."""

    def __init__(self, delay: int) -> None:
        super().__init__()
        self.by = delay

    def one(self, mixture: Audio) -> Separation:
        """Half of one mixture, late."""
        found = super().one(mixture)
        return replace(found, **{part: Audio(late(getattr(found, part).samples, self.by), mixture.rate)
                                 for part in ("target", "residual")})  # fmt: skip


def one(separator: Any, samples: Tensor, rate: int, prompt: Prompt = TEXT) -> Separation:
    found: Separation = separator.separate([query(samples, prompt, rate)], [7])[0]
    return found


@settings(max_examples=40, deadline=None)
@given(
    length=st.integers(1, 700), channels=st.integers(1, 2), delay=st.integers(0, 50),
    chunk=st.one_of(st.none(), st.floats(0.002, 0.8)), overlap=st.floats(0, 0.5), wanted=st.sampled_from([None, 1, 2]),
)  # fmt: skip
def test_the_identity_is_exact(
    length: int, channels: int, delay: int, chunk: float | None, overlap: float, wanted: int | None
) -> None:
    """Whatever windows are laid over it: in float32 the cross-fade of equal parts is these parts, bit for bit."""
    samples = torch.randn(channels, length, generator=torch.Generator().manual_seed(length))
    separator = Adapted(Identity(), channels=wanted, delay=0, chunk_seconds=chunk, chunk_overlap=overlap)
    found = one(separator, samples, 1000)
    expected = samples.mean(dim=0, keepdim=True).expand(2, -1) if (channels, wanted) == (2, 1) else samples
    if (channels, wanted) == (1, 2):
        expected = samples.expand(2, -1).mean(dim=0, keepdim=True)
    assert torch.equal(found.target.samples, expected)
    assert found.target.rate == 1000

    late_one = Adapted(Late(delay), channels=wanted, delay=delay, chunk_seconds=chunk, chunk_overlap=overlap)
    assert torch.equal(one(late_one, samples, 1000).target.samples, expected * 0.5)


def test_a_late_model_equals_the_model_without_delay() -> None:
    """20 ms at 48 kHz and at 16 kHz, bit for bit, with another rate and in chunks."""
    samples = noise(1.0, rate=48_000)
    for options, delay in (({}, 960), ({"rate": 16_000}, 320), ({"rate": 16_000, "chunk_seconds": 0.3}, 320)):
        delayed = one(Adapted(Late(delay), delay=delay, **options), samples, 48_000)
        plain = one(Adapted(Half(), **options), samples, 48_000)
        for part in ("target", "residual"):
            assert torch.equal(getattr(delayed, part).samples, getattr(plain, part).samples)
    assert torch.equal(one(Adapted(Late(960), delay=960), samples, 48_000).target.samples, samples * 0.5)


@pytest.mark.parametrize(
    ("mixture_rate", "rate"), [(48_000, 16_000), (44_100, 16_000), (16_000, 48_000), (8_000, 44_100)]
)
def test_another_rate(mixture_rate: int, rate: int) -> None:
    """What both rates can hold comes back above 60 dB; the length is exact."""
    model = Half()
    for length in (mixture_rate, mixture_rate + 1, 12_347):
        samples = sine(440, length / mixture_rate, mixture_rate)[:, :length]
        found = one(Adapted(model, rate=rate), samples, mixture_rate)
        assert found.target.samples.shape == samples.shape
        assert found.target.rate == mixture_rate
        assert {query.mixture.rate for query in model.given} == {rate}
        inside = slice(400, -400)
        assert si_sdr(reference=samples[:, inside], estimate=found.target.samples[:, inside]) > 60


def test_channels() -> None:
    model = Half()
    stereo = noise(0.1, channels=2)
    found = one(Adapted(model, channels=1), stereo, 16_000)
    assert torch.equal(model.given[-1].mixture.samples, stereo.mean(dim=0, keepdim=True))
    assert torch.equal(found.target.samples, (stereo.mean(dim=0, keepdim=True) * 0.5).expand(2, -1))
    mono = noise(0.1)
    found = one(Adapted(model, channels=2), mono, 16_000)
    assert torch.equal(model.given[-1].mixture.samples, mono.expand(2, -1))
    assert torch.equal(found.target.samples, mono * 0.5)
    with pytest.raises(BadSeparation, match="works on 2 channels, and a mixture of 3") as refused:
        one(Adapted(model, channels=2), noise(0.1, channels=3), 16_000)
    assert refused.value.status == "unsupported"


def test_chunks_are_cross_faded() -> None:
    """By hand: two chunks of 8 of 12 samples, the second twice as loud; Hann halves over the 4 that both have.

    sin² of π/2 · (0.5, 1.5, 2.5, 3.5)/4 is r; rising r and falling 1 - r add up to one.
    """

    class Louder(Half):
        def one(self, mixture: Audio) -> Separation:
            self.calls.append(0)
            target = Audio(mixture.samples * len(self.calls), mixture.rate)
            return Separation(target=target, residual=target)

        def separate(self, queries: Sequence[Query], seeds: Sequence[int]) -> list[Separation]:
            return [self.one(query.mixture) for query in queries]

    found = one(Adapted(Louder(), chunk_seconds=0.008, chunk_overlap=0.5), torch.ones(1, 12), 1000)
    rising = [math.sin(math.pi / 2 * (k + 0.5) / 4) ** 2 for k in range(4)]
    expected = torch.tensor([[1.0] * 4 + [1 + r for r in rising] + [2.0] * 4])
    assert torch.allclose(found.target.samples, expected, atol=1e-6)


def test_every_chunk_has_the_seed_and_at_most_a_batch_is_asked_at_once() -> None:
    model = Half()
    separator = Adapted(model, chunk_seconds=0.1, chunk_overlap=0.0)
    found = separator.separate([query(noise(1.0)), query(noise(0.05))], [3, 4])
    assert model.seeds == [3] * 10 + [4]
    assert model.calls == [3, 3, 3, 2]
    assert [one.target.length for one in found] == [16_000, 800]
    assert [one.seconds for one in found] == [10.0, 1.0]
    plain = Half()
    Adapted(plain, rate=8000).separate([query(noise(0.1))] * 5, [1, 2, 3, 4, 5])
    assert plain.calls == [5]


def test_spans_move_with_chunks() -> None:
    model = Half()
    asked = Prompt(text="bell", spans=(("+", 0.5, 1.5), ("-", 3.0, 3.5)))
    one(Adapted(model, chunk_seconds=1.0, chunk_overlap=0.0), noise(4.0), 16_000, asked)
    assert [query.prompt.spans for query in model.given] == [
        (("+", 0.5, 1.0),), (("+", 0.0, 0.5),), (("-", 0.0, 1.0),), (("-", 0.0, 1.0),),
    ]  # fmt: skip
    absent = Prompt(spans=(("-", 0.0, 1.0),))
    assert shift_spans(absent, 2.0, 1.0) == (("+", 0.0, 1.0),)
    assert shift_spans(replace(absent, text="bell"), 2.0, 1.0) == ()
    assert shift_spans(Prompt(text="bell"), 2.0, 1.0) == ()
    shown = Prompt(text="bell", video="film.mp4")
    with pytest.raises(BadSeparation, match="video of a prompt cannot be cut") as refused:
        one(Adapted(model, chunk_seconds=1.0), noise(4.0), 16_000, shown)
    assert refused.value.status == "unsupported"
    assert one(Adapted(model, chunk_seconds=4.0), noise(4.0), 16_000, shown).target.length == 64_000


class Several(Half):
    """Answers per seed: seed times the mixture."""

    def separate_candidates(self, queries: Sequence[Query], seeds: Sequence[Sequence[int]]) -> list[list[Separation]]:
        """One a seed."""
        sounds = [[Audio(one.mixture.samples * seed, one.mixture.rate) for seed in own]
                  for one, own in zip(queries, seeds, strict=True)]  # fmt: skip
        return [[Separation(target=one, residual=one) for one in own] for own in sounds]


def test_candidates() -> None:
    separator = Adapted(Several(), rate=16_000, channels=1, delay=0, chunk_seconds=0.3)
    assert isinstance(separator, CandidateSeparator)
    samples = noise(1.0, channels=2)
    (found,) = separator.separate_candidates([query(samples)], [[1, 2, 3]])
    mono = samples.mean(dim=0, keepdim=True).expand(2, -1)
    assert [torch.allclose(one.target.samples, mono * k) for k, one in enumerate(found, 1)] == [True] * 3
    assert not isinstance(Adapted(Half()), CandidateSeparator)


@pytest.mark.parametrize(
    ("answer", "message", "status"),
    [
        (lambda m: Audio(m.samples, 48_000), "states a rate of 16000 Hz, and its target has 48000 Hz", "error"),
        (lambda m: Audio(m.samples.repeat(1, 3), 16_000), "as many as there are at 48000 Hz; state rate=48000",
         "length_mismatch"),
        (lambda m: Audio(m.samples[:, :-320], 16_000), "leave the delay in, which is cut here", "length_mismatch"),
        (lambda m: Audio(m.samples[:, :-7], 16_000), "pad or cut it to the length", "length_mismatch"),
        (lambda m: Audio(m.samples.T, 16_000), r"as \[time, channels\].*; transpose it", "error"),
        (lambda m: Audio(m.samples.expand(2, -1), 16_000), r"works on 1 channel\(s\), and its target has 2", "error"),
        (lambda m: m.samples, "expected Separations of Audio", "error"),
    ],
)  # fmt: skip
def test_a_model_that_answers_otherwise_than_it_says(answer: Any, message: str, status: str) -> None:
    class Other(Half):
        def one(self, mixture: Audio) -> Separation:
            return Separation(target=answer(mixture), residual=answer(mixture))

    with pytest.raises(BadSeparation, match=message) as refused:
        one(Adapted(Other(), rate=16_000, channels=1, delay=320), noise(1.0, 48_000), 48_000)
    assert refused.value.status == status


def test_the_number_of_answers() -> None:
    class Fewer(Half):
        def separate(self, queries: Sequence[Query], seeds: Sequence[int]) -> Any:
            return super().separate(queries, seeds)[:-1] if len(queries) > 1 else self.one(queries[0].mixture)

    with pytest.raises(BadSeparation, match=r"expected 2 estimate\(s\) from half"):
        Adapted(Fewer(), rate=8000).separate([query(noise())] * 2, [0, 0])
    with pytest.raises(BadSeparation, match="a list of estimates from half"):
        one(Adapted(Fewer(), rate=8000), noise(), 16_000)


@pytest.mark.parametrize(("by", "said", "advice"), [(960, 0, "state delay=960"), (960, 480, "state delay=960"),
                                                    (0, 960, "state delay=0")])  # fmt: skip
def test_another_delay_is_told_once(by: int, said: int, advice: str) -> None:
    separator = Adapted(Late(by), delay=said)
    queries = [query(noise(0.5, 48_000), rate=48_000)] * 3
    with pytest.warns(UserWarning, match=advice) as told:
        separator.separate(queries, [0, 0, 0])
    assert len(told) == 1
    assert f"{abs(by - said) / 48:.1f} ms {'late' if by > said else 'early'}" in str(told[0].message)


def test_no_delay_is_told_without_a_reason() -> None:
    """Neither of the right one, nor of silence, noise that is not the mixture's, or a tone, which has no clear lag."""

    class Noise(Half):
        def one(self, mixture: Audio) -> Separation:
            sound = Audio(noise(mixture.length / 16_000, seed=9), mixture.rate)
            return Separation(target=sound, residual=sound)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one(Adapted(Late(960), delay=960), noise(0.5, 48_000), 48_000)
        one(Adapted(Half(), delay=0), torch.zeros(1, 8000), 16_000)
        one(Adapted(Noise(), delay=0), noise(1.0), 16_000)
        one(Adapted(Late(16), delay=0), sine(1000), 16_000)  # one period: nothing to see
        one(Adapted(Late(8), delay=0), noise(1.0), 16_000)  # half a millisecond


class Stating(Half):
    """A class that says what its model is like."""

    name = "stating"
    rate = 16_000
    channels = 1
    delay = 320

    def one(self, mixture: Audio) -> Separation:
        """Half of it, late."""
        assert (mixture.rate, mixture.channels) == (16_000, 1)
        found = super().one(mixture)
        return replace(found, target=Audio(late(found.target.samples, 320), mixture.rate),
                       residual=Audio(late(found.residual.samples, 320), mixture.rate))  # fmt: skip


def stating(mixture: Tensor, rate: int, prompt: Prompt) -> Tensor:
    """A function with attributes."""
    assert rate == 16_000
    return late(mixture, 320) * 0.5


stating.rate, stating.delay, stating.channels = 16_000, 320, 1  # type: ignore[attr-defined]


def test_attributes_of_a_class_count_wherever_it_is_run(tmp_path: Any) -> None:
    samples = noise(0.5, 48_000, channels=2)
    expected = one(Adapted(Half(), rate=16_000, channels=1), samples, 48_000)
    for spec in (
        Stating,
        Stating(),
        Adapted(Stating),
        stating,
    ):
        separator = load_separator(spec)
        assert torch.equal(one(separator, samples, 48_000).target.samples, expected.target.samples)
    function = one(load_separator(stating), samples, 48_000)
    assert torch.equal(function.residual.samples, samples - function.target.samples)

    rows = sab.evaluate(
        [Stating(), Adapted(Half(), rate=16_000)], "speech", split="mini", limit=1, metrics=["si_sdr_i"],
        output=tmp_path, progress=False,
    ).rows  # fmt: skip
    values = {row.separator: row.value for row in rows}
    assert values["stating"] == values["half+rate=16000"]
    assert values["stating"] > -1  # what lies above 8 kHz is little


def test_arguments_stand_above_attributes() -> None:
    separator = Adapted(Stating(), rate=8000, chunk_seconds=2)
    assert separator.adaptation == Adaptation(rate=8000, channels=1, delay=320, chunk_seconds=2.0)
    assert separator.name == "stating+rate=8000+chunk_seconds=2"
    assert separator.batch_size == 3


def test_what_an_object_alone_has_says_nothing() -> None:
    class Own(Half):
        def __init__(self) -> None:
            super().__init__()
            self.rate = 16_000

        def delay(self) -> int:
            return 5

    class Named(Own):
        rate: int

    assert not isinstance(load_separator(Own()), Adapted)
    named = load_separator(Named())
    assert isinstance(named, Adapted)
    assert named.adaptation.rate == 16_000


def fingerprint(spec: Any) -> str:
    identity = build("separator", spec).identity
    assert identity.unknown is None
    return identity.fingerprint()


def test_what_was_done_is_part_of_the_identity() -> None:
    plain, stated = Half(), Stating()
    seen = {fingerprint(plain)}
    for options in ({"rate": 16_000}, {"rate": 8000}, {"channels": 1}, {"delay": 5}, {"chunk_seconds": 1.0},
                    {"chunk_seconds": 1.0, "chunk_overlap": 0.5}):  # fmt: skip
        print_of_it = fingerprint(Adapted(Half(), **options))
        assert print_of_it not in seen
        assert print_of_it == fingerprint(Adapted(Half(), **options))
        seen.add(print_of_it)
    before = fingerprint(stated)
    stated.delay = 319
    assert fingerprint(stated) != before
    assert build("separator", Adapted(Half(), rate=8000)).identity.target.endswith(":Half")
    assert build("separator", Adapted(Half(), rate=8000)).identity.code_sha256 is not None


def test_one_around_another() -> None:
    """Both count: for the answer and for the identity."""
    inner = Adapted(Half(), rate=8000)
    samples = noise(0.25, 48_000)
    both = Adapted(inner, rate=16_000, delay=0)
    assert both.name == "half+rate=8000+rate=16000+delay=0"
    alone = one(inner, samples, 48_000).target.samples
    assert si_sdr(reference=alone[:, 500:-500], estimate=one(both, samples, 48_000).target.samples[:, 500:-500]) > 30
    others = [Adapted(Adapted(Half(), rate=rate), rate=16_000, name="x") for rate in (8000, 8001)]
    assert len({*map(fingerprint, others)}) == 2

    class Named(Half):
        settings = {"adapted": "by hand"}  # noqa: RUF012

    class Otherwise(Named):
        settings = {"adapted": "by machine"}  # noqa: RUF012

    seen = {str(Adapted(kind(), rate=8000).settings) for kind in (Named, Otherwise)}
    assert len(seen) == 2


def test_channels_that_do_not_fit_are_left_to_the_check() -> None:
    def three(mixture: Tensor, rate: int, prompt: Prompt) -> Tensor:
        return mixture.expand(3, -1)

    found = one(Adapted(three, delay=0), noise(0.1), 16_000)
    assert found.target.channels == 3
    assert torch.equal(found.residual.samples, noise(0.1))


def test_the_model_within_counts() -> None:
    one_, other = Half(), Half()
    other.given.append(query(noise(0.01)))
    assert fingerprint(Adapted(one_, rate=8000)) != fingerprint(Adapted(other, rate=8000))
    assert fingerprint(Adapted(lambda m, r, p: m, rate=8000)) != fingerprint(
        Adapted(lambda m, r, p: m * 0.5, rate=8000)
    )


@pytest.mark.parametrize(
    "options",
    [{"rate": 0}, {"rate": 16_000.5}, {"rate": "16k"}, {"rate": True}, {"rate": 10**7}, {"channels": 0},
     {"channels": 1.5}, {"channels": 1000}, {"delay": -1}, {"delay": 0.02}, {"delay": math.nan},
     {"chunk_seconds": 0.0}, {"chunk_seconds": math.inf},
     {"chunk_seconds": math.nan}, {"chunk_seconds": "10"}, {"chunk_overlap": 0.6},
     {"chunk_overlap": -0.1}, {"chunk_overlap": True}],
)  # fmt: skip
def test_what_cannot_be_meant(options: dict[str, Any]) -> None:
    (name,) = options
    with pytest.raises(UsageError, match=f"expected {name} of half to be"):
        Adapted(Half(), **options)
    kind = type("Odd", (Half,), {"name": "half", **options})
    with pytest.raises(UsageError, match=f"expected {name} of half to be"):
        prepare_separator(kind())


def test_numbers_of_numpy_will_do() -> None:
    separator = Adapted(Half(), rate=np.int64(8000), chunk_seconds=np.float32(0.5))
    assert separator.adaptation == Adaptation(rate=8000, chunk_seconds=0.5)


def test_what_cannot_be_adapted() -> None:
    class Oracle:
        name = "o"
        rate = 16_000

        def separate_oracle(self, items: Any, seeds: Any) -> list[Separation]:
            return []

    for spec, message in (("rnnoise", "load_separator"), (3, "found 3"), (Oracle(), "another protocol")):
        with pytest.raises(UsageError, match=message):
            Adapted(spec, rate=16_000)
    with pytest.raises(UsageError, match="another protocol"):
        prepare_separator(Oracle())


def test_a_broken_contract_is_told_of_the_model() -> None:
    class Wrong(Half):
        rate = 8000

        def separate(self, queries: Any) -> Any:  # type: ignore[override]
            return queries

    with pytest.raises(UsageError, match=r"expected .*Wrong to have a method separate\(queries, seeds\)"):
        prepare_separator(Wrong())


def test_a_program_can_be_adapted(tmp_path: Path) -> None:
    """It is given the model's rate and channels, and its template stays part of the identity."""
    script = tmp_path / "half.py"
    script.write_text(
        "import sys, soundfile\nsamples, rate = soundfile.read(sys.argv[1], dtype='float32')\n"
        "assert rate == 8000 and samples.ndim == 1\nsoundfile.write(sys.argv[2], samples / 2, rate, subtype='FLOAT')\n"
    )
    program = load_separator(f"cmd:{sys.executable} {script} {{mixture}} {{target}}")
    separator = Adapted(program, rate=8000, channels=1, name="half-program")
    samples = noise(0.5, 16_000, channels=2)
    expected = one(Adapted(Half(), rate=8000, channels=1), samples, 16_000)
    assert torch.equal(one(separator, samples, 16_000).target.samples, expected.target.samples)
    identity = build("separator", separator).identity
    assert identity.unknown is None
    script.write_text(script.read_text().replace("/ 2", "/ 3"))
    assert build("separator", separator).identity.fingerprint() != identity.fingerprint()


def test_copies() -> None:
    """Executors send separators elsewhere."""
    separator = Adapted(Stating(), chunk_seconds=0.2)
    samples = noise(0.5, 48_000)
    expected = one(separator, samples, 48_000).target.samples
    for other in (
        copy.deepcopy(separator),
        pickle.loads(pickle.dumps(Adapted(sab.load_separator("mixture"), rate=8000))),
    ):
        assert isinstance(other, Adapted)
    assert torch.equal(one(copy.deepcopy(separator), samples, 48_000).target.samples, expected)
