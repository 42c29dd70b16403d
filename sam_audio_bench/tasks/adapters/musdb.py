"""MUSDB18-HQ: one folder per song, four stems that add up to the mixture; whole songs, or an excerpt of each.

    test/<song>/mixture.wav  vocals.wav  drums.wav  bass.wav  other.wav

Each stem is a task of its own, ``musdb-vocals`` and so on, since published tables are by stem; ``musdb`` is all four.
Items have every source of their song, which the standard protocol needs (Stöter 2018). Only the folder is read: no list
of songs, and no metadata from a hub.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from sam_audio_bench.errors import UsageError
from sam_audio_bench.files import find_file
from sam_audio_bench.tasks.adapters.excerpts import Excerpt, select_excerpts
from sam_audio_bench.tasks.adapters.layouts import find_sound_path, list_folders
from sam_audio_bench.tasks.adapters.texts import read_class_texts
from sam_audio_bench.tasks.manifest_rows import ManifestProblem, ManifestRow, Questions, collect_questions

__all__ = ["STEMS", "read_bass", "read_drums", "read_other", "read_questions", "read_vocals"]

STEMS = ("vocals", "drums", "bass", "other")
_SUBSETS = ("train", "test")


def read_questions(
    path: Path, *, allow_outside: bool = False, stems: Sequence[str] = STEMS, excerpt: Excerpt | None = None
) -> Questions:
    """Reads one question per song and stem; raises UsageError if there is no song, or if there are two subsets."""
    texts = read_class_texts("musdb", path)
    songs = _find_songs(path)
    found = list(
        select_excerpts(_rows(path, songs, {stem: texts[stem] for stem in stems if texts[stem]}), path, excerpt)
    )
    name = f"musdb-{songs.resolve().name}{'' if excerpt is None else excerpt.name}"
    return collect_questions(
        name if len(stems) > 1 else f"{name}-{stems[0]}", path, found, root=path, allow_outside=allow_outside
    )


read_vocals, read_drums, read_bass, read_other = (partial(read_questions, stems=(stem,)) for stem in STEMS)


def _find_songs(path: Path) -> Path:
    """Returns the folder of the songs: the path itself, or the only subset in it."""
    subsets = [path / name for name in _SUBSETS if path.is_dir() and (path / name).is_dir()]
    if len(subsets) > 1:
        raise UsageError(
            f"expected one subset of MUSDB18-HQ, found {' and '.join(_SUBSETS)} in {path}: name one, "
            f"such as musdb:{path / 'test'}, of which published tables are"
        )
    return subsets[0] if subsets else path


def _rows(root: Path, songs: Path, texts: dict[str, str]) -> Iterator[ManifestRow | ManifestProblem]:
    known = False
    for song in list_folders(songs):
        place = song.relative_to(root).as_posix()
        files = {part: find_sound_path(root, f"{place}/{part}") for part in ("mixture", *STEMS)}
        missing = [Path(name).name for name in files.values() if not find_file(root / name).is_file()]
        if len(missing) == len(files):
            continue
        known = True
        if missing:
            what = f"expected mixture and four stems of {song.name}, found no {', '.join(missing)}: it cannot be scored"
            yield ManifestProblem(where=song.name, what=what, severity="warning")
        for stem, text in texts.items():
            yield ManifestRow(
                where=f"{song.name}/{stem}",
                mixture=files["mixture"],
                text=text,
                target=(files[stem],),
                residual=tuple(files[part] for part in STEMS if part != stem),
                all_sources=True,
                group=song.name,
                id=f"{song.name}-{stem}",
            )
    if not known:
        raise UsageError(f"expected songs such as test/<song>/mixture.wav and vocals.wav in {root}, found none")
