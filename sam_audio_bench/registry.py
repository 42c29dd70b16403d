"""Names to objects: the built-in tables, entry points of third parties, and the spellings of ``--model``.

`plugins` finds what third parties register. An unknown name names its nearest neighbours.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import structs

from sam_audio_bench import metrics, separators
from sam_audio_bench.construction import check_arguments, made, resolve
from sam_audio_bench.digests import Unidentified
from sam_audio_bench.errors import UsageError, unknown_name
from sam_audio_bench.identity import WHERE, Identity, Options, capture, identify
from sam_audio_bench.options import Spelling, parse_spelling, unknown_option
from sam_audio_bench.plugins import plugins
from sam_audio_bench.records import MetricRecord, ModelRecord
from sam_audio_bench.separators.pickers import PICKERS
from sam_audio_bench.tasks import GROUPS, TASKS, TaskData
from sam_audio_bench.types import AnySeparator, NamedSeparator, OracleSeparator, Separator

if TYPE_CHECKING:
    from sam_audio_bench.metrics.base import Metric
    from sam_audio_bench.separators.rerank import Picker

__all__ = [
    "Built",
    "LoadedMetric",
    "build",
    "build_metrics",
    "check_weights",
    "load_metric",
    "load_metrics",
    "load_picker",
    "load_separator",
    "load_task",
    "load_tasks",
    "picker_options",
    "plugins",
    "resolve",
]


class Built(NamedTuple):
    """A component and what it is."""

    component: Any
    identity: ModelRecord | Identity


@dataclass(frozen=True, kw_only=True)
class LoadedMetric:
    """A metric with the records of the columns that a run asked for."""

    metric: Metric
    records: Mapping[str, MetricRecord]  # column of the class -> its record, under the name that tables show

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns as tables show them."""
        return tuple(record.id for record in self.records.values())

    @property
    def fingerprints(self) -> Mapping[str, str | None]:
        """For each column what its scores depend on; None where that cannot be identified, and nothing is kept."""
        return {record.id: record.fingerprint() for record in self.records.values()}


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
        timeout: seconds that a ``cmd:`` program may take for an item; None: the separator's default.

    Raises:
        UsageError: an unknown name or option. Precondition: a missing module, folder, file or program.
    """
    if kind == "picker":
        return _build_picker(parse_spelling(str(spec)), arguments)
    if not isinstance(spec, str):
        return _adopt(spec, getattr(spec, "__name__", type(spec).__name__), arguments, offered)
    spelt = parse_spelling(spec)
    name, options = spelt.name, {**spelt.options, **arguments}
    named, (prefix, colon, rest) = plugins("separators"), spelt.name.partition(":")
    if name in separators.CARDS:
        card = separators.CARDS[name]
        return _construct(resolve(card.target), name, card.arguments, options, offered, version=card.version)
    if name in named:
        return _adopt(resolve(named[name].value), name, options, offered)
    if prefix == "sam-audio" and colon:
        return _construct(resolve(separators.SAM_AUDIO), name, (rest,), options, offered, version=1)
    if prefix == "files" and colon:
        return _construct(resolve(_EXTERNAL + "FolderSeparator"), name, (rest,), options, {}, version=1)
    if prefix == "cmd" and colon:
        limits = {} if timeout is None else {"timeout": timeout}
        return _construct(resolve(_EXTERNAL + "CommandSeparator"), name, (rest,), options, limits, version=1)
    if colon and all(part.isidentifier() for part in prefix.split(".")):
        return _adopt(resolve(name), rest, options, offered)
    raise unknown_name("model", name, [*separators.CARDS, *named])


def load_separator(
    spec: str | Callable[..., Any] | AnySeparator,
    arguments: Mapping[str, Any] = {},
    *,
    timeout: float | None = None,
    offered: Mapping[str, Any] = {},
) -> AnySeparator:
    """The separator behind a name, ``sam-audio:DIR``, ``files:DIR``, ``cmd:…``, ``module:attribute``, or an object.

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
        place, revision = rest or spelt.name, str(options.get("revision", ""))
        find_separator(place, revision or None, text_encoder=str(options.get("text_encoder", "")))


