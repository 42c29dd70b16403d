"""``sabench data status``, ``verify``, ``where`` and ``missing``: the official data on this machine."""

from __future__ import annotations

import csv
import io
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

import click

from sam_audio_bench.cli.config import data_dir_option
from sam_audio_bench.cli.output import echo, note, print_json, print_records
from sam_audio_bench.errors import Precondition, unknown_name

if TYPE_CHECKING:
    from sam_audio_bench.tasks.inspection import InspectionReport
    from sam_audio_bench.tasks.official import OfficialTask

__all__ = ["missing", "status", "verify", "where"]

_YOUTUBE = frozenset({"audioset", "avspeech", "condensed_movies", "music_duets", "vggsound"})
_subset = click.option("--subset", type=click.Choice(["paper", "full"]), default="paper", show_default=True)
_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
_workers = click.option("--workers", type=click.IntRange(min=1), default=os.cpu_count() or 1, show_default="all cores",
                        help="Threads that decode.")  # fmt: skip
_accept = click.option("--accept-license", is_flag=True, help="Record that you accept the terms of the data.")


class _Place(TypedDict):
    """Location of an item, as ``--json`` prints it."""

    item: str
    file: str | None
    start: float
    end: float
    files: list[str]
    looked_for: list[str]


class _Missing(TypedDict):
    """A recording to get, as ``--format`` prints it."""

    source_dataset: str
    video_id: str
    start_offset: float
    end_offset: float
    state: str
    url: str
    file: str
    tasks: str


@click.command()
@click.argument("tasks", nargs=-1, metavar="[TASK]...")
@_subset
@data_dir_option()
@_workers
@_accept
@_json
def status(tasks: tuple[str, ...], subset: str, workers: int, accept_license: bool, as_json: bool) -> None:
    """Show how many items of the official data are present, missing, corrupt, or of another length.

    Files are decoded once; the result is remembered until a file changes.
    """
    from sam_audio_bench.tasks.lock import LockFile

    chosen = _chosen(tasks, subset, accept=accept_license)
    lock = LockFile.read()
    reports = _inspect(chosen, lock, workers=workers, again=False, show=not as_json)
    try:
        lock.write()
    except Precondition as error:
        note(f"sabench: the findings are not remembered: {error}")
    if as_json:
        print_json({report.official.task.id: _record(report) for report in reports})
    else:
        _show(reports, detailed=bool(tasks))


@click.command()
@click.argument("tasks", nargs=-1, metavar="[TASK]...")
@_subset
@data_dir_option()
@_workers
@_accept
@click.option("--sha256", help="Of the archive of MUSDB18-HQ, if it is not the published one.")
@_json
def verify(
    tasks: tuple[str, ...], subset: str, workers: int, accept_license: bool, sha256: str | None, as_json: bool
) -> None:
    """Decode everything again and write the SHA-256 of every file to the lock file.

    Exits with 1 if a file is corrupt, of another length, or has changed since the last verification.
    """
    from sam_audio_bench.tasks.inspection import verify_files
    from sam_audio_bench.tasks.lock import LockFile
    from sam_audio_bench.tasks.media import MUSDB_SHA256

    chosen = _chosen(tasks, subset, accept=accept_license)
    lock = LockFile.read()
    changed = verify_files(chosen, lock, musdb_sha256=(sha256 or MUSDB_SHA256).lower(), workers=workers)
    reports = _inspect(chosen, lock, workers=workers, again=True, show=not as_json)
    lock.write()
    if as_json:
        print_json({"lock": str(lock.path), "changed": changed,
                    "tasks": {report.official.task.id: _record(report) for report in reports}})  # fmt: skip
    else:
        _show(reports, detailed=True)
        for text in changed:
            echo(text)
        echo(f"{len(lock.files)} files in {lock.path}")
    bad = any(finding.state != "missing" for report in reports for finding in report.problems)
    sys.exit(1 if bad or changed else 0)


@click.command()
@click.argument("task")
@click.argument("items", nargs=-1, metavar="[ITEM]...")
@_subset
@data_dir_option()
@_json
def where(task: str, items: tuple[str, ...], subset: str, as_json: bool) -> None:
    """Print which file serves an item, and from which second to which; by default for all items."""
    (official,) = _chosen([task], subset, accept=False)
    for item in items:
        if item not in official.rows:
            raise unknown_name("item", item, official.rows)
    records = [_place(official, item) for item in items or official.rows]
    if as_json:
        print_json(records)
        return
    print_records(
        ({**record, "file": record["file"] or f"none; looked for {record['looked_for'][0]} …"} for record in records),
        ("item", "start", "end", "file"),
    )


def _place(official: OfficialTask, item: str) -> _Place:
    """Returns the files of an item and the seconds in them, or the paths that were searched."""
    from sam_audio_bench.tasks.media import BenchMedia

    row, media = official.rows[item], official.media
    start, end = row.start, row.end
    if isinstance(media, BenchMedia) and (found := media.locate_part(row, visual=official.visual)):
        _, start, end = found
    files = [str(path) for path in media.locate_files(row, visual=official.visual)]
    return {
        "item": item,
        "file": files[0] if files else None,
        "start": start,
        "end": end,
        "files": files,
        "looked_for": [] if files else [str(path) for path in media.expected_paths(row)],
    }


