"""LibriMix (Libri2Mix, Libri3Mix): a CSV of its ``metadata`` folder, or a folder of mixtures.

    mixture_ID,mixture_path,source_1_path,source_2_path,…,length
    test/mix_clean/<mixture_ID>.wav  test/s1/<mixture_ID>.wav  test/s2/<mixture_ID>.wav

The paths of a CSV are those of the machine that mixed, so their last three parts are looked for below the folder that
contains ``metadata``. With one speaker the prompt is "person speaking". With several, LibriSpeech's ``SPEAKERS.TXT``,
in the folder of the CSV or the mixtures or in a folder above, states who is a man and who a woman: the prompt is "man
speaking" or "woman speaking", for the only one of a mixture, or that of the user's table (`texts`). Mixtures without
such a speaker have no text prompt: they are left out, and a warning counts them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from sam_audio_bench.audio import SUFFIXES
from sam_audio_bench.errors import Precondition, UsageError
from sam_audio_bench.tasks.adapters.layouts import find_csv, list_folders, read_columns
from sam_audio_bench.tasks.adapters.texts import read_class_texts
from sam_audio_bench.tasks.manifest_rows import ManifestProblem, ManifestRow, Questions, collect_questions
from sam_audio_bench.tasks.manifest_tables import read_csv

__all__ = ["read_questions"]

_CLASSES = {"M": "man", "F": "woman"}
_SPEAKERS = "SPEAKERS.TXT"


@dataclass(frozen=True, slots=True)
class _Mixture:
    where: int | str
    id: str  # utterances, separated by an underscore: 1089-134686-0000_121-127105-0031
    file: str
    sources: tuple[str, ...]  # files


def read_questions(path: Path, *, allow_outside: bool = False) -> Questions:
    """Reads the questions of a CSV, of the only ``mixture_*.csv`` in a folder, or of a folder ``mix_*`` next to ``s1``.

    Raises:
        UsageError: there is no such file or folder. Precondition: there are several speakers, but no ``SPEAKERS.TXT``.
    """
    if (folder := _find_mixtures(path)) is not None:
        name, root, place = f"librimix-{folder.resolve().parent.name}-{folder.name}", folder.parent, folder / "mixtures"
        speakers = len(_source_folders(folder.parent, folder.name))
        found: Iterable[_Mixture | ManifestProblem] = _read_folder(folder)
    else:
        place = find_csv(path, "mixture_*.csv")
        name, root = f"librimix-{place.stem}", place.parent.parent if place.parent.name == "metadata" else place.parent
        sources = _source_columns(place)
        speakers, found = len(sources), _read_table(place, sources)
    rows = _rows(found, _read_genders(place) if speakers > 1 else {}, read_class_texts("librimix", place))
    return collect_questions(name, path, rows, root=root, voices=True, allow_outside=allow_outside)


def _find_mixtures(path: Path) -> Path | None:
    """Finds the folder of mixtures, which the path is or contains, next to ``s1``; None if there should be a CSV."""
    if not path.is_dir():
        return None
    path = path.resolve()
    if path.name.startswith("mix_") and (path.parent / "s1").is_dir():
        return path
    found = [folder for folder in list_folders(path) if folder.name.startswith("mix_") and (path / "s1").is_dir()]
    if len(found) > 1:
        names = ", ".join(folder.name for folder in found)
        raise UsageError(f"expected one folder of mixtures in {path}, found {names}: name one, librimix:{found[0]}")
    return found[0] if found else None


def _source_folders(root: Path, mixtures: str) -> list[str]:
    """Lists ``s1``, ``s2`` …; only the first one for ``mix_single``."""
    names = [folder.name for folder in list_folders(root) if folder.name[0] == "s" and folder.name[1:].isdecimal()]
    return names[:1] if mixtures == "mix_single" else names


def _read_folder(folder: Path) -> Iterator[_Mixture]:
    sources = _source_folders(folder.parent, folder.name)
    for file in sorted(folder.iterdir()):
        if file.suffix.lower() in SUFFIXES and not file.name.startswith("."):
            parts = tuple(f"{source}/{file.name}" for source in sources)
            yield _Mixture(file.name, file.stem, f"{folder.name}/{file.name}", parts)


def _source_columns(table: Path) -> list[str]:
    _, header = next(read_csv(table), (1, {}))
    names = [] if isinstance(header, ManifestProblem) else sorted(name for name in header if name.startswith("source_"))
    if not names:
        raise UsageError(f"expected columns mixture_ID, mixture_path and source_1_path in {table}, found none of them")
    return [name.lower() for name in names]


def _read_table(table: Path, sources: list[str]) -> Iterator[_Mixture | ManifestProblem]:
    for number, cells in read_columns(table, ("mixture_id", "mixture_path", *sources)):
        if isinstance(cells, ManifestProblem):
            yield cells
        else:
            parts = tuple(_tail(cells[source]) for source in sources)
            yield _Mixture(number, cells["mixture_id"], _tail(cells["mixture_path"]), parts)


def _tail(path: str) -> str:
    """Returns the last three parts of a path: ``test/mix_clean/<mixture_ID>.wav``."""
    parts = PureWindowsPath(path).parts if "\\" in path else PurePosixPath(path).parts
    return "/".join(parts[-3:])


def _read_genders(place: Path) -> dict[str, str]:
    """Reads ``SPEAKERS.TXT``: speaker -> "M" or "F"."""
    places = [folder / _SPEAKERS for folder in list(place.resolve().parents)[:5]]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise Precondition(
            f"expected LibriSpeech's {_SPEAKERS} in {place.parent} or above, found none: it states the genders for "
            "the prompts"
        )
    lines = found.read_text(encoding="utf-8", errors="replace").splitlines()
    cells = ([cell.strip() for cell in line.split("|")] for line in lines if line.strip() and line[0] != ";")
    return {entry[0]: entry[1].upper() for entry in cells if len(entry) > 1}


def _rows(
    mixtures: Iterable[_Mixture | ManifestProblem], genders: Mapping[str, str], texts: Mapping[str, str]
) -> Iterator[ManifestRow | ManifestProblem]:
    left_out: list[_Mixture] = []
    for mixture in mixtures:
        if isinstance(mixture, ManifestProblem):
            yield mixture
            continue
        speakers = [utterance.split("-")[0] for utterance in mixture.id.split("_")]
        if len(mixture.sources) > 1 and len(speakers) != len(mixture.sources):
            what = f"expected a mixture_ID of {len(mixture.sources)} utterances, found {mixture.id!r}"
            yield ManifestProblem(where=mixture.where, what=what, column="mixture_ID")
            continue
        known = [genders.get(speaker, "") for speaker in speakers] if len(mixture.sources) > 1 else [""]
        questions = list(_questions(mixture, known, texts))
        left_out += [] if questions else [mixture]
        yield from questions
    if left_out:
        what = f"no speaker of {len(left_out)} mixtures can be asked for in words, as of {left_out[0].id}: left out"
        yield ManifestProblem(where=left_out[0].where, what=what, severity="warning")


def _questions(mixture: _Mixture, known: list[str], texts: Mapping[str, str]) -> Iterator[ManifestRow]:
    """Yields one question per speaker who is the mixture's only man, only woman or only speaker."""
    count, several = Counter(known), len(known) > 1
    for index, (source, gender) in enumerate(zip(mixture.sources, known, strict=True), 1):
        if several and (gender not in _CLASSES or count[gender] > 1 or "" in count):
            continue
        if text := texts[_CLASSES.get(gender, "person")]:
            yield ManifestRow(
                where=mixture.where,
                mixture=mixture.file,
                text=text,
                target=(source,),
                group=mixture.id,
                id=f"{mixture.id}-s{index}",
            )
