"""The networks against plain ones that the reference holds: options, widths, rates and masks that its tensors lack."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import plain_networks as plain
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from sam_audio_bench.nn import SAMAudio
from sam_audio_bench.nn.codec import DACVAE, reflect_pad
from sam_audio_bench.nn.config import CodecConfig, SAMAudioConfig, TransformerConfig, VisionTowerConfig
from sam_audio_bench.nn.dit import DiT
from sam_audio_bench.nn.vision import VisionTower

NETWORK, CODEC, EXACT = 2e-6, 1e-5, 1e-10


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def keep(rows: int, columns: int, seed: int = 0) -> Tensor:
    """A mask that keeps something of every row."""
    mask = noise(rows, columns, seed=seed) > 0
    mask[:, -1] = True
    return mask


def bits(rows: int) -> Tensor:
    return torch.randint(0, 2, (rows, 16), generator=torch.Generator().manual_seed(rows))


def double(tensors: dict[str, Any]) -> dict[str, Any]:
    """Floats in float64, everything else as it is."""
    return {
        name: value.double() if isinstance(value, Tensor) and value.is_floating_point() else value
        for name, value in tensors.items()
    }


@pytest.fixture(scope="module")
def weights(golden) -> dict[str, Tensor]:
    return double(golden("separator"))


@pytest.mark.parametrize("case", [0, 1])
def test_the_reference_holds_the_plain_transformer(golden, golden_json, error, case) -> None:
    tensors, config = double(golden(f"dit_options_{case}")), TransformerConfig.of(golden_json(f"dit_options_{case}"))
    given = plain.below(tensors, "state."), config, tensors["in.x"], tensors["in.time"], tensors["in.memory"]
    masks = tensors["in.padding_mask"], tensors["in.memory_padding_mask"]
    assert error(plain.dit(*given, *masks), tensors["out"]) < NETWORK
    assert error(plain.dit(*given, None, None), tensors["out.nomask"]) < NETWORK


def test_the_reference_holds_the_plain_separator(golden, golden_json, error, weights) -> None:
    config = SAMAudioConfig(
        transformer=TransformerConfig.of(golden_json("separator_config")["transformer"]),
    )
    given = plain.below(double(golden("dit_io")), "in.")
    assert error(plain.velocity(weights, config, **given), golden("dit_io")["out.all"]) < NETWORK
    few = {name: given[name] for name in ("noisy_audio", "audio_features", "time")}
    found = plain.velocity(weights, config, **few, text_features=None)
    assert error(found, golden("dit_io")["out.no_text"]) < NETWORK


def test_the_reference_holds_the_plain_codec(golden, error, weights) -> None:
    tensors, state = double(golden("codec_io")), plain.below(weights, "audio_codec.")
    found = plain.encode(state, (2, 8, 10, 12), reflect_pad(tensors["encode.in"], 1920))
    assert error(found, tensors["encode.mean"]) < CODEC
    found = plain.decode(state, (12, 10, 8, 2), tensors["decode.in"], tensors["decode.message"])
    assert error(found, tensors["decode.out"]) < CODEC


def test_the_reference_holds_the_plain_tower(golden, golden_json, error, weights) -> None:
    tensors, config = golden("vision_io"), VisionTowerConfig.of(golden_json("pe_config")["vision"])
    pixels = tensors["nonsquare.in_u8"][0].double() / 255 * 2 - 1
    found = plain.vision(plain.below(weights, "vision_encoder.model.visual."), config, pixels)
    assert error((found / found.norm())[None], tensors["nonsquare.features"]) < NETWORK


OPTIONS: list[dict[str, Any]] = [
    {"dim": 36, "n_heads": 3, "n_layers": 3, "context_dim": 36, "max_positions": 400, "out_channels": 12},
    {"dim": 24, "n_heads": 1, "context_dim": 24, "max_positions": 6000, "norm_eps": 1e-3, "context_norm": True},
    {"dim": 24, "n_heads": 12, "context_dim": 7, "fc_bias": True, "frequency_embedding_dim": 2},
    {"dim": 15, "n_heads": 3, "context_dim": 20, "use_rope": False, "qk_norm": False, "ffn_exp": 2.5},
    {"dim": 12, "n_heads": 4, "context_dim": 12, "use_rope": False, "ffn_dim_multiplier": 1.3, "multiple_of": 24},
    {"dim": 20, "n_heads": 5, "context_dim": 20, "ffn_dim_multiplier": 0.5, "multiple_of": 1, "in_channels": 9},
    {"dim": 16, "n_heads": 2, "context_dim": 16, "non_linearity": "silu", "timestep_non_linearity": "srelu"},
    {"dim": 16, "n_heads": 2, "context_dim": 16, "non_linearity": "relu", "timestep_non_linearity": "approx_gelu",
     "context_non_linearity": "gelu", "t_block_non_linearity": "srelu", "t_block_bias": False},
    {"dim": 16, "n_heads": 2, "context_dim": 16, "non_linearity": "approx_gelu", "timestep_non_linearity": "gelu",
     "context_non_linearity": "srelu", "t_block_non_linearity": "gelu", "fc_bias": True, "qk_norm": False},
    {"dim": 16, "n_heads": 4, "context_dim": 16, "non_linearity": "srelu", "timestep_non_linearity": "relu",
     "context_non_linearity": "silu", "t_block_non_linearity": "approx_gelu", "context_norm": True},
    {"dim": 16, "n_heads": 4, "context_dim": 8, "non_linearity": "gelu", "context_non_linearity": "relu",
     "ffn_exp": 1, "n_layers": 1},
]  # fmt: skip
SHORT = {"n_layers": 2, "frequency_embedding_dim": 16, "out_channels": 10, "multiple_of": 8}


@pytest.mark.parametrize("frames", [1, 13])
@pytest.mark.parametrize("options", OPTIONS)
def test_every_option_of_the_transformer(error, options, frames) -> None:
    config = TransformerConfig.of({**SHORT, **options})
    model = DiT(config).eval()
    state = {name: value.float() for name, value in plain.weights(model).items()}
    model.load_state_dict(state)
    given = {"x": noise(2, frames, config.dim), "time": torch.rand(2), "memory": noise(2, 4, config.context_dim)}
    for mask, other in ((None, None), (keep(2, frames), keep(2, 4)), (None, keep(2, 4)), (keep(2, frames), None)):
        with torch.inference_mode():
            found = model(**given, padding_mask=mask, memory_padding_mask=other)
        assert error(found, plain.dit(double(state), config, *double(given).values(), mask, other)) < NETWORK


def written(folder: Path, format: str) -> tuple[SAMAudioConfig, dict[str, Tensor]]:
    """A checkpoint of other widths and rates than the reference's tiny one."""
    files: dict[str, Any] = {
        "config": {
            "in_channels": 36, "num_anchors": 5, "anchor_embedding_dim": 7, "text_ranker": {"kind": "ensemble"},
            "audio_codec": {
                "encoder_dim": 4, "encoder_rates": [4, 8, 10], "latent_dim": 24, "decoder_dim": 48, "mean": 0.1,
                "decoder_rates": [10, 8, 4], "codebook_dim": 6, "sample_rate": 16_000,
            },
            "text_encoder": {"name": "t5-other", "dim": 20},
            "vision_encoder": {"name": "PE-Other", "dim": 10, "image_size": 24},
            "transformer": {**SHORT, **OPTIONS[0], "fc_bias": True, "dropout": 0.1},
        },
        "pe_config": {
            "vision": {"patch_size": 4, "width": 24, "layers": 1, "heads": 3, "output_dim": 10, "image_size": 20,
                       "attn_pooler_heads": 2},
            "text": {"context_length": 5, "width": 8, "heads": 2, "layers": 2, "output_dim": 10, "vocab_size": 11},
        },
    }  # fmt: skip
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    config = SAMAudioConfig.of_folder(folder)
    state = {name: value.float() for name, value in plain.weights(SAMAudio(config)).items()}
    if format == "pt":
        torch.save(state, folder / "checkpoint.pt")
    else:
        save_file(state, folder / "model.safetensors")
    return config, state


