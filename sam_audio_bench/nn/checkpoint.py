"""Weights from a file into a network: mapped, never unpickled, strict, and aligned.

A safetensors file or a ``torch.save``d dictionary is mapped into memory; a module that was made on the meta device
takes the mapped tensors as they are, so pages that no forward pass touches are never read. Only tensors that a file
does not align are copied, see `align_weights`.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from sam_audio_bench.errors import Precondition
from sam_audio_bench.nn.hub import weight_file

__all__ = ["align_weights", "check_strict", "load_in_parts", "load_strict", "open_weights", "under"]

_ALIGNMENT = 64  # bytes: where torch's own allocator puts every tensor
_SHOWN = 3  # names in a message


def open_weights(path: Path) -> dict[str, Tensor]:
    """The mapped tensors of a weight file, or of the weight file in a folder.

    Raises:
        Precondition: a file that is truncated, damaged, no dictionary of tensors, or holds more than tensors.
    """
    file = weight_file(path) if path.is_dir() else path
    try:
        found = (
            load_file(file)
            if file.suffix == ".safetensors"
            else torch.load(file, map_location="cpu", mmap=True, weights_only=True)
        )
    except (SafetensorError, pickle.UnpicklingError, EOFError, RuntimeError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())[:160]
        raise Precondition(
            f"expected a whole weight file at {file}, found one that is truncated or damaged ({reason}); get it again"
        ) from error
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise Precondition(f"expected a dictionary of tensors in {file}, found {type(found).__name__} of other things")
    return found


def under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def align_weights(module: nn.Module) -> None:
    """Copies the parameters and buffers of a module that do not begin at a multiple of 64 bytes.

    Where a matrix begins decides in which order a processor sums its products, hence the last bits of what a network
    answers. torch allocates at such multiples; a mapped file puts a tensor wherever its header ends.
    """
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.data_ptr() % _ALIGNMENT:
            tensor.data = tensor.data.clone()


def load_strict(
    module: nn.Module, tensors: Mapping[str, Tensor], *, source: Path, optional: Sequence[str] = ()
) -> None:
    """Gives a module its weights by assignment, aligned; arguments and errors as in `check_strict`."""
    check_strict(module, tensors, source=source, optional=optional)
    module.load_state_dict(dict(tensors), strict=False, assign=True)
    align_weights(module)


def load_in_parts(
    module: nn.Module, file: Path, parts: Iterable[str], *, prefix: str = "", dtype: torch.dtype, device: torch.device
) -> None:
    """Gives parts of a module their weights, one part after another, each from a mapping of its own.

    So what is read for a part that is cast or moved can be dropped before the next one is read.

    Args:
        module: on the meta device; `check_strict` has seen the weights.
        file: the weights.
        parts: names of submodules, "" for the module itself; a later one leaves out what an earlier one holds.
        prefix: of the module's names in the file.
        dtype: that the parts get.
        device: where they go.
    """
    done: list[str] = []
    for part in parts:
        start = f"{part}." if part else ""
        tensors = {
            name: value
            for name, value in under(open_weights(file), prefix).items()
            if name.startswith(start) and not name.startswith(tuple(done))
        }
        module.load_state_dict(tensors, strict=False, assign=True)
        for name, parameter in module.get_submodule(part).named_parameters():
            if start + name in tensors:
                parameter.data = parameter.data.to(device=device, dtype=dtype)
        align_weights(module.get_submodule(part))
        done.append(start)


def check_strict(
    module: nn.Module, tensors: Mapping[str, Tensor], *, source: Path, optional: Sequence[str] = ()
) -> None:
    """Compares the names and shapes of weights with those of a module.

    Args:
        module: may be on the meta device.
        tensors: by the module's own names.
        source: the file, for messages.
        optional: regular expressions of names that may be missing.

    Raises:
        Precondition: a name is missing or unexpected, or a shape is another one.
    """
    expected = {name: tuple(value.shape) for name, value in module.state_dict(keep_vars=True).items()}
    found = {name: tuple(value.shape) for name, value in tensors.items()}
    missing = [name for name in expected if name not in found and not any(re.match(form, name) for form in optional)]
    unexpected = [name for name in found if name not in expected]
    other = [
        f"{name} {found[name]} instead of {shape}"
        for name, shape in expected.items()
        if name in found and found[name] != shape
    ]
    faults = [
        f"{len(names)} {what} ({_some(names)})"
        for what, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", other))
        if names
    ]
    if faults:
        raise Precondition(
            f"expected in {source} the {len(expected)} tensors of this {type(module).__name__}, found "
            f"{', '.join(faults)}; check that config.json and the weights belong together"
        )


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
