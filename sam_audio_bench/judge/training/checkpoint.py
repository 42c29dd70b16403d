"""Stores the state of a run atomically, so that an interrupted run resumes from the last complete state."""

from __future__ import annotations

import os
import pickle
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from sam_audio_bench.errors import StoreError
from sam_audio_bench.files import atomic_write

__all__ = ["NAME", "State", "read_state", "write_state"]

NAME = "checkpoint.pt"
"""Name of the checkpoint file in a run's folder."""


@dataclass(kw_only=True)
class State:
    """State of a run; random numbers depend only on seed and step, so that nothing else has to be stored.

    Attributes:
        fingerprint: digest of recipe, data and initial weights; a run with another one cannot resume.
        epoch: number of the current epoch, from 0.
        batch: steps done in this epoch.
        step: steps done.
        weights: trainable weights by name.
        average: moving average of the weights.
        optimizer: state of the optimizer.
        best: averaged weights of the best evaluation.
        best_score: SRCC of overall on held-out data in the best evaluation; None: not evaluated yet.
        stale: evaluations since the best one.
        looks: results of each evaluation on held-out data, in order; the name is that in the file.
    """

    fingerprint: str
    epoch: int = 0
    batch: int = 0
    step: int = 0
    weights: dict[str, Tensor] = field(default_factory=dict)
    average: dict[str, Tensor] = field(default_factory=dict)
    optimizer: dict[str, object] = field(default_factory=dict)
    best: dict[str, Tensor] = field(default_factory=dict)
    best_score: float | None = None
    stale: int = 0
    looks: list[dict[str, float]] = field(default_factory=list)


def write_state(folder: Path, state: State) -> None:
    """Writes the state of a run, atomically and flushed to disk."""
    with atomic_write(folder / NAME) as temporary, temporary.open("wb") as file:
        torch.save(vars(state), file)
        file.flush()
        os.fsync(file.fileno())


def read_state(folder: Path, fingerprint: str) -> State | None:
    """Reads the state of a run; returns None if there is none yet.

    Raises:
        StoreError: it is damaged, or belongs to another recipe, other data or other initial weights.
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
            f"expected the checkpoint at {path} to belong to this recipe, its data and its initial weights, found one "
            "of others; start in another folder, or restore them"
        )
    return state
