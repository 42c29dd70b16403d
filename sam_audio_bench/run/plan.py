"""The plan of a run, made before any work: separators, tasks, metrics, and why a metric is unavailable."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from sam_audio_bench import registry
from sam_audio_bench.columns import LoadedMetric, build_metrics, metric_options
from sam_audio_bench.construction import call_third_party
from sam_audio_bench.devices import find_device
from sam_audio_bench.digests import flush_digests
from sam_audio_bench.errors import Precondition, UsageError
from sam_audio_bench.files import folder_name
from sam_audio_bench.metrics.base import Metric
from sam_audio_bench.metrics.catalogue import CARDS, DEFAULT, WITH_SOURCES, WITHOUT_REFERENCE
from sam_audio_bench.options import parse_specification
from sam_audio_bench.records import garbage_collection_paused
from sam_audio_bench.run.contract import PreparedSeparator, describe_ignored_options, prepare_separator
from sam_audio_bench.run.job import Job, compute_common_fingerprint, compute_fingerprint, make_dependency_digest
from sam_audio_bench.run.memory import find_shortages
from sam_audio_bench.run.process_exit import prevent_exit
from sam_audio_bench.run.progress import Progress
from sam_audio_bench.run.separation import PickerPool, Reranking
from sam_audio_bench.run.settings import BASELINE, Settings
from sam_audio_bench.run.store import RunFolder
from sam_audio_bench.tasks import TaskData
from sam_audio_bench.types import AnySeparator

__all__ = ["BASELINE", "Model", "Plan", "Settings", "make_plan", "shard_suffix", "unavailable_reason"]

Model = str | Callable[..., Any] | AnySeparator


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The jobs of a run, and what is not computed and why."""

    settings: Settings
    jobs: tuple[Job, ...]
    unavailable: Mapping[tuple[str, str], str] = field(default_factory=dict)  # (task, metric) -> reason
    config: Mapping[str, Any] = field(default_factory=dict)  # for run.json: option -> {value, origin}
    notes: tuple[str, ...] = ()  # about the data and the pickers
    redone: tuple[str, ...] = ()  # earlier results that are computed again, and why
    ignored: tuple[str, ...] = ()  # given options that no component takes
    needs: tuple[str, ...] = ()  # warnings of insufficient memory or disk space


@prevent_exit()
def make_plan(
    models: Sequence[Model],
    tasks: Iterable[str],
    *,
    settings: Settings | None = None,
    config: Mapping[str, Any] | None = None,
    **options: Any,
) -> Plan:
    """Resolves every name and reads every run folder; nothing is separated, scored or written.

    Args:
        models: as ``--model`` takes them, or objects.
        tasks: as ``--task`` takes them.
        settings: all other options.
        config: for run.json: option -> {value, origin}.
        options: fields of `Settings`, which override those of ``settings``.

    Raises:
        UsageError: an unknown or invalid name or option. Precondition: missing data, module, program or folder.
    """
    settings = replace(settings or Settings(), **options)
    find_device(settings.device)
    separators = _build_separators(models, settings)
    ids = tuple(settings.metrics)
    metric_options(ids)  # an unknown name is an error before data are searched
    with garbage_collection_paused():
        data = registry.load_tasks(tasks, **settings.selection)
    requested = {task.task: _metric_ids(ids, task) for task in data}
    loaded = _build_metrics(dict.fromkeys(name for names in requested.values() for name in names), settings)
    pairs = [
        _TaskMetric(task, one, unavailable_reason(one.metric, task))
        for task in data for one in loaded if _is_requested(one, requested[task.task])
    ]  # fmt: skip
    unavailable = {(task.task, column): reason for task, one, reason in pairs if reason for column in one.columns}
    if all(one.unavailable_reason for one in pairs):
        raise Precondition(
            f"expected a metric that can run, found none: {next(iter(unavailable.values()), 'none requested')}"
        )
    pickers = PickerPool(
        candidates=settings.candidates, name=settings.picker, arguments=settings.picker_args,
        device=settings.device, keep=settings.keep_candidates,
    )  # fmt: skip
    usable = {
        task.label: [one.metric for one in pairs if one.data is task and not one.unavailable_reason] for task in data
    }
    labels = [task.label for task in data]
    jobs = [job for task in data for job in _jobs(task, usable[task.label], separators, pickers, settings, labels)]
    flush_digests()
    notes = [f"{task.label}: {note}" for task in data for note in task.notes]
    notes += [f"{label}: no items in this shard" for label in dict.fromkeys(j.data.label for j in jobs if not j.chosen)]
    return Plan(
        settings=settings,
        jobs=tuple(jobs),
        unavailable=unavailable,
        config=config or {},
        notes=(*notes, *pickers.notes),
        redone=tuple(note for job in jobs for note in job.notes()),
        ignored=tuple(describe_ignored_options(settings.offered, {j.model.name: j.accepted_options for j in jobs})),
        needs=tuple(find_shortages(jobs, settings.batch_size)),
    )


class _TaskMetric(NamedTuple):
    """A metric requested for a task."""

    data: TaskData
    metric: LoadedMetric
    unavailable_reason: str | None


def _metric_ids(ids: tuple[str, ...], task: TaskData) -> tuple[str, ...]:
    """Returns the metrics requested for a task: by default, those that fit the references which its data have."""
    if ids != DEFAULT:
        return ids
    if "residual_sources" in task.provides:
        return WITH_SOURCES
    if "reference" in task.provides:
        return ids
    return tuple(name for name in WITHOUT_REFERENCE if CARDS[name].needs <= task.provides)


