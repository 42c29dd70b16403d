"""Builds the metrics of a run from their specifications, with a record per requested column."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING

from sam_audio_bench import metrics
from sam_audio_bench.construction import call_third_party, check_arguments, construct, resolve
from sam_audio_bench.errors import UsageError, unknown_name
from sam_audio_bench.files import dump_json
from sam_audio_bench.identity import Options, capture_arguments, identify, is_built_in
from sam_audio_bench.metrics.catalogue import improvement_card
from sam_audio_bench.metrics.distance_catalogue import check_item_metric
from sam_audio_bench.options import parse_specification, unknown_option
from sam_audio_bench.parameters import parameter_names
from sam_audio_bench.plugins import plugins
from sam_audio_bench.records import MetricRecord

if TYPE_CHECKING:
    from sam_audio_bench.cards import MetricCard
    from sam_audio_bench.metrics.base import Metric

__all__ = ["LoadedMetric", "build_metrics", "check_columns", "check_metrics", "check_used", "metric_options"]

_TORCHMETRICS_PREFIX = "torchmetrics:"
_IMPROVEMENT_PREFIX = "improvement:"
_MODULE_AND_CLASS = re.compile(r"[\w.]+:[\w.]+")


@dataclass(frozen=True, kw_only=True)
class LoadedMetric:
    """A metric with the records of its requested columns."""

    metric: Metric
    records: Mapping[str, MetricRecord]  # column of the class -> record, whose id is the name in tables
    option_names: frozenset[str]  # names of the constructor's options

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns in tables."""
        return tuple(record.id for record in self.records.values())

    @cached_property
    def fingerprints(self) -> Mapping[str, str | None]:
        """Fingerprint per column; None if the metric cannot be identified, and its scores are not cached."""
        return {record.id: record.fingerprint() for record in self.records.values()}


def build_metrics(
    specs: Iterable[str], arguments: Mapping[str, object] = {}, *, policies: Mapping[str, object] = {}
) -> list[LoadedMetric]:
    """Builds one metric per class and set of options, in the order of ``specs``, with the records of its columns.

    Args:
        specs: metric ids, optionally with options in brackets for that metric alone; these become part of its columns'
            names, so that variants of a metric can be computed side by side.
        arguments: options that are passed to every class whose constructor names them.
        policies: options of the run, passed likewise unless ``arguments`` or brackets set them.

    Raises:
        UsageError: an unknown metric or option, or an option that no class accepts.
    """
    specs, found = list(specs), []
    for (target, own), (columns, options) in _metric_targets(specs).items():
        specific = target.startswith(_TORCHMETRICS_PREFIX) or any(
            parse_specification(spec).name == target for spec in specs
        )
        kind = _resolve_constructor(target)
        known = check_arguments("metric", kind, columns[0], (), options)
        accepted = {key: value for key, value in {**policies, **arguments}.items() if key in known} | options
        metric: Metric = construct("metric", columns[0], partial(kind, **accepted))
        _check_contract(metric, columns[0])
        metric.requested = tuple(columns) if columns[0] in metric.columns else metric.columns
        records = _column_records(metric, kind, accepted, own, target if specific else "")
        found.append(LoadedMetric(metric=metric, records=records, option_names=frozenset(known)))
    check_columns(found)
    check_used(arguments, found)
    return found


def _third_party_columns(target: str) -> list[str]:
    """Returns the columns of a third-party metric ``module:Class``; raises UsageError if it declares none."""
    found = getattr(resolve(target), "columns", None)
    if not isinstance(found, list | tuple) or not found or not all(isinstance(name, str) and name for name in found):
        raise UsageError(f'expected a class of metrics at {target}, with columns = ("name",), found {found!r}')
    return list(found)


def _check_contract(metric: Metric, name: str) -> None:
    """Raises UsageError for a metric that breaks the interface, before anything is computed."""
    cards = {card.id: card for card in call_third_party(f"metric {name!r} to return its cards", metric.cards)}
    if missing := [column for column in metric.columns if column not in cards]:
        raise UsageError(f"expected cards() of metric {name!r} to include {', '.join(missing)}, found {[*cards]}")
    size = metric.batch_size
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise UsageError(f"expected batch_size of metric {name!r} to be a whole number above 0, found {size!r}")


def check_columns(loaded: Iterable[LoadedMetric]) -> None:
    """Raises UsageError if two metrics have a column of the same name."""
    first: dict[str, str] = {}
    for one in loaded:
        for record in one.records.values():
            if record.id in first:
                raise UsageError(
                    f"expected metrics whose columns have different names, found {record.id} of {first[record.id]} "
                    f"and of {record.specification}; leave one out, or rename the column"
                )
            first[record.id] = record.specification


