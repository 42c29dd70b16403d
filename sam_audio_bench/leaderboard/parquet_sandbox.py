"""Decodes an untrusted parquet file once, in a separate process with limits on memory and time.

The sizes stated in a file need not be true, and many encodings expand a few bytes to gigabytes, so that checking the
file itself is not enough. Run as a script, with the file as standard input and bytes and seconds as arguments, it exits
with code 0 if the file could be read or is damaged, and fails or is killed if reading exceeds the limits.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pyarrow
from pyarrow import parquet

__all__ = ["MEMORY", "SECONDS"]

MEMORY = 2 * 2**30  # bytes
SECONDS = 60
_PAGES = Path("/proc/self/statm")  # Linux: the first number counts pages of address space


def _limit(memory: int, seconds: int) -> None:
    """Limits memory and CPU time where the system can; elsewhere the parent process limits the time."""
    try:
        import resource
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    if _PAGES.exists():
        most = int(_PAGES.read_text().split()[0]) * resource.getpagesize() + memory
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _read() -> int:
    """Reads the table from standard input; returns the exit code."""
    try:
        with open(0, "rb") as file:
            texts = [one.name for one in parquet.read_schema(file) if pyarrow.types.is_string(one.type)]
            file.seek(0)
            parquet.ParquetFile(file, read_dictionary=texts).read(use_threads=False)
    except MemoryError:
        return 1
    except (pyarrow.ArrowException, OSError, ValueError):
        return 0  # the next reader reports what is wrong
    return 0


if __name__ == "__main__":
    _limit(*map(int, sys.argv[1:]))
    os._exit(_read())  # skips the shutdown of pyarrow's threads, which fails occasionally
