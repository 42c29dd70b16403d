"""Evaluation lists of AudioSep, of two kinds, with their sounds in the same folder.

    idx,caption,…                                    mixture-<idx>.wav and segment-<idx>.wav, as AudioCaps and Clotho
    …,mix_wav,s0_wav,s0_text,s1_wav,s1_text          named files, as VGGSound; both sources are targets

Of the first kind, the first two columns are used, whatever their names. Sounds may also be in a folder ``audio``, or in
a folder with the name of the list.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sam_audio_bench.tasks.adapters.layouts import find_csv, find_sound_path, read_columns
from sam_audio_bench.tasks.manifest_rows import ManifestProblem, ManifestRow, Questions, collect_questions
from sam_audio_bench.tasks.manifest_tables import read_csv

__all__ = ["read_questions"]

_PAIRS = ("mix_wav", "s0_wav", "s0_text", "s1_wav", "s1_text")


def read_questions(path: Path, *, allow_outside: bool = False) -> Questions:
    """Reads the rows of a CSV, or of the only CSV in a folder; raises UsageError if there is none."""
    table = find_csv(path)
    _, header = next(read_csv(table), (1, {}))
    names = {name.lower() for name in header} if not isinstance(header, ManifestProblem) else set()
    rows = _pairs(table) if set(_PAIRS) <= names else _segments(table)
    return collect_questions(f"audiosep-{table.stem}", path, rows, root=table.parent, allow_outside=allow_outside)


def _segments(table: Path) -> Iterator[ManifestRow | ManifestProblem]:
    for number, cells in read_columns(table, ("idx", "caption")):
        if isinstance(cells, ManifestProblem):
            yield cells
            continue
        mixture, target = (_file(table, f"{kind}-{cells['idx']}") for kind in ("mixture", "segment"))
        yield ManifestRow(where=number, mixture=mixture, text=cells["caption"], target=(target,), id=cells["idx"])


def _pairs(table: Path) -> Iterator[ManifestRow | ManifestProblem]:
    for number, cells in read_columns(table, _PAIRS):
        if isinstance(cells, ManifestProblem):
            yield cells
            continue
        for source in ("s0", "s1"):
            yield ManifestRow(
                where=number,
                mixture=_file(table, cells["mix_wav"]),
                text=cells[f"{source}_text"],
                target=(_file(table, cells[f"{source}_wav"]),),
                id=f"{Path(cells['mix_wav']).stem}-{source}",
            )


def _file(table: Path, name: str) -> str:
    return find_sound_path(table.parent, name, ("", "audio", table.stem))
