"""Small random checkpoints in the official format: random weights in every layer, all gates open.

For tests, demonstrations and dry runs; their estimates are noise.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sam_audio_bench.errors import Precondition
from sam_audio_bench.files import atomic_write, write_json
from sam_audio_bench.identity import Options
from sam_audio_bench.nn.config import SAMAudioConfig

__all__ = ["CONFIG", "TEXT_CONFIG", "VISION_CONFIG", "randomise", "write_tiny_checkpoint", "write_tokenizer"]

CONFIG: Options = {
    "in_channels": 96,
    "audio_codec": {
        "encoder_dim": 4, "encoder_rates": [2, 8, 10, 12], "latent_dim": 32, "decoder_dim": 96,
        "decoder_rates": [12, 10, 8, 2], "codebook_dim": 16, "sample_rate": 48_000,
    },
    "text_encoder": {"name": "t5-tiny", "dim": 32, "max_length": 512, "pad_mode": "longest"},
    "vision_encoder": {
        "name": "PE-Tiny", "dim": 24, "batch_size": 64, "normalize_feature": True, "interpolation_mode": "BICUBIC",
        "image_size": 32,
    },
    "transformer": {
        "dim": 64, "n_heads": 4, "n_layers": 2, "frequency_embedding_dim": 64, "context_dim": 64, "out_channels": 32,
    },
    "num_anchors": 3,
    "anchor_embedding_dim": 16,
}  # fmt: skip
"""``config.json``: 48 kHz and 25 frames per second, as the released ones."""

VISION_CONFIG: Options = {
    "vision": {
        "patch_size": 8, "width": 32, "layers": 2, "heads": 2, "mlp_ratio": 2.0, "output_dim": 24, "image_size": 32,
        "attn_pooler_heads": 4,
    },
    "text": {"context_length": 8, "width": 16, "heads": 2, "layers": 1, "output_dim": 24, "vocab_size": 32},
}  # fmt: skip
"""``pe_config.json``."""

TEXT_CONFIG: Options = {
    "vocab_size": 384, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4,
    "feed_forward_proj": "relu",
}  # fmt: skip
"""``t5_config.json``; the vocabulary is the bytes and a few special tokens."""

_GAIN = 0.7  # of the codec's convolutions: residual units add up, and a gain below 1 keeps waveforms within ±1


def write_tiny_checkpoint(folder: Path, seed: int = 0) -> Path:
    """Writes a complete checkpoint: configs, ``checkpoint.pt`` with a text encoder, and a tokenizer of bytes.

    Args:
        folder: created if needed; must not contain a checkpoint.
        seed: seed of the weights; the same seed gives the same tensors.

    Raises:
        Precondition: the folder already contains a checkpoint, or cannot be written.
    """
    import transformers

    from sam_audio_bench.nn.model import SAMAudio
    from sam_audio_bench.nn.text import silence_transformers

    if (folder / "config.json").exists():
        raise Precondition(f"expected a folder without a checkpoint at {folder}, found config.json in it")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in (("config", CONFIG), ("pe_config", VISION_CONFIG), ("t5_config", TEXT_CONFIG)):
            write_json(folder / f"{name}.json", content)
    except OSError as error:
        raise Precondition(f"expected a folder that can be written at {folder}, found: {error}") from error
    generator = torch.Generator().manual_seed(seed)
    model = SAMAudio(SAMAudioConfig.of_folder(folder))
    with silence_transformers():
        text: Any = transformers.T5EncoderModel(transformers.T5Config(**TEXT_CONFIG))
    tensors = randomise(model, generator)
    tensors |= {f"text_encoder.model.{name}": value for name, value in randomise(text, generator).items()}
    with atomic_write(folder / "checkpoint.pt") as temporary:
        torch.save(tensors, temporary)
    write_tokenizer(folder)
    return folder


def randomise(module: nn.Module, generator: torch.Generator) -> dict[str, Tensor]:
    """Returns random tensors with a module's names and shapes, scaled so that signals neither vanish nor explode."""
    return {name: _random(name, tuple(value.shape), generator) for name, value in module.state_dict().items()}


def _random(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    values: Tensor = torch.randn(shape, generator=generator)
    last = name.rpartition(".")[2]
    if last in ("alpha", "weight_g"):  # Snake's frequencies and the gains of weight norm are positive
        return values.mul(0.2).exp() * (_GAIN if last == "weight_g" else 1)
    if len(shape) >= 2 and not last.endswith("table"):
        return values / math.sqrt(values[0].numel())
    if last == "weight":  # of a norm
        return 1 + 0.1 * values
    return values.mul(0.5 if last == "gate" else 0.1)


def write_tokenizer(folder: Path, template: str = "$A </s>") -> None:
    """Writes a tokenizer whose tokens are bytes, in the format of transformers: no text is out of vocabulary.

    Args:
        folder: folder for ``tokenizer.json`` and ``tokenizer_config.json``.
        template: template of the token sequence: ``<s>``, ``</s>`` and the text, ``$A``.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    marks = ("<pad>", "</s>", "<unk>", "<s>")
    symbols = [*marks, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer: Any = Tokenizer(
        models.BPE(vocab={symbol: index for index, symbol in enumerate(symbols)}, merges=[], unk_token="<unk>")
    )
    tokenizer.add_special_tokens(list(marks))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=[(mark, symbols.index(mark)) for mark in ("<s>", "</s>")]
    )
    with atomic_write(folder / "tokenizer.json") as temporary:
        tokenizer.save(str(temporary))
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>", "eos_token": "</s>",
            "unk_token": "<unk>", "bos_token": "<s>", "model_max_length": 512,
        },
    )  # fmt: skip
