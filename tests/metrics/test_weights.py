"""Where the weights of learned metrics are looked for, and what is said when they are not there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from sam_audio_bench.errors import Precondition, UsageError
from sam_audio_bench.metrics.weights import LearnedMetric
from sam_audio_bench.nn.hub import Checkpoint, ModelSource
from sam_audio_bench.types import Audio, Item, Prompt, Query, Separation, Status

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def write_model(folder: Path, weights: bytes = b"weights", **config: Any) -> Path:
    """A folder that looks like a model."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "toy", **config}))
    (folder / "model.safetensors").write_bytes(weights)
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, offline."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def in_cache(cache: Path) -> Path:
    """Where the hub's cache keeps owner/toy at its branch main."""
    repository = cache / "models--owner--toy"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    return repository / "snapshots" / COMMIT


TOY = ModelSource(repository="owner/toy", config_entries=(("model_type", "toy"),))


def at(path: Path, **changes: Any) -> ModelSource:
    return ModelSource(
        **{"repository": "owner/toy", "path": str(path), "config_entries": (("model_type", "toy"),), **changes}
    )


def test_own_folder(tmp_path: Path) -> None:
    found = at(write_model(tmp_path / "mine")).find()
    assert found == Checkpoint(folder=tmp_path / "mine", weights=tmp_path / "mine" / "model.safetensors")
    assert (found.model, found.revision) == ("local", None)
    assert found.sha256() == hashlib.sha256(b"weights").hexdigest()


def test_folder_shared_by_several_metrics(tmp_path: Path) -> None:
    write_model(tmp_path / "toy")
    assert at(tmp_path).find().folder == tmp_path / "toy"


def test_cache_of_the_hub_gives_the_commit(cache: Path) -> None:
    folder = write_model(in_cache(cache))
    found = TOY.find()
    assert (found.folder, found.model, found.revision) == (folder, "owner/toy", COMMIT)
    pinned = ModelSource(repository="owner/toy", revision=COMMIT).find()
    assert pinned.revision == COMMIT


def test_nothing_cached_names_the_command(cache: Path) -> None:
    with pytest.raises(Precondition, match=r"found none; run `hf download owner/toy` with HF_HUB_OFFLINE unset, or "):
        TOY.find()
    with pytest.raises(Precondition, match="`hf download owner/toy --revision v2`"):
        ModelSource(repository="owner/toy", revision="v2").find()


