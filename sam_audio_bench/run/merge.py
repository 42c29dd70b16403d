"""Merging of shards: the union of run folders of one separator on one task."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from pathlib import Path

from msgspec import structs

from sam_audio_bench.errors import BenchError, StoreError, UsageError
from sam_audio_bench.files import atomic_write, require_local_path
from sam_audio_bench.identity import Difference, differences
from sam_audio_bench.records import ESTIMATE_PARTS, RunRecord
from sam_audio_bench.run.header import make_end_record
from sam_audio_bench.run.plan import shard_suffix
from sam_audio_bench.run.recorded_data import load_recorded_data
from sam_audio_bench.run.remote import find_runs, show_urls_in_errors
from sam_audio_bench.run.store import RunFolder, candidate_files
from sam_audio_bench.run.usage import Usage
from sam_audio_bench.tasks.data import digest_of_ids

__all__ = ["merge", "merge_all", "missing_parts", "run_differences"]

_SHOWN = 5
_COPY_LATER = "merge into a folder here, which `sabench merge --copy-to URL` copies"


@show_urls_in_errors()
def merge_all(
    paths: Sequence[Path | str], output: Path, *, note: Callable[[str], None] = lambda text: None
) -> list[RunFolder]:
    """Merges shards of any number of separators and tasks into ``<output>/<separator>/<task>``, as eval names them.

    Raises:
        UsageError, StoreError: as `merge`, before anything is written.
    """
    output = require_local_path("--output", output, _COPY_LATER)
    parts: dict[Path, list[RunFolder]] = {}
    for shard in _opened(paths):
        place, number = shard.path.resolve(), shard.header.shard
        name = place.name.removesuffix(shard_suffix(number) if number else "")
        parts.setdefault(output / place.parent.name / name, []).append(shard)
    for into, shards in parts.items():
        _check(shards, into)
    return [_merged(shards, into, note) for into, shards in parts.items()]


@show_urls_in_errors()
def merge(paths: Sequence[Path | str], into: Path, *, note: Callable[[str], None] = lambda text: None) -> RunFolder:
    """Merges run folders into a new one and returns it; the shards are left as they are.

    Args:
        paths: run folders, or folders or URLs that hold them, of one separator, task, seed and set of metric versions.
        into: the folder to write; new or empty. If merging fails, it is left empty or removed.
        note: called with each sentence of `missing_parts`.

    Raises:
        UsageError: folders of different separators, tasks or settings, or an item in two of them.
        StoreError: ``into`` is not empty, or a shard is unfinished.
    """
    into = require_local_path("--into", into, _COPY_LATER)
    shards = _opened(paths)
    _check(shards, into)
    return _merged(shards, into, note)


def missing_parts(shards: Sequence[RunFolder]) -> list[str]:
    """Describes which shards and items of a run are missing from the given shards, in one sentence each."""
    found, total = [], shards[0].header.task.items
    numbers = {shard.header.shard for shard in shards}
    counts = {number[1] for number in numbers if number is not None}
    if len(counts) == 1 and None not in numbers:
        (count,) = counts
        missing = [f"{index}/{count}" for index in range(1, count + 1) if (index, count) not in numbers]
        found += [f"shards that are not there: {', '.join(missing)}"] if missing else []
    items = {item: record for shard in shards for item, record in shard.items.items()}
    if len(items) < total:
        found.append(f"{total - len(items)} of {total} items are in no shard{_absent(shards, set(items))}")
    elif not _whole(shards[0].header, items):
        found.append(f"the shards hold {len(items)} items, but not those of the task{_absent(shards, set(items))}")
    if failed := [item for item, record in items.items() if record.failed]:
        found.append(f"items without an estimate: {_some(failed)}")
    return found


def _whole(header: RunRecord, items: Iterable[str]) -> bool:
    """Returns whether these are exactly the items of a task."""
    return header.task.ids_sha256 == digest_of_ids(items)


def _absent(shards: Sequence[RunFolder], known: set[str]) -> str:
    """Returns the ids of the task's other items, if its data are available here."""
    try:
        return f": {_some([item for item in load_recorded_data(shards).ids if item not in known])}"
    except BenchError:
        return ""


def _some(items: Sequence[str]) -> str:
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return f"{', '.join(items[:_SHOWN])}{more}"


