"""PE-A-Frame against the reference: embeddings, logits, and every span; and what it makes of padding."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from misalign import SHIFTS, misaligned_copy
from safetensors.torch import load_file, save_file
from torch import Tensor

from sam_audio_bench.errors import Precondition, UsageError
from sam_audio_bench.nn.span_predictor import SpanPredictor, extract_spans

NETWORK, CODEC = 2e-6, 1e-5
GOLDEN = Path(__file__).parents[1] / "golden"


class _Letters:
    """A tokenizer of the letters a to z."""

    def __call__(self, texts: list[str], **_: Any) -> dict[str, Tensor]:
        rows = [torch.tensor([2, *(ord(letter) - 90 for letter in text if letter != " ")]) for text in texts]
        pad = torch.nn.utils.rnn.pad_sequence
        ids, mask = pad(rows, batch_first=True), pad([torch.ones_like(row) for row in rows], batch_first=True)
        return {"input_ids": ids, "attention_mask": mask}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reference's tiny span predictor, as a folder."""
    folder = tmp_path_factory.mktemp("peaframe")
    shutil.copy(GOLDEN / "peaframe.safetensors", folder / "model.safetensors")
    shutil.copy(GOLDEN / "peaframe_config.json", folder / "config.json")
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> SpanPredictor:
    found = SpanPredictor.from_pretrained(folder)
    found.tokenizer = _Letters()
    return found


@pytest.fixture(scope="module")
def tensors(golden) -> dict[str, Tensor]:
    return golden("peaframe_io")


def logits(model: SpanPredictor, tensors: dict[str, Tensor], *, masked: bool = True) -> Tensor:
    with torch.inference_mode():
        return model.logits(
            tensors["in.input_features"],
            tensors["in.input_ids"],
            tensors["in.attention_mask"],
            tensors["in.padding_mask"] if masked else None,
        )


def as_tuples(rows: list[list[list[float]]]) -> list[list[tuple[float, ...]]]:
    return [[tuple(span) for span in row] for row in rows]


def test_the_references_embeddings_and_logits(model, tensors, error) -> None:
    with torch.inference_mode():
        audio = model.embed_audio(tensors["in.input_features"], tensors["in.padding_mask"])
        text = model.embed_text(tensors["in.input_ids"], tensors["in.attention_mask"])
        assert error(audio, tensors["out.audio_embeds"]) < NETWORK
        assert error(model.embed_audio(tensors["in.input_features"]), tensors["out_nomask.audio_embeds"]) < NETWORK
        assert error(text, tensors["out.text_embeds"]) < NETWORK
    assert error(logits(model, tensors), tensors["out.logits"]) < NETWORK


def test_a_config_may_leave_the_layer_of_texts_open(model, folder, tensors, tmp_path: Path) -> None:
    """``"nth_text_layer": null`` is the last state, which a number names too."""
    config = json.loads((folder / "config.json").read_text())
    found = []
    for layer in (None, len(model.text_model.layers), config["nth_text_layer"]):
        shutil.copytree(folder, place := tmp_path / str(layer))
        (place / "config.json").write_text(json.dumps({**config, "nth_text_layer": layer}))
        with torch.inference_mode():
            other = SpanPredictor.from_pretrained(place)
            found.append(other.embed_text(tensors["in.input_ids"], tensors["in.attention_mask"]))
    assert torch.equal(found[0], found[1])
    assert not torch.allclose(found[0], found[2])


@pytest.mark.bits
@pytest.mark.parametrize("shift", SHIFTS)
def test_logits_do_not_depend_on_where_a_file_puts_a_tensor(model, folder, tensors, tmp_path, shift) -> None:
    moved = SpanPredictor.from_pretrained(misaligned_copy(folder, tmp_path / "moved", shift))
    assert torch.equal(logits(moved, tensors), logits(model, tensors))


def test_its_own_codec(model, tensors, error) -> None:
    with torch.inference_mode():
        assert error(model.encode(tensors["dac.in"]), tensors["dac.out"]) < CODEC


def test_the_references_spans(model, tensors, golden_json) -> None:
    expected = golden_json("peaframe_spans")
    for masked, name in ((True, "model_spans"), (False, "model_spans_nomask")):
        found = extract_spans(logits(model, tensors, masked=masked).sigmoid(), 0.3, hop=1920, rate=48_000)
        assert found == as_tuples(expected[name])


def test_every_table_of_spans(golden_json) -> None:
    cases = golden_json("peaframe_spans")["cases"]
    assert len(cases) > 3
    for case in cases:
        probabilities = torch.tensor(case["logits"]).sigmoid()
        assert (probabilities > case["threshold"]).int().tolist() == case["preds"]
        found = extract_spans(probabilities, case["threshold"], hop=case["hop"], rate=case["sr"])
        assert found == as_tuples(case["spans"])


@given(st.lists(st.booleans(), min_size=1, max_size=30))
def test_spans_say_which_frames_were_active(active: list[bool]) -> None:
    (found,) = extract_spans(torch.tensor([active]).float(), hop=1, rate=1)
    assert [any(start <= frame < end for start, end in found) for frame in range(len(active))] == active
    assert all(first[1] < second[0] for first, second in pairwise(found))  # maximal, in order


def test_the_keys_are_the_checkpoints(model, golden) -> None:
    expected = {name: value.shape for name, value in golden("peaframe").items()}
    assert {name: value.shape for name, value in model.state_dict().items()} == expected
    assert (model.hop_length, model.sample_rate) == (1920, 48_000)


def test_padding_changes_nothing(model, tensors) -> None:
    latents, texts, lengths = tensors["in.input_features"] + 0.2, ["dog", "a long bark", "rain"], [23, 11, 4]
    together = model.predict(latents, texts, lengths, threshold=0.5)
    alone = [
        model.predict(latents[row : row + 1, :length], texts[row : row + 1], threshold=0.5)[0]
        for row, length in enumerate(lengths)
    ]
    assert together == alone
    assert sum(map(len, together)) > 3
    assert all(end <= length * 0.04 + 1e-6 for row, length in zip(together, lengths, strict=True) for _, end in row)


def test_the_reference_lets_spans_run_into_padding(model, tensors) -> None:
    latents = tensors["in.input_features"]
    texts, lengths = ["dog", "bark", "rain"], [3, 3, 3]
    unclipped = model.predict(latents, texts, lengths, threshold=0.2, clip=False)
    assert max(end for row in unclipped for _, end in row) > 0.13
    assert model.predict(latents, texts, lengths, threshold=0.2) != unclipped


@pytest.mark.parametrize(("texts", "lengths"), [("a", None), ("abc", [1, 2]), ("abc", [0, 1, 1]), ("abc", [24, 1, 1])])
def test_what_does_not_belong_together_is_refused(model, tensors, texts, lengths) -> None:
    with pytest.raises(UsageError, match="a text and a length of 1 to 23 frames for each of 3 items"):
        model.predict(tensors["in.input_features"], texts, lengths)


def test_another_layout_is_explained(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "pe_audio", "audio_config": {}}))
    save_file({}, tmp_path / "model.safetensors")
    with pytest.raises(Precondition, match=r"expected audio_model in .*another layout.*revision perception_models"):
        SpanPredictor.from_pretrained(tmp_path)


def test_a_missing_weight_is_told(folder: Path, tmp_path: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors["logit_scale"]
    save_file(tensors, tmp_path / "model.safetensors")
    shutil.copy(folder / "config.json", tmp_path)
    with pytest.raises(Precondition, match=r"1 missing \(logit_scale\)"):
        SpanPredictor.from_pretrained(tmp_path)