@click.command()
@click.argument("tasks", nargs=-1, metavar="[TASK]...")
@_subset
@data_dir_option()
@click.option("--format", "form", type=click.Choice(["table", "csv", "json"]), default="table", show_default=True)
def missing(tasks: tuple[str, ...], subset: str, form: str) -> None:
    """List the recordings to get: source, id, time stamps, and where the file goes.

    Those that `status` or `verify` found corrupt or of another length are among them; nothing is decoded.
    """
    columns = ("source_dataset", "video_id", "start_offset", "end_offset", "state", "url", "file", "tasks")
    records = list(_list_missing(_chosen(tasks, subset, accept=False)))
    if form == "json":
        print_json(records)
    elif form == "csv":
        stream = io.StringIO()
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)
        echo(stream.getvalue(), nl=False)
    else:
        print_records(records, columns, f"{len(records)} recordings to get.")


def _chosen(names: Sequence[str], subset: str, *, accept: bool) -> list[OfficialTask]:
    """Returns the named tasks, or all whose metadata are present."""
    from sam_audio_bench.tasks.catalogue import TASKS, expand

    chosen = expand(names or ["all"])
    from sam_audio_bench.tasks.licences import show_licences
    from sam_audio_bench.tasks.official import read_official

    if accept:
        show_licences((TASKS[name] for name in chosen), note, accept=True)
    found: list[OfficialTask] = []
    unavailable: dict[str, str] = {}
    for name in chosen:
        if TASKS[name].repository in unavailable:
            continue
        try:
            found.append(read_official(name, subset))
        except Precondition as error:
            if names:
                raise
            unavailable[TASKS[name].repository] = str(error)
    if not found:
        raise Precondition(next(iter(unavailable.values())))
    for text in unavailable.values():
        note(f"sabench: {text}")
    show_licences((task.task for task in found), note)
    return found


def _inspect(
    chosen: Sequence[OfficialTask], lock: Any, *, workers: int, again: bool, show: bool
) -> list[InspectionReport]:
    from sam_audio_bench.run.progress import Progress
    from sam_audio_bench.tasks.inspection import inspect_recordings

    with Progress(0, show=None if show else False) as bar:
        follow = bar.step_callback("decoding")

        def counting(total: int) -> Callable[[], None]:
            done = 0

            def advance() -> None:
                nonlocal done
                done += 1
                follow(done, total)

            return advance

        return inspect_recordings(chosen, lock, workers=workers, again=again, counting=counting)


def _record(report: InspectionReport) -> dict[str, object]:
    counts = report.counts()
    return {**report.record(), "coverage": _coverage(counts)}


def _coverage(counts: dict[str, int]) -> str:
    from sam_audio_bench.stats.item_coverage import classify_coverage

    return str(classify_coverage(counts["present"], sum(counts.values())))


def _show(reports: Iterable[InspectionReport], *, detailed: bool) -> None:
    from sam_audio_bench.tasks.inspection import STATES

    records: list[dict[str, object]] = []
    for report in reports:
        counts = report.counts()
        records.append(
            {"task": report.official.task.id, "source": "all", "items": sum(counts.values()), **counts,
             "coverage": _coverage(counts)}
        )  # fmt: skip
        for source in report.sources if len(report.sources) > 1 else ():
            of = report.counts(source)
            records.append({"task": "", "source": source, "items": sum(of.values()), **of, "coverage": ""})
    print_records(records, ("task", "source", "items", *STATES, "coverage"))
    problems = [problem for report in reports for problem in report.problems]
    if detailed and problems:
        echo()
        print_records(
            ({"item": one.item, "state": one.state, "what": one.what} for one in problems), ("item", "state", "what")
        )
    elif problems:
        echo("\nWhat is wrong with which item: `sabench data status TASK`; what to get: `sabench data missing`.")


def _list_missing(chosen: Sequence[OfficialTask]) -> Iterable[_Missing]:
    """Returns one record per recording and excerpt, with the tasks that use it."""
    from sam_audio_bench.tasks.inspection import clip_name
    from sam_audio_bench.tasks.lock import LockFile

    lock = LockFile.read()
    records: dict[tuple[str, str, float, float], _Missing] = {}
    for task in chosen:
        for row in task.rows.values():
            files = task.media.locate_files(row, visual=task.visual)
            known = lock.known_state(clip_name(task, row), files) if files else ("missing", "")
            if known is None or known[0] == "present":
                continue
            record = records.setdefault(
                (row.source, row.recording, row.start, row.end),
                {
                    "source_dataset": row.source,
                    "video_id": row.recording,
                    "start_offset": row.start,
                    "end_offset": row.end,
                    "state": known[0],
                    "url": f"https://youtu.be/{row.recording}?t={int(row.start)}" if row.source in _YOUTUBE else "",
                    "file": str(files[0] if files else task.media.expected_paths(row)[0]),
                    "tasks": "",
                },
            )
            record["tasks"] = " ".join(dict.fromkeys([*record["tasks"].split(), task.task.id]))
    return records.values()
