"""`clap` with a tiny random CLAP in transformers' own format; values are compared with transformers' own functions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from misalign import SHIFTS, misaligned_copy
from tiny_networks import write_clap

from sam_audio_bench.cli import group
from sam_audio_bench.errors import Precondition, UsageError
from sam_audio_bench.metrics.clap import Clap, windows
from sam_audio_bench.registry import load_metric
from sam_audio_bench.types import Audio, Item, Prompt, Query, Score, Separation, Status

RATE = 48_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clap(tmp_path_factory.mktemp("models") / "clap")


@pytest.fixture(scope="module")
def clap(folder: Path) -> Clap:
    return Clap(path=str(folder), device="cpu")


def noise(seconds: float, seed: int = 0, rate: int = RATE) -> Audio:
    generator = torch.Generator().manual_seed(seed)
    return Audio(torch.randn(1, round(seconds * rate), generator=generator) * 0.1, rate)


def question(text: str | None, mixture: Audio) -> Item:
    spans = () if text else (("+", 0.0, 1.0),)
    return Item(id="a", group="a", query=Query(mixture=mixture, prompt=Prompt(text=text, spans=spans)))


def ask(metric: Clap, target: Audio, text: str | None = "dog noise") -> Score | None:
    row = metric.score([question(text, target)], [Separation(target=target, residual=target)])[0]
    assert len(row) == 1
    return row[0]


def value(metric: Clap, target: Audio, text: str = "dog noise") -> float:
    score = ask(metric, target, text)
    assert score is not None
    assert score.status is Status.OK
    assert score.value is not None
    return score.value


class Reference:
    """The same through `get_text_features`, `get_audio_features` and the processor."""

    def __init__(self, folder: Path) -> None:
        from transformers import ClapModel, ClapProcessor

        loaded: Any = ClapModel.from_pretrained(folder)
        self.model = loaded.eval()
        processor: Any = ClapProcessor.from_pretrained(folder)
        self.processor = processor

    @torch.no_grad()
    def text(self, text: str) -> torch.Tensor:
        return self.model.get_text_features(**self.processor(text=[text], return_tensors="pt")).pooler_output[0]

    @torch.no_grad()
    def audio(self, samples: torch.Tensor) -> torch.Tensor:
        inputs = self.processor(audio=samples.numpy(), sampling_rate=RATE, return_tensors="pt")
        return self.model.get_audio_features(**inputs).pooler_output[0]


@pytest.fixture(scope="module")
def reference(folder: Path) -> Reference:
    return Reference(folder)


def test_short_clip_is_the_cosine_of_transformers(clap: Clap, reference: Reference) -> None:
    target = noise(2.5)
    expected = reference.audio(target.samples[0]) @ reference.text("dog noise")
    assert value(clap, target) == pytest.approx(float(expected), abs=1e-5)
    assert value(clap, target, "horn") != pytest.approx(float(expected), abs=1e-3)


def test_long_clip_is_the_mean_of_its_windows(clap: Clap, reference: Reference) -> None:
    target = noise(17.5)
    starts = [0, 5, 7.5]  # every 5 s, the last one aligned to the end
    pieces = [target.samples[0, round(start * RATE) : round((start + 10) * RATE)] for start in starts]
    mean = torch.stack([reference.audio(piece) for piece in pieces]).mean(dim=0)
    expected = mean / mean.norm() @ reference.text("dog noise")
    assert value(clap, target) == pytest.approx(float(expected), abs=1e-5)


def test_windows_cover_everything() -> None:
    for total in range(1, 40):
        pieces = windows(torch.arange(total), 10, 5)
        assert {len(piece) for piece in pieces} == {min(total, 10)}
        assert sorted({int(entry) for piece in pieces for entry in piece}) == list(range(total))
        assert len(pieces) == max(1, -(-(total - 10) // 5) + 1)
        assert int(pieces[-1][-1]) == total - 1


def test_nothing_is_random(clap: Clap, folder: Path) -> None:
    target = noise(12)
    first = value(clap, target)
    assert value(clap, target) == first
    assert value(Clap(path=str(folder), device="cpu"), target) == first


def test_batch_and_order_change_nothing(clap: Clap) -> None:
    targets = [noise(seconds, seed) for seed, seconds in enumerate((0.5, 11, 3))]
    items = [question(text, target) for text, target in zip(("dog", "rain horn noise", "horn"), targets, strict=True)]
    answers = [Separation(target=target, residual=target) for target in targets]
    together = clap.score(items, answers)
    alone = [clap.score([item], [answer])[0] for item, answer in zip(items, answers, strict=True)]
    assert together == alone == clap.score(items[::-1], answers[::-1])[::-1]


def test_gain_matters_and_polarity_does_not(clap: Clap) -> None:
    """The log-mel spectrogram is absolute: documented, not corrected."""
    target = noise(1)
    assert value(clap, Audio(-target.samples, RATE)) == value(clap, target)
    assert abs(value(clap, Audio(target.samples * 0.01, RATE)) - value(clap, target)) > 1e-4


def test_other_rates_are_resampled_and_inputs_kept(clap: Clap) -> None:
    target = noise(1, rate=16_000)
    before = target.samples.clone()
    assert -1 <= value(clap, target) <= 1
    assert torch.equal(target.samples, before)


def test_prompts_that_cannot_be_read_whole_are_cut(clap: Clap) -> None:
    longest = 8  # 10 positions, two of which are reserved
    target = noise(0.5)
    assert value(clap, target, "dog " * 50) == value(clap, target, "dog " * longest)


def test_statuses(clap: Clap) -> None:
    assert ask(clap, Audio(torch.zeros(2, 100), RATE)) == Score(None, Status.SILENT_ESTIMATE)
    assert ask(clap, Audio(torch.full((1, 100), torch.inf), RATE)) == Score(None, Status.NON_FINITE)
    assert ask(clap, noise(0.5), None) is None  # a prompt without a text is not asked


def test_other_weights_are_another_metric(clap: Clap, tmp_path: Path) -> None:
    other = Clap(path=str(write_clap(tmp_path / "other", seed=1)), device="cpu")
    assert other.weights_sha256 != clap.weights_sha256
    assert other.options != clap.options
    assert value(other, noise(1)) != value(clap, noise(1))
    same = Clap(path=str(write_clap(tmp_path / "same")), device="cpu")
    assert same.options == clap.options


@pytest.mark.bits
def test_a_model_with_fusion(tmp_path: Path) -> None:
    """Its extractor calls one clip of a batch long, at random; a window never is."""
    fused = Clap(path=str(write_clap(tmp_path, fusion=True)), device="cpu")
    assert value(fused, noise(1)) == value(fused, noise(1))


@pytest.mark.bits
def test_pickled_weights_are_read_as_weights_only(clap: Clap, folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    for name in ("config.json", "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    torch.save(load_file(folder / "model.safetensors"), tmp_path / "pytorch_model.bin")
    found = value(Clap(path=str(tmp_path), device="cpu"), noise(1))
    assert found == value(clap, noise(1))
    torch.save({"anything": Path("x")}, tmp_path / "pytorch_model.bin")
    with pytest.raises(Precondition, match=r"expected a model that can be loaded in .*[Ww]eights.only"):
        ask(Clap(path=str(tmp_path), device="cpu"), noise(1))


@pytest.mark.bits
@pytest.mark.parametrize("shift", SHIFTS)
def test_values_do_not_depend_on_where_a_file_puts_a_tensor(clap: Clap, folder: Path, tmp_path: Path, shift) -> None:
    moved = Clap(path=str(misaligned_copy(folder, tmp_path / "moved", shift)), device="cpu")
    assert [value(moved, noise(1, seed)) for seed in range(3)] == [value(clap, noise(1, seed)) for seed in range(3)]


def test_a_torn_download_is_one_sentence(folder: Path, tmp_path: Path) -> None:
    for entry in folder.iterdir():
        (tmp_path / entry.name).write_bytes(entry.read_bytes())
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:2000])
    with pytest.raises(Precondition, match=r"expected a model that can be loaded in .*; get it again"):
        ask(Clap(path=str(tmp_path), device="cpu"), noise(1))


def test_weights_that_lack_tensors_are_refused(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    for name in ("config.json", "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    tensors = load_file(folder / "model.safetensors")
    del tensors["text_projection.linear1.weight"]
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(Precondition, match=r"found none for 1 tensors, text_projection\.linear1\.weight"):
        ask(Clap(path=str(tmp_path), device="cpu"), noise(1))


def test_a_model_for_other_windows_is_refused(folder: Path, tmp_path: Path) -> None:
    for entry in folder.iterdir():
        (tmp_path / entry.name).write_bytes(entry.read_bytes())
    config = json.loads((folder / "preprocessor_config.json").read_text())
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**config, "max_length_s": 5}))
    with pytest.raises(Precondition, match="expected a CLAP for 10 s at 48000 Hz, found 5 s, 48000"):
        ask(Clap(path=str(tmp_path), device="cpu"), noise(1))


@pytest.mark.parametrize("hop", [0, -1, 10.5])
def test_hop_is_checked(hop: float) -> None:
    with pytest.raises(UsageError, match="expected clap_hop above 0 and at most 10 s, found"):
        Clap(clap_hop=hop)


def test_registry_passes_the_options(folder: Path) -> None:
    metric = load_metric("clap", path=str(folder), clap_hop=10, device="cpu")
    assert metric.options["hop_seconds"] == 10.0
    with pytest.raises(UsageError, match="expected arguments of one of the metrics, found"):
        load_metric("clap", pth="x")


def sabench(*words: str) -> Any:
    """The object that ``sabench eval --json`` prints."""
    result = CliRunner().invoke(group, ["eval", "--model", "silence", *words, "--json"])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_eval_with_a_folder(folder: Path, small_task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("--task", str(small_task), "--metrics", "clap", "--metric-args", f"path={folder},device=cpu")
    rows = {row["separator"]: row for row in sabench(*words, "--limit", "2")["rows"]}
    assert (rows["mixture"]["n_ok"], rows["mixture"]["n"]) == (2, 2)
    assert -1 <= rows["mixture"]["value"] <= 1
    assert (rows["silence"]["n_ok"], rows["silence"]["n"]) == (0, 2)
    header = json.loads(next((tmp_path / "runs" / "mixture").glob("*/run.json")).read_text())
    (record,) = header["metrics"]
    assert record["weights_sha256"] == Clap(path=str(folder)).weights_sha256
    assert record["parameters"]["weights_sha256"] == record["weights_sha256"]


def test_its_improvement_is_over_the_mixture(clap: Clap, folder: Path) -> None:
    metric = load_metric("clap_i", path=str(folder), device="cpu")
    mixture, target = noise(1, 1), noise(1, 2)
    mono = Separation(target=target, residual=target)
    ((score,),) = metric.score([question("dog noise", mixture)], [mono])
    assert score is not None
    assert score.value == value(clap, target) - value(clap, mixture)
    silence = Audio(torch.zeros_like(target.samples), RATE)
    same, silent, unasked = metric.score(
        [question("dog noise", mixture), question("dog noise", mixture), question(None, mixture)],
        [Separation(target=one, residual=one) for one in (mixture, silence, target)],
    )
    assert same == (Score(0.0, Status.OK),)
    assert silent == (Score(None, Status.SILENT_ESTIMATE),)
    assert unasked == (None,)


def test_eval_of_its_improvement(
    clap: Clap, folder: Path, small_task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("--task", str(small_task), "--metrics", "clap,clap_i", "--metric-args", f"path={folder},device=cpu")
    rows = {(row["separator"], row["metric"]): row for row in sabench(*words, "--limit", "2")["rows"]}
    assert rows["mixture", "clap_i"]["value"] == 0
    assert rows["silence", "clap_i"]["n_ok"] == 0
    header = json.loads(next((tmp_path / "runs" / "mixture").glob("*/run.json")).read_text())
    assert {record["id"]: record["weights_sha256"] for record in header["metrics"]} == dict.fromkeys(
        ("clap", "clap_i"), clap.weights_sha256
    )


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


def test_missing_weights_do_not_stop_the_others(
    empty_cache: None, small_task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = sabench("--task", str(small_task), "--metrics", "snr,clap", "--limit", "1")["rows"]
    assert {row["metric"] for row in rows} == {"snr"}


def test_missing_loads_nothing(empty_cache: None, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Clap, "load", None)
    assert Clap(path=str(folder)).missing() is None
    reason = Clap().missing()
    assert reason is not None
    assert (
        "expected laion/clap-htsat-unfused at revision main in the cache of the Hugging Face hub, found none" in reason
    )
    assert "`hf download laion/clap-htsat-unfused`" in reason


def test_offline_and_nothing_else_asked(small_task: Path, tmp_path: Path) -> None:
    """In a fresh process, since the hub's library reads the environment once."""
    code = "import sys; from sam_audio_bench.cli import main; main(sys.argv[1:])"
    words = ["eval", "--model", "silence", "--task", str(small_task), "--metrics", "clap"]
    environment = {
        name: text for name, text in os.environ.items() if name not in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE")
    }
    environment |= {"HF_HOME": str(tmp_path / "empty"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert "run `hf download laion/clap-htsat-unfused` with HF_HUB_OFFLINE unset" in done.stderr
    assert "--metric-args path=DIR" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_the_residual_is_heard_by_the_same_network(folder: Path, clap: Clap) -> None:
    metric = load_metric("clap_residual", path=str(folder), device="cpu")
    sounds = noise(1, seed=1), noise(1, seed=2)
    item = question("dog noise", sounds[0])
    (row,) = metric.score([item], [Separation(target=sounds[0], residual=sounds[1])])
    assert row == clap.score([item], [Separation(target=sounds[1], residual=sounds[0])])[0]
    assert metric._network is clap._network
