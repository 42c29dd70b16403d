"""The recordings of the official data, which the user supplies: which file serves an item, and what is cut from it.

SAM Audio-Bench, below ``<data>/sam_audio_bench/<source_dataset>/``; the first of these names that exists serves:

    {video_id}                              the whole recording, cut at the offsets
    {video_id}_{start_ms}_{end_ms}          cut already
    {video_id}_{start_s}_{end_s}            whole seconds, cut already
    {video_id}.{start_ms:08d}_{end_ms:08d}  cut already

with mp4, mkv, webm, m4a, wav or flac, or another suffix of `audio.SUFFIXES`, in upper case too. MUSDB18-HQ:
``<data>/musdb18hq/test/<track>/`` with ``mixture.wav`` and the stems, or ``<data>/musdb18hq.zip`` as Zenodo has it.

All sound becomes mono, the mean of the channels, at 48 kHz, as the released evaluation hears it. It is cut at its own
rate, then mixed down, then resampled.
"""

from __future__ import annotations

import io
import math
import os
import threading
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from sam_audio_bench import audio
from sam_audio_bench.decoding import check_complete
from sam_audio_bench.errors import MediaError, Precondition
from sam_audio_bench.files import cased_name, find_file, find_files, sha256
from sam_audio_bench.tasks.annotations import Annotation
from sam_audio_bench.tasks.folders import bench_folder, cache_folder, songs_folder
from sam_audio_bench.tasks.lock import Lock
from sam_audio_bench.tasks.video_clips import count_frames, cut_frames, has_frames
from sam_audio_bench.types import Audio

__all__ = ["MUSDB_SHA256", "RATE", "SLACK", "STEMS", "BenchMedia", "Media", "StemMedia"]

RATE = 48_000
"""Hz, of every mixture."""

SLACK = 0.1
"""Seconds by which a clip may be shorter or longer than its annotation says: two frames and a packet of sound."""

MUSDB_SHA256 = "baac80d0483c61d74b2e5f3be75fa557eec52898339e6aa45c1fa48833c5d21d"
"""Of ``musdb18hq.zip``, as torchaudio 2.8 checks it when it downloads the file from Zenodo."""

STEMS = ("drums", "bass", "vocals", "other")
"""The parts of a song."""

_NAMED = (".mp4", ".mkv", ".webm", ".m4a", ".wav", ".flac")  # what users are told of
_PICTURES = (
    ".mp4",
    ".mkv",
    ".webm",
    ".mov",
    ".m4v",
    ".avi",
    ".flv",
    ".ts",
    ".m2ts",
    ".mpg",
    ".mpeg",
    ".wmv",
    ".ogv",
    ".3gp",
)
_SUFFIXES = tuple(dict.fromkeys((*_NAMED, *audio.SUFFIXES)))
_SMALL = 2**23  # bytes; what is read in a moment is looked at to its end
_LARGEST = 2**30  # bytes of a file in an archive; five hours of CD sound would be more
_FORMAT = "2"  # of cut videos; raised whenever a pixel or time changes
_cutting = threading.Lock()  # processes write to names of their own, threads of one process would share them


class Media(Protocol):
    """The recordings of one data set."""

    def names(self, row: Annotation) -> list[Path]:
        """Where the files of a row are looked for, the preferred place first."""
        ...

    def files(self, row: Annotation, *, visual: bool = False) -> list[Path]:
        """What serves a row; nothing where something that it needs is missing."""
        ...

    def inspect(self, row: Annotation, *, visual: bool = False) -> None:
        """Decodes what a row needs; raises MediaError as reading it would."""
        ...

    def check(self) -> None:
        """Raises Precondition where the files as a whole cannot be used."""
        ...


@dataclass(frozen=True, slots=True)
class _Found:
    path: Path
    whole: bool  # to be cut at the offsets

    def part(self, row: Annotation) -> tuple[float, float]:
        """First and last second of a row in the file."""
        return (row.start, row.end) if self.whole else (0.0, row.end - row.start)


