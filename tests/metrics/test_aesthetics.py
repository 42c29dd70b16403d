"""`aes_*` with a tiny random checkpoint in the package's own format, where audiobox-aesthetics is installed."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from misalign import SHIFTS, misaligned_copy
from tiny_networks import SCALES, small_aesthetics, write_aesthetics

from sam_audio_bench.errors import Precondition
from sam_audio_bench.metrics.aesthetics import AXES, Aesthetics
from sam_audio_bench.registry import load_metrics
from sam_audio_bench.types import Audio, Item, Prompt, Query, Score, Separation, Status

RATE = 16_000
INSTALLED = importlib.util.find_spec("audiobox_aesthetics") is not None
needs_package = pytest.mark.skipif(not INSTALLED, reason="audiobox-aesthetics is not installed")


@pytest.fixture(scope="module")
def package() -> Iterator[Any]:
    with small_aesthetics() as module:
        yield module


@pytest.fixture(scope="module")
def folder(package: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_aesthetics(tmp_path_factory.mktemp("aesthetics"), package)


@pytest.fixture(scope="module")
def metric(folder: Path) -> Aesthetics:
    return Aesthetics(path=str(folder), device="cpu")


def noise(seconds: float, seed: int = 0) -> Audio:
    generator = torch.Generator().manual_seed(seed)
    return Audio(torch.randn(1, round(seconds * RATE), generator=generator) * 0.1, RATE)


def question(mixture: Audio) -> Item:
    return Item(id="a", group="a", query=Query(mixture=mixture, prompt=Prompt(text="noise")))


def ask(metric: Aesthetics, target: Audio) -> Sequence[Score | None]:
    return metric.score([question(target)], [Separation(target=target, residual=target)])[0]


def values(metric: Aesthetics, target: Audio) -> list[float]:
    scores = ask(metric, target)
    assert all(score is not None and score.status is Status.OK for score in scores)
    return [score.value for score in scores if score is not None and score.value is not None]


def package_ratings(package: Any, folder: Path, target: Audio) -> list[float]:
    """Windows, mask, weights and scales as the package's predictor has them, with its own loader."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.inference_mode():
        warnings.filterwarnings("ignore", message="`torch.nn.utils.weight_norm` is deprecated")
        warnings.filterwarnings("ignore", message="Support for mismatched key_padding_mask and attn_mask")
        network = package.AesMultiOutput.from_pretrained(str(folder)).eval()
        network.enable_autocast = False
        waves, masks, lengths = [], [], []
        for piece in target.samples.split(10 * RATE, dim=1):
            rest = 10 * RATE - piece.shape[1]
            waves.append(torch.nn.functional.pad(piece, (0, rest)))
            masks.append(torch.nn.functional.pad(torch.ones_like(piece, dtype=torch.bool), (0, rest)))
            lengths.append(piece.shape[1])
        found = network({"wav": torch.stack(waves), "mask": torch.stack(masks)})
    weights = torch.tensor(lengths) / sum(lengths)
    return [float(package.Normalize(**SCALES[axis]).inverse(found[axis]) @ weights) for axis in AXES]


@needs_package
@pytest.mark.parametrize("seconds", [0.3, 10, 23])
def test_equals_the_package(metric: Aesthetics, package: Any, folder: Path, seconds: float) -> None:
    target = noise(seconds)
    assert values(metric, target) == pytest.approx(package_ratings(package, folder, target), abs=1e-4)


@needs_package
def test_each_window_counts_by_its_length(metric: Aesthetics) -> None:
    whole = noise(12)
    parts = [
        values(metric, Audio(whole.samples[:, :160_000], RATE)),
        values(metric, Audio(whole.samples[:, 160_000:], RATE)),
    ]
    expected = [(10 * first + 2 * last) / 12 for first, last in zip(*parts, strict=True)]
    assert values(metric, whole) == pytest.approx(expected, abs=1e-12)


@needs_package
def test_batch_and_order_change_nothing(metric: Aesthetics, folder: Path) -> None:
    targets = [noise(seconds, seed) for seed, seconds in enumerate((0.5, 11, 3))]
    items, answers = map(question, targets), [Separation(target=target, residual=target) for target in targets]
    together = metric.score([*items], answers)
    assert together == [ask(metric, target) for target in targets]
    assert together == [ask(Aesthetics(path=str(folder), device="cpu"), target) for target in targets]


@needs_package
def test_gain_matters(metric: Aesthetics) -> None:
    """The network hears the waveform as it is: documented, not corrected."""
    target = noise(1)
    assert values(metric, Audio(target.samples * 0.01, RATE)) != pytest.approx(values(metric, target), abs=1e-6)


@needs_package
def test_standard_output_and_warnings_stay_clean(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values(Aesthetics(path=str(folder), device="cpu"), noise(0.5))
    assert capsys.readouterr().out == ""


@needs_package
def test_statuses_and_identity(metric: Aesthetics, package: Any, tmp_path: Path) -> None:
    assert ask(metric, Audio(torch.zeros(1, 100), RATE)) == (Score(None, Status.SILENT_ESTIMATE),) * 4
    other = Aesthetics(path=str(write_aesthetics(tmp_path, package, seed=1)), device="cpu")
    assert other.weights_sha256 != metric.weights_sha256
    assert metric.missing() is None
    assert metric.options["weights_sha256"] == metric.weights_sha256


@pytest.mark.bits
@needs_package
@pytest.mark.parametrize("shift", SHIFTS)
def test_values_do_not_depend_on_where_a_file_puts_a_tensor(metric, folder: Path, tmp_path: Path, shift: int) -> None:
    moved = Aesthetics(path=str(misaligned_copy(folder, tmp_path / "moved", shift)), device="cpu")
    assert values(moved, noise(0.5)) == values(metric, noise(0.5))


@needs_package
def test_weights_of_another_shape_are_refused(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    tensors = load_file(folder / "model.safetensors")
    del tensors["layer_weights.CE"]
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(Precondition, match=r"expected a model that can be loaded in .*layer_weights\.CE"):
        ask(Aesthetics(path=str(tmp_path), device="cpu"), noise(0.5))


def test_one_class_gives_the_columns_that_are_asked() -> None:
    (metric,) = load_metrics(["aes_pq", "aes_ce"])
    assert metric.columns == ("aes_ce", "aes_cu", "aes_pc", "aes_pq")
    assert metric.requested == ("aes_pq", "aes_ce")
    better = {card.id: card.higher_is_better for card in metric.cards()}
    assert better == {"aes_ce": True, "aes_cu": True, "aes_pc": False, "aes_pq": True}


def test_missing_package_is_named_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    reason = Aesthetics().missing()
    assert reason is not None
    assert "run `pip install --no-deps audiobox-aesthetics`" in reason


def test_missing_weights_are_named_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    assert "`hf download facebook/audiobox-aesthetics`" in (Aesthetics().missing() or "")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "clap"}))
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert "expected target_transform in" in (Aesthetics(path=str(tmp_path)).missing() or "")
