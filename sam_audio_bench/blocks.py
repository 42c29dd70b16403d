"""Processing of long signals in blocks, with temporary files instead of memory.

A signal of more than `LONG` values is stored in an unlinked, memory-mapped file: it is a tensor or array like any
other, but its memory can be reclaimed at any time. `iter_blocks` reclaims it on the way, so that two hours of stereo
need no more memory than a few blocks. Shorter signals stay in memory and are processed whole.

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
"""Number of values above which a signal is stored in a file: 32 MiB in float32, a minute and a half of stereo."""

_BLOCK = 1 << 20  # values per block
_MOST_ACCESSED = 1 << 25  # values that may be accessed before memory is reclaimed: 128 MiB
_mapped: WeakSet[mmap.mmap] = WeakSet()
_lock = threading.Lock()
_accessed = 0  # values since memory was last reclaimed


def is_long(*signals: Tensor | NDArray[Any]) -> bool:
    """Whether any of the signals is long enough to be processed in blocks."""
    return any(math.prod(signal.shape) > LONG for signal in signals)


def scratch_folder() -> Path:
    """Returns the folder for the files of long signals: TMPDIR if set, else /var/tmp if writable."""
    if "TMPDIR" not in os.environ and os.access("/var/tmp", os.W_OK):
        return Path("/var/tmp")
    return Path(tempfile.gettempdir())


def count_accessed(values: int) -> None:
    """Counts values that were read or written, and reclaims the memory of all mapped files once they are many.

    Nothing is lost: written values stay in the file and are read from there again.
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
    """Yields consecutive views ``[..., block]`` of signals ``[..., time]`` of equal length.

    Args:
        signals: the signals.
        size: values per block of the first signal, over all its leading dimensions; 0: the default.
    """
    step = max(1, (size or _BLOCK) // max(1, signals[0][..., :1].numel()))
    for start in range(0, signals[0].shape[-1], step):
        found = tuple(signal[..., start : start + step] for signal in signals)
        yield found
        count_accessed(sum(part.numel() for part in found))


def iter_blocks_if_long(*signals: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Yields the signals ``[..., time]`` themselves if they are short, else their blocks: for sums over time."""
    return iter_blocks(*signals) if is_long(*signals) else iter([signals])


def apply_blockwise(function: Callable[..., Tensor], *signals: Tensor) -> Tensor:
    """Applies a pointwise ``function`` to signals ``[channels, time]``: in one call if they are short, else in blocks.

    Args:
        function: returns ``[channels, time]`` on the CPU; each sample depends only on the input samples at that time.
        signals: of equal length.

    Raises:
        MediaError: the disk has no room for a long result.
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
    """Stacks signals ``[channels, time]`` to ``[signals, channels, time]``; a single signal is not copied."""
    if len(signals) == 1:
        return signals[0][None]
    if not is_long(*signals):
        return torch.stack(list(signals))
    found = apply_blockwise(lambda *some: torch.cat(some), *signals)
    return found.reshape(len(signals), -1, found.shape[-1])


def all_finite(signal: Tensor) -> bool:
    """Whether ``[..., time]`` has neither NaN nor infinity."""
    return all(bool(torch.isfinite(part).all()) for (part,) in iter_blocks(signal))


def has_sound(signal: Tensor) -> bool:
    """Whether any sample of ``[..., time]`` is not zero."""
    return any(bool(part.any()) for (part,) in iter_blocks(signal))


class BlockAccumulator:
    """Concatenates blocks to one array, in memory if it is short, else in a memory-mapped file.

    Args:
        channels: rows of the array and of each block.
    """

    def __init__(self, channels: int) -> None:
        self.length = 0
        self._channels = channels
        self._waiting: list[NDArray[Any]] = []
        self._pending = 0  # values not yet written
        self._files: list[IO[bytes]] = []  # one per channel
        self.dtype: np.dtype[Any] = np.dtype(np.float32)  # of the last block

    def append(self, block: NDArray[Any]) -> None:
        """Appends a block ``[channels, time]`` of the same dtype as before; raises MediaError if the disk is full."""
        self.dtype = block.dtype
        self._waiting.append(block)
        self.length += block.shape[1]
        self._pending += block.size
        if self._pending > (_BLOCK if self._files else LONG):
            self._write()

    def to_array(self) -> NDArray[Any]:
        """Returns the array ``[channels, time]`` and ends appending; raises MediaError if the disk is full."""
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
    """Turns an OSError while a signal of ``size`` bytes is written into a MediaError that suggests TMPDIR."""
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
