"""Speech scores: values against the libraries, refusals that stay rows, silence, and libraries that are missing.

Tests of one library are skipped where it is not installed; the rest of the rules is tested without any.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

import sam_audio_bench as sab
from sam_audio_bench.errors import Precondition
from sam_audio_bench.metrics.catalogue import CARDS
from sam_audio_bench.metrics.narrowband import NarrowbandPESQ
from sam_audio_bench.metrics.speech import DNSMOS, PESQ, STOI, Signal, SpeechMetric
from sam_audio_bench.types import Audio, Item, Prompt, Query, Score, Separation, Status

RATE = 16_000


def needs(*kinds: type[SpeechMetric]) -> pytest.MarkDecorator:
    """Skips where a library is missing."""
    reason = next((reason for kind in kinds if (reason := kind().missing())), None)
    return pytest.mark.skipif(reason is not None, reason=reason or "")


def available(*kinds: type[SpeechMetric]) -> list[object]:
    return [pytest.param(kind, marks=needs(kind), id=kind.__name__) for kind in kinds]


INTRUSIVE = available(PESQ, NarrowbandPESQ, STOI)
ALL = available(PESQ, NarrowbandPESQ, STOI, DNSMOS)


@pytest.fixture(scope="module")
def voice() -> Tensor:
    """4 s of a voice ``[1, time]`` at 16 kHz, from the embedded task."""
    from sam_audio_bench.audio import resample

    reference = next(item.reference for item in sab.load_task("speech", split="mini") if item.reference is not None)
    return resample(reference, RATE).samples[:, RATE : 5 * RATE]


@pytest.fixture(scope="module")
def noisy(voice: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return voice + 0.05 * torch.randn(voice.shape, generator=generator)


def item(reference: Tensor | None, rate: int = RATE) -> Item:
    query = Query(mixture=Audio(torch.ones(1, 8), rate), prompt=Prompt(text="a voice"))
    return Item(id="a", group="a", query=query, reference=None if reference is None else Audio(reference, rate))


def answer(samples: Tensor, rate: int = RATE) -> Separation:
    return Separation(target=Audio(samples, rate), residual=Audio(samples, rate))


def scores(metric: SpeechMetric, reference: Tensor | None, given: Tensor) -> list[Score]:
    row = metric.score([item(reference)], [answer(given)])[0]
    return [score for score in row if score is not None]


def plain(metric: SpeechMetric, reference: Tensor | None, given: Tensor) -> list[float]:
    found = scores(metric, reference, given)
    assert all(score.status is Status.OK for score in found)
    return [score.value for score in found if score.value is not None]


def test_cards() -> None:
    columns = (PESQ.columns, STOI.columns, DNSMOS.columns)
    assert columns == (("pesq_wb",), ("stoi", "estoi"), ("dnsmos_ovrl", "dnsmos_sig", "dnsmos_bak"))
    assert all(CARDS[column].needs == {"speech", "reference"} for column in (*PESQ.columns, *STOI.columns))
    assert all(CARDS[column].needs == {"speech"} for column in DNSMOS.columns)


@needs(PESQ)
def test_pesq_is_the_package(voice: Tensor, noisy: Tensor) -> None:
    import pesq

    expected = pesq.pesq(RATE, voice[0].double().numpy(), noisy[0].double().numpy(), "wb")
    assert plain(PESQ(), voice, noisy) == [expected]
    assert plain(PESQ(), voice, voice) == [pytest.approx(4.644, abs=1e-3)]


@needs(NarrowbandPESQ)
def test_narrowband_pesq_is_the_package_and_hears_nothing_high(voice: Tensor, noisy: Tensor) -> None:
    import pesq

    expected = pesq.pesq(RATE, voice[0].double().numpy(), noisy[0].double().numpy(), "nb")
    assert plain(NarrowbandPESQ(), voice, noisy) == [expected]
    assert plain(NarrowbandPESQ(), voice, voice) == [pytest.approx(4.549, abs=1e-3)]
    spectrum = torch.fft.rfft(voice)
    cut = torch.fft.irfft(spectrum * (torch.fft.rfftfreq(voice.shape[1], 1 / RATE) < 3800), n=voice.shape[1])
    assert plain(NarrowbandPESQ(), voice, cut)[0] > 4.5
    assert plain(PESQ(), voice, cut)[0] < 4


@needs(STOI)
@pytest.mark.parametrize("rate", [8000, 10_000, 11_025, 16_000, 44_100, 48_000])
def test_stoi_is_the_package_at_any_rate(rate: int, voice: Tensor, noisy: Tensor) -> None:
    """Converted by its own resampler: soxr's answers, at 8 kHz, move the score by more than a reader would forgive."""
    from pystoi import stoi

    from sam_audio_bench.audio import resample

    clean, given = (resample(Audio(one, RATE), rate).samples.double() for one in (voice, noisy))
    row = STOI().score([item(clean, rate)], [answer(given, rate)])[0]
    found = [score.value for score in row if score is not None and score.value is not None]
    expected = [stoi(clean[0].numpy(), given[0].numpy(), rate, extended=extended) for extended in (False, True)]
    assert found == pytest.approx(expected, abs=1e-9)
    itself = STOI().score([item(clean, rate)], [answer(clean, rate)])[0]
    assert [score and score.value for score in itself] == pytest.approx([1, 1], abs=1e-9)


