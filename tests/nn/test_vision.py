"""The vision tower: golden tensors, torch's own layers as oracle, and what a batch may not change."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sam_audio_bench.errors import Precondition, UsageError
from sam_audio_bench.nn.config import SAMAudioConfig, TextTowerConfig, VisionEncoderConfig, VisionTowerConfig
from sam_audio_bench.nn.vision import PerceptionEncoder, VisionTower, frame_indices

PARITY = 2e-6
PREFIX = "vision_encoder."


@pytest.fixture(scope="module")
def encoder(separator_folder, golden) -> PerceptionEncoder:
    found = PerceptionEncoder(SAMAudioConfig.of_folder(separator_folder).vision_encoder)
    tensors = golden("separator")
    found.load_state_dict({name.removeprefix(PREFIX): tensors[name] for name in tensors if name.startswith(PREFIX)})
    return found.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def tensors(golden) -> dict[str, Tensor]:
    return golden("vision_io")


def tower(seed: int = 0, **options: Any) -> VisionTower:
    """A small tower whose every parameter matters."""
    torch.manual_seed(seed)
    small = {"patch_size": 4, "width": 16, "layers": 2, "heads": 2, "output_dim": 12, "image_size": 12}
    found = VisionTower(VisionTowerConfig(**{**small, "attn_pooler_heads": 4, **options})).eval().requires_grad_(False)
    for parameter in found.parameters():
        parameter.copy_(torch.randn_like(parameter) * parameter.shape[-1] ** -0.5)
    return found


def frames(count: int, height: int = 20, width: int = 28, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, height, width), generator=generator, dtype=torch.uint8)


def test_the_transform_is_exact(encoder, tensors) -> None:
    assert torch.equal(encoder.transform(tensors["in.frames_u8"])[:1], tensors["transformed"])


def test_tokens_and_features(encoder, tensors, error) -> None:
    pixels = encoder.transform(tensors["in.frames_u8"])
    assert error(encoder.model.visual.tokens(pixels), tensors["patch_tokens"]) < PARITY
    assert error(encoder.encode_image(pixels, normalize=True), tensors["features"]) < PARITY
    assert error(encoder.encode_image(pixels), tensors["features_unnormalised"]) < PARITY


def test_positions_of_another_grid(encoder, tensors, error) -> None:
    found = encoder.encode_image(tensors["nonsquare.in_u8"] / 255 * 2 - 1, normalize=True)
    assert error(found, tensors["nonsquare.features"]) < PARITY


def test_videos_of_different_lengths(encoder, tensors, error) -> None:
    found = encoder([tensors["video.0"], tensors["video.1"]])
    assert error(found, tensors["video.features"]) < PARITY
    assert not found[1, 2:].any()


def test_which_frames_stand_for_latent_frames(golden_json) -> None:
    for case in golden_json("video_frames"):
        assert frame_indices(case["n_frames"], case["size"]).tolist() == case["idx"]


def test_a_video_is_spread_over_its_own_size(encoder) -> None:
    videos = [frames(4, seed=1), frames(7, seed=2)]
    found = encoder(videos, [6, 3])
    every = [encoder([video])[0] for video in videos]
    assert torch.allclose(found[0], every[0][frame_indices(4, 6)], atol=1e-6)
    assert torch.allclose(found[1, :3], every[1][[0, 3, 6]], atol=1e-6)
    assert not found[1, 3:].any()


@pytest.mark.bits
def test_neither_order_nor_neighbours_nor_batch_size_change_features(encoder) -> None:
    videos = [frames(5, seed=3), frames(2, 31, 17, seed=4), frames(9, seed=5)]
    sizes = [5, 4, 9]
    found = encoder(videos, sizes)
    assert torch.equal(encoder(videos[::-1], sizes[::-1]), found.flip(0))
    for row, video, size in zip(found, videos, sizes, strict=True):
        assert torch.equal(encoder([video], [size])[0], row[:size])
    for batch_size in (1, 2, 300):
        other = PerceptionEncoder(replace(encoder.config, batch_size=batch_size)).eval()
        other.load_state_dict(encoder.state_dict())
        assert torch.allclose(other(videos, sizes), found, atol=1e-6)


def counted(encoder: PerceptionEncoder, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the batches that reach the tower from now on."""
    batches: list[int] = []
    encode = encoder.encode_image

    def counting(pixels: Tensor, normalize: bool = False) -> Tensor:
        batches.append(len(pixels))
        return encode(pixels, normalize)

    monkeypatch.setattr(encoder, "encode_image", counting)
    return batches


