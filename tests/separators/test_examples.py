"""The examples of programs that stay do what their README says."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from separator_signals import answer, noise

from sam_audio_bench import Adapted, audio
from sam_audio_bench.cli import group
from sam_audio_bench.errors import BadSeparation
from sam_audio_bench.registry import build
from sam_audio_bench.separators.serving import ServedSeparator
from sam_audio_bench.types import Audio, Prompt

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
README = (EXAMPLES / "README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^sabench .*--model (?:serve:|\"serve:python )examples/(\w+\.\w+).*$", README, re.MULTILINE)
MIXTURE = noise(0.1, channels=2)
PROMPT = Prompt(text='"id": 7, "folder": "/nowhere"\n \\ a "dog" 🐕')


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where the README says; "python" is that of the tests."""
    monkeypatch.chdir(ROOT)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    (tmp_path / "bin" / "python").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")


def run(file: str, output: Path) -> Result:
    """Runs the README's command for an example."""
    (line,) = [line for line in README.splitlines() if line.startswith("sabench") and f"examples/{file}" in line]
    return CliRunner().invoke(group, [*shlex.split(line)[1:], "--metrics", "snr", "--output", str(output)])


def messages(output: Path) -> list[str]:
    """What the items of the program say, in their order; "" where they have an estimate."""
    (journal,) = output.glob("serve-*/*/items.jsonl")
    records = [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()]
    last = {record["item"]: record.get("message") or "" for record in records if "status" in record}
    return list(last.values())


def test_the_readme_runs_every_example() -> None:
    assert sorted(COMMANDS) == sorted(path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".sh"))
    assert all(f"]({name})" in README for name in COMMANDS)


@pytest.mark.parametrize(("file", "gain"), [("separator.py", 0.5), ("separator.sh", 1.0)])
def test_a_separator_answers(file: str, gain: float, tmp_path: Path) -> None:
    command = "python examples/separator.py" if file.endswith("py") else "examples/separator.sh"
    separator = ServedSeparator(command)
    for _ in range(3):
        assert torch.equal(answer(separator, MIXTURE, PROMPT).target.samples, gain * MIXTURE)
    separator.release_processes()
    result = run(file, tmp_path / "runs")
    assert result.exit_code == 0, result.output
    assert messages(tmp_path / "runs") == ["", "", ""]


@pytest.mark.parametrize("command", [["python", "examples/separator.py"], ["examples/separator.sh"]])
def test_a_query_by_hand(command: list[str], tmp_path: Path) -> None:
    audio.write_wav(tmp_path / "mixture.wav", Audio(MIXTURE, 16000))
    (line,) = re.findall(r"^echo '(.*)' \| ", README, re.MULTILINE)
    line = line.replace("/tmp/q", str(tmp_path))
    broken = json.dumps({**json.loads(line), "id": 2, "folder": "/no", "mixture": "/no/mixture.wav"})
    done = subprocess.run(command, input=f"{line}\n{broken}\n", capture_output=True, text=True, check=True)
    ready, found, failed = map(json.loads, done.stdout.splitlines())
    assert ready == {"ready": True}
    assert found == {"id": 1, "target": "target.wav"}
    assert failed.keys() == {"id", "error"}
    assert failed["id"] == 2
    assert (tmp_path / "target.wav").is_file()


def test_the_dying_worker_costs_every_second_item(tmp_path: Path) -> None:
    result = run("dying.py", tmp_path / "runs")
    assert result.exit_code == 3, result.output
    first, second, third, fourth = messages(tmp_path / "runs")
    assert first == third == ""
    assert second == fourth
    assert "was ended by SIGKILL instead of an answer" in second
    assert "it is started again" in second


def test_the_hung_program_is_given_up(tmp_path: Path) -> None:
    result = run("hung.py", tmp_path / "runs")
    assert result.exit_code == 3, result.output
    *hung, given_up, without = messages(tmp_path / "runs")
    assert len(hung) == 4
    assert all("within 2 seconds (see --timeout)" in text and "started again" in text for text in hung)
    assert given_up.endswith("it is given up after 5 crashes in a row")
    assert "was given up after 5 crashes in a row: at last it was killed" in without
    if shutil.which("pgrep") is not None:
        assert subprocess.run(["pgrep", "-f", "^sleep 600.25$"], capture_output=True, check=False).stdout == b""