@needs(DNSMOS)
def test_dnsmos_is_the_package(voice: Tensor, noisy: Tensor) -> None:
    """Also where samples leave full scale, which the package refuses; and whatever the reference is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from speechmos import dnsmos

        expected = dnsmos.run(noisy[0].double().numpy(), RATE)
    found = plain(DNSMOS(), None, noisy)
    assert found == [expected["ovrl_mos"], expected["sig_mos"], expected["bak_mos"]]
    assert found == plain(DNSMOS(), voice, noisy)
    loud = 2 * noisy / noisy.abs().max()
    assert plain(DNSMOS(), None, loud) == plain(DNSMOS(), None, loud.clamp(-1, 1))


@pytest.mark.parametrize("kind", ALL)
def test_clean_beats_noisy_beats_silence(kind: type[SpeechMetric], voice: Tensor, noisy: Tensor) -> None:
    """A silent answer gets the lowest value, so that silence never pays."""
    clean, worse = plain(kind(), voice, voice), plain(kind(), voice, noisy)
    silent = scores(kind(), voice, torch.zeros_like(voice))
    assert {score.status for score in silent} == {Status.SILENT_ESTIMATE}
    assert clean[0] > worse[0] > (silent[0].value or 0)
    assert scores(kind(), voice, 1e-30 * torch.zeros_like(voice)) == silent


@pytest.mark.parametrize("kind", ALL)
def test_short_clips_have_no_value(kind: type[SpeechMetric], voice: Tensor, noisy: Tensor) -> None:
    short = slice(RATE, RATE + RATE // 10)
    assert {*scores(kind(), voice[:, short], noisy[:, short])} == {(None, Status.TOO_SHORT)}


@needs(STOI)
def test_the_sentinel_of_pystoi_never_gets_through(voice: Tensor, noisy: Tensor) -> None:
    """0.3 s, or a click: fewer than 30 frames, for which it returns 1e-5."""
    click = torch.zeros_like(voice)
    click[0, 100] = 1
    for reference, given in ((voice[:, :4800], noisy[:, :4800]), (click, noisy)):
        assert {*scores(STOI(), reference, given)} == {(None, Status.TOO_SHORT)}


@pytest.mark.parametrize("kind", available(PESQ, NarrowbandPESQ))
def test_a_reference_without_utterances(kind: type[SpeechMetric], voice: Tensor, noisy: Tensor) -> None:
    """0.1 s of a voice, in a clip that is long enough for the package."""
    part = slice(RATE // 2, RATE // 2 + 3 * RATE // 10)
    reference, given = voice[:, part].clone(), noisy[:, part]
    reference[:, RATE // 10 :] = 0
    assert scores(kind(), reference, given) == [(None, Status.SILENT_REFERENCE)]
    heard, silence = (signal[0].double().numpy() for signal in (voice, torch.zeros_like(voice)))
    assert [*kind().measure(heard, silence)] == [(kind.lowest, Status.SILENT_ESTIMATE)], "a part of a long answer"


@needs(PESQ)
def test_many_utterances_do_not_kill_the_process(voice: Tensor, noisy: Tensor) -> None:
    """More than 50 of them write beyond the package's tables; parts of 20 s hold fewer."""
    generator = np.random.default_rng(0)
    times = np.arange(70 * RATE) / RATE
    reference = torch.from_numpy(generator.normal(size=(1, len(times))) * (times % 1 < 0.5))
    given = reference + 0.1 * torch.from_numpy(generator.normal(size=reference.shape))
    (whole,) = plain(PESQ(), reference, given)
    parts = [plain(PESQ(), r, g) for r, g in zip(reference.tensor_split(4, 1), given.tensor_split(4, 1), strict=True)]
    assert whole == pytest.approx(np.mean(parts), abs=1e-9)
    tail = torch.zeros(1, 30 * RATE, dtype=torch.float64)  # parts without a voice are left out
    alone = plain(PESQ(), reference[:, : 15 * RATE], given[:, : 15 * RATE])
    longer = [torch.cat([signal[:, : 15 * RATE].double(), tail], dim=1) for signal in (reference, given)]
    assert plain(PESQ(), *longer) == alone


