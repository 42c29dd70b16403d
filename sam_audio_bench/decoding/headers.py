"""Headers of audio and video files: format, declared length, and detection of truncated files.

Decoders treat a truncated file as a shorter one. Hence the outermost structure is compared with the file size: the
chunks of WAV, RF64, W64, AIFF, CAF and AVI (EBU Tech 3285 and 3306; Apple, AIFF 1.3 and CAF 1.0), the pages of Ogg (RFC
3533), the segment of Matroska (RFC 9559), the boxes of mp4 (ISO/IEC 14496-12), the tags of FLV, and the Xing header of
MP3. If a second recording follows the first, decoders read only the first: such a file is rejected, except for an MP3
or a FLAC that continues, which is read to its end.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from sam_audio_bench.decoding.frames import flac_frame_beyond, mp3_frames

__all__ = ["Header", "read_header"]

_BOXES = (b"ftyp", b"moov", b"mdat", b"moof", b"free", b"skip", b"wide", b"styp", b"sidx")
_W64 = bytes.fromhex("f3acd3118cd100c04f8edb8a")  # follows the four letters of a chunk
_RIFF_W64 = bytes.fromhex("2e91cf11a5d628db04c10000")
_SEGMENT = bytes.fromhex("18538067")
_FFMPEG = (  # first bytes of formats that libsndfile does not support
    bytes.fromhex("1a45dfa3"), b"FLV\x01", bytes.fromhex("3026b2758e66cf11"), bytes.fromhex("000001ba"), b"\x47",
)  # fmt: skip
_FLAC = tuple(b"fLaC" + last + b"\0\0\x22" for last in (b"\0", b"\x80"))  # with the header of its first block
_BLOCK = 2**20  # bytes per block of the search
_OGG_HEAD = struct.Struct("<4sBBqIIIB")
_OGG_FIRST, _OGG_LAST = 2, 4
_REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass(frozen=True, slots=True)
class Header:
    """Properties of a file by its header."""

    ffmpeg_first: bool = False  # whether FFmpeg is tried before libsndfile
    is_truncated: bool = False  # whether the file ends early
    length_known: bool = True  # False: written to a pipe, it does not declare its length
    has_frame_count: bool = False  # whether an MP3 declares its number of frames, without which libsndfile guesses
    samples: int | None = None  # per channel, if a block codec declares them separately
    correction: tuple[int, bytes] | None = None  # position and bytes of a correction that both libraries need
    remark: str = ""  # on an irregularity


def read_header(file: BinaryIO, *, search: bool = True) -> Header:
    """Reads the header of a seekable file, and moves its position; unknown formats have default values.

    Args:
        file: the file.
        search: also search beyond the header of an MP3 or FLAC, for which the whole file is read.
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
    """Reads headers of formats that may follow a tag, or that are identified by one byte."""
    if head[:4] == b"fLaC":
        return _flac(file, begin, size, search)
    if head[0] == 0xFF and head[1] & 0xE0 == 0xE0 and head[1] & 0x06:  # without a layer it is AAC
        return _mp3(file, begin, size, search)
    if head[0] == 0xFF and head[1] & 0xE0 == 0xE0:
        return Header(ffmpeg_first=True)
    return Header(ffmpeg_first=head.startswith(_FFMPEG))


def _reject_second_recording(*, second: bool) -> None:
    """Raises ValueError if a file has a ``second`` recording."""
    if second:
        raise ValueError("several recordings, one behind the other, of which players give the first one alone")


def _flac(file: BinaryIO, begin: int, size: int, search: bool) -> Header:
    total = int.from_bytes(_bytes(file, begin + 21, 5), "big") & (1 << 36) - 1
    for at in range(begin + 4, size if search else 0, _BLOCK):
        block = _bytes(file, at, _BLOCK + len(_FLAC[0]))
        _reject_second_recording(second=any(head in block for head in _FLAC))
    if search and total and flac_frame_beyond(file, begin, size, total):
        return Header(ffmpeg_first=True, remark=f"its header counts {total} samples, and more are there; {_TO_ITS_END}")
    return Header(ffmpeg_first=not total, length_known=total > 0)


_TO_ITS_END = "it was read to its end"


def _bytes(file: BinaryIO, at: int, count: int) -> bytes:
    """Returns bytes at a position, zeros after the end."""
    file.seek(at)
    return file.read(count).ljust(count, b"\0")


def _syncsafe(four: bytes) -> int:
    return sum((byte & 0x7F) << 7 * place for place, byte in enumerate(reversed(four)))


