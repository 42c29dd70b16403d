"""Coverage: the share of a task's items for which a system has an estimate. Means over different items are not
comparable.

Videos are removed from the web, so 41 of 50 items are common. Systems are ranked by coverage class, and compared on
common items only.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

__all__ = [
    "Coverage",
    "CoverageClass",
    "classify_coverage",
    "common_items",
    "coverage_class_rank",
    "format_coverage",
    "items_set_aside",
]


class CoverageClass(StrEnum):
    """Class of a system's coverage of a task, the best first."""

    COMPLETE = "complete"
    NEARLY = "≥ 90 %"
    PARTIAL = "partial"

    @property
    def rank(self) -> int:
        """0 for the best."""
        return list(CoverageClass).index(self)


def classify_coverage(answered: int, items: int) -> CoverageClass:
    """Returns the coverage class for ``answered`` of a task's ``items``.

    >>> [classify_coverage(answered, 50).value for answered in (50, 49, 45, 44, 0)]
    ['complete', '≥ 90 %', '≥ 90 %', 'partial', 'partial']
    """
    if answered >= items > 0:
        return CoverageClass.COMPLETE
    return CoverageClass.NEARLY if items > 0 and 10 * answered >= 9 * items else CoverageClass.PARTIAL


def coverage_class_rank(coverage: str) -> int:
    """Returns the rank of a coverage class, 0 for the best; an unknown class ranks with the best."""
    return CoverageClass(coverage).rank if coverage else 0


def format_coverage(answered: int, items: int, missing_media: int = 0) -> str:
    """Formats the coverage.

    >>> format_coverage(50, 50), format_coverage(41, 50, 9)
    ('all 50 items', '41 of 50 items (partial, 9 without media)')
    """
    found = classify_coverage(answered, items)
    if found is CoverageClass.COMPLETE:
        return f"all {items} items"
    without = f", {missing_media} without media" if missing_media else ""
    return f"{answered} of {items} items ({found}{without})"


def common_items(answered: Mapping[str, Collection[str]], items: int) -> dict[str, frozenset[str]]:
    """Returns the items that each system is compared on: those for which all systems of its class have estimates.

    A system without any estimate is not compared, and does not reduce the items of the others.

    Args:
        answered: system -> items for which it has an estimate.
        items: number of items of the task.

    >>> found = common_items({"a": "12345", "b": "1234", "c": "2345", "d": ""}, 5)
    >>> {name: "".join(sorted(kept)) for name, kept in found.items()}
    {'a': '12345', 'b': '234', 'c': '234', 'd': ''}
    """
    classes: dict[CoverageClass, frozenset[str]] = {}
    for found in filter(None, answered.values()):
        kind = classify_coverage(len(found), items)
        classes[kind] = classes.get(kind, frozenset(found)) & frozenset(found)
    return {
        name: classes[classify_coverage(len(found), items)] if found else frozenset()
        for name, found in answered.items()
    }


@dataclass(frozen=True)
class Coverage:
    """The items of a task for which a separator has an estimate."""

    answered: frozenset[str] = frozenset()
    items: int = 0  # of the task
    missing_media: int = 0

    def __str__(self) -> str:
        return format_coverage(len(self.answered), self.items, self.missing_media)


def items_set_aside(coverage: Mapping[tuple[str, str], Coverage]) -> dict[tuple[str, str], frozenset[str]]:
    """Returns, by task and separator, the items whose estimates are ignored since others of its class have none."""
    tasks: dict[str, dict[str, Coverage]] = {}
    for (task, separator), covered in coverage.items():
        tasks.setdefault(task, {})[separator] = covered
    aside: dict[tuple[str, str], frozenset[str]] = {}
    for task, systems in tasks.items():
        answered = {name: covered.answered for name, covered in systems.items()}
        common = common_items(answered, max(covered.items for covered in systems.values()))
        aside |= {(task, name): answered[name] - kept for name, kept in common.items()}
    return aside
