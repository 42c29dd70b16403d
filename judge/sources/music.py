"""Music: pieces that games and musicians published, cut into clips of a single class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from judge.sources.clips import cut, decode, trim
from judge.sources.job import Stem
from judge.sources.packages import Provenance, Unpacked

__all__ = ["Piece", "piece_jobs"]

_PROMPTS = ("music", "background music", "music playing", "instrumental music")
# package -> (files, side); training and test have different composers
_PIECES = {
    "wesnoth-1.16-music": (r"\.ogg$", "train"),
    "0ad-data": (r"audio/music/.*\.ogg$", "train"),
    "supertuxkart-data": (r"/music/.*\.ogg$", "train"),
    "widelands-data": (r"/music/.*\.ogg$", "test"),
    "megaglest-data": (r"/music/.*\.ogg$", "test"),
    "asterisk-moh-opsound-g722": (r"\.g722$", "test"),
    "frozen-bubble-data": (r"(introzik|mainzik-[12]p)\.ogg$", "test"),
}
_SECONDS, _MOST = 10.0, 4
_SHORTEST = 20.0  # seconds; shorter pieces are jingles


@dataclass(frozen=True)
class Piece:
    """Job for one piece of music."""

    path: Path
    group: str
    side: str
    provenance: Provenance

    def stems(self) -> Iterator[Stem]:
        """Makes clips of ten seconds, evenly spaced over the piece."""
        wave = trim(decode(self.path))
        if len(wave) < _SHORTEST * 16_000:
            return
        for clip in cut(wave, _SECONDS, _MOST):
            yield Stem(clip, "music", "music", _PROMPTS, self.group, self.provenance, self.side)


def piece_jobs(packages: Mapping[str, Unpacked]) -> list[Piece]:
    """Returns one job per piece."""
    jobs = []
    for name, (pattern, side) in _PIECES.items():
        if name not in packages:
            continue
        for path in packages[name].files(pattern):
            jobs.append(Piece(path, f"{name}:{path.name}", side, packages[name].provenance(path)))
    return jobs
