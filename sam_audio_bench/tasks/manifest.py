"""The user's own data: a table with one row per question, a folder that holds one, or a known layout.

    mixture,text,target
    street.wav,dog barking,street-dog.wav

Columns, in any order, separated by commas, semicolons or tabs; only ``mixture`` and one of ``text``, ``spans`` and
``video`` are required:

    mixture      audio or video file in the folder of the table; also called ``file_name``, as Hugging Face does
    text         what to extract
    spans        when it sounds (+) or does not (-), in seconds: ``+1.0:2.5 -3:4``
    video        file that shows it
    mask         of the video, npz with ``video_masklet`` [frames, height, width]; without one, the video is masked
                 already
    target       the clean sound; a silent file means that the mixture does not contain it
    residual     everything else; by default mixture minus target
    group        the recording that the mixture was cut from; by default the mixture itself
    id           name of the question; by default the mixture without its suffix, followed by the prompt if several
                 questions share the mixture
    paraphrases  paraphrases of the text, separated by ``|``

The table is checked when the task is loaded, audio only when an item is loaded; `manifest_check` checks all files.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

from sam_audio_bench.errors import UsageError
from sam_audio_bench.files import exists, find_file, sha256
from sam_audio_bench.tabular import TABLE_SUFFIXES
from sam_audio_bench.tasks.adapters import find_adapter, parse_options
from sam_audio_bench.tasks.adapters.excerpts import Excerpt
from sam_audio_bench.tasks.data import TaskData
from sam_audio_bench.tasks.manifest_rows import (
    ManifestProblem,
    ManifestRow,
    Questions,
    collect_questions,
    questions_to_task,
)
from sam_audio_bench.tasks.manifest_tables import COLUMNS, READERS, parse_spans, read_datasets

__all__ = ["COLUMNS", "TABLE_NAMES", "load_manifest", "parse_spans", "read_questions"]

TABLE_NAMES = tuple(f"{stem}{suffix}" for stem in ("manifest", "metadata") for suffix in READERS)
"""Names of the table in a folder of questions."""
_STATE = "state.json"  # written by save_to_disk of datasets, as is the next one
_SPLITS = "dataset_dict.json"


def load_manifest(name: str | Path, *, allow_outside: bool = False) -> TaskData:
    """Loads the questions of a table, a folder or a known layout as a task; see `read_questions`.

    Only the user knows whether the targets of a table are voices, so metrics of speech are allowed.

    Raises:
        UsageError: there is no such data, or a row is invalid; the message names the row.
    """
    return questions_to_task(read_questions(name, allow_outside=allow_outside))


def read_questions(name: str | Path, *, allow_outside: bool = False) -> Questions:
    """Reads questions, with every problem that can be found without decoding audio or video.

    Args:
        name: path of a CSV, JSONL or parquet table; of a folder with ``manifest`` or ``metadata`` in one of these
            formats; of a ``datasets`` folder; of a folder of stems; or ``ADAPTER:PATH``.
        allow_outside: accept rows with absolute paths, ``..`` and links that lead out of the folder.

    Raises:
        UsageError: there is no such data, or it cannot be read.
    """
    if chosen := find_adapter(str(name)):
        adapter, path = chosen
        if not exists(path):
            raise UsageError(f"expected {adapter.layout} at {path}, found nothing there")
        module, _, attribute = adapter.target.partition(":")
        options: dict[str, Excerpt] = {}
        if seconds := parse_options(str(name)):
            options["excerpt"] = Excerpt(**seconds)
        layout: Questions = getattr(importlib.import_module(module), attribute)(
            path, allow_outside=allow_outside, **options
        )
        return layout
    path = Path(name)
    if not path.is_dir():
        return _read_table(path, allow_outside)
    if (path / _STATE).is_file() or (path / _SPLITS).is_file():
        revision = sha256((path / _STATE).read_bytes()) if (path / _STATE).is_file() else None
        return _collect(path, path, read_datasets(path), revision, allow_outside)
    tables = [found for table in TABLE_NAMES if (found := find_file(path / table)).is_file()]
    if len(tables) > 1:
        raise UsageError(f"expected one table in {path}, found {', '.join(table.name for table in tables)}: name one")
    if tables:
        return _read_table(tables[0], allow_outside, name=path.resolve().name)
    try:
        return read_questions(f"stems:{path}", allow_outside=allow_outside)
    except UsageError as error:
        raise UsageError(
            f"expected one of {', '.join(TABLE_NAMES[:3])}, a datasets folder or folders of stems in {path}, found none"
        ) from error


def _read_table(path: Path, allow_outside: bool, name: str | None = None) -> Questions:
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        formats, others = ", ".join(TABLE_SUFFIXES[:3]), " and ".join(TABLE_SUFFIXES[3:])
        raise UsageError(
            f"expected a table of questions ({formats}) or a folder at {path}, found neither; {others} will do too"
        )
    try:
        revision = sha256(path.read_bytes())
    except OSError as error:
        raise UsageError(f"expected a table of questions at {path}, found none ({error})") from error
    return _collect(path, path.parent, reader(path), revision, allow_outside, name)


def _collect(
    path: Path,
    root: Path,
    rows: Iterator[ManifestRow | ManifestProblem],
    revision: str | None,
    allow_outside: bool,
    name: str | None = None,
) -> Questions:
    return collect_questions(
        name or path.resolve().stem,
        path,
        rows,
        root=root,
        revision=revision,
        voices=True,
        allow_outside=allow_outside,
    )