def test_online_names_the_same_command_without_network(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("socket.socket.connect", None)
    with pytest.raises(Precondition, match=r"`hf download owner/toy`, or give a copy with --metric-args path=DIR"):
        TOY.find()


def test_incomplete_folders(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(Precondition, match="expected a model with a config"):
        at(tmp_path / "absent").find()
    folder = write_model(in_cache(cache))
    (folder / "model.safetensors").unlink()
    with pytest.raises(Precondition, match=r"expected model\.safetensors in .*, found none; run"):
        TOY.find()
    two = (("a.json", "b.json"),)
    with pytest.raises(Precondition, match=r"expected a\.json or b\.json in .*, found none"):
        at(write_model(tmp_path / "other"), files=two).find()


def test_safetensors_come_first(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "both")
    (folder / "old.bin").write_bytes(b"")
    names = ("model.safetensors", "old.bin")
    assert at(folder, weights=names).find().weights.name == "model.safetensors"
    (folder / "model.safetensors").unlink()
    assert at(folder, weights=names).find().weights.name == "old.bin"


def test_another_kind_of_model(tmp_path: Path) -> None:
    other = write_model(tmp_path / "other", model_type="bert")
    with pytest.raises(Precondition, match=r"expected model_type toy in .*, found bert: another kind"):
        at(other).find()
    with pytest.raises(Precondition, match=r"expected scales in .*, found None"):
        at(other, config_entries=(("scales", None),)).find()
    (other / "config.json").write_text("{")
    with pytest.raises(Precondition, match="expected a JSON file"):
        at(other).find()


class Level(LearnedMetric):
    """A network without weights of its own: the mean square of what it hears, and a constant."""

    columns = ("level", "one")
    rate = 8000
    loads = 0

    def __init__(self, path: str, **options: Any) -> None:
        super().__init__(at(Path(path)), **options)

    def load(self, model: Checkpoint, device: torch.device) -> Any:
        self.loads += 1
        return lambda samples: float(samples.double().square().mean())

    def measure(self, network: Any, clips: Sequence[Audio], items: Sequence[Item]) -> Sequence[Sequence[float]]:
        return [[network(clip.samples), 1.0] for clip in clips]


def ask(metric: LearnedMetric, samples: torch.Tensor) -> Any:
    target = Audio(samples, 8000)
    item = Item(id="a", group="a", query=Query(mixture=target, prompt=Prompt(text="noise")))
    return metric.score([item], [Separation(target=target, residual=target)])[0]


@pytest.fixture
def level(tmp_path: Path) -> Level:
    return Level(str(write_model(tmp_path / "toy")), device="cpu")


def test_statuses(level: Level) -> None:
    assert [score.status for score in ask(level, torch.zeros(2, 80))] == [Status.SILENT_ESTIMATE] * 2
    broken = torch.ones(1, 80)
    broken[0, 3] = torch.nan
    assert [tuple(score) for score in ask(level, broken)] == [(None, Status.NON_FINITE)] * 2
    assert level.loads == 0  # nothing to hear, nothing loaded
    assert [tuple(score) for score in ask(level, torch.ones(1, 80))] == [(1.0, Status.OK)] * 2
    ask(level, torch.ones(1, 80))
    assert level.loads == 1


def test_a_network_that_answers_nan_is_no_number(level: Level, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(level, "measure", lambda *_: [[float("nan"), 1.0]])
    assert [score.status for score in ask(level, torch.ones(1, 80))] == [Status.NON_FINITE, Status.OK]


@pytest.mark.parametrize(
    ("stereo", "same", "opposite"), [("joint", 1.0, None), ("mono", 1.0, None), ("mean", 1.0, 1.0)]
)
def test_stereo(tmp_path: Path, stereo: str, same: float, opposite: float | None) -> None:
    metric = Level(str(write_model(tmp_path / "toy")), device="cpu", stereo=stereo)
    ones = torch.ones(1, 80)
    assert ask(metric, torch.cat([ones, ones]))[0].value == same
    assert ask(metric, torch.cat([ones, -ones]))[0].value == opposite
    expected = 1.0 if stereo == "mean" else 0.25  # a silent channel has no say of its own
    assert ask(metric, torch.cat([ones, 0 * ones]))[0].value == expected
    assert metric.options["stereo"] == stereo


def test_the_digest_of_the_weights_is_a_parameter(tmp_path: Path) -> None:
    first, second = (Level(str(write_model(tmp_path / name, name.encode())), device="cpu") for name in "ab")
    assert first.weights_sha256 == hashlib.sha256(b"a").hexdigest()
    assert first.options["weights_sha256"] == first.weights_sha256 != second.weights_sha256
    assert str(tmp_path) not in json.dumps(first.options)
    absent = Level(str(tmp_path / "absent"))
    assert (absent.weights_sha256, absent.options["model"]) == (None, "owner/toy")
    with pytest.raises(Precondition, match="expected a model"):
        ask(absent, torch.ones(1, 80))


def test_options_that_cannot_be_meant(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected stereo to be one of joint, mean, mono, found 'left'"):
        Level(str(tmp_path), stereo="left")
    with pytest.raises(UsageError, match="expected device to be auto, cpu or cuda, found 'gpu'"):
        Level(str(tmp_path), device="gpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="has CUDA")
def test_a_device_that_is_not_there_is_planned(tmp_path: Path) -> None:
    metric = Level(str(write_model(tmp_path / "toy")), device="cuda")
    assert metric.missing() == "expected a CUDA device for cuda, found none; use --metric-args device=cpu"