def _mp3(file: BinaryIO, begin: int, size: int, search: bool) -> Header:
    """Reads the header of an MP3, whose first frame may declare the number and bytes of the others (Xing)."""
    head = _bytes(file, begin, 64)
    at = max(head.find(b"Xing"), head.find(b"Info"))
    flags = head[at + 7] if at > 0 else 0
    found = mp3_frames(file, begin, size) if search and flags & 1 else None
    if found is None:
        counts = not search and bool(flags & 1)
        return Header(ffmpeg_first=not counts, has_frame_count=counts)
    declared, count = int.from_bytes(_bytes(file, begin + at + 8, 4), "big"), found.frames - 1
    if count <= declared:
        return Header(has_frame_count=True)
    if not found.is_uniform:  # which FFmpeg detects and reports
        return Header(ffmpeg_first=True)
    true = count.to_bytes(4, "big") + ((found.end - begin).to_bytes(4, "big") if flags & 2 else b"")
    return Header(
        has_frame_count=True,
        correction=(begin + at + 8, true),
        remark=f"its header counts {declared} frames, and {count} are there; {_TO_ITS_END}",
    )


def _mp4(file: BinaryIO, size: int) -> Header:
    boxes = list(_boxes(file, size))
    _reject_second_recording(second=[kind for kind, _ in boxes].count(b"moov") > 1)
    return Header(ffmpeg_first=True, is_truncated=max((end for _, end in boxes), default=0) > size)


def _boxes(file: BinaryIO, size: int) -> Iterator[tuple[bytes, int]]:
    """Yields names and ends of the outermost boxes of an mp4."""
    at = 0
    while at + 8 <= size:
        length, kind = struct.unpack(">I4s", _bytes(file, at, 8))
        if length == 1:
            (length,) = struct.unpack(">Q", _bytes(file, at + 8, 8))
        if not kind.isalnum() or length < 8:  # extends to the end of the file, or is not a box
            return
        at += length
        yield kind, at


def _chunks(file: BinaryIO, size: int, form: str, at: int, pad: int) -> Iterator[tuple[bytes, int, int]]:
    """Yields names, starts and lengths of chunks whose headers have a ``struct`` format."""
    head = struct.calcsize(form)
    while at + head <= size:
        name, length = struct.unpack(form, _bytes(file, at, head))
        yield name, at + head, length
        at += head + length + (length & pad)


def _read_chunks(file: BinaryIO, size: int, form: str, at: int, names: tuple[bytes, ...]) -> Header:
    """Reads the header of a file whose audio is in a chunk with one of ``names``."""
    for name, begin, length in _chunks(file, size, form, at, 1):
        if name in names:
            known = not _is_undeclared(length) and length >> 24 != 0x7F  # SoX writes 0x7F000000 and more to pipes
            if known:
                _reject_following_audio(file, size, form, begin + length + length % 2, (*names, b"FORM"))
            return Header(is_truncated=known and begin + length > size, length_known=known)
    return Header()


def _riff(file: BinaryIO, size: int) -> Header:
    kind, declared, form = struct.unpack("<4sI4s", _bytes(file, 0, 12))
    if form == b"AVI ":  # long files continue in parts called AVIX
        other = _bytes(file, declared + 8, 12)
        _reject_second_recording(second=other[:4] == b"RIFF" and other[8:] == b"AVI ")
        return Header(ffmpeg_first=True, is_truncated=not _is_undeclared(declared) and declared + 8 > size)
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
            elif length == 0 and declared + 8 == size:
                return Header()  # declared to be empty
            if _is_undeclared(length) and begin < size:  # libsndfile reads no samples if it is 0
                true = (place, (size - begin).to_bytes(8, "little"))
                return Header(True, length_known=False, correction=true if place else None)
            behind = begin + length + length % 2
            _reject_following_audio(file, size, ">4sI" if kind == b"RIFX" else "<4sI", behind, (b"data", kind))
            return Header(is_truncated=begin + length > size, samples=samples or None)
    return Header()


def _reject_following_audio(
    file: BinaryIO, size: int, form: str, at: int, names: tuple[bytes, ...], pad: int = 1
) -> None:
    """Raises ValueError if another chunk of audio, or another file, follows."""
    for name, _, length in _chunks(file, size, form, at, pad):
        if length < 0 or not (name.isascii() and name.decode("ascii").isprintable()):
            return
        _reject_second_recording(second=name in names)


def _is_undeclared(length: int) -> bool:
    """Returns whether a length stands for an unknown one: 0, or close to the maximum of 31, 32 or 64 bits."""
    return length == 0 or 0x7FFFF000 <= length <= 0x80000000 or 0xFFFFFF00 <= length < 2**32 or length >= 2**62


def _aiff(file: BinaryIO, size: int) -> Header:
    return _read_chunks(file, size, ">4sI", 12, (b"SSND", b"BODY"))


