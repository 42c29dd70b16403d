"""Golden tensors of the reference judge, and small judges in folders."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from sam_audio_bench.judge import SAJ
from sam_audio_bench.judge.config import JudgeConfig
from sam_audio_bench.judge.tiny import write_tiny_judge
from sam_audio_bench.judge.word_vectors import quantise_rows
from sam_audio_bench.nn.tiny import randomise
from sam_audio_bench.types import Audio

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="session")
def reference_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reference's tiny judge, as a folder."""
    folder = tmp_path_factory.mktemp("judge")
    shutil.copy(GOLDEN / "judge.safetensors", folder / "model.safetensors")
    shutil.copy(GOLDEN / "judge_config.json", folder / "config.json")
    return folder


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny judge of our own, with a tokenizer."""
    return write_tiny_judge(tmp_path_factory.mktemp("models") / "sam-audio-judge", seed=1)


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path) -> SAJ:
    return SAJ.from_pretrained(tiny_folder)


SMALL = {
    "small": {
        "listener": {"channels": [4, 8, 8], "blocks": [1, 1], "strides": [2, 2, 4], "width": 12, "events": 6},
        "words": {"vocabulary": 8, "width": 10, "events": 6},
        "prototypes": {"count": 4, "classes": 3, "texts": 3, "width": 5},
        "hidden": 8,
    },
    "bottleneck_dim": 16,
    "finetune_transformer": {
        "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 2,
    },
}  # fmt: skip
WORDS = ("[UNK]", "dog", "barking", "rain", "guitar", "a", "the", "woman")


@pytest.fixture(scope="session")
def small_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small judge with every layer at random: listener, words, evidence, spread, calibration."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    folder = tmp_path_factory.mktemp("models") / "saj-small"
    folder.mkdir()
    judge = SAJ(JudgeConfig.of_options(SMALL))
    judge.extend(spread=True)
    tensors = randomise(judge, torch.Generator().manual_seed(3))
    grid = torch.linspace(0, 6, 7)[:, None].expand(-1, 4)
    tensors["calibration"] = torch.stack([grid, 1 + 4 * torch.sigmoid(grid - 3)])
    tensors["mean"], tensors["std"] = torch.full((4,), 3.0), torch.ones(4)
    table = torch.randn(8, 10, generator=torch.Generator().manual_seed(4))
    tensors["ear.words.table"], tensors["ear.words.scale"] = quantise_rows(table)
    tensors["ear.words.names"] = table[:6].half()
    tensors["ear.prototypes.texts"] = torch.nn.functional.normalize(table[1:4], dim=-1)
    tensors["ear.prototypes.meaning"] = torch.arange(3)
    tensors["ear.prototypes.owner"] = torch.tensor([0, 1, 1, 2])
    tensors["ear.prototypes.table"] = torch.nn.functional.normalize(tensors["ear.prototypes.table"], dim=-1)
    tensors["ear.deviation"] = torch.ones_like(tensors["ear.deviation"])
    save_file({name: value.contiguous() for name, value in tensors.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(SMALL))
    tokenizer = Tokenizer(models.WordLevel({word: row for row, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="session")
def small(small_folder: Path) -> SAJ:
    return SAJ.from_pretrained(small_folder)


@pytest.fixture(scope="session")
def noise() -> Callable[..., Audio]:
    """Noise of some seconds."""

    def made(seconds: float = 0.25, seed: int = 0, rate: int = 48_000, channels: int = 1) -> Audio:
        generator = torch.Generator().manual_seed(seed)
        return Audio(0.1 * torch.randn(channels, round(seconds * rate), generator=generator), rate)

    return made
