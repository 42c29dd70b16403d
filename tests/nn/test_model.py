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


@pytest.mark.parametrize("size", RELEASED)
def test_keys_and_parameters_of_the_released_sizes(size) -> None:
    width, layers, keys, millions = RELEASED[size]
    transformer = TransformerConfig(dim=width, n_heads=layers, n_layers=layers, context_dim=width)
    with torch.device("meta"):
        model = SAMAudio(SAMAudioConfig(transformer=transformer))
    state = model.state_dict()
    assert len(state) == keys
    assert sum(value.numel() for value in state.values()) / 1e6 == pytest.approx(millions, abs=0.06)
    assert tuple(state["proj.weight"].shape) == (width, 768)
    assert tuple(state["transformer.layers.0.feed_forward.w2.weight"].shape) == (width, transformer.hidden)
    assert tuple(state["vision_encoder.model.visual.positional_embedding"].shape) == (577, 1024)
    assert tuple(state["audio_codec.decoder.wm_model.msg_processor.msg_processor.weight"].shape) == (32, 128)


def test_a_loaded_model_has_the_checkpoints_keys(model, golden) -> None:
    expected = {k: v.shape for k, v in golden("separator").items() if not k.startswith("text_encoder.")}
    assert {name: value.shape for name, value in model.state_dict().items()} == expected


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
