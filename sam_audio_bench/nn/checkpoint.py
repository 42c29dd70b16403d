"""Loading of weights into networks: memory-mapped, never unpickled, strict, and aligned.

A safetensors file or a ``torch.save``d dictionary is mapped into memory; a module that was created on the meta device
uses the mapped tensors directly, so pages that no forward pass touches are never read. Only tensors that are not
aligned in the file are copied, see `align_weights`.
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

__all__ = ["align_weights", "check_strict", "load_in_parts", "load_strict", "open_weights", "strip_prefix"]

_ALIGNMENT = 64  # bytes: alignment of torch's own allocator
_SHOWN = 3  # number of names in a message


def open_weights(path: Path) -> dict[str, Tensor]:
    """Maps the tensors of a weight file, or of the weight file in a folder.

    Raises:
        Precondition: the file is truncated, damaged, not a dictionary of tensors, or contains other objects.
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


def strip_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Returns the tensors whose names begin with a prefix, under their names without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def align_weights(module: nn.Module) -> None:
    """Copies the parameters and buffers of a module whose addresses are not multiples of 64 bytes.

    A matrix's alignment determines the order in which a processor sums products, and hence the last bits of a network's
    output. torch allocates at such multiples; in a mapped file the alignment depends on the length of the header.
    """
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.data_ptr() % _ALIGNMENT:
            tensor.data = tensor.data.clone()


def load_strict(
    module: nn.Module, tensors: Mapping[str, Tensor], *, source: Path, optional: Sequence[str] = ()
) -> None:
    """Assigns the weights of a module, aligned; arguments and errors as in `check_strict`."""
    check_strict(module, tensors, source=source, optional=optional)
    module.load_state_dict(dict(tensors), strict=False, assign=True)
    align_weights(module)


def load_in_parts(
    module: nn.Module, file: Path, parts: Iterable[str], *, prefix: str = "", dtype: torch.dtype, device: torch.device
) -> None:
    """Loads the weights of parts of a module one by one, each from its own mapping.

    Hence memory of a part that is cast or moved can be freed before the next one is read.

    Args:
        module: on the meta device; its weights must have passed `check_strict`.
        file: the weight file.
        parts: names of submodules, "" for the module itself; tensors of earlier parts are not loaded again.
        prefix: prefix of the module's names in the file.
        dtype: data type of the loaded parts.
        device: device of the loaded parts.
    """
    done: list[str] = []
    for part in parts:
        start = f"{part}." if part else ""
        tensors = {
            name: value
            for name, value in strip_prefix(open_weights(file), prefix).items()
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
        module: the module, possibly on the meta device.
        tensors: the weights, by the module's own names.
        source: the file, for messages.
        optional: regular expressions of names that may be missing.

    Raises:
        Precondition: a name is missing or unexpected, or a shape differs.
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
    problems = [
        f"{len(names)} {what} ({_some(names)})"
        for what, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", other))
        if names
    ]
    if problems:
        raise Precondition(
            f"expected in {source} the {len(expected)} tensors of this {type(module).__name__}, found "
            f"{', '.join(problems)}; check that config.json and the weights belong together"
        )


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
