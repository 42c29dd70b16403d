"""Divide and Remaster: one folder per split (``tr``, ``cv``, ``tt``), with one folder per track.

    tt/<track>/mix.wav  speech.wav  music.wav  sfx.wav

The prompts are "speech", "music" and "sound effects", or those of the user's table (`texts`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from sam_audio_bench.errors import UsageError
from sam_audio_bench.files import find_file
from sam_audio_bench.tasks.adapters.layouts import find_sound_path, list_folders
from sam_audio_bench.tasks.adapters.texts import read_class_texts
from sam_audio_bench.tasks.manifest_rows import ManifestRow, Questions, collect_questions

__all__ = ["read_questions"]

_STEMS = ("speech", "music", "sfx")


def read_questions(path: Path, *, allow_outside: bool = False) -> Questions:
    """Reads one question per track and class; raises UsageError if there is no track."""
    rows = list(_rows(path, read_class_texts("dnr", path)))
    if not rows:
        raise UsageError(f"expected tracks such as 1002/mix.wav in {path}, found none")
    return collect_questions(f"dnr-{path.resolve().name}", path, rows, allow_outside=allow_outside)


def _rows(path: Path, texts: Mapping[str, str]) -> Iterator[ManifestRow]:
    for track in list_folders(path):
        if any(find_file(path / find_sound_path(path, f"{track.name}/{stem}")).is_file() for stem in ("mix", *_STEMS)):
            for stem, text in texts.items():
                if not text:
                    continue
                yield ManifestRow(
                    where=f"{track.name}/{stem}",
                    mixture=find_sound_path(path, f"{track.name}/mix"),
                    text=text,
                    target=(find_sound_path(path, f"{track.name}/{stem}"),),
                    group=track.name,
                    id=f"{track.name}-{stem}",
                )
