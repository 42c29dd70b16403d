"""The state of a run: written under another name and renamed, so that a killed run goes on from the last whole one."""

from __future__ import annotations

import os
import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sam_audio_bench.errors import StoreError
from sam_audio_bench.files import atomic_write

__all__ = ["NAME", "State", "read_state", "write_state"]

NAME = "checkpoint.pt"
"""Of the file in a run's folder."""


@dataclass(kw_only=True)
class State:
    """Where a run is. Random numbers are functions of seed and step, so that nothing else has to be kept.

    Attributes:
        fingerprint: of recipe, data and starting weights; another one cannot go on from here.
        epoch: number of the current epoch, from 0.
        batch: steps done in it.
        step: steps done.
        weights: that learn, by name.
        average: of them over the steps.
        optimizer: its state.
        best: the averaged weights of the best look.
        best_score: its SRCC of overall on held-out data; None: no look yet.
        stale: looks since then.
        looks: what each look found, in order.
    """

    fingerprint: str
    epoch: int = 0
    batch: int = 0
    step: int = 0
    weights: dict[str, Tensor] = field(default_factory=dict)
    average: dict[str, Tensor] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)
    best: dict[str, Tensor] = field(default_factory=dict)
    best_score: float | None = None
    stale: int = 0
    looks: list[dict[str, float]] = field(default_factory=list)


def write_state(folder: Path, state: State) -> None:
    """Writes the state of a run, atomically and down to the disk."""
    with atomic_write(folder / NAME) as temporary, temporary.open("wb") as file:
        torch.save(vars(state), file)
        file.flush()
        os.fsync(file.fileno())


def read_state(folder: Path, fingerprint: str) -> State | None:
    """The state of a run; None where there is none yet.

    Raises:
        StoreError: it is damaged, or of another recipe, other data or other starting weights.
    """
    path = folder / NAME
    if not path.is_file():
        return None
    try:
        state = State(**torch.load(path, map_location="cpu", weights_only=True))
    except (pickle.UnpicklingError, EOFError, RuntimeError, TypeError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())[:160]
        raise StoreError(f"expected a checkpoint at {path}, found a damaged one ({reason}); start anew") from error
    if state.fingerprint != fingerprint:
        raise StoreError(
            f"expected the checkpoint at {path} to be of this recipe, its data and its starting weights, found it is "
            "of others; start in another folder, or restore them"
        )
    return state
