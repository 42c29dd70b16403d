"""What a run will do, settled before any work: separators, tasks, metrics, and why a metric cannot run."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

from sam_audio_bench import registry
from sam_audio_bench.columns import LoadedMetric, build_metrics, metric_options
from sam_audio_bench.devices import find_device
from sam_audio_bench.digests import flush_digests, joined
from sam_audio_bench.errors import Precondition, UsageError
from sam_audio_bench.files import safe_name
from sam_audio_bench.metrics.base import Metric
from sam_audio_bench.metrics.catalogue import CARDS, DEFAULT, WITHOUT_REFERENCE
from sam_audio_bench.options import parse_spelling
from sam_audio_bench.records import SCHEMA_VERSION, ItemRecord, ModelRecord
from sam_audio_bench.run.contract import PreparedSeparator, Recipe, ignored_options, prepare_separator
from sam_audio_bench.run.global_state import GlobalState
from sam_audio_bench.run.progress import Progress
from sam_audio_bench.run.scoring import outdated
from sam_audio_bench.run.separation import PickerPool, Reranking
from sam_audio_bench.run.settings import BASELINE, Settings
from sam_audio_bench.run.store import RunFolder
from sam_audio_bench.tasks import TaskData
from sam_audio_bench.types import AnySeparator, NamedSeparator

__all__ = ["BASELINE", "Job", "Model", "Plan", "Settings", "make_plan", "shard_suffix", "unavailable_reason"]

Model = str | Callable[..., Any] | AnySeparator


@dataclass(frozen=True, kw_only=True)
class Job:
    """One separator on one task: a run folder, and which of its items are still to do."""

    separator: AnySeparator
    model: ModelRecord
    recipe: Recipe  # of the separator
    data: TaskData  # the whole task
    chosen: TaskData  # the items of this run
    metrics: tuple[LoadedMetric, ...]  # those that the task can serve
    folder: RunFolder
    contents: Mapping[str, str]  # chosen item -> digest of what it is made of
    common: str | None  # digest of what all estimates depend on; None: not known
    fingerprints: Mapping[str, str]  # item -> of what a stored estimate must have been made with; "": not known
    reranking: Reranking | None = None  # None: one estimate per item
    taken: frozenset[str] = frozenset()  # of the options of `Settings.offered`, those that something here takes
    own_state: GlobalState | None = None  # see `PreparedSeparator`
    printed: str = ""  # by the separator's module and constructor

    @property
    def columns(self) -> tuple[str, ...]:
        """Metric ids of this job's scores."""
        return tuple(column for one in self.metrics for column in one.columns)

    @cached_property
    def aside(self) -> dict[str, str]:
        """Journalled items that are not of this run and cannot stand beside its own, and why."""
        known = self.folder.items.values()
        found = {record.item: self._why_aside(record) for record in known if record.item not in self.contents}
        return {item: reason for item, reason in found.items() if reason}

    def _why_aside(self, record: ItemRecord) -> str | None:
        if record.item not in self.data.groups:
            return "the data have no such item any more"
        if self.folder.header.schema_version != SCHEMA_VERSION:
            return "the folder does not say what it was made from"
        if record.failed:
            return None
        content = self.data.content_sha256(record.item)
        if record.data_sha256 != content:
            return "its recordings or its prompt have changed"
        same = record.fingerprint == _fingerprint(self.common, self.separator, record.item, content)
        return None if same and record.fingerprint else "it was made in another way"

    @cached_property
    def stale(self) -> dict[str, str]:
        """Journalled items that cannot be kept, and why; of the folder as it was when this was first asked."""
        records = ((item, self.folder.items.get(item)) for item in self.chosen.ids)
        found = {item: self._why_stale(record) for item, record in records if record is not None}
        return {item: reason for item, reason in found.items() if reason}

    def _why_stale(self, record: ItemRecord) -> str | None:
        if record.failed:
            return "it failed"
        if record.data_sha256 != self.contents[record.item]:
            return "its recordings or its prompt have changed"
        if not self.fingerprints[record.item]:
            return "what made it cannot be identified"
        if record.fingerprint != self.fingerprints[record.item]:
            return "it was made in another way"
        if self._lacks_candidates(record):
            return "its candidates were not kept"
        must_be_read = bool(outdated(self.folder, self.metrics, record.item))
        return self.folder.damage(record.item, read=must_be_read)

    def _lacks_candidates(self, record: ItemRecord) -> bool:
        """Whether audio is to be kept that was not."""
        expected = record.candidates - len(record.candidate_errors)
        return self.reranking is not None and self.reranking.keep and len(record.kept) < expected

    def to_separate(self) -> list[str]:
        """Chosen items without an estimate that can be kept."""
        stale = self.stale
        return [item for item in self.chosen.ids if item not in self.folder.items or item in stale]

    def unfinished(self) -> list[str]:
        """Chosen items that need an estimate or a score."""
        separate = set(self.to_separate())
        return [item for item in self.chosen.ids if item in separate or outdated(self.folder, self.metrics, item)]

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do for the chosen items, and the folder says what they are."""
        if not self.folder.exists or not (self.folder.path / "scores.parquet").exists():
            return False
        header = self.folder.header
        same = header.task == self.data.record and header.model == self.model and not self.aside
        return same and header.schema_version == SCHEMA_VERSION and not self.unfinished()

    def notes(self) -> list[str]:
        """What a user must know about what is not kept."""
        name, found = f"{self.model.name} on {self.data.label}", []
        if self.model.unknown:
            found.append(f"{name}: nothing is kept, since the separator cannot be identified: {self.model.unknown}")
        if self.data.code_sha256 == "":
            found.append(f"{name}: nothing is kept, since the code of the task cannot be identified")
        found += [
            f"{name}: {column} is computed anew, since the metric cannot be identified: {record.unknown}"
            for one in self.metrics for column, record in one.records.items() if record.unknown
        ]  # fmt: skip
        for reason, items in _by_reason(self.aside):
            found.append(f"{name}: {_counted(items)} set aside: {reason}{self._difference(reason)}")
        for reason, items in _by_reason(self.stale):
            if reason != "it failed":
                found.append(f"{name}: {_counted(items)} done again: {reason}{self._difference(reason)}")
        return found

    def _difference(self, reason: str) -> str:
        """In what the separator of the folder differs, where that is why."""
        if reason != "it was made in another way":
            return ""
        changes = self.folder.header.model.differences(self.model)
        return f" ({'; '.join(map(str, changes[:3]))})" if changes else " (another seed, alignment, picker or estimate)"


def _by_reason(reasons: Mapping[str, str]) -> Iterator[tuple[str, list[str]]]:
    """Each reason with its items."""
    for reason in dict.fromkeys(reasons.values()):
        yield reason, [item for item, own in reasons.items() if own == reason]


_SHOWN = 5


def _counted(items: Sequence[str]) -> str:
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return f"{', '.join(items[:_SHOWN])}{more}"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The jobs of a run, and what will not be done and why."""

    settings: Settings
    jobs: tuple[Job, ...]
    unavailable: Mapping[tuple[str, str], str] = field(default_factory=dict)  # (task, metric) -> reason
    config: Mapping[str, Any] = field(default_factory=dict)  # for run.json: option -> {value, origin}
    notes: tuple[str, ...] = ()  # about the data, and what is picked by what
    redone: tuple[str, ...] = ()  # what is not kept, and why
    ignored: tuple[str, ...] = ()  # options that were given and that nothing takes


