"""Assigns whole groups to train and test, and whole classes to unseen, by hash and by design."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from sam_audio_bench.errors import StoreError
from sam_audio_bench.files import sha256

__all__ = ["TEST_SHARE", "check_splits", "split_groups"]

TEST_SHARE = 0.25
_MADE_OF_OTHERS = frozenset({"singing"})  # classes whose groups belong to other classes, which determine their split


def split_groups(rows: Iterable[tuple[str, str, str, str]]) -> dict[str, str]:
    """Assigns every group to a split.

    Args:
        rows: (label, group, package, side) of every clip; a side that is not empty is kept.

    Returns:
        Split of each group: "train", "test" or "unseen". For a class without fixed sides, the test set is one package
        if that has 15 to 40 % of the groups, else the quarter of the groups with the smallest hashes; a single group is
        used for training. Singing is in the split of the speech of the same voice.
    """
    sides: dict[str, str] = {}
    open_groups: dict[str, dict[str, str]] = defaultdict(dict)
    for label, group, package, side in rows:
        if side:
            sides[group] = side
        else:
            open_groups[label][group] = package
    for label in sorted(open_groups, key=lambda label: (label in _MADE_OF_OTHERS, label)):
        groups = {group: package for group, package in open_groups[label].items() if group not in sides}
        tests = _tests(groups)
        sides.update({group: "test" if group in tests else "train" for group in groups})
    return sides


def _tests(groups: dict[str, str]) -> set[str]:
    wanted = TEST_SHARE * len(groups)
    if len(groups) < 2:
        return set()
    sizes = Counter(groups.values())
    fitting = [name for name, size in sizes.items() if 0.6 * wanted <= size <= 1.6 * wanted]
    if fitting and len(sizes) > 1:
        package = min(fitting, key=lambda name: (abs(sizes[name] - wanted), sha256(name.encode())))
        return {group for group, name in groups.items() if name == package}
    ranked = sorted(groups, key=lambda group: sha256(group.encode()))
    return set(ranked[: max(1, round(wanted))])


def check_splits(rows: Sequence[tuple[str, str, str]]) -> None:
    """Checks (label, group, split) of every clip.

    Raises:
        StoreError: a group is in two splits, or a class is both seen and unseen.
    """
    for what, column in (("group", 1), ("class", 0)):
        places: dict[str, set[str]] = defaultdict(set)
        for row in rows:
            places[row[column]].add("unseen" if row[2] == "unseen" else "seen" if column == 0 else row[2])
        for name, splits in places.items():
            if len(splits) > 1:
                raise StoreError(f"{what} {name!r} should be in one split, found {' and '.join(sorted(splits))}")
