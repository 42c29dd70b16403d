"""`sabench distance`: runs against reference sets, in the space of the shipped encoder and of tiny random models."""

from __future__ import annotations

import csv
import io
import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from click.testing import CliRunner
from tiny_networks import write_clap, write_wavlm

import sam_audio_bench as sab
from sam_audio_bench.cli import group
from sam_audio_bench.errors import BenchError, Precondition, StoreError, UsageError
from sam_audio_bench.judge.embedding import JudgeEmbedder
from sam_audio_bench.metrics.distance_catalogue import DISTANCES
from sam_audio_bench.metrics.embedding import Embedder, TransformersEmbedder, split_evenly
from sam_audio_bench.metrics.functional.distributions import frechet_distance, kernel_distance
from sam_audio_bench.run.distance import load_embedder, measure_distances
from sam_audio_bench.run.embedding_cache import EmbeddingCache
from sam_audio_bench.types import Audio, Status

RATE = 8000


def quieter(mixture: torch.Tensor, rate: int, prompt: sab.Prompt) -> torch.Tensor:
    """Noise of a quarter of the mixture's length, and silence where the prompt says 3."""
    changed = mixture * torch.linspace(1, 0, mixture.shape[1])
    return changed * (prompt.text != "noise 3")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The mixture and a function on eight recordings of two items; of one the target is absent."""
    here = tmp_path_factory.mktemp("runs")
    generator = np.random.default_rng(0)
    lines = ["mixture,text,target,group,id"]
    for index in range(16):
        target, rest = generator.normal(size=(2, RATE)) * 0.1
        target *= (index < 15) * np.sin(np.arange(RATE) * 0.02 * (1 + index))
        for name, samples in (("mix", target + rest), ("target", target)):
            soundfile.write(here / f"{name}{index:02d}.wav", samples, RATE, subtype="FLOAT")
        lines.append(f"mix{index:02d}.wav,noise {index},target{index:02d}.wav,song{index // 2},item-{index:02d}")
    (here / "mine.csv").write_text("\n".join(lines) + "\n")
    for model in ("mixture", quieter):
        sab.evaluate(model, str(here / "mine.csv"), metrics=["si_sdr"], output=here / "runs", progress=False)
    return here / "runs"


def rows(report: Any, metric: str) -> dict[str, Any]:
    return {row.separator: row for row in report.rows if row.metric == metric}


def test_numbers_are_those_of_the_embeddings(runs: Path) -> None:
    """Of files that are read, embedded and compared here, one by one, without the run's code."""
    report = measure_distances([runs], draws=10)
    embedder, vectors, groups = JudgeEmbedder(), {"x": [], "y": []}, {"x": [], "y": []}
    (folder,) = (runs / "mixture").iterdir()
    journal = map(json.loads, (folder / "items.jsonl").read_text().splitlines())
    for record in {record["item"]: record for record in journal}.values():  # the last line of an item counts
        number = int(record["item"].removeprefix("item-"))
        sides = {"x": folder / "audio" / record["target"], "y": runs.parent / f"target{number:02d}.wav"}
        for side, path in sides.items() if number < 15 else ():
            samples, rate = soundfile.read(path, dtype="float32")
            found = embedder.embed(Audio(torch.from_numpy(samples)[None], rate)).vectors
            assert found is not None
            vectors[side] += list(found)
            groups[side] += [record["group"]] * len(found)
    x, y = (np.stack(vectors[side]) for side in "xy")
    mine = rows(report, "fad")["mixture"]
    assert mine.plain == pytest.approx(frechet_distance(x, y), rel=1e-3)
    assert rows(report, "kad")["mixture"].plain == pytest.approx(kernel_distance(x, y), rel=1e-3)
    both = kernel_distance(x, y, groups=(groups["x"], groups["y"]))
    assert rows(report, "kad")["mixture"].value == pytest.approx(both, rel=1e-3)
    assert (mine.windows, mine.recordings, mine.sounds, mine.asked, mine.width) == (len(x), 8, 15, 15, 256)
    assert report.notes == ("mine: 1 item left out, whose target is silent; see leak_db",)


