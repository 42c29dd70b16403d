"""Songs in stems: one folder per song, one file per stem, as in MUSDB18-HQ, or the user's own sessions.

    songs/<song>/vocals.wav  drums.wav  bass.wav  other.wav  mixture.wav

The prompt for a stem is its name, "lead vocals" for ``lead_vocals``, or the text of the user's table (`texts`). The
residual is the sum of all other stems, the mixture the file ``mixture`` or ``mix``, or else the sum of all stems.
``other`` does not name a sound, so it is only part of the residual, unless the table has a text for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from sam_audio_bench.audio import SUFFIXES
from sam_audio_bench.errors import UsageError
from sam_audio_bench.tasks.adapters.excerpts import Excerpt, select_excerpts
from sam_audio_bench.tasks.adapters.layouts import list_folders
from sam_audio_bench.tasks.adapters.texts import name_to_text, read_class_texts
from sam_audio_bench.tasks.manifest_rows import ManifestRow, Questions, collect_questions

__all__ = ["read_questions"]

_MIXTURES = ("mixture", "mix")
_NAMELESS = ("other", "others", "rest", "residual", "accompaniment", "instrumental")
_SUMS = ("accompaniment", "instrumental")  # sums of other stems


def read_questions(path: Path, *, allow_outside: bool = False, excerpt: Excerpt | None = None) -> Questions:
    """Reads one question per stem; raises UsageError if no folder has two stems."""
    rows = list(select_excerpts(_rows(path, read_class_texts("stems", path)), path, excerpt))
    if not rows:
        raise UsageError(f"expected folders of stems such as song/vocals.wav and song/drums.wav in {path}, found none")
    name = f"stems-{path.resolve().name}{'' if excerpt is None else excerpt.name}"
    return collect_questions(name, path, rows, allow_outside=allow_outside)


def _rows(path: Path, texts: Mapping[str, str]) -> Iterator[ManifestRow]:
    for song in list_folders(path):
        files = _find_files(song)
        mixture = next((files[name] for name in _MIXTURES if name in files), None)
        stems = {name: file for name, file in files.items() if name not in _MIXTURES}
        parts = {name: file for name, file in stems.items() if name not in _SUMS}
        stems = parts if len(parts) > 1 else stems
        if len(stems) < 2:
            continue
        for name, file in stems.items():
            if text := texts.get(name, "" if name in _NAMELESS else name_to_text(name)):
                yield ManifestRow(
                    where=f"{song.name}/{name}",
                    mixture=mixture,
                    text=text,
                    target=(file,),
                    residual=tuple(other for stem, other in stems.items() if stem != name),
                    group=song.name,
                    id=f"{song.name}-{name}",
                )


def _find_files(song: Path) -> dict[str, str]:
    """Finds the files of a song: stem in lower case -> path; of several formats, the preferred one is used."""
    found: dict[str, str] = {}
    for file in sorted(song.iterdir(), key=lambda file: (file.name.lower(), file.name)):
        known = found.get(file.stem.lower())
        if (
            file.suffix.lower() in SUFFIXES
            and not file.name.startswith(".")
            and (known is None or _rank(file.name) < _rank(known))
        ):
            found[file.stem.lower()] = f"{song.name}/{file.name}"
    return found


def _rank(name: str) -> int:
    return SUFFIXES.index(Path(name).suffix.lower())
