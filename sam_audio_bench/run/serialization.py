"""Serialization of messages between a run and its workers: separators, items, estimates and errors as bytes.

Audio is restored bit for bit, in memory aligned as torch aligns its own, since with another alignment sums are computed
in another order. An error is sent as the name of its class and its text: the class need not exist in the other process.
"""

from __future__ import annotations

import io
import pickle
import sys
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import cloudpickle
import torch
from torch import Tensor

from sam_audio_bench.errors import BadSeparation, BenchError, UsageError, describe_error

__all__ = ["SerializedError", "dump", "dump_code", "load", "pickles_by_reference"]

_PLAIN = (torch.float32, torch.float64, torch.float16)


class _Pickler(pickle.Pickler):
    """Pickles tensors as arrays: only their own part of a larger storage, and without torch's own file format."""

    def reducer_override(self, value: Any) -> Any:
        """Returns how a value is rebuilt; NotImplemented: as pickle does."""
        if type(value) is Tensor and value.device.type == "cpu" and value.dtype in _PLAIN:
            plain = value.layout is torch.strided and not value.requires_grad and not value.is_neg()
            if plain:
                return torch.tensor, (value.contiguous().numpy(),)
        return NotImplemented


def dump(value: Any) -> bytes:
    """Returns a message as bytes."""
    stream = io.BytesIO()
    _Pickler(stream, protocol=pickle.HIGHEST_PROTOCOL).dump(value)
    return stream.getvalue()


def load(content: bytes) -> Any:
    """Restores what `dump` or `dump_code` returned; the sender must be trusted, since pickles can run code."""
    return pickle.loads(content)


def dump_code(value: Any, *others: Any, name: str, whole: bool = False) -> bytes:
    """Serializes a function, class or object with the code that it needs; `load` returns a tuple.

    What another process can import is sent by name, unless ``whole``; code of a notebook or script, which it cannot
    import, is sent by value.

    Args:
        value: the function, class or object.
        others: plain values sent with it.
        name: for messages.
        whole: send its module by value, as it is in memory.

    Raises:
        UsageError: it contains something that exists only in this process.
    """
    found = _class_or_function(value)
    with _pickled_by_value(_user_module(found) if whole or _is_not_importable(found) else None):
        try:
            return bytes(cloudpickle.dumps((value, *others)))
        except Exception as error:  # any, from the state of a user's object
            raise UsageError(
                f"expected {name} to be something that can be sent to a worker process, found {describe_error(error)}; "
                "give its class or module:attribute, of which each worker makes its own, or run it here, without "
                "--executor, --timeout and --memory"
            ) from error


def pickles_by_reference(value: Any) -> bool:
    """Returns whether a user's function or class is sent by name, or an object by the name of its class."""
    found = _class_or_function(value)
    return _user_module(found) is not None and "<" not in found.__qualname__ and not _is_not_importable(found)


def _class_or_function(value: Any) -> Any:
    """Returns a function or class itself, and the class of any other object."""
    return value if hasattr(value, "__qualname__") else type(value)


def _user_module(found: Any) -> ModuleType | None:
    """Returns the module of a function or class unless it is installed, of this package, or a script."""
    module = sys.modules.get(getattr(found, "__module__", None) or "")
    file = getattr(module, "__file__", None)
    if module is None or file is None or module.__name__ == "__main__":
        return None
    installed = any(Path(file).is_relative_to(place) for place in set(sysconfig.get_paths().values()))
    return None if installed or module.__name__.partition(".")[0] == "sam_audio_bench" else module


def _is_not_importable(found: Any) -> bool:
    """Returns whether a process with the same module path could not import the module of a function or class."""
    module = _user_module(found)
    if module is None:
        return False
    places = [Path(entry or ".", *module.__name__.split(".")) for entry in sys.path]
    return not any(place.with_suffix(".py").is_file() or place.is_dir() for place in places)


@contextmanager
def _pickled_by_value(module: ModuleType | None) -> Iterator[None]:
    """Pickles contents of a module by value within the block."""
    if module is None:
        yield
        return
    cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        cloudpickle.unregister_pickle_by_value(module)


class SerializedError(NamedTuple):
    """An error of another process, in plain values."""

    kind: str | None  # name of its class; None: a `BenchError`
    text: str
    status: str

    @classmethod
    def of(cls, error: BaseException) -> SerializedError:
        """Makes the serializable form of an error."""
        try:
            text = str(error)
        except Exception as second:  # raised by __str__ of its class
            text = f"(its text cannot be made: {type(second).__name__})"
        is_ours = isinstance(error, BenchError)
        return cls(None if is_ours else type(error).__name__, text, getattr(error, "status", "") if is_ours else "")

    def to_exception(self) -> Exception:
        """Returns an exception with the same class name and text."""
        if self.kind is None:
            return BadSeparation(self.text, status=self.status)
        kind: Callable[[str], Exception] = type(self.kind, (Exception,), {})
        return kind(self.text)
