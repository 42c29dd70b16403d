"""What goes to a worker process and comes back: separators, items, estimates and errors as bytes.

A sound arrives bit for bit, in memory aligned as torch aligns its own, since sums are taken in another order elsewhere.
An error arrives as its class's name and text: its class need not exist in the process that reads it.
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
    """Sends tensors as arrays: only their own part of a larger memory, and without a file format of its own."""

    def reducer_override(self, value: Any) -> Any:
        """How a value is made again; NotImplemented: as pickle does."""
        if type(value) is Tensor and value.device.type == "cpu" and value.dtype in _PLAIN:
            plain = value.layout is torch.strided and not value.requires_grad and not value.is_neg()
            if plain:
                return torch.tensor, (value.contiguous().numpy(),)
        return NotImplemented


def dump(value: Any) -> bytes:
    """A message as bytes."""
    stream = io.BytesIO()
    _Pickler(stream, protocol=pickle.HIGHEST_PROTOCOL).dump(value)
    return stream.getvalue()


def load(content: bytes) -> Any:
    """What `dump` and `dump_code` wrote, in a process that trusts its author: pickles run code."""
    return pickle.loads(content)


def dump_code(value: Any, *beside: Any, name: str, whole: bool = False) -> bytes:
    """A function, class or object with the code that it needs, as bytes; `load` gives a tuple.

    What another process can import goes by its name, unless it is to be ``whole``; what it cannot, a notebook's or a
    script's, goes as a whole.

    Args:
        value: what is sent.
        beside: plain values that go with it.
        name: for messages.
        whole: its module goes with it, as it is in memory.

    Raises:
        UsageError: it holds something that exists in this process only.
    """
    found = _class_or_function(value)
    with _pickled_by_value(_user_module(found) if whole or _is_not_importable(found) else None):
        try:
            return bytes(cloudpickle.dumps((value, *beside)))
        except Exception as error:  # whatever the state of a stranger's object raises
            raise UsageError(
                f"expected {name} to be something that can be sent to a worker process, found {describe_error(error)}; "
                "give its class or module:attribute, of which each worker makes its own, or run it here, without "
                "--executor, --timeout and --memory"
            ) from error


def pickles_by_reference(value: Any) -> bool:
    """Whether a function or class of a user's module goes by its name, or an object by the name of its class."""
    found = _class_or_function(value)
    return _user_module(found) is not None and "<" not in found.__qualname__ and not _is_not_importable(found)


def _class_or_function(value: Any) -> Any:
    """The function or class itself, of any other object the class."""
    return value if hasattr(value, "__qualname__") else type(value)


def _user_module(found: Any) -> ModuleType | None:
    """The module of a function or class, if it is neither installed, nor of this package, nor a script."""
    module = sys.modules.get(getattr(found, "__module__", None) or "")
    file = getattr(module, "__file__", None)
    if module is None or file is None or module.__name__ == "__main__":
        return None
    installed = any(Path(file).is_relative_to(place) for place in set(sysconfig.get_paths().values()))
    return None if installed or module.__name__.partition(".")[0] == "sam_audio_bench" else module


def _is_not_importable(found: Any) -> bool:
    """Whether the module of a function or class is one that a process with this one's paths could not import."""
    module = _user_module(found)
    if module is None:
        return False
    places = [Path(entry or ".", *module.__name__.split(".")) for entry in sys.path]
    return not any(place.with_suffix(".py").is_file() or place.is_dir() for place in places)


@contextmanager
def _pickled_by_value(module: ModuleType | None) -> Iterator[None]:
    """Within it, what belongs to a module goes as a whole."""
    if module is None:
        yield
        return
    cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        cloudpickle.unregister_pickle_by_value(module)


class SerializedError(NamedTuple):
    """What is known of an error in another process."""

    kind: str | None  # name of its class; None: one of our own
    text: str
    status: str

    @classmethod
    def of(cls, error: BaseException) -> SerializedError:
        """What can be sent of an error."""
        try:
            text = str(error)
        except Exception as second:  # of a class whose text cannot be made
            text = f"(its text cannot be made: {type(second).__name__})"
        ours = isinstance(error, BenchError)
        return cls(None if ours else type(error).__name__, text, getattr(error, "status", "") if ours else "")

    def to_exception(self) -> Exception:
        """An error that says the same."""
        if self.kind is None:
            return BadSeparation(self.text, status=self.status)
        stranger: Callable[[str], Exception] = type(self.kind, (Exception,), {})
        return stranger(self.text)
