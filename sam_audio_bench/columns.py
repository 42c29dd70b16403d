"""The metrics of a run: from spellings to objects, with the record of each column that is asked of them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from sam_audio_bench import metrics
from sam_audio_bench.construction import called, check_arguments, made, resolve
from sam_audio_bench.errors import UsageError, unknown_name
from sam_audio_bench.files import dump_json
from sam_audio_bench.identity import Options, capture, identify, is_built_in
from sam_audio_bench.metrics.catalogue import improvement_card
from sam_audio_bench.metrics.distance_catalogue import check_item_metric
from sam_audio_bench.options import parse_spelling, unknown_option
from sam_audio_bench.parameters import parameter_names
from sam_audio_bench.plugins import plugins
from sam_audio_bench.records import MetricRecord

if TYPE_CHECKING:
    from sam_audio_bench.cards import MetricCard
    from sam_audio_bench.metrics.base import Metric

__all__ = ["LoadedMetric", "build_metrics", "check_columns", "check_metrics", "check_used", "metric_options"]

_BRIDGED = "torchmetrics:"
_IMPROVED = "improvement:"
_PLACE = re.compile(r"[\w.]+:[\w.]+")


@dataclass(frozen=True, kw_only=True)
class LoadedMetric:
    """A metric with the records of the columns that a run asked for."""

    metric: Metric
    records: Mapping[str, MetricRecord]  # column of the class -> its record, under the name that tables show
    knows: frozenset[str]  # names of the constructor's options

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns as tables show them."""
        return tuple(record.id for record in self.records.values())

    @cached_property
    def fingerprints(self) -> Mapping[str, str | None]:
        """For each column what its scores depend on; None where that cannot be identified, and nothing is kept."""
        return {record.id: record.fingerprint() for record in self.records.values()}


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
    specs, found = list(specs), []
    for (target, own), (columns, options) in _metric_targets(specs).items():
        specific = target.startswith(_BRIDGED) or any(parse_spelling(spec).name == target for spec in specs)
        kind = _metric_constructor(target)
        known = check_arguments("metric", kind, columns[0], (), options)
        accepted = {key: value for key, value in {**policies, **arguments}.items() if key in known} | options
        metric: Metric = made("metric", columns[0], partial(kind, **accepted))
        _check_contract(metric, columns[0])
        metric.requested = tuple(columns) if columns[0] in metric.columns else metric.columns
        records = _records(metric, kind, accepted, own, target if specific else "")
        found.append(LoadedMetric(metric=metric, records=records, knows=frozenset(known)))
    check_columns(found)
    check_used(arguments, found)
    return found


def _columns(target: str) -> list[str]:
    """Ids of a third party's metric, ``module:Class``."""
    found = getattr(resolve(target), "columns", None)
    if not isinstance(found, list | tuple) or not found or not all(isinstance(name, str) and name for name in found):
        raise UsageError(f'expected a class of metrics at {target}, with columns = ("name",), found {found!r}')
    return list(found)


def _check_contract(metric: Metric, name: str) -> None:
    """Refuses a metric that could not be used, before any work."""
    cards = {card.id: card for card in called(f"metric {name!r} to say its cards", metric.cards)}
    if lacking := [column for column in metric.columns if column not in cards]:
        raise UsageError(f"expected cards() of metric {name!r} to tell of {', '.join(lacking)}, found {[*cards]}")
    size = metric.batch_size
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise UsageError(f"expected batch_size of metric {name!r} to be a whole number above 0, found {size!r}")


def check_columns(loaded: Iterable[LoadedMetric]) -> None:
    """Raises UsageError where two metrics have a column of one name."""
    first: dict[str, str] = {}
    for one in loaded:
        for record in one.records.values():
            if record.id in first:
                raise UsageError(
                    f"expected metrics whose columns have different names, found {record.id} of {first[record.id]} "
                    f"and of {record.spelling}; leave one out, or rename the column"
                )
            first[record.id] = record.spelling


def check_used(arguments: Iterable[str], loaded: Iterable[LoadedMetric]) -> None:
    """Raises UsageError for arguments that no constructor names."""
    _check_known(arguments, set[str]().union(*(one.knows for one in loaded)))


def _check_known(arguments: Iterable[str], known: set[str]) -> None:
    if strange := sorted(set(arguments) - known):
        raise UsageError(f"expected metric arguments that a chosen metric knows, found {strange}")


