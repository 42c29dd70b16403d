"""Writes the output folder: a manifest that can be loaded as a task, its sounds, and the decision about every label."""

from __future__ import annotations

import csv
import io
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

import pandas as pd
from filelock import FileLock, Timeout

from sam_audio_bench import audio
from sam_audio_bench.digests import file_digest
from sam_audio_bench.errors import Precondition
from sam_audio_bench.files import atomic_write, safe_names
from sam_audio_bench.filtering.choosing import Choice
from sam_audio_bench.filtering.measuring import JOURNAL
from sam_audio_bench.filtering.pool import VIDEO, Label, Pool
from sam_audio_bench.tabular import format_csv, format_spreadsheet_csv, read_text
from sam_audio_bench.tasks.manifest import read_questions
from sam_audio_bench.tasks.manifest_rows import questions_to_task
from sam_audio_bench.tasks.manifest_tables import COLUMNS, format_spans

__all__ = ["DECISIONS", "LISTENING", "MANIFEST", "RECORD", "REPORT", "SAMPLE", "SOUNDS", "check_folder", "copy_file",
           "lock_folder", "remove_kept", "write_decisions", "write_kept"]  # fmt: skip

MANIFEST, RECORD, DECISIONS, REPORT = "manifest.csv", "filter.json", "decisions.csv", "report.html"
SOUNDS = "audio"
"""Files of the output folder, and its folder of sounds."""

SAMPLE, LISTENING = "sample.csv", "listening"
"""The table of the sample for raters, and the folder of its listening test."""

_LOCK = ".lock{}"
_PARTS = ("mixture", "target", "residual", "video", "mask")


def check_folder(out: Path) -> None:
    """Raises Precondition if a folder exists that is not the output of `sabench filter`."""
    names = {path.name for path in out.iterdir() if not path.name.startswith(".")} if out.is_dir() else set()
    is_own = RECORD in names or any(fnmatch(name, JOURNAL.format("*")) for name in names)
    if out.exists() and (not out.is_dir() or (names and not is_own)):
        raise Precondition(
            f"expected a new folder at {out}, or one of an earlier `sabench filter`, found something else; choose "
            "another --out"
        )


