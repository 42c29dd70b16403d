"""One separator on one task: what its run folder holds that can be kept, what is still to do, and why."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

from sam_audio_bench.columns import LoadedMetric
from sam_audio_bench.digests import combined_digest
from sam_audio_bench.records import SCHEMA_VERSION, ItemRecord, ModelRecord
from sam_audio_bench.run.contract import Recipe, wants_others
from sam_audio_bench.run.global_state import GlobalState
from sam_audio_bench.run.scoring import outdated
from sam_audio_bench.run.separation import Reranking
from sam_audio_bench.run.settings import Settings
from sam_audio_bench.run.store import RunFolder
from sam_audio_bench.tasks import TaskData
from sam_audio_bench.types import AnySeparator, NamedSeparator

__all__ = ["Job", "beside", "common_fingerprint", "fingerprint"]


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

    @cached_property
    def _beside(self) -> Callable[[str], str]:
        return beside(self.separator, self.data)

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
        same = record.fingerprint == fingerprint(self.common, self._beside, record.item, content)
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
        """Whether nothing is left to do for the chosen items, and the folder says what they are and that it is done."""
        if not self.folder.exists or not (self.folder.path / "scores.parquet").exists():
            return False
        if self.folder.header.status not in ("success", "partial"):
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
        others = ", or other items of its recording" if wants_others(self.separator) else ""
        known = "; ".join(map(str, changes[:3])) or f"another seed, alignment, picker or estimate{others}"
        return f" ({known})"


def _by_reason(reasons: Mapping[str, str]) -> Iterator[tuple[str, list[str]]]:
    """Each reason with its items."""
    for reason in dict.fromkeys(reasons.values()):
        yield reason, [item for item, own in reasons.items() if own == reason]


_SHOWN = 5


def _counted(items: Sequence[str]) -> str:
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return f"{', '.join(items[:_SHOWN])}{more}"


def common_fingerprint(
    model: ModelRecord, data: TaskData, settings: Settings, reranking: Reranking | None
) -> str | None:
    """Digest of what all estimates of a job depend on; None where it cannot be identified."""
    picker = None if reranking is None else reranking.identity
    if model.unknown or data.code_sha256 == "" or (picker is not None and picker.unknown):
        return None
    picked = "" if reranking is None or picker is None else f"{reranking.candidates} {picker.fingerprint()}"
    mono = str(settings.stereo == "mono")
    return combined_digest(model.fingerprint(), data.label, str(settings.seed), str(settings.align), mono, picked)


def fingerprint(common: str | None, beside: Callable[[str], str], item: str, content: str) -> str:
    """Of what an estimate of an item is made from; empty where that cannot be identified."""
    return "" if common is None else combined_digest(common, item, content, beside(item))[:32]


def beside(separator: AnySeparator, data: TaskData) -> Callable[[str], str]:
    """What an item's estimate depends on beside the item: a stored answer, or all items of its group; "": nothing."""
    if isinstance(separator, NamedSeparator):
        return separator.fingerprint
    if not wants_others(separator):
        return lambda item: ""
    members: defaultdict[str, list[str]] = defaultdict(list)
    for item, group in data.groups.items():
        members[group].append(item)

    @cache
    def of_group(group: str) -> str:
        return combined_digest(*(part for item in sorted(members[group]) for part in (item, data.content_sha256(item))))

    return lambda item: of_group(data.groups[item])
