"""The codec against the reference's tensors and against DAC of transformers; seams, rows, weight norm, refusals."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from sam_audio_bench.errors import Precondition, UsageError
from sam_audio_bench.nn import codec as codec_module
from sam_audio_bench.nn import streaming
from sam_audio_bench.nn.codec import DACVAE, reflect_pad
from sam_audio_bench.nn.config import CodecConfig
from sam_audio_bench.nn.streaming import Stream

BOUND = 1e-5
SMALL = CodecConfig(
    encoder_dim=3, encoder_rates=(4, 8, 10), latent_dim=24, decoder_dim=52, decoder_rates=(10, 8, 4), codebook_dim=5,
    sample_rate=16_000,
)  # fmt: skip
ODD = CodecConfig(
    encoder_dim=2, encoder_rates=(5, 8, 3), latent_dim=16, decoder_dim=48, decoder_rates=(8, 15), codebook_dim=4,
)  # fmt: skip


def random_codec(config: CodecConfig) -> DACVAE:
    """No weight is neutral, and signals keep their scale."""
    generator, model = torch.Generator().manual_seed(0), DACVAE(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            values = torch.randn(parameter.shape, generator=generator)
            last = name.rpartition(".")[2]
            if last in ("alpha", "weight_g"):
                parameter.copy_((0.3 * values).exp())
            else:
                parameter.copy_(0.1 * values if "bias" in last else values / max(1, parameter[0].numel()) ** 0.5)
    return model


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def bits(rows: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 2, (rows, 16), generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def small() -> DACVAE:
    return random_codec(SMALL).double()


@pytest.fixture(scope="module")
def reference(golden, golden_json) -> DACVAE:
    model = DACVAE(CodecConfig.of(golden_json("separator_config")["audio_codec"]))
    prefix = "audio_codec."
    tensors = golden("separator")
    model.load_state_dict({name[len(prefix) :]: tensors[name] for name in tensors if name.startswith(prefix)})
    return model


def recorded(modules: dict[str, nn.Module], run) -> dict[str, Tensor]:
    """What the modules answered during ``run``, pieces joined, as ``[B, C, T]``."""
    found: dict[str, list[Tensor]] = {name: [] for name in modules}
    hooks = [
        module.register_forward_hook(lambda _module, _inputs, output, name=name: found[name].append(output.clone()))
        for name, module in modules.items()
    ]
    with torch.inference_mode():
        run()
    for hook in hooks:
        hook.remove()
    return {name: torch.cat(pieces, dim=1).mT for name, pieces in found.items()}


@pytest.mark.parametrize("chunk", [None, 1, 2])
@pytest.mark.parametrize("name", ["encode", "encode1", "encode_short"])
def test_encoding_gives_the_references_mean(reference, golden, error, name, chunk) -> None:
    tensors = golden("codec_io")
    with torch.inference_mode():
        found = reference.encode(tensors[f"{name}.in"], chunk_frames=chunk)
    assert error(found, tensors[f"{name}.mean"]) < BOUND


def test_every_stage_of_the_encoder(reference, golden, error) -> None:
    tensors = golden("codec_io")
    stages = {f"encode1.stage.{index}": layer for index, layer in enumerate(reference.encoder.block)}
    for name, found in recorded(stages, lambda: reference.encode(tensors["encode1.in"])).items():
        assert error(found[..., :480], tensors[name]) < BOUND, name


def test_the_last_frame_is_padded_by_reflection(reference, golden) -> None:
    tensors = golden("codec_io")
    padded = reflect_pad(tensors["encode.in"], reference.hop_length)
    assert torch.equal(padded[..., -reference.hop_length :], tensors["encode.padded_last_frame"])


@pytest.mark.parametrize("chunk", [None, 1])
def test_every_stage_of_the_decoder(reference, golden, error, chunk) -> None:
    tensors = golden("codec_io")
    stages: dict[str, nn.Module] = {
        f"decode.stage.{index}": layer for index, layer in enumerate(reference.decoder.model)
    }
    stages["decode.emb"] = reference.quantizer.out_proj
    stages["decode.clean"] = reference.decoder.wm_model.encoder_block.pre[2]
    message = tensors["decode.message"]
    found = recorded(stages, lambda: reference.decode(tensors["decode.in"], message, chunk_frames=chunk))
    for name, stage in found.items():
        rows, _, length = tensors[name].shape
        assert error(stage[:rows, :, :length], tensors[name]) < BOUND, name
    assert reference.decoder.wm_model.alpha == tensors["decode.alpha"]


@pytest.mark.parametrize("chunk", [None, 1, 2])
def test_decoding_gives_the_references_waveform(reference, golden, error, chunk) -> None:
    tensors = golden("codec_io")
    latent, drawn = tensors["decode.in"], tensors["decode.seed77.message"]
    with torch.inference_mode():
        out = reference.decode(latent, tensors["decode.message"], chunk_frames=chunk)
        zeros = reference.decode(latent[:1], torch.zeros(1, 16), chunk_frames=chunk)
        seeded = reference.decode(latent, drawn, chunk_frames=chunk)
    assert error(out, tensors["decode.out"]) < BOUND
    assert error(zeros, tensors["decode.out_message0"]) < BOUND
    assert error(seeded[..., :32], tensors["decode.seed77.out_first32"]) < BOUND


def test_index_tables(golden_json) -> None:
    table = golden_json("codec_index")
    model = DACVAE(SMALL, decoder=False)
    model.hop_length, model.sample_rate = table["hop_length"], table["sample_rate"]
    for index, rate, expected in table["feature_idx_to_wav_idx"]:
        assert model.feature_to_wav(index, rate) == expected
    for index, rate, expected in table["wav_idx_to_feature_idx"]:
        assert model.wav_to_feature(index, rate) == expected


def dac_state(side: nn.Sequential | nn.ModuleList, blocks: list[list[tuple[str, nn.Module]]]) -> dict[str, Tensor]:
    """Kernels and frequencies under the names of transformers' DAC."""
    parts = [("conv1", side[0])]
    for index, layers in enumerate(blocks):
        parts += [(f"block.{index}.{name}", layer) for name, layer in layers]
    state = {}
    for name, layer in parts:
        names = {"": layer}
        if hasattr(layer, "block"):  # a residual unit
            names = dict(zip((".snake1", ".conv1", ".snake2", ".conv2"), layer.block, strict=True))
        for suffix, part in names.items():
            state |= dac_tensors(name + suffix, part)
    return state


