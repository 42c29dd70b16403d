"""MoisesDB: one folder per song, with one folder per stem, which contains the recordings of the stem.

    moisesdb_v0.1/<song>/vocals/<recording>.wav  …  bass/  drums/  other_keys/

A stem is the sum of its recordings, the residual the sum of all other recordings, and the mixture, which the data set
does not include, the sum of all. ``data.json``, which repeats the names of the folders, is not read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from sam_audio_bench.audio import SUFFIXES
from sam_audio_bench.errors import UsageError
from sam_audio_bench.tasks.adapters.excerpts import Excerpt, select_excerpts
from sam_audio_bench.tasks.adapters.layouts import list_folders
from sam_audio_bench.tasks.adapters.texts import read_class_texts
from sam_audio_bench.tasks.manifest_rows import ManifestProblem, ManifestRow, Questions, collect_questions

__all__ = ["read_questions"]


def read_questions(path: Path, *, allow_outside: bool = False, excerpt: Excerpt | None = None) -> Questions:
    """Reads one question per song and stem that has a text; raises UsageError if there is no song."""
    found = list(select_excerpts(_rows(path, read_class_texts("moisesdb", path)), path, excerpt))
    if not found:
        raise UsageError(f"expected songs such as <song>/vocals/<recording>.wav in {path}, found none")
    name = f"moisesdb-{path.resolve().name}{'' if excerpt is None else excerpt.name}"
    return collect_questions(name, path, found, allow_outside=allow_outside)


def _rows(path: Path, texts: Mapping[str, str]) -> Iterator[ManifestRow | ManifestProblem]:
    for song in list_folders(path):
        stems = {stem.name: files for stem in list_folders(song) if (files := _recordings(path, stem))}
        if strange := [stem for stem in stems if stem not in texts]:
            what = f"expected stems of MoisesDB in {song.name}, found {', '.join(strange)} too: in the residual alone"
            yield ManifestProblem(where=song.name, what=what, severity="warning")
        if len(stems) == 1:
            what = f"expected several stems in {song.name}, found {next(iter(stems))} alone: it is left out"
            yield ManifestProblem(where=song.name, what=what, severity="warning")
            continue
        for stem, files in stems.items():
            if texts.get(stem):
                yield ManifestRow(
                    where=f"{song.name}/{stem}",
                    text=texts[stem],
                    target=files,
                    residual=tuple(file for other, others in stems.items() if other != stem for file in others),
                    group=song.name,
                    id=f"{song.name}-{stem}",
                )


def _recordings(path: Path, stem: Path) -> tuple[str, ...]:
    return tuple(
        file.relative_to(path).as_posix()
        for file in sorted(stem.iterdir())
        if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
    )
