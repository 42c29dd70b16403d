"""What the metadata of SAM Audio-Bench say of the sounds beside the prompt: other words, and what is in a mixture.

Three columns that may be there or not, and that no item and no revision depends on:

    description_freeform            other words for the description: its paraphrase
    target_node                     the sound that is asked for, as a path of an ontology: Human sounds/Voice/Speech
    other_sample_info.all_nodes     the sounds of the mixture, as paths or as the last parts of paths

A sound may be heard in a mixture if one of the mixture's nodes is the same, stands above it or stands below it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from sam_audio_bench.tasks.annotations import Annotation, MetadataTable, read_cells

__all__ = ["SoundMetadata", "find_audible_texts", "find_paraphrases", "read_sound_metadata"]

_COLUMNS = ("description_freeform", "target_node", "other_sample_info")

Rows = Mapping[str, Annotation]
"""Item -> its row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SoundMetadata:
    """What a row says beside its question; empty where it does not."""

    freeform: str = ""
    target: str = ""
    nodes: tuple[str, ...] = ()


def read_sound_metadata(table: MetadataTable) -> tuple[SoundMetadata, ...]:
    """The rows of a table; none where it has none of the columns. Errors as in `annotations.read_bench_table`."""
    return _describe(table, table.stamps)


@lru_cache(maxsize=4)
def _describe(table: MetadataTable, stamps: tuple[tuple[int, int], ...]) -> tuple[SoundMetadata, ...]:
    from pyarrow import parquet

    columns = [name for name in _COLUMNS if all(name in parquet.read_schema(path).names for path in table.files)]
    return tuple(map(_described, read_cells(table, columns))) if columns else ()


def _described(cells: Mapping[str, object]) -> SoundMetadata:
    info = cells.get("other_sample_info")
    nodes = info.get("all_nodes") if isinstance(info, dict) else None
    return SoundMetadata(
        freeform=_text(cells.get("description_freeform")),
        target=_text(cells.get("target_node")),
        nodes=tuple(filter(None, map(_text, nodes))) if isinstance(nodes, list) else (),
    )


def _text(value: object) -> str:
    return " ".join(value.split()) if isinstance(value, str) else ""


def find_paraphrases(rows: Rows, described: Sequence[SoundMetadata]) -> dict[str, tuple[str, ...]]:
    """Item -> its other words, where these say something else than its text."""
    found = {item: described[row.row].freeform for item, row in rows.items() if described}
    return {item: (words,) for item, words in found.items() if words and words.casefold() != rows[item].text.casefold()}


def find_audible_texts(rows: Rows, described: Sequence[SoundMetadata]) -> dict[str, frozenset[str]]:
    """Item -> the texts of the task that may be heard in its mixture: all but those that the ontology rules out.

    An item is left out whose nodes are not told, or one of whose nodes has no place in the ontology. A text is ruled
    out nowhere where that holds of a target that it asks for.
    """
    if not described:
        return {}
    above = _ancestors(node for row in described for node in (row.target, *row.nodes))
    targets: dict[str, set[str]] = {}
    for row in rows.values():
        targets.setdefault(row.text, set()).add(described[row.row].target)
    unplaced = {text for text, asked in targets.items() if not all(_leaf(target) in above for target in asked)}
    heard = {}
    for item, row in rows.items():
        own = described[row.row]
        nodes = {_leaf(node) for node in (*own.nodes, own.target)}
        if own.nodes and nodes <= above.keys():
            heard[item] = frozenset(
                text for text, asked in targets.items()
                if text in unplaced or any(_related(above, _leaf(target), node) for target in asked for node in nodes)
            )  # fmt: skip
    return heard


def _ancestors(paths: Iterable[str]) -> dict[str, frozenset[str]]:
    """Part of a path of two or more -> itself and all parts that stand above it in some path."""
    above: dict[str, frozenset[str]] = {}
    for parts in map(_parts, set(paths)):
        for depth, part in enumerate(parts if len(parts) > 1 else ()):
            above[part] = above.get(part, frozenset()) | frozenset(parts[: depth + 1])
    return above


def _parts(path: str) -> list[str]:
    return [part for name in path.split("/") if (part := name.strip().casefold())]


def _leaf(path: str) -> str:
    return _parts(path)[-1] if _parts(path) else ""


def _related(above: Mapping[str, frozenset[str]], one: str, other: str) -> bool:
    return one in above[other] or other in above[one]