def dac_tensors(name: str, layer: nn.Module) -> dict[str, Tensor]:
    if hasattr(layer, "alpha"):
        return {f"{name}.alpha": layer.alpha}
    return {f"{name}.weight": layer.kernel(), f"{name}.bias": layer.bias}


def dac_config():
    transformers = pytest.importorskip("transformers")
    return transformers.DacConfig(
        encoder_hidden_size=SMALL.encoder_dim, downsampling_ratios=list(SMALL.encoder_rates),
        decoder_hidden_size=SMALL.decoder_dim, upsampling_ratios=list(SMALL.decoder_rates),
    )  # fmt: skip


UNITS = ("res_unit1", "res_unit2", "res_unit3")


@torch.no_grad()
def test_the_encoder_is_that_of_dac(small, error) -> None:
    config = dac_config()
    from transformers.models.dac.modeling_dac import DacEncoder

    names = [*UNITS, "snake1", "conv1"]
    layers = small.encoder.block
    state = dac_state(layers, [list(zip(names, block.block, strict=True)) for block in layers[1:-2]])
    state |= dac_tensors("snake1", layers[-2]) | dac_tensors("conv2", layers[-1])
    theirs = DacEncoder(config).double()
    theirs.load_state_dict(state)
    waveform = noise(2, 1, 7 * 320).double()
    projected = F.conv1d(theirs(waveform), small.quantizer.in_proj.kernel(), small.quantizer.in_proj.bias)
    assert error(small.encode(waveform, chunk_frames=2), projected[:, :5]) < 1e-12


@torch.no_grad()
def test_the_clean_path_of_the_decoder_is_that_of_dac(small, error) -> None:
    config = dac_config()
    from transformers.models.dac.modeling_dac import DacDecoder

    names = ["snake1", "conv_t1", *UNITS]
    picked = [[block.block[key] for key in "01458"] for block in small.decoder.model[1:]]
    state = dac_state(small.decoder.model, [list(zip(names, layers, strict=True)) for layers in picked])
    snake, last, tanh, _ = small.decoder.wm_model.encoder_block.pre
    state |= dac_tensors("snake1", snake) | dac_tensors("conv2", last)
    theirs = DacDecoder(config).double()
    theirs.load_state_dict(state)
    latent = noise(2, 5, 9).double()
    projected = F.conv1d(latent, small.quantizer.out_proj.kernel(), small.quantizer.out_proj.bias)
    found = recorded({"clean": tanh}, lambda: small.decode(latent, bits(2), chunk_frames=2))
    assert error(found["clean"], theirs(projected)) < 1e-12