def _build_metrics(ids: Iterable[str], settings: Settings) -> list[LoadedMetric]:
    return build_metrics(ids, settings.metric_args, policies=settings.metric_policies)


def _is_requested(one: LoadedMetric, specs: Sequence[str]) -> bool:
    """Returns whether a metric is among the requested ones."""
    names = {parse_specification(spec).name for spec in specs}
    return set(one.records) <= names or any(":" in name for name in names)


def _build_separators(models: Sequence[Any], settings: Settings) -> list[PreparedSeparator]:
    if not models:
        raise UsageError("expected at least one model, found none")
    own = [model for model in models if not (isinstance(model, str) and model == BASELINE)]
    if settings.model_args and not own:
        raise UsageError(f"expected a model with options for --model-args, found {BASELINE} alone; leave them out")
    if settings.model_args and len(own) > 1:
        first = next((model for model in own if isinstance(model, str)), "name")
        options = ",".join(f"{name}={value}" for name, value in settings.model_args.items())
        raise UsageError(
            f"expected one model with --model-args, found {len(own)}; write the options behind the model that they are "
            f"for: --model '{first}({options}),…'"
        )
    found: dict[str, PreparedSeparator] = {}
    for model in models:
        arguments = settings.model_args if model in own else {}
        prepared = prepare_separator(model, arguments, offered=settings.offered, timeout=settings.timeout)
        name = prepared.separator.name
        if name in found:
            raise UsageError(f"expected models with different names, found {name!r} twice")
        found[name] = prepared
    if BASELINE not in found:
        found[BASELINE] = prepare_separator(BASELINE)
    return list(found.values())


def unavailable_reason(metric: Metric, task: TaskData) -> str | None:
    """Returns why a metric cannot run on a task, if this machine or the data lack something; otherwise None."""
    needs = frozenset[str]().union(*(card.needs for card in metric.cards() if card.id in metric.requested))
    missing = sorted(needs - task.provides)
    own = call_third_party(f"metric {metric.requested[0]!r} to say what it misses", metric.missing)
    return own or (f"no {' and no '.join(missing)} there" if missing else None)


def _contents(chosen: TaskData) -> dict[str, str]:
    """Returns the content digest of every chosen item."""
    found = {}
    with Progress(len(chosen), show=None if len(chosen) > _MIN_ITEMS_FOR_BAR else False) as bar:
        advance = bar.item_callback(f"reading {chosen.label}")
        for item in chosen.ids:
            found[item] = chosen.content_sha256(item)
            advance(None)
    return found


_MIN_ITEMS_FOR_BAR = 200  # reading their files takes long enough for a progress bar


def _jobs(
    data: TaskData,
    metrics: Sequence[LoadedMetric],
    separators: Sequence[PreparedSeparator],
    pickers: PickerPool,
    settings: Settings,
    labels: Sequence[str],
) -> Iterator[Job]:
    """Yields the jobs of one task of ``labels``; what separators have in common is computed once."""
    chosen = data.select(limit=settings.limit, ids=settings.sample_ids, shard=settings.shard)
    with garbage_collection_paused():
        contents = _contents(chosen)
    shard = "" if settings.shard is None else shard_suffix(settings.shard)
    output = settings.output.absolute()  # a separator may change the working directory
    for prepared in separators:
        separator, model = prepared.separator, prepared.model
        reranking = pickers.reranking(separator, data)
        own = output / folder_name(output, separator.name, [one.separator.name for one in separators])
        with garbage_collection_paused():
            folder = RunFolder.open(own / f"{folder_name(own, data.label, labels)}{shard}")
        _check_folder(folder, data, settings)
        common = compute_common_fingerprint(model, data, settings, reranking)
        digest_of = make_dependency_digest(separator, data)
        yield Job(
            separator=separator,
            model=model,
            build_arguments=prepared.build_arguments,
            data=data,
            chosen=chosen,
            metrics=tuple(metrics),
            folder=folder,
            content_digests=contents,
            common_fingerprint=common,
            fingerprints={name: compute_fingerprint(common, digest_of, name, one) for name, one in contents.items()},
            reranking=reranking,
            accepted_options=prepared.accepted_options | _options_taken(metrics, reranking),
            constructor_state=prepared.constructor_state,
            construction_output=prepared.construction_output,
        )


def _options_taken(metrics: Sequence[LoadedMetric], reranking: Reranking | None) -> frozenset[str]:
    """Returns the options of `Settings.offered` that metrics and the picker take: a device, never a dtype."""
    known = [one.option_names for one in metrics]
    if reranking is not None:
        known.append(frozenset(inspect.signature(type(reranking.picker)).parameters))
    return frozenset({"device"} if any("device" in names for names in known) else ())


def _check_folder(folder: RunFolder, data: TaskData, settings: Settings) -> None:
    """Raises for a folder without digests, and for one that belongs to other data of the same name."""
    if not folder.exists or settings.overwrite == "always":
        return
    folder.require_digests()
    before = folder.header.task
    if before.place is None or data.place is None or before.place == data.place:
        return
    records = [record for record in folder.items.values() if record.data_sha256]
    same = all(
        record.item in data.groups and data.content_sha256(record.item) == record.data_sha256 for record in records
    )
    if not same:
        raise UsageError(
            f"expected the data of {before.place} in {folder.path}, found other data of that name at {data.place}; "
            f"give them a name of their own, --task other={data.source}, or use another --output"
        )


def shard_suffix(shard: Sequence[int]) -> str:
    """Returns the suffix of the name of a shard's run folder."""
    return f".shard-{shard[0]}-of-{shard[1]}"
