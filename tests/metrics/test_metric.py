"""What every metric keeps to: a plain class, and the same scores whatever an item is scored beside."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from metric_signals import answer, item, noise
from tiny_networks import small_aesthetics, write_aesthetics, write_clap, write_imagebind
from torch.nn.modules.module import register_module_forward_hook

import sam_audio_bench as sab
from sam_audio_bench.metrics.base import Metric, Row
from sam_audio_bench.metrics.catalogue import CARDS
from sam_audio_bench.metrics.weights import LearnedMetric
from sam_audio_bench.registry import resolve
from sam_audio_bench.types import Audio, Item, Prompt, Query, Score, Separation, Status

ROOT = Path(sab.__file__).parent
TARGETS = sorted({card.target for card in CARDS.values()})
LEARNED = [target for target in TARGETS if issubclass(resolve(target), LearnedMetric)]
RATE, LENGTH = 16_000, 8_000


class Forgetful(Metric):
    """A third party's metric that does not call the constructor of `Metric`."""

    columns = ("first", "second")

    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor

    def score(self, items: Sequence[Item], separations: Sequence[Separation]) -> list[Row]:
        return [(Score(self.factor, Status.OK), None) for _ in items]


def test_a_constructor_that_forgets_its_base_works() -> None:
    metric, other = Forgetful(), Forgetful()
    assert metric.requested == ("first", "second")
    assert (metric.batch_size, metric.missing(), metric.options) == (1, None, {})
    metric.requested = ("second",)
    assert (metric.requested, other.requested) == (("second",), ("first", "second"))
    assert len({metric, other, metric}) == 2  # a run keys scores by the metric


def test_torchmetrics_is_not_imported() -> None:
    modules = ("metrics.base", "metrics.ratios", "judge.metric", "registry", "run.evaluate")
    lines = [f"import sam_audio_bench.{name}; print('torchmetrics' in sys.modules)" for name in modules]
    code = "\n".join(["import sys", *lines])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n" * len(modules)


def test_torchmetrics_is_imported_by_the_bridge_alone() -> None:
    users = set()
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(name.partition(".")[0] == "torchmetrics" for name in names):
                users.add(path.relative_to(ROOT).as_posix())
    assert users == {"metrics/bridge.py"}


def contributed() -> type[Metric]:
    """The metric of CONTRIBUTING.md, which a reader copies."""
    text = (ROOT.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (code,) = [block for block in re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S) if "class Peak" in block]
    assert len(code[code.index("class Peak") :].splitlines()) <= 15
    return run_code(code)


def run_code(code: str) -> type[Metric]:
    names: dict[str, Any] = {"__name__": "peak"}
    exec(compile(code, "peak", "exec"), names)
    kind: type[Metric] = names["Peak"]
    return kind


@pytest.mark.parametrize("where", ["CONTRIBUTING.md", "tests/plugin"])
def test_the_example_is_right_on_silence(where: str) -> None:
    plugin = ROOT.parent / "tests" / "plugin" / "sabench_plugin" / "__init__.py"
    kind = contributed() if where == "CONTRIBUTING.md" else run_code(plugin.read_text(encoding="utf-8"))
    sound, silence = item(torch.full((1, 8), 0.1), torch.zeros(1, 8)), answer(torch.zeros(1, 8))
    rows = kind().score([sound, sound], [answer(torch.full((1, 8), -0.1)), silence])
    assert rows[0][0] == (pytest.approx(-20, abs=1e-5), Status.OK)
    assert rows[1] == (Score(None, Status.SILENT_ESTIMATE),)


@pytest.fixture
def build(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Metric, str]]:
    """The metric behind a target, a network on some device with weights; skips where a library is missing."""
    target, device = request.param
    name = target.partition(":")[2]
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    kind = resolve(target)
    if name == "Clap":
        metric = kind(path=str(write_clap(tmp_path / "clap")), device=device)
    elif name == "ImageBind":
        metric = kind(path=str(write_imagebind(tmp_path, monkeypatch)), device=device)
    else:
        metric = kind(device=device) if issubclass(kind, LearnedMetric) else kind()
    if name == "Aesthetics" and importlib.util.find_spec("audiobox_aesthetics"):
        with small_aesthetics() as package:
            yield kind(path=str(write_aesthetics(tmp_path / "aes", package)), device=device), device
        return
    if reason := metric.missing():
        pytest.skip(reason)
    yield metric, device


@pytest.fixture(scope="module")
def pairs() -> list[tuple[Item, Separation]]:
    """Items of one length, rate and channel count with all that can be asked; one lacks the sound, one is silent."""
    data = sab.load_task("sfx-visual", split="mini")
    seen = data[data.ids[0]].query.prompt
    made = []
    for number, text in enumerate(("dog barking", "rain and a horn", "rain", "dog barking")):
        target, other, error = 0.1 * noise(3, 1, LENGTH, seed=number).float()
        target = target * (number != 2)
        spans = (("+", 0.1, 0.4 + 0.05 * number),) if number else ()
        prompt = Prompt(text=text, spans=spans, video=seen.video, mask=seen.mask)
        question = Item(
            id=str(number),
            group=str(number),
            query=Query(mixture=Audio(target + other, RATE), prompt=prompt),
            reference=Audio(target, RATE),
            residual_reference=Audio(other, RATE),
        )
        estimate = (target + 0.3 * error) * (number != 3)
        residual = target + other - estimate
        made.append((question, Separation(target=Audio(estimate, RATE), residual=Audio(residual, RATE))))
    return made


def alone(metric: Metric, pairs: Sequence[tuple[Item, Separation]]) -> list[Row]:
    return [metric.score([question], [given])[0] for question, given in pairs]


def together(metric: Metric, pairs: Sequence[tuple[Item, Separation]]) -> list[Row]:
    items, answers = zip(*pairs, strict=True)
    return metric.score(items, answers)


@pytest.mark.parametrize("build", [(target, "cpu") for target in TARGETS], indirect=True, ids=TARGETS)
def test_a_batch_gives_the_bits_of_single_items(
    build: tuple[Metric, str], pairs: list[tuple[Item, Separation]]
) -> None:
    metric, _ = build
    single = alone(metric, pairs)
    assert together(metric, pairs[::-1]) == single[::-1]
    values = {score.value for row in single for score in row if score is not None and score.status is Status.OK}
    assert values, "no item was scored"
    assert metric.batch_size == 1


CASES = [(target, device) for target in LEARNED for device in ("cpu", "cuda")]


@pytest.mark.parametrize("build", CASES, indirect=True, ids=[f"{target}-{device}" for target, device in CASES])
def test_networks_take_a_batch_in_one_call(build: tuple[Metric, str], pairs: list[tuple[Item, Separation]]) -> None:
    """Rounding differs with the number of rows of a product: within a tenth of what another machine may differ by."""
    metric, device = build
    assert (metric.batch_size > 1) == (device == "cuda")
    metric.batch_size = 1
    single = alone(metric, pairs)
    calls: list[object] = []
    handle = register_module_forward_hook(lambda module, *_: calls.append(module))
    alone(metric, pairs[:1])
    (one, metric.batch_size) = (len(calls), 8)
    calls.clear()
    batch = together(metric, pairs)
    handle.remove()
    assert 0 < len(calls) <= one
    for rows in zip(single, batch, strict=True):
        for card, before, after in zip(metric.cards(), *rows, strict=True):
            assert before is not None
            assert after is not None
            assert after.status is before.status
            assert after.value == pytest.approx(before.value, abs=card.tolerance / 10)
