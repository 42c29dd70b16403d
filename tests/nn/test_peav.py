"""The PE-AV transformer against the reference and against transformers' own; padding; the texts of ModernBERT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from sam_audio_bench.errors import Precondition, UsageError
from sam_audio_bench.nn.checkpoint import load_strict, strip_prefix
from sam_audio_bench.nn.peav import (
    PEAVConfig,
    PEAVTransformer,
    build_modern_bert,
    encode_first_token,
    load_tokenizer,
    restore_buffers,
    tokenize,
)
from sam_audio_bench.nn.text import silence_transformers
from sam_audio_bench.nn.tiny import randomise, write_tokenizer

NETWORK = 2e-6
HERE = Path(__file__)


def filled(config: PEAVConfig, seed: int = 0) -> PEAVTransformer:
    """A transformer of random weights."""
    model = PEAVTransformer(config).eval().requires_grad_(False)
    load_strict(model, randomise(model, torch.Generator().manual_seed(seed)), source=HERE)
    return model


def noise(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def small() -> PEAVTransformer:
    return filled(PEAVConfig(hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=3))


def test_the_references_states(golden, golden_json, error) -> None:
    tensors, weights = golden("judge_io"), golden("judge")
    with torch.device("meta"):
        model = PEAVTransformer(PEAVConfig.of(golden_json("judge_config")["transformer"])).eval()
    load_strict(model, strip_prefix(weights, "transformer."), source=HERE)
    frames = nn.functional.linear(
        tensors["mid.codec"].transpose(1, 2), weights["data_proj.weight"], weights["data_proj.bias"]
    )
    with torch.inference_mode():
        assert error(model.embeddings(frames, None), tensors["mid.emb"]) < NETWORK
        assert error(model(frames), tensors["mid.transformer"]) < NETWORK


class _Frames(nn.Module):
    """Stands in for the codec of transformers' encoder, which is handed frames."""

    def forward(self, frames: Tensor, padding_mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        return frames, padding_mask


def oracle(config: PEAVConfig, state: dict[str, Tensor]) -> Any:
    """The same by transformers."""
    from transformers import PeAudioEncoder, PeAudioEncoderConfig

    options = PeAudioEncoderConfig(
        dac_config={"encoder_hidden_size": 2, "downsampling_ratios": [2, 2]},
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        num_hidden_layers=config.num_hidden_layers,
        num_attention_heads=config.num_attention_heads,
        head_dim=config.hidden_size // config.num_attention_heads,
        rope_parameters={"rope_type": "default", "rope_theta": config.theta},
        rms_norm_eps=config.rms_norm_eps,
        attention_bias=config.attention_bias,
    )
    with silence_transformers():
        kind: Any = PeAudioEncoder
        model = kind(options).eval()
    model.embedder = _Frames()
    names = {"embeddings.cls_token": "patch_embedder.class_embedding"}
    renamed = {names.get(k, k.replace("embeddings.resnet", "patch_embedder.resnet")): v for k, v in state.items()}
    model.load_state_dict(renamed)
    return model


@pytest.mark.parametrize(
    "options",
    [
        {"hidden_size": 36, "num_attention_heads": 3, "num_hidden_layers": 3, "max_position_embeddings": 400},
        {"hidden_size": 32, "num_attention_heads": 1, "num_hidden_layers": 1, "rms_norm_eps": 1e-3},
        {"hidden_size": 40, "num_attention_heads": 5, "num_hidden_layers": 2, "attention_bias": True},
    ],
)
@pytest.mark.parametrize("lengths", [None, (17, 5, 1)])
def test_other_shapes_as_transformers_computes_them(error, options, lengths) -> None:
    config = PEAVConfig(intermediate_size=56, **options)
    model = filled(config)
    frames = noise(3, 17, config.hidden_size)
    keep = None if lengths is None else torch.arange(17) < torch.tensor(lengths)[:, None]
    with torch.inference_mode():
        expected = oracle(config, model.state_dict())(frames, padding_mask=keep).last_hidden_state
        assert error(model(frames, keep), expected) < NETWORK


@given(lengths=st.lists(st.integers(1, 9), min_size=2, max_size=4), seed=st.integers(0, 5))
@settings(max_examples=15)
def test_real_frames_do_not_hear_padding(lengths: list[int], seed: int) -> None:
    model = filled(PEAVConfig(hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2), seed)
    frames = noise(len(lengths), max(lengths), 16, seed=seed)
    keep = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    frames = torch.where(keep[..., None], frames, 100.0)
    with torch.inference_mode():
        together = model(frames, keep)
        for row, length in enumerate(lengths):
            alone = model(frames[row : row + 1, :length])[0]
            assert float((together[row, :length] - alone).abs().max()) < 1e-5 * float(alone.abs().max())


def test_without_a_mask_padding_is_heard(small) -> None:
    frames = noise(1, 9, 24)
    padded = torch.cat([frames, torch.zeros(1, 4, 24)], dim=1)
    assert not torch.allclose(small(padded)[:, :9], small(frames), atol=1e-2)


def test_positions_end(small) -> None:
    config = PEAVConfig(
        hidden_size=24, intermediate_size=40, num_hidden_layers=1, num_attention_heads=3, max_position_embeddings=10
    )
    model = filled(config)
    assert model(noise(1, 9, 24)).shape == (1, 9, 24)
    with pytest.raises(UsageError, match="at most 9 frames, found 10; cut"):
        model(noise(1, 10, 24))


def test_frequencies_come_from_the_positions() -> None:
    assert PEAVConfig.of({"rope_theta": 5}).theta == 20_000
    assert PEAVConfig(max_position_embeddings=400).theta == 10_000


@pytest.mark.parametrize("options", [{"hidden_size": 10, "num_attention_heads": 3}, {"num_attention_heads": 0}])
def test_heads_must_fit(options) -> None:
    with pytest.raises(Precondition, match="equal, even width"):
        PEAVConfig.of(options)


@pytest.fixture(scope="module")
def text_model(golden, golden_json) -> Any:
    """ModernBERT of the reference's tiny judge."""
    with torch.device("meta"):
        model = build_modern_bert(golden_json("judge_config")["text_model"], 3).eval()
    load_strict(model, strip_prefix(golden("judge"), "text_model."), source=HERE)
    restore_buffers(model)
    return model


@pytest.mark.parametrize("layer", range(5))
def test_the_references_texts(text_model, golden, error, layer) -> None:
    tensors = golden("judge_io")
    with torch.inference_mode():
        found = encode_first_token(text_model, tensors["proc.input_ids"], tensors["proc.attention_mask"], layer)
    assert error(found, tensors[f"mid.text.hidden.{layer}"][:, 0]) < NETWORK
    if layer == 3:
        assert error(found, tensors["mid.text"]) < NETWORK


def test_no_layer_means_the_last_one_behind_the_final_norm(text_model, golden, error) -> None:
    """As transformers' PE-Audio reads its text: ``hidden_states[-1][:, 0]``."""
    tensors = golden("judge_io")
    ids, mask = tensors["proc.input_ids"], tensors["proc.attention_mask"]
    with torch.inference_mode():
        found = encode_first_token(text_model, ids, mask, None)
        theirs = text_model(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states[-1][:, 0]
        before = encode_first_token(text_model, ids, mask, len(text_model.layers) - 1)
    assert torch.equal(found, theirs)
    assert error(found, tensors[f"mid.text.hidden.{len(text_model.layers)}"][:, 0]) < NETWORK
    assert not torch.allclose(found, before)


@pytest.mark.parametrize(
    ("options", "layer", "message"),
    [
        ({"num_hidden_layers": 3}, 4, "nth_text_layer of at most 3, the layers of text_model, found 4"),
        ({"hidden_size": "wide"}, 0, "expected text_model to describe a ModernBERT"),
        ({"hidden_size": 30, "num_attention_heads": 4, "vocab_size": 8, "pad_token_id": 0}, 1, "not a multiple"),
    ],
)
def test_texts_of_another_model_are_refused(options, layer, message) -> None:
    with pytest.raises(Precondition, match=message), torch.device("meta"):
        build_modern_bert(options, layer)


def test_tokenizers(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, "<s> $A </s>")
    ids, mask = tokenize(load_tokenizer(tmp_path), ["a", "abc", "x" * 2000])
    assert ids.shape == mask.shape == (3, 512)
    assert mask.sum(dim=1).tolist() == [3, 5, 512]
    assert ids[0, 0] == ids[2, 0] == 3
    assert ids[0, 3:].eq(0).all()
    with pytest.raises(Precondition, match=r"expected the tokenizer .*nowhere.* in a folder or on the Hugging"):
        load_tokenizer(None, str(tmp_path / "nowhere"))