@dataclass(frozen=True, slots=True)
class BenchMedia:
    """The recordings of SAM Audio-Bench below a folder."""

    folder: Path

    @classmethod
    def here(cls) -> BenchMedia:
        """Those of this machine."""
        return cls(bench_folder())

    def names(self, row: Annotation) -> list[Path]:
        """Every name that is usual, in order."""
        return [self.folder / row.source / f"{stem}{suffix}" for stem in _stems(row) for suffix in _NAMED]

    def files(self, row: Annotation, *, visual: bool = False) -> list[Path]:
        """The file that serves a row, alone, or nothing."""
        found = self._find(row, visual=visual)
        return [found.path] if found else []

    def where(self, row: Annotation, *, visual: bool = False) -> tuple[Path, float, float] | None:
        """The file that serves a row, and the seconds in it; None: there is none."""
        found = self._find(row, visual=visual)
        return (found.path, *found.part(row)) if found else None

    def sound(self, row: Annotation, *, visual: bool = False) -> Audio:
        """The mixture of a row, mono at `RATE`; errors as in `remarked_sound`."""
        return self.remarked_sound(row, visual=visual)[0]

    def remarked_sound(self, row: Annotation, *, visual: bool = False) -> tuple[Audio, tuple[str, ...]]:
        """The mixture of a row, mono at `RATE`, with the remarks of `audio.read_remarked`.

        Raises:
            MediaError: there is none (status ``missing_media``), it is damaged, or its length
                differs from the annotation's by more than `SLACK` (``length_mismatch``).
        """
        found = self._found(row, visual=visual)
        start, end = found.part(row)
        margin = 0.0 if found.whole else 1.0  # enough to tell whether a file that is cut already is too long
        sound, remarks = audio.read_remarked(found.path, start=start, end=end + margin)
        return _prepared(sound, end - start, found.path), remarks

    def pictures(self, row: Annotation) -> Path:
        """A video of the row alone, cut into the cache where the file is longer; errors as in `sound`."""
        found = self._found(row, visual=True)
        if not found.whole:
            return found.path
        stamp = _stat(found.path)
        about = f"{_FORMAT} {found.path} {stamp.st_size} {stamp.st_mtime_ns} {row.start} {row.end}"
        name = f"{cased_name(row.recording)}-{sha256(about.encode())[:16]}.mp4"
        clip = cache_folder() / "excerpts" / name
        with _cutting:
            if not clip.is_file():
                try:
                    cut_frames(found.path, row.start, row.end, clip)
                except OSError as error:
                    raise Precondition(
                        f"expected a folder that can be written at {clip.parent} for cut videos, found: {error}; "
                        "set SABENCH_CACHE to another folder"
                    ) from error
        return clip

    def inspect(self, row: Annotation, *, visual: bool = False) -> None:
        """Decodes sound and pictures: those of the row, and all others of small files."""
        found = self._found(row, visual=visual)
        check_complete(found.path)
        self.sound(row, visual=visual)
        start, end = found.part(row)
        if _stat(found.path).st_size <= _SMALL:
            audio.read(found.path)
            start, end = 0.0, math.inf
        if visual or has_frames(found.path):
            count_frames(found.path, start, end)

    def check(self) -> None:
        """Nothing to say: every file counts for itself."""

    def _found(self, row: Annotation, *, visual: bool) -> _Found:
        found = self._find(row, visual=visual)
        if found is None:
            first, *others = self.names(row)
            raise MediaError(
                f"expected a recording at {first} or under one of {len(others)} other names, found none; "
                "`sabench data where` lists them",
                status="missing_media",
            )
        return found

    def _find(self, row: Annotation, *, visual: bool) -> _Found | None:
        """The first file that there is; for pictures, the first that can have some, if there is one."""
        kinds = (_PICTURES, _SUFFIXES) if visual else (_SUFFIXES,)
        return next((found for suffixes in kinds for found in self._candidates(row, suffixes)), None)

    def _candidates(self, row: Annotation, suffixes: Sequence[str]) -> Iterator[_Found]:
        for stem in _stems(row):
            for path in find_files(self.folder / row.source, stem, suffixes):
                yield _Found(path, stem == row.recording)


def _stems(row: Annotation) -> list[str]:
    """Names without suffix; milliseconds are rounded, and cut off where that gives another number."""
    times = [[number(1000 * second) for second in (row.start, row.end)] for number in (round, math.floor)]
    seconds = [math.floor(second) for second in (row.start, row.end)]
    return list(
        dict.fromkeys(
            [
                row.recording,
                *(f"{row.recording}_{start}_{end}" for start, end in times),
                f"{row.recording}_{seconds[0]}_{seconds[1]}",
                *(f"{row.recording}.{start:08d}_{end:08d}" for start, end in times),
            ]
        )
    )