def make_plan(
    models: Sequence[Model],
    tasks: Iterable[str],
    *,
    settings: Settings | None = None,
    config: Mapping[str, Any] | None = None,
    **options: Any,
) -> Plan:
    """Resolves every name and looks at every run folder; nothing is separated, scored or written.

    Args:
        models: as ``--model`` takes them, or objects.
        tasks: as ``--task`` takes them.
        settings: everything else.
        config: for run.json: option -> {value, origin}.
        options: of `Settings`, over those of ``settings``.

    Raises:
        UsageError: an unknown or impossible name or option. Precondition: missing data, module, program or folder.
    """
    settings = replace(settings or Settings(), **options)
    find_device(settings.device)
    separators = _build_separators(models, settings)
    ids = tuple(settings.metrics)
    metric_options(ids)  # an unknown name is told before data are looked for
    data = registry.load_tasks(tasks, **settings.selection)
    requested = {task.task: _metric_ids(ids, task) for task in data}
    loaded = _build_metrics(dict.fromkeys(name for names in requested.values() for name in names), settings)
    asked = [
        _Asked(task, one, unavailable_reason(one.metric, task))
        for task in data for one in loaded if _belongs(one, requested[task.task])
    ]  # fmt: skip
    unavailable = {(task.task, column): reason for task, one, reason in asked if reason for column in one.columns}
    if all(one.obstacle for one in asked):
        raise Precondition(
            f"expected a metric that can run, found none: {next(iter(unavailable.values()), 'none asked')}"
        )
    pickers = PickerPool(
        candidates=settings.candidates, name=settings.picker, arguments=settings.picker_args,
        device=settings.device, keep=settings.keep_candidates,
    )  # fmt: skip
    usable = {task.label: [one.metric for one in asked if one.data is task and not one.obstacle] for task in data}
    jobs = [job for task in data for job in _jobs(task, usable[task.label], separators, pickers, settings)]
    flush_digests()
    told = [f"{task.label}: {note}" for task in data for note in task.notes]
    return Plan(
        settings=settings,
        jobs=tuple(jobs),
        unavailable=unavailable,
        config=config or {},
        notes=(*told, *pickers.notes),
        redone=tuple(note for job in jobs for note in job.notes()),
        ignored=tuple(ignored_options(settings.offered, {job.model.name: job.taken for job in jobs})),
    )


