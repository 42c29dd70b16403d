"""Names to objects: the built-in tables, entry points of third parties, and the spellings of ``--model``.

`plugins` finds what third parties register. An unknown name names its nearest neighbours.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import structs

from sam_audio_bench.columns import build_metrics
from sam_audio_bench.construction import called, check_arguments, made, resolve
from sam_audio_bench.digests import Unidentified
from sam_audio_bench.errors import UsageError
from sam_audio_bench.files import expand_homes
from sam_audio_bench.identity import WHERE, Identity, Options, capture, identify, is_built_in
from sam_audio_bench.names import PROGRAMS, built_in_model, check_model, check_task
from sam_audio_bench.options import Spelling, parse_arguments, parse_spelling
from sam_audio_bench.plugins import plugins
from sam_audio_bench.records import ModelRecord
from sam_audio_bench.separators.pickers import PICKERS
from sam_audio_bench.tasks import GROUPS, TASKS, TaskData
from sam_audio_bench.types import AnySeparator, OracleSeparator

if TYPE_CHECKING:
    from sam_audio_bench.metrics.base import Metric
    from sam_audio_bench.separators.rerank import Picker

__all__ = [
    "METHODS",
    "Built",
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


class Built(NamedTuple):
    """A component and what it is."""

    component: Any
    identity: ModelRecord | Identity
    taken: frozenset[str] = frozenset()  # which of the options that were offered its constructor took


def build(
    kind: str,
    spec: str | Callable[..., Any] | AnySeparator,
    arguments: Mapping[str, Any] = {},
    *,
    offered: Mapping[str, Any] = {},
    timeout: float | None = None,
) -> Built:
    """The separator or picker behind a spelling, with its identity: every argument is captured, defaults included.

    Args:
        kind: "separator" or "picker".
        spec: what ``--model`` or ``--picker`` takes, with its options in brackets; a separator; or a function
            ``(mixture, rate, prompt) -> target``.
        arguments: options of the constructor, over those in brackets.
        offered: "device" and "dtype" for constructors that name them; "dtype", which changes answers, becomes part of
            the separator's name.
        timeout: seconds that a program of ``cmd:`` or ``serve:`` may take for an item; None: the separator's default.

    Raises:
        UsageError: an unknown name or option. Precondition: a missing module, folder, file or program.
    """
    if kind == "picker":
        return _build_picker(parse_spelling(str(spec)), arguments)
    if not isinstance(spec, str):
        return _adopt(spec, getattr(spec, "__name__", type(spec).__name__), arguments, offered)
    spelt = parse_spelling(spec)
    if twice := sorted(spelt.options.keys() & arguments.keys()):
        raise UsageError(f"expected each option of {spelt.name} once, found {', '.join(twice)} in brackets and beside")
    name, options = spelt.name, {**spelt.options, **arguments}
    check_model(name)
    if (own := built_in_model(name)) is not None:
        if name.startswith(PROGRAMS):
            offered = {} if timeout is None else {"timeout": timeout}
        return _construct(resolve(own.target), name, own.arguments, options, offered, version=own.version)
    if (point := plugins("separators").get(name)) is not None:
        return _adopt(resolve(point.value), name, options, offered)
    return _adopt(resolve(name), name.partition(":")[2], options, offered)


def load_separator(
    spec: str | Callable[..., Any] | AnySeparator,
    arguments: Mapping[str, Any] = {},
    *,
    timeout: float | None = None,
    offered: Mapping[str, Any] = {},
) -> AnySeparator:
    """The separator behind a name, ``sam-audio:DIR``, ``files:DIR``, ``cmd:…``, ``serve:…``, or ``module:attribute``.

    Also one that is there already, or a function.

    Arguments and errors as in `build`.
    """
    separator: AnySeparator = build("separator", spec, arguments, offered=offered, timeout=timeout).component
    return separator


def check_weights(spec: str, arguments: Mapping[str, Any]) -> None:
    """Raises Precondition where the weights of a SAM Audio model are missing, before anything heavy is imported."""
    from sam_audio_bench.nn.hub import SEPARATORS, find_separator

    spelt = parse_spelling(spec)
    options = {**spelt.options, **arguments}
    prefix, colon, rest = spelt.name.partition(":")
    if spelt.name in SEPARATORS or (prefix == "sam-audio" and colon):
        place, revision = expand_homes(rest) or spelt.name, str(options.get("revision", ""))
        find_separator(place, revision or None, text_encoder=str(options.get("text_encoder", "")))


METHODS = ("separate", "separate_oracle", "separate_named", "separate_stems")
"""One of them makes an object a separator; one with the last alone is asked through `Adapted`."""


def _adopt(found: Any, name: str, arguments: Mapping[str, Any], offered: Mapping[str, Any] = {}) -> Built:
    """Turns a class, an instance or a plain function into a separator."""
    from sam_audio_bench.separators.adapted import adapt, unwrap_adapted
    from sam_audio_bench.separators.external import FunctionSeparator

    if inspect.isclass(found):
        return _construct(found, name, (), arguments, offered)
    if arguments:
        raise UsageError(f"expected no model arguments for {name!r}, which is no class, found {dict(arguments)}")
    if any(callable(getattr(found, method, None)) for method in METHODS):
        core = unwrap_adapted(found)
        _rename(found, name, [])
        separator = adapt(found)
        code = core.function if isinstance(core, FunctionSeparator) else core
        return Built(separator, _identified(separator, found.name, code=code))
    if callable(found):
        separator = adapt(FunctionSeparator(found, name))
        return Built(separator, _identified(separator, name, code=found))
    raise UsageError(
        "expected a separator, which has a method separate(queries, seeds), or a function (mixture, rate, prompt) -> "
        f"target, found {found!r}"
    )


def _identified(separator: AnySeparator, name: str, **parts: Any) -> ModelRecord:
    """The identity of a separator; one that comes with this package is known by its version and settings."""
    from sam_audio_bench.separators.adapted import unwrap_adapted

    core = unwrap_adapted(separator)
    if is_built_in(type(core)) and not hasattr(core, "function"):
        parts = {"version": 1, **parts, "code": None}
    target = f"{type(core).__module__}:{type(core).__qualname__}"
    found = identify("separator", name, separator, **{"target": target, **parts})
    return ModelRecord(**structs.asdict(found), oracle=isinstance(separator, OracleSeparator))


def _construct(
    kind: Any,
    name: str,
    positional: tuple[str, ...],
    arguments: Mapping[str, Any],
    offered: Mapping[str, Any] = {},
    *,
    version: int | str | None = None,
) -> Built:
    parameters = check_arguments("model", kind, name, positional, arguments)
    accepted = {key: value for key, value in offered.items() if key in parameters}
    taken = {**accepted, **arguments}
    separator: AnySeparator = made("model", name, partial(kind, *positional, **taken))
    where = WHERE | (getattr(kind, "where", frozenset()) if version is not None else frozenset())
    shown = sorted(key for key in taken if key not in where)  # where it ran changes no estimate
    _rename(separator, name, [f"{key}={taken[key]}" for key in shown])
    from sam_audio_bench.separators.adapted import adapt

    separator = adapt(separator)
    own = version is not None
    record = _identified(
        separator, separator.name, version=version, options=partial(_captured, kind, positional, taken, where),
        code=None if own else kind, target=f"{kind.__module__}:{kind.__qualname__}",
    )  # fmt: skip
    return Built(separator, record, frozenset(accepted))


def _rename(separator: AnySeparator, name: str, options: Sequence[str]) -> None:
    """Gives a separator the name that results have: its own, else that of its class, and its options."""
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


def _captured(kind: Any, positional: tuple[str, ...], taken: Mapping[str, Any], where: frozenset[str]) -> Options:
    """Every argument; what answers of a folder hold is known item by item, and a program tells of its own files."""
    if hasattr(kind, "separate_named") and is_built_in(kind):
        return {name: value for name, value in taken.items() if name not in where}
    return capture(kind, positional, taken, where)


def _build_picker(spelt: Spelling, arguments: Mapping[str, Any]) -> Built:
    card, options = PICKERS[spelt.name], {**spelt.options, **arguments}
    kind = resolve(card.target)
    check_arguments("picker", kind, spelt.name, (), options)
    picker: Picker = made("picker", spelt.name, partial(kind, **options))
    identity = identify(
        "picker", picker.name, picker, version=card.version,
        options=partial(capture, kind, (), options), target=card.target,
    )  # fmt: skip
    return Built(picker, identity)


def load_picker(name: str, arguments: Mapping[str, Any] = {}) -> Picker:
    """The picker of one name of `PICKERS`; arguments that its constructor does not name raise UsageError."""
    picker: Picker = build("picker", name, arguments).component
    return picker


def picker_options(name: str) -> list[str]:
    """Names of the options that a picker's constructor takes."""
    return list(inspect.signature(resolve(PICKERS[name].target)).parameters)


