"""Processing of long signals in blocks, with temporary files instead of memory.

A signal of more than `LONG` values is stored in an unlinked, memory-mapped file: it is a tensor or array like any other,
but its memory can be reclaimed at any time. `iter_blocks` reclaims it on the way, so that two hours of stereo need no
more memory than a few blocks. Shorter signals stay in memory and are processed whole.

The files lie in the folder that TMPDIR names, else in /var/tmp, since /tmp may itself be in memory.
"""

from __future__ import annotations

import math
import mmap
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from weakref import WeakSet

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sam_audio_bench.errors import MediaError

__all__ = [
    "LONG",
    "BlockAccumulator",
    "all_finite",
    "apply_blockwise",
    "count_accessed",
    "has_sound",
    "is_long",
    "iter_blocks",
    "iter_blocks_if_long",
    "scratch_folder",
    "stack_signals",
]

LONG = 1 << 23
"""Values, 32 MiB in float32: a minute and a half of stereo. Above it a sound lies in a file."""

_BLOCK = 1 << 20  # values that are handled at once
_MOST_ACCESSED = 1 << 25  # values that may have been touched before the memory is given back: 128 MiB
_mapped: WeakSet[mmap.mmap] = WeakSet()
_lock = threading.Lock()
_accessed = 0  # values since memory was given back


def is_long(*signals: Tensor | NDArray[Any]) -> bool:
    """Whether one of them is handled in blocks."""
    return any(math.prod(signal.shape) > LONG for signal in signals)


def scratch_folder() -> Path:
    """Where the files of long sounds lie; TMPDIR decides."""
    if "TMPDIR" not in os.environ and os.access("/var/tmp", os.W_OK):
        return Path("/var/tmp")
    return Path(tempfile.gettempdir())


def count_accessed(values: int) -> None:
    """Counts values that were read or written, and now and then gives back the memory of all mapped files.

    Nothing is lost: what was written stays in the file, and what is read again comes from there.
    """
    global _accessed
    with _lock:
        _accessed += values
        if _accessed < _MOST_ACCESSED:
            return
        _accessed = 0
        files = list(_mapped)
    if hasattr(mmap, "MADV_DONTNEED"):
        for file in files:
            file.madvise(mmap.MADV_DONTNEED)


def iter_blocks(*signals: Tensor, size: int = 0) -> Iterator[tuple[Tensor, ...]]:
    """Views ``[..., part]`` of signals ``[..., time]`` of one length, one after another.

    Args:
        signals: the signals.
        size: values of a part of the first of them, all its leading dimensions together; 0: as many as are usual.
    """
    step = max(1, (size or _BLOCK) // max(1, signals[0][..., :1].numel()))
    for start in range(0, signals[0].shape[-1], step):
        found = tuple(signal[..., start : start + step] for signal in signals)
        yield found
        count_accessed(sum(part.numel() for part in found))


def iter_blocks_if_long(*signals: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The signals ``[..., time]`` themselves where they are short, else their `iter_blocks`: for sums over time."""
    return iter_blocks(*signals) if is_long(*signals) else iter([signals])


def apply_blockwise(function: Callable[..., Tensor], *signals: Tensor) -> Tensor:
    """``function`` of signals ``[channels, time]``, sample by sample: at once where they are short, else in parts.

    Args:
        function: gives ``[channels, time]`` on the CPU, whose samples depend on the samples at the same time only.
        signals: of one length.

    Raises:
        MediaError: there is no room for a long result.
    """
    if not is_long(*signals):
        return function(*signals)
    found: BlockAccumulator | None = None
    for some in iter_blocks(*signals):
        block = function(*some).numpy()
        found = BlockAccumulator(len(block)) if found is None else found
        found.append(block)
    assert found is not None
    return torch.from_numpy(found.to_array())


def stack_signals(signals: Sequence[Tensor]) -> Tensor:
    """Signals ``[channels, time]`` of one shape as ``[signals, channels, time]``; one alone is not copied."""
    if len(signals) == 1:
        return signals[0][None]
    if not is_long(*signals):
        return torch.stack(list(signals))
    found = apply_blockwise(lambda *some: torch.cat(some), *signals)
    return found.reshape(len(signals), -1, found.shape[-1])


def all_finite(signal: Tensor) -> bool:
    """Whether there is neither NaN nor infinity in ``[..., time]``."""
    return all(bool(torch.isfinite(part).all()) for (part,) in iter_blocks(signal))


def has_sound(signal: Tensor) -> bool:
    """Whether a sample of ``[..., time]`` is not zero."""
    return any(bool(part.any()) for (part,) in iter_blocks(signal))


class BlockAccumulator:
    """Blocks that become one array, in memory as long as they are few.

    Args:
        channels: rows of the array, and of each block.
    """

    def __init__(self, channels: int) -> None:
        self.length = 0
        self._channels = channels
        self._waiting: list[NDArray[Any]] = []
        self._pending = 0  # values that wait
        self._files: list[IO[bytes]] = []  # one a channel
        self.dtype: np.dtype[Any] = np.dtype(np.float32)  # of the last block

    def append(self, block: NDArray[Any]) -> None:
        """Adds ``[channels, time]``, of the type of those before; raises MediaError where there is no room."""
        self.dtype = block.dtype
        self._waiting.append(block)
        self.length += block.shape[1]
        self._pending += block.size
        if self._pending > (_BLOCK if self._files else LONG):
            self._write()

    def to_array(self) -> NDArray[Any]:
        """The array ``[channels, time]``; nothing can be added any more. Raises MediaError where there is no room."""
        if not self._files:
            if len(self._waiting) == 1:
                return self._waiting[0]
            return np.concatenate(self._waiting or [np.zeros((self._channels, 0), self.dtype)], axis=1)
        self._write()
        first, *others = self._files
        with _disk_space_errors(self.length * self._channels * self.dtype.itemsize):
            for file in others:
                file.seek(0)
                shutil.copyfileobj(file, first, _BLOCK)
                file.close()
            first.flush()
        with first:
            mapped = mmap.mmap(first.fileno(), 0)
        with _lock:
            _mapped.add(mapped)
        return np.frombuffer(mapped, self.dtype).reshape(self._channels, self.length)

    def _write(self) -> None:
        with _disk_space_errors(self.length * self._channels * self.dtype.itemsize):
            if not self._files:
                folder = scratch_folder()
                self._files = [tempfile.TemporaryFile(dir=folder) for _ in range(self._channels)]  # noqa: SIM115
            for row, file in enumerate(self._files):
                for block in self._waiting:
                    file.write(np.ascontiguousarray(block[row]).data)
        self._waiting, self._pending = [], 0


@contextmanager
def _disk_space_errors(size: int) -> Iterator[None]:
    """Says what to do where a long sound of so many bytes finds no room."""
    try:
        yield
    except OSError as error:
        folder = scratch_folder()
        raise MediaError(
            f"expected room in {folder} for a sound of {size >> 20} MiB and more, found {_free_space(folder)} "
            f"({error.strerror or error}); set TMPDIR to a folder that has it"
        ) from error


def _free_space(folder: Path) -> str:
    try:
        return f"{shutil.disk_usage(folder).free >> 20} MiB"
    except OSError:
        return "none"
