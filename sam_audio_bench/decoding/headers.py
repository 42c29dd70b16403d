"""What a file says of itself, read from its bytes: its format, and where it should end.

Decoders take a file that breaks off for a shorter one. So the outermost structure is compared with the size of the
file: the chunks of WAV, RF64, W64, AIFF, CAF and AVI (EBU Tech 3285 and 3306; Apple, AIFF 1.3 and CAF 1.0), the pages
of Ogg (RFC 3533), the segment of Matroska (RFC 9559), the boxes of mp4 (ISO/IEC 14496-12), the tags of FLV, and the
Xing header of MP3. Where a second recording stands behind the first, decoders read the first alone: such a file is
refused, but for an MP3 or a FLAC that goes on, which is read to its end.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from sam_audio_bench.decoding.frames import flac_frame_beyond, mp3_frames
from sam_audio_bench.decoding.ogg import check_pages

__all__ = ["Header", "read_header"]

_BOXES = (b"ftyp", b"moov", b"mdat", b"moof", b"free", b"skip", b"wide", b"styp", b"sidx")
_W64 = bytes.fromhex("f3acd3118cd100c04f8edb8a")  # behind the four letters of a chunk
_RIFF_W64 = bytes.fromhex("2e91cf11a5d628db04c10000")
_SEGMENT = bytes.fromhex("18538067")
_FFMPEG = (  # first bytes of formats that libsndfile does not know
    bytes.fromhex("1a45dfa3"), b"FLV\x01", bytes.fromhex("3026b2758e66cf11"), bytes.fromhex("000001ba"), b"\x47",
)  # fmt: skip
_FLAC = tuple(b"fLaC" + last + b"\0\0\x22" for last in (b"\0", b"\x80"))  # with the head of its first block
_BLOCK = 2**20  # bytes that are searched at once


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself."""

    ffmpeg_first: bool = False  # which library is asked first
    breaks_off: bool = False  # the file ends before it should
    length_known: bool = True  # False: written to a pipe, it does not say where it should end
    counts_frames: bool = False  # an MP3 says how many it has, without which libsndfile guesses
    samples: int | None = None  # in each channel, where a codec of blocks has its own count
    correction: tuple[int, bytes] | None = None  # where other bytes should stand that both libraries need, and which
    remark: str = ""  # what is said of it besides


def read_header(file: BinaryIO, *, search: bool = True) -> Header:
    """The header of a seekable file, whose position is left anywhere; what is not known says nothing.

    Args:
        file: the file.
        search: look behind the header of an MP3 or FLAC as well, for which all of it is read.
    """
    size = file.seek(0, 2)
    head = _bytes(file, 0, 16)
    if head[:4] in _READERS:
        return _READERS[head[:4]](file, size)
    if head[4:8] in _BOXES:
        return _mp4(file, size)
    begin = 0
    while head[:3] == b"ID3":
        begin += 10 + _syncsafe(head[6:10])
        head = _bytes(file, begin, 16)
    return _unframed(file, head, begin, size, search)


def _unframed(file: BinaryIO, head: bytes, begin: int, size: int, search: bool) -> Header:
    """Formats that may come behind a tag, or that are known by one byte."""
    if head[:4] == b"fLaC":
        return _flac(file, begin, size, search)
    if head[0] == 0xFF and head[1] & 0xE0 == 0xE0 and head[1] & 0x06:  # without a layer it is AAC
        return _mp3(file, begin, size, search)
    if head[0] == 0xFF and head[1] & 0xE0 == 0xE0:
        return Header(ffmpeg_first=True)
    return Header(ffmpeg_first=head.startswith(_FFMPEG))


def _alone(*, second: bool) -> None:
    """Raises ValueError for a file with a ``second`` recording."""
    if second:
        raise ValueError("several recordings, one behind the other, of which players give the first one alone")


def _flac(file: BinaryIO, begin: int, size: int, search: bool) -> Header:
    total = int.from_bytes(_bytes(file, begin + 21, 5), "big") & (1 << 36) - 1
    for at in range(begin + 4, size if search else 0, _BLOCK):
        block = _bytes(file, at, _BLOCK + len(_FLAC[0]))
        _alone(second=any(head in block for head in _FLAC))
    if search and total and flac_frame_beyond(file, begin, size, total):
        return Header(ffmpeg_first=True, remark=f"its header counts {total} samples, and more are there; {_TO_ITS_END}")
    return Header(ffmpeg_first=not total, length_known=total > 0)


_TO_ITS_END = "it was read to its end"


def _bytes(file: BinaryIO, at: int, count: int) -> bytes:
    """Bytes at a place, zeros behind the end."""
    file.seek(at)
    return file.read(count).ljust(count, b"\0")


def _syncsafe(four: bytes) -> int:
    return sum((byte & 0x7F) << 7 * place for place, byte in enumerate(reversed(four)))


