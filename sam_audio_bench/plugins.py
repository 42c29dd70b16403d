"""Components of third parties: entry points and their cards.

The entry-point groups are ``sam_audio_bench.separators``, ``.metrics`` and ``.tasks``. A metric's class provides its
cards by ``cards()``; a separator's class, instance or function and a task's function by an attribute ``card``. A plugin
without a card gets a minimal one: its name, its target and the first line of its docstring.

A card is defined in the plugin's module, so that reading it imports the plugin, and torch if the plugin does. Only
`plugin_cards`, and `find_card` for names that are not built in, do this.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from importlib.metadata import EntryPoint, entry_points
from typing import Literal, NamedTuple, overload

from sam_audio_bench import metrics, separators
from sam_audio_bench.cards import Card, MetricCard, SeparatorCard, TaskCard
from sam_audio_bench.errors import Precondition, UsageError, describe_error
from sam_audio_bench.tasks import GROUPS, TASKS

__all__ = ["PluginCards", "find_card", "plugin_cards", "plugins"]

_BUILT_IN: Mapping[str, Mapping[str, Card]] = {
    "separators": separators.CARDS,
    "metrics": metrics.CARDS,
    "tasks": TASKS,
}
_CARD_CLASSES: Mapping[str, type[Card]] = {"separators": SeparatorCard, "metrics": MetricCard, "tasks": TaskCard}


class PluginCards(NamedTuple):
    """Cards of installed plugins by name, and the errors of those whose card cannot be read."""

    cards: Mapping[str, Card]
    failures: Mapping[str, str]


def plugins(kind: str) -> dict[str, EntryPoint]:
    """Returns the entry points of ``kind`` ("separators", "metrics" or "tasks") by name.

    Raises:
        UsageError: a name that a built-in component or another plugin has already.
    """
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=f"sam_audio_bench.{kind}"):
        taken = found.get(point.name)
        built_in = point.name in _BUILT_IN[kind] or (kind == "tasks" and point.name in GROUPS)
        if built_in or (taken is not None and taken.value != point.value):
            raise UsageError(f"expected a new name for {point.value}, found {point.name!r}, which is taken; rename it")
        found[point.name] = point
    return found


def plugin_cards(kind: str) -> PluginCards:
    """Imports all installed plugins of a kind and returns their cards.

    A plugin that cannot be imported, or whose card is invalid, does not affect the others.

    Raises:
        UsageError: a name that is taken already.
    """
    cards, failures = {}, {}
    for name, point in sorted(plugins(kind).items()):
        try:
            cards[name] = _load_card(kind, point)
        except Precondition as error:
            failures[name] = str(error)
    return PluginCards(cards, failures)


@overload
def find_card(kind: Literal["separators"], name: str) -> SeparatorCard | None: ...
@overload
def find_card(kind: Literal["metrics"], name: str) -> MetricCard | None: ...
@overload
def find_card(kind: Literal["tasks"], name: str) -> TaskCard | None: ...
def find_card(kind: str, name: str) -> Card | None:
    """Returns the card of a built-in component or of a plugin; None if there is neither.

    Raises:
        Precondition: a plugin that cannot be imported, or whose card is invalid.
    """
    if name in _BUILT_IN[kind]:
        return _BUILT_IN[kind][name]
    point = plugins(kind).get(name)
    return None if point is None else _load_card(kind, point)


def _load_card(kind: str, point: EntryPoint) -> Card:
    try:
        found = point.load()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit too
        raise Precondition(f"{point.value} cannot be imported: {describe_error(error, named=True)}") from error
    stated = _metric_cards(point, found) if kind == "metrics" else [getattr(found, "card", None)]
    known = [card for card in stated if card is not None]
    own = [card for card in known if isinstance(card, _CARD_CLASSES[kind]) and card.id == point.name]
    if known and not own:
        names = ", ".join(str(getattr(card, "id", card)) for card in known)
        raise Precondition(
            f"expected {point.value} to provide a {_CARD_CLASSES[kind].__name__} of {point.name}, found {names}"
        )
    return replace(own[0], target=point.value) if own else _minimal_card(kind, point, found)


def _metric_cards(point: EntryPoint, found: object) -> list[object]:
    cards = getattr(found, "cards", None)
    if cards is None:
        return []
    try:
        stated: Iterable[object] = cards()
        return list(stated)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise Precondition(
            f"expected cards() of {point.value} to return its cards, found {describe_error(error, named=True)}"
        ) from error


def _minimal_card(kind: str, point: EntryPoint, found: object) -> Card:
    lines = (getattr(found, "__doc__", None) or "").strip().splitlines()
    summary = lines[0] if lines else f"plugin {point.value}"
    card = _CARD_CLASSES[kind](id=point.name, target=point.value, summary=summary)
    return replace(card, unit="") if isinstance(card, MetricCard) else card
