"""Damage to files, drawn by hypothesis: bytes flipped, put in, cut off; values of JSON exchanged for others."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

from hypothesis import strategies as st

PIECES = (
    b'"',
    b",",
    b";",
    b"\n",
    b"\r",
    b"\0",
    b"\xff",
    b"-",
    b"'",
    b"{",
    b"]",
    b"null",
    b"1e999",
    b"NaN",
    b"[" * 3000,
)
VALUES = (None, True, -1, 0, 1.5, 1e300, 10**30, "", "x", "\udc80", "1\u200b", [], {}, [1], ["x"], [[]], [{}], {"x": 1})

damage = st.fixed_dictionaries(
    {
        "flips": st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), max_size=4),
        "pieces": st.lists(st.tuples(st.floats(0, 1), st.sampled_from(PIECES)), max_size=3),
        "kept": st.one_of(st.just(1.0), st.floats(0, 1)),
    }
)
"""What `damaged` does to bytes."""

exchange = st.lists(st.tuples(st.floats(0, 1), st.sampled_from(VALUES)), min_size=1, max_size=2)
"""What `exchanged` does to JSON."""


def damaged(content: bytes, how: dict[str, Any]) -> bytes:
    """Bytes with some flipped, some put in, and the end cut off."""
    found = bytearray(content)
    for place, mask in how["flips"]:
        found[min(int(place * len(found)), len(found) - 1)] ^= mask
    for place, piece in how["pieces"]:
        at = int(place * len(found))
        found[at:at] = piece
    return bytes(found[: int(how["kept"] * len(found))])


def exchanged(content: bytes, how: list[tuple[float, Any]]) -> bytes:
    """JSON, or lines of it, with some values anywhere in it exchanged."""
    lines = content.decode().splitlines()
    try:
        values = [json.loads(content)]
    except ValueError:
        values = [json.loads(line) for line in lines]
    for place, value in how:
        places = list(_places(values))
        holder, key = places[min(int(place * len(places)), len(places) - 1)]
        holder[key] = deepcopy(value)
    return "\n".join(json.dumps(value) for value in values).encode()


def _places(value: Any) -> Any:
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])