@needs(STOI)
def test_estoi_is_the_same_every_time(voice: Tensor, noisy: Tensor) -> None:
    """The package adds noise from a global generator; ours is seeded for the item and leaves the state alone."""
    np.random.seed(5)
    before = np.random.get_state()[1].tolist()  # type: ignore[index]
    first = scores(STOI(), voice, noisy)
    assert np.random.get_state()[1].tolist() == before  # type: ignore[index]
    np.random.seed(6)
    assert scores(STOI(), voice, noisy) == first


@pytest.mark.parametrize("kind", INTRUSIVE)
def test_rows_do_not_depend_on_the_batch(kind: type[SpeechMetric], voice: Tensor, noisy: Tensor) -> None:
    """A refused item in the middle keeps its place and costs the others nothing."""
    items = [item(voice), item(voice[:, :1600]), item(torch.zeros_like(voice)), item(None), item(noisy)]
    answers = [answer(samples) for samples in (noisy, noisy[:, :1600], noisy, noisy, voice)]
    together = kind().score(items, answers)
    assert together == [kind().score([one], [given])[0] for one, given in zip(items, answers, strict=True)]
    assert together[::-1] == kind().score(items[::-1], answers[::-1])
    assert [row[0] and row[0].status for row in together] == [
        Status.OK, Status.TOO_SHORT, Status.SILENT_REFERENCE, None, Status.OK,
    ]  # fmt: skip


@pytest.mark.parametrize("kind", INTRUSIVE)
def test_scaling_both_changes_nothing(kind: type[SpeechMetric], voice: Tensor, noisy: Tensor) -> None:
    expected = plain(kind(), voice, noisy)
    for gain in (1e-9, 1e3):
        assert plain(kind(), gain * voice.double(), gain * noisy.double()) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("name", ["pesq_wb", "pesq_nb", "stoi", "estoi", "srmr"])
def test_improvements_over_the_mixture(name: str, voice: Tensor, noisy: Tensor) -> None:
    """Of all scores of speech, on request: exactly 0 for the mixture, and the difference for anything else."""
    metric = sab.load_metric(f"{name}_i")
    if reason := metric.missing():
        pytest.skip(reason)
    better = voice + 0.3 * (noisy - voice)
    query = Query(mixture=Audio(noisy, RATE), prompt=Prompt(text="a voice"))
    asked = Item(id="a", group="a", query=query, reference=Audio(voice, RATE))
    column = metric.columns.index(f"{name}_i")
    rows = metric.score([asked] * 3, [answer(one) for one in (noisy, better, torch.zeros_like(voice))])
    assert rows[0][column] == (0.0, Status.OK)
    alone = sab.load_metric(name)
    before, after = (alone.score([asked], [answer(one)])[0][alone.columns.index(name)] for one in (noisy, better))
    assert before is not None
    assert after is not None
    assert rows[1][column] == ((after.value or 0) - (before.value or 0), Status.OK)
    silent = rows[2][column]
    assert silent is not None
    assert silent.status is Status.SILENT_ESTIMATE


