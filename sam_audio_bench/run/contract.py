"""Making the separators of a run, and finding out before any work which part of their contract they break."""

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
from sam_audio_bench.records import ModelRecord, to_plain
from sam_audio_bench.run.exits import no_exit
from sam_audio_bench.run.global_state import GlobalState
from sam_audio_bench.run.output_log import Printed, captured_text
from sam_audio_bench.run.progress import say
from sam_audio_bench.run.settings import BASELINE, flag
from sam_audio_bench.types import AnySeparator, OracleSeparator

__all__ = ["PreparedSeparator", "Recipe", "batch_size", "ignored_options", "prepare_separator"]

_ARGUMENTS = {"separate": "queries, seeds", "separate_oracle": "items, seeds", "separate_named": "ids, queries",
              "separate_candidates": "queries, seeds", "separate_stems": "mixture",
              "fingerprint": "identifier"}  # fmt: skip


class Recipe(NamedTuple):
    """What `prepare_separator` was called with: in another process it makes the same separator."""

    spec: str | Callable[..., Any] | AnySeparator
    arguments: Mapping[str, Any] = {}
    offered: Mapping[str, Any] = {}
    timeout: float | None = None


@dataclass(frozen=True, kw_only=True)
class PreparedSeparator:
    """A separator that keeps its contract as far as that shows before it is called."""

    separator: AnySeparator
    model: ModelRecord
    recipe: Recipe
    taken: frozenset[str] = frozenset()  # of the options that were offered
    own_state: GlobalState | None = None  # the global state as its constructor left it; None: as it was
    printed: str = ""  # by its module and constructor


def prepare_separator(
    spec: str | Callable[..., Any] | AnySeparator,
    arguments: Mapping[str, Any] = {},
    *,
    offered: Mapping[str, Any] = {},
    timeout: float | None = None,
) -> PreparedSeparator:
    """The separator behind a spelling; arguments as in `registry.build`.

    Raises:
        UsageError: a wrong name or option, or a part of the contract that is missing. Precondition: something outside
            is missing, or its module or constructor fails or ends the process.
    """
    before, printed = GlobalState.now(), Printed()
    try:
        with captured_text() as printed, no_exit():
            built = registry.build("separator", spec, arguments, offered=offered, timeout=timeout)
            _check(built.component, built.identity)
        after = GlobalState.now()
    except BaseException as error:
        if printed.text:  # it may say why
            say(printed.text.rstrip())
        if isinstance(error, BenchError | KeyboardInterrupt):
            raise
        raise Precondition(
            f"expected the separator {_shown(spec)} to be made, found {describe_error(error)}"
        ) from error
    finally:
        before.put_back()
    assert isinstance(built.identity, ModelRecord)
    return PreparedSeparator(
        separator=built.component,
        model=built.identity,
        recipe=Recipe(spec, dict(arguments), dict(offered), timeout),
        taken=built.taken,
        own_state=None if after.has_settings_of(before) else after,
        printed=printed.text,
    )


def batch_size(separator: AnySeparator) -> int:
    """How many queries a separator likes to get at once; raises UsageError for what is no such number."""
    found = getattr(separator, "batch_size", 1)
    try:
        size = 0 if isinstance(found, bool) else operator.index(found)
    except TypeError:
        size = 0
    if size < 1:
        raise UsageError(f"expected batch_size of {separator.name} to be a whole number above 0, found {found!r}")
    return size


def wants_others(separator: AnySeparator) -> bool:
    """Whether an oracle is shown the references of a mixture's other items; raises UsageError for what is no bool."""
    found = getattr(separator, "wants_others", False)
    if not isinstance(found, bool):
        raise UsageError(f"expected wants_others of {separator.name} to be True or False, found {found!r}")
    return found and isinstance(separator, OracleSeparator)


def ignored_options(offered: Mapping[str, Any], taken: Mapping[str, frozenset[str]]) -> Iterator[str]:
    """What to say of options that no component takes, or not every separator; of the baseline nobody expects it.

    Args:
        offered: options by name, as `Settings.offered` has them.
        taken: which of them something takes in the run of each separator.
    """
    for name, value in offered.items():
        spelling = f"{flag(name)} {value}"
        without = [separator for separator, names in taken.items() if name not in names]
        if len(without) == len(taken):
            yield f"{spelling} is ignored: no separator, metric or picker of this run takes it"
        elif without := [separator for separator in without if separator != BASELINE]:
            yield f"{spelling} is ignored by {', '.join(without)}, which does not take it"


def _shown(spec: Any) -> str:
    return repr(spec) if isinstance(spec, str) else getattr(spec, "__qualname__", type(spec).__qualname__)


def _check(asked: Any, identity: Any) -> None:
    from sam_audio_bench.separators.adapted import unwrap_adapted

    separator = unwrap_adapted(asked)
    kind = type(separator).__qualname__
    methods = [name for name in registry.METHODS if getattr(separator, name, None) is not None]
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
    _check_name(kind, asked.name)
    batch_size(asked)
    wants_others(asked)
    bool(getattr(separator, "deterministic", False))
    try:
        dump_json(to_plain(identity))
        json.dumps(to_plain(identity), ensure_ascii=False).encode()
    except ValueError as error:  # half a letter
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
        raise UsageError(f"{expected}, found one that is async; give one that returns its answers")
    try:
        inspect.signature(method).bind(*arguments.split(", "))
    except TypeError as error:
        raise UsageError(f"{expected}, found {name}{inspect.signature(method)}: {error}") from error
    except ValueError:  # written in C, and silent about its arguments
        return


def _check_name(kind: str, name: Any) -> None:
    try:
        usable = isinstance(name, str) and bool(name.strip()) and bool(name.encode())
    except UnicodeEncodeError:
        usable = False
    if not usable:
        raise UsageError(f"expected the attribute name of {kind} to be a text that can be written, found {name!r}")