def test_sounds_of_one_recording_are_one_recording(tmp_path: Path) -> None:
    table = tmp_path / "cuts.csv"
    lines = ["mixture,text,target,group"]
    for number in range(3):
        sound = np.random.default_rng(number).normal(0, 0.1, 8000)
        soundfile.write(tmp_path / f"{number}.wav", sound, 16_000)
        lines.append(f"{number}.wav,noise,{number}.wav,one")
    table.write_text("\n".join(lines))
    sab.evaluate("mixture", [str(table)], metrics=["reconstruction_db"], output=tmp_path / "runs", progress=False)
    (row,) = measure_distances([tmp_path / "runs"], metrics=["fad"], draws=2).rows
    assert (row.sounds, row.recordings) == (3, 1)
    assert row.not_ranked == "estimates of 1 recording have embeddings, of at least 2"


def test_silent_answers_are_left_out_and_counted(runs: Path) -> None:
    found = rows(measure_distances([runs], metrics=["kad"], draws=4), "kad")["quieter"]
    assert (found.sounds, found.asked, found.without) == (14, 15, "1 silent_estimate")
    assert found.not_ranked == "8 recordings, of at least 30"
    assert found.rank is None


def test_a_run_is_at_no_distance_from_itself(runs: Path) -> None:
    for reference in ("mixtures", str(runs / "mixture")):
        report = measure_distances([runs], reference=reference, draws=4)
        for metric in DISTANCES:
            assert rows(report, metric)["mixture"].value == pytest.approx(0, abs=1e-4)
            assert rows(report, metric)["mixture"].shared
        assert rows(report, "kad")["quieter"].value > 0.1


def test_a_folder_is_a_reference_set(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs.parent, tmp_path / "sounds", ignore=shutil.ignore_patterns("runs", "mix*", "*.csv"))
    folder = str(tmp_path / "sounds")
    report = measure_distances([runs], metrics=["kad"], reference=folder, draws=4)
    found = rows(report, "kad")["mixture"]
    assert not found.shared
    assert (found.reference_recordings, report.references["mine"].sounds) == (15, 15)  # one is silent
    assert f"; {folder} {report.references['mine'].sha256[:8]})" in found.id
    shutil.copy(tmp_path / "sounds" / "target00.wav", tmp_path / "sounds" / "again.wav")
    changed = measure_distances([runs], metrics=["kad"], reference=folder, draws=4)
    assert changed.references["mine"].sha256 != report.references["mine"].sha256
    assert rows(changed, "kad")["mixture"].id != found.id


