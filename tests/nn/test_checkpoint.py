"""Files of weights: strict, mapped, never unpickled, and every fault in one sentence."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from misalign import SHIFTS, misalign
from safetensors.torch import save_file
from torch import nn

from sam_audio_bench.errors import Precondition
from sam_audio_bench.nn.checkpoint import load_in_parts, load_strict, open_weights, strip_prefix


def layer() -> nn.Linear:
    with torch.device("meta"):
        return nn.Linear(3, 2)


@pytest.mark.parametrize("name", ["checkpoint.pt", "model.safetensors"])
def test_both_formats_give_the_same_tensors(tmp_path: Path, name: str) -> None:
    tensors = {"weight": torch.randn(2, 3), "bias": torch.randn(2)}
    (torch.save if name.endswith("pt") else save_file)(tensors, tmp_path / name)
    found = open_weights(tmp_path)
    assert all(torch.equal(found[key], value) for key, value in tensors.items())


@pytest.mark.parametrize("shift", [0, *SHIFTS])
@pytest.mark.parametrize("in_parts", [False, True])
def test_only_what_a_file_does_not_align_is_copied(tmp_path: Path, shift: int, in_parts: bool) -> None:
    file = tmp_path / "model.safetensors"
    save_file({"weight": torch.randn(16, 3), "bias": torch.randn(16), "running": torch.randn(5)}, file)
    misalign(file, shift)
    with torch.device("meta"):
        module = nn.Linear(3, 16)
        module.register_buffer("running", torch.empty(5))
    found = open_weights(file)
    places = {name: value.data_ptr() for name, value in found.items()}
    assert {name for name, place in places.items() if place % 64 == 0} == (set() if shift else {"bias", "running"})
    if in_parts:
        load_in_parts(module, file, [""], dtype=torch.float32, device=torch.device("cpu"))
    else:
        load_strict(module, found, source=file)
        for name, value in module.state_dict().items():
            assert (value.data_ptr() == places[name]) == (places[name] % 64 == 0)
    for name, value in module.state_dict().items():
        assert value.data_ptr() % 64 == 0
        assert torch.equal(value, found[name])


@pytest.mark.parametrize("name", ["checkpoint.pt", "model.safetensors"])
def test_a_truncated_file_is_told(tmp_path: Path, name: str) -> None:
    (torch.save if name.endswith("pt") else save_file)({"weight": torch.randn(200, 30)}, tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(Precondition, match=f"whole weight file at .*{name}.*truncated or damaged"):
        open_weights(tmp_path)


@pytest.mark.parametrize("name", ["checkpoint.pt", "model.safetensors"])
@pytest.mark.parametrize(
    "content", [b"", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", b"<html></html>"]
)
def test_what_stands_in_for_a_weight_file_is_told(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(Precondition, match=r"whole weight file at .*truncated or damaged"):
        open_weights(tmp_path)


@pytest.mark.parametrize("name", ["checkpoint.pt", "model.safetensors"])
def test_a_file_that_lacks_its_last_byte_is_told(tmp_path: Path, name: str) -> None:
    (torch.save if name.endswith("pt") else save_file)({"weight": torch.randn(200, 30)}, tmp_path / name)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-1])
    with pytest.raises(Precondition, match=r"whole weight file at .*truncated or damaged"):
        open_weights(tmp_path)


class _Trap:
    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("trap"),))


def test_a_pickle_is_not_unpickled(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": _Trap()}, tmp_path / "checkpoint.pt")
    with pytest.raises(Precondition, match="truncated or damaged"):
        open_weights(tmp_path)
    (tmp_path / "checkpoint.pt").write_bytes(pickle.dumps(_Trap()))
    with pytest.raises(Precondition, match="truncated or damaged"):
        open_weights(tmp_path)
    assert not (tmp_path / "trap").exists()


def test_other_things_than_tensors_are_refused(tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "checkpoint.pt")
    with pytest.raises(Precondition, match="dictionary of tensors"):
        open_weights(tmp_path)
    (tmp_path / "nowhere").mkdir()
    with pytest.raises(Precondition, match=r"model.safetensors or checkpoint.pt in .*nowhere"):
        open_weights(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"weight": torch.zeros(2, 3)}, r"1 missing \(bias\)"),
        ({"weight": torch.zeros(2, 3), "bias": torch.zeros(2), "gain": torch.zeros(1)}, r"1 unexpected \(gain\)"),
        ({"weight": torch.zeros(3, 2), "bias": torch.zeros(2)}, r"another shape \(weight \(3, 2\) instead of \(2, 3\)"),
    ],
)
def test_missing_unexpected_and_misshapen_names_are_told(tensors, message) -> None:
    with pytest.raises(Precondition, match=message):
        load_strict(layer(), tensors, source=Path("x"))


def test_optional_names_may_be_missing() -> None:
    module = nn.Linear(3, 2)
    before = module.bias.clone()
    load_strict(module, {"weight": torch.ones(2, 3)}, source=Path("x"), optional=("bias",))
    assert torch.equal(module.bias, before)
    assert bool((module.weight == 1).all())


def test_under_strips_a_prefix() -> None:
    assert strip_prefix({"a.b": torch.tensor(1), "c": torch.tensor(2)}, "a.").keys() == {"b"}
