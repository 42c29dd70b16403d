"""Frames of MP3 (ISO/IEC 11172-3 and 13818-3) and FLAC (RFC 9639), for headers that declare fewer than there are.

Decoders rely on the declared number and return a shorter sound. Two concatenated files also look like that.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

__all__ = ["Frames", "flac_frame_beyond", "mp3_frames"]

_KBITS = {  # kbit/s by index, of MPEG-1 layer III, and of MPEG-2 and 2.5
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = (44100, 48000, 32000)  # Hz, of MPEG-1; those of MPEG-2 and 2.5 are a half and a quarter
_BLOCK = 2**16  # bytes per block of the search
_FLAC_TAIL = 2**21  # bytes at the end that contain the start of a FLAC frame: one of 2**16 samples is shorter


class Frames(NamedTuple):
    """Summary of the frames of an MP3."""

    frames: int  # number of complete frames, including one without audio that declares the number of the others
    end: int  # end of the last frame in bytes
    is_uniform: bool  # one rate and number of channels throughout


class _Frame(NamedTuple):
    length: int  # bytes
    kind: tuple[int, int, bool]  # version, rate, whether it is mono


def mp3_frames(file: BinaryIO, begin: int, size: int) -> Frames | None:
    """Scans the frames from ``begin`` on, skipping tags and other bytes between them; None if there are none."""
    count, end, kinds = 0, begin, set()
    for at, frame in _mp3_frames(file, begin, size):
        count, end = count + 1, at + frame.length
        kinds.add(frame.kind)
    return Frames(count, end, len(kinds) == 1) if count else None


def _mp3_frames(file: BinaryIO, at: int, size: int) -> Iterator[tuple[int, _Frame]]:
    while at + 4 <= size:
        file.seek(at)
        frame = _mp3_frame(file.read(4))
        if frame is None:
            found = _next_mp3_frame(file, at, size)
            if found is None:
                return
            at = found
            continue
        if at + frame.length <= size:
            yield at, frame
        at += frame.length


def _mp3_frame(head: bytes) -> _Frame | None:
    """Parses the header of a layer III frame; None if it is not one, or does not declare its bit rate."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return None
    version, index, rate = head[1] >> 3 & 3, head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or index in (0, 15) or rate == 3:
        return None
    first = version == 3
    hertz = _RATES[rate] // {3: 1, 2: 2, 0: 4}[version]
    length = (144 if first else 72) * _KBITS[first][index] * 1000 // hertz + (head[2] >> 1 & 1)
    return _Frame(length, (version, rate, head[3] >> 6 == 3))


def _next_mp3_frame(file: BinaryIO, at: int, size: int) -> int | None:
    """Finds the next position with two consecutive frames, or one frame at the end."""
    while at + 4 <= size:
        file.seek(at)
        block = file.read(_BLOCK)
        place = block.find(b"\xff")
        while 0 <= place < len(block) - 3:
            frame = _mp3_frame(block[place : place + 4])
            if frame is not None and _is_frame_or_end(file, at + place + frame.length, size):
                return at + place
            place = block.find(b"\xff", place + 1)
        at += max(len(block) - 3, 1)
    return None


def _is_frame_or_end(file: BinaryIO, at: int, size: int) -> bool:
    file.seek(at)
    return at == size or (at < size and _mp3_frame(file.read(4)) is not None)


def flac_frame_beyond(file: BinaryIO, begin: int, size: int, total: int) -> bool:
    """Returns whether one of the last frames of a FLAC, which begins at ``begin``, ends after ``total`` samples."""
    file.seek(begin + 8)
    smallest = int.from_bytes(file.read(2), "big")  # samples per frame except the last, if their number is fixed
    at, last = begin + 4, False
    while not last:
        file.seek(at)
        head = file.read(4)
        if len(head) < 4:
            return False
        last, at = bool(head[0] & 0x80), at + 4 + int.from_bytes(head[1:], "big")
    file.seek(at)
    first = file.read(4)
    if len(first) < 4 or first[0] != 0xFF or first[1] & 0xFE != 0xF8:
        return False
    tail = max(at, size - _FLAC_TAIL)
    file.seek(tail)
    content = file.read()
    place = content.find(first[:2])
    while place >= 0:
        head = content[place : place + 16]
        matches = head[3:4] == first[3:4] and head[2] & 15 == first[2] & 15
        if matches and _flac_end(head, 1 if first[1] & 1 else smallest) > total:
            return True
        place = content.find(first[:2], place + 1)
    return False


def _flac_end(head: bytes, unit: int) -> int:
    """Returns the end of a frame in samples, from its first 16 bytes; 0 if they are not a frame, by the CRC-8.

    Args:
        head: the bytes.
        unit: samples per unit of frame numbers.
    """
    if len(head) < 16:
        return 0
    ones = 8 - (head[4] ^ 0xFF).bit_length()  # number of bytes, encoded as in UTF-8
    if ones in (1, 8):
        return 0
    at = 4 + max(ones, 1)
    number = head[4] & 0x7F >> ones
    for byte in head[5:at]:
        number = number << 6 | byte & 0x3F
    code, rate = head[2] >> 4, head[2] & 15
    if code in (6, 7):
        samples, at = int.from_bytes(head[at : at + code - 5], "big") + 1, at + code - 5
    else:
        samples = 192 if code == 1 else 576 << code - 2 if code < 6 else 256 << code - 8
    at += {12: 1, 13: 2, 14: 2}.get(rate, 0)
    return number * unit + samples if code and _crc8(head[:at]) == head[at] else 0


def _crc8(content: bytes) -> int:
    value = 0
    for byte in content:
        value ^= byte
        for _ in range(8):
            value = (value << 1 ^ (0x07 if value & 0x80 else 0)) & 0xFF
    return value
