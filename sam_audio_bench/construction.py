"""From a class and the arguments of a spelling to an object, with errors that a person understands."""

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
    """Imports ``module:attribute``; the working folder counts, as it does for ``python -m``, unless it is installed."""
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
    """Raises Precondition where nothing of the name of the module of ``module:attribute`` is there; imports nothing."""
    name = target.partition(":")[0].partition(".")[0]
    here = str(Path.cwd())
    if here not in sys.path and not _is_installed(name, target):
        sys.path.insert(0, here)
    if name not in sys.modules and importlib.util.find_spec(name) is None:
        raise Precondition(f"expected {target!r} to name a Python object, found none (No module named {name!r})")


def _is_installed(name: str, target: str) -> bool:
    """Whether a target is this package's or a plugin's: for these nothing is imported from the working folder.

    It may be the checkout of a stranger's pull request, whose files would be found before those of other packages.
    """
    groups = (f"{_OWN}.{kind}" for kind in ("separators", "metrics", "tasks"))
    return name == _OWN or any(entry_points(group=group, value=target) for group in groups)


def check_arguments(
    what: str, kind: Any, name: str, positional: Sequence[Any], arguments: Mapping[str, Any]
) -> list[str]:
    """Names of the arguments that a constructor names; raises UsageError for others, or where one is missing."""
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
    """What a constructor gives; as `call_third_party`."""
    return call_third_party(f"{what} {name!r} to be made from its options", constructor)


def call_third_party(expected: str, function: Callable[[], Any]) -> Any:
    """What a third party's function gives; its error, or its end of the process, is a Precondition.

    Args:
        expected: of it, for the message: "metric 'x' to say its cards".
        function: without arguments.
    """
    try:
        return function()
    except (BenchError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise Precondition(f"expected {expected}, found {describe_error(error, named=True)}") from error
