"""Unpacks untrusted archives without writing outside the folder, and parses OpenTTD's sound sets."""

from __future__ import annotations

import re
import struct
import subprocess
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from sam_audio_bench.errors import MediaError, Precondition

__all__ = ["CatSound", "read_cat", "unpack", "unpack_zip"]

_HIGH_BIT = 0x7FFFFFFF  # marks the new format, in which every sound is preceded by a title


def unpack(archive: Path, folder: Path, keep: str = "") -> None:
    """Unpacks a ``.deb``, ``.tgz``, ``.tar.gz``, ``.whl``, ``.zip`` or ``.pk3`` into ``folder``.

    Args:
        archive: the file; its suffix determines the format.
        folder: existing folder that receives the members under their paths.
        keep: regular expression that is searched in members' paths; only matches are unpacked (empty: all).

    Raises:
        MediaError: a member would be written outside the folder, or the archive cannot be read.
    """
    wanted = re.compile(keep)
    if archive.suffix in {".whl", ".zip", ".pk3"}:
        unpack_zip(archive, folder, wanted)
    elif archive.suffix == ".deb":
        _unpack_deb(archive, folder, wanted)
    else:
        with archive.open("rb") as stream:
            _unpack_tar(stream, folder, wanted, archive)


def unpack_zip(archive: Path, folder: Path, wanted: re.Pattern[str]) -> None:
    """Unpacks the members of a zip file that match a pattern; see :func:`unpack`."""
    try:
        with zipfile.ZipFile(archive) as members:
            for name in filter(wanted.search, members.namelist()):
                if not _inside(name):
                    raise _escape_error(archive, name)
                members.extract(name, folder)
    except (zipfile.BadZipFile, OSError) as error:
        raise _unreadable_error(archive, error) from error


def _unpack_deb(archive: Path, folder: Path, wanted: re.Pattern[str]) -> None:
    try:
        process = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(archive)], stdout=subprocess.PIPE)
    except FileNotFoundError:
        raise Precondition("unpacking a Debian package needs dpkg-deb, which was not found: install dpkg") from None
    with process:
        assert process.stdout is not None
        _unpack_tar(process.stdout, folder, wanted, archive)
    if process.returncode:
        raise _unreadable_error(archive, f"dpkg-deb ended with {process.returncode}")


def _unpack_tar(stream: IO[bytes], folder: Path, wanted: re.Pattern[str], archive: Path) -> None:
    try:
        with tarfile.open(fileobj=stream, mode="r|*") as members:
            for member in members:
                if not wanted.search(member.name):
                    continue
                if not _inside(member.name):
                    raise _escape_error(archive, member.name)
                members.extract(member, folder, filter="data")
    except tarfile.FilterError as error:  # a link that leaves the folder, a device
        raise _escape_error(archive, error.tarinfo.name) from error
    except (tarfile.TarError, OSError) as error:
        raise _unreadable_error(archive, error) from error


def _inside(name: str) -> bool:
    path = PurePosixPath(name.replace("\\", "/"))
    return not path.is_absolute() and ".." not in path.parts and not any(":" in part for part in path.parts[:1])


def _escape_error(archive: Path, name: str) -> MediaError:
    return MediaError(f"members of {archive.name} must stay inside its folder, but {name!r} would not: do not use it")


def _unreadable_error(archive: Path, why: object) -> MediaError:
    return MediaError(f"{archive.name} cannot be unpacked ({why}): delete it, and it is fetched again")


@dataclass(frozen=True)
class CatSound:
    """One sound of a ``.cat`` file: its title (which states author and licence) and its RIFF bytes."""

    number: int
    title: str
    data: bytes


def read_cat(path: Path) -> list[CatSound]:
    """Reads OpenTTD's sound set in its newer format.

    A table of (offset, size) pairs of little-endian uint32 (high bit of the offset set: new format; the first offset
    is also the table's length); at each offset one length byte, the title in Latin-1 with a final zero, then a RIFF
    file of ``size`` bytes. Source: OpenTTD, ``src/sound.cpp``.

    Raises:
        MediaError: the table points outside the file, or the format is another one.
    """
    data = path.read_bytes()
    sounds = []
    try:
        (first,) = struct.unpack_from("<I", data)
        if not first >> 31:
            raise MediaError(f"{path.name} should be a sound set in OpenTTD's new format, found the old one")
        for number in range((first & _HIGH_BIT) // 8):
            offset, size = struct.unpack_from("<II", data, 8 * number)
            offset &= _HIGH_BIT
            start = offset + 1 + data[offset]
            title = data[offset + 1 : start].rstrip(b"\0").decode("latin-1")
            sound = data[start : start + size]
            if len(sound) != size or sound[:4] != b"RIFF":
                raise MediaError(f"sound {number} of {path.name} should be a RIFF file of {size} bytes: it is damaged")
            sounds.append(CatSound(number, title, sound))
    except (struct.error, IndexError) as error:
        raise MediaError(f"the table of {path.name} points outside the file: it is damaged") from error
    return sounds