@pytest.mark.bits
def test_equal_frames_in_a_row_are_encoded_once(encoder, monkeypatch) -> None:
    batches = counted(encoder, monkeypatch)
    video = frames(4)
    found = encoder.encode(iter([video[0], video[0].clone(), video[1], video[2], video[0], video[3], video[3]]))
    assert batches == [3, 2]  # the config's batch size is 3
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[5], found[6])
    assert torch.allclose(found[[0, 2, 3, 4, 5]], encoder([video])[0][[0, 1, 2, 0, 3]], atol=1e-6)


def test_a_stream_is_taken_batch_by_batch(encoder, monkeypatch) -> None:
    """When a batch is encoded, no frame after the next one has been asked for."""
    batches = counted(encoder, monkeypatch)
    ahead = []

    def stream():
        for taken, frame in enumerate(frames(10)):
            ahead.append(taken - sum(batches))
            yield frame

    assert encoder.encode(stream()).shape == (10, 24)
    assert max(ahead) <= 3


def test_features_are_of_unit_length_where_asked_for(encoder) -> None:
    video = frames(3)
    assert torch.allclose(encoder([video]).norm(dim=-1), torch.ones(1, 3))
    plain = PerceptionEncoder(replace(encoder.config, normalize_feature=False)).eval()
    plain.load_state_dict(encoder.state_dict())
    assert torch.allclose(F.normalize(plain([video]), dim=-1), encoder([video]), atol=1e-6)
    assert (plain([video]).norm(dim=-1) - 1).abs().min() > 1e-2


def test_bfloat16_is_near(encoder) -> None:
    low = PerceptionEncoder(encoder.config).eval()
    low.load_state_dict(encoder.state_dict())
    found = low.to(torch.bfloat16)([frames(3)])
    assert found.dtype == torch.float32
    assert F.cosine_similarity(found, encoder([frames(3)]), dim=-1).min() > 0.999


def slow_tower(ours: VisionTower, pixels: Tensor) -> Tensor:
    """The tower without rotary positions, made of torch's own layers."""
    config, state = ours.config, ours.state_dict()
    x = F.conv2d(pixels, state["conv1.weight"], stride=config.patch_size).flatten(2).transpose(1, 2)
    if config.use_cls_token:
        x = torch.cat([state["class_embedding"].expand(len(x), 1, -1), x], dim=1)
    if config.use_abs_posemb:
        x = x + state["positional_embedding"]
    norm: Callable[[str, Tensor], Tensor] = lambda name, y: F.layer_norm(  # noqa: E731
        y, (config.width,), state[f"{name}.weight"], state[f"{name}.bias"]
    )
    x = norm("ln_pre", x) if config.use_ln_pre else x
    for index in range(config.layers):
        x = _layer(config, {k.split(f"blocks.{index}.")[1]: v for k, v in state.items() if f"blocks.{index}." in k})(x)
    x = norm("ln_post", x) if config.use_ln_post else x
    attention = nn.MultiheadAttention(config.width, config.attn_pooler_heads, batch_first=True)
    pool = {name.removeprefix("attn_pool."): value for name, value in state.items() if name.startswith("attn_pool.")}
    attention.load_state_dict({name[5:]: value for name, value in pool.items() if name.startswith("attn.")})
    pooled = attention(pool["probe"].expand(len(x), -1, -1), x, x, need_weights=False)[0]
    hidden = F.gelu(F.linear(norm("attn_pool.layernorm", pooled), pool["mlp.c_fc.weight"], pool["mlp.c_fc.bias"]))
    return (pooled + F.linear(hidden, pool["mlp.c_proj.weight"], pool["mlp.c_proj.bias"]))[:, 0] @ state["proj"]


