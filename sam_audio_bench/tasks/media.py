"""The recordings of the official data, which the user supplies: finds the files of an item, and cuts its part.

SAM Audio-Bench is below ``<data>/sam_audio_bench/<source_dataset>/``; the first of these names that exists is used:

    {video_id}                              the whole recording, cut at the offsets
    {video_id}_{start_ms}_{end_ms}          already cut
    {video_id}_{start_s}_{end_s}            already cut, whole seconds
    {video_id}.{start_ms:08d}_{end_ms:08d}  already cut

with mp4, mkv, webm, m4a, wav or flac, or another suffix of `audio.SUFFIXES`, also in upper case. MUSDB18-HQ is
``<data>/musdb18hq/test/<track>/`` with ``mixture.wav`` and the stems, or Zenodo's archive ``<data>/musdb18hq.zip``.

All audio becomes mono, the mean of the channels, at 48 kHz, as in the released evaluation. It is cut at its own rate,
then mixed down, then resampled.
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
from sam_audio_bench.files import case_sensitive_name, find_file, find_files, sha256
from sam_audio_bench.tasks.annotations import Annotation
from sam_audio_bench.tasks.folders import bench_folder, cache_folder, songs_folder
from sam_audio_bench.tasks.lock import LockFile
from sam_audio_bench.tasks.video_clips import count_frames, cut_frames, has_frames
from sam_audio_bench.types import Audio

__all__ = ["MUSDB_SHA256", "RATE", "SLACK", "STEMS", "BenchMedia", "Media", "StemMedia"]

RATE = 48_000
"""Hz, of every mixture."""

SLACK = 0.1
"""Seconds by which a clip may differ in length from its annotation: two video frames and an audio packet."""

MUSDB_SHA256 = "baac80d0483c61d74b2e5f3be75fa557eec52898339e6aa45c1fa48833c5d21d"
"""Digest of ``musdb18hq.zip`` that torchaudio 2.8 checks when it downloads the file from Zenodo."""

STEMS = ("drums", "bass", "vocals", "other")
"""The stems of a song."""

_NAMED = (".mp4", ".mkv", ".webm", ".m4a", ".wav", ".flac")  # those in messages
_VIDEO_SUFFIXES = (
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
_SMALL = 2**23  # bytes; files up to this size are quick to read, so they are decoded to their end
_LARGEST = 2**30  # bytes of a file in an archive: 1.7 hours of CD audio
_FORMAT = "2"  # version of cut videos; raised whenever a pixel or time changes
_cutting = threading.Lock()  # temporary files are named per process, so its threads must take turns


class Media(Protocol):
    """The recordings of one data set."""

    def expected_paths(self, row: Annotation) -> list[Path]:
        """Returns the paths at which the files of a row are looked for, the preferred one first."""
        ...

    def locate_files(self, row: Annotation, *, visual: bool = False) -> list[Path]:
        """Returns the files of a row; none if one of them is missing."""
        ...

    def inspect(self, row: Annotation, *, visual: bool = False) -> None:
        """Decodes all that a row needs; raises MediaError as reading it would."""
        ...

    def check_verified(self) -> None:
        """Raises Precondition if the files as a whole must be verified first."""
        ...


@dataclass(frozen=True, slots=True)
class _Found:
    path: Path
    whole: bool  # the whole recording, to be cut at the offsets

    def part(self, row: Annotation) -> tuple[float, float]:
        """Returns the start and end of a row in the file, in seconds."""
        return (row.start, row.end) if self.whole else (0.0, row.end - row.start)


@dataclass(frozen=True, slots=True)
class BenchMedia:
    """The recordings of SAM Audio-Bench below a folder."""

    folder: Path

    @classmethod
    def from_data_folder(cls) -> BenchMedia:
        """Returns the recordings in the folder of the data."""
        return cls(bench_folder())

    def expected_paths(self, row: Annotation) -> list[Path]:
        """Returns every usual path of a row's recording, in order of preference."""
        return [self.folder / row.source / f"{stem}{suffix}" for stem in _stems(row) for suffix in _NAMED]

    def locate_files(self, row: Annotation, *, visual: bool = False) -> list[Path]:
        """Returns the one file of a row, or none."""
        found = self._find(row, visual=visual)
        return [found.path] if found else []

    def locate_part(self, row: Annotation, *, visual: bool = False) -> tuple[Path, float, float] | None:
        """Returns the file of a row and the start and end of the row in it, in seconds; None if there is no file."""
        found = self._find(row, visual=visual)
        return (found.path, *found.part(row)) if found else None

    def read_sound(self, row: Annotation, *, visual: bool = False) -> Audio:
        """Reads the mixture of a row, mono at `RATE`; errors as in `read_sound_remarked`."""
        return self.read_sound_remarked(row, visual=visual)[0]

    def read_sound_remarked(self, row: Annotation, *, visual: bool = False) -> tuple[Audio, tuple[str, ...]]:
        """Reads the mixture of a row, mono at `RATE`, with the remarks of `audio.read_with_remarks`.

        Raises:
            MediaError: the recording is missing (status ``missing_media``) or damaged, or its length differs from the
                annotation's by more than `SLACK` (``length_mismatch``).
        """
        found = self._find_required(row, visual=visual)
        start, end = found.part(row)
        margin = 0.0 if found.whole else 1.0  # enough to detect that an already cut file is too long
        sound, remarks = audio.read_with_remarks(found.path, start=start, end=end + margin)
        return _prepare(sound, end - start, found.path), remarks

    def extract_video(self, row: Annotation) -> Path:
        """Returns a video of the row alone, cut into the cache if the file is longer; errors as in `read_sound`."""
        found = self._find_required(row, visual=True)
        if not found.whole:
            return found.path
        stamp = _stat(found.path)
        key = f"{_FORMAT} {found.path} {stamp.st_size} {stamp.st_mtime_ns} {row.start} {row.end}"
        name = f"{case_sensitive_name(row.recording)}-{sha256(key.encode())[:16]}.mp4"
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
        """Decodes audio and video of the row, and all of the file if it is small."""
        found = self._find_required(row, visual=visual)
        check_complete(found.path)
        self.read_sound(row, visual=visual)
        start, end = found.part(row)
        if _stat(found.path).st_size <= _SMALL:
            audio.read(found.path)
            start, end = 0.0, math.inf
        if visual or has_frames(found.path):
            count_frames(found.path, start, end)

    def check_verified(self) -> None:
        """Does nothing: each file is checked on its own."""

    def _find_required(self, row: Annotation, *, visual: bool) -> _Found:
        found = self._find(row, visual=visual)
        if found is None:
            first, *others = self.expected_paths(row)
            raise MediaError(
                f"expected a recording at {first} or under one of {len(others)} other names, found none; "
                "`sabench data where` lists them",
                status="missing_media",
            )
        return found

    def _find(self, row: Annotation, *, visual: bool) -> _Found | None:
        """Returns the first file that exists; for a visual task, a file that can hold video is preferred."""
        kinds = (_VIDEO_SUFFIXES, _SUFFIXES) if visual else (_SUFFIXES,)
        return next((found for suffixes in kinds for found in self._candidates(row, suffixes)), None)

    def _candidates(self, row: Annotation, suffixes: Sequence[str]) -> Iterator[_Found]:
        for stem in _stems(row):
            for path in find_files(self.folder / row.source, stem, suffixes):
                yield _Found(path, stem == row.recording)