def test_what_is_ranked(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sam_audio_bench.metrics.distributions.MIN_RECORDINGS", 8)
    report = measure_distances([runs], draws=4)
    assert [(row.separator, row.rank) for row in report.rows if row.metric == "kad"] == sorted(
        ((row.separator, row.rank) for row in report.rows if row.metric == "kad"), key=lambda pair: pair[1]
    )
    assert {row.rank for row in report.rows if row.metric == "kad"} == {1, 2}
    assert {row.rank for row in report.rows if row.metric == "fad"} == {None}  # of too few windows
    order = [row.value for row in report.rows if row.metric == "kad"]
    assert order == sorted(order)


def test_nothing_is_embedded_twice(runs: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """And what was interrupted goes on: every sound is kept when it is done."""
    monkeypatch.setenv("SABENCH_CACHE", str(tmp_path))
    embed, done = Embedder.embed, []

    def stopped(self: Embedder, sound: Audio) -> Any:
        if len(done) == 7:
            raise KeyboardInterrupt
        done.append(sound)
        return embed(self, sound)

    monkeypatch.setattr(Embedder, "embed", stopped)
    with pytest.raises(KeyboardInterrupt):
        measure_distances([runs], draws=4)
    monkeypatch.setattr(Embedder, "embed", lambda self, sound: done.append(sound) or embed(self, sound))
    first = measure_distances([runs], draws=4)
    assert len(done) == 15 * 3
    monkeypatch.setattr(Embedder, "embed", None)
    assert measure_distances([runs], draws=4).to_json() == first.to_json()


def test_a_cache_that_cannot_be_used_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SABENCH_CACHE", str(tmp_path / "file"))
    said: list[str] = []
    cache = EmbeddingCache({"model": "a"}, said.append)
    found = JudgeEmbedder().embed(Audio(torch.zeros(1, RATE), RATE))
    cache.put("x", found)
    assert cache.get("x") is found
    assert len(said) == 1
    assert "embeddings are not kept" in said[0]


def test_a_cache_of_another_model_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SABENCH_CACHE", str(tmp_path))
    EmbeddingCache({"model": "a"}, print)
    (path,) = (tmp_path / "embeddings").iterdir()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE model SET identity = 'another'")
    connection.close()
    with pytest.raises(StoreError, match=r"expected embeddings of \{.*found those of another"):
        EmbeddingCache({"model": "a"}, print)


def test_separators_are_compared_on_common_items(runs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    shutil.copytree(runs, folder)
    (journal,) = (folder / "quieter").rglob("items.jsonl")
    lines = journal.read_text().splitlines()
    lacking = json.loads(lines[0])
    journal.write_text("\n".join([*lines[1:], json.dumps({**lacking, "status": "error", "message": "x"})]) + "\n")
    report = measure_distances([folder], metrics=["kad"], draws=4)
    assert report.notes[1] == "mine: 1 of 15 items left out, as quieter did not separate all"
    assert {row.asked for row in report.rows} == {14}
    assert report.references["mine"].sounds == 14


def test_one_item_is_no_set(runs: Path, tmp_path: Path) -> None:
    sab.evaluate("mixture", str(runs.parent / "mine.csv"), metrics=["snr"], output=tmp_path, limit=1, progress=False)
    with pytest.raises(
        UsageError, match="at least two items of mine that mixture separated, found 1; evaluate more, or"
    ):
        measure_distances([tmp_path])


def test_an_item_in_two_runs_of_a_separator(runs: Path, tmp_path: Path) -> None:
    for name in "ab":
        shutil.copytree(runs / "mixture", tmp_path / name)
    with pytest.raises(UsageError, match=r"in one run folder, found item-00 in two"):
        measure_distances([tmp_path])


def test_answers_that_are_gone(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "mixture", tmp_path / "mixture")
    next((tmp_path / "mixture").rglob("item-03.target.*")).unlink()
    with pytest.raises(Precondition, match=r"expected the audio of item-03 in .*run the evaluation again"):
        measure_distances([tmp_path])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"reference": "refrences"}, "expected --reference references or mixtures, a folder of sounds, or a run"),
        ({"metrics": ["fd"]}, "unknown metric 'fd': did you mean 'fad'"),
        ({"metrics": ["si_sdr"]}, "found si_sdr, which is scored item by item; write `sabench score RUNS --metrics si"),
        ({"embedding": "saj"}, "expected --embedding saj-mini, the folder of a model, or its id on the hub"),
        ({"embedding": "nobody/nothing"}, "run `hf download nobody/nothing`.*give a copy with --embedding DIR"),
        ({"window": 0.1}, r"expected windows of 0.3 to 300 s, found 0.1"),
        ({"draws": 1}, "at least 2 draws"),
    ],
)
def test_what_cannot_be_meant(runs: Path, options: dict[str, Any], told: str) -> None:
    with pytest.raises(BenchError, match=told):
        measure_distances([runs], **options)


