"""Divide and Remaster: one folder a split (``tr``, ``cv``, ``tt``), in it one folder a track.

    tt/<track>/mix.wav  speech.wav  music.wav  sfx.wav

Asked for are "speech", "music" and "sound effects", or what the user's table says (`texts`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from sam_audio_bench.errors import UsageError
from sam_audio_bench.files import find_file
from sam_audio_bench.tasks.adapters.layouts import folders_in, sound_file
from sam_audio_bench.tasks.adapters.texts import texts_of
from sam_audio_bench.tasks.manifest_rows import ManifestRow, Questions, collect

__all__ = ["questions"]

_STEMS = ("speech", "music", "sfx")


def questions(path: Path, *, allow_outside: bool = False) -> Questions:
    """A question a track and class; raises UsageError where no track is."""
    rows = list(_rows(path, texts_of("dnr", path)))
    if not rows:
        raise UsageError(f"expected tracks such as 1002/mix.wav in {path}, found none")
    return collect(f"dnr-{path.resolve().name}", path, rows, allow_outside=allow_outside)


def _rows(path: Path, texts: Mapping[str, str]) -> Iterator[ManifestRow]:
    for track in folders_in(path):
        if any(find_file(path / sound_file(path, f"{track.name}/{stem}")).is_file() for stem in ("mix", *_STEMS)):
            for stem, text in texts.items():
                if not text:
                    continue
                yield ManifestRow(
                    where=f"{track.name}/{stem}",
                    mixture=sound_file(path, f"{track.name}/mix"),
                    text=text,
                    target=(sound_file(path, f"{track.name}/{stem}"),),
                    group=track.name,
                    id=f"{track.name}-{stem}",
                )
