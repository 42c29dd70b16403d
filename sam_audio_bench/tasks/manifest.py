"""Anyone's data: a table with one row per question, a folder that holds one, or a known layout.

    mixture,text,target
    street.wav,dog barking,street-dog.wav

Columns, in any order, apart by commas, semicolons or tabs; only ``mixture`` and one of ``text``, ``spans`` and
``video`` are required:

    mixture      audio or video file in the folder of the table; also called ``file_name``, as Hugging Face does
    text         what to extract
    spans        when it sounds (+) or does not (-), in seconds: ``+1.0:2.5 -3:4``
    video        file that shows it
    mask         of the video, npz with ``video_masklet`` [frames, height, width]; none: the video is masked already
    target       the clean sound; a silent file says that the mixture does not have it
    residual     everything else; mixture minus target where it is left out
    group        the recording that the mixture was cut from; the mixture itself where it is left out
    id           name of the question; the mixture without its suffix where it is left out, with the prompt behind it
                 where several questions are about one mixture
    paraphrases  other words for the text, apart by ``|``

The table is checked when the task is loaded, sound only when an item is; `manifest_check` looks at everything.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

from sam_audio_bench.errors import UsageError
from sam_audio_bench.files import exists, find_file, sha256
from sam_audio_bench.tabular import TABLE_SUFFIXES
from sam_audio_bench.tasks.adapters import adapter_of, options_of
from sam_audio_bench.tasks.adapters.excerpts import Excerpt
from sam_audio_bench.tasks.data import TaskData
from sam_audio_bench.tasks.manifest_rows import ManifestProblem, ManifestRow, Questions, collect, task_data
from sam_audio_bench.tasks.manifest_tables import COLUMNS, READERS, parse_spans, read_datasets

__all__ = ["COLUMNS", "TABLE_NAMES", "manifest", "parse_spans", "questions"]

TABLE_NAMES = tuple(f"{stem}{suffix}" for stem in ("manifest", "metadata") for suffix in READERS)
"""Files that make a folder one of questions."""
_STATE = "state.json"  # of datasets' save_to_disk
_SPLITS = "dataset_dict.json"


def manifest(name: str | Path, *, allow_outside: bool = False) -> TaskData:
    """Loads the questions of a table, a folder or a known layout; see `questions`.

    Whether the targets of a table are voices, only the user knows, so metrics of speech may be asked for.

    Raises:
        UsageError: nothing there, or a row says something impossible; the message names the row.
    """
    return task_data(questions(name, allow_outside=allow_outside))


def questions(name: str | Path, *, allow_outside: bool = False) -> Questions:
    """What a name says, with every problem that shows without looking at sound or pictures.

    Args:
        name: path of a CSV, JSONL or parquet table; of a folder with ``manifest`` or ``metadata`` in one of these
            formats; of a ``datasets`` folder; of a folder of stems; or ``ADAPTER:PATH``.
        allow_outside: accept absolute paths, ``..`` and links that lead out of the folder in the rows.

    Raises:
        UsageError: nothing there, or nothing that can be read.
    """
    if chosen := adapter_of(str(name)):
        adapter, path = chosen
        if not exists(path):
            raise UsageError(f"expected {adapter.layout} at {path}, found nothing there")
        module, _, attribute = adapter.target.partition(":")
        options: dict[str, Excerpt] = {}
        if seconds := options_of(str(name)):
            options["excerpt"] = Excerpt(**seconds)
        layout: Questions = getattr(importlib.import_module(module), attribute)(
            path, allow_outside=allow_outside, **options
        )
        return layout
    path = Path(name)
    if not path.is_dir():
        return _table(path, allow_outside)
    if (path / _STATE).is_file() or (path / _SPLITS).is_file():
        revision = sha256((path / _STATE).read_bytes()) if (path / _STATE).is_file() else None
        return _collected(path, path, read_datasets(path), revision, allow_outside)
    tables = [found for table in TABLE_NAMES if (found := find_file(path / table)).is_file()]
    if len(tables) > 1:
        raise UsageError(f"expected one table in {path}, found {', '.join(table.name for table in tables)}: name one")
    if tables:
        return _table(tables[0], allow_outside, name=path.resolve().name)
    try:
        return questions(f"stems:{path}", allow_outside=allow_outside)
    except UsageError as error:
        raise UsageError(
            f"expected one of {', '.join(TABLE_NAMES[:3])}, a datasets folder or folders of stems in {path}, found none"
        ) from error


def _table(path: Path, allow_outside: bool, name: str | None = None) -> Questions:
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
    return _collected(path, path.parent, reader(path), revision, allow_outside, name)


def _collected(
    path: Path,
    root: Path,
    rows: Iterator[ManifestRow | ManifestProblem],
    revision: str | None,
    allow_outside: bool,
    name: str | None = None,
) -> Questions:
    return collect(
        name or path.resolve().stem,
        path,
        rows,
        root=root,
        revision=revision,
        voices=True,
        allow_outside=allow_outside,
    )
