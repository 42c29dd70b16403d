"""The pages of an Ogg file (RFC 3533), which decoders that lose some of them go on without."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

__all__ = ["check_pages"]

_HEAD = struct.Struct("<4sBBqIIIB")
_FIRST, _LAST = 2, 4
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass(frozen=True, slots=True)
class _Page:
    flags: int
    stream: int
    number: int
    intact: bool


def check_pages(file: BinaryIO, size: int) -> bool:
    """Whether every stream of an Ogg file has its last page.

    Raises:
        ValueError: a page in between is damaged or missing, or several recordings stand one behind the other, of which
            libsndfile would read the first one alone.
    """
    numbers: dict[int, int] = {}
    ended: set[int] = set()
    begun = False
    for page in _pages(file, size):
        if page.flags & _FIRST:
            if begun:
                raise ValueError("several recordings, one behind the other, in an Ogg file")
        elif not page.intact or page.number != numbers.get(page.stream, -1) + 1:
            raise ValueError("an Ogg page that is damaged or missing")
        begun = begun or not page.flags & _FIRST
        numbers[page.stream] = page.number
        ended |= {page.stream} if page.flags & _LAST else set()
    return bool(numbers) and ended == set(numbers)


def _pages(file: BinaryIO, size: int) -> Iterator[_Page]:
    """The pages that are there whole, up to something else, such as a tag behind the sound."""
    at = 0
    while at + _HEAD.size <= size:
        file.seek(at)
        head = file.read(_HEAD.size)
        capture, _, flags, _, stream, number, told, segments = _HEAD.unpack(head)
        lengths = file.read(segments)
        body = file.read(sum(lengths))
        end = at + _HEAD.size + segments + sum(lengths)
        if capture != b"OggS" or end > size:
            return
        page = head[:22] + bytes(4) + head[26:] + lengths + body
        yield _Page(flags, stream, number, _checksum(page) == told)
        at = end


def _checksum(page: bytes) -> int:
    """CRC-32 with the generator 0x04c11db7, most significant bit first: zlib's, with the bits of all bytes reversed."""
    found = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{found:032b}"[::-1], 2)
