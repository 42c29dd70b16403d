"""VoiceBank-DEMAND: a folder of noisy speech, and a folder of the same files without noise.

    noisy_testset_wav/p232_001.wav   clean_testset_wav/p232_001.wav

or another such pair; if a folder has several pairs, the path names the noisy one. The group is the speaker, the part
of the file name before the underscore.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sam_audio_bench.audio import SUFFIXES
from sam_audio_bench.errors import UsageError
from sam_audio_bench.tasks.adapters.layouts import list_folders
from sam_audio_bench.tasks.adapters.texts import read_class_texts
from sam_audio_bench.tasks.manifest_rows import ManifestRow, Questions, collect_questions

__all__ = ["read_questions"]

_NOISY = "noisy"


def read_questions(path: Path, *, allow_outside: bool = False) -> Questions:
    """Reads one question per file; raises UsageError unless there is exactly one pair of folders."""
    found = [folder for folder in list_folders(path) if _NOISY in folder.name]
    if not found and _NOISY in path.resolve().name:
        found = [path.resolve()]
    if len(found) != 1:
        which = ", ".join(folder.name for folder in found) or "none"
        hint = f": name one, voicebank:{found[0]}" if found else ""
        raise UsageError(
            f"expected one folder of noisy speech, such as noisy_testset_wav, in {path}, found {which}{hint}"
        )
    (noisy,) = found
    rows = list(_rows(noisy, read_class_texts("voicebank", path)["speech"]))
    return collect_questions(
        f"voicebank-{noisy.name}", path, rows, root=noisy.parent, voices=True, allow_outside=allow_outside
    )


def _rows(noisy: Path, text: str) -> Iterator[ManifestRow]:
    clean = noisy.name.replace(_NOISY, "clean", 1)
    for file in sorted(noisy.iterdir()):
        if text and file.suffix.lower() in SUFFIXES and not file.name.startswith("."):
            yield ManifestRow(
                where=file.name,
                mixture=f"{noisy.name}/{file.name}",
                text=text,
                target=(f"{clean}/{file.name}",),
                group=file.stem.partition("_")[0],
                id=file.stem,
            )
