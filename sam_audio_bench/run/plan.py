"""What a run will do, settled before any work: separators, tasks, metrics, and why a metric cannot run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sam_audio_bench import registry
from sam_audio_bench.devices import find_device
from sam_audio_bench.errors import Precondition, UsageError
from sam_audio_bench.files import safe_name
from sam_audio_bench.metrics.base import Metric
from sam_audio_bench.metrics.catalogue import CARDS, DEFAULT, WITHOUT_REFERENCE
from sam_audio_bench.run.candidates import Pickers, Reranking, check_candidates
from sam_audio_bench.run.check import check_policies
from sam_audio_bench.run.provenance import fingerprint
from sam_audio_bench.run.scoring import outdated
from sam_audio_bench.run.store import RunFolder, failed
from sam_audio_bench.separators.pickers import AUTO
from sam_audio_bench.tasks import TaskData
from sam_audio_bench.types import AnySeparator, NamedSeparator, OracleSeparator

__all__ = ["BASELINE", "Job", "Plan", "Settings", "describe", "make_plan", "shard_suffix", "unavailable_reason"]

BASELINE = "mixture"
OVERWRITE = ("only-missing", "always", "never")
DTYPES = ("auto", "float32", "bfloat16")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything about a run that is not its separators, tasks and metrics."""

    output: Path = Path("runs")
    seed: int = 0
    batch_size: int | None = None  # None: what the separator prefers
    limit: int | None = None  # items a task
    sample_ids: tuple[str, ...] = ()
    shard: tuple[int, int] | None = None  # I of N, from 1
    overwrite: str = "only-missing"
    align: str | None = None
    stereo: str = "joint"
    candidates: int = 1
    picker: str = AUTO
    picker_args: Mapping[str, Any] = field(default_factory=dict)
    keep_candidates: bool = False  # the audio of all, not only of the first and the picked one
    device: str = "auto"
    dtype: str = "auto"

    def __post_init__(self) -> None:
        check_policies(self.align, self.stereo)
        check_candidates(self.candidates, self.picker, self.keep_candidates)
        if self.overwrite not in OVERWRITE:
            raise UsageError(f"expected --overwrite to be one of {', '.join(OVERWRITE)}, found {self.overwrite!r}")
        if self.batch_size is not None and self.batch_size < 1:
            raise UsageError(f"expected --batch-size to be auto or at least 1, found {self.batch_size}")
        if self.dtype not in DTYPES:
            raise UsageError(f"expected --dtype to be one of {', '.join(DTYPES)}, found {self.dtype!r}")
        find_device(self.device)

    @property
    def offered(self) -> dict[str, str]:
        """Device and dtype for whatever takes them, where they were chosen."""
        chosen = {"device": self.device, "dtype": self.dtype}
        return {name: value for name, value in chosen.items() if value != "auto"}


@dataclass(frozen=True, kw_only=True)
class Job:
    """One separator on one task: a run folder, and which of its items are still to do."""

    separator: AnySeparator
    data: TaskData  # the whole task
    chosen: TaskData  # the items of this run
    metrics: tuple[Metric, ...]  # those that the task can serve
    folder: RunFolder
    fingerprints: Mapping[str, str]  # item -> what a stored answer must have been made with
    reranking: Reranking | None = None  # None: one answer an item

    @property
    def columns(self) -> tuple[str, ...]:
        """Metric ids of this job's scores."""
        return tuple(column for metric in self.metrics for column in metric.requested)

    @property
    def stale(self) -> list[str]:
        """Journalled items that cannot be kept: failed ones, those made in another way, and lost candidates."""
        return [
            item
            for item, record in self.folder.items.items()
            if item in self.fingerprints
            and (failed(record) or record["fingerprint"] != self.fingerprints[item] or self._lacks_candidates(record))
        ]

    def _lacks_candidates(self, record: Mapping[str, Any]) -> bool:
        """Whether audio is to be kept that was not."""
        wanted = record.get("candidates", 0) - len(record.get("candidate_errors", ()))
        return self.reranking is not None and self.reranking.keep and len(record.get("kept", ())) < wanted

    def to_separate(self) -> list[str]:
        """Chosen items without an answer that can be kept."""
        stale = set(self.stale)
        return [item for item in self.chosen.ids if item not in self.folder.items or item in stale]

    def unfinished(self) -> list[str]:
        """Chosen items that want an answer or a score."""
        separate = set(self.to_separate())
        return [item for item in self.chosen.ids if item in separate or outdated(self.folder, self.metrics, item)]

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do for the chosen items."""
        return (self.folder.path / "scores.parquet").exists() and not self.unfinished()


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The jobs of a run, and what will not be done and why."""

    settings: Settings
    jobs: tuple[Job, ...]
    unavailable: Mapping[tuple[str, str], str] = field(default_factory=dict)  # (task, metric) -> reason
    config: Mapping[str, Any] = field(default_factory=dict)  # for run.json: option -> {value, origin}
    notes: tuple[str, ...] = ()  # what is picked by what, and where nothing is


