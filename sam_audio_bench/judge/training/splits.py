"""Which answers are learned from and which are held out: by recording and by system, without a leak.

A judge that has heard a recording, or a system's kind of fault, is no witness of how it does on new ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from sam_audio_bench.errors import UsageError
from sam_audio_bench.judge.training.examples import Examples, recordings_of

__all__ = ["check_leakage", "split"]

_SHOWN = 5  # names in a message


def split(
    examples: Examples, *, groups: float, systems: Sequence[str] = (), seed: int = 0
) -> tuple[Examples, Examples]:
    """Training and held-out examples of one set.

    Held out are all answers to a share of the recordings; a recording's side depends on its name, the seed and no
    other recording, so that more data move nothing. Mixtures of recordings of both sides are left out. Where
    ``systems`` are held out, training has none of their answers, and only they are kept of the held-out recordings:
    both are new, then.

    Raises:
        UsageError: an unknown system, or a side without rows.
    """
    rows = examples.rows
    unknown = [name for name in systems if name not in set(rows["system"])]
    if unknown:
        known = ", ".join(sorted(map(str, rows["system"].unique())))
        raise UsageError(f"expected data.hold_out_systems among {known}, found {', '.join(unknown)}")
    names = {str(name): recordings_of(name) for name in rows["group"].unique()}
    held_out = {one: _place(one, seed) < groups for some in names.values() for one in some}
    held = rows["group"].map({name: all(held_out[one] for one in some) for name, some in names.items()}).to_numpy(bool)
    free = rows["group"].map({name: not any(held_out[one] for one in some) for name, some in names.items()})
    away = rows["system"].isin(systems).to_numpy(bool)
    learned = free.to_numpy(bool) & ~away
    kept = held & away if systems else held
    if not learned.any() or not kept.any():
        raise UsageError(
            f"expected rows to learn from and rows to hold out, found {int(learned.sum())} and {int(kept.sum())} of "
            f"{len(held_out)} recordings; change data.hold_out_groups or name data.valid"
        )
    return examples.only(learned), examples.only(kept)


def check_leakage(learned: Examples, held: Examples, systems: Sequence[str] = ()) -> None:
    """Refuses held-out examples that share a recording with training, or training that has a held-out system.

    Names and the clips' own content count: a recording under two names is found by its bytes.

    Args:
        learned: examples that are trained on.
        held: those that are not.
        systems: that must not be in ``learned``.

    Raises:
        UsageError: with the names of what both have.
    """
    faults = []
    groups = sorted(_recordings(learned) & _recordings(held))
    if groups:
        faults.append(f"{len(groups)} recordings in both ({_some(groups)})")
    leaked = sorted(set(systems) & set(map(str, learned.rows["system"])))
    if leaked:
        faults.append(f"held-out systems in training ({_some(leaked)})")
    ours, theirs = (_mixtures(part) for part in (learned, held))
    if shared := sorted(ours.keys() & theirs.keys()) if not groups else []:
        pairs = [f"{ours[digest]} = {theirs[digest]}" for digest in shared]
        faults.append(f"{len(shared)} mixtures of equal content ({_some(pairs)})")
    if faults:
        raise UsageError(
            f"expected training and held-out data without anything in common, found {', '.join(faults)}; "
            "give them groups and systems of their own"
        )


def _recordings(examples: Examples) -> set[str]:
    return {one for group in examples.rows["group"].unique() for one in recordings_of(group)}


def _mixtures(examples: Examples) -> dict[str, str]:
    """Names of the mixtures by the digest of their bytes."""
    firsts = examples.rows.drop_duplicates("mixture")
    return {
        examples.clips[place].digest(): str(item) for place, item in zip(firsts["mixture"], firsts["item"], strict=True)
    }


def _place(name: str, seed: int) -> float:
    """A number in [0, 1) that a name and a seed decide."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return int.from_bytes(digest[:8]) / 2**64


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
