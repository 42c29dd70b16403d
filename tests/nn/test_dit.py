"""The transformer against the reference's tensors, its options, and what its masks promise."""

from __future__ import annotations

import pytest
import torch

from sam_audio_bench.errors import Precondition, UsageError
from sam_audio_bench.nn.config import TransformerConfig
from sam_audio_bench.nn.dit import DiT, sinusoidal_embedding

BOUND = 2e-6
SMALL = TransformerConfig(
    dim=24, n_heads=3, n_layers=2, frequency_embedding_dim=16, context_dim=24, out_channels=8, multiple_of=8,
    max_positions=40,
)  # fmt: skip


def random_dit(config: TransformerConfig) -> DiT:
    generator = torch.Generator().manual_seed(0)
    model = DiT(config).eval()
    for parameter in model.parameters():
        with torch.no_grad():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model


def inputs(frames: int, batch: int = 2, tokens: int = 3) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        "x": torch.randn(batch, frames, 24, generator=generator),
        "time": torch.rand(batch, generator=generator),
        "memory": torch.randn(batch, tokens, 24, generator=generator),
    }


@pytest.mark.parametrize("case", [0, 1])
def test_options_give_the_references_tensors(golden, golden_json, error, case) -> None:
    tensors = golden(f"dit_options_{case}")
    model = DiT(TransformerConfig.of(golden_json(f"dit_options_{case}")))
    model.load_state_dict({name[6:]: value for name, value in tensors.items() if name.startswith("state.")})
    given = {"x": tensors["in.x"], "time": tensors["in.time"], "memory": tensors["in.memory"]}
    masks = {name: tensors[f"in.{name}"] for name in ("padding_mask", "memory_padding_mask")}
    with torch.inference_mode():
        assert error(model(**given, **masks), tensors["out"]) < BOUND
        assert error(model(**given), tensors["out.nomask"]) < BOUND


@pytest.mark.parametrize("case", [0, 1])
def test_state_dict_round_trips_through_the_permutation_of_heads(golden, golden_json, case) -> None:
    state = {name[6:]: value for name, value in golden(f"dit_options_{case}").items() if name.startswith("state.")}
    model = DiT(TransformerConfig.of(golden_json(f"dit_options_{case}")))
    model.load_state_dict(state)
    found = model.state_dict()
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], value) for name, value in state.items())


def test_heads_really_are_permuted() -> None:
    """With one head there is nothing to permute; with three, loading must change the order of the rows."""
    state = {name: torch.randn_like(value) for name, value in DiT(SMALL).state_dict().items()}
    model = DiT(SMALL)
    model.load_state_dict(state)
    name = "layers.0.attention.wq.weight"
    raw = dict(model.named_parameters())[name]
    assert not torch.equal(raw, state[name])
    assert torch.equal(raw[8], state[name][1])  # head 1, element 0: channel 1


@pytest.mark.bits
def test_masked_keys_have_no_effect() -> None:
    model = random_dit(SMALL)
    given = inputs(10)
    keep = torch.tensor([[True, True, False], [True, False, False]])
    other = given["memory"].masked_fill(~keep[..., None], 7.0)
    with torch.inference_mode():
        first = model(**given, memory_padding_mask=keep)
        second = model(**{**given, "memory": other}, memory_padding_mask=keep)
    assert torch.equal(first, second)


def test_rows_of_a_batch_do_not_see_each_other() -> None:
    model = random_dit(SMALL)
    given = inputs(10)
    with torch.inference_mode():
        together = model(**given)
        alone = torch.cat([model(**{name: value[row : row + 1] for name, value in given.items()}) for row in (0, 1)])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


def test_more_frames_than_positions_are_refused() -> None:
    with pytest.raises(UsageError, match="at most 40 frames"):
        random_dit(SMALL)(**inputs(41))


def test_impossible_configs_are_refused() -> None:
    with pytest.raises(Precondition, match="heads"):
        TransformerConfig.of({"dim": 10, "n_heads": 3})
    with pytest.raises(Precondition, match="expected an activation"):
        DiT(TransformerConfig.of({"dim": 8, "n_heads": 2, "non_linearity": "tanh"}))


def test_bfloat16_stays_near_float32() -> None:
    model, given = random_dit(SMALL), inputs(10)
    with torch.inference_mode():
        exact = model(**given)
        model.to(torch.bfloat16)
        coarse = model(**{name: value if name == "time" else value.bfloat16() for name, value in given.items()})
    assert coarse.dtype == torch.bfloat16
    assert torch.linalg.vector_norm(coarse.float() - exact) < 0.1 * torch.linalg.vector_norm(exact)


def test_sinusoids_are_cosines_then_sines() -> None:
    found = sinusoidal_embedding(torch.tensor([0.0, 1.0]), 4)
    angle = torch.tensor([1.0, 10_000**-0.5])
    torch.testing.assert_close(found[0], torch.tensor([1.0, 1.0, 0.0, 0.0]))
    torch.testing.assert_close(found[1], torch.cat([angle.cos(), angle.sin()]))


def test_hidden_width_of_the_released_sizes() -> None:
    """Widths of the feed-forward layers that were counted in released checkpoints."""
    assert [TransformerConfig(dim=dim).hidden for dim in (1024, 1536, 2048)] == [2752, 4096, 5504]
    assert TransformerConfig(dim=2816, n_heads=22).hidden == 7552


def test_golden_files_hold_nontrivial_gates(golden) -> None:
    """Parity would prove little if the tables that modulate were zero."""
    state = golden("separator")
    tables = [value for name, value in state.items() if name.endswith(("scale_shift_table", "gate"))]
    assert tables
    assert all(bool((table != 0).all()) for table in tables)
