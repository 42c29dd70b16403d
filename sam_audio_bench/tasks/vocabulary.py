"""Paraphrases, and the sounds that a mixture may contain, from the metadata of SAM Audio-Bench.

They come from three optional columns, on which no item and no revision depends:

    description_freeform            a paraphrase of the description
    target_node                     the target as a path in an ontology: Human sounds/Voice/Speech
    other_sample_info.all_nodes     the sounds of the mixture, as paths or as the last parts of paths

A sound may be audible in a mixture if one of the mixture's nodes equals it, or is an ancestor or descendant of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from sam_audio_bench.tasks.annotations import Annotation, MetadataTable, read_cells

__all__ = ["SoundMetadata", "find_audible_texts", "find_paraphrases", "read_sound_metadata"]

_COLUMNS = ("description_freeform", "target_node", "other_sample_info")

Rows = Mapping[str, Annotation]
"""Item -> its row of the metadata."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SoundMetadata:
    """The optional columns of a row; empty if missing."""

    freeform: str = ""
    target: str = ""
    nodes: tuple[str, ...] = ()


def read_sound_metadata(table: MetadataTable) -> tuple[SoundMetadata, ...]:
    """Reads the optional columns of all rows; empty if the table has none of them.

    Errors are as in `annotations.read_bench_table`.
    """
    return _read_sound_metadata(table, table.stamps)


@lru_cache(maxsize=4)
def _read_sound_metadata(table: MetadataTable, stamps: tuple[tuple[int, int], ...]) -> tuple[SoundMetadata, ...]:
    from pyarrow import parquet

    columns = [name for name in _COLUMNS if all(name in parquet.read_schema(path).names for path in table.files)]
    return tuple(map(_parse_row, read_cells(table, columns))) if columns else ()


def _parse_row(cells: Mapping[str, object]) -> SoundMetadata:
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
    """Returns the paraphrase of each item that has one different from its text."""
    found = {item: described[row.row].freeform for item, row in rows.items() if described}
    return {item: (words,) for item, words in found.items() if words and words.casefold() != rows[item].text.casefold()}


def find_audible_texts(rows: Rows, described: Sequence[SoundMetadata]) -> dict[str, frozenset[str]]:
    """Finds, per item, the texts of the task that may describe its mixture: all that the ontology does not rule out.

    Items without nodes, or with a node outside the ontology, are left out. A text with a target outside the ontology is
    never ruled out.
    """
    if not described:
        return {}
    above = _ancestors(node for row in described for node in (row.target, *row.nodes))
    targets: dict[str, set[str]] = {}
    for row in rows.values():
        targets.setdefault(row.text, set()).add(described[row.row].target)
    unplaced = {text for text, named in targets.items() if not all(_leaf(target) in above for target in named)}
    audible = {}
    for item, row in rows.items():
        own = described[row.row]
        nodes = {_leaf(node) for node in (*own.nodes, own.target)}
        if own.nodes and nodes <= above.keys():
            audible[item] = frozenset(
                text for text, named in targets.items()
                if text in unplaced or any(_related(above, _leaf(target), node) for target in named for node in nodes)
            )  # fmt: skip
    return audible


def _ancestors(paths: Iterable[str]) -> dict[str, frozenset[str]]:
    """Maps each part of a path with two or more parts to itself and its ancestors in all paths."""
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
