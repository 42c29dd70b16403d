"""Identities of tasks, separators, metrics, pickers and judges.

An identity is stored with every result and compared before a result is reused. It holds all arguments of the
constructor, defaults included, except those that only set where things run; files and folders are identified by their
content, whatever their path. Third-party code is identified by its digest (`code_digests`), built-in components by a
version that is raised by hand. If a component cannot be identified, ``unknown`` holds the reason and its results are
not reused.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from sam_audio_bench.digests import Unidentified, combined_digest, file_digest, folder_digest
from sam_audio_bench.errors import MediaError, UsageError
from sam_audio_bench.files import dump_json

__all__ = [
    "EXECUTION_OPTIONS",
    "Difference",
    "Identity",
    "Options",
    "capture_arguments",
    "differences",
    "identify",
    "is_built_in",
    "to_json_value",
]

Options = dict[str, Any]
"""Options of a component by name, as JSON values."""

EXECUTION_OPTIONS = frozenset({"batch_size", "device", "devices", "num_threads", "num_workers", "threads", "workers"})
"""Options that set where and how fast something runs and do not change results."""


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """What identifies a component: with equal fingerprints, two components give the same results."""

    kind: str  # "separator", "metric", "picker", "task"
    name: str  # shown to people
    target: str = ""  # "module:Class"
    version: str | None = None  # of a component of this package
    options: Options = {}  # arguments of the constructor
    settings: Options = {}  # further settings that the component states
    weights_sha256: str | dict[str, str | None] | None = None
    revision: str | None = None
    code_sha256: str | None = None  # of a third party's code
    unknown: str | None = None  # why it cannot be identified

    def fingerprint(self) -> str:
        """Returns the digest of all fields except those that are only shown to people."""
        fields = {name: _comparable(getattr(self, name)) for name in self.__struct_fields__}
        return combined_digest(dump_json(fields))[:32]

    def differences(self, other: Identity) -> list[Difference]:
        """Returns the differences from another identity; empty if there are none."""
        return differences(self, other)


class Difference(NamedTuple):
    """A field whose values in two records differ.

    >>> str(Difference("options.margin", "2.0", "1.0"))
    'options.margin 1.0 instead of 2.0'
    """

    field: str
    one: str  # text for messages
    other: str

    def __str__(self) -> str:
        return f"{self.field} {self.other} instead of {self.one}"

    def nested_in(self, name: str) -> Difference:
        """Returns this difference for a record that is the field ``name`` of another one."""
        return self._replace(field=f"{name}.{self.field}")


def differences(one: msgspec.Struct, other: msgspec.Struct, fields: Iterable[str] | None = None) -> list[Difference]:
    """Returns the fields in which two records of a class differ; files are compared by content alone.

    Args:
        one: the expected record.
        other: the record found.
        fields: fields to compare; None: all.
    """
    names = one.__struct_fields__ if fields is None else tuple(fields)
    found: list[Difference] = []
    for name in names:
        found += _value_differences(name, getattr(one, name), getattr(other, name))
    return found


def _value_differences(name: str, one: Any, other: Any) -> list[Difference]:
    if isinstance(one, msgspec.Struct) and isinstance(other, type(one)):
        return [found.nested_in(name) for found in differences(one, other)]
    if dump_json(_comparable(one)) == dump_json(_comparable(other)):
        return []
    if isinstance(one, dict) and isinstance(other, dict) and "sha256" not in one:
        keys = [*one, *(key for key in other if key not in one)]
        return [found for key in keys for found in _value_differences(f"{name}.{key}", one.get(key), other.get(key))]
    return [Difference(name, _display_text(one), _display_text(other))]


def _comparable(value: Any) -> Any:
    """Returns a value with keys sorted and without names of files, so that equal contents compare equal."""
    if isinstance(value, msgspec.Struct):
        value = msgspec.structs.asdict(value)
    if isinstance(value, dict):
        if value.keys() in ({"file", "sha256"}, {"folder", "sha256"}):
            return value["sha256"]
        return {key: _comparable(entry) for key, entry in sorted(value.items())}
    return [_comparable(entry) for entry in value] if isinstance(value, list | tuple) else value


def _display_text(value: Any) -> str:
    if isinstance(value, dict) and "sha256" in value:
        name = value.get("file") or value.get("folder") or value.get("type") or "content"
        return f"{name} ({value['sha256'][:8]})"
    return str(value)


def capture_arguments(
    constructor: Callable[..., Any],
    positional: Iterable[Any],
    named: Mapping[str, object],
    where: frozenset[str] = EXECUTION_OPTIONS,
) -> Options:
    """Returns the arguments of a constructor call, defaults included, as JSON values.

    Args:
        constructor: a class or function.
        positional: its positional arguments.
        named: its keyword arguments.
        where: names of arguments to leave out, since they do not change results.

    Raises:
        Unidentified: an argument without a digest. TypeError: arguments that it does not accept.
    """
    try:
        signature = inspect.signature(constructor)
    except ValueError:  # written in C, without a signature
        bound = {str(index): value for index, value in enumerate(positional)} | dict(named)
    else:
        arguments = signature.bind(*positional, **named)
        arguments.apply_defaults()
        bound = {}
        for name, value in arguments.arguments.items():
            packed = signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD
            bound |= value if packed else {name: value}
    return {name: to_json_value(value, name) for name, value in bound.items() if name not in where}


def to_json_value(value: Any, name: str = "") -> Any:
    """Converts a value to JSON; files, folders and values of other types are represented by their digest.

    Raises:
        Unidentified: a value without a digest; the message begins with ``name``.
    """
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, str | Path):
        return _file_or_text(value)
    if type(value) in (list, tuple):
        return [to_json_value(entry, name) for entry in value]
    if type(value) is dict and all(isinstance(key, str) for key in value):
        return {key: to_json_value(entry, f"{name}.{key}") for key, entry in value.items()}
    from sam_audio_bench.code_digests import value_digest

    kind = type(value)
    try:
        return {"type": f"{kind.__module__}:{kind.__qualname__}", "sha256": value_digest(value)}
    except Unidentified as error:
        raise Unidentified(f"{name}: {error}" if name else str(error)) from error


def _file_or_text(value: str | Path) -> Any:
    path = Path(value)
    try:
        if str(value) and path.is_file():
            return {"file": path.name, "sha256": file_digest(path)}
        if str(value) and path.is_dir() and path.resolve() not in (here := Path.cwd(), *here.parents):
            return {"folder": path.name, "sha256": folder_digest(path)}
    except (OSError, ValueError, MediaError):  # not a valid path, or unreadable
        return str(value)
    return str(value)


def is_built_in(kind: Any) -> bool:
    """Whether a class or function belongs to this package, so that a version identifies its code."""
    return str(kind.__module__).startswith("sam_audio_bench.")


def _component_settings(component: Any, name: str) -> Options:
    """Returns the ``settings`` of a component; raises UsageError if they are not a mapping."""
    stated = getattr(component, "settings", None) or {}
    if not isinstance(stated, Mapping):
        raise UsageError(f"expected settings of {name} by name, found {type(stated).__name__}: make them a dict")
    return {str(key): value for key, value in stated.items()}


def identify(
    kind: str,
    name: str,
    component: Any,
    *,
    version: int | str | None = None,
    options: Callable[[], Options] | None = None,
    code: Any = None,
    target: str = "",
) -> Identity:
    """Returns the identity of a component.

    Args:
        kind: as `Identity.kind`.
        name: shown to people.
        component: the object; its ``settings``, ``weights_sha256``, ``revision`` and ``named_files`` are included.
        version: of a component of this package.
        options: returns the constructor's arguments, as `capture_arguments` does; None: there are none.
        code: a third party's function, class or object, to be digested; None: the version identifies the code.
        target: "module:Class"; "": the component's class.
    """
    own = type(component)
    unknown, captured, digest = None, Options(), None
    try:
        captured = options() if options is not None else {}
        if code is not None:
            from sam_audio_bench import code_digests

            digest = code_digests.value_digest(code)
        settings = to_json_value(_component_settings(component, name), "settings")
        if files := getattr(component, "named_files", None):
            settings["files"] = files
    except (Unidentified, MediaError) as error:
        unknown, settings = str(error), {}
    weights = getattr(component, "weights_sha256", None)
    if isinstance(weights, Mapping):
        weights = {str(part): None if text is None else str(text) for part, text in weights.items()}
    revision = getattr(component, "revision", None)
    return Identity(
        kind=kind,
        name=name,
        target=target or f"{own.__module__}:{own.__qualname__}",
        version=None if version is None else str(version),
        options=captured,
        settings=settings,
        weights_sha256=weights if weights is None or isinstance(weights, dict) else str(weights),
        revision=None if revision is None else str(revision),
        code_sha256=digest,
        unknown=unknown,
    )
