"""Builds the separators of a run, and checks before any work that they satisfy the separator interface."""

from __future__ import annotations

import difflib
import inspect
import json
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from sam_audio_bench import registry
from sam_audio_bench.errors import BenchError, Precondition, UsageError, describe_error
from sam_audio_bench.files import dump_json
from sam_audio_bench.records import ModelRecord, to_builtins
from sam_audio_bench.run.global_state import GlobalState
from sam_audio_bench.run.output_log import CapturedText, capture_text
from sam_audio_bench.run.process_exit import prevent_exit
from sam_audio_bench.run.progress import print_note
from sam_audio_bench.run.settings import BASELINE, option_flag
from sam_audio_bench.types import AnySeparator, OracleSeparator

__all__ = ["BuildArguments", "PreparedSeparator", "describe_ignored_options", "get_batch_size", "prepare_separator"]

_ARGUMENTS = {"separate": "queries, seeds", "separate_oracle": "items, seeds", "separate_named": "ids, queries",
              "separate_candidates": "queries, seeds", "separate_stems": "mixture",
              "fingerprint": "identifier"}  # fmt: skip


class BuildArguments(NamedTuple):
    """Arguments of `prepare_separator`, with which another process builds the same separator."""

    spec: str | Callable[..., Any] | AnySeparator
    arguments: Mapping[str, object] = {}
    offered: Mapping[str, object] = {}
    timeout: float | None = None


@dataclass(frozen=True, kw_only=True)
class PreparedSeparator:
    """A separator that was built and checked, as far as possible before the first call."""

    separator: AnySeparator
    model: ModelRecord
    build_arguments: BuildArguments
    accepted_options: frozenset[str] = frozenset()  # names of the offered options that it takes
    constructor_state: GlobalState | None = None  # the global state after construction; None: unchanged
    construction_output: str = ""  # what its module and constructor printed


def prepare_separator(
    spec: str | Callable[..., Any] | AnySeparator,
    arguments: Mapping[str, object] = {},
    *,
    offered: Mapping[str, object] = {},
    timeout: float | None = None,
) -> PreparedSeparator:
    """Builds and checks a separator; arguments as in `registry.build`.

    Raises:
        UsageError: a wrong name or option, or a missing or invalid method or attribute. Precondition: something that it
            needs is missing, or its module or constructor fails or tries to end the process.
    """
    before, printed = GlobalState.capture(), CapturedText()
    try:
        with capture_text() as printed, prevent_exit():
            built = registry.build("separator", spec, arguments, offered=offered, timeout=timeout)
            _check_separator(built.component, built.identity)
        after = GlobalState.capture()
    except BaseException as error:
        if printed.text:  # it may explain the error
            print_note(printed.text.rstrip())
        if isinstance(error, BenchError | KeyboardInterrupt):
            raise
        raise Precondition(
            f"expected the separator {_format_spec(spec)} to be made, found {describe_error(error)}"
        ) from error
    finally:
        before.restore()
    assert isinstance(built.identity, ModelRecord)
    return PreparedSeparator(
        separator=built.component,
        model=built.identity,
        build_arguments=BuildArguments(spec, dict(arguments), dict(offered), timeout),
        accepted_options=built.accepted,
        constructor_state=None if after.has_same_settings(before) else after,
        construction_output=printed.text,
    )


def get_batch_size(separator: AnySeparator) -> int:
    """Returns the number of queries per call of a separator; raises UsageError if ``batch_size`` is not one."""
    found = getattr(separator, "batch_size", 1)
    try:
        size = 0 if isinstance(found, bool) else operator.index(found)
    except TypeError:
        size = 0
    if size < 1:
        raise UsageError(f"expected batch_size of {separator.name} to be a whole number above 0, found {found!r}")
    return size


def needs_other_references(separator: AnySeparator) -> bool:
    """Whether an oracle needs the references of a mixture's other items; raises UsageError if it is not a bool."""
    found = getattr(separator, "wants_others", False)
    if not isinstance(found, bool):
        raise UsageError(f"expected wants_others of {separator.name} to be True or False, found {found!r}")
    return found and isinstance(separator, OracleSeparator)


def describe_ignored_options(offered: Mapping[str, object], taken: Mapping[str, frozenset[str]]) -> Iterator[str]:
    """Yields messages about options that no component takes, or not every separator; the baseline is not mentioned.

    Args:
        offered: options by name, from `Settings.offered`.
        taken: per separator, the options that a component of its run takes.
    """
    for name, value in offered.items():
        spelling = f"{option_flag(name)} {value}"
        without = [separator for separator, names in taken.items() if name not in names]
        if len(without) == len(taken):
            yield f"{spelling} is ignored: no separator, metric or picker of this run takes it"
        elif without := [separator for separator in without if separator != BASELINE]:
            yield f"{spelling} is ignored by {', '.join(without)}, which does not take it"


def _format_spec(spec: Any) -> str:
    return repr(spec) if isinstance(spec, str) else getattr(spec, "__qualname__", type(spec).__qualname__)


def _check_separator(component: Any, identity: Any) -> None:
    from sam_audio_bench.separators.adapted import unwrap_adapted

    separator = unwrap_adapted(component)
    kind = type(separator).__qualname__
    methods = [name for name in registry.SEPARATOR_METHODS if getattr(separator, name, None) is not None]
    if not methods:
        near = difflib.get_close_matches("separate", [name for name in dir(separator) if name[0] != "_"], n=1)
        hint = f", but {near[0]}" if near else ""
        raise UsageError(f"expected {kind} to have a method separate(queries, seeds), found none{hint}")
    if "separate_named" in methods:
        methods.append("fingerprint")
    if hasattr(separator, "separate_candidates"):
        methods.append("separate_candidates")
    for name in methods:
        _check_method(kind, name, getattr(separator, name, None))
    _check_name(kind, component.name)
    get_batch_size(component)
    needs_other_references(component)
    bool(getattr(separator, "deterministic", False))
    try:
        dump_json(to_builtins(identity))
        json.dumps(to_builtins(identity), ensure_ascii=False).encode()
    except ValueError as error:  # an unpaired surrogate
        raise UsageError(
            f"expected settings, revision and options of {separator.name} that can be written as UTF-8, found: "
            f"{describe_error(error)}"
        ) from error


def _check_method(kind: str, name: str, method: Any) -> None:
    arguments = _ARGUMENTS[name]
    expected = f"expected {kind} to have a method {name}({arguments})"
    if not callable(method):
        raise UsageError(f"{expected}, found {'none' if method is None else repr(method)}")
    if inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method):
        raise UsageError(f"{expected}, found one that is async; give one that returns its estimates")
    try:
        inspect.signature(method).bind(*arguments.split(", "))
    except TypeError as error:
        raise UsageError(f"{expected}, found {name}{inspect.signature(method)}: {error}") from error
    except ValueError:  # implemented in C, without a signature
        return


def _check_name(kind: str, name: Any) -> None:
    try:
        usable = isinstance(name, str) and bool(name.strip()) and bool(name.encode())
    except UnicodeEncodeError:
        usable = False
    if not usable:
        raise UsageError(f"expected the attribute name of {kind} to be a text that can be written, found {name!r}")