def _layer(config: VisionTowerConfig, state: dict[str, Tensor]) -> nn.Module:
    """The pre-norm layer of torch; a layer scale is folded into the matrices before it."""
    hidden = int(config.width * config.mlp_ratio)
    layer = nn.TransformerEncoderLayer(
        config.width, config.heads, hidden, 0.0, activation=F.gelu, batch_first=True, norm_first=True
    )
    scales = [state.get(f"ls_{k}.gamma", torch.ones(config.width)) for k in (1, 2)]
    theirs = {
        "self_attn.in_proj_weight": state["attn.in_proj_weight"],
        "self_attn.in_proj_bias": state["attn.in_proj_bias"],
    }
    for kind, scaled in (("weight", lambda value, scale: value * scale[:, None]), ("bias", torch.mul)):
        theirs[f"self_attn.out_proj.{kind}"] = scaled(state[f"attn.out_proj.{kind}"], scales[0])
        theirs[f"linear2.{kind}"] = scaled(state[f"mlp.c_proj.{kind}"], scales[1])
        theirs[f"linear1.{kind}"] = state[f"mlp.c_fc.{kind}"]
        theirs[f"norm1.{kind}"], theirs[f"norm2.{kind}"] = state[f"ln_1.{kind}"], state[f"ln_2.{kind}"]
    layer.load_state_dict(theirs)
    return layer


@pytest.mark.parametrize(
    ("positions", "token", "norms", "scale"),
    list(itertools.product((True, False), (True, False), ((True, True), (True, False), (False, True)), (None, 0.3))),
)
def test_every_option_agrees_with_torchs_own_layers(positions, token, norms, scale, error) -> None:
    ours = tower(
        use_rope2d=False, use_abs_posemb=positions, use_cls_token=token, use_ln_pre=norms[0], use_ln_post=norms[1],
        ls_init_value=scale, mlp_ratio=2.5,
    )  # fmt: skip
    pixels = torch.randn(3, 3, 12, 12)
    with torch.no_grad():
        assert error(ours(pixels), slow_tower(ours, pixels)) < PARITY
    names = set(ours.state_dict())
    assert ("positional_embedding" in names) == positions
    assert ("class_embedding" in names) == token
    assert ("ln_pre.weight" in names, "ln_post.weight" in names) == norms
    assert ("transformer.resblocks.1.ls_2.gamma" in names) == (scale is not None)


def test_rotary_positions_alone_tell_places_apart() -> None:
    options = {"use_abs_posemb": False, "use_cls_token": False}
    pixels = torch.randn(1, 3, 12, 12)
    moved = pixels.roll((4, 8), (2, 3))  # the same patches elsewhere
    assert (tower(**options)(pixels) - tower(**options)(moved)).abs().max() > 1e-3
    blind = tower(**options, use_rope2d=False)
    assert torch.allclose(blind(pixels), blind(moved), atol=1e-5)


@pytest.mark.parametrize(
    ("mode", "name"), [("BICUBIC", "BICUBIC"), ("BILINEAR", "BILINEAR"), ("nearest_exact", "NEAREST")]
)
@pytest.mark.parametrize(("height", "width"), [(50, 70), (9, 13), (32, 40)])
def test_resizing_agrees_with_pillow(mode, name, height, width) -> None:
    image = pytest.importorskip("PIL.Image")
    config = VisionEncoderConfig(
        dim=12, image_size=32, interpolation_mode=mode,
        vision=VisionTowerConfig(width=8, heads=2, layers=0, output_dim=12, attn_pooler_heads=2),
        text=TextTowerConfig(width=8, heads=2, layers=0, vocab_size=4),
    )  # fmt: skip
    video = frames(1, height, width) // 4 + 96  # no overshoot: Pillow clips between the two passes
    found = PerceptionEncoder(config).resize(video)[0].permute(1, 2, 0).numpy().astype(int)
    picture = image.fromarray(video[0].permute(1, 2, 0).numpy())
    expected = np.asarray(picture.resize((32, 32), getattr(image.Resampling, name))).astype(int)
    assert np.abs(found - expected).max() <= (0 if name == "NEAREST" else 1)  # and rounds there