@pytest.mark.parametrize("format", ["pt", "safetensors"])
def test_a_separator_of_another_size(tmp_path: Path, error, format) -> None:
    config, state = written(tmp_path, format)
    model = SAMAudio.from_pretrained(tmp_path)
    assert {name: value.shape for name, value in model.state_dict().items()} == {k: v.shape for k, v in state.items()}
    given: dict[str, Any] = {
        "noisy_audio": noise(3, 9, 12), "audio_features": noise(3, 9, 12, seed=1), "time": torch.rand(3),
        "text_features": noise(3, 4, 20), "text_mask": keep(3, 4), "audio_pad_mask": keep(3, 9),
        "anchor_ids": torch.tensor([[0, 3, 1, 2], [0, 3, 5, 4], [0, 3, 2, 3]]),
        "anchor_alignment": torch.arange(27).reshape(3, 9) % 4, "masked_video_features": noise(3, 10, 9),
    }  # fmt: skip
    for left_out in ((), ("anchor_ids", "anchor_alignment"), ("masked_video_features", "text_mask", "audio_pad_mask")):
        for text in (given["text_features"], None):
            some = {**{k: v for k, v in given.items() if k not in left_out}, "text_features": text}
            with torch.inference_mode():
                found = model.velocity(**some)
            assert error(found, plain.velocity(double(state), config, **double(some))) < NETWORK


