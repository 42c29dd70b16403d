"""Which recordings of the official data are present, missing, corrupt or of another length, item by item.

A clip is looked at once, whatever tasks ask about it: its sound and, where its file has some, its pictures are decoded,
and so is the rest of small files. How that went is kept in the lock file and holds until a file changes.
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
"""What can be said of an item's recording; one that cannot be decoded is corrupt."""

_STATE_OF = {"missing_media": "missing", "length_mismatch": "wrong_length"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemFinding:
    """The state of one item's recording."""

    item: str
    source: str
    state: str  # of `STATES`
    files: tuple[Path, ...] = ()
    what: str = ""  # one sentence, unless all is well


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectionReport:
    """The state of one task's recordings."""

    official: OfficialTask
    findings: tuple[ItemFinding, ...]

    def counts(self, source: str | None = None) -> dict[str, int]:
        """Items by state, of all sources or of one."""
        states = [finding.state for finding in self.findings if source in (None, finding.source)]
        return {state: states.count(state) for state in STATES}

    @property
    def sources(self) -> list[str]:
        """The data sets that the items are of."""
        return sorted({finding.source for finding in self.findings})

    @property
    def problems(self) -> list[ItemFinding]:
        """Everything but the items that are there."""
        return [finding for finding in self.findings if finding.state != "present"]

    def record(self) -> dict[str, object]:
        """For programs."""
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
    """Looks at every clip of some tasks, each once, and keeps what it found in ``lock``, which is not written.

    Args:
        tasks: of `official`.
        lock: what is known already.
        workers: threads that decode.
        again: decode what is known too.
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

    def look(name: str) -> tuple[str, str]:
        task, row = clips[name]
        found = _look(task, row)
        advance()
        return found

    with ThreadPoolExecutor(workers) as pool:
        for name, (state, what) in zip(unknown, pool.map(look, unknown), strict=True):
            verdicts[name] = state, what
            if state != "missing":
                lock.record_state(name, served[name], state, what)
    return [InspectionReport(official=task, findings=tuple(_findings(task, verdicts, served))) for task in tasks]


def clip_name(task: OfficialTask, row: Annotation) -> str:
    """Tells parts of recordings apart; one with a mask from the same without, and of another table."""
    pictures = f" with mask {row.row} of {task.table.key}" if task.visual else ""
    return f"{row.source}/{row.recording} {row.start:.3f}-{row.end:.3f}{pictures}"


def _look(task: OfficialTask, row: Annotation) -> tuple[str, str]:
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
    """Computes the SHA-256 of every file that serves an item, and keeps it in ``lock`` with those of the metadata.

    Args:
        tasks: of `official`.
        lock: is not written.
        musdb_sha256: what the archive of MUSDB18-HQ must have.
        workers: threads.

    Returns:
        A sentence for each file that is not what it was when it was hashed last, and for an archive that is not the
        published one.
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
