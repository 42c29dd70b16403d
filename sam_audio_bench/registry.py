"""Loads separators, pickers, metrics and tasks by name: built-in ones, plugins, and specifications as of ``--model``.

`plugins` finds the entry points of third parties. Errors for unknown names suggest similar ones.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import structs

from sam_audio_bench.columns import build_metrics
from sam_audio_bench.construction import call_third_party, check_arguments, construct, resolve
from sam_audio_bench.digests import Unidentified
from sam_audio_bench.errors import UsageError
from sam_audio_bench.files import expand_homes
from sam_audio_bench.identity import (
    EXECUTION_OPTIONS,
    Identity,
    Options,
    capture_arguments,
    identify,
    is_built_in,
)
from sam_audio_bench.names import PROGRAM_PREFIXES, built_in_model, check_model, check_task
from sam_audio_bench.options import Specification, parse_arguments, parse_specification
from sam_audio_bench.plugins import plugins
from sam_audio_bench.records import ModelRecord
from sam_audio_bench.separators.pickers import PICKERS
from sam_audio_bench.tasks import GROUPS, TASKS, TaskData
from sam_audio_bench.types import AnySeparator, OracleSeparator

if TYPE_CHECKING:
    from sam_audio_bench.metrics.base import Metric
    from sam_audio_bench.separators.rerank import Picker

__all__ = [
    "SEPARATOR_METHODS",
    "LoadedComponent",
    "build",
    "check_weights",
    "load_metric",
    "load_metrics",
    "load_picker",
    "load_separator",
    "load_task",
    "load_tasks",
    "parse_arguments",
    "picker_options",
    "plugins",
    "resolve",
]


class LoadedComponent(NamedTuple):
    """A component and its identity."""

    component: Any
    identity: ModelRecord | Identity
    accepted: frozenset[str] = frozenset()  # those of the offered options that its constructor accepted


def build(
    kind: str,
    spec: str | Callable[..., Any] | AnySeparator,
    arguments: Mapping[str, object] = {},
    *,
    offered: Mapping[str, object] = {},
    timeout: float | None = None,
) -> LoadedComponent:
    """Builds a separator or picker, with an identity that includes all arguments of its constructor.

    Args:
        kind: "separator" or "picker".
        spec: a specification as of ``--model`` or ``--picker``, optionally with options in brackets; a separator; or a
            function ``(mixture, rate, prompt) -> target``.
        arguments: further options of the constructor.
        offered: "device" and "dtype", passed to constructors that accept them; "dtype", which changes estimates,
            becomes part of the separator's name.
        timeout: seconds that a program of ``cmd:`` or ``serve:`` may take per item; None: the separator's default.

    Raises:
        UsageError: an unknown name or option. Precondition: a missing module, folder, file or program.
    """
    if kind == "picker":
        return _build_picker(parse_specification(str(spec)), arguments)
    if not isinstance(spec, str):
        return _build_from_object(spec, getattr(spec, "__name__", type(spec).__name__), arguments, offered)
    parsed = parse_specification(spec)
    if twice := sorted(parsed.options.keys() & arguments.keys()):
        raise UsageError(
            f"expected each option of {parsed.name} once, found {', '.join(twice)} both in brackets and as an argument"
        )
    name, options = parsed.name, {**parsed.options, **arguments}
    check_model(name)
    if (own := built_in_model(name)) is not None:
        if name.startswith(PROGRAM_PREFIXES):
            offered = {} if timeout is None else {"timeout": timeout}
        return _build_from_class(resolve(own.target), name, own.arguments, options, offered, version=own.version)
    if (point := plugins("separators").get(name)) is not None:
        return _build_from_object(resolve(point.value), name, options, offered)
    return _build_from_object(resolve(name), name.partition(":")[2], options, offered)


def load_separator(
    spec: str | Callable[..., Any] | AnySeparator,
    arguments: Mapping[str, object] = {},
    *,
    timeout: float | None = None,
    offered: Mapping[str, object] = {},
) -> AnySeparator:
    """Loads a separator by name, ``sam-audio:DIR``, ``files:DIR``, ``cmd:…``, ``serve:…`` or ``module:attribute``.

    A separator object, or a function, is accepted as well.

    Arguments and errors as in `build`.
    """
    separator: AnySeparator = build("separator", spec, arguments, offered=offered, timeout=timeout).component
    return separator


def check_weights(spec: str, arguments: Mapping[str, object]) -> None:
    """Raises Precondition if the weights of a SAM Audio model are missing, before torch is imported."""
    from sam_audio_bench.nn.hub import SEPARATORS, find_separator

    parsed = parse_specification(spec)
    options = {**parsed.options, **arguments}
    prefix, colon, rest = parsed.name.partition(":")
    if parsed.name in SEPARATORS or (prefix == "sam-audio" and colon):
        place, revision = expand_homes(rest) or parsed.name, str(options.get("revision", ""))
        find_separator(place, revision or None, text_encoder=str(options.get("text_encoder", "")))


SEPARATOR_METHODS = ("separate", "separate_oracle", "separate_named", "separate_stems")
"""An object with any of these methods is a separator; one with the last alone is wrapped by `Adapted`."""


def _build_from_object(
    found: Any, name: str, arguments: Mapping[str, object], offered: Mapping[str, object] = {}
) -> LoadedComponent:
    """Builds a separator from a class, an instance or a function."""
    from sam_audio_bench.separators.adapted import adapt, unwrap_adapted
    from sam_audio_bench.separators.external import FunctionSeparator

    if inspect.isclass(found):
        return _build_from_class(found, name, (), arguments, offered)
    if arguments:
        raise UsageError(f"expected no model arguments for {name!r}, which is not a class, found {dict(arguments)}")
    if any(callable(getattr(found, method, None)) for method in SEPARATOR_METHODS):
        core = unwrap_adapted(found)
        _rename(found, name, [])
        separator = adapt(found)
        code = core.function if isinstance(core, FunctionSeparator) else core
        return LoadedComponent(separator, _identify_separator(separator, found.name, code=code))
    if callable(found):
        separator = adapt(FunctionSeparator(found, name))
        return LoadedComponent(separator, _identify_separator(separator, name, code=found))
    raise UsageError(
        "expected a separator, which has a method separate(queries, seeds), or a function (mixture, rate, prompt) -> "
        f"target, found {found!r}"
    )


def _identify_separator(separator: AnySeparator, name: str, **parts: Any) -> ModelRecord:
    """Returns the identity of a separator; built-in ones are identified by version and settings, not by code."""
    from sam_audio_bench.separators.adapted import unwrap_adapted

    core = unwrap_adapted(separator)
    if is_built_in(type(core)) and not hasattr(core, "function"):
        parts = {"version": 1, **parts, "code": None}
    target = f"{type(core).__module__}:{type(core).__qualname__}"
    found = identify("separator", name, separator, **{"target": target, **parts})
    return ModelRecord(**structs.asdict(found), oracle=isinstance(separator, OracleSeparator))


def _build_from_class(
    kind: Any,
    name: str,
    positional: tuple[str, ...],
    arguments: Mapping[str, object],
    offered: Mapping[str, object] = {},
    *,
    version: int | str | None = None,
) -> LoadedComponent:
    parameters = check_arguments("model", kind, name, positional, arguments)
    accepted = {key: value for key, value in offered.items() if key in parameters}
    taken = {**accepted, **arguments}
    separator: AnySeparator = construct("model", name, partial(kind, *positional, **taken))
    where = EXECUTION_OPTIONS | (getattr(kind, "where", frozenset()) if version is not None else frozenset())
    shown = sorted(key for key in taken if key not in where)  # placement does not change estimates
    _rename(separator, name, [f"{key}={taken[key]}" for key in shown])
    from sam_audio_bench.separators.adapted import adapt

    separator = adapt(separator)
    own = version is not None
    record = _identify_separator(
        separator, separator.name, version=version,
        options=partial(_capture_separator_arguments, kind, positional, taken, where), code=None if own else kind,
        target=f"{kind.__module__}:{kind.__qualname__}",
    )  # fmt: skip
    return LoadedComponent(separator, record, frozenset(accepted))


def _rename(separator: AnySeparator, name: str, options: Sequence[str]) -> None:
    """Sets the name of a separator in results: its own, else that of its specification, with its options."""
    own = getattr(separator, "name", None) or name
    if not isinstance(own, str):
        raise UsageError(f"expected a text as the name of {name}, found {own!r}")
    shown = "+".join([own, *options])
    if shown != getattr(separator, "name", None):
        try:
            separator.name = shown
        except AttributeError as error:
            raise UsageError(
                f"expected a separator {name} whose name can be set to {shown!r}, found one that is fixed ({error})"
            ) from error


def _capture_separator_arguments(
    kind: Any, positional: tuple[str, ...], taken: Mapping[str, object], where: frozenset[str]
) -> Options:
    """Returns all arguments; for stored estimates without digests, since they are identified per item."""
    if hasattr(kind, "separate_named") and is_built_in(kind):
        return {name: value for name, value in taken.items() if name not in where}
    return capture_arguments(kind, positional, taken, where)


def _build_picker(parsed: Specification, arguments: Mapping[str, object]) -> LoadedComponent:
    card, options = PICKERS[parsed.name], {**parsed.options, **arguments}
    kind = resolve(card.target)
    check_arguments("picker", kind, parsed.name, (), options)
    picker: Picker = construct("picker", parsed.name, partial(kind, **options))
    identity = identify(
        "picker", picker.name, picker, version=card.version,
        options=partial(capture_arguments, kind, (), options), target=card.target,
    )  # fmt: skip
    return LoadedComponent(picker, identity)


def load_picker(name: str, arguments: Mapping[str, object] = {}) -> Picker:
    """Returns the picker of a name of `PICKERS`; arguments that its constructor does not accept raise UsageError."""
    picker: Picker = build("picker", name, arguments).component
    return picker


def picker_options(name: str) -> list[str]:
    """Returns the names of the options that a picker's constructor accepts."""
    return list(inspect.signature(resolve(PICKERS[name].target)).parameters)


