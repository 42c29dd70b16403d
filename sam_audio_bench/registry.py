"""Names to objects: the built-in tables, entry points of third parties, and the spellings of ``--model``.

`plugins` finds what third parties register. An unknown name names its nearest neighbours.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam_audio_bench import metrics, separators
from sam_audio_bench.errors import Precondition, UsageError, unknown_name
from sam_audio_bench.plugins import plugins
from sam_audio_bench.separators.pickers import PICKERS
from sam_audio_bench.tasks import GROUPS, TASKS, TaskData
from sam_audio_bench.types import AnySeparator, NamedSeparator, OracleSeparator, Separator

if TYPE_CHECKING:
    from sam_audio_bench.metrics.base import Metric
    from sam_audio_bench.separators.rerank import Picker

__all__ = [
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
    "split_models",
]


def resolve(target: str) -> Any:
    """Imports ``module:attribute``; the working folder counts, as it does for ``python -m``."""
    module_name, _, attribute = target.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(module_name)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise Precondition(f"expected {target!r} to name a Python object, found none ({error})") from error
    return found


def split_models(text: str) -> list[str]:
    """Splits ``a,b`` into models; a ``cmd:`` template reaches to the end, commas included.

    >>> split_models("mixture,cmd:sox {mixture} {target} gain -3,1")
    ['mixture', 'cmd:sox {mixture} {target} gain -3,1']
    """
    head, colon, template = text.partition("cmd:") if text.startswith("cmd:") else text.partition(",cmd:")
    names = [name.strip() for name in head.split(",") if name.strip()]
    return names + ([f"cmd:{template}"] if colon else [])


def parse_arguments(text: str) -> dict[str, Any]:
    """Reads ``k=v,k=v``; values are integers, floats, true/false or text.

    >>> parse_arguments("kernel=17,margin=2.5,soft=true,path=a/b")
    {'kernel': 17, 'margin': 2.5, 'soft': True, 'path': 'a/b'}
    """
    arguments: dict[str, Any] = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        key, equals, value = pair.partition("=")
        if not equals or not key.isidentifier() or key in arguments:
            raise UsageError(f"expected arguments as k=v,k=v with each k once, found {pair!r}")
        arguments[key] = _typed(value)
    return arguments


def _typed(text: str) -> int | float | bool | str:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def load_separator(
    spec: str | Callable[..., Any] | AnySeparator,
    arguments: Mapping[str, Any] = {},
    *,
    timeout: float | None = None,
    offered: Mapping[str, Any] = {},
) -> AnySeparator:
    """The separator behind a name, ``sam-audio:DIR``, ``files:DIR``, ``cmd:…``, ``module:attribute``, or an object.

    Args:
        spec: what ``--model`` takes, a separator, or a function ``(mixture, rate, prompt) -> target``.
        arguments: options of the separator's constructor; they become part of its name.
        timeout: seconds that a ``cmd:`` program may take for an item; None: the separator's default.
        offered: "device" and "dtype" for constructors that name them; "dtype", which changes answers, becomes part of
            the separator's name.

    Raises:
        UsageError: an unknown name or option. Precondition: a missing module, folder or program.
    """
    if not isinstance(spec, str):
        return _adopt(spec, getattr(spec, "__name__", type(spec).__name__), arguments)
    named = plugins("separators")
    prefix, colon, rest = spec.partition(":")
    if spec in separators.CARDS:
        card = separators.CARDS[spec]
        return _construct(resolve(card.target), spec, card.arguments, arguments, offered)
    if spec in named:
        return _adopt(resolve(named[spec].value), spec, arguments, offered)
    if prefix == "sam-audio" and colon:
        return _construct(resolve(separators.SAM_AUDIO), spec, (rest,), arguments, offered)
    if prefix == "files" and colon:
        return _construct(resolve(_EXTERNAL + "FolderSeparator"), spec, (rest,), arguments)
    if prefix == "cmd" and colon:
        limits = {} if timeout is None else {"timeout": timeout}
        return _construct(partial(resolve(_EXTERNAL + "CommandSeparator"), **limits), spec, (rest,), arguments)
    if colon and all(part.isidentifier() for part in prefix.split(".")):
        return _adopt(resolve(spec), rest, arguments, offered)
    raise unknown_name("model", spec, [*separators.CARDS, *named])


def check_weights(spec: str, arguments: Mapping[str, Any]) -> None:
    """Raises Precondition where the weights of a SAM Audio model are missing, before anything heavy is imported."""
    from sam_audio_bench.nn.hub import SEPARATORS, find_separator

    prefix, colon, rest = spec.partition(":")
    if spec in SEPARATORS or (prefix == "sam-audio" and colon):
        place, revision = rest or spec, str(arguments.get("revision", ""))
        find_separator(place, revision or None, text_encoder=str(arguments.get("text_encoder", "")))


_EXTERNAL = "sam_audio_bench.separators.external:"


def _adopt(found: Any, name: str, arguments: Mapping[str, Any], offered: Mapping[str, Any] = {}) -> AnySeparator:
    """Turns a class, an instance or a plain function into a separator."""
    from sam_audio_bench.separators.external import FunctionSeparator

    if inspect.isclass(found):
        return _construct(found, name, (), arguments, offered)
    if arguments:
        raise UsageError(f"expected no model arguments for {name!r}, which is no class, found {dict(arguments)}")
    if isinstance(found, Separator | OracleSeparator | NamedSeparator):
        return found
    if callable(found):
        return FunctionSeparator(found, name)
    raise UsageError(f"expected a separator or a function (mixture, rate, prompt) -> target, found {found!r}")


def _construct(
    kind: Any,
    name: str,
    positional: tuple[str, ...],
    arguments: Mapping[str, Any],
    offered: Mapping[str, Any] = {},
) -> AnySeparator:
    signature = inspect.signature(kind)
    try:
        signature.bind(*positional, **arguments)
    except TypeError as error:
        options = ", ".join(list(signature.parameters)[len(positional) :]) or "none"
        raise UsageError(f"expected model arguments among [{options}] for {name!r}, found: {error}") from error
    taken = {**{key: value for key, value in offered.items() if key in signature.parameters}, **arguments}
    separator: AnySeparator = kind(*positional, **taken)
    shown = sorted(key for key in taken if key in arguments or key != "device")  # where it ran changes no answer
    if shown:
        separator.name = "+".join([separator.name, *(f"{key}={taken[key]}" for key in shown)])
    return separator


def load_picker(name: str, arguments: Mapping[str, Any] = {}) -> Picker:
    """The picker of one name of `PICKERS`; arguments that its constructor does not name raise UsageError."""
    options = picker_options(name)
    if unknown := sorted(set(arguments) - set(options)):
        raise UsageError(f"expected picker arguments among {', '.join(options)} for {name}, found {unknown}")
    picker: Picker = resolve(PICKERS[name].target)(**arguments)
    return picker


def picker_options(name: str) -> list[str]:
    """Names of the options that a picker's constructor takes."""
    return list(inspect.signature(resolve(PICKERS[name].target)).parameters)