def _metric_constructor(target: str) -> Callable[..., Metric]:
    """The class behind ``module:Class``, or what adapts ``torchmetrics:module.Class`` or makes an improvement."""
    if target.startswith(_IMPROVED):
        from sam_audio_bench.metrics.improvement import improvement_constructor

        return improvement_constructor(resolve(target.removeprefix(_IMPROVED)))
    if not target.startswith(_BRIDGED):
        constructor: Callable[..., Metric] = resolve(target)
        return constructor
    from sam_audio_bench.metrics.bridge import adapt

    module, _, name = target.removeprefix(_BRIDGED).rpartition(".")
    resolve(f"{module}:{name}")  # from the working folder too
    return partial(adapt, f"{module}.{name}")


def _records(
    metric: Metric, constructor: Callable[..., Metric], arguments: Mapping[str, Any], own: str, spec: str
) -> dict[str, MetricRecord]:
    """The record of each requested column; what a third party's metric captures stands among its parameters too."""
    kind = getattr(metric, "kind", type(metric))  # what a bridge adapts, too, is somebody's code
    built_in = is_built_in(kind)
    identity = identify(
        "metric", metric.requested[0], metric, options=partial(capture, constructor, (), arguments),
        code=None if built_in else kind,
    )  # fmt: skip
    cards = {card.id: card for card in metric.cards()}
    parameters, weights = dict(metric.options), identity.weights_sha256
    return {
        column: MetricRecord(
            id=f"{column}({own})" if own else column,
            version=_version(cards[column]),
            unit=cards[column].unit,
            higher_is_better=cards[column].higher_is_better,
            parameters=parameters if built_in else {**identity.options, **parameters},
            weights_sha256=dump_json(weights) if isinstance(weights, dict) else weights,
            options=identity.options,
            spec=f"{spec}({own})" if spec and own else spec,
            code_sha256=identity.code_sha256,
            unknown=identity.unknown,
        )
        for column in metric.requested
    }


def _version(card: MetricCard) -> int:
    if isinstance(card.version, bool) or not isinstance(card.version, int) or card.version < 1:
        raise UsageError(f"expected a whole number from 1 as the version of {card.id}, found {card.version!r}")
    return card.version


def metric_options(ids: Iterable[str]) -> set[str]:
    """Names of the options that the classes behind some metric ids take."""
    return {
        name for target, _ in _metric_targets(ids) for name in inspect.signature(_metric_constructor(target)).parameters
    }


def check_metrics(specs: Sequence[str], arguments: Iterable[str] = ()) -> None:
    """Raises UsageError for an unknown metric, or an option that built-in ones do not take; nothing is imported."""
    named, known = plugins("metrics"), set[str]()
    spelt = [parse_spelling(spec) for spec in specs]
    for one in spelt:
        card = metrics.CARDS.get(one.name) or (None if one.name in named else improvement_card(one.name))
        if card is not None:
            own = parameter_names(card.target)
            if strange := [key for key in one.options if key not in own]:
                raise unknown_option("metric", one.name, strange, own)
            known |= set(own)
        elif one.name not in named and not one.name.startswith(_BRIDGED) and not _PLACE.fullmatch(one.name):
            check_item_metric(one.name)
            raise unknown_name("metric", one.name, [*metrics.CARDS, *named])
    if all(one.name in metrics.CARDS or improvement_card(one.name) for one in spelt):
        _check_known(arguments, known)


def _metric_targets(specs: Iterable[str]) -> dict[tuple[str, str], tuple[list[str], Options]]:
    """The classes behind spellings of metrics, each with its own options: the ids that are asked of it, and these."""
    named = plugins("metrics")
    requested: dict[tuple[str, str], tuple[list[str], Options]] = {}
    specs = list(specs)
    check_metrics(specs)
    for spec in dict.fromkeys(specs):
        spelt = parse_spelling(spec)
        if spelt.name in metrics.CARDS:
            target, columns = metrics.CARDS[spelt.name].target, [spelt.name]
        elif spelt.name in named:
            target, columns = named[spelt.name].value, [spelt.name]
        elif card := improvement_card(spelt.name):
            target, columns = _IMPROVED + card.target, [spelt.name]
        elif spelt.name.startswith(_BRIDGED):
            target, columns = spelt.name, [spelt.name]
        else:
            target, columns = spelt.name, _columns(spelt.name)
        own = ",".join(f"{key}={value}" for key, value in sorted(spelt.options.items()))
        requested.setdefault((target, own), ([], spelt.options))[0].extend(columns)
    return requested