_EXTERNAL = "sam_audio_bench.separators.external:"
_OWN = "sam_audio_bench"


def _adopt(found: Any, name: str, arguments: Mapping[str, Any], offered: Mapping[str, Any] = {}) -> Built:
    """Turns a class, an instance or a plain function into a separator."""
    from sam_audio_bench.separators.external import FunctionSeparator

    if inspect.isclass(found):
        return _construct(found, name, (), arguments, offered)
    if arguments:
        raise UsageError(f"expected no model arguments for {name!r}, which is no class, found {dict(arguments)}")
    if isinstance(found, Separator | OracleSeparator | NamedSeparator):
        return Built(found, _identified(found, found.name, code=found))
    if callable(found):
        separator = FunctionSeparator(found, name)
        return Built(separator, _identified(separator, name, code=found))
    raise UsageError(f"expected a separator or a function (mixture, rate, prompt) -> target, found {found!r}")


def _identified(separator: AnySeparator, name: str, **parts: Any) -> ModelRecord:
    """The identity of a separator; one that comes with this package is known by its version and settings."""
    if type(separator).__module__.startswith(f"{_OWN}.") and not hasattr(separator, "function"):
        parts = {"version": 1, **parts, "code": None}
    found = identify("separator", name, separator, **parts)
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
    taken = {**{key: value for key, value in offered.items() if key in parameters}, **arguments}
    separator: AnySeparator = made("model", name, partial(kind, *positional, **taken))
    shown = sorted(key for key in taken if key in arguments or key not in WHERE)  # where it ran changes no answer
    if shown:
        separator.name = "+".join([separator.name, *(f"{key}={taken[key]}" for key in shown)])
    own = version is not None
    record = _identified(
        separator, separator.name, version=version, options=partial(_captured, kind, positional, taken),
        code=None if own else kind, target=f"{kind.__module__}:{kind.__qualname__}",
    )  # fmt: skip
    return Built(separator, record)


def _captured(kind: Any, positional: tuple[str, ...], taken: Mapping[str, Any]) -> Options:
    """Every argument; what answers of a folder hold is known item by item, and a program tells of its own files."""
    if hasattr(kind, "separate_named"):
        return {name: value for name, value in taken.items() if name not in WHERE}
    return capture(kind, positional, taken)


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


def build_metrics(
    specs: Iterable[str], arguments: Mapping[str, Any] = {}, *, policies: Mapping[str, Any] = {}
) -> list[LoadedMetric]:
    """One metric per class and set of options behind the spellings, in their order, with the records of its columns.

    Args:
        specs: ids, with options in brackets where they are for one metric alone: these become part of its columns'
            names, so that two ways of computing a metric stand side by side.
        arguments: options for every class whose constructor names them.
        policies: options of the run, which a constructor that names them gets unless it has its own.

    Raises:
        UsageError: an unknown metric or option, or an option that no class names.
    """
    unused, found = set(arguments), []
    for (target, own), (columns, options) in _metric_targets(specs).items():
        kind = _metric_constructor(target)
        known = check_arguments("metric", kind, columns[0], (), options)
        accepted = {key: value for key, value in {**policies, **arguments}.items() if key in known} | options
        unused -= set(accepted)
        metric: Metric = made("metric", columns[0], partial(kind, **accepted))
        metric.requested = tuple(columns) if columns[0] in metric.columns else metric.columns
        found.append(LoadedMetric(metric=metric, records=_records(metric, kind, accepted, own)))
    if unused:
        known_options = {name for one in found for name in inspect.signature(type(one.metric)).parameters}
        raise unknown_option("metric", ", ".join(map(str, specs)), unused, sorted(known_options))
    return found


def _metric_constructor(target: str) -> Callable[..., Metric]:
    """The class behind ``module:Class``, or what adapts ``torchmetrics:module.Class``."""
    if not target.startswith(_BRIDGED):
        constructor: Callable[..., Metric] = resolve(target)
        return constructor
    from sam_audio_bench.metrics.bridge import adapt

    module, _, name = target.removeprefix(_BRIDGED).rpartition(".")
    resolve(f"{module}:{name}")  # from the working folder too
    return partial(adapt, f"{module}.{name}")


