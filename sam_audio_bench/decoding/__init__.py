"""Decoding of audio and video files: chooses the library, and checks that files are complete.

    headers     format and declared length of a file, from its header
    frames      detects MP3 and FLAC files that contain more than their headers declare
    formats     formats that FFmpeg may open, selection of the stream, common time origin of audio and video
    libsndfile  reads audio files by libsndfile
    ffmpeg      reads containers by FFmpeg

The format is determined from the content, not from the file name. If the preferred library cannot open a file, the
other one is tried. Memory is not allocated by what a header declares: decoding is block by block, and the decoded
length is compared with the declared one.
"""

from __future__ import annotations

import io
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from sam_audio_bench.decoding import ffmpeg, libsndfile
from sam_audio_bench.decoding.formats import Decoded, UnknownFormatError, media_errors, truncated_file_error
from sam_audio_bench.decoding.headers import Header, read_header
from sam_audio_bench.errors import MediaError

__all__ = ["READER_VERSION", "Decoded", "check_complete", "declared_size", "decode"]

READER_VERSION = "3"
"""Version of the decoders, part of the identity of decoded audio: raised by changes after which the same file gives
other samples. 2: edit lists and time stamps of containers are respected. 3: what follows the frames declared by an MP3
or the samples declared by a FLAC is read; several recordings in one file are rejected."""

_SHORT = 1 << 20  # bytes: a quarter of an hour of speech in the most efficient codecs

_READERS = {"libsndfile": libsndfile.read, "FFmpeg": ffmpeg.read}


def decode(path: Path, *, start: float = 0.0, end: float | None = None, stream: BinaryIO | None = None) -> Decoded:
    """Decodes a file, or a part of it, at its own rate.

    Args:
        path: the file.
        start: start of the part in seconds.
        end: end of the part in seconds; None: the end of the file.
        stream: the content, seekable, if it is not at ``path``, which then only serves as a name.

    Raises:
        MediaError: neither library can read the file, it is damaged, or it ends before the part does.
    """
    header = _header(path, stream)
    if header.correction is not None:
        stream = _with_corrected_header(path, stream, *header.correction)
    reasons = []
    for library in ("FFmpeg", "libsndfile") if header.ffmpeg_first else ("libsndfile", "FFmpeg"):
        try:
            with media_errors(path):
                found = _READERS[library](path, stream or path, header, start, end)
        except UnknownFormatError as error:
            reasons.append(f"{library}: {error}")
            continue
        found = found.with_remarks(f"{path.name}: {header.remark}") if header.remark else found
        return found if header.length_known else found.with_remarks(_UNSTATED.format(path.name))
    if header.is_truncated:
        raise truncated_file_error(path)
    raise MediaError(
        f"expected an audio file that libsndfile can read at {path} (wav, flac, ogg, mp3, aiff) or a readable media "
        f"file (mp4, m4a, mkv, webm, mov, aac), found neither ({'; '.join(reasons)}): convert it to flac or mp4"
    )


def check_complete(path: Path) -> None:
    """Raises MediaError if a file is shorter than its header declares; nothing is decoded."""
    if _header(path).is_truncated:
        raise truncated_file_error(path)


def declared_size(path: Path) -> int | None:
    """Returns the number of values, channels times samples, that a file declares; nothing is decoded.

    None if it has too few bytes to be long, or does not declare it.
    """
    try:
        if path.stat().st_size < _SHORT:
            return None
        header = _header(path, search=False)
        readers = (ffmpeg, libsndfile) if header.ffmpeg_first else (libsndfile, ffmpeg)
        for reader in readers:
            with suppress(UnknownFormatError), media_errors(path):
                size: int | None = reader.declared_size(path)
                return size
    except (OSError, MediaError):  # reported when the file is read
        return None
    return None


def _header(path: Path, stream: BinaryIO | None = None, *, search: bool = True) -> Header:
    """Reads the header of a file; arguments and errors as in `decode` and `read_header`."""
    with media_errors(path):
        if stream is not None:
            return read_header(stream, search=search)
        with path.open("rb") as file:
            return read_header(file, search=search)


_UNSTATED = (
    "{}: its header does not say how long it is, as of a file that was written to a pipe; it was read to its end"
)


def _with_corrected_header(path: Path, stream: BinaryIO | None, at: int, true: bytes) -> BinaryIO:
    """Returns the content with bytes of its header replaced."""
    with media_errors(path):
        if stream is None:
            content = path.read_bytes()
        else:
            stream.seek(0)
            content = stream.read()
        return io.BytesIO(content[:at] + true + content[at + len(true) :])
