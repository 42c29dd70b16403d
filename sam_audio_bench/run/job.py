"""One separator on one task: which stored estimates can be kept, which items are still to do, and why."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

from sam_audio_bench.columns import LoadedMetric
from sam_audio_bench.digests import combined_digest
from sam_audio_bench.records import SCHEMA_VERSION, ItemRecord, ModelRecord
from sam_audio_bench.run.contract import BuildArguments, needs_other_references
from sam_audio_bench.run.global_state import GlobalState
from sam_audio_bench.run.scoring import outdated_metrics
from sam_audio_bench.run.separation import Reranking
from sam_audio_bench.run.settings import Settings
from sam_audio_bench.run.store import RunFolder
from sam_audio_bench.tasks import TaskData
from sam_audio_bench.types import AnySeparator, NamedSeparator

__all__ = ["Job", "compute_common_fingerprint", "compute_fingerprint", "make_dependency_digest"]


@dataclass(frozen=True, kw_only=True)
class Job:
    """One separator on one task: its run folder, and which items are still to do."""

    separator: AnySeparator
    model: ModelRecord
    build_arguments: BuildArguments  # to build the separator again in another process
    data: TaskData  # the whole task
    chosen: TaskData  # the items of this run
    metrics: tuple[LoadedMetric, ...]  # those that the task supports
    folder: RunFolder
    content_digests: Mapping[str, str]  # chosen item -> digest of its recordings and prompt
    common_fingerprint: str | None  # digest of what all estimates depend on; None: unknown
    fingerprints: Mapping[str, str]  # item -> what a stored estimate must have been made with; "": unknown
    reranking: Reranking | None = None  # None: one estimate per item
    accepted_options: frozenset[str] = frozenset()  # of `Settings.offered`, by the separator, metrics or picker
    constructor_state: GlobalState | None = None  # see `PreparedSeparator`
    construction_output: str = ""  # by the separator's module and constructor

    @property
    def columns(self) -> tuple[str, ...]:
        """Metric ids of this job's scores."""
        return tuple(column for one in self.metrics for column in one.columns)

    @cached_property
    def set_aside_reasons(self) -> dict[str, str]:
        """Item -> reason, for journalled items outside this run that are incompatible with it."""
        others = [record for record in self.folder.items.values() if record.item not in self.content_digests]
        found = {record.item: self._reason_to_set_aside(record) for record in others}
        return {item: reason for item, reason in found.items() if reason}

    @cached_property
    def _dependency_digest(self) -> Callable[[str], str]:
        return make_dependency_digest(self.separator, self.data)

    def _reason_to_set_aside(self, record: ItemRecord) -> str | None:
        if record.item not in self.data.groups:
            return "the data have no such item any more"
        if self.folder.header.schema_version != SCHEMA_VERSION:
            return "the folder does not say what it was made from"
        if record.failed:
            return None
        content = self.data.content_sha256(record.item)
        if record.data_sha256 != content:
            return "its recordings or its prompt have changed"
        same = record.fingerprint == compute_fingerprint(
            self.common_fingerprint, self._dependency_digest, record.item, content
        )
        return None if same and record.fingerprint else "it was made in another way"

    @cached_property
    def stale_reasons(self) -> dict[str, str]:
        """Item -> reason, for journalled estimates that cannot be kept; computed once, from the folder at that time."""
        records = ((item, self.folder.items.get(item)) for item in self.chosen.ids)
        found = {item: self._reason_stale(record) for item, record in records if record is not None}
        return {item: reason for item, reason in found.items() if reason}

    def _reason_stale(self, record: ItemRecord) -> str | None:
        if record.failed:
            return "it failed"
        if record.data_sha256 != self.content_digests[record.item]:
            return "its recordings or its prompt have changed"
        if not self.fingerprints[record.item]:
            return "what made it cannot be identified"
        if record.fingerprint != self.fingerprints[record.item]:
            return "it was made in another way"
        if self._is_missing_candidates(record):
            return "its candidates were not kept"
        must_be_read = bool(outdated_metrics(self.folder, self.metrics, record.item))
        return self.folder.damage(record.item, read=must_be_read)

    def _is_missing_candidates(self, record: ItemRecord) -> bool:
        """Whether the audio of all candidates is to be kept, and some of it was not."""
        expected = record.candidates - len(record.candidate_errors)
        return self.reranking is not None and self.reranking.keep and len(record.kept) < expected

    def items_to_separate(self) -> list[str]:
        """Returns the chosen items without an estimate that can be kept."""
        stale = self.stale_reasons
        return [item for item in self.chosen.ids if item not in self.folder.items or item in stale]

    def unfinished_items(self) -> list[str]:
        """Returns the chosen items that need an estimate or a score."""
        separate = set(self.items_to_separate())
        return [
            item for item in self.chosen.ids if item in separate or outdated_metrics(self.folder, self.metrics, item)
        ]

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left to do for the chosen items, and run.json describes this run as finished."""
        if not self.folder.exists or not (self.folder.path / "scores.parquet").exists():
            return False
        if self.folder.header.status not in ("success", "partial"):
            return False
        header = self.folder.header
        same = header.task == self.data.record and header.model == self.model and not self.set_aside_reasons
        return same and header.schema_version == SCHEMA_VERSION and not self.unfinished_items()

    def notes(self) -> list[str]:
        """Returns what to tell the user about results that are not kept."""
        name, found = f"{self.model.name} on {self.data.label}", []
        if self.model.unknown:
            found.append(f"{name}: nothing is kept, since the separator cannot be identified: {self.model.unknown}")
        if self.data.code_sha256 == "":
            found.append(f"{name}: nothing is kept, since the code of the task cannot be identified")
        found += [
            f"{name}: {column} is computed anew, since the metric cannot be identified: {record.unknown}"
            for one in self.metrics for column, record in one.records.items() if record.unknown
        ]  # fmt: skip
        for reason, items in _group_by_reason(self.set_aside_reasons):
            found.append(f"{name}: {_format_items(items)} set aside: {reason}{self._describe_change(reason)}")
        for reason, items in _group_by_reason(self.stale_reasons):
            if reason != "it failed":
                found.append(f"{name}: {_format_items(items)} done again: {reason}{self._describe_change(reason)}")
        return found

    def _describe_change(self, reason: str) -> str:
        """Returns in what the separator of the folder differs, if that is the reason."""
        if reason != "it was made in another way":
            return ""
        changes = self.folder.header.model.differences(self.model)
        others = ", or other items of its recording" if needs_other_references(self.separator) else ""
        known = "; ".join(map(str, changes[:3])) or f"another seed, alignment, picker or estimate{others}"
        return f" ({known})"


def _group_by_reason(reasons: Mapping[str, str]) -> Iterator[tuple[str, list[str]]]:
    """Yields each reason with its items."""
    for reason in dict.fromkeys(reasons.values()):
        yield reason, [item for item, own in reasons.items() if own == reason]


_SHOWN = 5


def _format_items(items: Sequence[str]) -> str:
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return f"{', '.join(items[:_SHOWN])}{more}"


def compute_common_fingerprint(
    model: ModelRecord, data: TaskData, settings: Settings, reranking: Reranking | None
) -> str | None:
    """Returns a digest of what all estimates of a job depend on; None if a part cannot be identified."""
    picker = None if reranking is None else reranking.identity
    if model.unknown or data.code_sha256 == "" or (picker is not None and picker.unknown):
        return None
    picked = "" if reranking is None or picker is None else f"{reranking.candidates} {picker.fingerprint()}"
    mono = str(settings.stereo == "mono")
    return combined_digest(model.fingerprint(), data.label, str(settings.seed), str(settings.align), mono, picked)


def compute_fingerprint(common: str | None, dependency_digest: Callable[[str], str], item: str, content: str) -> str:
    """Returns a digest of everything that an estimate of an item depends on; "" if a part cannot be identified."""
    return "" if common is None else combined_digest(common, item, content, dependency_digest(item))[:32]


def make_dependency_digest(separator: AnySeparator, data: TaskData) -> Callable[[str], str]:
    """Returns a function from an item's id to a digest of what its estimate depends on besides the item itself.

    That is a stored estimate, or all items of the group; "" if nothing.
    """
    if isinstance(separator, NamedSeparator):
        return separator.fingerprint
    if not needs_other_references(separator):
        return lambda item: ""
    members: defaultdict[str, list[str]] = defaultdict(list)
    for item, group in data.groups.items():
        members[group].append(item)

    @cache
    def group_digest(group: str) -> str:
        return combined_digest(*(part for item in sorted(members[group]) for part in (item, data.content_sha256(item))))

    return lambda item: group_digest(data.groups[item])
