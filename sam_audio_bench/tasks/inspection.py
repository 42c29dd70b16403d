"""Inspects which recordings of the official data are present, missing, corrupt or of another length, item by item.

Each clip is decoded once, however many tasks use it: its sound, its video if the file has one, and all of small files.
The result is kept in the lock file and is valid until a file changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from sam_audio_bench.errors import MediaError
from sam_audio_bench.tasks.annotations import Annotation
from sam_audio_bench.tasks.lock import LockFile
from sam_audio_bench.tasks.media import MUSDB_SHA256, StemMedia
from sam_audio_bench.tasks.official import OfficialTask, mask_file

__all__ = ["STATES", "InspectionReport", "ItemFinding", "clip_name", "inspect_recordings", "verify_files"]

STATES = ("present", "missing", "corrupt", "wrong_length")
"""States of an item's recording; one that cannot be decoded is corrupt."""

_STATE_OF = {"missing_media": "missing", "length_mismatch": "wrong_length"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemFinding:
    """The state of one item's recording."""

    item: str
    source: str
    state: str  # of `STATES`
    files: tuple[Path, ...] = ()
    what: str = ""  # the problem in one sentence; "" if the recording is present


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectionReport:
    """The state of one task's recordings."""

    official: OfficialTask
    findings: tuple[ItemFinding, ...]

    def counts(self, source: str | None = None) -> dict[str, int]:
        """Counts items by state, of all sources or of one."""
        states = [finding.state for finding in self.findings if source in (None, finding.source)]
        return {state: states.count(state) for state in STATES}

    @property
    def sources(self) -> list[str]:
        """The source data sets of the items, sorted."""
        return sorted({finding.source for finding in self.findings})

    @property
    def problems(self) -> list[ItemFinding]:
        """The findings of items whose recording is not present."""
        return [finding for finding in self.findings if finding.state != "present"]

    def record(self) -> dict[str, object]:
        """Returns the report as plain values, for machine-readable output."""
        return {
            "items": len(self.findings),
            **self.counts(),
            "sources": {source: self.counts(source) for source in self.sources},
            "problems": [
                {**asdict(finding), "files": [str(path) for path in finding.files]} for finding in self.problems
            ],
        }


def inspect_recordings(
    tasks: Sequence[OfficialTask],
    lock: LockFile,
    *,
    workers: int = 1,
    again: bool = False,
    counting: Callable[[int], Callable[[], None]] = lambda total: lambda: None,
) -> list[InspectionReport]:
    """Decodes every clip of some tasks once, and stores the results in ``lock`` without writing its file.

    Args:
        tasks: from `official.read_official`.
        lock: the results so far.
        workers: number of threads that decode.
        again: also decode clips whose results are known.
        counting: called with the number of clips to decode; returns a function that is called after each clip.
    """
    clips = {clip_name(task, row): (task, row) for task in tasks for row in task.rows.values()}
    served = {name: task.media.locate_files(row, visual=task.visual) for name, (task, row) in clips.items()}
    verdicts: dict[str, tuple[str, str]] = {}
    unknown = []
    for name, (task, row) in clips.items():
        known = None if again or not served[name] else lock.known_state(name, served[name])
        if known is None and served[name]:
            unknown.append(name)
        else:
            verdicts[name] = known or ("missing", f"expected {task.media.expected_paths(row)[0]}, found none")
    advance = counting(len(unknown))

    def inspect(name: str) -> tuple[str, str]:
        task, row = clips[name]
        found = _inspect_clip(task, row)
        advance()
        return found

    with ThreadPoolExecutor(workers) as pool:
        for name, (state, what) in zip(unknown, pool.map(inspect, unknown), strict=True):
            verdicts[name] = state, what
            if state != "missing":
                lock.record_state(name, served[name], state, what)
    return [InspectionReport(official=task, findings=tuple(_findings(task, verdicts, served))) for task in tasks]


def clip_name(task: OfficialTask, row: Annotation) -> str:
    """Returns a unique name of a part of a recording; a visual task's also names the mask's row and table."""
    pictures = f" with mask {row.row} of {task.table.key}" if task.visual else ""
    return f"{row.source}/{row.recording} {row.start:.3f}-{row.end:.3f}{pictures}"


def _inspect_clip(task: OfficialTask, row: Annotation) -> tuple[str, str]:
    try:
        task.media.inspect(row, visual=task.visual)
        if task.visual:
            mask_file(task, row)
    except MediaError as error:
        return _STATE_OF.get(error.status, "corrupt"), str(error)
    return "present", ""


def _findings(
    task: OfficialTask, verdicts: Mapping[str, tuple[str, str]], served: Mapping[str, Sequence[Path]]
) -> Iterable[ItemFinding]:
    for item, row in task.rows.items():
        name = clip_name(task, row)
        state, what = verdicts[name]
        yield ItemFinding(item=item, source=row.source, state=state, files=tuple(served[name]), what=what)


def verify_files(
    tasks: Sequence[OfficialTask], lock: LockFile, *, musdb_sha256: str = MUSDB_SHA256, workers: int = 1
) -> list[str]:
    """Computes the SHA-256 of every file that items use, and stores it in ``lock`` with that of the metadata.

    Args:
        tasks: from `official.read_official`.
        lock: the results; its file is not written.
        musdb_sha256: the expected digest of the archive of MUSDB18-HQ.
        workers: number of threads.

    Returns:
        One sentence per file that has changed since it was hashed last, and one if the archive is not the published
        one.
    """
    served = {
        path
        for task in tasks
        for row in task.rows.values()
        for path in task.media.locate_files(row, visual=task.visual)
    }
    paths = sorted(served)
    before = [lock.file_entry(path).get("sha256") for path in paths]
    with ThreadPoolExecutor(workers) as pool:
        digests = list(pool.map(lock.hash_file, paths))
    problems = [
        f"{path} is not what it was when it was verified last"
        for path, old, new in zip(paths, before, digests, strict=True)
        if old not in (None, new)
    ]
    archive = StemMedia.from_data_folder().archive
    if archive in served:
        found = lock.file_entry(archive)
        found["checked"] = found["sha256"] == musdb_sha256
        if not found["checked"]:
            problems.append(f"expected {archive} with SHA-256 {musdb_sha256}, found {found['sha256']}: get it again")
    for task in tasks:
        lock.metadata[task.table.repository] = {"commit": task.table.commit, "sha256": task.digest}
    return problems
