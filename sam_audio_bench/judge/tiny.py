"""Writes tiny judges with random weights in the official format, with every layer; for tests and dry runs."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

from sam_audio_bench.errors import Precondition
from sam_audio_bench.files import atomic_write, write_json
from sam_audio_bench.identity import Options
from sam_audio_bench.judge.config import JudgeConfig
from sam_audio_bench.judge.model import SAJ
from sam_audio_bench.nn.tiny import randomise, write_tokenizer

__all__ = ["CONFIG", "write_tiny_judge"]

CONFIG: Options = {
    "audio_codec": {
        "encoder_dim": 2, "encoder_rates": [2, 8, 10, 12], "latent_dim": 32, "codebook_dim": 16, "sample_rate": 48_000,
    },
    "transformer": {
        "hidden_size": 36, "intermediate_size": 80, "num_hidden_layers": 2, "num_attention_heads": 3,
    },
    "text_model": {
        "vocab_size": 384, "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 4,
        "num_attention_heads": 4, "local_attention": 8, "max_position_embeddings": 512, "pad_token_id": 0,
        "bos_token_id": 3, "eos_token_id": 1, "cls_token_id": 3, "sep_token_id": 1,
    },
    "finetune_transformer": {
        "hidden_size": 24, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 3,
    },
    "nth_text_layer": 3,
    "bottleneck_dim": 16,
}  # fmt: skip
"""``config.json``: 48 kHz and 25 frames per second, like the released one; vocabulary: bytes and special tokens."""


def write_tiny_judge(folder: Path, seed: int = 0) -> Path:
    """Writes a complete judge: ``config.json``, ``model.safetensors`` and a tokenizer of bytes.

    Args:
        folder: created if needed; must not contain a checkpoint.
        seed: of the weights; the same seed gives the same tensors.

    Raises:
        Precondition: the folder already contains a checkpoint, or cannot be written.
    """
    if (folder / "config.json").exists():
        raise Precondition(f"expected a folder without a checkpoint at {folder}, found config.json in it")
    tensors = randomise(SAJ(JudgeConfig.of_options(CONFIG)), torch.Generator().manual_seed(seed))
    tensors["mean"] += 3.5  # so that ratings lie around the middle of their scale
    tensors["std"] = tensors["std"].abs() + 0.8
    try:
        write_json(folder / "config.json", CONFIG)
        with atomic_write(folder / "model.safetensors") as temporary:
            save_file(tensors, temporary)
        write_tokenizer(folder, "<s> $A </s>")
    except OSError as error:
        raise Precondition(f"expected a folder that can be written at {folder}, found: {error}") from error
    return folder
