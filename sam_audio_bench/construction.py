"""Imports classes by name and constructs objects from them, with readable errors."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from sam_audio_bench.errors import BenchError, Precondition, UsageError, describe_error
from sam_audio_bench.options import unknown_option

__all__ = ["call_third_party", "check_arguments", "check_importable", "construct", "resolve"]

_OWN = __name__.partition(".")[0]


def resolve(target: str) -> Any:
    """Imports ``module:attribute``, also from the working folder, as ``python -m`` does; raises Precondition."""
    module_name, _, attribute = target.partition(":")
    check_importable(target)
    try:
        found: Any = importlib.import_module(module_name)
        for part in attribute.split("."):
            found = getattr(found, part)
    except BenchError:
        raise
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        missing = isinstance(error, ModuleNotFoundError) and f"{module_name}.".startswith(f"{error.name}.")
        if missing or (isinstance(error, AttributeError) and module_name in sys.modules):
            raise Precondition(f"expected {target!r} to name a Python object, found none ({error})") from error
        raise Precondition(
            f"expected {target!r} to name a Python object, found that its module {module_name} cannot be imported "
            f"({describe_error(error, named=True)}); `python -c 'import {module_name}'` shows where"
        ) from error
    return found


def check_importable(target: str) -> None:
    """Raises Precondition if the top-level module of ``module:attribute`` does not exist, without importing it."""
    name = target.partition(":")[0].partition(".")[0]
    here = str(Path.cwd())
    if here not in sys.path and not _is_installed(name, target):
        sys.path.insert(0, here)
    if name not in sys.modules and importlib.util.find_spec(name) is None:
        raise Precondition(f"expected {target!r} to name a Python object, found none (No module named {name!r})")


def _is_installed(name: str, target: str) -> bool:
    """Whether a target belongs to this package or a plugin, so that the working folder is not searched for it.

    The working folder may be the checkout of an untrusted pull request, whose files would shadow other packages.
    """
    groups = (f"{_OWN}.{kind}" for kind in ("separators", "metrics", "tasks"))
    return name == _OWN or any(entry_points(group=group, value=target) for group in groups)


def check_arguments(
    what: str, kind: Any, name: str, positional: Sequence[Any], arguments: Mapping[str, object]
) -> list[str]:
    """Checks arguments against a constructor's signature and returns the names of its keyword parameters.

    Raises:
        UsageError: an argument that it does not accept, or a missing one.
    """
    try:
        signature = inspect.signature(kind)
    except ValueError:  # written in C
        return []
    packed = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in signature.parameters.values())
    known = [name for name, one in signature.parameters.items() if one.kind is not inspect.Parameter.VAR_KEYWORD]
    own = known[len(positional) :]
    strange = [] if packed else [key for key in arguments if key not in own]
    if strange:
        raise unknown_option(what, name, strange, own)
    try:
        signature.bind(*positional, **arguments)
    except TypeError as error:
        raise UsageError(
            f"expected {what} arguments among [{', '.join(own) or 'none'}] for {name!r}, found: {error}"
        ) from error
    return own


def construct(what: str, name: str, constructor: Callable[[], Any]) -> Any:
    """Calls a constructor without arguments; errors as in `call_third_party`."""
    return call_third_party(f"{what} {name!r} to be constructed from its options", constructor)


def call_third_party(expected: str, function: Callable[[], Any]) -> Any:
    """Calls a third party's function and returns its result.

    Args:
        expected: what it should do, for the message: "metric 'x' to return its cards".
        function: without arguments.

    Raises:
        Precondition: it raised an error, or tried to exit the process.
    """
    try:
        return function()
    except (BenchError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise Precondition(f"expected {expected}, found {describe_error(error, named=True)}") from error
