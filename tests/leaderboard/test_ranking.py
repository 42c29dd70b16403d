"""Ranks: closed-form cases, an independent slow version, and what must not change them."""

from __future__ import annotations

import shutil
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sam_audio_bench.leaderboard import log
from sam_audio_bench.leaderboard.board import read_board
from sam_audio_bench.leaderboard.submission import Submission
from sam_audio_bench.leaderboard.submit import submit
from sam_audio_bench.stats.bootstrap import cluster_interval, multinomial_weights
from sam_audio_bench.stats.ranking import Column, rank

ITEMS = [f"item-{index}" for index in range(12)]
GROUPS = {item: f"song-{index // 2}" for index, item in enumerate(ITEMS)}
COLUMN = Column((("t",),), {"t": GROUPS})


def line(values: list[float], items: list[str] = ITEMS) -> dict[str, dict[str, float]]:
    """A line on one task."""
    return {"t": dict(zip(items, values, strict=True))}


def noise(seed: int, shift: float = 0.0, spread: float = 1.0) -> list[float]:
    """Twelve scores."""
    return list(np.random.default_rng(seed).normal(shift, spread, 12))


def test_always_ahead_is_first_in_every_resample() -> None:
    base = noise(0)
    places = rank(COLUMN, [line(base), line([value + 0.1 for value in base])], higher_is_better=True)
    assert [(place.rank, place.low, place.high, place.letters) for place in places] == [(2, 2, 2, "b"), (1, 1, 1, "a")]


def test_less_is_better_turns_the_order_round() -> None:
    base = noise(0)
    places = rank(COLUMN, [line(base), line([value + 0.1 for value in base])], higher_is_better=False)
    assert [place.rank for place in places] == [1, 2]


def test_equal_lines_share_a_rank_and_a_letter() -> None:
    base = noise(1)
    worse = [value - 5 for value in base]
    places = rank(COLUMN, [line(base), line(worse), line(list(base))], higher_is_better=True)
    assert [(place.rank, place.letters) for place in places] == [(1, "a"), (3, "b"), (1, "a")]


def test_one_recording_tells_nobody_apart() -> None:
    column = Column((("t",),), {"t": dict.fromkeys(ITEMS, "song")})
    places = rank(column, [line(noise(0)), line(noise(0, 5))], higher_is_better=True)
    assert [(place.rank, place.low, place.high, place.letters) for place in places] == [(2, 1, 2, "a"), (1, 1, 2, "a")]


def test_a_chain_that_is_only_apart_at_its_ends() -> None:
    """Neighbours overlap, the ends do not: two letters, the middle bears both."""
    generator = np.random.default_rng(0)
    own = generator.normal(0, 1, (3, 12))
    lines = [line(list(own[index] + 0.5 * index)) for index in range(3)]
    places = rank(COLUMN, lines, higher_is_better=True)
    assert [place.letters for place in places] == ["b", "ab", "a"]


def slow(lines: list[dict[str, dict[str, float]]]) -> list[tuple[int, int, int]]:
    """Ranks by the definition: redo the whole ranking for every resample, from lists of drawn recordings."""
    labels = sorted(set(GROUPS.values()))
    drawn = multinomial_weights(len(labels), COLUMN.resamples, (COLUMN.seed, 0))
    every = []
    for counts in [np.ones(len(labels)), *drawn]:
        times = dict(zip(labels, counts, strict=True))
        means = []
        for one in lines:
            pool = [value for item, value in one["t"].items() for _ in range(int(times[GROUPS[item]]))]
            means.append(sum(pool) / len(pool))
        every.append([1 + sum(other > mean + 1e-9 for other in means) for mean in means])
    ranks = np.array(every)
    low, high = (
        np.quantile(ranks[1:], tail, axis=0, method=how) for tail, how in ((0.025, "lower"), (0.975, "higher"))
    )
    return [(int(ranks[0, at]), int(low[at]), int(high[at])) for at in range(len(lines))]


def test_agrees_with_the_definition() -> None:
    lines = [line(noise(seed, 0.3 * seed)) for seed in range(4)]
    fast = [(place.rank, place.low, place.high) for place in rank(COLUMN, lines, higher_is_better=True)]
    assert fast == slow(lines)


def test_pairs_are_compared_on_common_items() -> None:
    """A line that leaves out its worst items gains nothing over one that it beats nowhere."""
    base = noise(3)
    order = sorted(range(12), key=lambda index: base[index])
    kept = sorted(order[3:])
    picky = line([base[index] - 0.01 for index in kept], [ITEMS[index] for index in kept])
    assert np.mean(list(picky["t"].values())) > np.mean(base)
    places = rank(COLUMN, [line(base), picky], higher_is_better=True)
    assert [place.rank for place in places] == [1, 2]


