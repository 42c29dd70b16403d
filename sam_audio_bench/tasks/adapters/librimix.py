"""LibriMix: a CSV of its ``metadata`` folder.

    mixture_ID,mixture_path,source_1_path,source_2_path,…,length

Its paths are those of the machine that mixed, so their last three parts are looked for below the folder that holds
``metadata``. With one speaker the text is "person speaking". With several, LibriSpeech's ``SPEAKERS.TXT``, beside the
CSV or in a folder above it, tells who is a man and who a woman: asked for is "man speaking" or "woman speaking", where
one of them alone is, or what the user's table says (`texts`). Mixtures without such a speaker cannot be asked about in
words and are left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath

from sam_audio_bench.errors import Precondition, UsageError
from sam_audio_bench.tasks.adapters.layouts import csv_in, csv_rows
from sam_audio_bench.tasks.adapters.texts import texts_of
from sam_audio_bench.tasks.manifest_rows import ManifestProblem, ManifestRow, Questions, collect
from sam_audio_bench.tasks.manifest_tables import read_csv

__all__ = ["questions"]

_CLASSES = {"M": "man", "F": "woman"}
_SPEAKERS = "SPEAKERS.TXT"


def questions(path: Path, *, allow_outside: bool = False) -> Questions:
    """The questions of a CSV, or of the only ``mixture_*.csv`` in a folder.

    Raises:
        UsageError: no such file. Precondition: several speakers, and no list of them.
    """
    table = csv_in(path, "mixture_*.csv")
    root = table.parent.parent if table.parent.name == "metadata" else table.parent
    _, header = next(read_csv(table), (1, {}))
    names = [] if isinstance(header, ManifestProblem) else sorted(name for name in header if name.startswith("source_"))
    if not names:
        raise UsageError(f"expected columns mixture_ID, mixture_path and source_1_path in {table}, found none of them")
    genders = _genders(table) if len(names) > 1 else {}
    rows = _rows(table, names, genders, texts_of("librimix", table))
    return collect(f"librimix-{table.stem}", path, rows, root=root, voices=True, allow_outside=allow_outside)


def _genders(table: Path) -> dict[str, str]:
    """Speaker -> "M" or "F"."""
    places = [folder / _SPEAKERS for folder in list(table.resolve().parents)[:5]]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise Precondition(
            f"expected LibriSpeech's {_SPEAKERS} beside {table}, found none: it says who can be asked for in words"
        )
    lines = found.read_text(encoding="utf-8", errors="replace").splitlines()
    cells = ([cell.strip() for cell in line.split("|")] for line in lines if line.strip() and line[0] != ";")
    return {entry[0]: entry[1].upper() for entry in cells if len(entry) > 1}


def _rows(
    table: Path, sources: list[str], genders: Mapping[str, str], texts: Mapping[str, str]
) -> Iterator[ManifestRow | ManifestProblem]:
    names = ("mixture_id", "mixture_path", *(name.lower() for name in sources))
    for number, cells in csv_rows(table, names):
        if isinstance(cells, ManifestProblem):
            yield cells
            continue
        speakers = [part.split("-")[0] for part in cells["mixture_id"].split("_")]
        if len(sources) > 1 and len(speakers) != len(sources):
            what = f"expected a mixture_ID of {len(sources)} utterances, found {cells['mixture_id']!r}"
            yield ManifestProblem(where=number, what=what, column="mixture_ID")
            continue
        known = [genders.get(speaker, "") for speaker in speakers] if len(sources) > 1 else [""]
        alone = Counter(known)
        for index, (source, gender) in enumerate(zip(sources, known, strict=True), 1):
            if len(sources) > 1 and (gender not in _CLASSES or alone[gender] > 1 or "" in alone):
                continue
            text = texts[_CLASSES.get(gender, "person")]
            if not text:
                continue
            yield ManifestRow(
                where=number,
                mixture=_tail(cells["mixture_path"]),
                text=text,
                target=(_tail(cells[source.lower()]),),
                group=cells["mixture_id"],
                id=f"{cells['mixture_id']}-s{index}",
            )


def _tail(path: str) -> str:
    """The last three parts: ``test/mix_clean/<mixture_ID>.wav``."""
    parts = PureWindowsPath(path).parts if "\\" in path else PurePosixPath(path).parts
    return "/".join(parts[-3:])
