"""Names of devices, what is said where there is none, and exact float32."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sam_audio_bench.devices import deterministic_fp32, device_unavailable_reason, find_device, require_device
from sam_audio_bench.errors import Precondition, UsageError
from sam_audio_bench.judge import load
from sam_audio_bench.nn import SAMAudio


def test_names() -> None:
    assert find_device("cpu") == find_device(torch.device("cpu")) == torch.device("cpu")
    assert find_device("cuda:1") == torch.device("cuda", 1)
    assert find_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(UsageError, match="expected device to be auto, cpu or cuda, found 'gpu'"):
        find_device("gpu")


def test_a_gpu_too_many_is_lacking() -> None:
    count = torch.cuda.device_count()
    assert device_unavailable_reason(torch.device("cpu")) is None
    assert (
        device_unavailable_reason(torch.device("cuda", count))
        == f"expected a CUDA device for cuda:{count}, found {count or 'none'}"
    )
    with pytest.raises(Precondition, match="use device=cpu"):
        require_device(f"cuda:{count}")


def test_networks_say_so_before_they_look_for_weights(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="found 'gpu'"):
        load("saj-mini", device="gpu")
    with pytest.raises(UsageError, match="found 'gpu'"):
        SAMAudio.from_pretrained(tmp_path, device="gpu")


def test_exactly_turns_rounding_off_and_nothing_else() -> None:
    def flags() -> tuple[bool, ...]:
        cudnn = torch.backends.cudnn
        return cudnn.enabled, cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32

    before = flags()
    with deterministic_fp32():
        assert flags() == (before[0], True, False, False)
    assert flags() == before
