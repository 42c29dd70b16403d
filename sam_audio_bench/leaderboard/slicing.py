"""Scores by slices of each task's items, by its main metric, with the statistics of `sabench slices`.

Only ranked lines are compared, the best ones if there are many, in a limited number of slices: time grows with the
square of both, and a site with submissions of anyone must build in minutes. Every task is a separate report, as that of
`sabench slices`: p is corrected by Holm over its slices and separators.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sam_audio_bench.leaderboard.attributes import filter_attributes
from sam_audio_bench.leaderboard.board import Board, LeaderboardLine, round_value
from sam_audio_bench.leaderboard.figures import MOST_SERIES
from sam_audio_bench.leaderboard.sitetypes import SliceCell, TaskSlices
from sam_audio_bench.render.text import pluralize
from sam_audio_bench.run.attributes import is_close_value
from sam_audio_bench.run.slices import (
    SliceCase,
    SliceRow,
    attribute_names,
    compare_slice_cases,
    make_slice_cases,
    worst_items,
)
from sam_audio_bench.stats.slices import MIN_RECORDINGS
from sam_audio_bench.tasks.attributes import Attributes

__all__ = ["task_slices"]

_WORST = 5  # items per row
_MOST_SLICES = 40  # of a task


def task_slices(board: Board, label: str) -> TaskSlices:
    """Compares the lines of one task by slices; the attributes are those of the submission that stated them first."""
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
    cases = _affordable(list(make_slice_cases(known, scores, dict.fromkeys(attribute_names(known), ()), notes)), notes)
    found = compare_slice_cases(cases, higher_is_better=board.metrics[metric].higher_is_better)
    return {
        "source": first.id,
        "rows": [_cell(row, cases) for row in found if row.recordings >= MIN_RECORDINGS],
        "small": list(dict.fromkeys(row.slice for row in found if row.recordings < MIN_RECORDINGS)),
        "notes": [note.removeprefix(f"{label}: ") for note in notes],
    }


def _in_order(board: Board, label: str) -> list[LeaderboardLine]:
    """Returns one line of each current submission with attributes of a task, in order of submission."""
    numbers = {entry.key: entry.number for entry in board.entries if entry.event == "submitted"}
    lines = {
        numbers[line.submission.separator, line.submission.revision]: line
        for line in reversed(board.lines)  # keeps the first of two lines of a submission
        if line.unranked_reason not in ("withdrawn", "superseded") and line.submission.attributes.get(label)
    }
    return [lines[number] for number in sorted(lines)]


def _ranked(board: Board, label: str, metric: str) -> list[LeaderboardLine]:
    """Returns the lines that are ranked on a task, best first."""
    cells, sign = board.cells[label][metric], -1 if board.metrics[metric].higher_is_better else 1
    found = [line for line in board.lines if line.id in cells and not cells[line.id]["why"]]
    return sorted(found, key=lambda line: (sign * (cells[line.id]["value"] or 0.0), line.id))


def _affordable(cases: Sequence[SliceCase], notes: list[str]) -> list[SliceCase]:
    """Keeps attributes, fewest slices first, up to `_MOST_SLICES` slices in total; notes the others."""
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
    """Yields where another submission states other values, and which attributes it alone has."""
    different: dict[str, list[str]] = {}
    additional: dict[str, None] = {}
    names = {one for attributes in known.values() for one in attributes}
    for item, attributes in stated.items():
        for one, value in attributes.items():
            if one not in names:
                additional[one] = None
            elif one in known.get(item, {}) and not is_close_value(known[item][one], value):
                different.setdefault(one, []).append(f"{value} of {item}, which is {known[item][one]} here")
    for one, found in different.items():
        yield f"{name} disagrees about {one} of {pluralize(len(found), 'item')}: it says {found[0]}"
    if additional:
        verb = "is" if len(additional) == 1 else "are"
        yield f"{name} alone has {', '.join(additional)}, which {verb} left out"


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
    """Returns the worst items of a slice."""
    own = list(map(str, case.slices[row.place].items))
    return [*worst_items(case.scores, higher_is_better=row.higher_is_better, most=_WORST, within=own)]
