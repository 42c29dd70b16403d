"""Runs the jobs, writes the clips, and describes the pool: table, splits, summary."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from rich.progress import track

from judge.fingerprint import Index
from judge.sources.clips import LONGEST, RATE, SHORTEST, Wave, decode, encode, level, trim
from judge.sources.effects import effect_jobs
from judge.sources.instruments import render_jobs
from judge.sources.job import Job, Stem
from judge.sources.music import piece_jobs
from judge.sources.packages import Unpacked, check_licence
from judge.sources.samples import sample_jobs
from judge.sources.speech import voice_jobs
from judge.sources.splits import check_splits, split_groups
from judge.sources.voices import reader_jobs
from sam_audio_bench.files import load_json, replacing, safe_name, sha256, write_json
from sam_audio_bench.tasks.recipes import stems as mini_stems

__all__ = ["COLUMNS", "all_jobs", "build", "summarise"]

_VERSION = 1  # of the recipe: raise it when the same job would make other clips
COLUMNS = pa.schema(
    [
        *[(name, pa.string()) for name in ("id", "path", "domain", "label")],
        ("prompts", pa.list_(pa.string())),
        *[(name, pa.string()) for name in ("group", "split", "licence", "credit", "source", "origin")],
        ("seconds", pa.float64()),
        ("sha256", pa.string()),
    ]
)
Row = dict[str, Any]


def all_jobs(packages: Mapping[str, Unpacked]) -> list[Job]:
    """Every job that the packages at hand allow."""
    makers = (voice_jobs, reader_jobs, piece_jobs, render_jobs, sample_jobs, effect_jobs)
    return [job for maker in makers for job in maker(packages)]


@cache
def _mini() -> Index:
    return Index((stem.id, decode(stem.path)) for stem in mini_stems().values())


def run_job(job: Job, out: Path) -> list[Row]:
    """Makes the clips of one job, or reads what an earlier run noted about them.

    A clip that shares audio with a stem of the mini split is not written; the note names it.
    """
    note = out / "jobs" / f"{sha256(f'{_VERSION}/{job.key}'.encode())[:24]}.json"
    if note.exists():
        rows: list[Row] = load_json(note)["rows"]
        if all((out / row["path"]).exists() for row in rows):
            return rows
    rows, refused = [], []
    for stem in job.stems():
        wave = trim(stem.wave)[: round(LONGEST * RATE)]
        if len(wave) < SHORTEST * RATE:
            continue
        if (match := _mini().match(wave)).same:
            refused.append({"origin": stem.provenance.origin, "mini": match.name, "votes": match.votes})
            continue
        rows.append(_write(stem, level(wave), out))
    write_json(note, {"job": job.key, "rows": rows, "in_mini": refused})
    return rows


def _write(stem: Stem, wave: Wave, out: Path) -> Row:
    data = encode(wave)
    digest = sha256(data)
    name = f"{safe_name(stem.label.replace(' ', '-'))}-{digest[:12]}"
    path = Path("audio") / stem.domain / safe_name(stem.label.replace(" ", "-")) / f"{name}.flac"
    with replacing(out / path) as temporary:
        temporary.write_bytes(data)
    check_licence(stem.provenance.licence, stem.provenance.origin)
    return {
        "id": f"{stem.domain}-{name}",
        "path": path.as_posix(),
        "domain": stem.domain,
        "label": stem.label,
        "prompts": list(stem.prompts),
        "group": stem.group,
        "side": stem.side,
        **asdict(stem.provenance),
        "seconds": round(len(wave) / RATE, 3),
        "sha256": digest,
    }


def build(jobs: Sequence[Job], out: Path, workers: int) -> list[Row]:
    """Runs the jobs in processes, gives the splits, and writes ``stems.parquet``; deterministic and resumable."""
    out.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    with ProcessPoolExecutor(workers) as pool:
        waiting = [pool.submit(run_job, job, out) for job in jobs]
        for done in track(as_completed(waiting), "clips", len(waiting)):
            rows += done.result()
    rows = list({row["id"]: row for row in sorted(rows, key=lambda row: (row["id"], row["group"]))}.values())
    sides = split_groups((row["label"], row["group"], row["source"].split("==")[0], row["side"]) for row in rows)
    for row in rows:
        row["split"] = sides[row["group"]]
    check_splits([(row["label"], row["group"], row["split"]) for row in rows])
    table = pa.Table.from_pylist([{name: row[name] for name in COLUMNS.names} for row in rows], schema=COLUMNS)
    with replacing(out / "stems.parquet") as temporary:
        pq.write_table(table, temporary)
    _remove_strangers(out, {row["path"] for row in rows})
    return rows


def _remove_strangers(out: Path, known: set[str]) -> None:
    """Removes clips that an older recipe left behind."""
    for folder, _, files in os.walk(out / "audio"):
        for name in files:
            path = Path(folder) / name
            if path.suffix == ".flac" and path.relative_to(out).as_posix() not in known:
                path.unlink()


def summarise(rows: Sequence[Row]) -> dict[str, Any]:
    """Hours, clips, groups and classes by domain and split, hours by licence and package, number of voices."""
    tables: dict[str, dict[str, dict[str, Any]]] = {"domain": {}, "licence": {}, "source": {}, "class": {}}
    buckets: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        buckets["domain", f"{row['domain']} {row['split']}"].append(row)
        buckets["licence", f"{row['domain']} {row['licence']}"].append(row)
        buckets["source", row["source"]].append(row)
        buckets["class", f"{row['domain']} {row['label']}"].append(row)
    for (table, name), found in sorted(buckets.items()):
        tables[table][name] = {
            "clips": len(found),
            "hours": round(sum(row["seconds"] for row in found) / 3600, 3),
            "groups": len({row["group"] for row in found}),
            "classes": len({row["label"] for row in found}),
        }
    voices = {
        split: len({r["group"] for r in rows if r["domain"] == "speech" and r["split"] == split})
        for split in ("train", "test")
    }
    return {**tables, "voices": voices, "clips": len(rows), "hours": round(sum(r["seconds"] for r in rows) / 3600, 2)}