def make_plan(
    models: Sequence[str | Callable[..., Any] | AnySeparator],
    tasks: Iterable[str],
    *,
    split: str = "test",
    subset: str = "paper",
    prompts: str = "given",
    allow_outside: bool = False,
    metrics: Iterable[str] = DEFAULT,
    model_args: Mapping[str, Any] | None = None,
    metric_args: Mapping[str, Any] | None = None,
    timeout: float | None = None,
    settings: Settings | None = None,
    config: Mapping[str, Any] | None = None,
) -> Plan:
    """Resolves every name and looks at every run folder; nothing is separated, scored or written.

    Raises:
        UsageError: an unknown or impossible name or option. Precondition: missing data, module, program or folder.
    """
    settings = settings or Settings()
    separators = _load_separators(models, model_args or {}, timeout, settings.offered)
    ids = tuple(metrics)
    registry.metric_options(ids)  # an unknown name is told before data are looked for
    data = registry.load_tasks(tasks, split=split, subset=subset, prompts=prompts, allow_outside=allow_outside)
    asked = {task.task: _metric_ids(ids, task) for task in data}
    loaded = _load_metrics(dict.fromkeys(name for names in asked.values() for name in names), settings, metric_args)
    unavailable = {
        (task.task, column): reason
        for metric in loaded
        for task in data
        for column in metric.requested
        if column in asked[task.task] and (reason := unavailable_reason(metric, task))
    }
    if len(unavailable) == sum(map(len, asked.values())):
        raise Precondition(
            f"expected a metric that can run, found none: {next(iter(unavailable.values()), 'none asked')}"
        )
    pickers = Pickers(
        candidates=settings.candidates, name=settings.picker, arguments=settings.picker_args,
        device=settings.device, keep=settings.keep_candidates,
    )  # fmt: skip
    jobs = [
        _job(separator, task, _asked(loaded, asked[task.task]), settings, pickers.reranking(separator, task))
        for task in data
        for separator in separators
    ]
    notes = [f"{task.label}: {note}" for task in data for note in task.notes] + [*pickers.notes]
    return Plan(settings=settings, jobs=tuple(jobs), unavailable=unavailable, config=config or {}, notes=tuple(notes))


def _metric_ids(ids: tuple[str, ...], task: TaskData) -> tuple[str, ...]:
    """The metrics that a task is asked for: where the default has nothing to compare with, those without reference."""
    if ids != DEFAULT or "reference" in task.provides:
        return ids
    return tuple(name for name in WITHOUT_REFERENCE if CARDS[name].needs <= task.provides)


def _load_metrics(ids: Iterable[str], settings: Settings, arguments: Mapping[str, Any] | None) -> list[Metric]:
    ids = tuple(ids)
    known = registry.metric_options(ids)
    policies = {"stereo": settings.stereo, **settings.offered}
    policies = {name: value for name, value in policies.items() if name in known and name != "dtype"}
    return registry.load_metrics(ids, {**policies, **(arguments or {})})


def _asked(loaded: Sequence[Metric], names: Sequence[str]) -> list[Metric]:
    return [metric for metric in loaded if set(metric.requested) <= set(names)]


def _load_separators(
    models: Sequence[Any], arguments: Mapping[str, Any], timeout: float | None, offered: Mapping[str, str]
) -> list[AnySeparator]:
    if not models:
        raise UsageError("expected at least one model, found none")
    found: dict[str, AnySeparator] = {}
    for model in models:
        baseline = isinstance(model, str) and model == BASELINE
        separator = registry.load_separator(model, {} if baseline else arguments, timeout=timeout, offered=offered)
        if separator.name in found:
            raise UsageError(f"expected models with different names, found {separator.name!r} twice")
        found[separator.name] = separator
    if BASELINE not in found:
        found[BASELINE] = registry.load_separator(BASELINE)
    return list(found.values())


def unavailable_reason(metric: Metric, task: TaskData) -> str | None:
    """Why a metric cannot run on a task: something that the machine or the data lack."""
    needs = frozenset[str]().union(*(card.needs for card in metric.cards() if card.id in metric.requested))
    lacking = sorted(needs - task.provides)
    return metric.missing() or (f"no {' and no '.join(lacking)} there" if lacking else None)


def _job(
    separator: AnySeparator,
    data: TaskData,
    metrics: Sequence[Metric],
    settings: Settings,
    reranking: Reranking | None,
) -> Job:
    chosen = data.select(limit=settings.limit, ids=settings.sample_ids, shard=settings.shard)
    shard = "" if settings.shard is None else shard_suffix(settings.shard)
    path = settings.output / safe_name(separator.name) / f"{safe_name(data.label)}{shard}"
    return Job(
        separator=separator,
        data=data,
        chosen=chosen,
        metrics=tuple(metric for metric in metrics if unavailable_reason(metric, data) is None),
        folder=RunFolder.open(path),
        fingerprints={item: _fingerprint(separator, data, item, settings, reranking) for item in chosen.ids},
        reranking=reranking,
    )


def shard_suffix(shard: Sequence[int]) -> str:
    """What the name of a shard's run folder ends with."""
    return f".shard-{shard[0]}-of-{shard[1]}"


def _fingerprint(
    separator: AnySeparator, data: TaskData, item: str, settings: Settings, reranking: Reranking | None
) -> str:
    picked = {} if reranking is None else {"candidates": reranking.candidates, "picker": reranking.describe()}
    answer = separator.fingerprint(item) if isinstance(separator, NamedSeparator) else None
    return fingerprint(
        separator=describe(separator),
        answer=answer,
        task=data.label,
        data=data.revision,
        item=item,
        seed=settings.seed,
        align=settings.align,
        mono=settings.stereo == "mono",
        **picked,
    )


def describe(separator: AnySeparator) -> dict[str, Any]:
    """What identifies a separator and its weights, for fingerprints and run.json."""
    kind = type(separator)
    return {
        "name": separator.name,
        "class": f"{kind.__module__}:{kind.__qualname__}",
        "revision": getattr(separator, "revision", None),
        "weights_sha256": getattr(separator, "weights_sha256", None),
        "settings": dict(getattr(separator, "settings", {})),
        "oracle": isinstance(separator, OracleSeparator),
    }