def check_used(arguments: Iterable[str], loaded: Iterable[LoadedMetric]) -> None:
    """Raises UsageError for arguments that no metric's constructor accepts."""
    _check_known(arguments, set[str]().union(*(one.option_names for one in loaded)))


def _check_known(arguments: Iterable[str], known: set[str]) -> None:
    if strange := sorted(set(arguments) - known):
        raise UsageError(f"expected arguments of one of the metrics, found {strange}")


def _resolve_constructor(target: str) -> Callable[..., Metric]:
    """Returns the constructor of ``module:Class``, ``torchmetrics:module.Class`` or ``improvement:module:Class``."""
    if target.startswith(_IMPROVEMENT_PREFIX):
        from sam_audio_bench.metrics.improvement import improvement_constructor

        return improvement_constructor(resolve(target.removeprefix(_IMPROVEMENT_PREFIX)))
    if not target.startswith(_TORCHMETRICS_PREFIX):
        constructor: Callable[..., Metric] = resolve(target)
        return constructor
    from sam_audio_bench.metrics.bridge import adapt

    module, _, name = target.removeprefix(_TORCHMETRICS_PREFIX).rpartition(".")
    resolve(f"{module}:{name}")  # from the working folder too
    return partial(adapt, f"{module}.{name}")


def _column_records(
    metric: Metric, constructor: Callable[..., Metric], arguments: Mapping[str, object], own: str, spec: str
) -> dict[str, MetricRecord]:
    """Returns the record per requested column; parameters of third-party metrics include all constructor options."""
    kind = getattr(metric, "kind", type(metric))  # a metric adapted by a bridge is third-party code too
    built_in = is_built_in(kind)
    identity = identify(
        "metric", metric.requested[0], metric, options=partial(capture_arguments, constructor, (), arguments),
        code=None if built_in else kind,
    )  # fmt: skip
    cards = {card.id: card for card in metric.cards()}
    parameters, weights = dict(metric.options), identity.weights_sha256
    return {
        column: MetricRecord(
            id=f"{column}({own})" if own else column,
            version=_checked_version(cards[column]),
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


def _checked_version(card: MetricCard) -> int:
    if isinstance(card.version, bool) or not isinstance(card.version, int) or card.version < 1:
        raise UsageError(f"expected a whole number from 1 as the version of {card.id}, found {card.version!r}")
    return card.version


def metric_options(ids: Iterable[str]) -> set[str]:
    """Returns the names of the options that the classes of these metrics accept."""
    return {
        name
        for target, _ in _metric_targets(ids)
        for name in inspect.signature(_resolve_constructor(target)).parameters
    }


def check_metrics(specs: Sequence[str], arguments: Iterable[str] = ()) -> None:
    """Raises UsageError for an unknown metric or option of built-in metrics, without importing their classes."""
    named, known = plugins("metrics"), set[str]()
    parsed = [parse_specification(spec) for spec in specs]
    for one in parsed:
        card = metrics.CARDS.get(one.name) or (None if one.name in named else improvement_card(one.name))
        if card is not None:
            own = parameter_names(card.target)
            if strange := [key for key in one.options if key not in own]:
                raise unknown_option("metric", one.name, strange, own)
            known |= set(own)
        elif (
            one.name not in named
            and not one.name.startswith(_TORCHMETRICS_PREFIX)
            and not _MODULE_AND_CLASS.fullmatch(one.name)
        ):
            check_item_metric(one.name)
            raise unknown_name("metric", one.name, [*metrics.CARDS, *named])
    if all(one.name in metrics.CARDS or improvement_card(one.name) for one in parsed):
        _check_known(arguments, known)


def _metric_targets(specs: Iterable[str]) -> dict[tuple[str, str], tuple[list[str], Options]]:
    """Returns (class, options as text) -> (requested columns, options) for specifications of metrics."""
    named = plugins("metrics")
    requested: dict[tuple[str, str], tuple[list[str], Options]] = {}
    specs = list(specs)
    check_metrics(specs)
    for spec in dict.fromkeys(specs):
        parsed = parse_specification(spec)
        if parsed.name in metrics.CARDS:
            target, columns = metrics.CARDS[parsed.name].target, [parsed.name]
        elif parsed.name in named:
            target, columns = named[parsed.name].value, [parsed.name]
        elif card := improvement_card(parsed.name):
            target, columns = _IMPROVEMENT_PREFIX + card.target, [parsed.name]
        elif parsed.name.startswith(_TORCHMETRICS_PREFIX):
            target, columns = parsed.name, [parsed.name]
        else:
            target, columns = parsed.name, _third_party_columns(parsed.name)
        own = ",".join(f"{key}={value}" for key, value in sorted(parsed.options.items()))
        requested.setdefault((target, own), ([], parsed.options))[0].extend(columns)
    return requested
