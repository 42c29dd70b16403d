"""TaskData: what a run asks for is a part of the task, and loading stays lazy."""

from __future__ import annotations

from typing import NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam_audio_bench.errors import UsageError
from sam_audio_bench.tasks import TaskData


def refuse(identifier: str) -> NoReturn:
    raise AssertionError(f"loaded {identifier}")


def numbered(count: int) -> TaskData:
    return TaskData(
        task="sfx",
        version="1",
        split="mini",
        revision="r",
        groups={f"i{number}": f"g{number // 2}" for number in range(count)},
        provides=frozenset(),
        load=refuse,
    )


@given(st.integers(0, 40), st.integers(1, 9))
def test_shards_are_a_partition(count: int, shards: int):
    parts = [numbered(count).select(shard=(index, shards)).ids for index in range(1, shards + 1)]
    assert sorted(identifier for part in parts for identifier in part) == sorted(numbered(count).ids)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@given(st.integers(1, 40), st.integers(1, 50))
def test_a_limit_takes_the_first(count: int, limit: int):
    chosen = numbered(count).select(limit=limit)
    assert chosen.ids == numbered(count).ids[:limit]
    assert len(chosen) == min(limit, count)


def test_named_items_keep_the_order_of_the_task_and_their_groups():
    chosen = numbered(9).select(ids=["i7", "i2"])
    assert chosen.groups == {"i2": "g1", "i7": "g3"}
    assert chosen.label == "sfx@1-mini"


def test_names_then_shard_then_limit():
    chosen = numbered(9).select(ids=["i1", "i3", "i5", "i7"], shard=(2, 2), limit=1)
    assert chosen.ids == ("i3",)


def test_the_digest_ignores_order_only():
    forwards, backwards = numbered(3), numbered(3)
    backwards = TaskData(**{**vars(backwards), "groups": dict(reversed(backwards.groups.items()))})
    assert forwards.ids_sha256 == backwards.ids_sha256 != numbered(4).ids_sha256


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_is_refused(limit: int):
    with pytest.raises(UsageError, match="--limit to be at least 1"):
        numbered(3).select(limit=limit)


@pytest.mark.parametrize("shard", [(0, 2), (3, 2), (1, 0)])
def test_an_impossible_shard_is_refused(shard: tuple[int, int]):
    with pytest.raises(UsageError, match="--shard I/N"):
        numbered(3).select(shard=shard)


def test_an_unknown_item_suggests_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'i1'"):
        numbered(2).select(ids=["i11"])
    with pytest.raises(UsageError, match="unknown item 'sfx'"):
        numbered(2)["sfx"]