def _stems(row: Annotation) -> list[str]:
    """Returns the usual names without suffix; milliseconds are rounded, or truncated if that differs."""
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


def _prepare(sound: Audio, seconds: float, path: Path) -> Audio:
    """Cuts a sound to the annotated length, unless it is shorter, and converts it to mono at `RATE`."""
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
    def from_data_folder(cls) -> StemMedia:
        """Returns the songs in the folder of the data."""
        return cls(songs_folder())

    @property
    def archive(self) -> Path | None:
        """Path of the archive if there is one and no folder, else None."""
        path = self.folder.with_name(f"{self.folder.name}.zip")
        return path if path.is_file() and not (self.folder / "test").is_dir() else None

    def expected_paths(self, row: Annotation) -> list[Path]:
        """Returns the paths of mixture and stems."""
        return [self._path(row, part) for part in ("mixture", *STEMS)]

    def locate_files(self, row: Annotation, *, visual: bool = False) -> list[Path]:
        """Returns the paths of mixture and stems, or of the archive; none if one of them is missing."""
        if self.archive is not None:
            return [self.archive]
        names = self.expected_paths(row)
        return names if all(path.is_file() for path in names) else []

    def read_sound(self, row: Annotation, part: str = "mixture") -> Audio:
        """Reads mixture or stem of a row, mono at `RATE`; errors as in `BenchMedia.read_sound`."""
        stream, path = self._open(self._path(row, part))
        found = audio.read(path, start=row.start, end=row.end, stream=stream)
        return _prepare(found, row.end - row.start, path)

    def _path(self, row: Annotation, part: str) -> Path:
        """Returns the path of mixture or stem of a song, whether the file exists or not."""
        path = self.folder / "test" / row.recording / f"{part}.wav"
        return path if self.archive is not None else find_file(path)

    def inspect(self, row: Annotation, *, visual: bool = False) -> None:
        """Decodes mixture and stems, which must be equally long."""
        for path in () if self.archive is not None else self.locate_files(row):
            check_complete(path)
        lengths = {part: self.read_sound(row, part).length for part in ("mixture", *STEMS)}
        if len(set(lengths.values())) > 1:
            shown = ", ".join(f"{part} {length}" for part, length in lengths.items())
            raise MediaError(
                f"expected mixture and stems of {row.recording} to be equally long, found {shown} samples",
                status="length_mismatch",
            )

    def check_verified(self) -> None:
        """Raises Precondition unless the archive's checksum has been compared with the published one."""
        archive = self.archive
        if archive is None:
            return
        lock = LockFile.read()
        if not (lock.is_unchanged(archive) and lock.file_entry(archive).get("checked")):
            raise Precondition(
                f"expected the checksum of {archive} to be verified, found it unverified or changed since; run "
                "`sabench data verify instr-pro` once"
            )

    def _open(self, path: Path) -> tuple[BinaryIO | None, Path]:
        """Returns a member of the archive as a stream, None if there is no archive; and its path, for messages."""
        archive = self.archive
        if archive is None:
            return None, path
        member = path.relative_to(self.folder).as_posix()
        try:
            with zipfile.ZipFile(archive) as songs:
                size = songs.getinfo(member).file_size
                if size > _LARGEST:
                    raise MediaError(f"expected a song in {archive / member}, found {size} bytes")
                return io.BytesIO(songs.read(member)), archive / member  # read whole, so that zipfile compares the CRC
        except KeyError as error:
            raise MediaError(f"expected {member} in {archive}, found none", status="missing_media") from error
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
            raise MediaError(f"expected {member} in {archive}, found it damaged ({error})") from error


def _stat(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as error:
        raise MediaError(f"expected a file at {path}, found none", status="missing_media") from error
