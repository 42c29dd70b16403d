"""Weight files whose tensors lie where no processor likes them."""

from __future__ import annotations

import shutil
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

SHIFTS = (4, 12, 28)
"""Bytes behind a multiple of 64 at which the tensors of a file begin; float32 needs multiples of 4."""


def misalign(file: Path, shift: int) -> None:
    """Moves the tensors of a safetensors file by filling its header with blanks, which the format allows."""
    content = file.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header, tensors = content[8 : 8 + size].rstrip(b" "), content[8 + size :]
    header += b" " * ((shift - 8 - len(header)) % 64)
    file.write_bytes(len(header).to_bytes(8, "little") + header + tensors)


def misaligned_copy(folder: Path, target: Path, shift: int, tensors: dict[str, Tensor] | None = None) -> Path:
    """A copy of a model's folder with its ``model.safetensors``, or with the given tensors, moved."""
    shutil.copytree(folder, target)
    if tensors is not None:
        save_file({name: value.contiguous() for name, value in tensors.items()}, target / "model.safetensors")
    misalign(target / "model.safetensors", shift)
    return target