def _w64(file: BinaryIO, size: int) -> Header:
    at = 40
    while at + 24 <= size:
        name, length = _bytes(file, at, 16), int.from_bytes(_bytes(file, at + 16, 8), "little")
        if name == b"data" + _W64:
            unstated = length <= 24 or length >= 2**62
            behind = at + (length + 7 & ~7)
            _reject_second_recording(second=not unstated and _bytes(file, behind, 16) in (name, b"riff" + _RIFF_W64))
            return Header(is_truncated=not unstated and at + length > size, length_known=not unstated)
        at += max(length + 7 & ~7, 24)
    return Header()


def _caf(file: BinaryIO, size: int) -> Header:
    for name, begin, length in _chunks(file, size, ">4sq", 8, 0):
        if name == b"data" or length < 0:
            if length >= 0:
                _reject_second_recording(second=_bytes(file, begin + length, 4) == b"caff")
                _reject_following_audio(file, size, ">4sq", begin + length, (b"data",), pad=0)
            return Header(is_truncated=begin + length > size, length_known=length >= 0)
    return Header()


def _au(file: BinaryIO, size: int) -> Header:
    begin, length = struct.unpack(">II", _bytes(file, 4, 8))
    _reject_second_recording(second=length != 0xFFFFFFFF and _bytes(file, begin + length, 4) == b".snd")
    return Header(is_truncated=length != 0xFFFFFFFF and begin + length > size, length_known=length != 0xFFFFFFFF)


def _matroska(file: BinaryIO, size: int) -> Header:
    """Reads the segment after the EBML header, which has the size of everything that follows, or an unknown one."""
    begin, length = _vint(file, 4)
    at = begin + (length or 0)
    if _bytes(file, at, 4) != _SEGMENT:
        return Header(ffmpeg_first=True)
    begin, length = _vint(file, at + 4)
    _reject_second_recording(second=length is not None and _bytes(file, begin + length, 4) == _bytes(file, 0, 4))
    return Header(ffmpeg_first=True, is_truncated=length is not None and begin + length > size)


def _vint(file: BinaryIO, at: int) -> tuple[int, int | None]:
    """Returns the start of an element's content, and its length; None if unknown."""
    raw = _bytes(file, at, 8)
    width = 9 - raw[0].bit_length()
    value = int.from_bytes(raw[:width], "big") & (1 << 7 * width) - 1
    return at + width, None if value == (1 << 7 * width) - 1 else value


def _flv(file: BinaryIO, size: int) -> Header:
    """Reads tags, whose lengths exclude the eleven bytes of their headers and the four after them."""
    at = int.from_bytes(_bytes(file, 5, 4), "big") + 4
    while at + 15 <= size:
        at += 15 + int.from_bytes(_bytes(file, at + 1, 3), "big")
    return Header(ffmpeg_first=True, is_truncated=size not in (at, at - 4))  # the last length may be missing


def _ogg(file: BinaryIO, size: int) -> Header:
    return Header(is_truncated=not _is_complete_ogg(file, size))


@dataclass(frozen=True, slots=True)
class _OggPage:
    flags: int
    stream: int
    number: int
    intact: bool


def _is_complete_ogg(file: BinaryIO, size: int) -> bool:
    """Returns whether every stream of an Ogg file has its last page.

    Decoders skip lost pages without an error.

    Raises:
        ValueError: a page in between is damaged or missing, or several recordings follow one another, of which
            libsndfile would read only the first.
    """
    numbers: dict[int, int] = {}
    ended: set[int] = set()
    begun = False
    for page in _ogg_pages(file, size):
        if page.flags & _OGG_FIRST:
            if begun:
                raise ValueError("several recordings, one behind the other, in an Ogg file")
        elif not page.intact or page.number != numbers.get(page.stream, -1) + 1:
            raise ValueError("an Ogg page that is damaged or missing")
        begun = begun or not page.flags & _OGG_FIRST
        numbers[page.stream] = page.number
        ended |= {page.stream} if page.flags & _OGG_LAST else set()
    return bool(numbers) and ended == set(numbers)


def _ogg_pages(file: BinaryIO, size: int) -> Iterator[_OggPage]:
    """Yields complete pages, up to anything else, such as a tag after the audio."""
    at = 0
    while at + _OGG_HEAD.size <= size:
        file.seek(at)
        head = file.read(_OGG_HEAD.size)
        capture, _, flags, _, stream, number, checksum, segments = _OGG_HEAD.unpack(head)
        lengths = file.read(segments)
        body = file.read(sum(lengths))
        end = at + _OGG_HEAD.size + segments + sum(lengths)
        if capture != b"OggS" or end > size:
            return
        page = head[:22] + bytes(4) + head[26:] + lengths + body
        yield _OggPage(flags, stream, number, _ogg_checksum(page) == checksum)
        at = end


def _ogg_checksum(page: bytes) -> int:
    """Computes the CRC-32 with generator 0x04c11db7, most significant bit first: zlib's, with reversed bits."""
    found = zlib.crc32(page.translate(_REVERSED_BITS), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{found:032b}"[::-1], 2)


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
