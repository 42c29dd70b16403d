"""What a file says of itself, read from its bytes: its format, and where it should end.

Decoders take a file that breaks off for a shorter one. So the outermost structure is compared with the size of the
file: the chunks of WAV, RF64, W64, AIFF, CAF and AVI (EBU Tech 3285 and 3306; Apple, AIFF 1.3 and CAF 1.0), the pages
of Ogg (RFC 3533), the segment of Matroska (RFC 9559), the boxes of mp4 (ISO/IEC 14496-12), the tags of FLV, and the
Xing header of MP3.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from sam_audio_bench.decoding.ogg import check_pages

__all__ = ["Header", "read_header"]

_BOXES = (b"ftyp", b"moov", b"mdat", b"moof", b"free", b"skip", b"wide", b"styp", b"sidx")
_W64 = bytes.fromhex("f3acd3118cd100c04f8edb8a")  # behind the four letters of a chunk
_SEGMENT = bytes.fromhex("18538067")
_FFMPEG = (  # first bytes of formats that libsndfile does not know
    bytes.fromhex("1a45dfa3"), b"FLV\x01", bytes.fromhex("3026b2758e66cf11"), bytes.fromhex("000001ba"), b"\x47",
)  # fmt: skip
_CONCATENATED = 1.0625  # times as many bytes as the header of an MP3 says: more than tags behind the sound


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself."""

    ffmpeg_first: bool = False  # which library is asked first
    breaks_off: bool = False  # the file ends before it should
    length_known: bool = True  # False: written to a pipe, it does not say where it should end
    counts_frames: bool = False  # an MP3 says how many it has, without which libsndfile guesses
    samples: int | None = None  # in each channel, where a codec of blocks has its own count
    correction: tuple[int, int] | None = None  # where a 64-bit length should stand that both libraries need, and which


def read_header(file: BinaryIO) -> Header:
    """The header of a seekable file, whose position is left anywhere; what is not known says nothing."""
    size = file.seek(0, 2)
    file.seek(0)
    head = file.read(16)
    if head[:4] in _READERS:
        return _READERS[head[:4]](file, size)
    if head[4:8] in _BOXES:
        return Header(ffmpeg_first=True, breaks_off=max(_boxes(file, size), default=0) > size)
    begin = 10 + _syncsafe(head[6:10]) if head[:3] == b"ID3" else 0
    file.seek(begin)
    return _unframed(file, file.read(16), begin, size)


def _unframed(file: BinaryIO, head: bytes, begin: int, size: int) -> Header:
    """Formats that may come behind a tag, or that are known by one byte."""
    if head[:4] == b"fLaC":
        known = int.from_bytes(_bytes(file, begin + 21, 5), "big") & (1 << 36) - 1 != 0
        return Header(ffmpeg_first=not known, length_known=known)
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:
        counts = head[1] & 0x06 != 0 and _counted(file, begin, size)  # without a layer it is AAC
        return Header(ffmpeg_first=not counts, counts_frames=counts)
    return Header(ffmpeg_first=head.startswith(_FFMPEG))


def _bytes(file: BinaryIO, at: int, count: int) -> bytes:
    """Bytes at a place, zeros behind the end."""
    file.seek(at)
    return file.read(count).ljust(count, b"\0")


def _syncsafe(four: bytes) -> int:
    return sum((byte & 0x7F) << 7 * place for place, byte in enumerate(reversed(four)))


def _counted(file: BinaryIO, begin: int, size: int) -> bool:
    """Whether an MP3 counts its frames, and holds no more than that."""
    head = _bytes(file, begin, 64)
    at = max(head.find(b"Xing"), head.find(b"Info"))
    flags = head[at + 7] if at > 0 else 0
    if flags & 3 != 3:
        return bool(flags & 1)
    told = int.from_bytes(_bytes(file, begin + at + 12, 4), "big")
    return size - begin <= told * _CONCATENATED + 4096


def _boxes(file: BinaryIO, size: int) -> Iterator[int]:
    """Ends of the outermost boxes of an mp4."""
    at = 0
    while at + 8 <= size:
        length, kind = struct.unpack(">I4s", _bytes(file, at, 8))
        if length == 1:
            (length,) = struct.unpack(">Q", _bytes(file, at + 8, 8))
        if not kind.isalnum() or length < 8:  # to the end of the file, or no box any more
            return
        at += length
        yield at


def _chunks(file: BinaryIO, size: int, form: str, at: int, pad: int) -> Iterator[tuple[bytes, int, int]]:
    """Names, beginnings and lengths of chunks whose heads have a ``struct`` format."""
    head = struct.calcsize(form)
    while at + head <= size:
        name, length = struct.unpack(form, _bytes(file, at, head))
        yield name, at + head, length
        at += head + length + (length & pad)