class Fake(SpeechMetric):
    """Needs no library: what the base class does with the outcomes of one."""

    columns = ("a", "b")
    library = "no-such-distribution"
    imports = ()
    rate = 8000
    lowest = -1.0

    def measure(self, reference: Signal, estimate: Signal) -> Sequence[Score | None]:
        """The lengths that arrive; refuses what is loud."""
        if np.abs(estimate).max() > 1:
            raise RuntimeError("too loud")
        return [Score(float(len(reference)), Status.OK), Score(float(np.log(len(estimate) - 8000)), Status.OK)]


def test_statuses_of_the_base_class() -> None:
    sound, silence = torch.full((2, 24_000), 0.5), torch.zeros(2, 24_000)
    assert scores(Fake(), sound, sound) == [(12_000.0, Status.OK), (np.log(4000), Status.OK)]
    assert scores(Fake(), sound, silence) == [(-1.0, Status.SILENT_ESTIMATE)] * 2
    assert scores(Fake(), silence, sound) == [(None, Status.SILENT_REFERENCE)] * 2
    assert scores(Fake(), silence, silence) == [(None, Status.BOTH_SILENT)] * 2
    assert scores(Fake(), sound, sound * torch.nan) == [(None, Status.NON_FINITE)] * 2
    assert scores(Fake(), sound, sound[:, 1:]) == [(None, Status.LENGTH_MISMATCH)] * 2
    assert scores(Fake(), sound[:, :100], sound[:, :100]) == [(None, Status.TOO_SHORT)] * 2
    assert scores(Fake(), sound, sound * torch.tensor([[1.0], [-1.0]])) == [(-1.0, Status.SILENT_ESTIMATE)] * 2
    assert scores(Fake(), sound, 4 * sound) == [(None, Status.ERROR)] * 2
    assert scores(Fake(), None, sound) == []


def test_a_value_that_is_no_number_is_an_error() -> None:
    """Log 0 in the second column; the first keeps its value."""
    sound = torch.full((1, 16_000), 0.5)
    assert scores(Fake(), sound, sound) == [(8000.0, Status.OK), (None, Status.ERROR)]


def test_a_reference_free_metric_needs_none() -> None:
    metric = Fake()
    metric.intrusive = False  # type: ignore[misc]
    sound = torch.full((1, 24_000), 0.5)
    assert [score.status for score in scores(metric, None, sound)] == [Status.OK, Status.OK]
    assert scores(metric, None, 0 * sound) == [(-1.0, Status.SILENT_ESTIMATE)] * 2
    assert scores(metric, 0 * sound, sound) == [(None, Status.SILENT_REFERENCE)] * 2


@pytest.mark.parametrize(
    ("kind", "module"), [(PESQ, "pesq"), (STOI, "pystoi"), (DNSMOS, "speechmos"), (DNSMOS, "onnxruntime")]
)
def test_says_what_is_missing(
    kind: type[SpeechMetric], module: str, monkeypatch: pytest.MonkeyPatch, voice: Tensor
) -> None:
    for name in kind.imports:
        monkeypatch.setitem(sys.modules, name, None if name == module else sys)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == module else object())
    assert kind().missing() == f"{module} is not installed: pip install 'sam-audio-bench[speech]'"
    with pytest.raises(Precondition, match=rf"{module} is not installed: pip install 'sam-audio-bench\[speech\]'"):
        kind().score([item(voice)], [answer(voice)])


def test_the_version_of_the_library_is_recorded() -> None:
    assert Fake().options == {}
    if PESQ().missing() is None:
        from importlib.metadata import version

        assert PESQ().options == {"pesq": version("pesq")}
