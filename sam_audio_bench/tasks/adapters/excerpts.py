"""Excerpts of songs: ``musdb:PATH?excerpt=30`` uses the middle 30 s of each song, ``&at=60`` those from 60 s on.

There is one excerpt per song, so that medians over songs stay medians over songs. Nothing is written: files are cut
when they are read, at whole samples of their own rate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from sam_audio_bench import audio
from sam_audio_bench.errors import MediaError
from sam_audio_bench.files import find_file
from sam_audio_bench.tasks.manifest_rows import ManifestProblem, ManifestRow

__all__ = ["Excerpt", "select_excerpts"]


@dataclass(frozen=True, slots=True)
class Excerpt:
    """The position of an excerpt in a song.

    Args:
        excerpt: length in seconds.
        at: start in seconds; None: the excerpt is in the middle.
    """

    excerpt: float
    at: float | None = None

    @property
    def name(self) -> str:
        """The suffix of the name of a task.

        >>> Excerpt(30).name, Excerpt(7.5, 60).name
        ('-30s', '-7.5s-at60')
        """
        return f"-{self.excerpt:g}s" + ("" if self.at is None else f"-at{self.at:g}")

    def part(self, seconds: float) -> tuple[float, float] | None:
        """Returns start and end in a song of a length in seconds, or None if the song is too short.

        >>> Excerpt(30).part(100), Excerpt(30, 80).part(100)
        ((35.0, 65.0), None)
        """
        start = round((seconds - self.excerpt) / 2, 3) if self.at is None else self.at
        return (start, round(start + self.excerpt, 6)) if start >= 0 and start + self.excerpt <= seconds else None


Rows = Iterable[ManifestRow | ManifestProblem]


def select_excerpts(rows: Rows, root: Path, excerpt: Excerpt | None) -> Iterator[ManifestRow | ManifestProblem]:
    """Restricts questions about songs to an excerpt; songs that are too short are left out, with a warning.

    A song whose length cannot be read keeps its questions, which fail with the reason when they are loaded.

    Args:
        rows: questions about whole songs, those of a song in succession; problems are passed on.
        root: folder of the files.
        excerpt: the excerpt; None: whole songs.
    """
    known: dict[str, float | None] = {}
    count = 0
    for row in rows:
        if excerpt is None or isinstance(row, ManifestProblem):
            yield row
            continue
        first = row.mixture if row.mixture is not None else row.target[0]
        if row.group not in known:
            known[row.group] = _seconds(find_file(root / str(first)))
            seconds = known[row.group]
            if seconds is not None and excerpt.part(seconds) is None:
                begins = "" if excerpt.at is None else f" from {excerpt.at:g} s on"
                what = f"expected {excerpt.excerpt:g} s{begins} of {row.group}, found {seconds:.1f} s: it is left out"
                yield ManifestProblem(where=row.group, what=what, severity="warning")
        seconds = known[row.group]
        part = (excerpt.at or 0.0, (excerpt.at or 0.0) + excerpt.excerpt) if seconds is None else excerpt.part(seconds)
        if part is not None:
            count += 1
            yield replace(row, part=part, id=f"{row.id}@{part[0]:g}")
    if excerpt is not None and known and not count:
        longest = max(seconds for seconds in known.values() if seconds is not None)
        begins = "" if excerpt.at is None else f" from {excerpt.at:g} s on"
        what = f"expected a song with {excerpt.excerpt:g} s{begins}, found none: the longest has {longest:.1f} s"
        yield ManifestProblem(where=str(root), what=what)


def _seconds(path: Path) -> float | None:
    """Returns the length of a sound by its header, or else by decoding it; None if neither succeeds."""
    readers: tuple[Callable[[Path], float], ...] = (audio.read_duration, lambda path: audio.read(path).seconds)
    for read in readers:
        try:
            return read(path)
        except MediaError:
            continue
    return None