def test_nothing_in_common_is_no_order() -> None:
    places = rank(COLUMN, [line(noise(0)[:6], ITEMS[:6]), line(noise(1, 9)[6:], ITEMS[6:])], higher_is_better=True)
    assert [(place.rank, place.letters) for place in places] == [(1, "a"), (1, "a")]


@settings(max_examples=15)
@given(st.lists(st.integers(0, 5), min_size=2, max_size=4, unique=True))
def test_the_order_of_lines_changes_nothing(seeds: list[int]) -> None:
    lines = {seed: line(noise(seed, 0.2 * seed)) for seed in seeds}
    known = dict(zip(seeds, rank(COLUMN, list(lines.values()), higher_is_better=True), strict=True))
    for order in list(permutations(seeds))[:6]:
        found = rank(COLUMN, [lines[seed] for seed in order], higher_is_better=True)
        assert dict(zip(order, found, strict=True)) == known


def test_an_interval_is_that_of_the_tables() -> None:
    """One task whose items all have scores: the same numbers as `sabench table` within the noise of other draws."""
    values = noise(7)
    found, table = COLUMN.interval(line(values)), cluster_interval(values, GROUPS.values())
    assert found is not None
    assert table is not None
    assert np.allclose(found, table, atol=0.1)


def test_tasks_that_share_recordings_are_drawn_together() -> None:
    """Two copies of a task say no more than one: same mean, same interval. Two others do: it is narrower."""
    other = {item: f"other-{group}" for item, group in GROUPS.items()}
    values = noise(2)
    twice = {"t": dict(zip(ITEMS, values, strict=True)), "u": dict(zip(ITEMS, values, strict=True))}
    same = Column((("t", "u"),), {"t": GROUPS, "u": GROUPS}).interval(twice)
    apart = Column((("t", "u"),), {"t": GROUPS, "u": other}).interval(twice)
    alone = COLUMN.interval(line(values))
    assert same is not None
    assert apart is not None
    assert same == pytest.approx(alone)
    assert apart.high - apart.low < 0.9 * (same.high - same.low)


def test_parts_count_the_same_whatever_their_size() -> None:
    column = Column((("a", "b"), ("c",)), {name: {"i": name} for name in "abc"})
    assert column.samples({"a": {"i": 1.0}, "b": {"i": 3.0}, "c": {"i": 10.0}})[0] == 6.0


def test_adding_a_submission_changes_no_other_number(finished_runs: Path, tmp_path: Path) -> None:
    board = tmp_path / "board"
    gate = finished_runs / "spectral-gate"
    submit([gate], board)
    before = read_board(board).cells
    submit([finished_runs], tmp_path / "more")
    (line_id,) = before["music@1-mini"]["si_sdr_i"]
    after = read_board(tmp_path / "more").cells
    for metric, cells in before["music@1-mini"].items():
        assert after["music@1-mini"][metric][line_id] == cells[line_id]


def test_ranks_do_not_depend_on_the_order_of_files(pristine_board: Path, tmp_path: Path) -> None:
    copy = tmp_path / "board"
    for path in sorted(pristine_board.rglob("*"), reverse=True):  # made in another order
        if path.is_file() and "audio" not in path.parts:
            (copy / path.relative_to(pristine_board)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy / path.relative_to(pristine_board))
    assert read_board(copy).cells == read_board(pristine_board).cells


def test_who_is_ranked(board: Path) -> None:
    cells = read_board(board).cells["music@1-mini"]["si_sdr_i"]
    why = {name.partition("/")[0]: cell["why"] for name, cell in cells.items()}
    assert why == {"mixture": "baseline", "silence": "baseline", "spectral-gate": ""}
    (folder,) = (board / "results" / "spectral-gate").iterdir()
    log.withdraw(board, Submission.read(folder), "a bug")
    cells = read_board(board).cells["music@1-mini"]["si_sdr_i"]
    (cell,) = (cell for name, cell in cells.items() if name.startswith("spectral-gate"))
    assert (cell["why"], "rank" in cell) == ("withdrawn", False)
    assert cell["value"] is not None


def test_of_very_many_recordings_the_interval_is_what_resamples_give(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two tasks that share recordings, one of which has two items of each."""
    generator = np.random.default_rng(0)
    groups = {
        "x": {f"i{place}": f"r{place // 2}" for place in range(800)},
        "y": {f"i{place}": f"r{place}" for place in range(300)},
    }
    hard = generator.normal(size=400)
    values = {
        task: {item: hard[int(label[1:])] + float(generator.normal()) for item, label in own.items()}
        for task, own in groups.items()
    }
    column = Column((("x", "y"),), groups, resamples=20_000)
    drawn = column.interval(values)
    monkeypatch.setattr("sam_audio_bench.stats.ranking._MOST_DRAWN", 100)
    normal = Column((("x", "y"),), groups).interval(values)
    assert drawn is not None
    assert normal == pytest.approx(drawn, abs=0.005)