def test_reference_sets_that_cannot_be_used(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(Precondition, match=r"at least two sound files, in .*, found 0 files"):
        measure_distances([runs], reference=str(tmp_path))
    for name in "ab":
        soundfile.write(tmp_path / f"{name}.wav", np.zeros(RATE), RATE)
    with pytest.raises(UsageError, match=r"found 0 of 2: 2 silent_estimate"):
        measure_distances([runs], reference=str(tmp_path))
    with pytest.raises(UsageError, match=r"expected the runs of one separator on mine in .*, found mixture, quieter"):
        measure_distances([runs], reference=str(runs))
    (tmp_path / "text.csv").write_text("mixture,text\n" + "".join(f"{name}.wav,x\n" for name in "ab"))
    sab.evaluate(
        "mixture", str(tmp_path / "text.csv"), metrics=["reconstruction_db"], output=tmp_path / "r", progress=False
    )
    with pytest.raises(
        Precondition, match="expected clean references in text@1-file, found none; write --reference mix"
    ):
        measure_distances([tmp_path / "r"])


# --- embeddings


def noise(seconds: float, seed: int = 0, rate: int = RATE, channels: int = 1) -> Audio:
    return Audio(
        0.1 * torch.randn(channels, round(seconds * rate), generator=torch.Generator().manual_seed(seed)), rate
    )


MODELS: dict[str, Callable[[Path], Path]] = {"clap": write_clap, "wavlm": write_wavlm}


@pytest.fixture(scope="module")
def embedders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Embedder]:
    made = {name: write(tmp_path_factory.mktemp("models") / name) for name, write in MODELS.items()}
    return {"saj-mini": JudgeEmbedder()} | {name: load_embedder(str(made[name]), device="cpu") for name in made}


@pytest.mark.parametrize("name", ["saj-mini", *MODELS])
def test_statuses_and_windows(name: str, embedders: dict[str, Embedder]) -> None:
    embedder = embedders[name]
    assert embedder.embed(Audio(torch.zeros(2, RATE), RATE)).status is Status.SILENT_ESTIMATE
    assert (
        embedder.embed(Audio(torch.cat([noise(1).samples, -noise(1).samples]), RATE)).status is Status.SILENT_ESTIMATE
    )
    assert embedder.embed(noise(0.29)).status is Status.TOO_SHORT
    assert embedder.embed(Audio(torch.full((1, RATE), torch.nan), RATE)).status is Status.NON_FINITE
    vectors = embedder.embed(noise(0.3)).vectors
    assert vectors is not None
    assert vectors.dtype == np.float32
    assert len(vectors) == 1
    longer = embedder.embed(noise(2.5 * embedder.window, channels=2)).vectors
    assert longer is not None
    assert longer.shape == (3, vectors.shape[1])
    again = embedder.embed(noise(2.5 * embedder.window, channels=2)).vectors
    assert np.array_equal(longer, again)


def test_every_window_is_embedded_by_itself(embedders: dict[str, Embedder]) -> None:
    for name in MODELS:
        embedder = embedders[name]
        rate = 48_000 if name == "clap" else 16_000
        sound = noise(20, rate=rate)
        together = embedder.embed(sound).vectors
        alone = [
            embedder.embed(Audio(sound.samples[:, part], rate)).vectors for part in split_evenly(20 * rate, 10 * rate)
        ]
        assert np.array_equal(together, np.concatenate(alone))


def test_clap_and_mean_of_hidden_states_are_those_of_transformers(embedders: dict[str, Embedder]) -> None:
    import transformers

    folder = embedders["clap"].checkpoint.folder
    sound = noise(3, rate=48_000)
    clap: Any = transformers.ClapModel.from_pretrained(folder)
    inputs = transformers.ClapFeatureExtractor.from_pretrained(folder)(
        sound.samples[0].numpy(), sampling_rate=48_000, return_tensors="pt"
    )
    with torch.no_grad():
        expected = clap.eval().get_audio_features(**inputs).pooler_output
    raw = embedders["clap"].embed(sound).vectors
    assert np.allclose(raw / np.linalg.norm(raw), expected / expected.norm(), atol=1e-5)
    folder, sound = embedders["wavlm"].checkpoint.folder, noise(1, rate=16_000)
    model: Any = transformers.AutoModel.from_pretrained(folder)
    samples = transformers.AutoFeatureExtractor.from_pretrained(folder)(
        sound.samples[0].numpy(), sampling_rate=16_000, return_tensors="pt"
    )
    with torch.no_grad():
        expected = model.eval()(**samples).last_hidden_state.mean(dim=1)
    assert np.allclose(embedders["wavlm"].embed(sound).vectors, expected, atol=1e-5)