OWN_CODE = """
from transformers import PretrainedConfig, PreTrainedModel
from transformers.utils import ModelOutput
import torch

class Halving(PreTrainedModel):
    config_class = PretrainedConfig
    main_input_name = "input_values"

    def __init__(self, config):
        super().__init__(config)
        self.gain = torch.nn.Parameter(torch.ones(1))
        self.post_init()

    def forward(self, input_values):
        return ModelOutput(**{self.config.output: input_values * self.gain})
"""


def tiny_codec(folder: Path) -> Any:
    """A network of transformers' own that gives sound for sound, with random weights, and where it was saved."""
    from transformers import DacConfig, DacModel

    torch.manual_seed(0)
    config = DacConfig(
        encoder_hidden_size=4, decoder_hidden_size=32, n_codebooks=2, codebook_size=16, codebook_dim=2,
        downsampling_ratios=[2, 4], upsampling_ratios=[4, 2], hidden_size=16, sampling_rate=16_000,
    )  # fmt: skip
    model = DacModel(config).eval()
    model.save_pretrained(folder)
    return model


def loaded_by_transformers(folder: Path, *options: str) -> ServedSeparator:
    return ServedSeparator(shlex.join(["python", "examples/transformers_model.py", str(folder), *options]))


def test_a_model_of_transformers(tmp_path: Path) -> None:
    """Its answer is the network's, at its own rate, and its weights are part of what the separator is."""
    model = tiny_codec(tmp_path / "codec")
    separator = loaded_by_transformers(tmp_path / "codec")
    mono = MIXTURE[:1]
    found = answer(separator, mono, PROMPT).target.samples
    with torch.inference_mode():
        expected = model(mono[None]).audio_values
    assert torch.allclose(found[:, : expected.shape[-1]], expected.reshape(1, -1), atol=1e-5)
    assert found.shape == mono.shape
    with pytest.raises(BadSeparation, match=r"expected 16000 Hz, found 24000 Hz; wrap this in Adapted\(…, rate=16000"):
        answer(separator, mono, PROMPT, rate=24_000)
    stereo = answer(Adapted(separator, rate=16_000, channels=1), noise(0.1, rate=24_000, channels=2), PROMPT, 24_000)
    assert stereo.target.samples.shape == (2, 2400)
    separator.release_processes()
    before = build("separator", separator).identity
    assert before.unknown is None
    with torch.no_grad():
        next(model.parameters()).add_(0.1)
    model.save_pretrained(tmp_path / "codec")
    assert build("separator", loaded_by_transformers(tmp_path / "codec")).identity.fingerprint() != before.fingerprint()


@pytest.mark.slow
def test_a_model_of_transformers_with_code_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That code runs only where somebody has said so; what it gives must be sound."""
    from safetensors.torch import save_file

    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    own = {"AutoConfig": "halving.PretrainedConfig", "AutoModel": "halving.Halving"}
    for output in ("audio_values", "logits"):
        folder = tmp_path / output
        folder.mkdir()
        (folder / "halving.py").write_text(OWN_CODE)
        (folder / "config.json").write_text(json.dumps({"auto_map": own, "sampling_rate": 16_000, "output": output}))
        save_file({"gain": torch.tensor([0.5])}, folder / "model.safetensors", metadata={"format": "pt"})
    trusting = loaded_by_transformers(tmp_path / "audio_values", "--trust-remote-code")
    assert torch.equal(answer(trusting, MIXTURE, PROMPT).target.samples, 0.5 * MIXTURE)
    trusting.release_processes()
    with pytest.raises(BadSeparation, match=r"expected audio_values from Halving, found \['logits'\]"):
        answer(loaded_by_transformers(tmp_path / "logits", "--trust-remote-code"), MIXTURE, PROMPT)
    with pytest.raises(BadSeparation, match="trust_remote_code=True"):
        answer(loaded_by_transformers(tmp_path / "audio_values"), MIXTURE, PROMPT)


def test_a_model_of_another_kind(tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel

    small = BertConfig(vocab_size=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    BertModel(small).save_pretrained(tmp_path / "bert")
    for folder, told in ((tmp_path / "bert", "found BertModel with input_ids"), (tmp_path / "nowhere", "at .*nowhere")):
        with pytest.raises(BadSeparation, match=told):
            answer(loaded_by_transformers(folder), MIXTURE, PROMPT)