def _mp3(file: BinaryIO, begin: int, size: int, search: bool) -> Header:
    """An MP3 whose first frame may count the others (Xing), and their bytes."""
    head = _bytes(file, begin, 64)
    at = max(head.find(b"Xing"), head.find(b"Info"))
    flags = head[at + 7] if at > 0 else 0
    found = mp3_frames(file, begin, size) if search and flags & 1 else None
    if found is None:
        counts = not search and bool(flags & 1)
        return Header(ffmpeg_first=not counts, counts_frames=counts)
    told, count = int.from_bytes(_bytes(file, begin + at + 8, 4), "big"), found.frames - 1
    if count <= told:
        return Header(counts_frames=True)
    if not found.alike:  # which FFmpeg finds, and tells
        return Header(ffmpeg_first=True)
    true = count.to_bytes(4, "big") + ((found.end - begin).to_bytes(4, "big") if flags & 2 else b"")
    return Header(
        counts_frames=True,
        correction=(begin + at + 8, true),
        remark=f"its header counts {told} frames, and {count} are there; {_TO_ITS_END}",
    )


def _mp4(file: BinaryIO, size: int) -> Header:
    boxes = list(_boxes(file, size))
    _alone(second=[kind for kind, _ in boxes].count(b"moov") > 1)
    return Header(ffmpeg_first=True, breaks_off=max((end for _, end in boxes), default=0) > size)


def _boxes(file: BinaryIO, size: int) -> Iterator[tuple[bytes, int]]:
    """Names and ends of the outermost boxes of an mp4."""
    at = 0
    while at + 8 <= size:
        length, kind = struct.unpack(">I4s", _bytes(file, at, 8))
        if length == 1:
            (length,) = struct.unpack(">Q", _bytes(file, at + 8, 8))
        if not kind.isalnum() or length < 8:  # to the end of the file, or no box any more
            return
        at += length
        yield kind, at


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
            if known:
                _check_behind(file, size, form, begin + length + length % 2, (*names, b"FORM"))
            return Header(breaks_off=known and begin + length > size, length_known=known)
    return Header()


def _riff(file: BinaryIO, size: int) -> Header:
    kind, told, form = struct.unpack("<4sI4s", _bytes(file, 0, 12))
    if form == b"AVI ":  # long ones go on in parts that are called AVIX
        other = _bytes(file, told + 8, 12)
        _alone(second=other[:4] == b"RIFF" and other[8:] == b"AVI ")
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
                true = (place, (size - begin).to_bytes(8, "little"))
                return Header(True, length_known=False, correction=true if place else None)
            behind = begin + length + length % 2
            _check_behind(file, size, ">4sI" if kind == b"RIFX" else "<4sI", behind, (b"data", kind))
            return Header(breaks_off=begin + length > size, samples=samples or None)
    return Header()


def _check_behind(file: BinaryIO, size: int, form: str, at: int, names: tuple[bytes, ...], pad: int = 1) -> None:
    """Refuses a file that has a chunk of sound, or a whole file, behind its own."""
    for name, _, length in _chunks(file, size, form, at, pad):
        if length < 0 or not (name.isascii() and name.decode("ascii").isprintable()):
            return
        _alone(second=name in names)


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
            behind = at + (length + 7 & ~7)
            _alone(second=not unstated and _bytes(file, behind, 16) in (name, b"riff" + _RIFF_W64))
            return Header(breaks_off=not unstated and at + length > size, length_known=not unstated)
        at += max(length + 7 & ~7, 24)
    return Header()


def _caf(file: BinaryIO, size: int) -> Header:
    for name, begin, length in _chunks(file, size, ">4sq", 8, 0):
        if name == b"data" or length < 0:
            if length >= 0:
                _alone(second=_bytes(file, begin + length, 4) == b"caff")
                _check_behind(file, size, ">4sq", begin + length, (b"data",), pad=0)
            return Header(breaks_off=begin + length > size, length_known=length >= 0)
    return Header()


def _au(file: BinaryIO, size: int) -> Header:
    begin, length = struct.unpack(">II", _bytes(file, 4, 8))
    _alone(second=length != 0xFFFFFFFF and _bytes(file, begin + length, 4) == b".snd")
    return Header(breaks_off=length != 0xFFFFFFFF and begin + length > size, length_known=length != 0xFFFFFFFF)


def _matroska(file: BinaryIO, size: int) -> Header:
    """The segment behind the EBML header has the size of all that follows, or one that is not known."""
    begin, length = _vint(file, 4)
    at = begin + (length or 0)
    if _bytes(file, at, 4) != _SEGMENT:
        return Header(ffmpeg_first=True)
    begin, length = _vint(file, at + 4)
    _alone(second=length is not None and _bytes(file, begin + length, 4) == _bytes(file, 0, 4))
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
