"""Where separators fail: the slices of each task by its main metric, with the statistics of `sabench slices`.

Compared are the lines that are ranked, of many the best ones, in slices whose number is bounded: time grows with the
square of both, and a site that anyone may add to is built in minutes. Every task is a report of its own, as `sabench
slices` gives of its runs: p is by Holm over its slices and separators.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sam_audio_bench.leaderboard.attributes import filter_attributes
from sam_audio_bench.leaderboard.board import Board, LeaderboardLine, round_value
from sam_audio_bench.leaderboard.figures import MOST_SERIES
from sam_audio_bench.leaderboard.sitetypes import SliceCell, TaskSlices
from sam_audio_bench.render.text import pluralize
from sam_audio_bench.run.attributes import is_same
from sam_audio_bench.run.slices import SliceCase, SliceRow, attribute_names, compare_cases, slice_cases, worst_items
from sam_audio_bench.stats.slices import MIN_RECORDINGS
from sam_audio_bench.tasks.attributes import Attributes

__all__ = ["task_slices"]

_WORST = 5  # items of a row
_MOST_SLICES = 40  # of a task


def task_slices(board: Board, label: str) -> TaskSlices:
    """The slices of one task; attributes are those of the submission that stated them first."""
    current = _in_order(board, label)
    if not current:
        return {"source": "", "rows": [], "small": [], "notes": []}
    first, *others = current
    own, refused = filter_attributes(first.submission.attributes[label])
    notes = [*refused.values()]
    for line in others:
        notes += _disagreements(line.id, line.submission.attributes[label], own)
    metric = board.main_metric(label)
    ranked = _ranked(board, label, metric)
    notes += [
        f"{line.name} is not compared, as it is not among the best {MOST_SERIES}" for line in ranked[MOST_SERIES:]
    ]
    notes += [] if ranked else ["no separator is ranked, so none is compared"]
    known = {(label, item): attributes for item, attributes in own.items()}
    scores = {(label, line.id): line.item_scores[label, metric] for line in ranked[:MOST_SERIES]}
    cases = _affordable(list(slice_cases(known, scores, dict.fromkeys(attribute_names(known), ()), notes)), notes)
    found = compare_cases(cases, higher_is_better=board.metrics[metric].higher_is_better)
    return {
        "source": first.id,
        "rows": [_cell(row, cases) for row in found if row.recordings >= MIN_RECORDINGS],
        "small": list(dict.fromkeys(row.slice for row in found if row.recordings < MIN_RECORDINGS)),
        "notes": [note.removeprefix(f"{label}: ") for note in notes],
    }


def _in_order(board: Board, label: str) -> list[LeaderboardLine]:
    """A line of each submission that has attributes of a task and counts, the one that was submitted first ahead."""
    numbers = {entry.key: entry.number for entry in board.entries if entry.event == "submitted"}
    lines = {
        numbers[line.submission.separator, line.submission.revision]: line
        for line in reversed(board.lines)  # of a submission with two lines the first one
        if line.unranked_reason not in ("withdrawn", "superseded") and line.submission.attributes.get(label)
    }
    return [lines[number] for number in sorted(lines)]


def _ranked(board: Board, label: str, metric: str) -> list[LeaderboardLine]:
    """The lines that are ranked on a task, best first."""
    cells, sign = board.cells[label][metric], -1 if board.metrics[metric].higher_is_better else 1
    found = [line for line in board.lines if line.id in cells and not cells[line.id]["why"]]
    return sorted(found, key=lambda line: (sign * (cells[line.id]["value"] or 0.0), line.id))


def _affordable(cases: Sequence[SliceCase], notes: list[str]) -> list[SliceCase]:
    """Cases of attributes, those of fewest slices first, that have `_MOST_SLICES` together; the others are noted."""
    kept: set[str] = set()
    room = _MOST_SLICES
    for name, count in sorted({case.attribute: len(case.slices) for case in cases}.items(), key=lambda pair: pair[1]):
        if count <= room:
            kept.add(name)
            room -= count
        else:
            notes.append(f"{name} is not compared, as its {count} slices would be more than {_MOST_SLICES} with others")
    return [case for case in cases if case.attribute in kept]


def _disagreements(name: str, stated: Attributes, known: Attributes) -> Iterator[str]:
    """What another submission says otherwise, and what it says beside."""
    different: dict[str, list[str]] = {}
    beside: dict[str, None] = {}
    names = {one for attributes in known.values() for one in attributes}
    for item, attributes in stated.items():
        for one, value in attributes.items():
            if one not in names:
                beside[one] = None
            elif one in known.get(item, {}) and not is_same(known[item][one], value):
                different.setdefault(one, []).append(f"{value} of {item}, which is {known[item][one]} here")
    for one, found in different.items():
        yield f"{name} disagrees about {one} of {pluralize(len(found), 'item')}: it says {found[0]}"
    if beside:
        yield f"{name} alone knows {', '.join(beside)}, which {'is' if len(beside) == 1 else 'are'} left out"


def _cell(row: SliceRow, cases: list[SliceCase]) -> SliceCell:
    case = next(one for one in cases if (one.separator, one.attribute) == (row.separator, row.attribute))
    return {
        "line": row.separator, "attribute": row.attribute, "slice": row.slice, "place": row.place,
        "n": row.n, "recordings": row.recordings,
        "mean": round_value(row.mean), "low": round_value(row.low), "high": round_value(row.high),
        "elsewhere": round_value(row.elsewhere), "difference": round_value(row.difference),
        "difference_low": round_value(row.difference_low), "difference_high": round_value(row.difference_high),
        "p": round_value(row.p_holm), "surely_worse": row.is_surely_worse(), "untested": row.untested,
        "worst": _worst(row, case),
    }  # fmt: skip


def _worst(row: SliceRow, case: SliceCase) -> list[str]:
    """The worst items of a slice."""
    own = list(map(str, case.slices[row.place].items))
    return [*worst_items(case.scores, higher_is_better=row.higher_is_better, most=_WORST, within=own)]