RATES = {
    "one block": ((16,), (16,)),
    "three": ((4, 8, 10), (10, 8, 4)),
    "four": ((2, 4, 8, 5), (5, 8, 4, 2)),
    "odd ones": ((5, 8, 3), (8, 15)),
    "odd ones first": ((3, 5, 7, 8), (8, 105)),
    "odd ones in between": ((8, 5, 12), (4, 15, 8)),
}


@pytest.mark.parametrize("chunk", [None, 1, 2])
@pytest.mark.parametrize("rates", RATES)
@torch.inference_mode()
def test_codecs_of_other_rates(error, rates, chunk) -> None:
    encoder, decoder = RATES[rates]
    hop = math.prod(encoder)
    config = CodecConfig(
        encoder_dim=2, encoder_rates=encoder, latent_dim=7, decoder_dim=7 << len(decoder), decoder_rates=decoder,
        codebook_dim=3,
    )  # fmt: skip
    model = DACVAE(config)
    state = plain.weights(model)
    model.double().load_state_dict(state)
    for length in (hop // 2 + 1, 2 * hop - 1, 4 * hop, 4 * hop + 1):
        if any(rate % 2 for rate in encoder) and length <= hop:
            continue  # each odd rate costs a frame
        waveform = noise(2, 1, length).double()
        expected = plain.encode(state, encoder, reflect_pad(waveform, hop))
        assert error(model.encode(waveform, chunk_frames=chunk), expected) < EXACT
    for frames in (1, 5):
        latent = noise(2, 3, frames).double()
        expected = plain.decode(state, decoder, latent, bits(2))
        assert error(model.decode(latent, bits(2), chunk_frames=chunk), expected) < EXACT


TOWERS: list[dict[str, Any]] = [
    {"width": 12, "heads": 3, "layers": 2},
    {"width": 16, "heads": 1, "layers": 1, "use_abs_posemb": False, "ls_init_value": 0.2},
    {"width": 24, "heads": 2, "layers": 2, "use_cls_token": False, "use_ln_pre": False, "mlp_ratio": 1.5},
    {"width": 8, "heads": 2, "layers": 3, "use_ln_post": False, "attn_pooler_heads": 1},
    {"width": 8, "heads": 2, "layers": 0, "use_rope2d": False},
]


@pytest.mark.parametrize("grid", [(3, 3), (1, 4), (5, 2)])
@pytest.mark.parametrize("options", TOWERS)
def test_towers_of_other_sizes_and_grids(error, options, grid) -> None:
    config = VisionTowerConfig(
        **{"patch_size": 4, "image_size": 13, "output_dim": 6, "attn_pooler_heads": 2, **options}
    )
    model = VisionTower(config).eval()
    state = {name: value.float() for name, value in plain.weights(model).items()}
    model.load_state_dict(state)
    pixels = noise(2, 3, 4 * grid[0], 4 * grid[1])
    with torch.inference_mode():
        found = model(pixels)
    expected = torch.stack([plain.vision(double(state), config, image.double()) for image in pixels])
    assert error(found, expected) < NETWORK