def _prepared(sound: Audio, seconds: float, path: Path) -> Audio:
    """Mono at `RATE`, of the annotated length as far as there is sound."""
    if abs(sound.seconds - seconds) > SLACK:
        longer = "more than " if sound.seconds > seconds else ""
        raise MediaError(
            f"expected {seconds:.3f} s of sound in {path}, found {longer}{sound.seconds:.3f} s; a clip that is cut "
            "already is called <video_id>_<start_ms>_<end_ms>",
            status="length_mismatch",
        )
    cut = Audio(sound.samples[:, : round(seconds * sound.rate)], sound.rate)
    return audio.resample(audio.to_mono(cut), RATE)


@dataclass(frozen=True, slots=True)
class StemMedia:
    """The songs of MUSDB18-HQ's test set, in a folder or in the archive."""

    folder: Path

    @classmethod
    def here(cls) -> StemMedia:
        """Those of this machine."""
        return cls(songs_folder())

    @property
    def archive(self) -> Path | None:
        """The archive, where there is one and no folder."""
        path = self.folder.with_name(f"{self.folder.name}.zip")
        return path if path.is_file() and not (self.folder / "test").is_dir() else None

    def names(self, row: Annotation) -> list[Path]:
        """Mixture and stems."""
        return [self._place(row, part) for part in ("mixture", *STEMS)]

    def files(self, row: Annotation, *, visual: bool = False) -> list[Path]:
        """Mixture and stems, or the archive; nothing where one of them is missing."""
        if self.archive is not None:
            return [self.archive]
        names = self.names(row)
        return names if all(path.is_file() for path in names) else []

    def sound(self, row: Annotation, part: str = "mixture") -> Audio:
        """Mixture or stem of a row, mono at `RATE`; errors as in `BenchMedia.sound`."""
        stream, place = self._opened(self._place(row, part))
        found = audio.read(place, start=row.start, end=row.end, stream=stream)
        return _prepared(found, row.end - row.start, place)

    def _place(self, row: Annotation, part: str) -> Path:
        """The file of a song's part, or where it should be."""
        path = self.folder / "test" / row.recording / f"{part}.wav"
        return path if self.archive is not None else find_file(path)

    def inspect(self, row: Annotation, *, visual: bool = False) -> None:
        """Decodes mixture and stems, which must be equally long."""
        for path in () if self.archive is not None else self.files(row):
            check_complete(path)
        lengths = {part: self.sound(row, part).length for part in ("mixture", *STEMS)}
        if len(set(lengths.values())) > 1:
            shown = ", ".join(f"{part} {length}" for part, length in lengths.items())
            raise MediaError(
                f"expected mixture and stems of {row.recording} to be equally long, found {shown} samples",
                status="length_mismatch",
            )

    def check(self) -> None:
        """An archive must have been compared with its published checksum."""
        archive = self.archive
        if archive is None:
            return
        lock = Lock.read()
        if not (lock.unchanged(archive) and lock.known(archive).get("checked")):
            raise Precondition(
                f"expected the checksum of {archive} to be verified, found it unverified or changed since; run "
                "`sabench data verify instr-pro` once"
            )

    def _opened(self, path: Path) -> tuple[BinaryIO | None, Path]:
        """A member of the archive as a stream, or nothing where the folder has it; and how to call it."""
        archive = self.archive
        if archive is None:
            return None, path
        member = path.relative_to(self.folder).as_posix()
        try:
            with zipfile.ZipFile(archive) as songs:
                size = songs.getinfo(member).file_size
                if size > _LARGEST:
                    raise MediaError(f"expected a song in {archive / member}, found {size} bytes")
                return io.BytesIO(songs.read(member)), archive / member  # whole, so that its checksum is compared
        except KeyError as error:
            raise MediaError(f"expected {member} in {archive}, found none", status="missing_media") from error
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
            raise MediaError(f"expected {member} in {archive}, found it damaged ({error})") from error


def _stat(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as error:
        raise MediaError(f"expected a file at {path}, found none", status="missing_media") from error
