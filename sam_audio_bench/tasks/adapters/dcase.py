"""DCASE 2024 task 9, language-queried audio source separation: the synthetic validation set.

    lass_synthetic_validation.csv     source,noise,snr,caption
    lass_validation/<source>.wav      or in the folder of the CSV

A row mixes two clips: the noise is scaled to ``snr`` dB below the source, and if the mixture exceeds full scale,
everything is scaled to a peak of 0.9. The caption is the prompt for the source.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from sam_audio_bench.tasks.adapters.layouts import find_csv, find_sound_path, read_columns
from sam_audio_bench.tasks.manifest_rows import ManifestProblem, ManifestRow, Questions, collect_questions

__all__ = ["read_questions"]

_COLUMNS = ("source", "noise", "snr", "caption")
_FOLDERS = ("", "lass_validation", "audio")


def read_questions(path: Path, *, allow_outside: bool = False) -> Questions:
    """Reads the rows of a CSV, or of the only CSV in a folder; raises UsageError if there is none."""
    table = find_csv(path)
    name = f"dcase2024-t9-{table.stem}"
    return collect_questions(name, path, _rows(table), root=table.parent, allow_outside=allow_outside)


def _rows(table: Path) -> Iterator[ManifestRow | ManifestProblem]:
    for number, cells in read_columns(table, _COLUMNS):
        if isinstance(cells, ManifestProblem):
            yield cells
            continue
        ratio = _parse_decibels(cells["snr"])
        if ratio is None:
            what = f"expected a level ratio in dB, found {cells['snr']!r}"
            yield ManifestProblem(where=number, what=what, column="snr")
            continue
        source, noise = (find_sound_path(table.parent, cells[name], _FOLDERS) for name in ("source", "noise"))
        yield ManifestRow(
            where=number,
            text=cells["caption"],
            target=(source,),
            residual=(noise,),
            target_to_rest_db=ratio,
            group=cells["source"],
            id=f"{cells['source']}-{number - 2}",  # several rows may have the same source
        )


def _parse_decibels(text: str) -> float | None:
    try:
        ratio = float(text)
    except ValueError:
        return None
    return ratio if math.isfinite(ratio) else None
