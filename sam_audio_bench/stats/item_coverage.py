"""How much of a task a system has answered: means over other items are not comparable, and the tables must say so.

Videos vanish, so 41 answers to 50 items are normal. Systems are ranked by class, and compared on common items only.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum

__all__ = ["Coverage", "common_items", "coverage_class", "coverage_rank", "coverage_text"]


class Coverage(StrEnum):
    """Class of a system's coverage of a task, the best first."""

    COMPLETE = "complete"
    NEARLY = "≥ 90 %"
    PARTIAL = "partial"

    @property
    def rank(self) -> int:
        """0 for the best."""
        return list(Coverage).index(self)


def coverage_class(answered: int, items: int) -> Coverage:
    """The class of ``answered`` of the ``items`` that a task has.

    >>> [coverage_class(answered, 50).value for answered in (50, 49, 45, 44, 0)]
    ['complete', '≥ 90 %', '≥ 90 %', 'partial', 'partial']
    """
    if answered >= items > 0:
        return Coverage.COMPLETE
    return Coverage.NEARLY if items > 0 and 10 * answered >= 9 * items else Coverage.PARTIAL


def coverage_rank(coverage: str) -> int:
    """Place of a class among the classes, 0 for the best; what is not known takes nobody's place."""
    return Coverage(coverage).rank if coverage else 0


def coverage_text(answered: int, items: int, missing_media: int = 0) -> str:
    """The coverage for readers.

    >>> coverage_text(50, 50), coverage_text(41, 50, 9)
    ('all 50 items', '41 of 50 items (partial, 9 without media)')
    """
    found = coverage_class(answered, items)
    if found is Coverage.COMPLETE:
        return f"all {items} items"
    without = f", {missing_media} without media" if missing_media else ""
    return f"{answered} of {items} items ({found}{without})"


def common_items(answered: Mapping[str, Collection[str]], items: int) -> dict[str, frozenset[str]]:
    """For each system the items that it is compared on: those that every system of its class has answered.

    A system without any answer is compared with nobody, and takes nothing from the others.

    Args:
        answered: system -> the items that it has answered.
        items: how many the task has.

    >>> found = common_items({"a": "12345", "b": "1234", "c": "2345", "d": ""}, 5)
    >>> {name: "".join(sorted(kept)) for name, kept in found.items()}
    {'a': '12345', 'b': '234', 'c': '234', 'd': ''}
    """
    classes: dict[Coverage, frozenset[str]] = {}
    for found in filter(None, answered.values()):
        kind = coverage_class(len(found), items)
        classes[kind] = classes.get(kind, frozenset(found)) & frozenset(found)
    return {
        name: classes[coverage_class(len(found), items)] if found else frozenset() for name, found in answered.items()
    }