def load_metrics(ids: Iterable[str], arguments: Mapping[str, Any] = {}) -> list[Metric]:
    """One Metric per class behind the ids, in their order; its ``requested`` says which columns were asked for.

    ``arguments`` go to every class whose constructor names them; one that no class names raises UsageError.
    """
    return [one.metric for one in build_metrics(ids, arguments)]


def load_metric(name: str, **arguments: Any) -> Metric:
    """The Metric that computes one id; keyword arguments are its constructor's."""
    return load_metrics([name], arguments)[0]


def load_task(
    name: str, *, split: str = "test", subset: str = "paper", prompts: str = "given", allow_outside: bool = False
) -> TaskData:
    """The items of one task or of anyone's data; arguments as in `load_tasks`.

    Raises:
        UsageError: a group of several tasks, or as `load_tasks`.
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
    """The data behind names of tasks, groups and anyone's data, each once, in order.

    Args:
        names: of tasks and groups, paths of manifests and folders, or ``ADAPTER:PATH``, which may be several tasks.
        split: of the tasks: "test" or "mini".
        subset: of the test split: "paper" or "full".
        prompts: what the items are asked by, of `sam_audio_bench.tasks.data.PROMPTS`.
        allow_outside: accept files of manifests that lie outside their folder.

    Raises:
        UsageError: an unknown name or option, data that say something impossible, or items without texts for
            ``prompts``. Precondition: missing data, or no stored paraphrases.
    """
    from sam_audio_bench.tasks.adapters import members
    from sam_audio_bench.tasks.load import load_task as load_one
    from sam_audio_bench.tasks.load import split_label
    from sam_audio_bench.tasks.prompts import with_prompts

    named = plugins("tasks")
    found: dict[str, TaskData] = {}
    for spelling in map(expand_homes, names):
        label, name = split_label(spelling)
        if label:
            if label in TASKS or label in GROUPS or label in named:
                raise UsageError(f"expected a name of your own for {name}, found {label!r}, which is taken; rename it")
            for ending, one in members(name).items():
                own = f"{label}-{ending}" if ending else label
                loaded = load_one(one, split=split, subset=subset, allow_outside=allow_outside)
                found[f"{own}={one}"] = replace(loaded, task=own, source=f"{own}={one}")
            continue
        if name in named:
            found[name] = replace(
                _plugin_task(name, named[name].value, split=split, subset=subset),
                source=name, subset=subset, code_sha256=_task_code(resolve(named[name].value)),
            )  # fmt: skip
            continue
        check_task(name)
        for task in GROUPS.get(name, tuple(members(name).values())):
            if task not in found:
                loaded = load_one(task, split=split, subset=subset, allow_outside=allow_outside)
                found[task] = replace(loaded, source=task, subset=subset if loaded.split == "test" else "paper")
    asked = [with_prompts(data, prompts) for data in found.values()]
    for data in asked:
        same = [other for other in asked if other.label == data.label]
        if len(same) > 1:
            raise UsageError(
                f"expected tasks with different names, found {data.label} from {same[0].source} and {same[1].source}; "
                f"give one a name of its own: --task other={same[1].source}"
            )
    return asked


def _plugin_task(name: str, target: str, **options: str) -> TaskData:
    found = called(f"{target} to load {name}", partial(resolve(target), **options))
    if not isinstance(found, TaskData):
        raise UsageError(f"expected {target} to return the TaskData of {name}, found {found!r}")
    return found


def _task_code(function: Any) -> str:
    """Digest of a third party's task; "" where it has none, so that nothing of it is kept."""
    from sam_audio_bench.source import digest

    try:
        return digest(function)
    except Unidentified:
        return ""