def load_metrics(ids: Iterable[str], arguments: Mapping[str, object] = {}) -> list[Metric]:
    """Returns one metric per class of the ids, in their order; its ``requested`` are the columns of the ids.

    ``arguments`` are passed to every class that accepts them; one that no class accepts raises UsageError.
    """
    return [one.metric for one in build_metrics(ids, arguments)]


def load_metric(name: str, **arguments: Any) -> Metric:
    """Returns the metric that computes one id; keyword arguments are passed to its constructor."""
    return load_metrics([name], arguments)[0]


def load_task(
    name: str, *, split: str = "test", subset: str = "paper", prompts: str = "given", allow_outside: bool = False
) -> TaskData:
    """Loads the items of one task or of a user's data; arguments as in `load_tasks`.

    Raises:
        UsageError: a group of several tasks; others as in `load_tasks`.
    """
    found = load_tasks([name], split=split, subset=subset, prompts=prompts, allow_outside=allow_outside)
    if len(found) != 1:
        raise UsageError(f"expected one task, found the group {name!r} of {len(found)}: use load_tasks")
    return found[0]


def load_tasks(
    names: Iterable[str],
    *,
    split: str = "test",
    subset: str = "paper",
    prompts: str = "given",
    allow_outside: bool = False,
) -> list[TaskData]:
    """Loads the data of tasks, groups of tasks and users' data, each once, in order.

    Args:
        names: of tasks and groups, paths of manifests and folders, or ``ADAPTER:PATH``, which may be several tasks.
        split: of the tasks: "test" or "mini".
        subset: of the test split: "paper" or "full".
        prompts: prompts of the items, one of `sam_audio_bench.tasks.data.PROMPTS`.
        allow_outside: whether to accept files outside a manifest's folder.

    Raises:
        UsageError: an unknown name or option, invalid data, or items without texts for ``prompts``.
        Precondition: missing data, or no stored paraphrases.
    """
    from sam_audio_bench.tasks.adapters import list_member_tasks
    from sam_audio_bench.tasks.load import load_task as load_one
    from sam_audio_bench.tasks.load import split_label
    from sam_audio_bench.tasks.prompts import with_prompts

    named = plugins("tasks")
    found: dict[str, TaskData] = {}
    for specification in map(expand_homes, names):
        label, name = split_label(specification)
        if label:
            if label in TASKS or label in GROUPS or label in named:
                raise UsageError(f"expected a name of your own for {name}, found {label!r}, which is taken; rename it")
            for ending, one in list_member_tasks(name).items():
                own = f"{label}-{ending}" if ending else label
                loaded = load_one(one, split=split, subset=subset, allow_outside=allow_outside)
                found[f"{own}={one}"] = replace(loaded, task=own, source=f"{own}={one}")
            continue
        if name in named:
            found[name] = replace(
                _load_plugin_task(name, named[name].value, split=split, subset=subset),
                source=name, subset=subset, code_sha256=_task_code_digest(resolve(named[name].value)),
            )  # fmt: skip
            continue
        check_task(name)
        for task in GROUPS.get(name, tuple(list_member_tasks(name).values())):
            if task not in found:
                loaded = load_one(task, split=split, subset=subset, allow_outside=allow_outside)
                found[task] = replace(loaded, source=task, subset=subset if loaded.split == "test" else "paper")
    tasks = [with_prompts(data, prompts) for data in found.values()]
    for data in tasks:
        same = [other for other in tasks if other.label == data.label]
        if len(same) > 1:
            raise UsageError(
                f"expected tasks with different names, found {data.label} from {same[0].source} and {same[1].source}; "
                f"give one a name of its own: --task other={same[1].source}"
            )
    return tasks


def _load_plugin_task(name: str, target: str, **options: str) -> TaskData:
    found = call_third_party(f"{target} to load {name}", partial(resolve(target), **options))
    if not isinstance(found, TaskData):
        raise UsageError(f"expected {target} to return the TaskData of {name}, found {found!r}")
    return found


def _task_code_digest(function: Any) -> str:
    """Returns the digest of a third party's task function; "" if it has none, so that its results are not reused."""
    from sam_audio_bench.code_digests import value_digest

    try:
        return value_digest(function)
    except Unidentified:
        return ""
