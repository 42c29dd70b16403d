"""Putting shards together: the union of run folders of one separator on one task."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sam_audio_bench.errors import StoreError, UsageError
from sam_audio_bench.files import atomic_write
from sam_audio_bench.run.header import closing
from sam_audio_bench.run.plan import shard_suffix
from sam_audio_bench.run.results import find_runs
from sam_audio_bench.run.store import PARTS, RunFolder, candidate_files, failed

__all__ = ["merge", "merge_all"]


def merge_all(paths: Sequence[Path], output: Path) -> list[RunFolder]:
    """Merges the shards of any number of separators and tasks into ``<output>/<separator>/<task>``, as eval names them.

    Raises:
        UsageError, StoreError: as `merge`; a folder that holds a run already is told before anything is written.
    """
    parts: dict[Path, list[RunFolder]] = {}
    for shard in _opened(paths):
        place, number = shard.path.resolve(), shard.header.get("shard")
        name = place.name.removesuffix(shard_suffix(number) if number else "")
        parts.setdefault(output / place.parent.name / name, []).append(shard)
    for into in parts:
        _check_new(into)
    return [_merged(shards, into) for into, shards in parts.items()]


def merge(paths: Sequence[Path], into: Path) -> RunFolder:
    """Merges run folders into a new one and returns it; the shards are left as they are.

    Args:
        paths: run folders, or folders that hold them, of one separator, task, seed and set of metric versions.
        into: the folder to write; it must not hold a run.

    Raises:
        UsageError: folders that differ in what they ran, or two answers to one item.
        StoreError: ``into`` holds a run already, or a shard is unfinished.
    """
    shards = _opened(paths)
    _check_new(into)
    return _merged(shards, into)


def _opened(paths: Sequence[Path]) -> list[RunFolder]:
    return [RunFolder.open(path) for path in find_runs(paths)]


def _merged(shards: Sequence[RunFolder], into: Path) -> RunFolder:
    for shard in shards:
        _check_alike(shards[0], shard)
    merged = RunFolder(into)
    with merged.writing():
        for shard in shards:
            _take(merged, shard)
        merged.write_header(**{**shards[0].header, "shard": None})
        total = shards[0].header["task"]["items"]
        done = [record for record in merged.items.values() if not failed(record)]
        walls = sum(shard.header["timing"]["wall_seconds"] for shard in shards)
        peaks = [peak for shard in shards if (peak := shard.header["timing"]["peak_memory_mib"]) is not None]
        merged.seal(sorted(merged.items))
        status = "success" if len(done) == total else "partial"
        merged.write_header(**closing(merged, status, walls, max(peaks, default=None)))
    return merged


def _check_new(into: Path) -> None:
    if (into / "run.json").exists():
        raise StoreError(f"expected a new folder at {into}, found a run in it; choose another one")


def _check_alike(first: RunFolder, other: RunFolder) -> None:
    if other.header["status"] not in ("success", "partial"):
        raise StoreError(
            f"expected a finished run in {other.path}, found status {other.header['status']}; run it again"
        )
    for key in ("model", "task", "metrics", "seed", "align", "stereo", "candidates", "picker"):
        one, another = first.header.get(key), other.header.get(key)
        if one != another:
            difference = _first_difference(key, one, another)
            raise UsageError(f"expected runs that differ in their items only, found {difference} in {other.path}")


def _first_difference(key: str, one: Any, other: Any) -> str:
    if isinstance(one, dict) and isinstance(other, dict):
        key, one, other = next(
            (f"{key}.{name}", one[name], other.get(name)) for name in one if one[name] != other.get(name)
        )
    return f"{key} {other!r} instead of {one!r}"


def _take(merged: RunFolder, shard: RunFolder) -> None:
    twice = sorted(set(merged.items) & set(shard.items))
    if twice:
        raise UsageError(f"expected each item in one shard, found {twice[0]} again in {shard.path}")
    for record in shard.items.values():
        if not failed(record):
            for name in (*(record[part] for part in PARTS), *candidate_files(record)):
                _link(shard.path / "audio" / name, merged.path / "audio" / name)
        merged.add_item(record)
    merged.add_scores(list(shard.scores.values()))


def _link(source: Path, destination: Path) -> None:
    """A hard link where the file system has them, a copy elsewhere."""
    with atomic_write(destination) as temporary:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)
