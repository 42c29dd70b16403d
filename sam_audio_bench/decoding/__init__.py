"""From the bytes of a sound or video file to samples: which library reads it, and whether it is all there.

    headers     what a file says of itself: its format, and where it should end
    frames      whether an MP3 or a FLAC holds more than it says
    formats     which formats FFmpeg may open, the stream that counts, the clock of sound and pictures
    samples     files of samples, by libsndfile
    packets     containers, by FFmpeg

A file is known by its content, not by its name. Where the library that is asked first cannot open it, the other one is
asked. Nothing is allocated because a header claims it: decoding goes block by block, and what came out is compared with
what the file says it holds.
"""

from __future__ import annotations

import io
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from sam_audio_bench.decoding import packets, samples
from sam_audio_bench.decoding.formats import Decoded, Unopened, broken_off, media_errors
from sam_audio_bench.decoding.headers import Header, read_header
from sam_audio_bench.errors import MediaError

__all__ = ["READING", "Decoded", "check_whole", "claimed_size", "decode"]

READING = "3"
"""Version of how files are read, a part of the identity of what is read from them: it is raised with a change after
which the same file gives other samples. 2: the edit lists and time stamps of containers count. 3: what follows behind
the frames that an MP3 or the samples that a FLAC counts is read; several recordings in a file are refused."""

_SHORT = 1 << 20  # bytes of a quarter of an hour of speech in the best codecs

_READERS = {"libsndfile": samples.read, "FFmpeg": packets.read}


def decode(path: Path, *, start: float = 0.0, end: float | None = None, stream: BinaryIO | None = None) -> Decoded:
    """Decodes a file, or a part of it, at its own rate.

    Args:
        path: the file.
        start: of the part, in seconds.
        end: of the part; None: the end of the file.
        stream: the content, seekable, where it does not lie at ``path``, which then only names it.

    Raises:
        MediaError: neither library can read the file, it is damaged, or it breaks off before the part ends.
    """
    header = _header(path, stream)
    if header.correction is not None:
        stream = _corrected(path, stream, *header.correction)
    reasons = []
    for library in ("FFmpeg", "libsndfile") if header.ffmpeg_first else ("libsndfile", "FFmpeg"):
        try:
            with media_errors(path):
                found = _READERS[library](path, stream or path, header, start, end)
        except Unopened as error:
            reasons.append(f"{library}: {error}")
            continue
        found = found.remarked(f"{path.name}: {header.remark}") if header.remark else found
        return found if header.length_known else found.remarked(_UNSTATED.format(path.name))
    if header.breaks_off:
        raise broken_off(path)
    raise MediaError(
        f"expected an audio file that libsndfile can read at {path} (wav, flac, ogg, mp3, aiff) or a readable media "
        f"file (mp4, m4a, mkv, webm, mov, aac), found neither ({'; '.join(reasons)}): convert it to flac or mp4"
    )


def check_whole(path: Path) -> None:
    """Raises MediaError for a file that ends before its header says; nothing is decoded."""
    if _header(path).breaks_off:
        raise broken_off(path)


def claimed_size(path: Path) -> int | None:
    """Values, channels times samples, that a file claims to hold; nothing is decoded.

    None where it has too few bytes to be long, or does not say.
    """
    try:
        if path.stat().st_size < _SHORT:
            return None
        header = _header(path, search=False)
        for claimed in (
            (packets.claimed, samples.claimed) if header.ffmpeg_first else (samples.claimed, packets.claimed)
        ):
            with suppress(Unopened), media_errors(path):
                return claimed(path)
    except (OSError, MediaError):  # reading it will say so
        return None
    return None


def _header(path: Path, stream: BinaryIO | None = None, *, search: bool = True) -> Header:
    """What a file says of itself; arguments and errors as in `decode` and `read_header`."""
    with media_errors(path):
        if stream is not None:
            return read_header(stream, search=search)
        with path.open("rb") as file:
            return read_header(file, search=search)


_UNSTATED = (
    "{}: its header does not say how long it is, as of a file that was written to a pipe; it was read to its end"
)


def _corrected(path: Path, stream: BinaryIO | None, at: int, true: bytes) -> BinaryIO:
    """The content with other bytes in its header."""
    with media_errors(path):
        if stream is None:
            content = path.read_bytes()
        else:
            stream.seek(0)
            content = stream.read()
        return io.BytesIO(content[:at] + true + content[at + len(true) :])
