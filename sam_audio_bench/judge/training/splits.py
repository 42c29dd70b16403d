"""Splits examples into training and held-out ones by recording and by system, without leakage.

A judge must be evaluated on recordings and systems that it was not trained on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from sam_audio_bench.errors import UsageError
from sam_audio_bench.judge.training.examples import Examples, split_recordings

__all__ = ["check_leakage", "split"]

_SHOWN = 5  # names in a message


def split(
    examples: Examples, *, groups: float, systems: Sequence[str] = (), seed: int = 0
) -> tuple[Examples, Examples]:
    """Splits one set into training and held-out examples.

    All estimates of a share of the recordings are held out. The split of a recording depends only on its name and the
    seed, so that more data do not change it. Mixtures with recordings of both splits are left out. If ``systems`` are
    held out, training has none of their estimates, and only theirs are kept of the held-out recordings, so that both
    are new. The training examples record how many rows were left out, and why.

    Raises:
        UsageError: a system is unknown, or a split is empty.
    """
    rows = examples.rows
    unknown = [name for name in systems if name not in set(rows["system"])]
    if unknown:
        known = ", ".join(sorted(map(str, rows["system"].unique())))
        raise UsageError(f"expected data.hold_out_systems among {known}, found {', '.join(unknown)}")
    names = {str(name): split_recordings(name) for name in rows["group"].unique()}
    held_out = {one: _hash_fraction(one, seed) < groups for some in names.values() for one in some}
    held = rows["group"].map({name: all(held_out[one] for one in some) for name, some in names.items()}).to_numpy(bool)
    apart = {name: not any(held_out[one] for one in some) for name, some in names.items()}
    free = rows["group"].map(apart).to_numpy(bool)
    away = rows["system"].isin(systems).to_numpy(bool)
    used = free & ~away
    kept = held & away if systems else held
    if not used.any() or not kept.any():
        raise UsageError(
            f"expected training rows and held-out rows, found {int(used.sum())} and {int(kept.sum())} of "
            f"{len(held_out)} recordings; change data.hold_out_groups or name data.valid"
        )
    training = examples.only(used)
    for reason, there in {
        "answers to mixtures of a recording that is trained on and one that is held out": ~(held | free),
        "answers of held-out systems to recordings that are trained on": free & away,
        "answers of other systems to held-out recordings": held & ~kept,
    }.items():
        training = training.with_dropped(reason, int(there.sum()))
    return training, replace(examples.only(kept), dropped={})


def check_leakage(training: Examples, held: Examples, systems: Sequence[str] = ()) -> None:
    """Checks that training and held-out examples share no recording, and that no held-out system is in training.

    Names and contents of the clips are compared: the same recording under two names is found by its bytes.

    Args:
        training: training examples.
        held: held-out examples.
        systems: systems that must not be in ``training``.

    Raises:
        UsageError: they overlap; states in what.
    """
    faults = []
    groups = sorted(_recordings(training) & _recordings(held))
    if groups:
        faults.append(f"{len(groups)} recordings in both ({_shortened(groups)})")
    leaked = sorted(set(systems) & set(map(str, training.rows["system"])))
    if leaked:
        faults.append(f"held-out systems in training ({_shortened(leaked)})")
    ours, theirs = (_mixtures(part) for part in (training, held))
    if shared := sorted(ours.keys() & theirs.keys()) if not groups else []:
        pairs = [f"{ours[digest]} = {theirs[digest]}" for digest in shared]
        faults.append(f"{len(shared)} mixtures of equal content ({_shortened(pairs)})")
    if faults:
        raise UsageError(
            f"expected training and held-out data that do not overlap, found {', '.join(faults)}; "
            "give them separate groups and systems"
        )


def _recordings(examples: Examples) -> set[str]:
    return {one for group in examples.rows["group"].unique() for one in split_recordings(group)}


def _mixtures(examples: Examples) -> dict[str, str]:
    """Returns the names of the mixtures by digests of their bytes."""
    firsts = examples.rows.drop_duplicates("mixture")
    return {
        examples.clips[place].digest(): str(item) for place, item in zip(firsts["mixture"], firsts["item"], strict=True)
    }


def _hash_fraction(name: str, seed: int) -> float:
    """Returns a pseudo-random number in [0, 1) from a name and a seed."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return int.from_bytes(digest[:8]) / 2**64


def _shortened(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