class _Asked(NamedTuple):
    """A metric that a task is asked for."""

    data: TaskData
    metric: LoadedMetric
    obstacle: str | None  # why it cannot run there


def _metric_ids(ids: tuple[str, ...], task: TaskData) -> tuple[str, ...]:
    """The metrics that a task is asked for: where the default has nothing to compare with, those without reference."""
    if ids != DEFAULT or "reference" in task.provides:
        return ids
    return tuple(name for name in WITHOUT_REFERENCE if CARDS[name].needs <= task.provides)


def _build_metrics(ids: Iterable[str], settings: Settings) -> list[LoadedMetric]:
    return build_metrics(ids, settings.metric_args, policies=settings.metric_policies)


def _belongs(one: LoadedMetric, specs: Sequence[str]) -> bool:
    """Whether a metric is among those that a task is asked for."""
    names = {parse_spelling(spec).name for spec in specs}
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
    """Why a metric cannot run on a task: something that the machine or the data lack."""
    needs = frozenset[str]().union(*(card.needs for card in metric.cards() if card.id in metric.requested))
    missing = sorted(needs - task.provides)
    return metric.missing() or (f"no {' and no '.join(missing)} there" if missing else None)


def _contents(chosen: TaskData) -> dict[str, str]:
    """Digest of every chosen item."""
    found = {}
    with Progress(len(chosen), show=None if len(chosen) > _MANY else False) as bar:
        advance = bar.counting(f"reading {chosen.label}")
        for item in chosen.ids:
            found[item] = chosen.content_sha256(item)
            advance(None)
    return found


_MANY = 200  # items whose files are read so long that a bar is wanted


def _jobs(
    data: TaskData,
    metrics: Sequence[LoadedMetric],
    separators: Sequence[PreparedSeparator],
    pickers: PickerPool,
    settings: Settings,
) -> Iterator[Job]:
    """The jobs of a task: what separators have in common is found out once."""
    chosen = data.select(limit=settings.limit, ids=settings.sample_ids, shard=settings.shard)
    contents = _contents(chosen)
    shard = "" if settings.shard is None else shard_suffix(settings.shard)
    output = settings.output.absolute()  # wherever a separator goes
    for prepared in separators:
        separator, model = prepared.separator, prepared.model
        reranking = pickers.reranking(separator, data)
        folder = RunFolder.open(output / safe_name(separator.name) / f"{safe_name(data.label)}{shard}")
        _check_folder(folder, data, settings)
        common = _common_fingerprint(model, data, settings, reranking)
        yield Job(
            separator=separator,
            model=model,
            recipe=prepared.recipe,
            data=data,
            chosen=chosen,
            metrics=tuple(metrics),
            folder=folder,
            contents=contents,
            common=common,
            fingerprints={item: _fingerprint(common, separator, item, contents[item]) for item in chosen.ids},
            reranking=reranking,
            taken=prepared.taken | _taken_beside(metrics, reranking),
            own_state=prepared.own_state,
            printed=prepared.printed,
        )


def _taken_beside(metrics: Sequence[LoadedMetric], reranking: Reranking | None) -> frozenset[str]:
    """Options of `Settings.offered` that metrics and the picker take: a device, and no dtype."""
    known = [one.knows for one in metrics]
    if reranking is not None:
        known.append(frozenset(inspect.signature(type(reranking.picker)).parameters))
    return frozenset({"device"} if any("device" in names for names in known) else ())


def _check_folder(folder: RunFolder, data: TaskData, settings: Settings) -> None:
    """Refuses a folder without digests, and one that belongs to other data of the same name."""
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
    """What the name of a shard's run folder ends with."""
    return f".shard-{shard[0]}-of-{shard[1]}"


def _common_fingerprint(
    model: ModelRecord, data: TaskData, settings: Settings, reranking: Reranking | None
) -> str | None:
    """Digest of what all estimates of a job depend on; None where it cannot be identified."""
    picker = None if reranking is None else reranking.identity
    if model.unknown or data.code_sha256 == "" or (picker is not None and picker.unknown):
        return None
    picked = "" if reranking is None or picker is None else f"{reranking.candidates} {picker.fingerprint()}"
    mono = str(settings.stereo == "mono")
    return joined(model.fingerprint(), data.label, str(settings.seed), str(settings.align), mono, picked)


def _fingerprint(common: str | None, separator: AnySeparator, item: str, content: str) -> str:
    if common is None:
        return ""
    stored = separator.fingerprint(item) if isinstance(separator, NamedSeparator) else ""
    return joined(common, item, content, stored)[:32]