@settings(max_examples=20)
@given(length=st.integers(1, 3000), chunk=st.integers(1, 12), budget=st.integers(1, 5000), cut=st.integers(1, 64))
def test_pieces_leave_no_seam_in_the_latent(small, error, length, chunk, budget, cut) -> None:
    waveform = noise(2, 1, length, seed=length).double()
    with torch.inference_mode(), pytest.MonkeyPatch.context() as patch:
        whole = small.encode(waveform, chunk_frames=None)
        patch.setattr(codec_module, "_BUDGET", budget)
        patch.setattr(streaming, "_SLICE", cut)
        assert error(small.encode(waveform, chunk_frames=chunk), whole) < 1e-12
    assert whole.shape == (2, 5, -(-length // 320))


@settings(max_examples=20)
@given(frames=st.integers(1, 12), chunk=st.integers(1, 12), budget=st.integers(1, 5000), cut=st.integers(1, 64))
def test_pieces_leave_no_seam_in_the_waveform(small, error, frames, chunk, budget, cut) -> None:
    latent = noise(2, 5, frames, seed=frames).double()
    with torch.inference_mode(), pytest.MonkeyPatch.context() as patch:
        whole = small.decode(latent, bits(2), chunk_frames=None)
        patch.setattr(codec_module, "_BUDGET", budget)
        patch.setattr(streaming, "_SLICE", cut)
        assert error(small.decode(latent, bits(2), chunk_frames=chunk), whole) < 1e-12
    assert whole.shape == (2, 1, 320 * frames)


@pytest.mark.parametrize("chunk", [1, 3, 50])
def test_single_precision_rounds_alike_in_every_piece_and_row(reference, error, chunk) -> None:
    """The tiny network multiplies rounding errors by a hundred: another order of sums anywhere would show as 1e-5."""
    waveform, latent, message = 0.3 * noise(3, 1, 30_000), noise(3, 16, 12), bits(3)
    with torch.inference_mode():
        mean, out = reference.encode(waveform, chunk_frames=None), reference.decode(latent, message, chunk_frames=None)
        assert error(reference.encode(waveform[1:2], chunk_frames=chunk), mean[1:2]) < 1e-6
        assert error(reference.decode(latent[1:2], message[1:2], chunk_frames=chunk), out[1:2]) < 1e-6


@torch.inference_mode()
def test_odd_strides(error) -> None:
    """An odd stride of the encoder costs its last output, (T - stride - 1) // stride + 1; the decoder loses nothing."""
    model = random_codec(ODD).double()
    waveform, latent = noise(1, 1, 8 * 120).double(), noise(1, 4, 7).double()
    whole = model.encode(waveform, chunk_frames=None)
    assert whole.shape[-1] == ((960 // 5 - 1) // 8 - 4) // 3 + 1
    assert error(model.encode(waveform, chunk_frames=3), whole) < 1e-12
    whole = model.decode(latent, bits(1), chunk_frames=None)
    assert whole.shape[-1] == 7 * 120
    assert error(model.decode(latent, bits(1), chunk_frames=2), whole) < 1e-12


def test_odd_strides_may_leave_nothing() -> None:
    with pytest.raises(UsageError, match=r"odd rates \(5, 8, 3\) leave a frame, found one of 120 samples"):
        random_codec(ODD).encode(noise(1, 1, 120))


@pytest.mark.bits
def test_a_message_changes_the_mark_alone_and_causally(small) -> None:
    latent, tanh = noise(1, 5, 6).double(), small.decoder.wm_model.encoder_block.pre[2]
    cleans, outs = [], []
    for message in (torch.zeros(1, 16), torch.eye(16)[3:4], torch.ones(1, 16)):
        found = recorded({"clean": tanh}, lambda message=message: outs.append(small.decode(latent, message)))
        cleans.append(found["clean"])
    assert torch.equal(cleans[0], cleans[1])
    assert torch.equal(cleans[0], cleans[2])
    assert all((one - other).abs().max() > 1e-4 for one, other in zip(outs, [*outs[1:], outs[0]], strict=True))
    with torch.inference_mode():
        again = small.decode(latent, torch.ones(1, 16, dtype=torch.bool))
    assert torch.equal(again, outs[2])


@pytest.mark.bits
def test_the_mark_hears_only_what_was(small) -> None:
    clean, blocks = noise(1, 640, 1).double(), list(small.decoder.model[1:])
    changed = clean * (torch.arange(640) < 320)[:, None]
    with torch.inference_mode():
        marks = [small.decoder.wm_model.mark(one, bits(1), blocks, Stream()) for one in (clean, changed)]
    assert torch.equal(marks[0][:, :320], marks[1][:, :320])
    assert not torch.equal(marks[0][:, 320:], marks[1][:, 320:])


def test_rows_do_not_hear_each_other(small, error) -> None:
    latent, message = noise(3, 5, 4).double(), bits(3)
    with torch.inference_mode():
        together = small.decode(latent, message)
        for row in range(3):
            assert error(small.decode(latent[row : row + 1], message[row : row + 1]), together[row : row + 1]) < 1e-12


def test_folding_keeps_the_function_and_is_undone_by_loading(error) -> None:
    model, other = random_codec(SMALL).double(), random_codec(SMALL).double()
    waveform = noise(1, 1, 700).double()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.1)
        expected, theirs = model.encode(waveform), other.encode(waveform)
        model.fold_weight_norm()
        once = {name: value.clone() for name, value in model.state_dict().items()}
        model.fold_weight_norm()
        assert all(torch.equal(value, once[name]) for name, value in model.state_dict().items())
        first = model.encoder.block[0]
        assert first.kernel() is first.weight_v
        torch.testing.assert_close(first.weight_v.norm(dim=(1, 2), keepdim=True), first.weight_g)
        assert error(model.encode(waveform), expected) < 1e-12
        fresh = DACVAE(SMALL).double()
        fresh.load_state_dict(once)
        assert error(fresh.encode(waveform), expected) < 1e-12
        model.load_state_dict(other.state_dict())
        assert error(model.encode(waveform), theirs) < 1e-12
        model.fold_weight_norm()
        model.load_state_dict(other.state_dict(), assign=True)
        assert error(model.encode(waveform), theirs) < 1e-12


@pytest.mark.bits
def test_a_folded_codec_that_was_stored_answers_the_same_bit_for_bit() -> None:
    model, fresh, waveform = random_codec(SMALL), DACVAE(SMALL), noise(1, 1, 700)
    model.fold_weight_norm()
    fresh.load_state_dict(model.state_dict())
    fresh.fold_weight_norm()
    assert all(torch.equal(value, fresh.state_dict()[name]) for name, value in model.state_dict().items())
    with torch.inference_mode():
        assert torch.equal(fresh.encode(waveform), model.encode(waveform))


def test_gradients_reach_everything_and_are_right() -> None:
    model = random_codec(ODD).double()
    waveform, latent = noise(1, 1, 360).double().requires_grad_(), noise(1, 4, 2).double().requires_grad_()
    loss = model.encode(waveform, chunk_frames=2).square().sum()
    loss = loss + model.decode(latent, bits(1), chunk_frames=1).square().sum()
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert all(parameter.grad.abs().max() > 0 for name, parameter in model.named_parameters() if "weight_g" in name)
    small = latent.detach()[..., :1].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: model.decode(x, bits(1))[..., ::17], (small,))


def test_a_pass_with_gradients_undoes_folding_for_an_optimiser(error) -> None:
    model, fresh, waveform = random_codec(SMALL).double(), DACVAE(SMALL).double(), noise(1, 1, 700).double()
    model.fold_weight_norm()
    model.encode(waveform).sum().backward()
    with torch.no_grad():
        for parameter in model.encoder.parameters():
            parameter.sub_(0.01 * parameter.grad.sign())
        fresh.load_state_dict(model.state_dict())
        assert error(model.encode(waveform), fresh.encode(waveform)) < 1e-12


def test_inference_and_training_agree(small, error) -> None:
    waveform = noise(1, 1, 900).double()
    with torch.inference_mode():
        quiet = small.encode(waveform)
    assert error(small.encode(waveform).detach(), quiet) < 1e-12


def test_the_released_size_without_memory() -> None:
    with torch.device("meta"):
        model = DACVAE(CodecConfig())
        judge = DACVAE(CodecConfig(), decoder=False)
    counts = [sum(p.numel() for p in part.parameters()) for part in (model.encoder, model.quantizer, model.decoder)]
    assert [round(count / 1e6, 1) for count in counts] == [27.3, 0.4, 80.0]
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    assert {name: shape for name, shape in shapes.items() if not name.startswith("decoder.")} == {
        name: tuple(value.shape) for name, value in judge.state_dict().items()
    }
    mark = "decoder.wm_model"
    expected = {
        "encoder.block.0.weight_v": (64, 1, 7),
        "encoder.block.4.block.4.weight_v": (1024, 512, 24),
        "encoder.block.6.weight_g": (1024, 1, 1),
        "quantizer.in_proj.weight_v": (256, 1024, 1),
        "decoder.model.0.weight_v": (1536, 1024, 7),
        "decoder.model.1.block.1.weight_g": (1536, 1, 1),
        "decoder.model.2.block.3.weight": (256, 128, 10),
        "decoder.model.4.block.6.block.1.weight": (16, 32, 3),
        "decoder.model.4.block.11.weight": (64, 32, 4),
        f"{mark}.encoder_block.pre.0.alpha": (1, 96, 1),
        f"{mark}.encoder_block.pre.3.weight": (32, 1, 7),
        f"{mark}.encoder_block.post.0.lstm.weight_hh_l1": (2048, 512),
        f"{mark}.encoder_block.post.2.weight": (128, 512, 7),
        f"{mark}.msg_processor.msg_processor.weight": (32, 128),
        f"{mark}.decoder_block.pre.0.weight": (512, 128, 7),
        f"{mark}.decoder_block.post.1.weight": (1, 32, 7),
    }
    assert {name: shapes.get(name) for name in expected} == expected


@given(length=st.integers(2, 40), multiple=st.integers(1, 41))
def test_reflection_is_torchs_where_torch_can(length, multiple) -> None:
    wave = noise(1, 1, length)
    missing = -length % multiple
    padded = reflect_pad(wave, multiple)
    if missing < length:
        assert torch.equal(padded, F.pad(wave, (0, missing), mode="reflect"))
    assert padded.shape[-1] % multiple == 0
    place = torch.arange(padded.shape[-1])
    assert torch.equal(padded, wave[..., (place + length - 1).remainder(2 * length - 2).sub(length - 1).abs()])


@pytest.mark.parametrize(("wave", "expected"), [([3.0], [3.0] * 6), ([1.0, 2.0], [1.0, 2.0, 1.0, 2.0, 1.0, 2.0])])
def test_clips_too_short_for_one_reflection(wave, expected) -> None:
    assert reflect_pad(torch.tensor(wave), 6).tolist() == expected


@torch.inference_mode()
def test_one_sample_is_a_frame_and_silence_is_answered(small) -> None:
    assert small.encode(torch.ones(1, 1, 1).double()).shape == (1, 5, 1)
    assert small.encode(torch.zeros(1, 1, 650).double()).isfinite().all()


@pytest.mark.parametrize("shape", [(1, 1, 0), (1, 320), (1, 2, 320)])
def test_waveforms_that_cannot_be_meant(small, shape) -> None:
    with pytest.raises(UsageError, match="waveform"):
        small.encode(torch.zeros(shape).double())
    with pytest.raises(UsageError, match="float waveform"):
        small.encode(torch.zeros(1, 1, 320, dtype=torch.int16))


@pytest.mark.parametrize(
    ("latent", "message", "said"),
    [
        (torch.zeros(1, 5, 0), torch.zeros(1, 16), "at least one frame"),
        (torch.zeros(1, 4, 2), torch.zeros(1, 16), r"\[batch, 5, frames\]"),
        (torch.zeros(5, 2), torch.zeros(1, 16), r"\[batch, 5, frames\]"),
        (torch.zeros(2, 5, 2), torch.zeros(1, 16), r"\[2, 16\]"),
        (torch.zeros(1, 5, 2), torch.zeros(1, 8), r"\[1, 16\]"),
        (torch.zeros(1, 5, 2), torch.full((1, 16), 0.5), "zeros and ones"),
    ],
)
def test_latents_and_messages_that_cannot_be_meant(small, latent, message, said) -> None:
    with pytest.raises(UsageError, match=said):
        small.decode(latent.double(), message)


def test_other_refusals(small) -> None:
    with pytest.raises(UsageError, match="chunk_frames"):
        small.encode(torch.zeros(1, 1, 320).double(), chunk_frames=0)
    with pytest.raises(UsageError, match="decoder"):
        DACVAE(SMALL, decoder=False).decode(torch.zeros(1, 5, 2), torch.zeros(1, 16))


@pytest.mark.parametrize(
    ("encoder_rates", "decoder_rates", "width"),
    [
        ((4, 8, 10), (10, 8, 2), 48),
        ((4, 8, 10), (10, 8, 4), 40),
        ((4, 6, 10), (10, 6, 4), 48),
        ((2,) * 5, (2,) * 5, 960),
    ],
)
def test_decoders_that_fit_no_watermark(encoder_rates, decoder_rates, width) -> None:
    config = CodecConfig(encoder_rates=encoder_rates, decoder_rates=decoder_rates, decoder_dim=width)
    assert DACVAE(config, decoder=False).decoder is None
    with pytest.raises(Precondition, match="decoder_"):
        DACVAE(config)
