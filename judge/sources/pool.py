"""Builds the pool: runs the jobs, writes the clips, and makes table, splits and summary."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from rich.progress import track

from judge.sources.clips import LONGEST, RATE, SHORTEST, Wave, decode, encode, level, trim
from judge.sources.effects import effect_jobs
from judge.sources.instruments import render_jobs
from judge.sources.job import Job, Stem
from judge.sources.music import piece_jobs
from judge.sources.packages import Unpacked, check_licence
from judge.sources.samples import sample_jobs
from judge.sources.singing import song_jobs
from judge.sources.speech import voice_jobs
from judge.sources.splits import check_splits, split_groups
from judge.sources.synthetic_voices import reader_jobs
from sam_audio_bench.files import atomic_write, case_sensitive_name, load_json, sha256, write_json
from sam_audio_bench.filtering.fingerprint import Index
from sam_audio_bench.tasks.recipes import load_stems as mini_stems

__all__ = ["COLUMNS", "Built", "all_jobs", "build", "run_job", "summarise"]

_VERSION = 2  # of the code: raise it when the same job would make other clips
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
Note = dict[str, list[Row]]


def all_jobs(packages: Mapping[str, Unpacked]) -> list[Job]:
    """Returns all jobs for the available packages."""
    makers = (voice_jobs, reader_jobs, song_jobs, piece_jobs, render_jobs, sample_jobs, effect_jobs)
    return [job for maker in makers for job in maker(packages)]


@cache
def _mini() -> Index:
    return Index((stem.id, decode(stem.path)) for stem in mini_stems().values())


def run_job(job: Job, out: Path) -> Note:
    """Makes the clips of one job, or reads the records of an earlier run.

    A clip that shares audio with a stem of the mini split is not written, but recorded under ``in_mini``.
    """
    note = out / "jobs" / f"{sha256(f'{_VERSION} {job!r}'.encode())[:24]}.json"
    if note.exists():
        noted: Note = load_json(note)
        if all((out / row["path"]).exists() for row in noted["rows"]):
            return noted
    made: Note = {"rows": [], "in_mini": []}
    for stem in job.stems():
        wave = trim(stem.wave)[: round(LONGEST * RATE)]
        if len(wave) < SHORTEST * RATE:
            continue
        if (match := _mini().match(wave)).is_same:
            made["in_mini"].append({"origin": stem.provenance.origin, "mini": match.name, "votes": match.votes})
        else:
            made["rows"].append(_write(stem, level(wave), out))
    write_json(note, made)
    return made


def _write(stem: Stem, wave: Wave, out: Path) -> Row:
    data = encode(wave)
    digest = sha256(data)
    name = f"{case_sensitive_name(stem.label.replace(' ', '-'))}-{digest[:12]}"
    path = Path("audio") / stem.domain / case_sensitive_name(stem.label.replace(" ", "-")) / f"{name}.flac"
    with atomic_write(out / path) as temporary:
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


@dataclass(frozen=True)
class Built:
    """The rows of a pool, and the numbers of clips that were left out: part of mini, or of another split."""

    rows: list[Row]
    in_mini: int
    twins: int


def build(jobs: Sequence[Job], out: Path, workers: int) -> Built:
    """Runs the jobs in processes, assigns splits, and writes ``stems.parquet``; deterministic and resumable."""
    out.mkdir(parents=True, exist_ok=True)
    notes = list(track(_notes(jobs, out, workers), "clips", len(jobs)))
    every = sorted((row for note in notes for row in note["rows"]), key=lambda row: (row["id"], row["group"]))
    rows = list({row["id"]: row for row in every}.values())
    sides = split_groups((row["label"], row["group"], row["source"].split("==")[0], row["side"]) for row in rows)
    for row in rows:
        row["split"] = sides[row["group"]]
    twins = _twins([row for row in rows if row["domain"] == "effects"], out)
    kept = [row for row in rows if row["id"] not in twins]
    check_splits([(row["label"], row["group"], row["split"]) for row in kept])
    table = pa.Table.from_pylist([{name: row[name] for name in COLUMNS.names} for row in kept], schema=COLUMNS)
    with atomic_write(out / "stems.parquet") as temporary:
        pq.write_table(table, temporary)
    _remove_stale_clips(out, {row["path"] for row in rows})
    return Built(kept, sum(len(note["in_mini"]) for note in notes), len(twins))


def _notes(jobs: Sequence[Job], out: Path, workers: int) -> Iterator[Note]:
    if workers == 1:
        yield from (run_job(job, out) for job in jobs)
        return
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        for done in as_completed([pool.submit(run_job, job, out) for job in jobs]):
            yield done.result()


def _twins(rows: Sequence[Row], out: Path) -> set[str]:
    """Returns ids of effects whose recording is also in another split, since games use the same libraries.

    Of two, that in "test" is left out rather than that in "train", and that of a seen class rather than an unseen one.
    """
    waves = {row["id"]: decode(out / row["path"]) for row in rows}
    sides = {side: [row["id"] for row in rows if row["split"] == side] for side in ("train", "test", "unseen")}
    twins: set[str] = set()
    for known, candidates in (("unseen", (*sides["train"], *sides["test"])), ("train", sides["test"])):
        index = Index((name, waves[name]) for name in sides[known] if name not in twins)
        twins |= {name for name in candidates if index.match(waves[name]).is_same}
    return twins


def _remove_stale_clips(out: Path, known: set[str]) -> None:
    """Removes clips of earlier versions; files whose name begins with a dot are still being written."""
    for path in (out / "audio").rglob("*.flac"):
        if path.name[0] != "." and path.relative_to(out).as_posix() not in known:
            path.unlink()


def summarise(built: Built) -> dict[str, Any]:
    """Returns hours, clips, groups and classes by domain and split, licence, package and class; number of voices."""
    rows = built.rows
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
    hours = round(sum(row["seconds"] for row in rows) / 3600, 2)
    left_out = {"in_mini": built.in_mini, "in_another_split": built.twins}
    return {**tables, "voices": voices, "clips": len(rows), "hours": hours, "left_out": left_out}