def _opened(paths: Sequence[Path | str]) -> list[RunFolder]:
    return [RunFolder.open(path) for path in find_runs(paths)]


def _check(shards: Sequence[RunFolder], into: Path) -> None:
    """Raises any error of the inputs before anything is written."""
    if into.is_dir() and (there := sorted(into.iterdir())):
        kind = "a run" if (into / "run.json").exists() else there[0].name
        raise StoreError(f"expected a new or empty folder at {into}, found {kind} in it; choose another one")
    items: dict[str, Path] = {}
    for shard in shards:
        _check_compatible(shards[0], shard)
        for item in shard.items:
            if items.setdefault(item, shard.path) != shard.path:
                raise UsageError(
                    f"expected each item in one shard, found {item} of {items[item]} again in {shard.path}"
                )


def _merged(shards: Sequence[RunFolder], into: Path, note: Callable[[str], None]) -> RunFolder:
    was_there = into.is_dir()
    try:
        merged = _written(shards, into)
    except BaseException:
        shutil.rmtree(into, ignore_errors=True)  # it was empty before
        if was_there:
            into.mkdir(exist_ok=True)
        raise
    for text in missing_parts(shards):
        note(f"{into}: {text}")
    return merged


def _written(shards: Sequence[RunFolder], into: Path) -> RunFolder:
    merged = RunFolder(into)
    with merged.writing():
        for shard in shards:
            _add_shard(merged, shard)
        merged.write_header(structs.replace(shards[0].header, shard=None))
        total = shards[0].header.task.items
        done = [record for record in merged.items.values() if not record.failed]
        timings = [shard.header.timing for shard in shards if shard.header.timing is not None]
        walls = sum(timing.wall_seconds for timing in timings)
        usage = reduce(Usage.merged, map(Usage.of, timings), Usage())
        known = {item: values for shard in shards for item, values in (shard.attributes() or {}).items()}
        merged.seal(sorted(merged.items), lambda item: known.get(item, {}))
        whole = len(done) == total and _whole(shards[0].header, merged.items)
        status = "success" if whole else "partial"
        merged.write_header(make_end_record(merged, status, walls, usage))
    return merged


def _check_compatible(first: RunFolder, other: RunFolder) -> None:
    if other.header.status not in ("success", "partial"):
        raise StoreError(f"expected a finished run in {other.path}, found status {other.header.status}; run it again")
    other.require_digests()
    if other.lost:
        raise StoreError(f"expected all scores in {other.path}, found {len(other.lost)} items without; run it again")
    if len({id(first), id(other)}) > 1 and (reason := other.header.model.unknown):
        raise StoreError(
            f"expected shards of one separator, found one in {other.path} that cannot be identified ({reason}); "
            "run it whole"
        )
    changes = run_differences(first.header, other.header) + _metric_differences(first.header, other.header)
    if changes:
        raise UsageError(f"expected runs that differ in their items only, found {changes[0]} in {other.path}")


def run_differences(first: RunRecord, other: RunRecord) -> list[Difference]:
    """Returns the differences of two runs that change estimates; which items were chosen is not among these."""
    changes = [change.nested_in("model") for change in first.model.differences(other.model)]
    changes += [change.nested_in("task") for change in first.task.differences(other.task)]
    return changes + differences(first, other, ("seed", "align", "stereo", "candidates", "picker"))


def _metric_differences(first: RunRecord, other: RunRecord) -> list[Difference]:
    own, others = ({record.id: record for record in one.metrics} for one in (first, other))
    changes = []
    for name in sorted(own | others):
        if name in own and name in others:
            changes += [change.nested_in(name) for change in own[name].differences(others[name])]
        else:
            changes.append(Difference("metrics", ", ".join(sorted(own)), ", ".join(sorted(others))))
    return changes


def _add_shard(merged: RunFolder, shard: RunFolder) -> None:
    for record in shard.items.values():
        if not record.failed:
            if reason := shard.damage(record.item):
                raise StoreError(f"{reason}; run that shard again")
            for name in (*(str(getattr(record, part)) for part in ESTIMATE_PARTS), *candidate_files(record)):
                _link(shard.path / "audio" / name, merged.path / "audio" / name)
        merged.add_item(record)
    merged.add_scores(shard.score_rows())


def _link(source: Path, destination: Path) -> None:
    """Makes a hard link if the file system supports them, otherwise a copy."""
    with atomic_write(destination) as temporary:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)