_BRIDGED = "torchmetrics:"


def _records(
    metric: Metric, constructor: Callable[..., Metric], arguments: Mapping[str, Any], own: str
) -> dict[str, MetricRecord]:
    """The record of each requested column; what a third party's metric captures stands among its parameters too."""
    kind = getattr(metric, "kind", type(metric))  # what a bridge adapts, too, is somebody's code
    built_in = kind.__module__.startswith(f"{_OWN}.")
    identity = identify(
        "metric", metric.requested[0], metric, options=partial(capture, constructor, (), arguments),
        code=None if built_in else kind,
    )  # fmt: skip
    cards = {card.id: card for card in metric.cards()}
    parameters = dict(metric.options)
    return {
        column: MetricRecord(
            id=f"{column}({own})" if own else column,
            version=cards[column].version,
            unit=cards[column].unit,
            higher_is_better=cards[column].higher_is_better,
            parameters=parameters if built_in else {**identity.options, **parameters},
            weights_sha256=getattr(metric, "weights_sha256", None),
            options=identity.options,
            code_sha256=identity.code_sha256,
            unknown=identity.unknown,
        )
        for column in metric.requested
    }


def load_metrics(ids: Iterable[str], arguments: Mapping[str, Any] = {}) -> list[Metric]:
    """One Metric per class behind the ids, in their order; its ``requested`` says which columns were asked for.

    ``arguments`` go to every class whose constructor names them; one that no class names raises UsageError.
    """
    return [one.metric for one in build_metrics(ids, arguments)]


def metric_options(ids: Iterable[str]) -> set[str]:
    """Names of the options that the classes behind some metric ids take."""
    return {
        name for target, _ in _metric_targets(ids) for name in inspect.signature(_metric_constructor(target)).parameters
    }


def _metric_targets(specs: Iterable[str]) -> dict[tuple[str, str], tuple[list[str], Options]]:
    """The classes behind spellings of metrics, each with its own options: the ids that are asked of it, and these."""
    named = plugins("metrics")
    requested: dict[tuple[str, str], tuple[list[str], Options]] = {}
    for spec in dict.fromkeys(specs):
        spelt = parse_spelling(spec)
        if spelt.name in metrics.CARDS:
            target, columns = metrics.CARDS[spelt.name].target, [spelt.name]
        elif spelt.name in named:
            target, columns = named[spelt.name].value, [spelt.name]
        elif spelt.name.startswith(_BRIDGED):
            target, columns = spelt.name, [spelt.name]
        elif re.fullmatch(r"[\w.]+:[\w.]+", spelt.name):
            target, columns = spelt.name, list(resolve(spelt.name).columns)
        else:
            raise unknown_name("metric", spelt.name, [*metrics.CARDS, *named])
        own = ",".join(f"{key}={value}" for key, value in sorted(spelt.options.items()))
        requested.setdefault((target, own), ([], spelt.options))[0].extend(columns)
    return requested


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
    for spelling in names:
        label, equals, name = spelling.rpartition("=")
        if equals and label and is_path(name) and not Path(spelling).exists():
            if label in TASKS or label in GROUPS or label in named:
                raise UsageError(f"expected a name of your own for {name}, found {label!r}, which is taken; rename it")
            loaded = load_one(name, split=split, subset=subset, allow_outside=allow_outside)
            found[spelling] = replace(loaded, task=label, source=spelling)
            continue
        name = spelling
        if name in named:
            found[name] = replace(
                resolve(named[name].value)(split=split, subset=subset),
                source=name, subset=subset, code_sha256=_task_code(resolve(named[name].value)),
            )  # fmt: skip
            continue
        if not is_path(name) and name not in TASKS and name not in GROUPS:
            raise unknown_name("task", name, [*TASKS, *GROUPS, *named, *(f"{layout}:PATH" for layout in ADAPTERS)])
        for task in GROUPS.get(name, (name,)):
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


def _task_code(function: Any) -> str:
    """Digest of a third party's task; "" where it has none, so that nothing of it is kept."""
    from sam_audio_bench.source import digest

    try:
        return digest(function)
    except Unidentified:
        return ""