def load_metrics(ids: Iterable[str], arguments: Mapping[str, Any] = {}) -> list[Metric]:
    """One Metric per class behind the ids, in their order; its ``requested`` says which columns were asked for.

    ``arguments`` go to every class whose constructor names them; one that no class names raises UsageError.
    """
    unused = set(arguments)
    loaded = []
    for target, columns in _metric_targets(ids).items():
        kind = resolve(target)
        accepted = {key: value for key, value in arguments.items() if key in inspect.signature(kind).parameters}
        unused -= set(accepted)
        metric: Metric = kind(**accepted)
        metric.requested = tuple(columns)
        loaded.append(metric)
    if unused:
        raise UsageError(f"expected metric arguments that a chosen metric knows, found {sorted(unused)}")
    return loaded


def metric_options(ids: Iterable[str]) -> set[str]:
    """Names of the options that the classes behind some metric ids take."""
    return {name for target in _metric_targets(ids) for name in inspect.signature(resolve(target)).parameters}


def _metric_targets(ids: Iterable[str]) -> dict[str, list[str]]:
    """The classes behind metric ids, with the ids of each."""
    named = plugins("metrics")
    wanted: dict[str, list[str]] = {}
    for identifier in dict.fromkeys(ids):
        if identifier not in metrics.CARDS and identifier not in named:
            raise unknown_name("metric", identifier, [*metrics.CARDS, *named])
        target = metrics.CARDS[identifier].target if identifier in metrics.CARDS else named[identifier].value
        wanted.setdefault(target, []).append(identifier)
    return wanted


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
        names: of tasks and groups, paths of manifests and folders, or ``ADAPTER:PATH``.
        split: of the tasks: "test" or "mini".
        subset: of the test split: "paper" or "full".
        prompts: what the items are asked by, of `sam_audio_bench.tasks.data.PROMPTS`.
        allow_outside: accept files of manifests that lie outside their folder.

    Raises:
        UsageError: an unknown name or option, data that say something impossible, or items without texts for
            ``prompts``. Precondition: missing data, or no stored paraphrases.
    """
    from sam_audio_bench.tasks.adapters import ADAPTERS
    from sam_audio_bench.tasks.load import is_path
    from sam_audio_bench.tasks.load import load_task as load_one
    from sam_audio_bench.tasks.prompts import with_prompts

    named = plugins("tasks")
    found: dict[str, TaskData] = {}
    for name in names:
        if name in named:
            found[name] = replace(resolve(named[name].value)(split=split, subset=subset), source=name, subset=subset)
            continue
        if not is_path(name) and name not in TASKS and name not in GROUPS:
            raise unknown_name("task", name, [*TASKS, *GROUPS, *named, *(f"{layout}:PATH" for layout in ADAPTERS)])
        for task in GROUPS.get(name, (name,)):
            if task not in found:
                loaded = load_one(task, split=split, subset=subset, allow_outside=allow_outside)
                found[task] = replace(loaded, source=task, subset=subset)
    return [with_prompts(data, prompts) for data in found.values()]
