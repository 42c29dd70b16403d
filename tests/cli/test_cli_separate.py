"""``sabench separate`` and ``sabench models``: files in, files out, and every refusal in one sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from sam_audio_bench import audio
from sam_audio_bench.cli import group
from sam_audio_bench.errors import BenchError
from sam_audio_bench.run.progress import Progress

QUICK = "solver=euler,step=0.5"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    done = CliRunner().invoke(group, ["models", "make-tiny", str(folder), "--seed", "3"])
    assert done.exit_code == 0, done.output
    assert "separate nothing" in done.output
    return folder


@pytest.fixture(scope="module")
def mix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("audio") / "mix.wav"
    soundfile.write(path, 0.1 * np.random.default_rng(0).normal(size=(12_000, 2)), 16_000)
    return path


def separate(mix: Path, out: Path, *words: str):
    return CliRunner().invoke(group, ["separate", str(mix), "--out", str(out), *words])


def test_target_and_residual_are_written(tiny, mix, tmp_path) -> None:
    done = separate(
        mix, tmp_path / "out", "--model", f"sam-audio:{tiny}", "--model-args", QUICK, "--text", "drums",
        "--span", "+0.1:0.3", "--span", "-0.5:0.6",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    paths = [Path(line) for line in done.stdout.splitlines()]
    assert [path.stem for path in paths] == ["target", "residual"]
    for path in paths:
        found = audio.read(path)
        assert (found.channels, found.length, found.rate) == (2, 12_000, 16_000)


def test_candidates_are_picked_and_kept(tiny, mix, tmp_path) -> None:
    done = separate(
        mix, tmp_path, "--model", f"sam-audio:{tiny}", "--model-args", QUICK, "--span", "+0.1:0.3",
        "--candidates", "3", "--keep-candidates", "--json",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["picker"] == "activity"
    assert len(found["scores"]) == 3
    assert found["picked"] == found["scores"].index(max(found["scores"]))
    kept = audio.read(next(tmp_path.glob(f"target.{found['picked']}.*"))).samples
    assert bool((audio.read(Path(found["target"])).samples == kept).all())
    assert len(list(tmp_path.glob("*.*.*"))) == 6


def test_progress_follows_every_evaluation(tiny, mix, tmp_path, monkeypatch) -> None:
    told = []
    monkeypatch.setattr(Progress, "step_callback", lambda bar, label: lambda done, total: told.append((done, total)))
    done = separate(mix, tmp_path, "--model", f"sam-audio:{tiny}", "--model-args", QUICK, "--text", "drums")
    assert done.exit_code == 0, done.output
    assert told == [(1, 2), (2, 2)]


def test_any_separator_will_do(mix, tmp_path) -> None:
    assert separate(mix, tmp_path, "--model", "hpss", "--text", "drums").exit_code == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--model", "hpss"), "a text, a span or a video"),
        (("--model", "hpss", "--text", " "), "a text prompt that is not empty"),
        (("--model", "hpss", "--span", "2:1"), "expected a span such as"),
        (("--model", "hpss", "--text", "a", "--mask", "m.npz"), "expected the video that the mask m.npz belongs to"),
        (("--model", "hpss,mixture", "--text", "a"), "expected one --model"),
        (("--model", "oracle-irm", "--text", "a"), "the mixture alone"),
        (("--model", "hpss", "--text", "a", "--candidates", "0"), "at least 1"),
        (
            ("--model", "hpss", "--text", "a", "--candidates", "2", "--picker", "activity"),
            "picker activity can compare",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(mix, tmp_path, words, message) -> None:
    done = separate(mix, tmp_path / "out", *words)
    assert isinstance(done.exception, BenchError)
    assert message in str(done.exception)
    assert not (tmp_path / "out").exists()


def test_a_missing_file_is_told(tmp_path) -> None:
    done = separate(tmp_path / "no.wav", tmp_path / "out", "--model", "hpss", "--text", "a")
    assert "no.wav, found none" in str(done.exception)


def test_a_gated_model_offline_is_told_before_torch_is_loaded(tmp_path) -> None:
    program = (
        "import sys\nfrom sam_audio_bench.cli import main\n"
        "try: main(['eval', '--model', 'sam-audio-large', '--task', 'instrument', '--split', 'mini', '--offline'])\n"
        "except SystemExit as error: print(error.code, 'torch' in sys.modules)\n"
    )
    environment = {"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1", "HF_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2", "False"]
    assert "facebook/sam-audio-large" in done.stderr