def _of_chunks(file: BinaryIO, size: int, form: str, at: int, names: tuple[bytes, ...]) -> Header:
    """A file whose sound is the chunk ``names``."""
    for name, begin, length in _chunks(file, size, form, at, 1):
        if name in names:
            known = not _unstated(length) and length >> 24 != 0x7F  # SoX writes 0x7F000000 and a little to pipes
            return Header(breaks_off=known and begin + length > size, length_known=known)
    return Header()


def _riff(file: BinaryIO, size: int) -> Header:
    kind, told, form = struct.unpack("<4sI4s", _bytes(file, 0, 12))
    if form == b"AVI ":
        return Header(ffmpeg_first=True, breaks_off=not _unstated(told) and told + 8 > size)
    samples, coded, long, place = None, False, 0, 0
    for name, begin, length in _chunks(file, size, ">4sI" if kind == b"RIFX" else "<4sI", 12, 1):
        if name == b"ds64":
            place, long = begin + 8, int.from_bytes(_bytes(file, begin + 8, 8), "little")
        elif name == b"fmt ":
            coded = int.from_bytes(_bytes(file, begin, 2), "little") not in (1, 3, 0xFFFE)
        elif name == b"fact" and coded:
            samples = int.from_bytes(_bytes(file, begin, 4), "little")
        elif name == b"data":
            if kind not in (b"RIFF", b"RIFX"):
                length = long if length == 0xFFFFFFFF else length
            elif length == 0 and told + 8 == size:
                return Header()  # no sound, and the file says so
            if _unstated(length) and begin < size:  # libsndfile takes 0 for silence
                return Header(True, length_known=False, correction=(place, size - begin) if place else None)
            return Header(breaks_off=begin + length > size, samples=samples or None)
    return Header()


def _unstated(length: int) -> bool:
    """Whether a length stands for one that was not known: 0, or nearly the most that 31, 32 or 64 bits hold."""
    return length == 0 or 0x7FFFF000 <= length <= 0x80000000 or 0xFFFFFF00 <= length < 2**32 or length >= 2**62


def _aiff(file: BinaryIO, size: int) -> Header:
    return _of_chunks(file, size, ">4sI", 12, (b"SSND", b"BODY"))


def _w64(file: BinaryIO, size: int) -> Header:
    at = 40
    while at + 24 <= size:
        name, length = _bytes(file, at, 16), int.from_bytes(_bytes(file, at + 16, 8), "little")
        if name == b"data" + _W64:
            unstated = length <= 24 or length >= 2**62
            return Header(breaks_off=not unstated and at + length > size, length_known=not unstated)
        at += max(length + 7 & ~7, 24)
    return Header()


def _caf(file: BinaryIO, size: int) -> Header:
    for name, begin, length in _chunks(file, size, ">4sq", 8, 0):
        if name == b"data" or length < 0:
            return Header(breaks_off=begin + length > size, length_known=length >= 0)
    return Header()


def _au(file: BinaryIO, size: int) -> Header:
    begin, length = struct.unpack(">II", _bytes(file, 4, 8))
    return Header(breaks_off=length != 0xFFFFFFFF and begin + length > size, length_known=length != 0xFFFFFFFF)


def _matroska(file: BinaryIO, size: int) -> Header:
    """The segment behind the EBML header has the size of all that follows, or one that is not known."""
    begin, length = _vint(file, 4)
    at = begin + (length or 0)
    if _bytes(file, at, 4) != _SEGMENT:
        return Header(ffmpeg_first=True)
    begin, length = _vint(file, at + 4)
    return Header(ffmpeg_first=True, breaks_off=length is not None and begin + length > size)


def _vint(file: BinaryIO, at: int) -> tuple[int, int | None]:
    """Where the content of an element begins, and its length; None: not known."""
    raw = _bytes(file, at, 8)
    width = 9 - raw[0].bit_length()
    value = int.from_bytes(raw[:width], "big") & (1 << 7 * width) - 1
    return at + width, None if value == (1 << 7 * width) - 1 else value


def _flv(file: BinaryIO, size: int) -> Header:
    """Tags, each with its length in front; eleven bytes of its head and four behind it are not counted."""
    at = int.from_bytes(_bytes(file, 5, 4), "big") + 4
    while at + 15 <= size:
        at += 15 + int.from_bytes(_bytes(file, at + 1, 3), "big")
    return Header(ffmpeg_first=True, breaks_off=size not in (at, at - 4))  # the last length may be missing


def _ogg(file: BinaryIO, size: int) -> Header:
    return Header(breaks_off=not check_pages(file, size))


_READERS: dict[bytes, Callable[[BinaryIO, int], Header]] = {
    **dict.fromkeys((b"RIFF", b"RIFX", b"RF64", b"BW64"), _riff),
    b"FORM": _aiff,
    b"riff": _w64,
    b"caff": _caf,
    b".snd": _au,
    b"OggS": _ogg,
    bytes.fromhex("1a45dfa3"): _matroska,
    b"FLV\x01": _flv,
}