@contextmanager
def lock_folder(out: Path, shard: tuple[int, int] | None) -> Iterator[None]:
    """Makes the folder and locks it, or one shard of it; raises Precondition if another process has locked it."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        with FileLock(out / _LOCK.format("" if shard is None else f".{shard[0]}-of-{shard[1]}"), timeout=0):
            yield
    except Timeout as error:
        raise Precondition(f"expected {out} for this command alone, found another process at work there") from error


def write_kept(
    pool: Pool, choice: Choice, out: Path, *, copy: bool, fresh: bool, advance: Callable[[str | None], None]
) -> Path:
    """Writes the sounds of the kept labels, then the manifest; removes sounds that are no longer kept.

    Args:
        pool: the labels.
        choice: the outcome of every label.
        out: the output folder.
        copy: whether to copy all files; False: use hard links if the file system allows them.
        fresh: whether to write existing mixtures again, as they may be of other data.
        advance: called once per label, with None.

    Raises:
        MediaError: a mixture cannot be read. OSError: the folder cannot be written.
    """
    (out / SOUNDS).mkdir(parents=True, exist_ok=True)
    before = _listed_sounds(out / MANIFEST)
    labels = [pool.labels[row] for row in choice.kept]
    names = safe_names(label.id for label in labels)
    rows = []
    for row, label in zip(choice.kept, labels, strict=True):
        files = _write_sounds(label, out / SOUNDS, names[label.id], copy=copy, fresh=fresh)
        spans = [("+", start, end) for start, end in choice.measured[row].spans]
        own = {"text": label.text, "spans": format_spans(spans), "group": label.group, "id": label.id}
        rows.append({**_extra_cells(choice.frame.iloc[row]), **files, **own})
        advance(None)
    path = out / MANIFEST
    _write_table(path, rows)
    for name in before - {str(row[part]) for row in rows for part in _PARTS if row.get(part)}:
        (out / name).unlink(missing_ok=True)
    questions_to_task(read_questions(path))  # raises unless what was written is a valid task
    return path


def _write_sounds(label: Label, folder: Path, name: str, *, copy: bool, fresh: bool) -> dict[str, str]:
    """Writes the files of a label to the folder; returns their paths in the manifest."""
    video, mask, mixture = label.video, label.mask, label.mixture
    flac = folder / f"{name}.mixture.flac"
    written = flac if flac.exists() else flac.with_suffix(".wav")
    to_write, to_show = mixture is None and (fresh or not written.exists()), label.has_video and video is None
    if label.load is not None and (to_write or to_show):
        item = label.load()
        prompt = item.query.prompt
        video, mask = (None if one is None else Path(one) for one in (prompt.video, prompt.mask))
        if to_write:
            written = audio.write(folder / f"{name}.mixture", audio.round_trip(item.query.mixture))
    sources = {"mixture": mixture, "target": label.target, "residual": label.residual, "video": video, "mask": mask}
    files = {} if mixture is not None else {"mixture": written}
    for part, source in sources.items():
        if source is not None:
            files[part] = folder / f"{name}.{part}{source.suffix}"
            copy_file(source, files[part], copy=copy)
    return {part: f"{folder.name}/{files[part].name}" if part in files else "" for part in _PARTS}


def copy_file(source: Path, path: Path, *, copy: bool) -> None:
    """Makes ``path`` a copy of a file, or, unless ``copy`` is set, a hard link to it if possible."""
    source = source.resolve()
    if path.exists():
        existing, expected = path.stat(), source.stat()
        if path.samefile(source):
            if not copy or path.resolve() == source:
                return
        elif existing.st_size == expected.st_size and file_digest(path) == file_digest(source):
            return  # the digest is needed, since files of one archive may have equal sizes and times
    with atomic_write(path) as temporary:
        if not copy:
            try:
                os.link(source, temporary)
                return
            except OSError:  # another file system, or one without hard links
                pass
        shutil.copy2(source, temporary)


def _extra_cells(row: pd.Series) -> dict[str, object]:
    """Returns the cells that are not part of a question: scores, attributes, task and separator."""
    own = ("text", "group", VIDEO)
    return {str(name): "" if pd.isna(value) else value for name, value in row.items() if name not in own}


def _write_table(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    extra = dict.fromkeys(name for row in rows for name in row if name not in COLUMNS)
    text = format_csv([*COLUMNS, *extra], rows)
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def _listed_sounds(path: Path) -> set[str]:
    """Returns the files in the folder of sounds that an earlier manifest names."""
    if not path.exists():
        return set()
    found = {row.get(part) or "" for row in csv.DictReader(io.StringIO(read_text(path))) for part in _PARTS}
    return {name for name in found if name.startswith(f"{SOUNDS}/") and ".." not in name}


def remove_kept(out: Path) -> None:
    """Removes the manifest and its sounds, as nothing is kept any more."""
    before = _listed_sounds(out / MANIFEST)
    (out / MANIFEST).unlink(missing_ok=True)
    for name in before:
        (out / name).unlink(missing_ok=True)


def write_decisions(pool: Pool, choice: Choice, out: Path) -> None:
    """Writes the outcome of every label, with its reason and columns."""
    decisions = pd.DataFrame(
        {"id": [label.id for label in pool.labels], "outcome": choice.outcomes, "why": list(choice.why)}
    )
    columns = choice.frame.rename(columns={name: f"{name} (of the input)" for name in decisions})
    table = format_spreadsheet_csv(pd.concat([decisions, columns], axis=1))
    with atomic_write(out / DECISIONS) as temporary:
        temporary.write_text(table, encoding="utf-8", newline="\n")
