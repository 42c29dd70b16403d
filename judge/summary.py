"""Summarises a set of simulated estimates: counts, and distributions of ratings per axis and per family."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sam_audio_bench.judge.scores import AXES

__all__ = ["read_rows", "summarise"]

_PERCENTILES = (5, 25, 50, 75, 95)
_EDGES = np.arange(1, 5.01, 0.5)


def read_rows(folder: Path) -> pd.DataFrame:
    """Returns all rows of a set, one per estimate and prompt, with the mixture's key, domain and seconds."""
    return pd.DataFrame([row for record in _records(folder) for row in _flatten(record)])


def _records(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.glob("shard-*.tar")):
        with tarfile.open(path) as tar:
            for entry in tar:
                if entry.name.endswith(".json") and (file := tar.extractfile(entry)):
                    yield json.load(file)


def _flatten(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for row in record["rows"]:
        yield {
            **{name: record[name] for name in ("key", "domain", "seconds")},
            "groups": tuple(record["group"]),
            **{name: row[name] for name in ("target", "label", "kind", "system")},
            **row["scores"],
        }


def summarise(folder: Path) -> dict[str, Any]:
    """Returns counts, hours, and histograms, means and percentiles of the ratings, for ``summary.json``."""
    rows = read_rows(folder)
    mixtures, intended = rows.drop_duplicates("key"), rows[rows.kind == "intended"]
    return {
        "answers": len(intended),
        "rows": len(rows),
        "kinds": rows.kind.value_counts().to_dict(),
        "domains": mixtures.domain.value_counts().to_dict(),
        "seconds": round(float(mixtures.seconds.mean()), 3),
        "hours_of_answers": round(float(intended.seconds.sum()) / 3600, 2),
        "groups": len({group for groups in mixtures.groups for group in groups}),
        "histogram_edges": _EDGES.tolist(),
        "axes": {axis: _distribution(intended[axis]) for axis in AXES},
        "overall_of_kinds": {kind: _distribution(part.overall) for kind, part in rows.groupby("kind")},
        "families": {
            name: {"answers": len(part), **{axis: _distribution(part[axis]) for axis in AXES}}
            for name, part in intended.groupby("system")
        },
    }


def _distribution(values: pd.Series) -> dict[str, Any]:
    found = np.percentile(values, _PERCENTILES)
    return {
        "mean": round(float(values.mean()), 3),
        "percentiles": {str(at): round(float(value), 3) for at, value in zip(_PERCENTILES, found, strict=True)},
        "histogram": np.histogram(values, _EDGES)[0].tolist(),
    }
