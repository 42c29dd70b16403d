"""The bridge to torchmetrics: its metrics as ours, ours as its."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torchmetrics
from metric_signals import RATE, answer, item, noise, sound
from torch import Tensor
from torchmetrics.functional.audio import signal_distortion_ratio

from sam_audio_bench.errors import Precondition, UsageError
from sam_audio_bench.metrics import bridge, bss, ratios
from sam_audio_bench.metrics.bridge import MeanScore, adapt
from sam_audio_bench.metrics.catalogue import CAP_DB, FLOOR_DB
from sam_audio_bench.metrics.ratios import ReferenceMetric
from sam_audio_bench.types import Score, Separation, Status

SDR = "torchmetrics.audio.SignalDistortionRatio"
PAIRS: list[tuple[type[MeanScore], type[ReferenceMetric]]] = [
    (bridge.SNR, ratios.SNR),
    (bridge.SISDR, ratios.SISDR),
    (bridge.SISNR, ratios.SISNR),
    (bridge.SDSDR, ratios.SDSDR),
    (bridge.BSSSourcesSDR, bss.BSSSourcesSDR),
]
target, error = noise(2, 6, 2000)


class Broken(torchmetrics.Metric):
    """Gives what its option says instead of a score."""

    higher_is_better: bool | None = False

    def __init__(self, gives: Any = 0.0) -> None:
        super().__init__()
        self.gives = gives

    def update(self, preds: Tensor, target: Tensor) -> None:
        self.seen = preds.shape, target.shape

    def compute(self) -> Any:
        return self.gives


class Undirected(Broken):
    """Does not say which direction is better."""

    higher_is_better = None


class Labelled(Broken):
    """Needs more than an estimate and a reference."""

    def update(self, preds: Tensor, target: Tensor, labels: Tensor) -> None:  # type: ignore[override]
        self.seen = preds.shape, labels.shape


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> str:
    """A name under which this module can be imported."""
    monkeypatch.setitem(sys.modules, "their_metrics", sys.modules[__name__])
    return "their_metrics"


def test_a_metric_of_torchmetrics_as_ours() -> None:
    metric = adapt(SDR, filter_length=64)
    items = [item(target[n : n + 1], error[n : n + 1]) for n in range(3)]
    answers = [answer(target[n : n + 1] + 0.1 * (n + 1) * error[n : n + 1]) for n in range(3)]
    expected = [
        float(signal_distortion_ratio(given.target.samples, one.reference.samples, filter_length=64))
        for one, given in zip(items, answers, strict=True)
        if one.reference is not None
    ]
    rows = metric.score(items, answers)
    assert [row[0].status for row in rows if row[0] is not None] == [Status.OK] * 3
    values = [row[0].value for row in rows if row[0] is not None]
    assert values == pytest.approx(expected, abs=1e-5)  # its state is float32
    (card,) = metric.cards()
    assert metric.columns == metric.requested == (card.id,) == ("torchmetrics.SignalDistortionRatio",)
    assert (card.unit, card.higher_is_better, card.needs) == ("", True, frozenset({"reference"}))
    assert metric.options == {"class": SDR, "torchmetrics": torchmetrics.__version__, "filter_length": 64}
    other = adapt("torchmetrics.MeanSquaredError")  # two classes do not share what they know
    assert (other.columns, other.cards()[0].higher_is_better) == (("torchmetrics.MeanSquaredError",), False)
    assert metric.columns == ("torchmetrics.SignalDistortionRatio",)


def test_statuses_come_before_the_metric() -> None:
    """The SI-SDR of torchmetrics calls silence 0 dB."""
    metric = adapt("torchmetrics.audio.ScaleInvariantSignalDistortionRatio")
    one, silence = target[:1], torch.zeros(1, 2000)
    cases = {
        Status.SILENT_REFERENCE: (item(silence, one), answer(one)),
        Status.SILENT_ESTIMATE: (item(one, silence), answer(silence)),
        Status.BOTH_SILENT: (item(silence, one), answer(silence)),
        Status.LENGTH_MISMATCH: (item(one, silence), answer(one[:, :100])),
        Status.NON_FINITE: (item(one, silence), answer(one / 0)),
    }
    for status, (question, given) in cases.items():
        assert metric.score([question], [given]) == [(Score(None, status),)]
    slower = Separation(target=sound(one, rate=2 * RATE), residual=sound(one))
    assert metric.score([item(one, silence)], [slower]) == [(Score(None, Status.LENGTH_MISMATCH),)]
    assert metric.score([item(None, None, one)], [answer(one)]) == [(None,)]


@pytest.mark.parametrize(
    ("gives", "expected"),
    [
        (torch.tensor(2.5), Score(2.5, Status.OK)),
        (torch.tensor([2.5]), Score(2.5, Status.OK)),
        (torch.tensor(math.nan), Score(None, Status.NON_FINITE)),
        (torch.tensor(math.inf), Score(None, Status.NON_FINITE)),
        (torch.tensor(-math.inf), Score(-math.inf, Status.PERFECT)),  # lower is better
    ],
)
def test_what_is_no_number_is_none(module: str, gives: Tensor, expected: Score) -> None:
    metric = adapt(f"{module}.Broken", gives=gives)
    assert metric.score([item(target, error)], [answer(target + error)]) == [(expected,)]


@pytest.mark.parametrize(("gives", "found"), [(torch.zeros(2), r"\[2\]"), ({"a": 1}, "dict")])
def test_several_numbers_are_refused(module: str, gives: Any, found: str) -> None:
    metric = adapt(f"{module}.Broken", gives=gives)
    with pytest.raises(UsageError, match=f"expected one number of their_metrics.Broken, found {found}"):
        metric.score([item(target, error)], [answer(target + error)])


@pytest.mark.parametrize(
    ("path", "options", "kind", "message"),
    [
        ("torchmetrics.audio.SignalDistortionRatoi", {}, UsageError, "did you mean .*SignalDistortionRatio"),
        ("SignalDistortionRatio", {}, UsageError, "expected a class with its module"),
        (
            "torchmetric.audio.SDR",
            {},
            Precondition,
            "expected the module torchmetric.audio, .* to be importable, found",
        ),
        (
            "torchmetrics.functional.mean_squared_error",
            {},
            UsageError,
            "to be a class of torchmetrics.Metric, found <fu",
        ),
        ("torchmetrics.CatMetric", {}, UsageError, "updated with preds and target, found .*, which wants value"),
        ("their_metrics.Labelled", {}, UsageError, "updated with preds and target, found .*, which wants .*labels"),
        ("their_metrics.Undirected", {}, UsageError, "says whether higher is better, found their_metrics.Undirected"),
        (SDR, {"filter": 1}, UsageError, "expected options that .*SignalDistortionRatio takes, found: .*filter"),
        ("torchmetrics.audio.PermutationInvariantTraining", {}, UsageError, "says whether higher is better"),
    ],
)
def test_refusals(module: str, path: str, options: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        adapt(path, **options)


@pytest.mark.parametrize(("kind", "ours"), PAIRS)
def test_the_mean_is_that_of_our_metric(kind: type[MeanScore], ours: type[ReferenceMetric]) -> None:
    references, estimates = target.clone(), target + 0.1 * error
    references[1], estimates[2], references[3], estimates[3] = 0, 0, 0, 0
    estimates[4] = references[4]
    estimates[5, 7] = math.nan
    metric = kind()
    metric.update(preds=estimates[:2], target=references[:2])
    metric.update(estimates[2:].reshape(2, 2, -1), references[2:].reshape(2, 2, -1))
    items = [item(one[None], one[None]) for one in references]
    rows = ours().score(items, [answer(one[None]) for one in estimates])
    scores = [row[0] for row in rows if row[0] is not None]
    values = [min(score.value, CAP_DB) for score in scores if score.value is not None]
    seen = "ok silent_reference silent_estimate both_silent perfect non_finite"
    assert [score.status for score in scores] == seen.split()
    assert values[1:] == [FLOOR_DB, CAP_DB]
    assert float(metric.compute()) == pytest.approx(sum(values) / 3, abs=1e-9)
    assert metric.counts() == dict.fromkeys((score.status for score in scores), 1)


def test_a_constant_is_silence_without_its_mean() -> None:
    metric = bridge.SISNR()
    metric.update(preds=target[:1], target=torch.ones(1, 2000))
    assert metric.counts() == {Status.SILENT_REFERENCE: 1}
    assert math.isnan(metric.compute())


def test_sources_of_a_mixture_are_one_signal() -> None:
    metric = bridge.SASDR()
    truth, given = target.reshape(3, 2, -1).clone(), (target + 0.1 * error).reshape(3, 2, -1)
    truth[0, 1], truth[1] = 0, 0
    metric.update(preds=given, target=truth)
    scores = [
        ratios.SASDR().score([item(*one[:, None])], [answer(*two[:, None])])[0][0]
        for one, two in zip(truth, given, strict=True)
    ]
    values = [score.value for score in scores if score is not None and score.value is not None]
    assert len(values) == 2
    assert float(metric.compute()) == pytest.approx(sum(values) / 2, abs=1e-9)
    assert metric.counts() == {Status.OK: 2, Status.SILENT_REFERENCE: 1}


@pytest.mark.parametrize("kind", [kind for kind, _ in PAIRS])
def test_other_shapes_are_refused(kind: type[MeanScore]) -> None:
    with pytest.raises(UsageError, match="expected reference and estimate of one shape"):
        kind().update(target[:2], target)


def test_forward_gives_the_batch_and_keeps_the_rest() -> None:
    metric, whole = bridge.SNR(), bridge.SNR()
    batches = [(target[n : n + 2] + 0.1 * (n + 1) * error[n : n + 2], target[n : n + 2]) for n in (0, 2, 4)]
    for batch in batches:
        whole.update(*batch)
        alone = bridge.SNR()
        alone.update(*batch)
        assert metric(*batch) == alone.compute()
    assert metric.compute() == whole.compute()
    metric.reset()
    assert metric.counts() == {}


def test_states_merge() -> None:
    whole, parts = bridge.SISDR(), [bridge.SISDR(), bridge.SISDR()]
    estimates = target + 0.1 * error
    estimates[3] = 0
    whole.update(estimates, target)
    for part, rows in zip(parts, (slice(0, 4), slice(4, 6)), strict=True):
        part.update(estimates[rows], target[rows])
    parts[0].merge_state(parts[1])
    assert float(parts[0].compute()) == pytest.approx(float(whole.compute()), abs=1e-12)
    assert parts[0].counts() == whole.counts() == {Status.OK: 5, Status.SILENT_ESTIMATE: 1}


def test_a_collection_keeps_metrics_apart_after_a_batch_of_silence() -> None:
    """A collection lets metrics share states that hold the same after the first batch, as those of silence do."""
    metrics = torchmetrics.MetricCollection([bridge.SNR(), bridge.SISDR()])
    silence, scaled = torch.zeros(1, 2000), 2 * target + 0.1 * error
    for preds, reference in ((silence, silence), (scaled, target)):
        metrics.update(preds, reference)
    found = metrics.compute()
    for name, kind in (("SNR", bridge.SNR), ("SISDR", bridge.SISDR)):
        alone = kind()
        alone.update(scaled, target)
        assert float(found[name]) == pytest.approx(float(alone.compute()), abs=1e-12)
    assert abs(found["SNR"] - found["SISDR"]) > 10


PROCESS = """
import sys, torch
from sam_audio_bench.metrics.bridge import SISDR
rank, place = int(sys.argv[1]), sys.argv[2]
torch.distributed.init_process_group("gloo", init_method=f"file://{place}/meet", rank=rank, world_size=2)
signals = torch.load(f"{place}/signals.pt")
rows = slice(0, 4) if rank == 0 else slice(4, 6)
metric = SISDR()
metric.update(signals["estimates"][rows], signals["references"][rows])
print(float(metric.compute()).hex(), sorted((str(k), v) for k, v in metric.counts().items()))
torch.distributed.destroy_process_group()
"""


@pytest.mark.slow  # two more imports of torch; `test_states_merge` is what it comes to in one process
def test_two_processes_equal_one(tmp_path: Path) -> None:
    estimates = target + 0.1 * error
    estimates[0], estimates[5] = 0, target[5]
    torch.save({"estimates": estimates, "references": target}, tmp_path / "signals.pt")
    words = [[sys.executable, "-c", PROCESS, str(rank), str(tmp_path)] for rank in (0, 1)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in words]
    said = [process.communicate(timeout=300)[0].split(" ", 1) for process in running]
    whole = bridge.SISDR()
    whole.update(estimates, target)
    assert said[0] == said[1]
    assert float.fromhex(said[0][0]) == pytest.approx(float(whole.compute()), abs=1e-12)
    assert said[0][1].strip() == "[('ok', 4), ('perfect', 1), ('silent_estimate', 1)]"


def test_gradients_do_not_pass_and_inputs_stay() -> None:
    preds, metric = target + 0.1 * error, bridge.SISDR()
    kept = preds.clone(), target.clone()
    metric.update(preds.requires_grad_(), target)
    assert not metric.compute().requires_grad
    assert torch.equal(preds, kept[0])
    assert torch.equal(target, kept[1])