def test_the_shipped_embedding_is_blind_to_level_and_offset(embedders: dict[str, Embedder]) -> None:
    sound, embedder = noise(2), embedders["saj-mini"]
    vectors = embedder.embed(sound).vectors
    for changed in (0.01 * sound.samples, sound.samples + 0.02):
        assert np.abs(embedder.embed(Audio(changed, RATE)).vectors - vectors).max() < 1e-2 * np.abs(vectors).max()


def test_long_sound_is_embedded_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those above five minutes; here above four seconds."""
    monkeypatch.setattr("sam_audio_bench.metrics.embedding.MAX_SECONDS", 4.0)
    embedder, sound = JudgeEmbedder(window=2), noise(10, rate=16_000)
    parts = [embedder.embed(Audio(sound.samples[:, part], 16_000)).vectors for part in split_evenly(160_000, 64_000)]
    assert [len(part) for part in parts] == [2, 2, 2]
    assert np.array_equal(embedder.embed(sound).vectors, np.concatenate(parts))


def test_other_weights_layers_and_windows_are_another_embedding(embedders: dict[str, Embedder], tmp_path: Path) -> None:
    folder = str(embedders["wavlm"].checkpoint.folder)
    other = load_embedder(str(write_wavlm(tmp_path / "other", seed=1)))
    identities = [one.identity for one in (*embedders.values(), other, load_embedder(folder, 5.0))]
    assert len({json.dumps(one) for one in identities}) == 5
    assert load_embedder(folder).identity == embedders["wavlm"].identity
    assert all(len(one["weights_sha256"]) == 64 for one in identities)
    with pytest.raises(UsageError, match="at most 10 s for a CLAP, found 20"):
        load_embedder(str(embedders["clap"].checkpoint.folder), 20.0)


def test_models_that_hear_nothing_are_refused(tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel

    BertModel(BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1,
                         intermediate_size=8)).save_pretrained(tmp_path)  # fmt: skip
    with pytest.raises(Precondition, match=r"expected preprocessor_config\.json"):
        load_embedder(str(tmp_path))
    (tmp_path / "preprocessor_config.json").write_text("{}")
    with pytest.raises(Precondition, match="expected a model that can be loaded in"):
        load_embedder(str(tmp_path)).embed(noise(1))


def test_windows_that_a_model_would_cut_off_are_refused(tmp_path: Path) -> None:
    from transformers import ASTConfig, ASTFeatureExtractor, ASTModel

    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    ASTModel(ASTConfig(**small, max_length=64, num_mel_bins=32)).save_pretrained(tmp_path)
    ASTFeatureExtractor(max_length=64, num_mel_bins=32).save_pretrained(tmp_path)
    assert load_embedder(str(tmp_path), 0.5).embed(noise(1)).vectors.shape == (2, 8)
    with pytest.raises(UsageError, match=r"at most 0\.64 s, which ASTFeatureExtractor hears, found 0\.7"):
        load_embedder(str(tmp_path), 0.7).embed(noise(1))


def test_the_encoder_of_a_model_that_also_speaks(tmp_path: Path) -> None:
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel

    layers = {"encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 1, "decoder_attention_heads": 1}
    tokens = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
    config = WhisperConfig(vocab_size=9, d_model=8, encoder_ffn_dim=8, decoder_ffn_dim=8, max_source_positions=50,
                           **tokens, **layers)  # fmt: skip
    WhisperModel(config).save_pretrained(tmp_path)
    WhisperFeatureExtractor(chunk_length=1).save_pretrained(tmp_path)
    assert load_embedder(str(tmp_path), 1.0).embed(noise(1.5)).vectors.shape == (2, 8)
    with pytest.raises(UsageError, match="at most 1 s, which WhisperFeatureExtractor hears"):
        load_embedder(str(tmp_path)).embed(noise(1))


def test_a_model_in_the_cache_of_the_hub(
    embedders: dict[str, Embedder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit, place = "0123456789abcdef0123456789abcdef01234567", tmp_path / "models--someone--tiny"
    shutil.copytree(embedders["wavlm"].checkpoint.folder, place / "snapshots" / commit)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_CACHE", str(tmp_path), raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    for spelling in ("someone/tiny", f"someone/tiny@{commit}"):
        found = load_embedder(spelling, device="cpu")
        assert (found.identity["model"], found.identity["revision"]) == ("someone/tiny", commit)
        assert found.identity["weights_sha256"] == embedders["wavlm"].identity["weights_sha256"]
    with pytest.raises(Precondition, match=r"run `hf download someone/tiny --revision other`"):
        load_embedder("someone/tiny@other")


def test_runs_in_the_space_of_any_model(runs: Path, embedders: dict[str, Embedder]) -> None:
    folder = embedders["wavlm"].checkpoint.folder
    report = measure_distances([runs], metrics=["kad"], embedding=str(folder), window=0.5, draws=4)
    found = rows(report, "kad")["mixture"]
    assert (found.width, found.windows) == (16, 30)
    assert report.model["layer"] == "last_hidden_state"
    assert isinstance(embedders["wavlm"], TransformersEmbedder)


# --- the command


def invoke(*words: str) -> Any:
    result = CliRunner().invoke(group, ["distance", *words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


def test_forms(runs: Path) -> None:
    shown = invoke(str(runs), "--draws", "4")
    assert "mine@1-file: distance from references " in shown.stdout
    digest = JudgeEmbedder().identity["weights_sha256"][:8]
    assert f"in the space of saj-mini {digest}, audio encoder, windows of 0.96 s" in shown.stdout
    assert "Not ranked by kad: mixture, quieter (8 recordings, of at least 30)." in shown.stdout
    assert "14/15 (1 silent_estimate)" in shown.stdout
    assert "note: mine: 1 item left out" in shown.stderr
    found = json.loads(invoke(str(runs), "--draws", "4", "--json").stdout)
    assert set(found) == {"model", "references", "rows", "notes"}
    table = list(csv.DictReader(io.StringIO(invoke(str(runs), "--draws", "4", "--format", "csv").stdout)))
    assert [float(row["plain"]) for row in table] == [row["plain"] for row in found["rows"]]
    assert {row["id"] for row in table} == {row["id"] for row in found["rows"]}
    markdown = invoke(str(runs), "--metric", "kad", "--draws", "4", "--format", "md").stdout
    assert "| metric | rank | separator |" in markdown
    assert markdown.count("| kad |") == 2
    one, other = (invoke(str(runs), "--draws", "4", "--seed", seed, "--json").stdout for seed in "12")
    assert one != other


def test_where_a_metric_of_items_is_meant(tmp_path: Path) -> None:
    """It is told what to write, before anything is imported."""
    code = (
        "import sys\nfrom sam_audio_bench.cli import main\n"
        "for words in (['eval', '--model', 'hpss', '--task', 'sfx', '--split', 'mini', '--metrics', 'si_sdr,fad'],\n"
        "              ['distance', 'none', '--metric', 'fd'], ['distance', 'none', '--reference', 'x'],\n"
        "              ['distance', 'none', '--embedding', 'x'], ['distance', 'none']):\n"
        "    try:\n        main(words)\n"
        "    except SystemExit as end:\n        print(end.code, 'torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == "2 False\n" * 5, done.stderr
    assert (
        "found fad: fad is one number of a whole run; evaluate without it, and then write `sabench distance"
        in done.stderr
    )
    with pytest.raises(UsageError, match="found kad_i: kad is one number of a whole run"):
        sab.evaluate("mixture", "sfx", split="mini", metrics=["kad_i"], output=tmp_path)
    assert "by `sabench distance`: fad, " in CliRunner().invoke(group, ["list", "metrics"]).stdout
