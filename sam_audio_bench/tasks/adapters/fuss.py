"""FUSS, Free Universal Sound Separation: one folder per split.

    example00000.wav                  the mixture
    example00000_sources/             background0_sound.wav, foreground0_sound.wav, …

or one folder per example, with ``mixture.wav`` (or ``mix.wav``, or named like the folder) and ``sources/``.

The sources have no names, so the prompt is the spans in which the source is active. Backgrounds are active all the
time, so only the other sources are targets.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sam_audio_bench.audio import SUFFIXES
from sam_audio_bench.errors import UsageError
from sam_audio_bench.files import find_file
from sam_audio_bench.tasks.adapters.layouts import find_sound_path, list_folders
from sam_audio_bench.tasks.manifest_rows import ManifestRow, Questions, collect_questions

__all__ = ["read_questions"]

_ENDING = "_sources"


def read_questions(path: Path, *, allow_outside: bool = False) -> Questions:
    """Reads one question per source that is not a background; raises UsageError if there is no example."""
    rows = list(_rows(path))
    if not rows:
        raise UsageError(f"expected examples such as example00000{_ENDING}/ in {path}, found none")
    return collect_questions(f"fuss-{path.resolve().name}", path, rows, allow_outside=allow_outside)


def _rows(path: Path) -> Iterator[ManifestRow]:
    for folder in list_folders(path):
        if folder.name.endswith(_ENDING):
            example, sources = folder.name.removesuffix(_ENDING), folder
            mixtures = [example]
        elif (folder / "sources").is_dir():
            example, sources = folder.name, folder / "sources"
            mixtures = [f"{example}/{name}" for name in ("mixture", "mix", example)]
        else:
            continue
        names = [find_sound_path(path, name) for name in mixtures]
        mixture = next((name for name in names if find_file(path / name).is_file()), names[0])
        for source in sorted(sources.iterdir()):
            if source.suffix.lower() in SUFFIXES and not source.name.startswith(("background", ".")):
                yield ManifestRow(
                    where=f"{example}/{source.name}",
                    mixture=mixture,
                    target=(source.relative_to(path).as_posix(),),
                    spans_of_target=True,
                    group=example,
                    id=f"{example}-{source.stem}",
                )
