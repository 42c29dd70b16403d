"""The whole separator against the reference: evaluations, separations, keys and shapes of every released size."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from sam_audio_bench.errors import Precondition
from sam_audio_bench.nn import SAMAudio, flow
from sam_audio_bench.nn.conditioning import anchor_tables
from sam_audio_bench.nn.config import SAMAudioConfig, TransformerConfig
from sam_audio_bench.nn.upstream import resample

NETWORK, LATENTS, WAVEFORM = 2e-6, 2e-5, 1e-4


@pytest.fixture(scope="module")
def model(separator_folder: Path) -> SAMAudio:
    return SAMAudio.from_pretrained(separator_folder)


CASES = {
    "base": (),
    "text_mask": ("text_mask",),
    "pad_mask": ("text_mask", "audio_pad_mask"),
    "anchors": ("text_mask", "audio_pad_mask", "anchor_ids", "anchor_alignment"),
    "video": ("text_mask", "masked_video_features"),
    "all": ("text_mask", "audio_pad_mask", "anchor_ids", "anchor_alignment", "masked_video_features"),
}


def evaluate(model: SAMAudio, tensors, names=(), **changes):
    given = {name: tensors[f"in.{name}"] for name in ("noisy_audio", "audio_features", "text_features", "time", *names)}
    with torch.inference_mode():
        return model.velocity(**{**given, **changes})


@pytest.mark.parametrize("case", CASES)
def test_one_evaluation(model, golden, error, case) -> None:
    tensors = golden("dit_io")
    assert error(evaluate(model, tensors, CASES[case]), tensors[f"out.{case}"]) < NETWORK


def test_one_evaluation_at_the_edges(model, golden, error) -> None:
    tensors = golden("dit_io")
    zeros = torch.zeros_like(tensors["in.masked_video_features"])
    found = evaluate(model, tensors, ("text_mask",), masked_video_features=zeros)
    assert error(found, tensors["out.video_zeros"]) < NETWORK
    assert error(evaluate(model, tensors, text_features=None), tensors["out.no_text"]) < NETWORK
    for time in (0.0, 1.0):
        found = evaluate(model, tensors, ("text_mask",), time=torch.full((2,), time))
        assert error(found, tensors[f"out.time{time:.0f}"]) < NETWORK


def test_inputs_are_left_alone(model, golden) -> None:
    tensors = golden("dit_io")
    before = {name: value.clone() for name, value in tensors.items()}
    evaluate(model, tensors, CASES["all"])
    assert all(torch.equal(before[name], value) for name, value in tensors.items())


@pytest.fixture(scope="module")
def batch(model, golden, golden_json):
    """What the reference hands to its transformer for its two clips, made by us."""
    tensors, meta = golden("separate_io"), golden_json("separate_meta")
    clips = [tensors[f"in.audio.{index}"].mean(dim=0) for index in (0, 1)]
    latents = model.codec.encode(torch.nn.utils.rnn.pad_sequence(clips, batch_first=True)[:, None]).transpose(1, 2)
    sizes = [-(-len(clip) // 1920) for clip in clips]
    text, mask = model.text_encoder.encode(tensors["text.input_ids"], tensors["text.attention_mask"])
    anchors = {}
    for name, spans in (("without", [[], []]), ("with", meta["anchors"])):
        anchors[name] = anchor_tables(spans, sizes, hop=1920, rate=48_000)
    videos = [tensors["in.video.0"], tensors["in.video.1"]]
    return tensors, meta, latents, sizes, text, mask, anchors, videos


def test_features_are_the_references(batch, error) -> None:
    tensors, _, latents, _, text, mask, anchors, _ = batch
    assert error(torch.cat([latents, latents], -1), tensors["args.audio_features"]) < 1e-5
    assert error(text, tensors["args.text_features"]) < NETWORK
    assert torch.equal(mask, tensors["args.text_mask"])
    assert torch.equal(anchors["without"][0], tensors["args.anchor_ids"])
    assert torch.equal(anchors["without"][1], tensors["args.anchor_alignment"])


def separate(model, batch, tag):
    tensors, meta, latents, sizes, text, mask, anchors, videos = batch
    run = meta["runs"][tag]
    ids, alignment = anchors["with" if run["anchors"] else "without"]
    width = model.config.vision_encoder.dim
    with torch.inference_mode():
        video = model.encode_video(videos, sizes) if run["video"] else torch.zeros(2, width, max(sizes))
        given = model.prepare(
            torch.cat([latents, latents], -1), text_features=text, text_mask=mask,
            audio_pad_mask=tensors["args.audio_pad_mask"], anchor_ids=ids, anchor_alignment=alignment,
            masked_video_features=video,
        )  # fmt: skip
        return flow.integrate(
            lambda time, state: model.evaluate(state, time.expand(2), given), tensors["in.noise"],
            solver=run["ode_opt"]["method"], step=run["ode_opt"]["options"]["step_size"],
        )  # fmt: skip


TAGS = ("default", "anchors", "video", "all", "ode_midpoint_0.3", "ode_euler_0.25", "ode_rk4_0.5", "ode_heun3_0.5")


@pytest.mark.parametrize("tag", TAGS)
def test_separations_are_the_references(model, batch, error, tag) -> None:
    tensors = batch[0]
    state = separate(model, batch, tag)
    latents = state.transpose(1, 2).unflatten(1, (2, -1)).flatten(0, 1)
    assert error(latents, tensors[f"{tag}.features"]) < LATENTS
    if f"{tag}.target.0" in tensors:
        with torch.inference_mode():
            found = model.codec.decode(latents, message=tensors[f"{tag}.message"])[:, 0]
        for item in (0, 1):
            for part, row in (("target", 2 * item), ("residual", 2 * item + 1)):
                expected = tensors[f"{tag}.{part}.{item}"]
                assert error(found[row, : len(expected)], expected) < WAVEFORM


def test_the_references_resampler(golden, error) -> None:
    tensors = golden("resample")
    for name in (name[:-3] for name in tensors if name.endswith(".in")):
        rates = map(int, name.split("_"))
        assert error(resample(tensors[f"{name}.in"], *rates), tensors[f"{name}.out"]) < 1e-6


RELEASED = {"small": (1536, 12, 1165, 1275.0), "base": (2048, 16, 1237, 1931.2), "large": (2816, 22, 1345, 3715.2)}


def released_shapes(width: int, layers: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of an official checkpoint but those of the vision tower, see test_vision."""
    found: dict[str, tuple[int, ...]] = {}

    def add(prefix: str, **shapes: tuple[int, ...]) -> None:
        found.update({f"{prefix}.{name}": shape for name, shape in shapes.items()})

    def normed(prefix: str, out: int, inputs: int, taps: int, biases: int | None = None) -> None:
        add(prefix, weight_g=(out, 1, 1), weight_v=(out, inputs, taps), bias=(biases or out,))

    def unit(prefix: str, channels: int) -> None:
        for index in (0, 2):
            add(f"{prefix}.block.{index}", alpha=(1, channels, 1))
        normed(f"{prefix}.block.1", channels, channels, 7)
        normed(f"{prefix}.block.3", channels, channels, 1)

    add("proj", weight=(width, 768), bias=(width,))
    add("memory_proj", weight=(width, 768), bias=(width,))
    found["align_masked_video.gate"] = found["embed_anchors.gate"] = (1,)
    add("align_masked_video.conv", weight=(width, 1024, 1), bias=(width,))
    add("align_masked_video.layer_norm", weight=(width,), bias=(width,))
    add("embed_anchors", **{"embed.weight": (4, 128), "proj.weight": (width, 128)})
    hidden, inner = {1536: 4096, 2048: 5504, 2816: 7552}[width], "transformer"
    for block in ("block1", "block2"):
        add(f"{inner}.x_embedder.block.{block}.groupnorm", weight=(width,), bias=(width,))
        add(f"{inner}.x_embedder.block.{block}.project", weight=(width, width, 3), bias=(width,))
    for name, inputs in (("y_embedder", width), ("t_embedder", 256)):
        shapes = {"w1.weight": (width, inputs), "w2.weight": (width, width), "w3.weight": (width, inputs)}
        add(f"{inner}.{name}.projection", **shapes)
    add(f"{inner}.t_block", weight=(6 * width, width), bias=(6 * width,))
    add(inner, **{"final_layer_scale_shift_table": (2, width), "output.weight": (256, width), "norm.weight": (width,)})
    for index in range(layers):
        layer = f"{inner}.layers.{index}"
        add(layer, **{"scale_shift_table": (6, width), "attention_norm.weight": (width,), "ffn_norm.weight": (width,)})
        for name in ("attention", "cross_attention"):
            square = {f"{part}.weight": (width, width) for part in ("wq", "wk", "wv", "wo")}
            add(f"{layer}.{name}", **square, **{"q_norm.weight": (128,), "k_norm.weight": (128,)})
        shapes = {"w1.weight": (hidden, width), "w2.weight": (width, hidden), "w3.weight": (hidden, width)}
        add(f"{layer}.feed_forward", **shapes)

    encoder, decoder = "audio_codec.encoder.block", "audio_codec.decoder.model"
    normed(f"{encoder}.0", 64, 1, 7)
    for index, rate in enumerate((2, 8, 10, 12)):
        for number in range(3):
            unit(f"{encoder}.{index + 1}.block.{number}", 64 << index)
        add(f"{encoder}.{index + 1}.block.3", alpha=(1, 64 << index, 1))
        normed(f"{encoder}.{index + 1}.block.4", 128 << index, 64 << index, 2 * rate)
    add(f"{encoder}.5", alpha=(1, 1024, 1))
    normed(f"{encoder}.6", 1024, 1024, 3)
    normed("audio_codec.quantizer.in_proj", 256, 1024, 1)
    normed("audio_codec.quantizer.out_proj", 1024, 128, 1)
    normed(f"{decoder}.0", 1536, 1024, 7)
    for index, (rate, mark) in enumerate(zip((12, 10, 8, 2), (8, 5, 4, 2), strict=True)):
        block, before, after = f"{decoder}.{index + 1}.block", 1536 >> index, 768 >> index
        add(f"{block}.0", alpha=(1, before, 1))
        normed(f"{block}.1", before, after, 2 * rate, after)
        for number in (4, 5, 8):
            unit(f"{block}.{number}", after)
        add(f"{block}.3", weight=(before // 3, after // 3, 2 * mark), bias=(after // 3,))
        add(f"{block}.11", weight=(before // 3, after // 3, 2 * mark), bias=(before // 3,))
        for number in (6, 7):
            add(f"{block}.{number}.block.1", weight=(after // 6, after // 3, 3), bias=(after // 6,))
            add(f"{block}.{number}.block.3", weight=(after // 3, after // 6, 1), bias=(after // 3,))
    start, end = (f"audio_codec.decoder.wm_model.{half}_block" for half in ("encoder", "decoder"))
    add(f"{start}.pre.0", alpha=(1, 96, 1))
    normed(f"{start}.pre.1", 1, 96, 7)
    add(f"{start}.pre.3", weight=(32, 1, 7), bias=(32,))
    add(f"{start}.post.2", weight=(128, 512, 7), bias=(128,))
    add(f"{end}.pre.0", weight=(512, 128, 7), bias=(512,))
    add(f"{end}.post.1", weight=(1, 32, 7), bias=(1,))
    for place in (f"{start}.post.0.lstm", f"{end}.pre.1.lstm"):
        for number in (0, 1):
            weights = {f"weight_{kind}_l{number}": (2048, 512) for kind in ("ih", "hh")}
            add(place, **weights, **{f"bias_{kind}_l{number}": (2048,) for kind in ("ih", "hh")})
    found["audio_codec.decoder.wm_model.msg_processor.msg_processor.weight"] = (32, 128)
    return found


@pytest.mark.parametrize("size", RELEASED)
def test_keys_and_parameters_of_the_released_sizes(size) -> None:
    width, layers, keys, millions = RELEASED[size]
    transformer = TransformerConfig(dim=width, n_heads=layers, n_layers=layers, context_dim=width)
    with torch.device("meta"):
        model = SAMAudio(SAMAudioConfig(transformer=transformer))
    state = model.state_dict()
    assert len(state) == keys
    assert sum(value.numel() for value in state.values()) / 1e6 == pytest.approx(millions, abs=0.06)
    shapes = {name: tuple(value.shape) for name, value in state.items() if not name.startswith("vision_encoder.")}
    assert shapes == released_shapes(width, layers)


def test_a_loaded_model_has_the_checkpoints_keys(model, golden) -> None:
    expected = {k: v.shape for k, v in golden("separator").items() if not k.startswith("text_encoder.")}
    assert {name: value.shape for name, value in model.state_dict().items()} == expected


@pytest.mark.bits
def test_the_vision_tower_waits_for_a_video(separator_folder, golden) -> None:
    model = SAMAudio.from_pretrained(separator_folder)
    tower = model.vision_encoder.model.visual
    assert all(parameter.is_meta for parameter in tower.parameters())
    first = model.encode_video([golden("separate_io")["in.video.0"]], [6])
    assert not any(parameter.is_meta for parameter in tower.parameters())
    model.release_encoders()
    assert all(parameter.is_meta for parameter in tower.parameters())
    assert torch.equal(model.encode_video([golden("separate_io")["in.video.0"]], [6]), first)


def test_bfloat16_leaves_the_codec_in_float32(separator_folder) -> None:
    model = SAMAudio.from_pretrained(separator_folder, dtype=torch.bfloat16)
    kinds = {name.split(".")[0]: parameter.dtype for name, parameter in model.named_parameters()}
    assert kinds["transformer"] == kinds["proj"] == torch.bfloat16
    assert kinds["audio_codec"] == torch.float32


def changed(folder: Path, target: Path, change) -> Path:
    target.mkdir()
    for name in ("config.json", "pe_config.json", "t5_config.json"):
        (target / name).write_bytes((folder / name).read_bytes())
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, target / "model.safetensors")
    return target


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("transformer.norm.weight"), r"1 missing \(transformer\.norm\.weight\)"),
        (lambda t: t.update({"extra.weight": torch.zeros(1)}), r"1 unexpected \(extra\.weight\)"),
        (lambda t: t.update({"proj.bias": torch.zeros(3)}), r"proj\.bias \(3,\) instead of \(64,\)"),
        (lambda t: t.pop("vision_encoder.model.visual.proj"), r"1 missing \(vision_encoder"),
    ],
)
def test_a_checkpoint_must_fit_its_config(separator_folder, tmp_path, change, message) -> None:
    with pytest.raises(Precondition, match=message):
        SAMAudio.from_pretrained(changed(separator_folder, tmp_path / "changed", change))


def test_families_that_official_files_leave_out_may_be_there(separator_folder, tmp_path) -> None:
    def add(tensors) -> None:
        tensors["span_predictor.x"] = tensors["text_ranker.y"] = tensors["visual_ranker.z"] = torch.zeros(1)
        tensors.update({k: v.clone() for k, v in tensors.items()})

    SAMAudio.from_pretrained(changed(separator_folder, tmp_path / "more", add))


def test_a_judges_folder_is_recognised(tmp_path) -> None:
    (tmp_path / "config.json").write_text('{"finetune_transformer": {}}')
    (tmp_path / "checkpoint.pt").write_bytes(b"")
    with pytest.raises(Precondition, match="found a judge's"):
        SAMAudio.from_pretrained(tmp_path)