def test_nearest_takes_the_corner_pixel(encoder) -> None:
    nearest = PerceptionEncoder(replace(encoder.config, interpolation_mode="NEAREST"))
    video = frames(2, 40, 50)
    rows, columns = [k * 40 // 32 for k in range(32)], [k * 50 // 32 for k in range(32)]
    assert torch.equal(nearest.resize(video), video[:, :, rows][..., columns])


def test_a_frame_of_the_right_size_is_left_alone(encoder, tensors) -> None:
    assert torch.equal(encoder.resize(tensors["same.in"]), tensors["same.in"])


def test_the_released_tower_has_the_released_keys_and_shapes() -> None:
    with torch.device("meta"):
        state = PerceptionEncoder(VisionEncoderConfig()).state_dict()
    assert all(value.is_meta for value in state.values())
    assert sum(value.numel() for value in state.values()) / 1e6 == pytest.approx(671.1, abs=0.05)
    norm = {"weight": (1024,), "bias": (1024,)}
    attention = {
        "attn.in_proj_weight": (3072, 1024), "attn.in_proj_bias": (3072,),
        "attn.out_proj.weight": (1024, 1024), "attn.out_proj.bias": (1024,),
        "mlp.c_fc.weight": (4096, 1024), "mlp.c_fc.bias": (4096,),
        "mlp.c_proj.weight": (1024, 4096), "mlp.c_proj.bias": (1024,),
    }  # fmt: skip
    block = attention | {f"ln_{k}.{name}": shape for k in (1, 2) for name, shape in norm.items()}
    expected = {
        "positional_embedding": (32, 1024), "text_projection": (1024, 1024), "logit_scale": (),
        "token_embedding.weight": (49_408, 1024), "visual.class_embedding": (1024,),
        "visual.positional_embedding": (577, 1024), "visual.proj": (1024, 1024),
        "visual.conv1.weight": (1024, 3, 14, 14), "visual.attn_pool.probe": (1, 1, 1024),
        **{f"visual.attn_pool.{name}": shape for name, shape in attention.items()},
        **{f"{part}.{name}": shape for name, shape in norm.items()
           for part in ("ln_final", "visual.ln_pre", "visual.ln_post", "visual.attn_pool.layernorm")},
        **{f"{part}transformer.resblocks.{k}.{name}": shape for part in ("", "visual.") for k in range(24)
           for name, shape in block.items()},
    }  # fmt: skip
    assert {name: tuple(value.shape) for name, value in state.items()} == {f"model.{k}": v for k, v in expected.items()}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pool_type": "avg"}, "expected pool_type \"attn\" in pe_config.json, found 'avg'"),
        ({"heads": 3, "use_rope2d": False}, "expected a width that divides into heads"),
        ({"heads": 8}, "expected heads of a width divisible by four"),
        ({"heads": 0}, "expected heads of a width divisible by four"),
        ({"attn_pooler_heads": 5}, "expected a width that divides into heads"),
    ],
)
def test_towers_that_cannot_be_built(changes, message) -> None:
    with pytest.raises(Precondition, match=message):
        tower(**changes)


def test_encoders_that_cannot_be_built(encoder) -> None:
    with pytest.raises(Precondition, match=r"expected interpolation_mode to be one of BICUBIC, .*, found 'LANCZOS'"):
        PerceptionEncoder(replace(encoder.config, interpolation_mode="LANCZOS"))
    with pytest.raises(
        Precondition, match=r"expected vision_encoder\.dim to be the output_dim of PE-Tiny-A, found 7 and 24"
    ):
        PerceptionEncoder(replace(encoder.config, dim=7))


def test_videos_that_cannot_be_encoded(encoder) -> None:
    with pytest.raises(UsageError, match="expected a video with frames"):
        encoder([frames(0)], [3])
    with pytest.raises(UsageError, match="expected a size for each video, found 2 for 1"):
        encoder([frames(2)], [3, 4])
    with pytest.raises(UsageError, match="expected a size for each video, found 0 for 0"):
        encoder([])
    for wrong in (frames(2).float(), frames(2)[:, :1], frames(2)[..., :0]):
        with pytest.raises(UsageError, match="expected uint8 frames"):
            encoder([wrong])
    with pytest.raises(UsageError, match="sides multiples of 8"):
        encoder.encode_image(torch.zeros(1, 3, 32, 36))
